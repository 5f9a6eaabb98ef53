"""Alignment: where a frame's pixels lie in the plate, found while something stands in front of up to half of it.

Contract: `align(Reference(plate), frame)` returns an `Alignment`, a 3x3 matrix from the frame's pixels to the plate's.
It is the identity unless the camera has clearly moved, the pictures have enough texture to tell how, and the robust
residual falls on pixels that took no part in the fit.

The motion is fitted robustly on three levels of a pyramid (see `fitting`), from several starts: no motion, the last
frame's motion, phase correlation, and, when these fail, ORB features with RANSAC. Warps are tried from two parameters
(shift) over four (turn, zoom) to eight (homography), and a richer one is kept only where it pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from cleanplate.care.fitting import Fit, Grey, Matrix, corner_shift, level_of, unit_to_pixels
from cleanplate.types import Pixels

SIDE = 320
"""Longest side at which pictures are compared, pixels: the network's own working size."""

Shrunk = UInt8[np.ndarray, "_ _ 3"]
"""Pixels of another size than those given."""

_LEVELS = (1.0, 0.5, 0.25)
_LEAST_SIDE = 24
_LEAST_POINTS = 60

LEAST_SHIFT = 0.2
"""Motions smaller than this many pixels (at SIDE) are left alone: resampling would cost more than it gives."""
LEAST_GAIN = 0.08
"""The robust residual must fall by this share, by twice as much for less than a pixel, or nothing is done."""
LEAST_PLACES = 0.65
"""In so many places of the picture the motion must fit better than none."""
LEAST_CONFIDENCE = 0.25
FARTHEST = 0.25
"""Motions of more than this share of the longer side are not believed."""

_RICHER = {4: 0.05, 8: 0.08}
"""By how much the residual must fall again for a warp of so many parameters to be preferred to a plainer one."""


@dataclass(frozen=True)
class Alignment:
    """Where a frame's pixels lie in the plate.

    matrix: 3x3, frame -> plate, in pixels of the frame's size (pixel centres at whole numbers), [2, 2] = 1.
    shift_px: how far the middle of the frame moves, (right, down). turn_deg: clockwise as seen. zoom: > 1 = the
    frame's content must grow to fit. confidence: 0..1, the share of textured points that agree, less where the texture
    leaves the motion open. gain: by what share the robust residual falls.
    """

    matrix: Matrix
    shift_px: tuple[float, float] = (0.0, 0.0)
    turn_deg: float = 0.0
    zoom: float = 1.0
    confidence: float = 0.0
    gain: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether the frame stays as it is."""
        return bool(np.array_equal(self.matrix, np.eye(3)))


class Reference:
    """A plate prepared for aligning any number of frames of its size. plate: uint8 [h, w, 3]."""

    def __init__(self, plate: Pixels) -> None:
        self.size: tuple[int, int] = (plate.shape[0], plate.shape[1])
        self.greys = pyramid(plate)
        self.levels = [level_of(grey) for grey in self.greys]
        self._orb: tuple | None = None

    @property
    def usable(self) -> bool:
        """Whether the plate has enough texture to align anything with it. Fine noise has none on the coarse levels."""
        return len(self.levels[0].grey) >= _LEAST_POINTS and all(len(level.grey) for level in self.levels)

    def features(self) -> tuple:
        """ORB keypoints and descriptors of the finest level, found when first needed."""
        if self._orb is None:
            self._orb = _orb(self.greys[0])
        return self._orb


def pyramid(picture: Pixels) -> list[Grey]:
    """Grey 0..1 at SIDE and below, slightly blurred against noise and blocks, finest first."""
    grey = cv2.cvtColor(shrink(picture), cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
    height, width = grey.shape
    levels = []
    for scale in _LEVELS:
        size = round(width * scale), round(height * scale)
        if levels and min(size) < _LEAST_SIDE:
            break
        levels.append(cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0))
    return levels


def shrink(picture: Pixels, side: int = SIDE) -> Shrunk:
    """A picture box-averaged down to `side` on its longer side; smaller ones as they are."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def align(reference: Reference, frame: Pixels, start: Matrix | None = None) -> Alignment:
    """The motion from a frame to the plate, or the identity where none is sure. Both have the same size.

    start: a matrix to begin with, such as the last frame's of the same clip.
    """
    none = Alignment(np.eye(3))
    if not reference.usable:
        return none
    greys = pyramid(frame)
    fine = reference.levels[0]
    still = Fit(fine, greys[0], np.eye(3)).settle(6)
    unit = fine.to_pixels
    if _resting(still, unit):
        return Alignment(np.eye(3), confidence=still.confidence)
    if start is not None:
        again = Fit(fine, greys[0], _to_unit(np.linalg.inv(start), reference.size), 4).run(5)
        if again.confidence > 2 * LEAST_CONFIDENCE and again.cost < still.cost * (1 - 2 * LEAST_GAIN):
            return _accepted(still.lit_like(again).settle(), again, reference.size)
    best = _from(reference, greys, [np.eye(3), _phase(reference.greys, greys)])
    if best.confidence < 2 * LEAST_CONFIDENCE:
        found = _features(reference, greys[0])
        again = None if found is None else _from(reference, greys, [found])
        best = again if again is not None and again.cost < best.cost else best
    # Without motion, too, the exposure must have had every chance to explain the difference.
    still = min(still, still.lit_like(best).settle(6), key=lambda fit: fit.cost)
    return _accepted(still, best, reference.size)


