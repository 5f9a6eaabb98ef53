"""Colours: what stands in front without the light of what stood behind it, for cutouts laid over something else.

Contract: `decontaminate(frame, alpha, plate)` gives the foreground's own colour F for every pixel that a cutout shows.
Where alpha >= TRUSTED and F comes out as a colour at all, composing it over the same plate gives the frame back, to the
rounding of 8 bits; where alpha is 1 it is the frame. Solving I = alpha F + (1 - alpha) P,

    F = (I - (1 - alpha) P) / alpha,

multiplies every error by 1 / alpha. So where alpha is little, where there is no plate, and where F would lie so far
outside of 0..255 that frame, plate and alpha can't all be right, F is taken from the nearest sure pixels (`_filled`): a
colour of the thing itself, never of its old background. The fill goes on for REACH of the picture beyond the outline,
as what scales or blurs a cutout mixes those pixels in; farther out all is black.

A video waits for this at every frame, so F is found on 8 bits by OpenCV, in the blocks of the picture where something
is shown, and the fill, which has no detail of its own, on cells of a few pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from cleanplate.care.correct import Correction
from cleanplate.types import Alpha, Pixels

LEAST, TRUSTED = 0.05, 0.1
"""Below LEAST the equation says nothing, from TRUSTED on it is taken at its word; between, both are mixed."""
SOLID = 0.95
"""Without a plate, colours from this alpha on are the foreground's own."""
SOURCE = 0.7
"""With one, sure colours from this alpha on are good enough to fill others with."""
WRONG = 6
"""An F over the plate that misses the frame by more levels is doubted; by twice as many, it is no colour."""
REACH = 0.01
"""Of the longer side, at least 4 px: how far beyond the outline colours go on."""
CELLS = 3
"""The fill's cells per reach: pixels themselves in small pictures, 4 px wide at 720p."""
BLOCK = 128
"""Pixels: the side of the blocks that are worked on or left alone; what one needs stays in the processor's cache."""
SHOWN = 0.4 / 255
"""Less alpha than this is 0 in 8 bits. Networks leave such traces all over a picture."""

Map = Float32[np.ndarray, "h w"]
Mask = UInt8[np.ndarray, "h w"]
"""1 or 0."""
Cells = UInt8[np.ndarray, "rows columns"]
"""A mask of the fill's cells."""
Spot = tuple[slice, slice]
"""Rows and columns."""


