"""Alignment, exposure and the correction of frames: found where there is one, left alone where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.care import exposure
from cleanplate.care.align import Alignment, Reference, align
from cleanplate.care.correct import Care, Correction, Tally, steady
from cleanplate.care.exposure import Exposure
from cleanplate.pictures.library import sample_folder
from cleanplate.pictures.pairs import open_pairs, read_pair
from made_clips import noisy, scene, thing, warped

SIZE = (180, 240)
MIDDLE = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2, 1])


def misfit(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b)[12:-12, 12:-12].mean())


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    right=st.floats(-9, 9), down=st.floats(-9, 9), turn=st.floats(-1.5, 1.5), zoom=st.floats(0.98, 1.02),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_a_moved_camera_is_found_to_a_fraction_of_a_pixel(
    right: float, down: float, turn: float, zoom: float, seed: int
) -> None:
    truth = scene(seed, SIZE)
    plate = warped(truth, right, down, turn, zoom)
    frame = thing(truth, 70, 30, 90, 150)
    found = align(Reference(plate), frame)
    if np.hypot(right, down) + abs(turn) + 100 * abs(zoom - 1) < 1:
        return
    # Where the corners of the middle half go, by what was done and by what was found.
    points = MIDDLE[:, None] + np.array([[-60, 60, 60, -60], [-45, -45, 45, 45], [0, 0, 0, 0]])
    matrix = cv2.getRotationMatrix2D((MIDDLE[0], MIDDLE[1]), turn, zoom) + np.array([[0, 0, right], [0, 0, down]])
    went = found.matrix @ points
    assert np.abs(went[:2] / went[2] - matrix @ points).max() < 0.3
    assert found.confidence > 0.4


def test_a_foreground_of_almost_half_the_picture_has_no_vote() -> None:
    truth = scene(2, SIZE)
    frame = thing(truth, 0, 0, 110, 180)
    found = align(Reference(warped(truth, 4, -3)), frame)
    assert found.shift_px == pytest.approx((4, -3), abs=0.25)


@pytest.mark.parametrize("seed", range(6))
def test_a_still_camera_is_left_alone(seed: int) -> None:
    plate = scene(seed, SIZE)
    frame = noisy(thing(plate, 20 + 20 * seed, 40, 100, 130, seed), 4, seed)
    assert Care(plate).correct(frame).is_identity


@pytest.mark.parametrize("picture", [np.full((90, 120, 3), 128, np.uint8), scene(0)[:20, :30], scene(0)[:1]])
def test_what_tells_nothing_is_left_alone(picture: np.ndarray) -> None:
    other = np.roll(picture, 3, axis=1)
    assert Care(picture).correct(other).alignment.is_identity


def test_fine_noise_is_left_alone_at_any_size() -> None:
    """On the coarse levels nothing is left of it to align by."""
    picture = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    assert Care(picture).correct(np.roll(picture, 5, axis=1)).is_identity


def test_another_scene_is_left_where_it_is() -> None:
    assert Care(scene(1, SIZE)).correct(scene(2, SIZE)).alignment.is_identity


@pytest.mark.parametrize("gain", [(0.7, 0.7, 0.7), (1.3, 1.3, 1.3), (0.9, 1.0, 1.15)])
def test_a_gain_is_found_behind_a_large_foreground(gain: tuple[float, float, float]) -> None:
    plate = scene(3, SIZE)
    frame = thing(plate, 90, 20, 110, 160)
    darker = np.clip(frame * np.asarray(gain) + 0.5, 0, 255).astype(np.uint8)
    found = exposure.match(exposure.small(plate), exposure.small(darker))
    assert found.at(0.4) == pytest.approx([0.4 / g for g in gain], rel=0.03)


def test_light_through_a_tone_curve_needs_more_than_a_gain() -> None:
    plate = scene(4, SIZE)
    frame = (255 * (0.75 * (plate / 255) ** 1.4) + 0.5).astype(np.uint8)
    care = Care(plate)
    fitted = care.correct(frame).frame(frame, plate)
    assert misfit(fitted, plate) < 0.25 * misfit(frame, plate)


def test_clipped_values_that_agree_with_the_plate_are_the_plates() -> None:
    plate = scene(0, SIZE)
    plate[40:90, 40:120] = (235, 236, 238)
    frame = np.clip(plate.astype(int) * 1.4, 0, 255).astype(np.uint8)
    fitted = Care(plate).correct(frame).frame(frame, plate)
    assert np.abs(fitted.astype(int) - plate)[42:88, 42:118].max() <= 2
    assert misfit(fitted, plate) < 1.5


def test_frame_and_answer_go_there_and_back() -> None:
    truth = scene(1, SIZE)
    plate = warped(truth, 5, -2, 0.6)
    frame = (thing(truth, 80, 40, 60, 90) * 0.8).astype(np.uint8)
    alpha = np.zeros(SIZE, np.float32)
    alpha[40:130, 80:140] = 1
    correction = Care(plate).correct(frame)
    fitted = correction.frame(frame, plate)
    found = (np.abs(fitted.astype(int) - plate).max(axis=2) > 25).astype(np.float32)
    back = correction.back(found) > 0.5
    assert (back & (alpha > 0)).sum() / (back | (alpha > 0)).sum() > 0.93
    assert "moved by" in correction.words()
    assert "exposure times" in correction.words()


def test_what_the_frame_does_not_show_is_the_plates() -> None:
    plate = scene(1, SIZE)
    right = Alignment(np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]]), (10.0, 0.0))
    correction = Correction(SIZE, right, Exposure())
    frame = scene(2, SIZE)
    fitted = correction.frame(frame, plate)
    np.testing.assert_array_equal(fitted[:, :10], plate[:, :10])
    np.testing.assert_array_equal(fitted[:, 10:], frame[:, :-10])
    alpha = np.random.default_rng(0).random(SIZE).astype(np.float32)
    np.testing.assert_allclose(correction.back(alpha)[:, :-10], alpha[:, 10:], atol=1e-6)


def test_large_pictures_are_corrected_in_their_own_pixels() -> None:
    truth = scene(6, (540, 960))
    found = Care(warped(truth, 12, -7)).correct(thing(truth, 300, 100, 250, 400)).alignment
    assert found.shift_px == pytest.approx((12, -7), abs=0.6)
    assert found.matrix[0, 2] == pytest.approx(12, abs=1.5)


def test_a_fixed_cameras_corrections_do_not_tremble() -> None:
    truth = scene(5, SIZE)
    care = Care(warped(truth, 3, 2))
    frames = [noisy(thing(truth, 20 * t, 40, 60, 100), 6, t) for t in range(8)]
    before, steadied, alone = None, [], []
    for frame in frames:
        before = care.correct(frame, before)
        steadied.append(before.alignment.shift_px)
        alone.append(care.correct(frame).alignment.shift_px)
    assert np.std(steadied[3:], axis=0).max() <= np.std(alone[3:], axis=0).max() + 1e-6
    assert steadied[-1] == pytest.approx((3, 2), abs=0.25)


def test_a_jump_is_followed_at_once() -> None:
    here, there = (
        Correction(SIZE, Alignment(np.array([[1.0, 0, x], [0, 1, 0], [0, 0, 1]]), (x, 0.0)), Exposure())
        for x in (0.0, 9.0)
    )
    assert steady(here, there).alignment.shift_px[0] == pytest.approx(9)


def test_a_tally_says_how_many_frames_were_corrected() -> None:
    nothing = Correction(SIZE, Alignment(np.eye(3)), Exposure())
    brighter = Correction(SIZE, Alignment(np.eye(3)), Exposure(gain=(1.2, 1.2, 1.2)))
    tally = Tally()
    assert tally.record() is None
    for correction in (nothing, brighter, brighter, nothing):
        tally.add(correction)
    record = tally.record()
    assert record is not None
    assert record["frames"] == 2
    assert record["first"]["gain"] == [1.2, 1.2, 1.2]


def test_undamaged_pairs_of_the_sample_lose_nothing() -> None:
    scores = []
    for pair in open_pairs(sample_folder() / "pairs")[::2]:
        given = read_pair(pair)
        correction = Care(given.plate).correct(given.frame)
        assert abs(correction.alignment.shift_px[0]) < 0.3, "their camera stands still"
        truth = given.alpha >= 0.5
        if truth.any():
            fitted = correction.frame(given.frame, given.plate)
            masks = [cv2.absdiff(frame, given.plate).max(axis=2) >= 25 for frame in (given.frame, fitted)]
            masks[1] = correction.back(masks[1].astype(np.float32)) >= 0.5
            scores.append([2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in masks])
    before, after = np.mean(scores, axis=0)
    assert after >= before - 0.002
