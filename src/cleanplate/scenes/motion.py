"""Motion: a plate that does not quite lie under its frame, because the camera or the background has moved.

Contract: records (`Drift`, `Sway`) and pure functions that warp a picture. What stands in the frame and its truth stay
where they are: the plate is warped, and by `stirred` what lies behind the frame's things.
Lengths are in pixels of a 128 px canvas and scale with the canvas. Interpolation: Keys, Cubic convolution, 1981.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.records import SHOTS, generator
from cleanplate.types import Pixels


@dataclass(frozen=True)
class Drift:
    """The plate's camera was not quite where the frame's is: shift in px, turn in radians, zoom.

    tilt: slight perspective: how much the scale changes from the middle to the right and to the lower edge.
    """

    x: float
    y: float
    turn: float
    zoom: float
    tilt: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Sway:
    """Part of the background has moved between plate and frame (leaves, water, screens).

    seed: which field. cells: waves across the picture. amplitude: px. spot: x, y, radius of where. faded: the plate is
    a mean of two states, as plates made from many frames are. more: further spots. flicker: how much lighter or darker
    what has moved gets, as leaves that turn. framed: the frame's background has its own state as well. ripple: the
    field is level waves instead of cells, as on water.
    """

    seed: int
    cells: int
    amplitude: float
    spot: tuple[float, float, float]
    faded: bool
    more: tuple[tuple[float, float, float], ...] = ()
    flicker: float = 0.0
    framed: bool = False
    ripple: bool = False


def drifted(plate: Pixels, drift: Drift) -> Pixels:
    """The plate as a camera that stood a little elsewhere has taken it."""
    height, width = plate.shape[:2]
    unit = min(height, width) / 128
    if drift.turn == 0 and drift.zoom == 1 and drift.tilt == (0.0, 0.0):
        across, down = _shifting(drift.x * unit), _shifting(drift.y * unit)
        return cv2.sepFilter2D(plate, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    cosine, sine = np.cos(drift.turn) * drift.zoom, np.sin(drift.turn) * drift.zoom
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    across = middle_x + drift.x * unit - cosine * middle_x + sine * middle_y
    down = middle_y + drift.y * unit - sine * middle_x - cosine * middle_y
    matrix = np.array([[cosine, -sine, across], [sine, cosine, down]])
    if drift.tilt == (0.0, 0.0):
        return cv2.warpAffine(plate, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    right, below = 2 * drift.tilt[0] / width, 2 * drift.tilt[1] / height
    # about the middle: what lies there stays, w grows to the right and downward
    lean = np.array([[1, 0, middle_x], [0, 1, middle_y], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, 1, 0], [right, below, 1]]
    )
    whole = np.vstack([matrix, [0, 0, 1]]) @ lean @ np.array([[1, 0, -middle_x], [0, 1, -middle_y], [0, 0, 1]])
    return cv2.warpPerspective(plate, whole, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


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
    """The plate with its moving parts in another state."""
    field = _field(sway)
    moved = _moved(plate, sway, field[..., :2])
    return cv2.addWeighted(moved, 0.5, _moved(plate, sway, field[..., 2:4]), 0.5, 0) if sway.faded else moved


def stirred(background: Pixels, sway: Sway) -> Pixels:
    """The frame's background with its moving parts in a state of their own."""
    return _moved(background, sway, _field(replace(sway, seed=sway.seed + 1))[..., :2])


def _field(sway: Sway) -> Float32[np.ndarray, "n n c"]:
    """Displacements of two states, -1..1 and more, on the cells' corners, faded out away from the spots."""
    field = generator(SHOTS, sway.seed).standard_normal((sway.cells + 1, sway.cells + 1, 4), dtype=np.float32)
    at = (np.arange(sway.cells + 1, dtype=np.float32) + 0.5) / (sway.cells + 1)
    if sway.ripple:
        # crests run across the picture: all of a row moves alike, rows differ
        field = np.repeat(field[:, :1], sway.cells + 1, axis=1) + 0.3 * field
    spots = (sway.spot, *sway.more)
    near = [
        np.exp(((at[None] - np.float32(x)) ** 2 + (at[:, None] - np.float32(y)) ** 2) * np.float32(-0.5 / radius**2))
        for x, y, radius in spots
    ]
    return field * np.maximum.reduce(near)[..., None]


def _moved(picture: Pixels, sway: Sway, field: Float32[np.ndarray, "n n 2"]) -> Pixels:
    height, width = picture.shape[:2]
    moves = cv2.resize(field * np.float32(sway.amplitude * min(height, width) / 128), (width, height))
    columns, rows = _identity(height, width)
    moved = cv2.remap(
        picture, columns + moves[..., 0], rows + moves[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    if not sway.flicker:
        return moved
    light = cv2.resize(1 + np.float32(sway.flicker) * np.clip(field[..., 0], -2, 2), (width, height))
    return cv2.multiply(moved, cv2.merge([light] * 3), dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _identity(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((height, width), dtype=np.float32)
    return columns, rows
