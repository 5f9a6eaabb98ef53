"""A shadow whose owner is not in the picture: a walker beside it, a pole, a house, a branch in the sun.

Contract: `shade_outside` gives the share of light left per pixel of the background, as `shadow.shade` does.

Maths: with the sun far away, what stands on the ground shades the ground in a shape that is its outline stretched away
from the sun. The shape lies in the ground's own axes, its foot at the drawn point on the picture's rim and its length
into the picture; a background point that is u above the ground is shaded where the ground behind it would be, u
cot(elevation) farther along. So the shape bends up walls and furniture. Where no floor is known one is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from cleanplate.scenes.placement import View
from cleanplate.scenes.records import FAMILIES, generator
from cleanplate.scenes.shadow import Map, assumed, rays, space_of
from cleanplate.types import AlphaPixels, Depth

SIDE = 48
"""Side of a shape's stencil."""


@dataclass(frozen=True)
class Outside:
    """x, y: a point near the picture's rim where the shadow enters, 0..1. angle: its direction on the ground, radians
    (0 = to the right, pi/2 = away from the camera). length, width: in distances to that point. elevation: of the sun.
    strength, softness, tint, pitch, wall: as of a `Shadow` and its lights.
    """

    kind: Literal["figure", "pole", "house", "branch"]
    seed: int
    x: float
    y: float
    angle: float
    length: float
    width: float
    elevation: float
    strength: float
    softness: float
    tint: tuple[float, float, float]
    pitch: float
    wall: float


def shade_outside(
    outside: Outside, view: View, lens: tuple[float, float], up: tuple[float, float, float] | None, plate_depth: Depth
) -> Map:
    """The light left, 0..1, per pixel of the background."""
    height, width = plate_depth.shape
    x, y, depth = rays(view, lens, plate_depth)
    rows, columns = depth.shape
    row, column = (min(side - 1, int(share * side)) for share, side in ((outside.y, rows), (outside.x, columns)))
    known = up is not None and depth[row, column] > 0
    vertical = np.array(up if known else (0, -np.cos(outside.pitch), -np.sin(outside.pitch)), np.float32)
    distance = np.float32(depth[row, column] if known else 1)
    foot = np.array([x[column], y[row], 1], np.float32) * distance
    space = space_of(x, y, depth if known else assumed(x, y, foot, vertical, outside.wall), foot, vertical)
    cosine, sine = np.float32(np.cos(outside.angle)), np.float32(np.sin(outside.angle))
    along = space.right * cosine - space.toward * sine
    along += np.maximum(space.up, 0) * np.float32(1 / np.tan(outside.elevation))
    beside = space.right * sine + space.toward * cosine
    i = (beside / (np.float32(outside.width) * distance) + np.float32(0.5)) * SIDE
    j = (1 - along / (np.float32(outside.length) * distance)) * SIDE
    stencil = _stencil(outside.kind, outside.seed)
    # a house goes on to its sides, and everything goes on towards its owner
    inside = np.minimum(j, SIDE - 1)
    hit = cv2.remap(stencil, np.clip(i, -2, SIDE + 1) if outside.kind != "house" else i, inside, cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(hit, (0, 0), max(0.4, outside.softness * min(rows, columns) / 128))
    light = 1 - soft.astype(np.float32) * np.float32(outside.strength / 255)
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def _stencil(kind: str, seed: int) -> AlphaPixels:
    """The outline, upright: its foot at the bottom, 0..255."""
    rng = generator(FAMILIES, seed)
    stencil = np.zeros((SIDE, SIDE), np.uint8)
    if kind == "figure":
        wide = int(rng.integers(5, 10))
        cv2.ellipse(stencil, (SIDE // 2, 6), (wide - 2, 6), 0, 0, 360, 255, -1)
        cv2.ellipse(stencil, (SIDE // 2, 20), (wide, 12), 0, 0, 360, 255, -1)
        for foot in (int(rng.integers(-10, 0)), int(rng.integers(0, 11))):
            cv2.line(stencil, (SIDE // 2, 24), (SIDE // 2 + foot, SIDE), 255, max(3, wide // 2))
    elif kind == "pole":
        cv2.rectangle(stencil, (SIDE // 2 - 2, 4), (SIDE // 2 + 1, SIDE), 255, -1)
        if rng.random() < 0.5:
            cv2.rectangle(stencil, (SIDE // 2 - 12, 2), (SIDE // 2 + 12, 10), 255, -1)
    elif kind == "house":
        roof = rng.integers(0, 24, 5)
        for number, top in enumerate(roof):
            left = number * SIDE // 5
            cv2.rectangle(stencil, (left, int(top)), (left + SIDE // 5, SIDE), 255, -1)
    else:
        blots = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE), dtype=np.float32), (0, 0), 1.5)
        stencil = cv2.convertScaleAbs(np.maximum(blots / blots.std(), 0), alpha=255)
    return stencil
