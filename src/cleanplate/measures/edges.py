"""Depth edges: whether the predicted depth jumps where the foreground ends, and nowhere beside.

A depth map has an edge between two neighbouring pixels i, j (right or below) when one lies more than JUMP farther than
the other: z_j / z_i > 1 + JUMP (or the reverse, which is another edge). That is the occluding contour of Depth Pro
(Bochkovskii et al., 2024): it does not depend on the depth's scale, and a smeared edge is only found where every step
of it is steep. Edges match when they point the same way and lie within 2 px of a picture of 224 px (scaled with the
shorter side, at least 1 px), as the boundaries of masks match in DAVIS (Perazzi et al., 2016).

The mask's edges are the true depth's edges across the border of the true mask, judged pixels only:

- recall: share of them with a predicted edge of the same way near;
- precision: share of the predicted edges within 10 px (of 224) of them that have a true edge of the same way near,
  the mask's or any other (a table's edge behind the person is right, too);
- f1: of both. All are NaN where depth does not jump at any mask's border.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from cleanplate.measures.metrics import Mask, Scores, Sum, Sums, disc, ratio
from cleanplate.types import MASK_THRESHOLD, Alpha, Depth

EDGE_METRICS = ("f1", "precision", "recall")
JUMP = 0.1
NEAR_PX, BAND_PX, SIDE_PX = 2, 10, 224
"""What matches and what is judged, in pixels of a picture whose shorter side is SIDE_PX."""

Ways = Bool[np.ndarray, "4 h w"]
"""Edges at pixel i of four ways: the neighbour right of it is farther, nearer; the one below is farther, nearer."""


@dataclass(frozen=True, slots=True)
class EdgeCounts(Sums):
    """Edge pixels of one or many frames."""

    found: Sum = 0.0
    """The mask's edges with a predicted one near, of `true`."""
    true: Sum = 0.0
    right: Sum = 0.0
    """Predicted edges with a true one near, of `predicted`."""
    predicted: Sum = 0.0


def edge_counts(depth: Depth, truth: Depth, alpha: Alpha, judged: Mask | None = None) -> EdgeCounts:
    """Counts of one frame. depth, truth: 0 = unknown; alpha: the true mask; judged: where it is known."""
    inside = alpha >= MASK_THRESHOLD
    everywhere = _edges(truth)
    across = everywhere & _steps(inside, np.ones(inside.shape, bool) if judged is None else judged)
    if not across.any():
        return EdgeCounts()
    scale = min(truth.shape) / SIDE_PX
    near, band = disc(max(1.0, NEAR_PX * scale)), disc(max(1.0, BAND_PX * scale))
    predicted = _edges(depth) & _grown(across.any(axis=0), band)
    # Where the truth is unknown a predicted edge is neither right nor wrong.
    predicted &= ~_grown(truth <= 0, near)
    found = [way & _grown(other, near) for way, other in zip(across, _edges(depth), strict=True)]
    right = [way & _grown(other, near) for way, other in zip(predicted, everywhere, strict=True)]
    return EdgeCounts(*(float(np.count_nonzero(edges)) for edges in (found, across, right, predicted)))


def edge_scores(counts: EdgeCounts) -> Scores:
    """EDGE_METRICS of the counts, each 0..1, NaN without the mask's edges; arrays where the counts are arrays."""
    recall = ratio(counts.found, counts.true)
    precision = ratio(counts.right, counts.predicted, 0.0)
    f1 = ratio(2 * precision * recall, precision + recall, 0.0)
    there = np.asarray(counts.true) > 0
    scores = {"f1": f1, "precision": precision, "recall": recall}
    return {name: np.where(there, value, np.nan) for name, value in scores.items()}


def _edges(depth: Depth) -> Ways:
    """Where a neighbour lies more than JUMP farther or nearer; none beside unknown depth."""
    ways = np.zeros((4, *depth.shape), bool)
    factor = np.float32(1 + JUMP)
    for axis in (0, 1):
        here, there, at = _neighbours(depth, axis)
        known = (here > 0) & (there > 0)
        ways[2 * axis][at] = known & (there > factor * here)
        ways[2 * axis + 1][at] = known & (here > factor * there)
    return ways


def _steps(inside: Mask, judged: Mask) -> Ways:
    """Where the mask ends and depth should rise, or begins and it should fall: the ways of `_edges`."""
    ways = np.zeros((4, *inside.shape), bool)
    for axis in (0, 1):
        here, there, at = _neighbours(inside, axis)
        both = np.logical_and(*_neighbours(judged, axis)[:2])
        ways[2 * axis][at] = both & here & ~there
        ways[2 * axis + 1][at] = both & ~here & there
    return ways


def _neighbours(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
    """Each pixel that has a neighbour right of it (axis 0) or below (1), that neighbour, and where the pixels are."""
    if axis == 0:
        return values[:, :-1], values[:, 1:], np.s_[:, :-1]
    return values[:-1], values[1:], np.s_[:-1, :]


def _grown(edges: Mask, by: np.ndarray) -> Mask:
    return cv2.dilate(edges.astype(np.uint8), by) > 0
