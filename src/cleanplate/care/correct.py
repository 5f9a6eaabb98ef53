"""Correction: a frame brought to its plate, and the answer brought back to the frame.

Contract: `Care(plate).correct(frame)` measures how the frame must be moved and its exposure changed to fit the plate.
`Correction.frame` applies both, `Correction.back` takes what was then found (alpha, ln depth) to the frame's own
pixels. The plate itself never changes, so whatever was computed from it stays valid.

Nothing is invented: where the moved frame shows nothing, and where a frame's clipped channel could well be the plate's
value, the plate's own value is put. Never worse than doing nothing: each part must lower a robust residual clearly
(see `align` and `exposure`), and both together must again, on all pixels, or the correction is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.care import exposure as exposures
from cleanplate.care.align import SIDE, Alignment, Reference, Shrunk, align, describe, shrink
from cleanplate.care.exposure import Exposure, Triple
from cleanplate.types import Pixels

LEAST_SIDE = 48
"""Smaller pictures are left as they are: they hold too little to measure anything by."""
CLIPPED = 250
"""A channel of a frame from here on may have been brighter than it could say."""
STEADY_PX, STEADY_GAIN = 1.0, 0.05
"""Within a clip, motions and gains nearer than this to the last frame's are averaged with it."""
KEEP = 0.7
"""How much of the last frame's correction stays in the average."""
_SCALE = 0.06
_LEAST_FALL = 0.05


