"""The doctor: every damage is measured, said in words, and nothing is said of what is sound."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cleanplate.care.doctor import Diagnosis, blocks, examine, jpeg_quality, noise
from cleanplate.care.words import words
from cleanplate.cli import main
from cleanplate.pictures.frames import VideoWriter, write_image
from cleanplate.types import InputError
from made_clips import noisy, scene, thing, warped

SIZE = (180, 240)
PLATE = scene(3, SIZE)
FRAME = thing(PLATE, 60, 40, 50, 90)


def compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def lit(picture: np.ndarray, change: float) -> np.ndarray:
    """Light that grows from left to right."""
    ramp = np.linspace(1 / np.sqrt(1 + change), np.sqrt(1 + change), picture.shape[1])
    return np.clip(picture * ramp[None, :, None], 0, 255).astype(np.uint8)


def said(found: Diagnosis) -> str:
    return " ".join(words(found))


def test_nothing_is_said_of_what_is_sound() -> None:
    found = examine(PLATE, [noisy(FRAME, 1, 0)])
    assert words(found) == ["The plate fits the frames: nothing is wrong, and nothing is corrected."]
    assert found.foreground == pytest.approx(50 * 90 / (180 * 240), abs=0.03)
    json.dumps(asdict(found))


def test_a_moved_camera_and_its_exposure_are_measured_and_corrected() -> None:
    found = examine(warped(PLATE, 4, -3, 0.5), [(FRAME * 0.7).astype(np.uint8)])
    assert found.shift_px == pytest.approx((4, -3), abs=0.3)
    assert found.turn_deg == pytest.approx(-0.5, abs=0.15)
    assert found.gain == pytest.approx((1 / 0.7,) * 3, rel=0.04)
    assert "The camera has moved" in said(found)
    assert "Exposure differs" in said(found)
    assert found.corrected


def test_white_balance_is_told_from_exposure() -> None:
    frame = np.clip(FRAME * np.array([1.12, 1.0, 0.88]), 0, 255).astype(np.uint8)
    assert "white balance" in said(examine(PLATE, [frame]))


@pytest.mark.parametrize("softer", ["plate", "frame"])
def test_the_softer_picture_is_found(softer: str) -> None:
    soft = [cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in (PLATE, FRAME)]
    found = examine(soft[0], [FRAME]) if softer == "plate" else examine(PLATE, [soft[1]])
    assert found.softer == softer
    assert found.blur_px == pytest.approx(1.5, abs=0.4)
    assert f"The {softer}" in said(found)


def test_noise_is_measured() -> None:
    flat = np.full((*SIZE, 3), 120, np.uint8)
    for sigma in (4, 12):
        grey = np.random.default_rng(0).normal(120, sigma, (*SIZE, 1))
        assert noise(np.clip(np.repeat(grey, 3, 2), 0, 255).astype(np.uint8)) == pytest.approx(sigma, rel=0.15)
    assert noise(flat) == 0
    assert "Noise" in said(examine(PLATE, [noisy(FRAME, 25, 0)]))


def test_compression_is_measured_and_read_from_the_file(tmp_path: Path) -> None:
    assert blocks(compressed(PLATE, 10)) > 1.5 > 1.1 > blocks(PLATE)
    assert "blocks" in said(examine(compressed(PLATE, 10), [FRAME]))
    for quality in (20, 50, 90):
        Image.fromarray(PLATE).save(tmp_path / "a.jpg", quality=quality)
        assert jpeg_quality(tmp_path / "a.jpg") == pytest.approx(quality, abs=3)
    write_image(tmp_path / "a.png", PLATE)
    assert jpeg_quality(tmp_path / "a.png") is None


def test_light_that_changes_over_the_picture_is_measured() -> None:
    assert examine(PLATE, [FRAME]).light_change < 0.05
    found = examine(PLATE, [lit(FRAME, 0.5)])
    assert found.light_change == pytest.approx(0.5, abs=0.12)
    assert "light falls differently" in said(found)


def test_another_scene_another_size_and_a_shaking_camera_are_told() -> None:
    assert "another scene" in said(examine(PLATE, [255 - scene(8, SIZE)]))
    assert "--fit" in said(examine(np.repeat(np.repeat(PLATE, 2, 0), 2, 1), [FRAME]))
    assert "another shape" in said(examine(PLATE[:120], [FRAME]))
    shaking = [warped(FRAME, x, 0) for x in (-6, 0, 0, 5)]
    found = examine(PLATE, shaking)
    assert found.shake_px == pytest.approx(6, abs=1)
    assert "shakes" in said(found)


def test_no_frame_is_an_error() -> None:
    with pytest.raises(InputError, match="no frame"):
        examine(PLATE, [])


def test_the_verb_prints_words_and_writes_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "plate.png", PLATE)
    with VideoWriter(tmp_path / "clip.mp4", SIZE) as writer:
        for t in range(12):
            writer.write((thing(PLATE, 12 * t, 50) * 0.8).astype(np.uint8))
    given = ["doctor", "--plate", str(tmp_path / "plate.png"), str(tmp_path / "clip.mp4")]
    assert main([*given, "--json", str(tmp_path / "d.json")]) == 0
    assert "Exposure differs" in capsys.readouterr().out
    figures = json.loads((tmp_path / "d.json").read_text())
    assert figures["frames"] >= 4
    assert figures["gain"] == pytest.approx([1.25] * 3, rel=0.05)
    assert main([*given, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["words"] == figures["words"]
    assert main(["doctor", "--plate", str(tmp_path / "none.png"), str(tmp_path / "clip.mp4")]) == 2
    assert "none.png" in capsys.readouterr().err
