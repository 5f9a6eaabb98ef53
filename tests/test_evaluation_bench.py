"""The bench: lines and ratios from made-up times, a small real run, what the JSON says, and the clock."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from rich.console import Console

from cleanplate.evaluation import bench as bench_module
from cleanplate.evaluation import clock, network_speed, runtime_speed
from cleanplate.evaluation.bench import bench
from cleanplate.evaluation.clock import Clock, Figure, Measured
from cleanplate.inference.opening import open_model
from cleanplate.inference.runtimes import GRAPHS
from cleanplate.network import checkpoint
from cleanplate.types import InputError
from cleanplate.verbs.models import Bench

TIMES = {
    ("product", "torch"): 20.0,
    ("pair", "ONNX Runtime float32"): 15.0,
    ("plate", "ONNX Runtime float32"): 5.0,
    ("next frame", "ONNX Runtime float32"): 9.0,
    ("pair", "OpenVINO INT8"): 6.0,
    ("next frame", "OpenVINO INT8"): 3.0,
    ("pair", "torch"): 30.0,
    ("pair", "original, torch"): 3000.0,
    ("frame", "MOG2"): 1.0,
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures small enough for a test, and no repetitions."""
    for name, value in {"TRAINING_SIDE": 32, "SCENES_PER_ROUND": 2, "OURS_BATCH": 2, "ORIGINAL_BATCH": 1}.items():
        monkeypatch.setattr(network_speed, name, value)
    monkeypatch.setattr(clock, "MEASURED_S", 0.001)
    monkeypatch.setattr(runtime_speed, "PRODUCT", 32)


@pytest.fixture
def graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packaged float32 graphs as if they had been exported here, which takes longer than all the rest.

    The two halves stand for the whole graph, which is not packaged.
    """
    packaged = checkpoint.released().parent
    (tmp_path / "graphs" / "fp32").mkdir(parents=True)
    for name in (*GRAPHS, "graphs.card.json"):
        shutil.copy(packaged / name, tmp_path / "graphs" / "fp32")
    monkeypatch.setattr(
        runtime_speed, "open_model", lambda path, *how: open_model(path.parent if path.suffix else path, *how)
    )
    return tmp_path / "graphs"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if INT8 lost too much of the mask."""

    def refuse(*_: object, **given: object) -> None:
        assert given["precision"] == "int8", "float32 is there"
        raise InputError("INT8 would lose too much")

    monkeypatch.setattr(runtime_speed, "export", refuse)


def test_every_time_stands_beside_the_product_and_float32_onnx_runtimes_pair() -> None:
    lines = {(f.what, f.by): f for f in runtime_speed.figures(TIMES, 256)}
    assert list(lines) == list(TIMES)
    for key, ms in TIMES.items():
        assert (lines[key].value, lines[key].unit, lines[key].threads) == (ms, "ms", 1)
        assert lines[key].products == pytest.approx(ms / 20)
        assert lines[key].pairs == pytest.approx(ms / 15)
    assert lines["product", "torch"].side == runtime_speed.PRODUCT
    assert lines["pair", "torch"].side == 256


def test_the_ratios_are_of_float32_onnx_runtimes_pair() -> None:
    found = {f.what: f for f in runtime_speed.ratios(TIMES, 256)}
    assert {name: f.value for name, f in found.items()} == {
        "pair / product": pytest.approx(0.75),
        "original's pair / pair": pytest.approx(200),
        "next frame / pair": pytest.approx(0.6),
        "pair / pair of the fastest runtime": pytest.approx(2.5),
    }
    assert found["pair / pair of the fastest runtime"].by == "OpenVINO INT8"
    assert {f.unit for f in found.values()} == {"x"}