@dataclass(frozen=True)
class Correction:
    """How a frame of `size` (height, width) is brought to its plate: first `alignment` moves it, then `exposure`."""

    size: tuple[int, int]
    alignment: Alignment
    exposure: Exposure

    @property
    def is_identity(self) -> bool:
        """Whether the frame stays as it is."""
        return self.alignment.is_identity and self.exposure.is_identity

    def frame(self, frame: Pixels, plate: Pixels) -> Pixels:
        """The frame as the plate's camera would have seen it; where that is unknown, the plate. All of one size."""
        if self.is_identity:
            return frame
        moved, seen = self._moved(frame)
        fitted = moved if self.exposure.is_identity else cv2.LUT(moved, self.exposure.table())
        if max(self.exposure.at(1.0)) < 1:
            # A clipped channel is at least as bright as it says: if the plate is, too, they agree.
            agrees = (moved >= CLIPPED) & (plate > fitted)
            fitted = np.where(agrees, plate, fitted)
        return fitted if seen is None else np.where(seen[..., None], fitted, plate)

    def back(self, answer: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """A map on the plate's pixels -> the frame's own pixels; its border goes on where the plate shows nothing."""
        if self.alignment.is_identity:
            return answer
        height, width = self.size
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(
            answer, self.alignment.matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )

    def words(self) -> str:
        """What was corrected, for people; empty if nothing."""
        found = []
        if not self.alignment.is_identity:
            right, down = self.alignment.shift_px
            found.append(f"moved by {right:+.1f}, {down:+.1f} px (right, down)")
            if abs(self.alignment.turn_deg) >= 0.05:
                found.append(f"turned by {self.alignment.turn_deg:+.2f} degrees")
            if abs(self.alignment.zoom - 1) >= 0.001:
                found.append(f"zoomed by {self.alignment.zoom:.3f}")
        if not self.exposure.is_identity:
            gains = " ".join(f"{value / 0.5:.2f}" for value in self.exposure.at(0.5))
            found.append(f"exposure times {gains} (red, green, blue)")
        return ", ".join(found)

    def record(self) -> dict[str, Any]:
        """The correction for JSON."""
        return {
            "shift_px": [round(value, 2) for value in self.alignment.shift_px],
            "turn_deg": round(self.alignment.turn_deg, 3),
            "zoom": round(self.alignment.zoom, 4),
            "confidence": round(self.alignment.confidence, 2),
            "gain": [round(value / 0.5, 3) for value in self.exposure.at(0.5)],
            "words": self.words() or "nothing",
        }

    def _moved(self, picture: Pixels) -> tuple[Pixels, np.ndarray | None]:
        """The picture in the plate's geometry, and where it shows anything (None = everywhere)."""
        if self.alignment.is_identity:
            return picture, None
        size = picture.shape[1], picture.shape[0]
        matrix = self.alignment.matrix
        moved = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        inside = np.full(picture.shape[:2], 255, np.uint8)
        return moved, cv2.warpPerspective(inside, matrix, size, flags=cv2.INTER_LINEAR) == 255


@dataclass
class Tally:
    """What was corrected over the frames of a clip, for its listing."""

    frames: int = 0
    corrected: int = 0
    first: Correction | None = None
    last: Correction | None = None

    def add(self, correction: Correction) -> None:
        """Count a frame."""
        self.frames += 1
        if not correction.is_identity:
            self.corrected += 1
            self.first, self.last = self.first or correction, correction

    def record(self) -> dict[str, Any] | None:
        """For JSON: how many frames were corrected, and how the first and the last of them were; None of no frames."""
        if not self.frames:
            return None
        found: dict[str, Any] = {"frames": self.corrected}
        if self.first is not None and self.last is not None:
            found |= {"first": self.first.record(), "last": self.last.record()}
        return found


class Care:
    """A plate's care: what is computed once per plate, for any number of frames of its size.

    plate: uint8 [h, w, 3].
    """

    def __init__(self, plate: Pixels) -> None:
        self.plate = plate
        self.size: tuple[int, int] = (plate.shape[0], plate.shape[1])
        self._shrunk = shrink(plate)
        self._scale = max(self._shrunk.shape[:2]) / max(self.size)
        self._small = exposures.small(self._shrunk)
        self._reference = Reference(self._shrunk) if min(self.size) >= LEAST_SIDE else None

    def correct(self, frame: Pixels, before: Correction | None = None) -> Correction:
        """How this frame is brought to the plate; the identity where that is not sure.

        before: the correction of the last frame of the same clip. It is where the search begins, and a fixed camera's
        corrections are averaged with it, so that they do not tremble.
        """
        nothing = Correction(self.size, Alignment(np.eye(3)), Exposure())
        if self._reference is None:
            return nothing
        shrunk = shrink(frame)
        start = None if before is None else self._resized(before, self._scale).alignment.matrix
        found = Correction(shrunk.shape[:2], align(self._reference, shrunk, start), Exposure())
        moved, seen = found._moved(shrunk)
        small, small_seen = exposures.small(moved), None
        if seen is not None:
            small_seen = cv2.resize(seen.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
        found = replace(found, exposure=exposures.match(self._small, small, small_seen))
        if not found.is_identity and not self._better(found, shrunk, small, small_seen):
            found = replace(nothing, size=found.size)
        whole = self._resized(found, 1 / self._scale)
        return whole if before is None else steady(before, whole)

    def _better(self, found: Correction, frame: Pixels, moved: Shrunk, seen: np.ndarray | None) -> bool:
        """Whether the frame, moved and curved, is clearly nearer to the plate, wherever it really shows something."""
        curve = Correction(self._small.shape[:2], Alignment(np.eye(3)), found.exposure)
        before = _misfit(exposures.small(frame), self._small, seen)
        return _misfit(curve.frame(moved, self._small), self._small, seen) < before * (1 - _LEAST_FALL)

    def _resized(self, correction: Correction, scale: float) -> Correction:
        """The same correction for a frame `scale` times as large as that of the correction."""
        size = self.size if scale >= 1 else (self._shrunk.shape[0], self._shrunk.shape[1])
        if correction.alignment.is_identity or scale == 1:
            return replace(correction, size=size)
        # Pixel centres are whole numbers, so the corner of a picture lies at -0.5.
        larger = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
        matrix = larger @ correction.alignment.matrix @ np.linalg.inv(larger)
        found = correction.alignment
        return replace(
            correction, size=size, alignment=describe(matrix / matrix[2, 2], size, found.confidence, found.gain)
        )


def steady(before: Correction, now: Correction) -> Correction:
    """A frame's correction after the last one's: averaged where they nearly agree, as it is where they do not."""
    alignment, exposure = now.alignment, now.exposure
    limit = STEADY_PX * max(1.0, max(now.size) / SIDE)
    if _apart(before.alignment.matrix, alignment.matrix, now.size) < limit:
        matrix = KEEP * before.alignment.matrix + (1 - KEEP) * alignment.matrix
        alignment = describe(matrix, now.size, alignment.confidence, alignment.gain)
        if _apart(matrix, np.eye(3), now.size) < 0.1:
            alignment = Alignment(np.eye(3), confidence=alignment.confidence)
    gains = zip(before.exposure.at(0.5), exposure.at(0.5), strict=True)
    if max(abs(a / max(b, 1e-3) - 1) for a, b in gains) < STEADY_GAIN:
        exposure = _between(before.exposure, exposure)
    return Correction(now.size, alignment, exposure)


def _between(a: Exposure, b: Exposure) -> Exposure:
    """The curve between the last frame's and this one's; a curve that hardly does anything becomes none."""

    def mixed(x: Triple, y: Triple) -> Triple:
        red, green, blue = (KEEP * before + (1 - KEEP) * now for before, now in zip(x, y, strict=True))
        return red, green, blue

    found = Exposure(mixed(a.gain, b.gain), mixed(a.offset, b.offset), mixed(a.gamma, b.gamma), b.fit)
    rest = max(abs(value / 0.5 - 1) for value in found.at(0.5))
    return found if rest > 0.004 else Exposure()


def _apart(a: np.ndarray, b: np.ndarray, size: tuple[int, int]) -> float:
    """How far apart two motions take the corners of a picture, pixels."""
    height, width = size
    corners = np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]], np.float64)
    first, second = (matrix @ corners for matrix in (a, b))
    return float(np.sqrt(np.square(first[:2] / first[2] - second[:2] / second[2]).sum(axis=0)).max())


def _misfit(a: Pixels, b: Pixels, seen: np.ndarray | None) -> float:
    """The mean robust difference of two pictures, 0..1."""
    squared = np.square(cv2.absdiff(a, b).max(axis=2).astype(np.float32) / np.float32(255 * _SCALE))
    cost = squared / (1 + squared)
    return float(cost.mean() if seen is None or not seen.any() else cost[seen].mean())
