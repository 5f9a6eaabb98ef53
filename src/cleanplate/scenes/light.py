"""Light that changed between plate and frame: a smooth glow, or a patch with an edge.

Contract: records and pure functions that give the factor of light per pixel, to be multiplied in. Positions are shares
of the picture (0..1), lengths of edges pixels of a 128 px canvas.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.types import Pixels

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Glow:
    """A smooth change of light over the frame: 1 + slope along an angle (radians) + a round spot."""

    angle: float
    slope: float
    spot: tuple[float, float, float]
    """x, y (0..1) and radius (of the picture's side)."""
    gain: float


@dataclass(frozen=True)
class Patch:
    """A lit patch with an edge: the sun through a window, a headlight, a lamp that went on (gain > 0) or off (< 0).

    x, y: its middle. across, down: half its sides. lean: how far its top lies right of its bottom, in sides. round: an
    ellipse (a lamp) instead of a parallelogram (a window). bar: with a crossbar's shade. gain: per channel, added to
    the factor 1. edge: width of its edge. plate: on the plate, not the frame.
    """

    x: float
    y: float
    across: float
    down: float
    lean: float
    round: bool
    bar: bool
    gain: tuple[float, float, float]
    edge: float
    plate: bool


def glowing(glow: Glow, height: int, width: int) -> Map:
    """The factor of a change of light, drawn on 16 x 16 points: it is smooth."""
    at = (np.arange(16, dtype=np.float32) + 0.5) / 16
    x, y = at[None], at[:, None]
    slope = np.float32(2 * glow.slope) * (
        (x - 0.5) * np.float32(np.cos(glow.angle)) + (y - 0.5) * np.float32(np.sin(glow.angle))
    )
    across, down, radius = glow.spot
    spot = np.exp(((x - np.float32(across)) ** 2 + (y - np.float32(down)) ** 2) * np.float32(-0.5 / radius**2))
    small = np.maximum(1 + slope + np.float32(glow.gain) * spot, np.float32(0.2))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def patched(pixels: Pixels, patch: Patch) -> Pixels:
    """The picture with the patch's light on all that it shows."""
    height, width = pixels.shape[:2]
    stencil = np.zeros((height, width), np.uint8)
    x, y, across, down = patch.x * width, patch.y * height, patch.across * width, patch.down * height
    if patch.round:
        cv2.ellipse(stencil, (round(x), round(y)), (round(across), round(down)), patch.lean * 30, 0, 360, 255, -1)
    else:
        lean = patch.lean * across
        corners = [(x - across + lean, y - down), (x + across + lean, y - down)]
        corners += [(x + across - lean, y + down), (x - across - lean, y + down)]
        cv2.fillPoly(stencil, [np.array(corners).round().astype(np.int32)], 255)
        if patch.bar:
            thick = max(1, round(0.12 * min(across, down)))
            cv2.line(stencil, (round(x + lean), round(y - down)), (round(x - lean), round(y + down)), 0, thick)
            cv2.line(stencil, (round(x - across), round(y)), (round(x + across), round(y)), 0, thick)
    soft = cv2.GaussianBlur(stencil, (0, 0), max(0.3, patch.edge * min(height, width) / 128))
    levels = np.arange(256, dtype=np.float32)[:, None, None] / 255
    factor = cv2.LUT(cv2.merge([soft] * 3), 1 + levels * np.array(patch.gain, np.float32))
    return cv2.multiply(pixels, factor, dtype=cv2.CV_8U)