def test_the_table_has_every_line_and_what_it_was_taken_on() -> None:
    figures = runtime_speed.figures(TIMES, 256) + runtime_speed.ratios(TIMES, 256)
    told = bench_module.machine()
    console = Console(width=140)
    with console.capture() as captured:
        console.print(bench_module.table([figures[-1], *figures[:-1]], told, 5))
    text = captured.get()
    for part in (told["processor"], f"{told['cores']} cores", f"torch {torch.__version__}", "5 rounds", "onnxruntime"):
        assert part in text
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert ["pair", "ONNX Runtime float32", "256", "1", "15.0 ms", "0.75 x", "1.00 x"] in rows
    assert ["pair", "original, torch", "256", "1", "3000 ms", "150 x", "200 x"] in rows
    assert ["product", "torch", "1024", "1", "20.0 ms", "1.00 x", "1.33 x"] in rows
    # Ratios come last, wherever they were measured.
    assert [row[0] for row in rows[-4:]] == [f.what for f in (figures[-1], *figures[-4:-1])]
    assert len(rows) == len(figures)


@pytest.mark.usefixtures("small", "refused")
def test_a_run_measures_every_group(tmp_path: Path, graphs: Path) -> None:
    threads = torch.get_num_threads()
    found = bench(1, 1, tmp_path / "bench.json", graphs=graphs, size=32)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"]["torch"] == torch.__version__
    assert content["machine"]["torch_threads"] == 1
    assert content["machine"]["runtimes"]["onnxruntime"]
    assert torch.get_num_threads() == threads
    assert len(content["figures"]) + len(content["ratios"]) == len(found.figures)
    lines = {(line["what"], line["by"]): line for line in content["figures"] + content["ratios"]}
    assert len(lines) == len(found.figures)
    for by in ("ONNX Runtime float32", "OpenVINO float32", "torch"):
        for what in ("pair", "plate", "next frame"):
            assert lines[what, by]["products"] == pytest.approx(
                lines[what, by]["value"] / lines["product", "torch"]["value"]
            )
    assert {line["unit"] for line in content["ratios"]} == {"x"}
    for key in (("frame", "MOG2"), ("frame", "KNN"), ("pair", "original, torch")):
        assert lines[key]["side"] == 32
    for precision in ("float32", "bf16"):
        rates = [lines[f"training, {precision}", f"{name} at once"] for name in ("platenet, 2", "original, 1")]
        assert {rate["unit"] for rate in rates} == {"scenes/s"}
        ratio = lines[f"training, {precision}: scenes of the original", "platenet"]
        assert ratio["value"] == pytest.approx(rates[0]["value"] / rates[1]["value"])
        times = [lines[f"network, {precision}", f"{name}, torch"]["value"] for name in ("platenet", "original")]
        ratio = lines[f"network, {precision}: time of the original", "platenet"]
        assert ratio["value"] == pytest.approx(times[1] / times[0])
    assert lines["composing, camera effects", "one worker"]["unit"] == "scenes/s"
    assert lines["start to end", "cleanplate --help"]["unit"] == "s"
    assert content["left_out"]["INT8"] == "INT8 would lose too much"
    assert all(line["value"] > 0 for line in lines.values())


@pytest.mark.usefixtures("small", "refused")
def test_what_is_missing_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], graphs: Path
) -> None:
    told = bench_module.machine()
    monkeypatch.setattr(bench_module, "machine", lambda: told)
    for name in ("openvino", "pybgs"):
        monkeypatch.setitem(sys.modules, name, None)
    found = bench(1, 1, only=["runtimes"], graphs=graphs, size=32)
    by = {f.by for f in found.figures}
    assert {"ONNX Runtime float32", "torch", "MOG2"} <= by
    assert not {"OpenVINO float32", "SuBSENSE"} & by
    assert set(found.left_out) == {"INT8", "OpenVINO", "SuBSENSE"}
    told = " ".join(capsys.readouterr().out.split())
    assert 'left out: OpenVINO: this needs openvino, which is not installed; install it: pip install "clean' in told
    assert "benchmarks/subtractors.py" in told


