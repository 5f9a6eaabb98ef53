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
from cleanplate.inference.colours import LEAST, REACH, SHOWN, SOURCE, TRUSTED, WRONG, decontaminate, fitted_plate

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


def plain(frame: np.ndarray, alpha: np.ndarray, plate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The contract, pixel by pixel: F by the equation, how sure it is, and what others are filled with."""
    share = alpha.astype(np.float64)[..., None]
    part = frame - (1 - share) * plate
    over = np.maximum(-part, part - 255 * share).max(axis=2)
    solved = np.clip(part / np.maximum(share, 1e-3), 0, 255)
    sure = np.clip((alpha - LEAST) / (TRUSTED - LEAST), 0, 1) * np.clip(2 - over / WRONG, 0, 1)
    known = np.argwhere((alpha >= SOURCE) & (over <= WRONG))
    places = np.indices(alpha.shape, np.int32).transpose(1, 2, 0)
    away = ((places[:, :, None] - known) ** 2).sum(axis=-1)
    nearest = solved[tuple(known[away.argmin(axis=-1)].T)].transpose(1, 0, 2)
    return solved, sure, cv2.blur(nearest, (5, 5))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(24, 40), st.integers(30, 950)),
    soft=st.floats(1, 9),
    wrong=st.sampled_from([0, 0, 30]),
)
def test_blocks_and_cells_give_what_the_equation_says(
    seed: int, size: tuple[int, int], soft: float, wrong: int
) -> None:
    """Sizes are those of small pictures and, long and low, of large ones, where the fill has cells of 2 or 3 px."""
    plate = smooth(seed + 1, size, 0, 255).astype(np.uint8)
    front = smooth(seed, (400, 950), 10, 245)[: size[0], : size[1]]
    alpha = disc(size, 9, soft)
    frame = composed(front, alpha, plate)
    plate = np.clip(plate.astype(int) + wrong, 0, 255).astype(np.uint8)
    found = decontaminate(frame, alpha, plate).astype(float)
    solved, sure, fill = plain(frame, alpha, plate)
    assert np.abs(found - solved)[sure == 1].max() <= 0.51
    mixed, shown = fill + sure[..., None] * (solved - fill), alpha > SHOWN
    # Sureness is told by whole levels, and which pixel is nearest by whole steps: both only matter where F is unsure.
    error = np.abs(found - mixed) - 0.2 * np.abs(solved - fill) * ((sure > 0) & (sure < 1))[..., None]
    assert error[shown].max() <= (16 if wrong else 8)
    assert error[shown].mean() <= 1


def test_blocks_meet_without_seams_at_any_size() -> None:
    """One foreground over many blocks, which do not divide the picture."""
    size = (301, 731)
    alpha = np.tile(disc((301, 43), 17, 9), (1, 17))
    front, plate = smooth(1, size, 60, 190), smooth(2, size, 0, 255).astype(np.uint8)
    found = decontaminate(composed(front, alpha, plate), alpha, plate)
    assert np.abs(found - front)[alpha >= TRUSTED].max() <= 6
    assert np.abs(found - front)[alpha > SHOWN].max() <= 30
    # The fill lies under all of the picture's last columns, too.
    alpha[:, -20:] = 0.02
    found = decontaminate(composed(front, alpha, plate), alpha, plate)
    assert found[130:170, -20:].any(axis=2).all()


def test_traces_of_alpha_show_nothing() -> None:
    size = (90, 90)
    alpha = disc(size, 25, 9)
    plate = np.full((*size, 3), GREEN, np.uint8)
    frame = composed(np.full((*size, 3), RED, np.float32), alpha, plate)
    traced = np.maximum(alpha, np.float32(SHOWN / 2))
    np.testing.assert_array_equal(decontaminate(frame, traced, plate), decontaminate(frame, alpha, plate))


def test_pictures_may_be_views() -> None:
    size = (60, 80)
    plate, alpha = smooth(1, size, 0, 255).astype(np.uint8), disc(size, 20, 6)
    frame = composed(smooth(2, size, 0, 255), alpha, plate)
    views = [np.rot90(one) for one in (frame, alpha, plate)]
    copies = [np.ascontiguousarray(one) for one in views]
    np.testing.assert_array_equal(decontaminate(*views), decontaminate(*copies))


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


@pytest.mark.parametrize("size", [(90, 90), (91, 953)])
def test_colours_go_on_a_little_beyond_the_outline(size: tuple[int, int]) -> None:
    alpha = disc(size, 20, 3)
    frame = composed(np.full((*size, 3), RED, np.float32), alpha, np.full((*size, 3), GREEN, np.uint8))
    found = decontaminate(frame, alpha, np.full((*size, 3), GREEN, np.uint8))
    half = cv2.resize(found, (45, 45), interpolation=cv2.INTER_AREA)[cv2.resize(alpha, (45, 45)) > 0.02]
    assert np.abs(half.astype(int) - RED).max() <= 5
    reach = max(4, round(REACH * max(size)))
    within = disc(size, 20 + reach, 1) == 1
    assert np.abs(found[within].astype(int) - RED).max() <= 5
    # All is black a few pixels farther out.
    assert not found[disc(size, 20 + 2 * reach + 4, 1) == 0].any()


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


def test_colours_that_cannot_be_fill_nothing() -> None:
    """A lamp's glare on a thing that is not quite solid: no colour makes that of this plate."""
    size = (60, 80)
    alpha, plate = disc(size, 20, 3) * np.float32(0.75), np.full((*size, 3), 9, np.uint8)
    frame = composed(np.full((*size, 3), RED, np.float32), alpha, plate)
    frame[25:32, 35:42] = 250
    assert np.abs(decontaminate(frame, alpha, plate)[alpha > 0].astype(int) - RED).max() <= 5


@pytest.mark.parametrize("plate", [None, np.full((30, 40, 3), 9, np.uint8)])
def test_nothing_and_everything(plate: np.ndarray | None) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert not decontaminate(frame, np.zeros((30, 40), np.float32), plate).any()
    np.testing.assert_array_equal(decontaminate(frame, np.ones((30, 40), np.float32), plate), frame)
    # A haze without anything solid keeps what is known: the frame, or what the plate makes of it.
    haze = decontaminate(frame, np.full((30, 40), 0.3, np.float32), plate)
    if plate is None:
        np.testing.assert_array_equal(haze, frame)
    else:
        solved = (frame - 0.7 * 9) / 0.3
        possible = ((solved >= 0) & (solved <= 255)).all(axis=2)
        assert possible.any()
        assert np.abs(haze - solved)[possible].max() <= 0.51
    faint = disc((30, 40), 8, 2) * np.float32(0.3)
    assert not decontaminate(frame, faint, plate)[faint == 0].any()


def test_the_plate_goes_where_the_frame_saw_it() -> None:
    plate = smooth(5, (120, 160), 40, 200).astype(np.uint8)
    matrix = np.array([[1, 0, 3.0], [0, 1, -2.0], [0, 0, 1]])
    correction = Correction((120, 160), Alignment(matrix), Exposure(gain=(0.8, 0.9, 1.1)))
    seen = fitted_plate(plate, correction)
    # The correction brings a frame to its plate: the plate as the frame saw it must come back as the plate.
    again = correction.frame(seen, plate)
    assert np.abs(again.astype(int) - plate)[6:-6, 6:-6].max() <= 2
    assert fitted_plate(plate, None) is plate
