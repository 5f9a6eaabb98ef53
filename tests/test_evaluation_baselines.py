"""Baselines on synthetic scenes whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.evaluation.baselines import (
    MEAN_SIDE,
    THRESHOLD,
    Histograms,
    MeanDepth,
    contact_depth,
    difference,
    subtractor_masks,
    threshold_mask,
)
from cleanplate.measures.metrics import MaskCounts, mask_counts, mask_scores
from cleanplate.pictures.frames import write_depth, write_image
from cleanplate.pictures.library import open_library
from cleanplate.pictures.pairs import open_pairs, read_pair


def moving_square(frames: int = 12) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A square that crosses a noisy plate in strides: plate, frames, true masks."""
    rng = np.random.default_rng(0)
    plate = rng.integers(60, 120, (48, 64, 3)).astype(np.uint8)
    pictures, masks = [], []
    for i in range(frames):
        mask = np.zeros((48, 64), np.float32)
        mask[16:30, 2 + 4 * i : 16 + 4 * i] = 1
        frame = np.clip(plate + rng.normal(0, 2, plate.shape), 0, 255).astype(np.uint8)
        frame[mask > 0] = (230, 30, 200)
        pictures.append(frame)
        masks.append(mask)
    return plate, pictures, masks


def test_difference_is_the_largest_channels() -> None:
    plate, frame = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)
    frame[0, 1], plate[1, 2] = (3, 200, 7), (0, 0, THRESHOLD)
    values = difference(plate, frame)
    assert values[0, 1] == 200
    assert values[1, 2] == THRESHOLD
    assert values.sum() == 200 + THRESHOLD
    assert threshold_mask(values, THRESHOLD).sum() == 2
    assert threshold_mask(values, THRESHOLD + 1).sum() == 1


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 9999))
def test_best_threshold_is_the_best_of_all(seed: int) -> None:
    """Against trying each threshold: the mean over scenes of F1 from pooled counts."""
    rng = np.random.default_rng(seed)
    histograms = Histograms()
    scenes: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for scene in ("a", "a", "b", "empty"):
        truth = rng.random((9, 11)) < (0 if scene == "empty" else 0.3)
        values = np.clip(rng.normal(40, 25, truth.shape) + 50 * truth, 0, 255).astype(np.uint8)
        judged = rng.random(truth.shape) < 0.8
        histograms.add(scene, values, truth, judged)
        scenes.setdefault(scene, []).append((values, truth.astype(np.float32), judged))

    def f1(scene: str, threshold: int) -> float:
        counts = [mask_counts(threshold_mask(v, threshold), truth, judged) for v, truth, judged in scenes[scene]]
        return float(mask_scores(sum(counts, MaskCounts()))["f1"])

    expected = [(f1("a", threshold) + f1("b", threshold)) / 2 for threshold in range(0, 256, 3)]
    np.testing.assert_allclose(histograms.f1()[::3], expected, atol=1e-12)
    assert histograms.f1()[histograms.best()] >= max(*expected, (f1("a", THRESHOLD) + f1("b", THRESHOLD)) / 2)


def test_best_threshold_without_foreground_is_the_fixed_one() -> None:
    histograms = Histograms()
    histograms.add("empty", np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool), np.ones((3, 3), bool))
    assert histograms.best() == THRESHOLD


@pytest.mark.parametrize("name", ["mog2", "knn"])
def test_subtractors_find_a_moving_square(name: Literal["mog2", "knn"]) -> None:
    plate, frames, truths = moving_square()
    masks = list(subtractor_masks(name, plate, frames))
    assert len(masks) == len(frames)
    assert set(np.unique(masks)) <= {0.0, 1.0}
    counts = [mask_counts(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    assert all(float(mask_scores(one)["recall"]) > 0.9 for one in counts[:10])
    assert all(float(mask_scores(one)["precision"]) > 0.5 for one in counts[:10])
    again = list(subtractor_masks(name, plate, frames))
    np.testing.assert_array_equal(masks, again)


@pytest.mark.parametrize("name", ["mog2", "knn"])
def test_subtractors_expect_the_noise_of_a_camera(name: Literal["mog2", "knn"]) -> None:
    """Shown a plate without any, they take a camera's noise for foreground."""
    plate, _, _ = moving_square()
    rng = np.random.default_rng(3)
    noisy = [np.clip(plate + rng.normal(0, 4, plate.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    assert np.mean(list(subtractor_masks(name, plate, noisy))) < 0.02


@pytest.mark.parametrize(("name", "least"), [("mog2", 0.70), ("knn", 0.77)])
def test_subtractors_on_a_real_road(name: Literal["mog2", "knn"], least: float) -> None:
    """The F1 that the protocol is stated to give."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "pairs" / "highway"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    pairs = [read_pair(pair) for pair in open_pairs(folder)]
    masks = subtractor_masks(name, pairs[0].plate, (pair.frame for pair in pairs))
    counts = [
        mask_counts(mask, pair.alpha, pair.judged)
        for mask, pair in zip(masks, pairs, strict=True)
        if pair.alpha is not None
    ]
    assert float(mask_scores(sum(counts, MaskCounts()))["f1"]) > least


def test_contact_depth_is_that_of_each_foot() -> None:
    plate = np.repeat(np.linspace(9, 1, 9, dtype=np.float32)[:, None], 12, axis=1)
    mask = np.zeros((9, 12), bool)
    mask[1:4, 1:4] = True  # foot in row 3: 6 m
    mask[2:8, 6:8] = True  # foot in row 7: 2 m
    depth = contact_depth(mask, plate)
    assert (depth[1:4, 1:4] == plate[3, 0]).all()
    assert (depth[2:8, 6:8] == plate[7, 0]).all()
    assert (depth[~mask] == plate[~mask]).all()
    plate[3] = 0
    unknown = contact_depth(mask, plate)
    assert (unknown[1:4, 1:4] == plate[1:4, 1:4]).all()
    assert (unknown[2:8, 6:8] == plate[7, 0]).all()


def test_mean_depth_is_the_geometric_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, metres in enumerate((2.0, 8.0)):
        write_image(tmp_path / f"{number}.png", rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
        depth = np.full((20, 30), metres, np.float32)
        depth[:, :10] = 0 if number else 2.0  # one of the two is unknown on the left
        write_depth(tmp_path / f"{number}_depth.png", depth)
    mean = MeanDepth(open_library([tmp_path], "plates").pictures)
    depth = mean(40, 60)
    assert depth.shape == (40, 60)
    assert not mean.empty
    np.testing.assert_allclose(depth[:, 25:], 4.0, rtol=1e-3)
    np.testing.assert_allclose(depth[:, :15], 2.0, rtol=1e-3)
    assert MeanDepth([]).empty
    assert MEAN_SIDE > 16
