"""Depth edges along the mask: found where they are, in the right direction, within two pixels, whatever the scale."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.measures.edges import EdgeCounts, edge_counts, edge_scores
from cleanplate.measures.metrics import weighted

H, W = 120, 160
Array = np.ndarray


def square(top: int = 40, left: int = 60, side: int = 40) -> Array:
    mask = np.zeros((H, W), np.float32)
    mask[top : top + side, left : left + side] = 1
    return mask


def deep(mask: Array, near: float = 2, far: float = 4) -> Array:
    return np.where(mask > 0.5, near, far).astype(np.float32)


def scores(depth: Array, truth: Array, mask: Array, judged: Array | None = None) -> dict[str, float]:
    return {name: float(value) for name, value in edge_scores(edge_counts(depth, truth, mask, judged)).items()}


def test_the_truth_is_perfect_at_any_scale_of_depth() -> None:
    mask = square()
    counts = edge_counts(deep(mask) * np.float32(0.37), deep(mask), mask)
    assert counts == EdgeCounts(160.0, 160.0, 160.0, 160.0)  # four sides of 40 pixels, each side one way
    assert scores(deep(mask), deep(mask), mask) == {"f1": 1, "precision": 1, "recall": 1}


@pytest.mark.parametrize(("off", "found"), [(1, 1.0), (2, 0.0)])
def test_one_pixel_beside_is_near_at_this_size_two_are_not(off: int, found: float) -> None:
    """2 px of 224 are 1.07 px of 120. Moved sideways, two of the square's four sides stay where they are."""
    mask = square()
    moved = scores(deep(square(left=60 + off)), deep(mask), mask)
    assert moved["recall"] == pytest.approx(0.5 + 0.5 * found, abs=0.03)
    assert moved["precision"] == pytest.approx(0.5 + 0.5 * found, abs=0.03)


def test_no_edge_and_the_wrong_way_round_score_nothing() -> None:
    mask = square()
    assert scores(np.full((H, W), 3, np.float32), deep(mask), mask) == {"f1": 0, "precision": 0, "recall": 0}
    assert scores(deep(mask, 4, 2), deep(mask), mask) == {"f1": 0, "precision": 0, "recall": 0}


def test_a_smeared_edge_is_lost_once_no_step_is_steep() -> None:
    mask = square()
    across = np.clip((np.arange(W, dtype=np.float32) - 60) / 12, 0, 1)
    ramp = np.broadcast_to(np.float32(4) * np.float32(0.5) ** across, (H, W))  # ln 2 over 12 px: 6 % a step
    smeared = np.where(np.arange(W) < 80, np.where(square(side=40) > 0, ramp, 4), deep(mask)).astype(np.float32)
    assert scores(smeared, deep(mask), mask)["recall"] < 0.8  # the left side is gone, and half of the next two


def test_false_edges_count_near_the_mask_alone_and_true_ones_of_other_things_are_right() -> None:
    mask, truth = square(), deep(square())
    shelf = truth.copy()
    shelf[:, 57:60] = 3  # a thing close to the square that is really there
    wrong = scores(shelf, truth, mask)
    assert wrong["precision"] < 0.8
    assert scores(shelf, shelf, mask)["precision"] == 1
    far = truth.copy()
    far[:20, :20] = 3
    assert scores(far, truth, mask)["precision"] == 1


def test_without_a_jump_there_is_no_score() -> None:
    mask = square()
    for given in (
        (deep(mask), np.full((H, W), 4, np.float32), mask),  # it lies on the wall
        (deep(mask), np.zeros((H, W), np.float32), mask),  # nothing is known
        (deep(mask), deep(mask), np.zeros((H, W), np.float32)),  # nothing is in front
    ):
        assert all(np.isnan(value) for value in scores(*given).values())
    assert np.isnan(scores(deep(mask), deep(mask), mask, np.zeros((H, W), bool))["f1"])


def test_beside_unknown_truth_nothing_is_wrong() -> None:
    mask, truth = square(), deep(square())
    truth[:, 90:] = 0
    assert scores(deep(mask), truth, mask) == {"f1": 1, "precision": 1, "recall": 1}


def test_counts_add_up() -> None:
    mask = square()
    one, other = edge_counts(deep(mask), deep(mask), mask), EdgeCounts(true=160.0)
    assert edge_scores(one + other)["recall"] == 0.5
    assert edge_scores(weighted([one, other], np.array([[3.0, 1.0]])))["recall"] == pytest.approx([0.75])
