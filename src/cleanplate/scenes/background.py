"""The background's own life: foliage that is there in both pictures, a screen or sign that shows something else.

Contract: records and pure functions that give a changed background. Foliage is a stencil of leaves: fixed noise of leaf
size, cut out of a tile, in three tones of a colour (gap, leaf, lit leaf), with a leafy outline. `motion` moves it.
Places are shares of the picture (0..1), sizes pixels of a 128 px canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.looks import lay
from cleanplate.scenes.records import FAMILIES, generator
from cleanplate.types import Pixels

TILE = 384
"""Side of the fixed picture that leaves are cut out of."""


@dataclass(frozen=True)
class Foliage:
    """Leaves painted on the background of plate and frame. seed: which piece of the tile. spot: x, y, radius.

    leaf: size of a leaf. colour: of a leaf in full light (0..255). gap: light left between the leaves (0..1).
    """

    seed: int
    spot: tuple[float, float, float]
    leaf: float
    colour: tuple[float, float, float]
    gap: float


@dataclass(frozen=True)
class Screen:
    """A rectangle of the frame's background that shows something else than in the plate. gain, colour: its light.

    seed: its picture. cells: how fine that is. share: how much of the old picture is replaced.
    """

    seed: int
    x: float
    y: float
    width: float
    height: float
    cells: int
    colour: tuple[float, float, float]
    share: float


def planted(background: Pixels, foliage: Foliage) -> Pixels:
    """The background with the foliage on it."""
    height, width = background.shape[:2]
    tile = _leaves()
    # so much of the tile is shown that a leaf, 4 px of it, gets its size
    scale = 4 * 128 / (foliage.leaf * min(height, width))
    rows, columns = (min(TILE, max(1, round(side * scale))) for side in (height, width))
    rest, left = divmod(foliage.seed, TILE - columns + 1)
    top = rest % (TILE - rows + 1)
    leaf = cv2.resize(tile[top : top + rows, left : left + columns], (width, height), interpolation=cv2.INTER_LINEAR)
    x, y, radius = foliage.spot
    across = ((np.arange(width, dtype=np.float32) + 0.5) / width - np.float32(x)) ** 2
    down = ((np.arange(height, dtype=np.float32) + 0.5) / height - np.float32(y)) ** 2
    near = np.exp((across[None] + down[:, None]) * np.float32(-0.5 / radius**2))
    # denser in the middle, single twigs at the rim
    stencil = cv2.convertScaleAbs(np.maximum(near * 1.6 - 1.1 + leaf * np.float32(0.9), 0), alpha=1500)
    levels = np.array([foliage.gap, 0.35 + foliage.gap / 2, 0.7, 1.0], np.float32)
    curve = np.interp(np.arange(256) / 255, [0.0, 0.4, 0.62, 1.0], levels)[:, None, None] * np.array(foliage.colour)
    tones = cv2.LUT(cv2.merge([cv2.convertScaleAbs(leaf, alpha=255)] * 3), np.clip(curve, 0, 255).astype(np.uint8))
    return lay(background, tones, stencil)


@lru_cache(maxsize=1)
def _leaves() -> Float32[np.ndarray, "h w"]:
    """Ranks 0..1 of noise with spots of 4 px."""
    rng = generator(FAMILIES, -1)
    noise = rng.standard_normal((TILE, TILE), dtype=np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), 1.1)
    coarse = cv2.GaussianBlur(noise[::-1], (0, 0), 6)
    mixed = fine / fine.std() + 0.8 * coarse / coarse.std()
    ranks = np.empty(mixed.size, np.float32)
    ranks[np.argsort(mixed, axis=None, kind="stable")] = np.linspace(0, 1, mixed.size, dtype=np.float32)
    return ranks.reshape(mixed.shape)


def changed(background: Pixels, screen: Screen) -> Pixels:
    """The background with the screen's new picture."""
    height, width = background.shape[:2]
    top, left = round(screen.y * height), round(screen.x * width)
    spot = slice(top, top + max(1, round(screen.height * height))), slice(left, left + round(screen.width * width) + 1)
    part = background[spot]
    if not part.size:
        return background
    shown = generator(FAMILIES, screen.seed).random((screen.cells, screen.cells, 3), dtype=np.float32)
    shown = (0.4 + 0.6 * shown) * np.array(screen.colour, np.float32)
    new = cv2.resize(shown, part.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    background = background.copy()
    background[spot] = cv2.addWeighted(np.clip(new, 0, 255).astype(np.uint8), screen.share, part, 1 - screen.share, 0)
    return background