def decontaminate(frame: Pixels, alpha: Alpha, plate: Pixels | None = None) -> Pixels:
    """The foreground's own colours, uint8 [h, w, 3]; black far from it.

    frame, plate: uint8 [h, w, 3] of one size that lie on each other (see `fitted_plate`). alpha: 0..1 [h, w].
    """
    reach = max(4, round(REACH * max(alpha.shape)))
    step = max(1, reach // CELLS)
    near = _near(alpha, reach, step)
    found, means = np.zeros_like(frame), np.zeros((*near.shape, 3), np.float32)
    weights, doubtful = np.zeros(near.shape, np.float32), []
    for spot, cells in _blocks(near, step):
        colours, sure, known = _solved(frame[spot], alpha[spot], None if plate is None else plate[spot])
        found[spot] = colours
        weights[cells] = _shrunk(known, near[cells].shape)
        means[cells] = _shrunk(cv2.copyTo(colours, known), near[cells].shape)
        if sure.min() < 1:
            doubtful.append((spot, sure))
    if weights.any():
        fill = _enlarged(_filled(means, weights, near, reach // step), step, alpha.shape)
    else:
        fill = cv2.copyTo(frame, (alpha > SHOWN).view(np.uint8))
    for spot, sure in doubtful:
        found[spot] = cv2.blendLinear(found[spot], fill[spot], sure, 1 - sure)
    return found


def fitted_plate(plate: Pixels, correction: Correction | None) -> Pixels:
    """The plate as the frame's camera would have seen it: plate care's correction of the frame, the other way round."""
    if correction is None or correction.is_identity:
        return plate
    if not correction.exposure.is_identity:
        plate = cv2.LUT(plate, _undone(correction))
    if correction.alignment.is_identity:
        return plate
    height, width = correction.size
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = correction.alignment.matrix
    return cv2.warpPerspective(plate, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _undone(correction: Correction) -> Pixels:
    """The exposure's table the other way round, uint8 [1, 256, 3]."""
    curve = correction.exposure
    values = np.arange(256)[:, None] / 255
    linear = np.maximum(values - np.asarray(curve.offset), 0) / np.asarray(curve.gain)
    back = linear ** (1 / np.asarray(curve.gamma))
    return (np.clip(back, 0, 1) * 255 + 0.5).astype(np.uint8)[None]


def _near(alpha: Alpha, reach: int, step: int) -> Cells:
    """The cells within reach of what is shown."""
    shown = cv2.threshold(alpha, SHOWN, 1, cv2.THRESH_BINARY)[1]
    shown = _shrunk(shown, (-(-alpha.shape[0] // step), -(-alpha.shape[1] // step)))
    # Enlarging mixes the last cell with the black beyond: hence one more.
    radius = reach if step == 1 else -(-reach // step) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate((shown > 0).view(np.uint8), kernel)


def _blocks(near: Cells, step: int) -> Iterator[tuple[Spot, Spot]]:
    """The blocks that have a cell of these: where they are among the pixels, and among the cells."""
    side = max(1, BLOCK // step)
    for top in range(0, near.shape[0], side):
        for left in range(0, near.shape[1], side):
            cells = slice(top, top + side), slice(left, left + side)
            if near[cells].any():
                first, last = (top * step, left * step), ((top + side) * step, (left + side) * step)
                yield (slice(first[0], last[0]), slice(first[1], last[1])), cells


def _solved(frame: Pixels, alpha: Alpha, plate: Pixels | None) -> tuple[Pixels, Map, Mask]:
    """F by the equation, how sure it is, 0..1, and 1 where others may be filled with it."""
    if plate is None:
        sure = np.clip((alpha - np.float32(SOURCE)) * np.float32(1 / (SOLID - SOURCE)), 0, 1)
        return frame, sure, (alpha >= SOLID).view(np.uint8)
    inverse = 1 / np.maximum(alpha, np.float32(1e-3))
    colours = cv2.blendLinear(frame, plate, inverse, 1 - inverse)
    # F is cut to 0..255; by how much it was too far out shows when it is laid over the plate.
    missed = cv2.absdiff(frame, cv2.blendLinear(colours, plate, alpha, 1 - alpha))
    red, green, blue = cv2.split(missed)
    worst = cv2.max(cv2.max(red, green), blue)
    believed = np.clip(2 - np.arange(256, dtype=np.float32) / WRONG, 0, 1)
    sure = np.clip((alpha - np.float32(LEAST)) * np.float32(1 / (TRUSTED - LEAST)), 0, 1)
    sure *= cv2.LUT(worst, believed)
    return colours, sure, ((alpha >= SOURCE) & (worst <= WRONG)).view(np.uint8)


def _shrunk(values: np.ndarray, size: tuple[int, ...]) -> Float32[np.ndarray, "rows columns *channels"]:
    """The mean of each cell, `size` rows and columns of them."""
    return cv2.resize(values.astype(np.float32, copy=False), (size[1], size[0]), interpolation=cv2.INTER_AREA)


def _filled(
    means: Float32[np.ndarray, "rows columns 3"],
    weights: Float32[np.ndarray, "rows columns"],
    near: Cells,
    reach: int,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Near cells: their known pixels' colour, or that of the nearest cell that has any; black elsewhere.

    means: of the colours, 0 where unknown. weights: the share of a cell that is known, not 0 everywhere.
    """
    sure = weights > 0
    colours = np.round(means[sure] / weights[sure][:, None]).astype(np.uint8)
    _, found = cv2.distanceTransformWithLabels((~sure).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = found.view(np.int32)
    nearest = np.zeros((len(colours) + 1, 3), np.uint8)
    nearest[labels[sure]] = colours
    # Nearest cells meet in hard edges halfway between two parts.
    soft = cv2.blur(nearest.take(labels, axis=0), (reach | 1, reach | 1))
    return cv2.copyTo(soft, near)


def _enlarged(cells: UInt8[np.ndarray, "rows columns 3"], step: int, size: tuple[int, ...]) -> Pixels:
    """Cells as pixels, bilinear, and of those the rows and columns that the picture has."""
    pixels = cv2.resize(cells, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
    return pixels[: size[0], : size[1]]
