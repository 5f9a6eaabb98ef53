"""Plate care in predictions: the frame is brought to the plate, the answer back; --plate auto finds the plate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cleanplate
from cleanplate.cli import main
from cleanplate.inference.predictor import of_network
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.output import Output
from cleanplate.pictures.frames import VideoReader, VideoWriter, read_image, write_image
from cleanplate.predictions.files import predict_files
from cleanplate.predictions.plates import AUTO
from cleanplate.types import InputError
from made_clips import scene, thing, warped

META = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 16}
SIZE = (144, 192)
PLATE = scene(3, SIZE)
FRAME = thing(PLATE, 60, 40, 50, 80)
TRUTH = np.zeros(SIZE, bool)
TRUTH[40:120, 60:110] = True


class Difference(nn.Module):
    """Says foreground where the pictures differ by more than a tenth."""

    def forward(self, plate: Tensor, frame: Tensor, prior: Tensor | None) -> Output:  # noqa: ARG002
        different = (frame - plate).abs().amax(1, keepdim=True)
        return Output((different - 0.1) * 100, different + 1)


def f1(mask: np.ndarray) -> float:
    return float(2 * (mask & TRUTH).sum() / (mask.sum() + TRUTH.sum()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    checkpoint.save(folder / "best.safetensors", build("platenet"), META)
    write_image(folder / "plate.png", PLATE)
    return folder


@pytest.mark.parametrize(
    ("plate", "gain"), [((4, 0), 1.0), ((0, 0), 0.7), ((0, 0), 1.4), ((-2.5, 3), 0.8)], ids=str
)  # fmt: skip
def test_a_moved_or_badly_exposed_frame_loses_almost_nothing(plate: tuple[float, float], gain: float) -> None:
    with_care, without = (of_network(Difference(), META, "cpu", care=care) for care in (True, False))
    good = f1(without.predict(PLATE, FRAME).mask)
    moved = warped(PLATE, *plate)
    frame = np.clip(FRAME * gain + 0.5, 0, 255).astype(np.uint8)
    assert f1(without.predict(moved, frame).mask) < good - 0.1
    found = with_care.predict(moved, frame)
    assert f1(found.mask) > good - 0.03
    assert found.alpha.shape == SIZE
    assert found.depth is not None
    assert np.isfinite(found.depth).all()
    assert found.depth.min() > 0


def test_a_frame_that_fits_gets_the_same_answer_with_and_without_care() -> None:
    answers = [of_network(Difference(), META, "cpu", care=care).predict(PLATE, FRAME) for care in (True, False)]
    np.testing.assert_array_equal(answers[0].alpha, answers[1].alpha)


def test_care_takes_floats_and_plates_of_another_size() -> None:
    model = of_network(Difference(), META, "cpu")
    floats = (np.ascontiguousarray((FRAME * 0.7).transpose(2, 0, 1)) / 255).astype(np.float32)
    assert f1(model.predict(PLATE, floats).mask) > 0.9
    large = np.repeat(np.repeat(PLATE, 2, 0), 2, 1)
    assert f1(model.predict(large, (FRAME * 0.7).astype(np.uint8), fit=True).mask) > 0.85


def test_a_given_correction_is_used() -> None:
    model = of_network(Difference(), META, "cpu", care=False)
    moved = warped(PLATE, 5, 0)
    correction = model.correct(moved, FRAME)
    assert correction.alignment.shift_px[0] == pytest.approx(5, abs=0.3)
    assert f1(model.predict(moved, FRAME, correction=correction).mask) > f1(model.predict(moved, FRAME).mask)


def test_loading_has_care_on_unless_told_otherwise(run: Path) -> None:
    assert cleanplate.load(run).care
    assert not cleanplate.load(run, care=False).care


def test_predictions_say_what_was_corrected(run: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "dark.png", (FRAME * 0.7).astype(np.uint8))
    write_image(tmp_path / "in" / "good.png", FRAME)
    with VideoWriter(tmp_path / "in" / "moved.mp4", SIZE) as writer:
        for t in range(4):
            writer.write(warped(thing(PLATE, 20 * t, 40), 5, 0))
    predict_files(run, run / "plate.png", [tmp_path / "in"], tmp_path / "out")
    listing = json.loads((tmp_path / "out" / "predictions.json").read_text())
    dark, good, moved = (entry["corrected"] for entry in listing["inputs"])
    assert dark["frames"] == 1
    assert dark["first"]["gain"] == pytest.approx([1 / 0.7] * 3, rel=0.04)
    assert good == {"frames": 0}
    assert moved["frames"] == 4
    assert moved["last"]["shift_px"] == pytest.approx([-5, 0], abs=0.4)
    given = ["predict", "--model", str(run), "--plate", str(run / "plate.png"), "--out", str(tmp_path / "no"),
             "--no-care", str(tmp_path / "in" / "dark.png")]  # fmt: skip
    assert main(given) == 0
    listing = json.loads((tmp_path / "no" / "predictions.json").read_text())
    assert listing["inputs"][0]["corrected"] is None
    assert listing["care"] is False


def test_auto_estimates_the_plate_of_each_clip(run: Path, tmp_path: Path) -> None:
    for t in range(9):
        write_image(tmp_path / "hall" / f"{t}.png", thing(PLATE, 25 * t - 20, 40, 30, 60))
    other = scene(7, SIZE)
    with VideoWriter(tmp_path / "yard.mp4", SIZE, crf=8) as writer:
        for t in range(9):
            writer.write(thing(other, 25 * t - 20, 40, 30, 60))
    entries = predict_files(run, AUTO, [tmp_path / "hall", tmp_path / "yard.mp4"], tmp_path / "out")
    assert {entry.files["plate"] for entry in entries} == {"hall_plate.png", "yard_plate.png"}
    assert np.abs(read_image(tmp_path / "out" / "hall_plate.png").astype(int) - PLATE).max() <= 2
    assert np.abs(read_image(tmp_path / "out" / "yard_plate.png").astype(int) - other).mean() < 6
    assert len(list(VideoReader(tmp_path / "out" / "yard_mask.mp4"))) == 9


def test_auto_needs_a_clip(run: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", FRAME)
    with pytest.raises(InputError, match="give a video, at least"):
        predict_files(run, AUTO, [tmp_path / "one.png"], tmp_path / "out")
