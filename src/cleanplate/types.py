"""The nouns that every room shares: images, alpha, depth, scenes, predictions. Only numpy is needed here.

Units and ranges, once for the whole package:

- an image is RGB; `Image` is float32 in 0..1, channels first; `Pixels` is uint8, channels last, and lives only where
  files are read and scenes composed;
- alpha is 0..1 (`Alpha`) or 0..255 (`AlphaPixels`); the mask is alpha >= 0.5 (>= 128);
- depth is planar distance along the optical axis (not along the ray), larger = farther, in metres where the source is
  metric, **0 = unknown**; on disk it is uint16 millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

Image = Float32[np.ndarray, "3 h w"]
Alpha = Float32[np.ndarray, "h w"]
Depth = Float32[np.ndarray, "h w"]
Pixels = UInt8[np.ndarray, "h w 3"]
AlphaPixels = UInt8[np.ndarray, "h w"]
DepthKind = Literal["metric", "relative", "disparity"]
"""What is known of a depth z: metres; z up to one scale and shift per picture; or 1/z up to scale and shift."""

MASK_THRESHOLD = 0.5
"""A pixel belongs to the mask when its alpha reaches this."""

NEAR_M, FAR_M = 0.1, 100.0
"""The fixed constants that map ln(depth) to 0..1 wherever an image of depth is needed (SSIM, panels)."""


class InputError(ValueError):
    """Something a user gave cannot be used. The message says what was given, what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One cutout as it stands in a scene, on the scene's canvas.

    alpha: visible alpha, 0..255 (already cut where something nearer hides it).
    depth: metres; 0 where alpha is 0 or the depth is unknown.
    """

    alpha: AlphaPixels
    depth: Depth


@dataclass(frozen=True, slots=True)
class Scene:
    """One composed sample, before any camera effect.

    plate, frame: uint8 RGB of the same size; they are equal, bit for bit, wherever alpha is 0.
    alpha: how much of the frame is foreground, 0..255, over all layers.
    plate_depth, depth: metres of the plate and of the frame, 0 = unknown.
    layers: back to front.
    recipe: the JSON that makes this scene again.
    """

    plate: Pixels
    frame: Pixels
    alpha: AlphaPixels
    plate_depth: Depth
    depth: Depth
    layers: tuple[Layer, ...]
    recipe: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of a plate and a frame, at the frame's size.

    alpha: 0..1, how much of each pixel stands in front.
    depth: metres where the training depth was metric, else arbitrary units; always > 0. None from a mask-only model.
    """

    alpha: Alpha
    depth: Depth | None

    @property
    def mask(self) -> np.ndarray:
        """bool [h, w]: alpha >= 0.5."""
        return self.alpha >= MASK_THRESHOLD


def to_image(pixels: Pixels) -> Image:
    """uint8 [h, w, 3] in 0..255 -> float32 [3, h, w] in 0..1."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def to_pixels(image: Image) -> Pixels:
    """float32 [3, h, w] in 0..1 (clipped) -> uint8 [h, w, 3], rounded to nearest."""
    return np.ascontiguousarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
