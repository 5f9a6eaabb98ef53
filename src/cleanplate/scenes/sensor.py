"""The sensor: from the light before the lens to the bytes of one picture.

Contract: a `Shot` says what one exposure does, `exposed` does it: blur, vignette, gain and gamma, noise, resolution,
JPEG or video, in this order. Noise has the deviation sqrt(read^2 + shot^2 x light), of 255
(Foi et al., Practical Poissonian-Gaussian noise modeling, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from cleanplate.scenes.records import SHOTS, generator, normal
from cleanplate.types import Pixels

Picture32 = Float32[np.ndarray, "h w 3"]
TILE = 512
"""Side of the fixed Gaussian picture that noise is cut out of: drawing it anew would be the slowest effect."""


@dataclass(frozen=True)
class Shot:
    """What one exposure does.

    gain: per channel. gamma: exponent on 0..1. read, shot: noise deviation (of 255) in black, and added at white.
    grain: noise comes in spots, not pixels. noise_seed: which noise. blur: lens, deviation in px. motion: length of a
    smear, px; direction: its angle, radians (0 = level). scale: resolution kept (1 = all). jpeg: quality, None = not
    compressed. veil: light of the lens itself, added to all (of 255). vignette: share of the light that the corners
    lose. video: quality of a stronger compression instead of JPEG; grid: where its blocks begin (x, y), px.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    read: float = 0.0
    shot: float = 0.0
    grain: bool = False
    noise_seed: int = 0
    blur: float = 0.0
    motion: float = 0.0
    scale: float = 1.0
    jpeg: int | None = None
    direction: float = 0.0
    veil: float = 0.0
    vignette: float = 0.0
    video: int | None = None
    grid: tuple[int, int] = (0, 0)


PERFECT = Shot()
"""The exposure that changes nothing."""


def draw_gains(rng: np.random.Generator, exposure: float, balance: float) -> tuple[float, float, float]:
    """Gains of this exposure whose white balance is off by about this much, in the logarithm."""
    red, blue = float(np.exp(normal(rng, balance))), float(np.exp(normal(rng, balance)))
    return exposure * red, exposure * float(np.exp(normal(rng, balance / 2))), exposure * blue


def exposed(pixels: Pixels, shot: Shot) -> Pixels:
    """One exposure of what is before the lens."""
    height, width = pixels.shape[:2]
    unit = min(height, width) / 128
    if shot.blur * unit > 0.15:
        pixels = cv2.GaussianBlur(pixels, (0, 0), shot.blur * unit)
    if shot.motion * unit > 1:
        pixels = smeared(pixels, shot.motion * unit, shot.direction)
    if shot.vignette:
        kept = 1 - np.float32(shot.vignette) * _corners(height, width)
        pixels = cv2.multiply(pixels, cv2.merge([kept] * 3), dtype=cv2.CV_8U)
    if shot.gamma != 1 or shot.gain != (1.0, 1.0, 1.0) or shot.veil:
        pixels = cv2.LUT(pixels, _curve(shot.gain, shot.gamma, shot.veil))
    if shot.read or shot.shot:
        pixels = _noisy(pixels, shot)
    if shot.scale < 1:
        small = cv2.resize(
            pixels,
            (max(1, round(width * shot.scale)), max(1, round(height * shot.scale))),
            interpolation=cv2.INTER_AREA,
        )
        pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if shot.video is not None:
        return _filmed(pixels, shot.video, shot.grid)
    return pixels if shot.jpeg is None else _compressed(pixels, shot.jpeg)


def smeared(pixels: UInt8[np.ndarray, "h w *c"], length: float, direction: float) -> UInt8[np.ndarray, "h w *c"]:
    """The picture moved by so many pixels while it was taken."""
    taps = 2 * round(length / 2) + 1
    if direction == 0:
        return cv2.blur(pixels, (taps, 1))
    kernel = np.zeros((taps, taps), np.float32)
    middle, x, y = taps // 2, np.cos(direction) * (taps // 2), np.sin(direction) * (taps // 2)
    start, end = (round(middle - x), round(middle - y)), (round(middle + x), round(middle + y))
    cv2.line(kernel, start, end, 1.0, lineType=cv2.LINE_8)
    return cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=4)
def _corners(height: int, width: int) -> Float32[np.ndarray, "h w"]:
    """0 in the middle, 1 in the corners, growing with the square of the distance."""
    y, x = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1 for side in (height, width))
    return (y[:, None] ** 2 + x[None] ** 2) / np.float32(2)


def _compressed(pixels: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)


def _filmed(pixels: Pixels, quality: int, grid: tuple[int, int]) -> Pixels:
    """An imitation of a video frame at a low bit rate: strong quantisation of 8 x 8 blocks with halved chroma, blocks
    that do not begin at the picture's corner (as those that motion compensation has carried along), and the slight
    blur of a deblocking filter."""
    across, down = grid
    wider = cv2.copyMakeBorder(pixels, down, 0, across, 0, cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(_compressed(wider, quality)[down:, across:], (3, 3), 0.5)


def _curve(gain: tuple[float, float, float], gamma: float, veil: float = 0.0) -> np.ndarray:
    """uint8 [256, 1, 3]: 255 (gain x)^gamma + veil, clipped as a sensor clips."""
    level = np.arange(256, dtype=np.float64)[:, None, None] / 255 * np.array(gain)
    return np.clip(255 * level**gamma + (veil + 0.5), 0, 255).astype(np.uint8)


def _noisy(pixels: Pixels, shot: Shot) -> Pixels:
    """Read noise everywhere, shot noise with the root of the light; a drawn piece of a fixed Gaussian tile."""
    height, width = pixels.shape[:2]
    level = np.arange(256, dtype=np.float32) / 255
    deviation = cv2.LUT(pixels, np.sqrt(np.float32(shot.read**2) + np.float32(shot.shot**2) * level)[:, None])
    noise = _noise(height, width, shot.noise_seed, shot.grain)
    return cv2.add(pixels, cv2.multiply(deviation, noise), dtype=cv2.CV_8U)


def _noise(height: int, width: int, seed: int, grain: bool) -> Picture32:
    """Standard normal; spots instead of pixels with `grain`."""
    if max(height, width) > TILE:
        rng = generator(SHOTS, seed)
        return rng.standard_normal((height, width, 3), dtype=np.float32)
    tile = _tile(grain)
    rest, left = divmod(seed, TILE - width + 1)
    flips, top = divmod(rest, TILE - height + 1)
    part = tile[top : top + height, left : left + width]
    return part[:: 1 - 2 * (flips & 1), :: 1 - (flips & 2)]


@lru_cache(maxsize=2)
def _tile(grain: bool) -> Picture32:
    tile = generator(SHOTS, -1).standard_normal((TILE, TILE, 3), dtype=np.float32)
    if grain:
        tile = np.asarray(cv2.GaussianBlur(tile, (0, 0), 0.8), np.float32)
        return tile / tile.std()
    return tile