@pytest.mark.usefixtures("small", "refused")
def test_subsense_is_measured_where_it_is_installed_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], graphs: Path
) -> None:
    seen: list[str] = []

    class SuBSENSE:
        def __init__(self) -> None:
            Path("config/SuBSENSE.xml").write_text("settings")
            os.write(1, b"born")

        def apply(self, frame: Any) -> None:
            seen.append(str(frame.shape))

        def __del__(self) -> None:
            os.write(1, b"died")

    told = bench_module.machine()
    monkeypatch.setattr(bench_module, "machine", lambda: told)  # a module made here has no version
    monkeypatch.setitem(sys.modules, "pybgs", SimpleNamespace(SuBSENSE=SuBSENSE))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = bench(1, 1, Path("-"), only=["runtimes"], graphs=graphs, size=32)
    assert ("frame", "SuBSENSE") in {(f.what, f.by) for f in found.figures}
    assert set(seen) == {"(32, 32, 3)"}
    assert list(here.iterdir()) == []
    assert "ratios" in json.loads(capfd.readouterr().out)


def test_graphs_are_exported_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(_: Path, out: Path, precision: str) -> None:
        made.append(out)
        out.mkdir(parents=True)
        (out / "graphs.card.json").write_text(precision)

    monkeypatch.setattr(runtime_speed, "export", make)
    monkeypatch.setattr(runtime_speed, "open_model", lambda *_: (None, {"weights": "one"}))
    for _ in range(2):  # the second finds them
        found = runtime_speed._exported(Path("released"), tmp_path, {})
        assert found == {"float32": tmp_path / "fp32", "INT8": tmp_path / "int8"}
        assert made == list(found.values())
    monkeypatch.setattr(runtime_speed, "open_model", lambda path, *_: (None, {"weights": path.name}))
    with pytest.raises(InputError, match="different networks"):
        runtime_speed._exported(Path("released"), tmp_path, {})


def test_standard_output_holds_the_json_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Figure("composing", "one worker", 128, 1, 400.0, "scenes/s")
    monkeypatch.setattr(network_speed, "composing", lambda _: Measured([line]))
    bench(1, 1, Path("-"), only=["composing"])
    captured = capsys.readouterr()
    assert [figure["value"] for figure in json.loads(captured.out)["figures"]] == [400.0]
    assert "composing" in captured.err


def test_calls_take_turns() -> None:
    calls: list[str] = []

    def slow(name: str) -> None:
        calls.append(name)
        time.sleep(clock.MEASURED_S)

    medians = Clock(3).medians({name: lambda name=name: slow(name) for name in "ab"}, wall=True)
    assert calls == ["a", "b"] * 4  # once before, to warm up
    assert all(median > 0.9 * clock.MEASURED_S for median in medians.values())


def test_processor_time_does_not_count_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MEASURED_S", 0.001)
    assert Clock(1).medians({"a": lambda: time.sleep(0.01)})["a"] < 0.005


def test_a_ratio_above_one_means_ours_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "medians", lambda *_, **__: {"platenet": 0.01, "original": 0.5})
    inference = [f for f in network_speed.inference(Clock(1), 32).figures if f.unit == "x"]
    assert [f.value for f in inference] == [pytest.approx(50)] * 2
    training = network_speed.training(Clock(1)).figures
    assert [f.value for f in training[:2]] == [pytest.approx(32 / 0.01), pytest.approx(4 / 0.5)]
    assert training[2].value == pytest.approx(400)


def test_the_command_line_offers_every_group() -> None:
    offered = get_args(get_args(get_type_hints(Bench)["only"])[0])
    assert offered == get_args(bench_module.Group)


@pytest.mark.parametrize(
    ("given", "named"), [({"rounds": 0}, "--rounds"), ({"threads": 0}, "--threads"), ({"size": 1}, "--size")]
)
def test_numbers_that_make_no_sense(given: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=f"{named}.*at least"):
        bench(**given)
