"""Stress curves: each damage does what it says, the curves are the evaluation's own scores, and they are drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from cleanplate.cli import main
from cleanplate.evaluation.baselines import difference
from cleanplate.evaluation.captured import Captured, open_scenes
from cleanplate.evaluation.evaluate import measure_pairs
from cleanplate.evaluation.report import report
from cleanplate.evaluation.stress import LEVELS, NOTHING, damaged, measure_stress
from cleanplate.pictures.pairs import PairPixels
from made_models import MadeModel, MadeRun, by_colour, make_run, write_scene


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence of 10 frames and a scene of 3."""
    folder = tmp_path_factory.mktemp("pairs")
    write_scene(folder / "long", 10, 0)
    write_scene(folder / "short", 3, 1)
    return folder


def by_difference(plate: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, None]:
    return difference(plate, frame) >= 25, None


def captured(folder: Path) -> Captured:
    return Captured([pair for pairs in open_scenes(folder, [])[0].values() for pair in pairs])


def pair() -> PairPixels:
    rng = np.random.default_rng(0)
    plate, frame = (rng.integers(40, 200, (40, 60, 3)).astype(np.uint8) for _ in range(2))
    return PairPixels(plate, frame, np.zeros((40, 60), np.float32), None, None, None)


def test_damages_are_what_they_say() -> None:
    clean = pair()
    for damage, nothing in NOTHING.items():
        same = damaged(clean, damage, nothing, 0)
        assert (same.plate == clean.plate).all(), damage
        assert (same.frame == clean.frame).all(), damage
    noisy = damaged(clean, "noise", 10.0, 0).frame.astype(float) - clean.frame
    assert noisy.std() == pytest.approx(10, rel=0.05)
    assert damaged(clean, "gain", 0.5, 0).frame.mean() == pytest.approx(clean.frame.mean() / 2, rel=0.01)
    assert damaged(clean, "gain", 2.0, 0).frame.max() == 255
    spread = [damaged(clean, "blur", sigma, 0).frame.std() for sigma in LEVELS["blur"]]
    assert all(after < before for before, after in pairwise(spread))
    apart = [np.abs(damaged(clean, "jpeg", q, 0).frame.astype(int) - clean.frame).mean() for q in LEVELS["jpeg"]]
    assert all(after > before for before, after in pairwise(apart))


def test_a_shift_is_of_whole_pixels_in_one_of_four_directions() -> None:
    clean, found = pair(), set()
    for scene in range(24):
        plate = damaged(clean, "shift", 4.0, 7, scene).plate
        middle = plate[8:-8, 8:-8]
        for name, y, x in (("right", 0, -4), ("left", 0, 4), ("down", -4, 0), ("up", 4, 0)):
            if (middle == np.roll(clean.plate, (-y, -x), (0, 1))[8:-8, 8:-8]).all():
                found.add(name)
                break
        else:
            pytest.fail("not a shift by 4 pixels")
        assert (damaged(clean, "shift", 4.0, 7, scene).plate == plate).all()
    assert found == {"right", "left", "down", "up"}


def test_noise_differs_from_frame_to_frame_and_repeats() -> None:
    clean = pair()
    first, again, other = (damaged(clean, "noise", 10.0, 0, 0, frame).frame for frame in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_curves(folder: Path, run: MadeRun) -> None:
    pairs, ticks = captured(folder), []
    models = {"model": MadeModel(by_colour, run.meta), "model_without_care": MadeModel(by_difference, run.meta)}
    curves = measure_stress(pairs, pairs.scenes, models, 0, lambda: ticks.append(1))
    assert len(ticks) == len(pairs)
    assert list(curves) == [*LEVELS, "size"]
    for damage, curve in curves.items():
        assert list(curve["methods"]) == ["model", "model_without_care", "difference", "difference_best"]
        for values in curve["methods"].values():
            assert all(len(values[metric]) == len(curve["levels"]) for metric in ("f1", "iou", "false_alarm")), damage
        assert curve["methods"]["model_without_care"] == curve["methods"]["difference"]  # the same rule
    assert curves["shift"]["methods"]["model"]["f1"] == [1.0] * 6  # it does not look at the plate
    assert curves["gain"]["methods"]["model"]["f1"][3] == 1
    fall = curves["noise"]["methods"]["difference"]["false_alarm"]
    assert fall[-1] > fall[0] + 0.3
    evaluated = measure_pairs(models["model"], folder)["baselines"]
    for name in ("difference", "difference_best"):  # undamaged, they are what an evaluation says
        for metric in ("f1", "iou", "false_alarm"):
            found = curves["noise"]["methods"][name][metric][0]
            assert found == pytest.approx(evaluated[name]["mean"]["mask"][metric])
    best, fixed = (curves["gain"]["methods"][name]["f1"] for name in ("difference_best", "difference"))
    assert all(b >= f for b, f in zip(best, fixed, strict=True))
    assert curves["size"]["levels"] == ["10 to 20 %"]  # 14 x 14 of 32 x 44 pixels
    assert curves["size"]["frames"] == [11]


def test_the_seed_decides(folder: Path) -> None:
    pairs = captured(folder / "short")
    first, again, other = (measure_stress(pairs, pairs.scenes, {}, seed, lambda: None) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_sequences_alone_have_subtractors(folder: Path, run: MadeRun) -> None:
    pairs = captured(folder / "long")
    curves = measure_stress(pairs, pairs.scenes, {"model": MadeModel(by_colour, run.meta)}, 0, lambda: None)
    assert list(curves["shift"]["methods"]) == ["model", "difference", "difference_best", "mog2", "knn"]
    assert curves["shift"]["methods"]["knn"]["f1"][0] > 0.5


def test_command_report_and_chart(
    folder: Path, run: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeModel(by_difference, run.meta)
    monkeypatch.setattr("cleanplate.inference.predictor.load", lambda _, care: replace(made, care=care))
    home, chart = tmp_path / "run", tmp_path / "charts" / "stress.png"
    home.mkdir()
    (home / "config.json").write_text("{}")
    command = ["evaluate", "--model", str(home), "--pairs", str(folder), "--cells", "--scenes", "6", "--size", "32"]
    files = ["--stress-chart", str(chart), "--json", str(home / "evaluation.json")]
    assert main([*command, "--no-baselines", *files]) == 0
    got = json.loads((home / "evaluation.json").read_text())
    assert list(got["stress"]) == ["pairs", "cells"]
    with Pillow.open(chart) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100
    text = report(home).read_text()
    assert text.count("Under stress") == 1
    assert text.count("Plate shifted, pixels") == 2
    assert "without plate care" in text
    assert main(["evaluate", "--model", str(home), "--stress-chart", str(tmp_path / "x.jpg")]) == 2
    assert ".png" in capsys.readouterr().err
