"""Upsampling of alpha: sharp where the frame is, flat where alpha is, never outside 0..1."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.inference import upsample
from cleanplate.inference.upsample import enlarge_alpha, enlarge_smooth

FULL, SMALL = (360, 480), (60, 80)


def pixels(seed: int, size: tuple[int, int] = FULL) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def texture(seed: int, size: tuple[int, int], low: int, high: int, grain: int = 8) -> np.ndarray:
    """Blotches of so many pixels between two levels, as float32 [h, w, 3]."""
    coarse = np.random.default_rng(seed).uniform(low, high, (size[0] // grain + 2, size[1] // grain + 2, 3))
    return cv2.resize(coarse.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)


def scene(size: tuple[int, int] = FULL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, frame and plate: a blue disc with two thin wires, over a reddish ground; all textured."""
    height, width = size
    drawn = np.zeros((height, width), np.uint8)
    cv2.circle(drawn, (width // 2, height // 2), height // 4, 255, -1, cv2.LINE_AA)
    for end in (height // 8, height // 3):
        cv2.line(drawn, (0, end), (width - 1, height - end // 2), 255, max(2, height // 120), cv2.LINE_AA)
    truth = drawn.astype(np.float32) / 255
    plate, front = texture(1, size, 120, 200), texture(2, size, 10, 60)
    plate[..., 2] *= 0.4
    front[..., 2] += 150
    frame = truth[..., None] * front + (1 - truth[..., None]) * plate
    return truth, np.clip(frame, 0, 255).astype(np.uint8), np.clip(plate, 0, 255).astype(np.uint8)


def small(truth: np.ndarray, size: tuple[int, int] = SMALL) -> np.ndarray:
    return cv2.resize(truth, size[::-1], interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("with_plate", [False, True])
def test_edges_are_where_the_frame_has_them(with_plate: bool) -> None:
    truth, frame, plate = scene()
    alpha = small(truth)
    bilinear = np.abs(enlarge_smooth(alpha, FULL) - truth).mean()
    guided = np.abs(enlarge_alpha(alpha, frame, plate if with_plate else None) - truth).mean()
    assert guided < 0.6 * bilinear


def test_a_plate_corrects_an_answer_that_is_off() -> None:
    """The network's alpha, a cell too far right and blurred; the frame alone can only sharpen that."""
    truth, frame, plate = scene()
    alpha = cv2.GaussianBlur(np.roll(small(truth), 1, axis=1), (0, 0), 1)
    alone = np.abs(enlarge_alpha(alpha, frame) - truth).mean()
    assert np.abs(enlarge_alpha(alpha, frame, plate) - truth).mean() < 0.93 * alone


def test_a_plate_of_the_working_size_serves_as_well() -> None:
    truth, frame, plate = scene()
    alpha = small(truth)
    given_small = enlarge_alpha(alpha, frame, cv2.resize(plate, SMALL[::-1], interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(given_small, enlarge_alpha(alpha, frame, plate))


def test_insides_stay_solid_and_the_background_stays_empty() -> None:
    """However wild the texture: away from the edge of alpha nothing leaks."""
    alpha = np.zeros(SMALL, np.float32)
    alpha[20:40, 30:60] = 1
    found = enlarge_alpha(alpha, pixels(1), pixels(2))
    away = cv2.resize(alpha, FULL[::-1], interpolation=cv2.INTER_NEAREST)
    cell = FULL[0] // SMALL[0]
    edge = cv2.morphologyEx(away, cv2.MORPH_GRADIENT, np.ones((5 * cell + 1,) * 2, np.uint8)) > 0
    np.testing.assert_array_equal(found[~edge], away[~edge])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    full=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    working=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    plate=st.booleans(),
)
def test_any_sizes_stay_within_0_and_1(seed: int, full: tuple[int, int], working: tuple[int, int], plate: bool) -> None:
    alpha = np.random.default_rng(seed).choice([0, 0, 1, 1, 0.3], working).astype(np.float32)
    found = enlarge_alpha(alpha, pixels(seed, full), pixels(seed + 1, full) if plate else None)
    assert found.shape == full
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


@settings(max_examples=20, deadline=None)
@given(value=st.floats(0, 1, width=32), seed=st.integers(0, 1000))
def test_a_constant_stays_what_it_is(value: float, seed: int) -> None:
    found = enlarge_alpha(np.full((12, 16), value, np.float32), pixels(seed, (75, 101)), pixels(seed + 1, (75, 101)))
    np.testing.assert_allclose(found, np.float32(value), rtol=0, atol=1e-7)


def test_equal_sizes_are_left_alone() -> None:
    alpha = np.random.default_rng(1).random((30, 40), np.float32)
    np.testing.assert_array_equal(enlarge_alpha(alpha, pixels(1, (30, 40)), pixels(2, (30, 40))), alpha)
    assert enlarge_smooth(alpha, (30, 40)) is alpha


def test_there_are_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The band is worked on in pieces: the same comes out whatever their size, and its rims don't show."""
    truth, frame, plate = scene()
    whole = enlarge_alpha(small(truth), frame, plate)
    monkeypatch.setattr(upsample, "CHUNK", 1000)
    np.testing.assert_array_equal(enlarge_alpha(small(truth), frame, plate), whole)
    # A flat frame has no edges, so alpha must be as smooth as bilinear is: any step would be the band's own rim.
    flat = np.full_like(frame, 90)
    soft = cv2.GaussianBlur(small(truth), (0, 0), 2)
    steps = np.abs(np.diff(enlarge_alpha(soft, flat), axis=1)).max()
    assert steps <= 1.5 * np.abs(np.diff(enlarge_smooth(soft, FULL), axis=1)).max()


def test_nothing_that_was_given_is_changed() -> None:
    truth, frame, plate = scene()
    alpha = small(truth)
    before = alpha.copy(), frame.copy(), plate.copy()
    enlarge_alpha(alpha, frame, plate)
    for now, then in zip((alpha, frame, plate), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_frames_that_are_views_are_read_right() -> None:
    truth, frame, _ = scene()
    mirrored = np.ascontiguousarray(frame[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(enlarge_alpha(small(truth), mirrored), enlarge_alpha(small(truth), frame))
