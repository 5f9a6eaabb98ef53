"""Looks: how the cutouts themselves appear in the frame: their tone, their paint, a pane in them, their edge.

Contract: records and functions that recolour a frame in place where something stands; the truth never changes.
Lengths are in pixels of a 128 px canvas, places in a cutout are shares (0..1) of its visible box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from cleanplate.scenes.compose import shared
from cleanplate.types import AlphaPixels, Layer, Pixels

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Tone:
    """One cutout's own look: gain per channel, offset (of 255), how far its mean moves to its surroundings' (0..1)."""

    gain: Colour
    offset: float
    camouflage: float


@dataclass(frozen=True)
class Plain:
    """The largest cutout is painted over with one colour (0..255).

    gradient: relative change of it from top to bottom, as light on a car's side. keep: share of the own shading left.
    """

    colour: Colour
    gradient: float
    keep: float


@dataclass(frozen=True)
class Pane:
    """A window in the largest cutout. x, y, width, height: where. through: share of the background seen through it."""

    x: float
    y: float
    width: float
    height: float
    through: float


@dataclass(frozen=True)
class Blend:
    """How the cutouts' edges and colours meet the background.

    soft: the edge blurred. dark, bright: a rim. eroded: the outermost pixels show the background. matched: colours
    drawn to the background's around them, most near the edge, as a gradient-domain paste does. hard: a stepped edge.
    amount: 0..1.
    """

    kind: Literal["soft", "dark", "bright", "eroded", "matched", "hard"]
    amount: float


def largest(layers: tuple[Layer, ...]) -> AlphaPixels | None:
    """Alpha of the layer that shows most; None = nothing shows."""
    shown = [cv2.countNonZero(layer.alpha) for layer in layers]
    return layers[shown.index(max(shown))].alpha if any(shown) else None


def box(alpha: AlphaPixels) -> tuple[slice, slice] | None:
    """Rows and columns where something shows."""
    left, top, width, height = cv2.boundingRect(alpha)
    return (slice(top, top + height), slice(left, left + width)) if width else None


def lay(part: Pixels, new: Pixels, share: AlphaPixels) -> Pixels:
    """`new` over `part`, as much as the share (0..255) says."""
    weight = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)
    return shared(weight, new) + shared(255 - weight, part)


def tone(frame: Pixels, tone: Tone, alpha: AlphaPixels) -> None:
    """Recolour one layer in place, as much as its alpha shows of it: colour -> gain x colour + offset."""
    spot = box(alpha)
    if spot is None:
        return
    part, share = frame[spot], alpha[spot]
    gain, offset = np.array(tone.gain), np.full(3, tone.offset)
    if tone.camouflage and (share < 255).any():
        own, around = (np.array(cv2.mean(part, where)[:3]) for where in (share, 255 - share))
        offset = (1 - tone.camouflage) * offset + tone.camouflage * (around - own)
        gain = 1 + (gain - 1) * (1 - tone.camouflage)
    levels = np.arange(256)[:, None, None] * gain + offset
    toned = cv2.LUT(part, np.clip(levels + 0.5, 0, 255).astype(np.uint8))
    frame[spot] = lay(part, toned, share)


def paint(frame: Pixels, plain: Plain, alpha: AlphaPixels) -> None:
    """Paint one layer over in place."""
    spot = box(alpha)
    if spot is None:
        return
    part, share = frame[spot], alpha[spot]
    rows = 1 + plain.gradient * (np.linspace(0.5, -0.5, part.shape[0], dtype=np.float32))
    sheet = np.repeat((rows[:, None, None] * np.array(plain.colour, np.float32)), part.shape[1], axis=1)
    mean = np.array(cv2.mean(part, share)[:3], np.float32)
    sheet += np.float32(plain.keep) * (part - mean)
    frame[spot] = lay(part, np.clip(sheet, 0, 255).astype(np.uint8), share)


def glaze(frame: Pixels, pane: Pane, alpha: AlphaPixels, under: Pixels) -> None:
    """Let the background `under` shine through a pane of one layer, in place."""
    spot = box(alpha)
    if spot is None:
        return
    share = alpha[spot]
    height, width = share.shape
    stencil = np.zeros_like(share)
    top, left = round(pane.y * height), round(pane.x * width)
    level = round(255 * pane.through)
    stencil[top : top + max(1, round(pane.height * height)), left : left + max(1, round(pane.width * width))] = level
    frame[spot] = lay(frame[spot], under[spot], shared(cv2.blur(stencil, (3, 3)), share))


def blend(frame: Pixels, blend: Blend, alpha: AlphaPixels, under: Pixels) -> None:
    """Change how everything that stands in the frame meets the background, in place."""
    if not alpha.any():
        return
    unit = min(alpha.shape) / 128
    kernel = np.ones((3, 3), np.uint8)
    reach = max(1, round(unit))
    inner = cv2.erode(alpha, kernel, iterations=reach)
    amount = round(255 * blend.amount) / 255
    if blend.kind == "soft":
        band = cv2.subtract(cv2.dilate(alpha, kernel, iterations=reach), inner)
        new = cv2.GaussianBlur(frame, (0, 0), max(0.6, 1.2 * blend.amount * unit))
        frame[:] = lay(frame, new, band)
    elif blend.kind in ("dark", "bright"):
        new = cv2.convertScaleAbs(frame, alpha=0.45) if blend.kind == "dark" else frame // 2 + np.uint8(128)
        frame[:] = lay(frame, new, cv2.convertScaleAbs(cv2.subtract(alpha, inner), alpha=amount))
    elif blend.kind == "eroded":
        frame[:] = lay(frame, under, cv2.convertScaleAbs(cv2.subtract(alpha, inner), alpha=amount))
    elif blend.kind == "hard":
        grown = cv2.dilate(frame, kernel)
        edge = ((alpha > 64) & (alpha < 255)) * np.uint8(round(255 * blend.amount))
        frame[:] = lay(frame, grown, edge)
    else:
        frame[:] = lay(frame, _matched(frame, alpha, under), cv2.convertScaleAbs(alpha, alpha=amount))


def _matched(frame: Pixels, alpha: AlphaPixels, under: Pixels) -> Pixels:
    """The frame's detail on the background's low tones: frame - low(frame) + low(background), at an eighth."""
    height, width = alpha.shape
    few = max(1, width // 8), max(1, height // 8)
    low = [cv2.resize(picture, few, interpolation=cv2.INTER_AREA) for picture in (frame, under)]
    change = cv2.blur(low[1].astype(np.float32) - low[0], (3, 3))
    return cv2.add(frame, cv2.resize(change, (width, height)), dtype=cv2.CV_8U)
