"""Metrics: how good masks and depth maps are, as sums over frames that add up across frames, scenes and processes.

A frame gives a `MaskCounts` and `DepthSums`; `+` merges them in any order; `mask_scores` and `depth_scores` turn sums
into figures, NaN where a figure has no meaning. Scores pool their sums within a scene; means over scenes are made
elsewhere, of the scenes' scores.

Mask (predicted and true: alpha >= 0.5, over the judged pixels): iou, f1, precision, recall; mae = mean |alpha -
alpha_true|; boundary_f, the F-measure of boundary pixels matched within 0.8 % of the picture's diagonal and at least
1 px (Perazzi et al., DAVIS, 2016), both masks being cut to the judged pixels first; false_alarm, the share of pixels
called foreground in frames where the truth has none. Without foreground in the truth all but mae and false_alarm are
NaN; a prediction that finds nothing scores 0.

Depth (z predicted, t true, over the pixels where both are known): abs_rel = mean |z - t| / t; rmse; rmse_over_std =
rmse / standard deviation of t; log10 = mean |log10 z - log10 t|; delta1..3 = share with max(z / t, t / z) < 1.25^k
(Eigen et al., 2014); ssim of (ln - ln 0.1) / (ln 100 - ln 0.1) over the windows that touch no unknown pixel.

SSIM is that of Wang et al., 2004: Gaussian windows of 11 px and sigma 1.5, no sample covariance, range 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from cleanplate.types import FAR_M, MASK_THRESHOLD, NEAR_M, Alpha, Depth, DepthKind, Image, InputError

MASK_METRICS = ("iou", "f1", "precision", "recall", "mae", "boundary_f", "false_alarm")
DEPTH_METRICS = ("abs_rel", "rmse", "rmse_over_std", "log10", "delta1", "delta2", "delta3", "ssim")
BOUNDARY_TOLERANCE = 0.008
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2

Sum = float | Float64[np.ndarray, "..."]
Scores = dict[str, Float64[np.ndarray, "..."]]
Mask = Bool[np.ndarray, "h w"]


S = TypeVar("S", bound="Sums")


@dataclass(frozen=True, slots=True)
class Sums:
    """Fields that add. Each is a number, or an array of as many as there are resamples (see `weighted`)."""

    def __add__(self: S, other: S) -> S:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class MaskCounts(Sums):
    """Pixels of one or many frames, judged pixels only."""

    hits: Sum = 0.0
    false: Sum = 0.0
    missed: Sum = 0.0
    judged: Sum = 0.0
    absolute_error: Sum = 0.0
    boundary_found: Sum = 0.0
    """True boundary pixels with a predicted one near, of `boundary_true`."""
    boundary_true: Sum = 0.0
    boundary_right: Sum = 0.0
    """Predicted boundary pixels with a true one near, of `boundary_predicted`."""
    boundary_predicted: Sum = 0.0
    empty_false: Sum = 0.0
    """Pixels called foreground in frames without any, of `empty_judged`."""
    empty_judged: Sum = 0.0


@dataclass(frozen=True, slots=True)
class DepthSums(Sums):
    """Sums over the known pixels of one or many frames; `similarity` over `windows`."""

    known: Sum = 0.0
    relative_error: Sum = 0.0
    squared_error: Sum = 0.0
    log10_error: Sum = 0.0
    within1: Sum = 0.0
    within2: Sum = 0.0
    within3: Sum = 0.0
    true: Sum = 0.0
    true_squared: Sum = 0.0
    similarity: Sum = 0.0
    windows: Sum = 0.0


def weighted(sums: Sequence[S], weights: Float64[np.ndarray, "r n"] | None = None) -> S:
    """Each row of weights applied to n sums and added up: sums whose fields are arrays of r. For resampling.

    Without weights each sum stands for itself: arrays of n.
    """
    table = np.array([astuple(one) for one in sums], np.float64)
    return type(sums[0])(*(table if weights is None else weights @ table).T)


def mask_counts(alpha: Alpha, truth: Alpha, judged: Mask | None = None) -> MaskCounts:
    """Counts of one frame. alpha, truth: 0..1 [h, w]; judged: where the truth is known, by default everywhere."""
    judged = np.ones(truth.shape, bool) if judged is None else judged
    found, there = (alpha >= MASK_THRESHOLD) & judged, (truth >= MASK_THRESHOLD) & judged
    hits, predicted, true = (float(np.count_nonzero(pixels)) for pixels in (found & there, found, there))
    pixels = float(np.count_nonzero(judged))
    empty = true == 0
    return MaskCounts(
        hits,
        predicted - hits,
        true - hits,
        pixels,
        float(np.abs(alpha - truth)[judged].sum(dtype=np.float64)),
        *_boundary_counts(found, there),
        predicted if empty else 0.0,
        pixels if empty else 0.0,
    )


def mask_scores(counts: MaskCounts) -> Scores:
    """MASK_METRICS of the counts, each 0..1, NaN without meaning; arrays where the counts are arrays."""
    true = np.asarray(counts.hits + counts.missed)
    there = true > 0
    precision = ratio(counts.hits, counts.hits + counts.false, 0.0)
    edge_precision = ratio(counts.boundary_right, counts.boundary_predicted, 0.0)
    edge_recall = ratio(counts.boundary_found, counts.boundary_true)
    scores = {
        "iou": ratio(counts.hits, true + counts.false),
        "f1": ratio(2 * counts.hits, true + counts.hits + counts.false),
        "precision": precision,
        "recall": ratio(counts.hits, true),
        "boundary_f": ratio(2 * edge_precision * edge_recall, edge_precision + edge_recall, 0.0),
    }
    scores = {name: np.where(there, value, np.nan) for name, value in scores.items()}
    scores["mae"] = ratio(counts.absolute_error, counts.judged)
    scores["false_alarm"] = ratio(counts.empty_false, counts.empty_judged)
    return {name: scores[name] for name in MASK_METRICS}


def aligned(depth: Depth, truth: Depth, kind: DepthKind = "metric") -> Depth:
    """The predicted depth brought to the truth's scale, by the pixels where both are known. 0 stays 0 (unknown).

    A metric model's by one factor, median(truth) / median(depth). A relative model's by the factor and shift of least
    squared error, kept positive: not below a hundredth of the truth's median. Of disparity: the same, of 1/z.
    """
    if kind == "disparity":
        return _inverse(aligned(_inverse(depth), _inverse(truth), "relative"))
    known = (depth > 0) & (truth > 0)
    if not known.any():
        return depth
    z, t = depth[known].astype(np.float64), truth[known].astype(np.float64)
    if kind == "metric":
        return depth * np.float32(np.median(t) / np.median(z))
    spread = z.var()
    factor = ((z - z.mean()) * (t - t.mean())).mean() / spread if spread > 1e-12 * z.mean() ** 2 else 0.0
    moved = factor * (depth.astype(np.float64) - z.mean()) + t.mean()
    return np.where(depth > 0, np.maximum(moved, np.median(t) / 100), 0).astype(np.float32)


def _inverse(depth: Depth) -> Depth:
    """1/z; 0, unknown, stays 0."""
    return np.divide(np.float32(1), depth, out=np.zeros_like(depth), where=depth > 0)


def depth_sums(depth: Depth, truth: Depth, inside: Mask | None = None) -> DepthSums:
    """Sums of one frame; 0 = unknown in both. inside: only these pixels, and the windows that they are middles of."""
    known = (depth > 0) & (truth > 0)
    similar, windows = _depth_similarity(depth, truth, known, inside)
    known = known if inside is None else known & inside
    z, t = depth[known].astype(np.float64), truth[known].astype(np.float64)
    worse = np.maximum(z / t, t / z)
    return DepthSums(
        float(z.size),
        float((np.abs(z - t) / t).sum()),
        float(((z - t) ** 2).sum()),
        float(np.abs(np.log10(z / t)).sum()),
        *(float(np.count_nonzero(worse < 1.25**power)) for power in (1, 2, 3)),
        float(t.sum()),
        float((t * t).sum()),
        similar,
        windows,
    )


def depth_scores(sums: DepthSums) -> Scores:
    """DEPTH_METRICS of the sums, NaN without known pixels; arrays where the sums are arrays."""
    rmse = np.sqrt(ratio(sums.squared_error, sums.known))
    mean = ratio(sums.true, sums.known)
    # One pass over the data leaves rounding errors in the variance of a flat truth: below 1e-9 of mean^2 it is none.
    variance = ratio(sums.true_squared, sums.known) - mean**2
    deviation = np.sqrt(np.where(variance > 1e-9 * mean**2, variance, np.nan))
    return {
        "abs_rel": ratio(sums.relative_error, sums.known),
        "rmse": rmse,
        "rmse_over_std": rmse / deviation,
        "log10": ratio(sums.log10_error, sums.known),
        "delta1": ratio(sums.within1, sums.known),
        "delta2": ratio(sums.within2, sums.known),
        "delta3": ratio(sums.within3, sums.known),
        "ssim": ratio(sums.similarity, sums.windows),
    }


class Comparison(NamedTuple):
    """Two pictures beside each other.

    mse: mean squared difference of values 0..1. ssim: mean over windows inside the picture and channels, -1..1.
    ssim_map: SSIM around each pixel, mean of the channels, float32 [h, w]; pictures are mirrored at the border.
    """

    mse: float
    ssim: float
    ssim_map: Float32[np.ndarray, "h w"]


def compare(a: Image, b: Float32[np.ndarray, "3 _ _"]) -> Comparison:
    """MSE and SSIM of two images, float32 [3, h, w] in 0..1. Raises InputError when sizes differ or are under 11 px."""
    if a.shape != b.shape:
        raise InputError(
            f"pictures of {a.shape[2]}x{a.shape[1]} and {b.shape[2]}x{b.shape[1]} pixels (width x height) "
            "cannot be compared: give two of the same size"
        )
    if min(a.shape[1:]) < WINDOW:
        raise InputError(f"pictures of {a.shape[2]}x{a.shape[1]} pixels are too small for SSIM: give at least {WINDOW}")
    maps = [ssim_map(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(a, b, strict=True)]
    similar = np.mean(maps, axis=0)
    edge = WINDOW // 2
    squared = (a.astype(np.float64) - b) ** 2
    inside = similar[edge:-edge, edge:-edge]
    return Comparison(float(squared.mean()), float(inside.mean()), similar.astype(np.float32))


def ssim_map(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """SSIM around each pixel of two maps of range 0..1, mirrored at the border; in the precision given."""

    def blur(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = blur(a), blur(b)
    product, power = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    spread, together = blur(a * a + b * b) - power, blur(a * b) - product
    return (2 * product + C1) * (2 * together + C2) / ((power + C1) * (spread + C2))


def ratio(part: Sum, whole: Sum, otherwise: float = np.nan) -> np.ndarray:
    """part / whole, `otherwise` where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole != 0)


