"""Colours of cutouts: the foreground's own, whatever it stood in front of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.care.align import Alignment
from cleanplate.care.correct import Correction
from cleanplate.care.exposure import Exposure
from cleanplate.inference.colours import TRUSTED, decontaminate, fitted_plate

RED, GREEN = (200, 30, 40), (20, 220, 60)


def smooth(seed: int, size: tuple[int, int], low: float, high: float, channels: int = 3) -> np.ndarray:
    """Soft random colours."""
    noise = np.random.default_rng(seed).uniform(low, high, (6, 8, channels)).astype(np.float32)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_LINEAR)


def disc(size: tuple[int, int], radius: float, soft: float) -> np.ndarray:
    """Alpha of a disc in the middle whose edge is `soft` px wide."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    away = np.hypot(y - (size[0] - 1) / 2, x - (size[1] - 1) / 2)
    return np.clip((radius - away) / np.float32(soft) + np.float32(0.5), 0, 1).astype(np.float32)


def composed(front: np.ndarray, alpha: np.ndarray, plate: np.ndarray) -> np.ndarray:
    a = alpha[..., None]
    return np.clip(a * front + (1 - a) * plate.astype(np.float32) + 0.5, 0, 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), soft=st.floats(1, 30))
def test_a_known_foreground_is_found_again(seed: int, soft: float) -> None:
    size = (60, 80)
    front, plate = smooth(seed, size, 10, 245), smooth(seed + 1, size, 0, 255).astype(np.uint8)
    alpha = disc(size, 22, soft)
    found = decontaminate(composed(front, alpha, plate), alpha, plate)
    error = np.abs(found - front)
    trusted = alpha >= TRUSTED
    # One step of the frame is 1 / alpha steps of F; F itself is rounded once.
    assert (error[trusted] <= (0.5 / alpha[trusted] + 0.501)[:, None]).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), soft=st.floats(1, 30))
def test_over_its_old_plate_the_frame_comes_back(seed: int, soft: float) -> None:
    size = (60, 80)
    plate = smooth(seed + 1, size, 0, 255).astype(np.uint8)
    alpha = disc(size, 22, soft)
    frame = composed(smooth(seed, size, 0, 255), alpha, plate)
    again = composed(decontaminate(frame, alpha, plate).astype(np.float32), alpha, plate).astype(int)
    trusted = alpha >= TRUSTED
    assert np.abs(again - frame)[trusted].max() <= 1
    # Where the equation says nothing, the little that is shown can't be far off either.
    assert np.abs(again - frame).max() <= 255 * TRUSTED


def test_a_thing_keeps_no_fringe_of_a_green_wall() -> None:
    size = (90, 90)
    alpha = disc(size, 25, 9)
    plate, front = np.full((*size, 3), GREEN, np.uint8), np.full((*size, 3), RED, np.float32)
    frame = composed(front, alpha, plate)
    shown = alpha > 0
    assert np.abs(frame[shown].astype(int) - RED).max() > 150
    assert np.abs(decontaminate(frame, alpha, plate)[shown].astype(int) - RED).max() <= 5
    # Without the plate only the solid part is known, and its colours go on outwards.
    assert np.abs(decontaminate(frame, alpha)[alpha < 0.5].astype(int)[shown[alpha < 0.5]] - RED).max() <= 12


def test_colours_go_on_a_little_beyond_the_outline() -> None:
    size = (90, 90)
    alpha = disc(size, 20, 3)
    frame = composed(np.full((*size, 3), RED, np.float32), alpha, np.full((*size, 3), GREEN, np.uint8))
    found = decontaminate(frame, alpha, np.full((*size, 3), GREEN, np.uint8))
    half = cv2.resize(found, (45, 45), interpolation=cv2.INTER_AREA)[cv2.resize(alpha, (45, 45)) > 0.02]
    assert np.abs(half.astype(int) - RED).max() <= 5
    assert not found[0].any()


def test_colours_that_cannot_be_are_taken_from_nearby() -> None:
    """A plate that was dark where the light came from: solved at little alpha, F would be far beyond 255."""
    size = (60, 80)
    alpha = disc(size, 18, 8)
    front = np.full((*size, 3), (90, 20, 20), np.float32)
    frame = composed(front, alpha, np.full((*size, 3), (250, 250, 250), np.uint8))
    found = decontaminate(frame, alpha, np.full((*size, 3), (20, 250, 250), np.uint8))
    little = (alpha > 0) & (alpha < 0.4)
    assert found[little][:, 0].max() <= 200
    assert frame[little][:, 0].min() > 180


@pytest.mark.parametrize("plate", [None, np.full((30, 40, 3), 9, np.uint8)])
def test_nothing_and_everything(plate: np.ndarray | None) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert not decontaminate(frame, np.zeros((30, 40), np.float32), plate).any()
    np.testing.assert_array_equal(decontaminate(frame, np.ones((30, 40), np.float32), plate), frame)
    # A haze without anything solid keeps what is known: the frame, or what the plate makes of it.
    haze = decontaminate(frame, np.full((30, 40), 0.3, np.float32), plate)
    if plate is None:
        np.testing.assert_array_equal(haze, frame)


def test_the_plate_goes_where_the_frame_saw_it() -> None:
    plate = smooth(5, (120, 160), 40, 200).astype(np.uint8)
    matrix = np.array([[1, 0, 3.0], [0, 1, -2.0], [0, 0, 1]])
    correction = Correction((120, 160), Alignment(matrix), Exposure(gain=(0.8, 0.9, 1.1)))
    seen = fitted_plate(plate, correction)
    # The correction brings a frame to its plate: the plate as the frame saw it must come back as the plate.
    again = correction.frame(seen, plate)
    assert np.abs(again.astype(int) - plate)[6:-6, 6:-6].max() <= 2
    assert fitted_plate(plate, None) is plate
