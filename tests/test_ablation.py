"""The benchmark of the camera effects: paired differences, a table in order, and nothing that is done twice."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from cleanplate.types import InputError
from made_pairs import write_pairs
from made_scenes import write_cutouts, write_plates

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "ablation.py"
TINY = shlex.split("--samples 8 --batch 4 --size 32 --scenes 4 --judged-at 32 --seeds 1 --families shadows empty")
KEYS = ["all on #0", "shadows #0", "empty #0", "none #0"]


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    return importlib.import_module("ablation")


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The benchmark's arguments: small made pictures, a tiny budget."""
    write_plates(tmp_path / "plates", 6, depth=False)
    write_cutouts(tmp_path / "cutouts", 6, None)
    write_pairs(tmp_path / "pairs", 2, 2, depth=False)
    folders = [text for kind in ("plates", "cutouts", "pairs") for text in (f"--{kind}", str(tmp_path / kind))]
    return [*folders, *TINY, "--out", str(tmp_path / "out")]


def scores(f1: float, alarm: float | None = 0.01) -> dict[str, float | None]:
    return {"pairs_f1": f1, "pairs_iou": f1 - 0.1, "pairs_false_alarm": alarm, "composed_iou": 0.5}


def test_differences_are_paired_within_a_seed(ablation: ModuleType) -> None:
    runs = {"all on #0": scores(0.8), "blur #0": scores(0.75), "all on #1": scores(0.6), "blur #1": scores(0.59)}
    found = ablation.summarised(runs, ("all on", "blur"), 2)[1]["pairs_f1"]
    assert found["mean"] == pytest.approx(0.67)
    assert (found["difference"], found["least"], found["most"]) == pytest.approx((-0.03, -0.05, -0.01))


def test_the_dearest_loss_comes_first_and_all_and_none_frame_the_families(ablation: ModuleType) -> None:
    f1 = {"all on": 0.8, "noise": 0.81, "blur": 0.7, "contact": 0.75, "none": 0.3}
    runs = {f"{name} #0": scores(value) for name, value in f1.items()}
    rows = ablation.summarised(runs, tuple(f1), 1)
    assert [row["name"] for row in rows] == ["all on", "blur", "contact", "noise", "none"]
    lines = ablation.table(rows).splitlines()
    assert lines[0] == "| | pairs: F1 | pairs: IoU | pairs: false alarms | composed: IoU |"
    assert lines[2] == "| all on | 0.800 | 0.700 | 1.00 % | 0.500 |"
    assert lines[3] == "| without `blur` | 0.700 (-0.100) | 0.600 (-0.100) | 1.00 % (+0.00) | 0.500 (+0.000) |"
    assert lines[-1].startswith("| none | 0.300 (-0.500)")


def test_a_seed_that_is_not_whole_and_a_score_that_is_unknown_are_left_out(ablation: ModuleType) -> None:
    runs = {"all on #0": scores(0.8, None), "blur #0": scores(0.7, None), "all on #1": scores(0.1)}
    rows = ablation.summarised(runs, ("all on", "blur"), 2)
    assert [row["seeds"] for row in rows] == [1, 1]
    assert rows[0]["pairs_f1"]["mean"] == 0.8
    assert "alarms" not in ablation.table(rows)
    assert ablation.summarised(runs, ("all on", "contact"), 2) == []


def test_each_run_leaves_out_what_its_name_says(ablation: ModuleType, tmp_path: Path) -> None:
    work = ablation.Work((), (), ablation.TrainSettings(), tmp_path, None, 4, 32, tmp_path)
    assert (work.settings_of(("all on", 3)).without, work.settings_of(("all on", 3)).seed) == ((), 3)
    assert work.settings_of(("contact", 0)).without == ("contact",)
    assert work.settings_of(("contact", 0)).effects == "train"
    assert work.settings_of(("none", 0)).effects == "none"


def test_it_goes_on_after_a_kill_and_does_nothing_twice(
    ablation: ModuleType,
    given: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / "out"
    started = subprocess.Popen([sys.executable, str(BENCHMARK), *given, "--lanes", "1"], stderr=subprocess.DEVNULL)
    while not (out / "results.json").is_file():
        assert started.poll() is None, "it ended without a result"
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    first = json.loads((out / "results.json").read_text())["runs"]
    assert KEYS[0] in first
    assert len(first) < len(KEYS), "the kill came too late to say anything"
    written = (out / "all-on-0" / "last.safetensors").stat().st_mtime_ns

    monkeypatch.setattr(sys, "argv", ["ablation.py", *given, "--lanes", "0"])
    ablation.main()
    content = json.loads((out / "ablation.json").read_text())
    assert sorted(content["runs"]) == sorted(KEYS)
    assert content["runs"].items() >= first.items()
    assert (out / "all-on-0" / "last.safetensors").stat().st_mtime_ns == written
    settings = json.loads((out / "shadows-0" / "config.json").read_text())["settings"]
    assert (settings["without"], settings["samples"], settings["seed"]) == (["shadows"], 8, 0)
    assert all(0 <= run["composed_iou"] <= 1 for run in content["runs"].values())
    shown = capsys.readouterr().out
    assert shown == (out / "ablation.md").read_text()
    assert "| without `shadows` | " in shown

    monkeypatch.setattr(sys, "argv", ["ablation.py", *given, "--lanes", "0", "--samples", "12"])
    with pytest.raises(SystemExit, match=r"samples is 8 there, 12 now; give another --out"):
        ablation.main()


def test_other_judges_judge_anew_what_is_trained(ablation: ModuleType, tmp_path: Path) -> None:
    work = ablation.Work((), (), ablation.TrainSettings(samples=8), tmp_path, None, 4, 32, tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(work.facts | {"runs": {"none #0": scores(0.5)}}))
    assert list(ablation.kept(work)) == ["none #0"]
    assert ablation.kept(ablation.replace(work, scenes=5)) == {}
    with pytest.raises(InputError, match="batch is 32 there, 16 now"):
        ablation.kept(ablation.replace(work, settings=ablation.TrainSettings(samples=8, batch=16)))
