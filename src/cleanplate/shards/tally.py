"""The tally: integer sums over scenes, from which every figure of a survey follows.

Contract: a tally of many scenes is the sum of the tallies of any groups of them, whatever the order, the processes or
the machine, because nothing but integers is added. Mean and deviation per channel come from the histogram of all pixels
and are exact to the last bit of a double:

    mean = sum v h(v) / (255 n),    deviation = sqrt(n sum v^2 h(v) - (sum v h(v))^2) / (255 n).

The mask is alpha >= 128, as everywhere. Depths are counted on a logarithmic scale: metres from 0.1 to 100, or shares of
what is farthest in the scene's plate, from 0.001 to 1; what lies beyond an end counts in the end's bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cleanplate.types import AlphaPixels, Depth, Scene

AREA_BINS = 50
"""Bins of the mask's share of the picture, each 2 % wide."""
CELLS = 16
"""Cells of the map of positions, each way."""
DEPTH_BINS, PER_DECADE = 60, 20
MOST_OBJECTS = 15
STEPS = 65535
NEAREST_M, NEAREST_SHARE = 0.1, 0.001


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts over scenes of one size. The pixels of all frames: colours[0].sum().

    colours: per channel and value. areas: scenes with a mask, by its share of the picture. empty: scenes without one.
    objects: scenes by how many cutouts are seen in them. positions: pixels of masks per cell; cell_pixels: all pixels.
    depths, depths_in_mask: pixels of known depth; depth_unknown: the others.
    """

    scenes: int
    empty: int
    colours: Int64[np.ndarray, "3 256"]
    areas: Int64[np.ndarray, "50"]
    objects: Int64[np.ndarray, "16"]
    positions: Int64[np.ndarray, "16 16"]
    cell_pixels: Int64[np.ndarray, "16 16"]
    depths: Int64[np.ndarray, "60"]
    depths_in_mask: Int64[np.ndarray, "60"]
    depth_unknown: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, 0..1."""
        return tuple(total / (255 * count) for count, total, _ in map(_moments, self.colours))

    @property
    def deviation(self) -> tuple[float, ...]:
        """Standard deviation of each channel over all pixels, 0..1."""
        moments = map(_moments, self.colours)
        return tuple(math.sqrt(count * squares - total**2) / (255 * count) for count, total, squares in moments)


def _moments(counts: Int64[np.ndarray, "256"]) -> tuple[int, int, int]:
    """(count, sum, sum of squares) of pixels counted by value, in Python's integers, which cannot overflow."""
    pairs = [(value, int(count)) for value, count in enumerate(counts)]
    return sum(n for _, n in pairs), sum(v * n for v, n in pairs), sum(v * v * n for v, n in pairs)


def tally(scenes: Iterable[Scene], metric: bool) -> Tally:
    """Count these scenes. metric: their depths are metres."""
    count = empty = unknown = 0
    zeros = {name: np.zeros(shape, np.int64) for name, shape in _SHAPES.items()}
    for scene in scenes:
        mask = (scene.alpha >= 128).view(np.uint8)
        covered = int(np.count_nonzero(mask))
        count, empty = count + 1, empty + (covered == 0)
        _count_colours(scene.frame, zeros["colours"])
        if covered:
            zeros["areas"][min(covered * AREA_BINS // mask.size, AREA_BINS - 1)] += 1
        seen = sum(bool((layer.alpha >= 128).any()) for layer in scene.layers)
        zeros["objects"][min(seen, MOST_OBJECTS)] += 1
        in_cells, cell_pixels = _per_cell(mask)
        zeros["positions"] += in_cells
        zeros["cell_pixels"] += cell_pixels
        bins = _depth_bins(scene.depth, scene.plate_depth, metric)
        counts = np.bincount(bins.ravel(), minlength=DEPTH_BINS + 1)
        unknown += int(counts[DEPTH_BINS])
        zeros["depths"] += counts[:DEPTH_BINS]
        if covered:
            inside = np.bincount(bins[mask.view(bool)], minlength=DEPTH_BINS + 1)
            zeros["depths_in_mask"] += inside[:DEPTH_BINS]
    return Tally(scenes=count, empty=empty, depth_unknown=unknown, **zeros)


_SHAPES = {
    "colours": (3, 256),
    "areas": (AREA_BINS,),
    "objects": (MOST_OBJECTS + 1,),
    "positions": (CELLS, CELLS),
    "cell_pixels": (CELLS, CELLS),
    "depths": (DEPTH_BINS,),
    "depths_in_mask": (DEPTH_BINS,),
}


def depth_edges(metric: bool) -> tuple[float, ...]:
    """The DEPTH_BINS + 1 edges of the bins of depth, metres or shares of the farthest."""
    return tuple((NEAREST_M if metric else NEAREST_SHARE) * 10 ** (k / PER_DECADE) for k in range(DEPTH_BINS + 1))


def _count_colours(frame: UInt8[np.ndarray, "h w 3"], colours: Int64[np.ndarray, "3 256"]) -> None:
    for channel in range(3):
        # counted in float32, which is exact up to 2^24 pixels of one value: 4096 x 4096
        colours[channel] += cv2.calcHist([frame], [channel], None, [256], [0, 256]).ravel().astype(np.int64)


def _per_cell(mask: AlphaPixels) -> tuple[Int64[np.ndarray, "16 16"], Int64[np.ndarray, "16 16"]]:
    """Pixels of the mask, and all pixels, of each cell."""
    down, across = _cells(mask.shape[0]), _cells(mask.shape[1])
    inside = down @ mask.astype(np.float32) @ across.T  # whole numbers below 2^24: exact
    return inside.astype(np.int64), np.outer(down.sum(1), across.sum(1)).astype(np.int64)


@cache
def _cells(length: int) -> Float32[np.ndarray, "16 n"]:
    """1 where a row (or column) lies in a cell; fewer than 16 of them leave cells without any."""
    return (np.arange(length) * CELLS // length == np.arange(CELLS)[:, None]).astype(np.float32)


def _depth_bins(depth: Depth, plate_depth: Depth, metric: bool) -> UInt8[np.ndarray, "h w"]:
    """The bin of each pixel; DEPTH_BINS where its depth is unknown."""
    if not depth.any():
        return np.full(depth.shape, DEPTH_BINS, np.uint8)
    scale = 1000.0 if metric else STEPS / max(float(plate_depth.max()), float(depth.max()))
    steps = np.minimum(depth * np.float32(scale) + np.float32(0.5), np.float32(STEPS)).astype(np.uint16)
    return _bin_of_step(metric)[steps]


@cache
def _bin_of_step(metric: bool) -> UInt8[np.ndarray, "65536"]:
    per_unit = 1000 if metric else STEPS
    edges = np.array([round(per_unit * edge) for edge in depth_edges(metric)[1:-1]])
    bins = np.searchsorted(edges, np.arange(STEPS + 1), side="right").astype(np.uint8)
    bins[0] = DEPTH_BINS
    return bins
