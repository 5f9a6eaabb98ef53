"""The stock: decoded plates and cutouts, at the resolution that scenes of one size need.

Contract: pictures are decoded when first asked for and kept, the longest unused dropped first, so that a worker's
memory is bounded whatever the folders hold. A plate is kept at most 2.5 times, a cutout 1.5 times as large as the
canvas, each with halved copies: a smaller version is made from the copy just above it, which is both quick and free of
aliasing. Cutouts are kept premultiplied (colour x alpha), so that resizing leaves no dark or bright fringe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from cleanplate.pictures.library import Picture, read_cutout, read_plate
from cleanplate.scenes.depth import Floor, fit_floor
from cleanplate.types import Depth, Pixels

PLATE_SCALE, CUTOUT_SCALE = 2.5, 1.5
SILHOUETTE = 16
"""Side of the small alpha on which visibility is judged."""

Kept = TypeVar("Kept")
Premultiplied = UInt8[np.ndarray, "h w 4"]
Box = tuple[float, float, float, float]
"""x, y, width, height, as shares of the plate."""


@dataclass(frozen=True, eq=False)
class Plate:
    """A decoded plate: halved copies from large to small, depth (metres or relative units; None = none), floor.

    aspect: width / height. focal: focal length in plate heights.
    """

    levels: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    depth: Depth | None
    floor: Floor | None
    aspect: float
    focal: float

    def part(self, view: Box, height: int, width: int) -> Pixels:
        """The view (x, y, width, height as shares of the plate) at this size, pixels."""
        rows = view[3] * self.levels[0].shape[0]
        level = self.levels[_level(rows / height, len(self.levels))]
        return resized(level[rectangle(view, level.shape)], height, width)

    def part_depth(self, view: Box, height: int, width: int) -> Depth:
        """The view's depth at this size, nearest neighbour; zeros where the plate has none."""
        if self.depth is None:
            return np.zeros((height, width), np.float32)
        part = self.depth[rectangle(view, self.depth.shape)]
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

    @property
    def bytes(self) -> int:
        depth = 0 if self.depth is None else self.depth.nbytes
        floor = 0 if self.floor is None else self.floor.mask.nbytes + self.floor.points.nbytes
        return sum(level.nbytes for level in self.levels) + depth + floor


@dataclass(frozen=True, eq=False)
class Cutout:
    """A decoded cutout: premultiplied RGBA, halved copies; relief in metres as its own camera saw it, without holes.

    base: the relief where it touches the ground. aspect: width / height. height_m: metres that its visible height spans
    at its distance; None = unknown. silhouette: where it is solid, on a small grid.
    """

    levels: tuple[UInt8[np.ndarray, "_ _ 4"], ...]
    relief: Depth | None
    base: float
    aspect: float
    height_m: float | None
    silhouette: Bool[np.ndarray, "s s"]

    def at(self, height: int, width: int, mirror: bool) -> tuple[Premultiplied, Depth | None]:
        """The cutout at this size, pixels, and its relief (nearest neighbour)."""
        ratio = min(self.levels[0].shape[0] / height, self.levels[0].shape[1] / width)
        pixels = resized(self.levels[_level(ratio, len(self.levels))], height, width)
        relief = self.relief
        if relief is not None:
            relief = cv2.resize(relief, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        if mirror:
            return cv2.flip(pixels, 1), None if relief is None else cv2.flip(relief, 1)
        return pixels, relief

    @property
    def bytes(self) -> int:
        return sum(level.nbytes for level in self.levels) + (0 if self.relief is None else self.relief.nbytes)


class Stock:
    """Decoded pictures by name, for scenes of one size.

    plates, cutouts: pictures, names unique within each. side: the canvas's longer side, pixels. budget: bytes that the
    decoded pictures may take together.
    """

    def __init__(
        self, plates: Sequence[Picture], cutouts: Sequence[Picture], side: int, budget: int = 500_000_000
    ) -> None:
        self._plates = {picture.name: picture for picture in plates}
        self._cutouts = {picture.name: picture for picture in cutouts}
        self._side, self._budget, self._bytes = side, budget, 0
        self._kept: OrderedDict[tuple[str, str], Plate | Cutout] = OrderedDict()
        self._view: tuple[tuple[str, Box, int, int], tuple[Pixels, Depth]] | None = None

    def plate(self, name: str) -> Plate:
        """The decoded plate of this name."""
        return self._keep(("plate", name), lambda: _read_plate(self._plates[name], PLATE_SCALE * self._side))

    def cutout(self, name: str) -> Cutout:
        """The decoded cutout of this name."""
        return self._keep(("cutout", name), lambda: _read_cutout(self._cutouts[name], CUTOUT_SCALE * self._side))

    def view(self, name: str, box: Box, height: int, width: int) -> tuple[Pixels, Depth]:
        """A plate's part and its depth at this size. Shared with the next scene that asks: not to be written to."""
        key = name, box, height, width
        if self._view is None or self._view[0] != key:
            plate = self.plate(name)
            self._view = key, (plate.part(box, height, width), plate.part_depth(box, height, width))
        return self._view[1]

    def floor(self, name: str) -> Floor | None:
        """The floor of this plate; None when it has none or no metric depth."""
        return self.plate(name).floor

    def _keep(self, key: tuple[str, str], read: Callable[[], Kept]) -> Kept:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]  # ty: ignore[invalid-explicit-return]
        item = read()
        self._kept[key] = item  # ty: ignore[invalid-assignment]
        self._bytes += item.bytes  # ty: ignore[missing-attribute]
        while self._bytes > self._budget and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].bytes
        return item


