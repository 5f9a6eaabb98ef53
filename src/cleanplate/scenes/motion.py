"""Motion: a plate that does not quite lie under its frame, because the camera or the background has moved.

Contract: records (`Drift`, `Sway`) and pure functions that warp the plate; the frame and its truth stay where they are.
Lengths are in pixels of a 128 px canvas and scale with the canvas. Interpolation: Keys, Cubic convolution, 1981.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.records import SHOTS, generator
from cleanplate.types import Pixels


@dataclass(frozen=True)
class Drift:
    """The plate's camera was not quite where the frame's is: shift in px, turn in radians, zoom."""

    x: float
    y: float
    turn: float
    zoom: float


@dataclass(frozen=True)
class Sway:
    """Part of the background has moved between plate and frame (leaves, water, screens).

    seed: which field. cells: waves across the picture. amplitude: px. spot: x, y, radius of where. faded: the plate is
    a mean of two states, as plates made from many frames are.
    """

    seed: int
    cells: int
    amplitude: float
    spot: tuple[float, float, float]
    faded: bool


def drifted(plate: Pixels, drift: Drift) -> Pixels:
    height, width = plate.shape[:2]
    unit = min(height, width) / 128
    if drift.turn == 0 and drift.zoom == 1:
        across, down = _shifting(drift.x * unit), _shifting(drift.y * unit)
        return cv2.sepFilter2D(plate, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    cosine, sine = np.cos(drift.turn) * drift.zoom, np.sin(drift.turn) * drift.zoom
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    across = middle_x + drift.x * unit - cosine * middle_x + sine * middle_y
    down = middle_y + drift.y * unit - sine * middle_x - cosine * middle_y
    matrix = np.array([[cosine, -sine, across], [sine, cosine, down]])
    return cv2.warpAffine(plate, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _shifting(shift: float) -> Float32[np.ndarray, " k"]:
    """Centred kernel that, correlated with a line, moves it by `shift` pixels: cubic, quicker than a warp."""
    whole = int(np.floor(shift))
    part = shift - whole
    taps = np.array(
        [
            (part**3 - part**2) / 2,
            (-3 * part**3 + 4 * part**2 + part) / 2,
            (3 * part**3 - 5 * part**2 + 2) / 2,
            (-(part**3) + 2 * part**2 - part) / 2,
        ],
        np.float32,
    )
    reach = abs(whole) + 2
    kernel = np.zeros(2 * reach + 1, np.float32)
    # tap i weighs the pixel at distance i - 2 - whole from the one written
    kernel[reach - 2 - whole : reach + 2 - whole] = taps
    return kernel


def swayed(plate: Pixels, sway: Sway) -> Pixels:
    height, width = plate.shape[:2]
    field = generator(SHOTS, sway.seed).standard_normal((sway.cells + 1, sway.cells + 1, 4), dtype=np.float32)
    at = (np.arange(sway.cells + 1, dtype=np.float32) + 0.5) / (sway.cells + 1)
    x, y, radius = sway.spot
    near = np.exp(((at[None] - np.float32(x)) ** 2 + (at[:, None] - np.float32(y)) ** 2) * np.float32(-0.5 / radius**2))
    field *= near[..., None] * np.float32(sway.amplitude * min(height, width) / 128)
    moves = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    columns, rows = _identity(height, width)
    moved = cv2.remap(
        plate, columns + moves[..., 0], rows + moves[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    if not sway.faded:
        return moved
    other = cv2.remap(
        plate, columns + moves[..., 2], rows + moves[..., 3], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return cv2.addWeighted(moved, 0.5, other, 0.5, 0)


@lru_cache(maxsize=4)
def _identity(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((height, width), dtype=np.float32)
    return columns, rows
