"""Metrics against values worked out by hand, scipy and scikit-image; pooling, merging, alignment."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.metrics import mean_squared_error, structural_similarity

from cleanplate.measures.metrics import (
    DEPTH_METRICS,
    MASK_METRICS,
    DepthSums,
    MaskCounts,
    aligned,
    compare,
    depth_scores,
    depth_sums,
    mask_counts,
    mask_scores,
    weighted,
)
from cleanplate.pictures.frames import read_image
from cleanplate.pictures.library import sample_folder
from cleanplate.types import InputError, to_image

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def alpha(*rows: str) -> np.ndarray:
    """'#' = 1, '.' = 0."""
    return np.array([[character == "#" for character in row] for row in rows], np.float32)


def scores(found: np.ndarray, truth: np.ndarray, judged: np.ndarray | None = None) -> dict[str, float]:
    return {name: float(value) for name, value in mask_scores(mask_counts(found, truth, judged)).items()}


def test_mask_scores_by_hand() -> None:
    got = scores(alpha("##..", "##.."), alpha(".##.", ".##."))
    assert list(got) == list(MASK_METRICS)
    assert got["iou"] == pytest.approx(2 / 6)
    assert got["f1"] == pytest.approx(0.5)
    assert got["precision"] == got["recall"] == 0.5
    assert got["mae"] == pytest.approx(4 / 8)
    assert math.isnan(got["false_alarm"])


def test_soft_alpha_is_cut_at_one_half_but_not_for_mae() -> None:
    truth = np.array([[0.5, 0.49, 1.0]], np.float32)
    got = scores(np.array([[0.9, 0.2, 0.5]], np.float32), truth)
    assert got["iou"] == 1
    assert got["mae"] == pytest.approx((0.4 + 0.29 + 0.5) / 3)


def test_empty_truth_has_only_false_alarms_and_mae() -> None:
    got = scores(alpha("#...", "...."), alpha("....", "...."))
    assert got["false_alarm"] == pytest.approx(1 / 8)
    assert got["mae"] == pytest.approx(1 / 8)
    assert all(math.isnan(got[name]) for name in ("iou", "f1", "precision", "recall", "boundary_f"))


def test_finding_nothing_scores_zero() -> None:
    got = scores(alpha("....", "...."), alpha(".#..", "...."))
    assert [got[name] for name in ("iou", "f1", "precision", "recall", "boundary_f")] == [0] * 5


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_perfect_is_one_and_inverted_is_zero(truth: np.ndarray) -> None:
    right = truth.astype(np.float32)
    if truth.any():
        assert all(scores(right, right)[name] == 1 for name in ("iou", "f1", "precision", "recall"))
        assert scores(right, right)["boundary_f"] in (1, pytest.approx(math.nan, nan_ok=True))
        assert scores(1 - right, right)["iou"] == 0
        assert scores(1 - right, right)["mae"] == 1


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(0, 2**32 - 1))
def test_boundary_is_scipys_distance(truth: np.ndarray, seed: int) -> None:
    """Boundary pixels matched by exact Euclidean distance, computed another way."""
    found = np.roll(truth, 1, axis=1) ^ (np.random.default_rng(seed).random(truth.shape) < 0.1)
    edges = [mask & ndimage.binary_dilation(~mask) for mask in (found, truth)]
    reach = max(1.0, 0.008 * math.hypot(*truth.shape)) + 1e-9
    shares = []
    for edge, other in (edges, edges[::-1]):
        far = np.full(edge.shape, np.inf) if not other.any() else ndimage.distance_transform_edt(~other)
        shares.append((far[edge] <= reach).mean() if edge.any() else 0.0)
    got = scores(found.astype(np.float32), truth.astype(np.float32))["boundary_f"]
    if not edges[1].any():
        assert math.isnan(got)
    else:
        expected = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0
        assert got == pytest.approx(expected)


def test_boundary_tolerance_grows_with_the_picture() -> None:
    truth = np.zeros((600, 800), np.float32)  # 0.8 % of 1000 px = 8 px
    truth[200:400, 200:400] = 1
    near, far = np.roll(truth, 8, axis=1), np.roll(truth, 12, axis=1)
    assert scores(near, truth)["boundary_f"] == 1
    assert scores(far, truth)["boundary_f"] < 0.7


@settings(max_examples=30, deadline=None)
@given(MASKS, st.integers(0, 2**32 - 1))
def test_unjudged_pixels_do_not_matter(truth: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    judged = rng.random(truth.shape) < 0.7
    found = rng.random(truth.shape, dtype=np.float32)
    other, changed = found.copy(), truth.astype(np.float32)
    other[~judged] = rng.random((~judged).sum())
    changed[~judged] = rng.random((~judged).sum())
    expected = mask_counts(found, truth.astype(np.float32), judged)
    assert mask_counts(other, changed, judged) == expected
    assert expected.judged == judged.sum()


def test_shards_merge_to_the_whole_and_counts_pool() -> None:
    rng = np.random.default_rng(0)
    frames = [
        (rng.random((9, 7), dtype=np.float32), (rng.random((9, 7)) < share).astype(np.float32))
        for share in (0, 0.2, 0.9)
    ]
    counts = [mask_counts(*frame) for frame in frames]
    whole = sum(counts, MaskCounts())
    assert (counts[2] + counts[0]) + counts[1] == whole
    found, truth = (np.concatenate([frame[i] >= 0.5 for frame in frames]) for i in (0, 1))
    assert float(mask_scores(whole)["iou"]) == pytest.approx((found & truth).sum() / (found | truth).sum())
    assert float(mask_scores(whole)["false_alarm"]) == pytest.approx((frames[0][0] >= 0.5).mean())
    resampled = mask_scores(weighted(counts, np.array([[1.0, 1, 1], [2, 0, 0]])))
    assert resampled["iou"][0] == mask_scores(whole)["iou"]
    assert math.isnan(resampled["iou"][1])


def test_depth_scores_by_hand() -> None:
    truth = np.array([[1.0, 2.0, 4.0, 0.0]], np.float32)
    depth = np.array([[1.2, 2.0, 8.0, 5.0]], np.float32)
    got = depth_scores(depth_sums(depth, truth))
    assert list(got) == list(DEPTH_METRICS)
    rmse = math.sqrt((0.04 + 0 + 16) / 3)
    expected = {
        "abs_rel": (0.2 + 0 + 1) / 3,
        "rmse": rmse,
        "rmse_over_std": rmse / np.std([1, 2, 4]),
        "log10": (math.log10(1.2) + math.log10(2)) / 3,
        "delta1": 2 / 3,
        "delta2": 2 / 3,
        "delta3": 2 / 3,
    }
    for name, value in expected.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-5), name
    assert math.isnan(got["ssim"])


def test_depth_sums_merge_and_stay_inside() -> None:
    rng = np.random.default_rng(1)
    depth, truth = (rng.uniform(1, 5, (2, 20, 30)).astype(np.float32) for _ in range(2))
    inside = rng.random((20, 30)) < 0.3
    whole = sum((depth_sums(d, t, inside) for d, t in zip(depth, truth, strict=True)), DepthSums())
    z, t = depth[:, inside], truth[:, inside]
    assert float(depth_scores(whole)["rmse"]) == pytest.approx(float(np.sqrt(((z - t) ** 2).mean())), rel=1e-5)
    assert float(depth_scores(whole)["rmse_over_std"]) == pytest.approx(
        float(np.sqrt(((z - t) ** 2).mean()) / t.std()), rel=1e-5
    )
    assert whole.known == 2 * inside.sum()
    assert whole.windows == 2 * inside[5:-5, 5:-5].sum()


def test_flat_truth_has_no_deviation() -> None:
    got = depth_scores(depth_sums(np.full((4, 4), 2.0, np.float32), np.full((4, 4), 3.3, np.float32)))
    assert math.isnan(got["rmse_over_std"])
    assert float(got["rmse"]) == pytest.approx(1.3)


def test_depth_ssim_is_scikit_images_on_the_fixed_scale_without_unknown_windows() -> None:
    rng = np.random.default_rng(2)
    depth, truth = (rng.uniform(0.5, 8, (30, 34)).astype(np.float32) for _ in range(2))
    scaled = [(np.log(z.astype(np.float64)) - math.log(0.1)) / math.log(1000) for z in (depth, truth)]
    _, full = structural_similarity(
        *scaled, gaussian_weights=True, use_sample_covariance=False, data_range=1, full=True
    )
    assert float(depth_scores(depth_sums(depth, truth))["ssim"]) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-5)
    truth[12, 10] = 0
    keep = np.ones(full.shape, bool)
    keep[12 - 5 : 12 + 6, 10 - 5 : 10 + 6] = False
    kept = full[5:-5, 5:-5][keep[5:-5, 5:-5]]
    assert float(depth_scores(depth_sums(depth, truth))["ssim"]) == pytest.approx(kept.mean(), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20), st.floats(-0.9, 4), st.integers(0, 999))
def test_alignment_undoes_what_it_should(scale: float, shift: float, seed: int) -> None:
    truth = np.random.default_rng(seed).uniform(1, 6, (12, 12)).astype(np.float32)
    truth[0, :5] = 0
    known = truth > 0
    np.testing.assert_allclose(aligned(scale * truth, truth)[known], truth[known], rtol=1e-4)
    moved = np.where(known, scale * (truth + shift), 0).astype(np.float32)
    np.testing.assert_allclose(aligned(moved, truth, kind="relative")[known], truth[known], rtol=1e-3)
    inverse = np.where(known, 1 / (scale * (1 / np.maximum(truth, 1) + max(shift, 0))), 0).astype(np.float32)
    np.testing.assert_allclose(aligned(inverse, truth, kind="disparity")[known], truth[known], rtol=1e-3)
    assert (aligned(inverse, truth, kind="disparity")[~known] == 0).all()


def test_alignment_ignores_the_unknown_and_survives_a_flat_or_unknown_map() -> None:
    truth = np.array([[2.0, 4.0, 0.0, 6.0]], np.float32)
    np.testing.assert_allclose(aligned(np.array([[1.0, 2.0, 900.0, 0.0]], np.float32), truth), [[2, 4, 1800, 0]])
    flat = aligned(np.full((1, 4), 7.0, np.float32), truth, kind="relative")
    np.testing.assert_allclose(flat, np.full((1, 4), 4.0))
    unknown = np.zeros((1, 4), np.float32)
    assert (aligned(unknown, truth) == 0).all()
    assert depth_sums(unknown, truth).known == 0
    inverted = aligned(np.array([[3.0, 2.0, 1.0, 1.0]], np.float32), truth, kind="relative")
    assert (inverted > 0).all()


def pictures() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    plates = sorted((sample_folder() / "plates").glob("*.jpg"))[:2]
    real = [to_image(read_image(path)) for path in plates]
    noisy = np.clip(real[0] + rng.normal(0, 0.05, real[0].shape), 0, 1).astype(np.float32)
    drawn = rng.random((2, 3, 24, 17), dtype=np.float32)
    return [(drawn[0], drawn[1]), (drawn[0], drawn[0]), (real[0], real[1]), (real[0], noisy)]


@pytest.mark.parametrize("number", range(4))
def test_compare_is_scikit_images(number: int) -> None:
    a, b = pictures()[number]
    got = compare(a, b)
    assert got.mse == pytest.approx(mean_squared_error(a, b), abs=1e-6)
    expected, full = structural_similarity(
        a.astype(np.float64), b.astype(np.float64), channel_axis=0, gaussian_weights=True,
        use_sample_covariance=False, data_range=1, full=True,
    )  # fmt: skip
    assert got.ssim == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(got.ssim_map, full.mean(axis=0), atol=1e-5)


def test_compare_names_what_does_not_fit() -> None:
    image = np.zeros((3, 20, 30), np.float32)
    with pytest.raises(InputError, match="30x20 and 20x30"):
        compare(image, np.zeros((3, 30, 20), np.float32))
    with pytest.raises(InputError, match="too small"):
        compare(image[:, :10], image[:, :10])