def resized(pixels: UInt8[np.ndarray, "_ _ c"], height: int, width: int) -> UInt8[np.ndarray, "_ _ c"]:
    """Bilinear in fixed point: the same bytes on every processor. At a scale of 1/2 it is the mean of 2 x 2."""
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def halved(pixels: UInt8[np.ndarray, "_ _ c"]) -> UInt8[np.ndarray, "_ _ c"]:
    """Half the size, each pixel the rounded mean of 2 x 2 (an odd last row or column is repeated)."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    wide = pixels.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _levels(pixels: UInt8[np.ndarray, "_ _ c"], longest: float) -> tuple[UInt8[np.ndarray, "_ _ c"], ...]:
    while max(pixels.shape[:2]) > 2 * longest:
        pixels = halved(pixels)
    if max(pixels.shape[:2]) > longest:
        scale = longest / max(pixels.shape[:2])
        pixels = resized(pixels, max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
    levels = [np.ascontiguousarray(pixels)]
    while min(levels[-1].shape[:2]) >= 8:
        levels.append(halved(levels[-1]))
    return tuple(levels)


def _level(ratio: float, count: int) -> int:
    """The smallest copy that is still at least as large as asked for (bilinear then reads every pixel of it)."""
    level = 0
    while ratio >= 2 and level + 1 < count:
        ratio, level = ratio / 2, level + 1
    return level


def rectangle(view: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a view in a picture of this shape [h, w, ...]; at least one of each."""
    height, width = shape[:2]
    left, top = round(view[0] * width), round(view[1] * height)
    right, bottom = round((view[0] + view[2]) * width), round((view[1] + view[3]) * height)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _read_plate(picture: Picture, longest: float) -> Plate:
    pixels, depth = read_plate(picture)
    focal = picture.focal_px / picture.height
    floor = None
    levels = _levels(pixels, longest)
    if depth is not None:
        height, width = levels[0].shape[:2]
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        floor = fit_floor(depth, focal) if picture.depth_unit_m is not None else None
    return Plate(levels, depth, floor, picture.width / picture.height, focal)


def _read_cutout(picture: Picture, longest: float) -> Cutout:
    straight, relief = read_cutout(picture)
    if picture.depth_unit_m is None:
        relief = None  # relative depth says nothing about metres
    alpha = straight[..., 3:].astype(np.uint16)
    premultiplied = straight.copy()
    premultiplied[..., :3] = (straight[..., :3] * alpha + 127) // 255
    levels = _levels(premultiplied, longest)
    relief = None if relief is None else without_holes(relief, straight[..., 3])
    height_m = _spanned(picture, relief, straight[..., 3])
    base = 0.0
    if relief is not None:
        base = base_of(relief, straight[..., 3])
        height, width = levels[0].shape[:2]
        relief = cv2.resize(relief, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    small = cv2.resize(straight[..., 3], (SILHOUETTE, SILHOUETTE), interpolation=cv2.INTER_AREA)
    return Cutout(levels, relief, base, straight.shape[1] / straight.shape[0], height_m, small >= 64)


def without_holes(relief: Depth, alpha: UInt8[np.ndarray, "h w"]) -> Depth | None:
    """Unknown pixels take the nearest known relief, so that soft edges have a depth; None if little is known."""
    known = relief > 0
    if (known & (alpha >= 128)).sum() < 0.5 * (alpha >= 128).sum():
        return None
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(labels, np.int64)
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[known]] = relief[known]
    return values[labels]


def base_of(relief: Depth, alpha: UInt8[np.ndarray, "h w"]) -> float:
    """Median relief of the lowest twentieth of the rows that the cutout fills."""
    rows = np.nonzero((alpha >= 128).any(axis=1))[0]
    lowest = rows >= rows[-1] - max(1, len(rows) // 20) if len(rows) else rows
    band = rows[lowest]
    return float(np.median(relief[band][alpha[band] >= 128])) if len(band) else 0.0


def _spanned(picture: Picture, relief: Depth | None, alpha: UInt8[np.ndarray, "h w"]) -> float | None:
    """Metres that the cutout's visible height spans.

    For what stands upright that is its real height. What lies is longer in the picture than it is high: where its own
    camera is known (relief and focal length), pixels x distance / focal length says how long, and is believed when it
    is no contradiction of the height given.
    """
    if picture.height_m is None or relief is None or not (alpha >= 128).any():
        return picture.height_m
    seen = alpha.shape[0] * float(np.median(relief[alpha >= 128])) / picture.focal_px
    return seen if 0.7 < seen / picture.height_m < 5 else picture.height_m
