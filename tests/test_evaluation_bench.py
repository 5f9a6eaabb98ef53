"""The bench: every figure of a small round, what the JSON says, and the clock that keeps it short."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from cleanplate.evaluation import bench as bench_module
from cleanplate.evaluation import clock, runtime_speed
from cleanplate.evaluation.bench import Clock, bench
from cleanplate.inference import export
from cleanplate.types import InputError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures small enough for a test, and no repetitions."""
    for name, value in {
        "INFERENCE_SIDE": 32,
        "TRAINING_SIDE": 32,
        "SCENES_PER_ROUND": 2,
        "OURS_BATCH": 2,
        "ORIGINAL_BATCH": 1,
    }.items():
        monkeypatch.setattr(bench_module, name, value)
    monkeypatch.setattr(clock, "MEASURED_S", 0.001)
    monkeypatch.setattr(runtime_speed, "SIDE", 32)
    monkeypatch.setattr(runtime_speed, "PRODUCT", 32)
    # Exporting takes longer than all the rest, and is tested where it is made: here it is as if INT8 were refused.
    monkeypatch.setattr(export, "export", _refused)


def _refused(*_: object, **__: object) -> None:
    raise InputError("INT8 would lose too much")


@pytest.mark.usefixtures("small")
def test_every_figure_has_a_unit_and_what_it_is_relative_to(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    figures = bench(1, 1, tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"]["torch"] == torch.__version__
    assert content["machine"]["torch_threads"] == 1
    assert torch.get_num_threads() == threads
    named = {figure["name"]: figure for figure in content["figures"]}
    assert len(named) == len(figures)
    assert content["machine"]["runtimes"]["onnxruntime"]
    for expected in (
        "32x32 pair, onnx, 1 thread",
        "32x32 pair, torch, 1 thread",
        "torch beside onnx, pair",
        "next frame beside a pair, onnx",
        "pair, onnx",
        "next frame, onnx, beside MOG2",
        "next frame, onnx, beside KNN",
    ):
        assert expected in named
    for name in ("inference", "training"):
        for precision in ("float32", "bf16"):
            assert any(key.startswith(name) and key.endswith(precision) for key in named)
    for figure in named.values():
        assert figure["value"] > 0
        assert figure["unit"]
        if figure["unit"] == "x":
            assert figure["relative_to"]
            assert figure["each"]
            ratio = figure["ours"] / figure["other"]
            assert figure["value"] == pytest.approx(1 / ratio if figure["each"] == "ms" else ratio)
        else:
            assert figure["relative_to"] is None
    assert named["cleanplate --help"]["unit"] == "s"


@pytest.mark.usefixtures("small")
def test_standard_output_holds_the_json_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_module, "MEASURES", (bench_module.inference,))
    bench(1, 1, Path("-"))
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["figures"]) == 2
    assert "inference" in captured.err


def test_calls_take_turns() -> None:
    calls: list[str] = []

    def slow(name: str) -> None:
        calls.append(name)
        time.sleep(clock.MEASURED_S)

    medians = Clock(3).medians(lambda: slow("a"), lambda: slow("b"))
    assert calls == ["a", "b"] * 4  # once before, to warm up
    assert medians is not None
    assert all(m > 0.9 * clock.MEASURED_S for m in medians)


def test_when_time_is_up_nothing_more_is_measured() -> None:
    calls: list[int] = []
    assert Clock(3, most_seconds=0.0).medians(lambda: calls.append(1)) is None
    assert calls == []


def test_a_ratio_above_one_means_ours_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "medians", lambda *_: [0.01, 0.5])
    assert [figure.value for figure in bench_module.inference(Clock(1))] == [pytest.approx(50)] * 2
    training = list(bench_module.training(Clock(1)))
    assert training[0].value == pytest.approx((bench_module.OURS_BATCH / 0.01) / (bench_module.ORIGINAL_BATCH / 0.5))
    assert training[0].ours == pytest.approx(bench_module.OURS_BATCH / 0.01)
    assert training[0].other == pytest.approx(bench_module.ORIGINAL_BATCH / 0.5)


@pytest.mark.parametrize(("rounds", "threads"), [(0, None), (1, 0)])
def test_numbers_that_make_no_sense(rounds: int, threads: int | None) -> None:
    with pytest.raises(InputError, match="at least 1"):
        bench(rounds, threads)
