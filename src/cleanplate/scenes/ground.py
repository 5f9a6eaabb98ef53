"""What a thing does to its surroundings besides casting a shadow: it stands dark on the ground, tints, is mirrored.

Contract: records and functions in the picture plane, from the layers' alpha alone, so that they work where no geometry
is known. They change the background of the frame in place; what stands in the frame keeps its colours, and the truth
stays. Lengths are pixels of a 128 px canvas unless said otherwise.

The contact: light from all around reaches a point of the ground the less, the nearer the thing is above it. The lowest
band of the thing, smeared sideways and down, is that: two small spots under a walker, one wide bar under a car, whose
wheels bridge the gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cleanplate.scenes.looks import box, lay
from cleanplate.types import AlphaPixels, Layer, Pixels


@dataclass(frozen=True)
class Contact:
    """strength: share of the light taken at the ground. band: height of the lowest part that takes it, in heights of
    the thing. across, down: its smear sideways in widths of the thing, downward in px.
    """

    strength: float
    band: float
    across: float
    down: float


@dataclass(frozen=True)
class Bounce:
    """strength: how far the surroundings take on a thing's mean colour (0..1). reach: how far from it, px."""

    strength: float
    reach: float


@dataclass(frozen=True)
class Reflection:
    """A mirrored copy below the lowest line. strength: 0..1. fade: height at which it ends, in heights of the thing."""

    strength: float
    fade: float
    blur: float


def darken(left: AlphaPixels, contact: Contact, alpha: AlphaPixels) -> None:
    """Take the light that one thing takes at its foot from `left` (255 = all of it is there), in place."""
    spot = box(alpha)
    if spot is None:
        return
    rows, columns = spot
    height, width = alpha.shape
    unit = min(height, width) / 128
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    if rows.stop == height:
        return  # it goes on below the picture: its foot is not to be seen
    lowest = max(2, round(contact.band * tall))
    across, down = max(1, round(contact.across * wide)), max(1.0, contact.down * unit)
    pad = round(3 * down) + 1
    top = max(0, rows.stop - lowest - pad)
    part = (slice(top, min(height, rows.stop + pad)), slice(max(0, columns.start - across), columns.stop + across))
    foot = alpha[part].copy()
    foot[: max(0, rows.stop - lowest - top)] = 0
    foot = cv2.morphologyEx(foot, cv2.MORPH_CLOSE, np.ones((1, across | 1), np.uint8))
    dark = cv2.GaussianBlur(foot, (0, 0), sigmaX=max(0.5, min(across / 3, 2 * down)), sigmaY=0.6 * down)
    move = np.array([[1, 0, 0], [0, 1, 0.5 * down]], np.float32)
    dark = cv2.warpAffine(dark, move, dark.shape[::-1], borderMode=cv2.BORDER_CONSTANT)
    peak = int(dark.max()) or 1
    keep = 255 - cv2.convertScaleAbs(dark, alpha=contact.strength * 255 / peak)
    left[part] = cv2.multiply(left[part], keep, scale=1 / 255)


def bounced(frame: Pixels, bounce: Bounce, layers: tuple[Layer, ...], alpha: AlphaPixels) -> None:
    """Let the background near each thing take on some of its colour, in place."""
    height, width = alpha.shape
    for layer in layers:
        spot = box(layer.alpha)
        if spot is None:
            continue
        few = max(1, width // 4), max(1, height // 4)
        small = cv2.resize(layer.alpha, few, interpolation=cv2.INTER_AREA)
        near = cv2.GaussianBlur(small, (0, 0), max(0.5, bounce.reach * min(height, width) / 512))
        share = cv2.resize(cv2.convertScaleAbs(near, alpha=bounce.strength), (width, height))
        colour = np.empty_like(frame)
        colour[:] = np.array(cv2.mean(frame[spot], layer.alpha[spot])[:3]).round().astype(np.uint8)
        frame[:] = lay(frame, colour, cv2.multiply(share, 255 - alpha, scale=1 / 255))


def mirror(frame: Pixels, reflection: Reflection, layers: tuple[Layer, ...], alpha: AlphaPixels) -> None:
    """Mirror each thing in the ground below it, in place."""
    height = alpha.shape[0]
    for layer in layers:
        spot = box(layer.alpha)
        if spot is None:
            continue
        rows, columns = spot
        tall = min(rows.stop - rows.start, height - rows.stop)
        if tall < 2:
            continue
        above, below = slice(rows.stop - tall, rows.stop), slice(rows.stop, rows.stop + tall)
        seen, share = frame[above, columns][::-1], layer.alpha[above, columns][::-1]
        unit = min(alpha.shape) / 128
        if reflection.blur * unit > 0.2:
            seen, share = (cv2.GaussianBlur(part, (0, 0), reflection.blur * unit) for part in (seen, share))
        fade = np.clip(1 - np.arange(tall) / max(1.0, reflection.fade * (rows.stop - rows.start)), 0, 1)
        weight = (share * (reflection.strength * fade.astype(np.float32)[:, None])).astype(np.uint8)
        weight = cv2.multiply(weight, 255 - alpha[below, columns], scale=1 / 255)
        frame[below, columns] = lay(frame[below, columns], np.ascontiguousarray(seen), weight)
