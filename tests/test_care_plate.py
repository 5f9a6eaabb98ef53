"""A plate from a clip: what moves, parks, flickers and trembles must not be in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cleanplate.care.plate import estimate_plate, frames_of, sample
from cleanplate.pictures.frames import VideoWriter, write_image
from cleanplate.types import InputError
from made_clips import noisy, scene, thing, warped

COUNT = 24


def wrong(plate: np.ndarray, truth: np.ndarray, limit: int = 20) -> float:
    """The share of pixels that are not the background's."""
    return float((np.abs(plate.astype(int) - truth).max(axis=2) > limit).mean())


def walk(truth: np.ndarray, t: int) -> np.ndarray:
    """A passer-by, who is nowhere long."""
    return thing(truth, 10 * t - 40, 20, 14, 40, seed=9)


@pytest.mark.parametrize(
    "parked",
    [range(5, 19), range(13), range(11, 24)],
    ids=["60 % in the middle", "the first 55 %", "the last 55 %"],
)
def test_what_parks_for_most_of_the_clip_leaves_no_ghost(parked: range) -> None:
    truth = scene(1)
    frames = [thing(walk(truth, t), 60, 30) if t in parked else walk(truth, t) for t in range(COUNT)]
    frames = [noisy(frame, 3, t) for t, frame in enumerate(frames)]
    median = np.median(np.stack(frames), axis=0)
    assert wrong(median, truth) > 0.05, "a median keeps it"
    plate = estimate_plate(iter(frames))
    assert wrong(plate, truth) < 0.002
    assert np.abs(plate.astype(int) - truth).mean() < 1.5, "noise averages out"


def test_what_lies_behind_may_be_seen_for_a_quarter_of_the_time_only() -> None:
    truth = scene(2)
    frames = [thing(truth, (61 * t) % 200 - 90, 0, 110, 96, seed=t) for t in range(COUNT)]
    shown = np.mean([(frame == truth).all(axis=2) for frame in frames], axis=0)
    assert shown.min() < 0.5
    assert wrong(estimate_plate(frames), truth) < 0.02


def test_flicker_and_a_trembling_camera_are_settled_first() -> None:
    truth = scene(3)
    rng = np.random.default_rng(0)
    frames = []
    for t in range(COUNT):
        frame = warped(walk(truth, t), *rng.normal(0, 1.2, 2)) * rng.uniform(0.8, 1.1)
        frames.append(noisy(np.clip(frame, 0, 255), 2, t))
    plate = estimate_plate(frames)[8:-8, 8:-8].astype(float)
    plain = np.median(np.stack(frames), axis=0)[8:-8, 8:-8]

    def sharpness(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture, axis=1)).mean() / picture.mean())

    assert sharpness(plate) > 1.15 * sharpness(plain)


def test_an_empty_clip_gives_its_frames_back() -> None:
    truth = scene(4)
    assert np.abs(estimate_plate([truth] * 9).astype(int) - truth).max() <= 1
    np.testing.assert_array_equal(estimate_plate([truth]), truth)


def test_the_plate_has_the_frames_own_size() -> None:
    truth = scene(5, (410, 610))
    frames = [thing(truth, 60 * t - 100, 100, 90, 200) for t in range(10)]
    plate = estimate_plate(frames)
    assert plate.shape == truth.shape
    assert wrong(plate, truth) < 0.002


def test_sampling_is_even_and_bounded() -> None:
    frames = (np.full((2, 2, 3), min(255, i // 4), np.uint8) for i in range(1000))
    kept = sample(frames, 30)
    assert 15 <= len(kept) <= 30
    steps = np.diff([int(frame[0, 0, 0]) for frame in kept])
    assert steps.min() == steps.max()


def test_frames_of_other_sizes_are_an_error() -> None:
    with pytest.raises(InputError, match="frame 1 is 10x20 and those before are 10x10"):
        estimate_plate([np.zeros((10, 10, 3), np.uint8), np.zeros((20, 10, 3), np.uint8)])
    with pytest.raises(InputError, match="no frames"):
        estimate_plate([])


def test_frames_come_from_videos_folders_and_files(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "1.png", scene(0))
    write_image(tmp_path / "a" / "2.png", scene(1))
    with VideoWriter(tmp_path / "b.mp4", (96, 128)) as writer:
        writer.write(scene(2))
    found = list(frames_of([tmp_path / "a", tmp_path / "b.mp4", tmp_path / "a" / "1.png"]))
    assert len(found) == 4
    np.testing.assert_array_equal(found[0], found[3])
    assert np.abs(found[2].astype(int) - scene(2)).mean() < 12