def _boundary_counts(found: Mask, there: Mask) -> tuple[float, ...]:
    """boundary_found, boundary_true, boundary_right, boundary_predicted, of masks cut to what is judged.

    Both being cut alike, a predicted boundary inside the unjudged border of a hand-made mask is right.
    """
    near = disc(max(1.0, BOUNDARY_TOLERANCE * float(np.hypot(*there.shape))))
    edge, true_edge = _edge(found), _edge(there)
    matched, right = true_edge & cv2.dilate(edge, near), edge & cv2.dilate(true_edge, near)
    return tuple(float(np.count_nonzero(pixels)) for pixels in (matched, true_edge, right, edge))


def _edge(mask: Mask) -> np.ndarray:
    """uint8: the mask's pixels with one of their four neighbours outside it (outside the picture is no neighbour)."""
    pixels = mask.astype(np.uint8)
    return pixels - cv2.erode(pixels, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))


def disc(radius: float) -> np.ndarray:
    """uint8: a disc of this radius, pixels, to grow masks by."""
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def _depth_similarity(depth: Depth, truth: Depth, known: Mask, inside: Mask | None) -> tuple[float, float]:
    """Sum of SSIM over the windows that count, and their number."""
    edge = WINDOW // 2
    if min(depth.shape) < WINDOW:
        return 0.0, 0.0
    counts = cv2.erode(known.astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8)) > 0
    counts = counts if inside is None else counts & inside
    near, span = math.log(NEAR_M), math.log(FAR_M / NEAR_M)
    a, b = ((np.log(np.where(known, z, np.float32(1))) - near) / span for z in (depth, truth))
    middle = np.s_[edge:-edge, edge:-edge]
    similar = ssim_map(a, b)[middle][counts[middle]]
    return float(similar.sum(dtype=np.float64)), float(similar.size)