def _accepted(still: Fit, best: Fit, size: tuple[int, int]) -> Alignment:
    """The alignment that a fit means, unless there is a reason to leave the frame alone."""
    none = Alignment(np.eye(3), confidence=still.confidence)
    gain = 1 - best.cost / max(still.cost, 1e-6)
    moved = corner_shift(best.motion, best.level.to_pixels)
    believable = moved <= FARTHEST * max(best.level.size)
    least = LEAST_GAIN * (2 if moved < 1 else 1)
    if gain < least or moved < LEAST_SHIFT or not believable or best.confidence < LEAST_CONFIDENCE:
        return none
    if _places(still, best) < LEAST_PLACES:
        return none
    unit = unit_to_pixels(size)
    matrix = np.linalg.inv(unit @ best.motion @ np.linalg.inv(unit))
    return describe(matrix / matrix[2, 2], size, best.confidence, gain)


def describe(matrix: Matrix, size: tuple[int, int], confidence: float, gain: float) -> Alignment:
    """An alignment from its matrix: what it does in the middle of a frame of this (height, width)."""
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
    homogeneous = matrix @ middle
    at = homogeneous[:2] / homogeneous[2]
    slope = (matrix[:2, :2] - np.outer(at, matrix[2, :2])) / homogeneous[2]
    turn = math.degrees(math.atan2(slope[1, 0] - slope[0, 1], slope[0, 0] + slope[1, 1]))
    zoom = math.sqrt(abs(float(np.linalg.det(slope))))
    shift = at - middle[:2]
    return Alignment(matrix, (float(shift[0]), float(shift[1])), turn, zoom, float(confidence), float(gain))


def _places(still: Fit, best: Fit) -> float:
    """In what share of the picture's places the motion fits better than none, on points that no step has used.

    A camera's motion shows everywhere. What shadows and reflections pass for does in some places, and harms others.
    """
    x, y = best.level.points[:2, 1::2]
    cells = 5 * ((x + 1) * 2.499).astype(int) + ((y + 1) * 2.499).astype(int)
    before, after = (np.bincount(cells, fit.held_out(), minlength=25) for fit in (still, best))
    count = np.bincount(cells, minlength=25)
    # Where neither fits, something stands in front.
    tells = (count >= 8) & (np.minimum(before, after) < 0.7 * count)
    return float((after < before)[tells].mean()) if tells.any() else 0.0


def _from(reference: Reference, greys: list[Grey], starts: list[Matrix]) -> Fit:
    """The best fit reached from these starts: all on the coarsest level, the best of them on the finer ones."""
    levels = list(zip(reference.levels, greys, strict=True))
    level, grey = levels[-1]
    shifted = min((Fit(level, grey, start, 2).run(8) for start in starts), key=lambda fit: fit.cost)
    turned = Fit(level, grey, shifted.motion, 4).run(8)
    motion = min(shifted, turned, key=lambda fit: fit.cost).motion
    for level, grey in levels[-2:0:-1]:
        motion = Fit(level, grey, motion, 4).run(8).motion
    level, grey = levels[0]
    best = Fit(level, grey, motion, 2).run(6)
    for parameters, least in _RICHER.items():
        richer = Fit(level, grey, motion if parameters == 4 else best.motion, parameters).run(8)
        if richer.cost < best.cost * (1 - least):
            best = richer
    return best


def _resting(still: Fit, unit: Matrix) -> bool:
    """Whether a frame already fits: most points agree, and a step or two from here lead nowhere."""
    if still.confidence < 0.5:
        return False
    probe = still.lit_like(still)
    probe.step()
    probe.step()
    return corner_shift(probe.motion, unit) < LEAST_SHIFT


def _phase(plate: list[Grey], frame: list[Grey]) -> Matrix:
    """The shift by phase correlation of the middle level, as a motion."""
    middle = min(1, len(plate) - 1)
    a, b = (np.asarray(greys[middle], np.float64) for greys in (plate, frame))
    (x, y), _ = cv2.phaseCorrelate(a, b, cv2.createHanningWindow((a.shape[1], a.shape[0]), cv2.CV_64F))
    half = max(a.shape) / 2
    return np.array([[1.0, 0, x / half], [0, 1, y / half], [0, 0, 1]])


def _orb(grey: Grey) -> tuple:
    detector = cv2.ORB.create(nfeatures=800, fastThreshold=8)
    return detector.detectAndCompute((grey * 255).astype(np.uint8), None)


def _features(reference: Reference, grey: Grey) -> Matrix | None:
    """A motion by ORB features and RANSAC (a similarity), or None where too few agree."""
    (points, words), (others, other_words) = reference.features(), _orb(grey)
    if words is None or other_words is None:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, other_words)
    if len(pairs) < 12:
        return None
    a = np.array([points[pair.queryIdx].pt for pair in pairs])
    b = np.array([others[pair.trainIdx].pt for pair in pairs])
    cv2.setRNGSeed(0)
    found, agree = cv2.estimateAffinePartial2D(a, b, ransacReprojThreshold=2.0, maxIters=1000)
    if found is None or agree.sum() < 10:
        return None
    return _to_unit(np.vstack((found, [0, 0, 1])), reference.levels[0].size)


def _to_unit(matrix: Matrix, size: tuple[int, int]) -> Matrix:
    unit = unit_to_pixels(size)
    return np.linalg.inv(unit) @ matrix @ unit
