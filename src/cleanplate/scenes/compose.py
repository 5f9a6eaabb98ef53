"""Compose: a recipe and its pictures -> a scene. Pure, integer arithmetic on the pixels, nothing drawn.

Contract: where a scene's alpha is 0 the frame equals the plate bit for bit; where a layer's alpha is 255 and nothing is
in front of it, the frame equals the resized cutout. With the cutout premultiplied by its alpha (C = a F), "over" is

    frame = C + ((255 - a) P + 127) div 255,    Porter and Duff, Compositing Digital Images, 1984.

Depth: where the mask is, that of the layer that shows most; elsewhere the plate's. A standing cutout is hidden where
the plate is clearly nearer (people behind tables).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from jaxtyping import UInt8

from cleanplate.scenes.depth import layered
from cleanplate.scenes.placement import HIDES, Placement, View
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.stock import Stock
from cleanplate.types import AlphaPixels, Depth, Layer, Pixels, Scene


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What is seen of one cutout, where it lies. left, top: on the canvas, pixels; all of it lies there.

    alpha: already cut where something nearer hides it. depth: metres; 0 = unknown, or no part of the cutout.
    """

    left: int
    top: int
    alpha: AlphaPixels
    depth: Depth

    @property
    def spot(self) -> tuple[slice, slice]:
        """Its rows and columns of the canvas."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A scene before its layers and its depth are laid out on the canvas. patches: one per placement, back to front."""

    plate: Pixels
    frame: Pixels
    alpha: AlphaPixels
    plate_depth: Depth
    patches: tuple[Patch, ...]
    recipe: str


def compose(recipe: Recipe, stock: Stock, height: int, width: int) -> Scene:
    """The scene of this recipe on a canvas of height x width pixels."""
    return laid_out(paste(recipe, stock, height, width))


def paste(recipe: Recipe, stock: Stock, height: int, width: int) -> Composite:
    """The composite of this recipe; its plate and plate depth are shared with others and not to be written to."""
    plate, plate_depth = stock.view(recipe.plate, recipe.view.box, height, width)
    frame = plate.copy()
    patches = [_add(placed, recipe.view, stock, frame, plate_depth) for placed in recipe.placements]
    alpha = np.zeros((height, width), np.uint8)
    seen = tuple(_seen(patch, alpha) for patch in reversed(patches))[::-1]
    return Composite(plate, frame, alpha, plate_depth, seen, recipe.to_json())


def laid_out(composite: Composite) -> Scene:
    """The scene of a composite."""
    layers = []
    for patch in composite.patches:
        layer = Layer(np.zeros_like(composite.alpha), np.zeros_like(composite.plate_depth))
        layer.alpha[patch.spot], layer.depth[patch.spot] = patch.alpha, patch.depth
        layers.append(layer)
    depth = whole_depth(layers, composite.alpha, composite.plate_depth)
    of = composite
    return Scene(of.plate, of.frame, of.alpha, of.plate_depth, depth, tuple(layers), of.recipe)


def whole_alpha(layers: Sequence[Layer], shape: tuple[int, int]) -> AlphaPixels:
    """Alpha of all layers together on a canvas (height, width): what each shows, added up (never above 255)."""
    if not layers:
        return np.zeros(shape, np.uint8)
    return reduce(cv2.add, (layer.alpha for layer in layers))


def whole_depth(layers: Sequence[Layer], alpha: AlphaPixels, plate_depth: Depth) -> Depth:
    """Depth of the frame: where `alpha` is the mask, that of the layer that shows most (the nearer of equals)."""
    depth = plate_depth.copy()
    most = np.zeros_like(alpha) if len(layers) > 1 else None
    for layer in layers:
        left, top, width, height = cv2.boundingRect(layer.alpha)
        if not width:
            continue
        spot = slice(top, top + height), slice(left, left + width)
        take = alpha[spot] >= 128
        if most is not None:
            take &= layer.alpha[spot] >= most[spot]
            most[spot] = cv2.max(most[spot], layer.alpha[spot])
        np.copyto(depth[spot], layer.depth[spot], where=take)
    return depth


def canvas_box(placed: Placement, view: View, height: int, width: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a placement on the canvas, pixels; may reach beyond it, never empty."""
    across, down = width / view.width, height / view.height
    wide, tall = max(1, round(placed.width * across)), max(1, round(placed.height * down))
    left = round((placed.x - view.x) * across - wide / 2)
    bottom = round((placed.y - view.y) * down)
    return left, bottom - tall, left + wide, bottom


def _add(placed: Placement, view: View, stock: Stock, frame: np.ndarray, plate_depth: Depth) -> Patch:
    """Paste one cutout into the frame (in place); return it as if nothing nearer hid it."""
    height, width = plate_depth.shape
    left, top, right, bottom = canvas_box(placed, view, height, width)
    cutout = stock.cutout(placed.cutout)
    colour, relief = cutout.at(bottom - top, right - left, placed.mirror)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return Patch(0, 0, np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32))
    colour, spot = colour[inner], (rows, columns)
    relief = None if relief is None else relief[inner]
    standing = placed.mode == "standing"
    deep = layered(placed.depth_m, relief, cutout.base, standing, colour.shape[:2])
    under = plate_depth[spot]
    if standing:
        colour = _hidden_by_plate(colour, deep, under)
    elif placed.depth_m is not None:
        # a free cutout is nearer than what it covers: its relief must not reach through a wall
        np.minimum(deep, np.where(under > 0, under * np.float32(0.98), deep), out=deep)
    alpha = cv2.extractChannel(colour, 3)
    frame[spot] = over(cv2.cvtColor(colour, cv2.COLOR_RGBA2RGB), alpha, frame[spot])
    np.copyto(deep, 0, where=alpha == 0)
    return Patch(columns.start, rows.start, alpha, deep)


def _seen(patch: Patch, nearer: AlphaPixels) -> Patch:
    """What the nearer ones leave to be seen of a patch; it is added to them, in place."""
    if not patch.alpha.size:
        return patch
    before = nearer[patch.spot]
    alpha = shared(255 - before, patch.alpha)
    nearer[patch.spot] = before + alpha
    return Patch(patch.left, patch.top, alpha, patch.depth)


def _hidden_by_plate(colour: UInt8[np.ndarray, "h w 4"], deep: Depth, under: Depth) -> UInt8[np.ndarray, "h w 4"]:
    """The cutout without what the plate hides; the cut is softened by 3 x 3, as an edge between pixels would be."""
    hidden = ((under > 0) & (under < np.float32(HIDES) * deep)).astype(np.uint8)
    if not hidden.any():
        return colour
    keep = 255 - cv2.blur(hidden * 255, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return shared(cv2.merge([keep] * 4), colour)


def over(
    colour: UInt8[np.ndarray, "h w 3"], alpha: AlphaPixels, below: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Premultiplied colour over a picture."""
    return cv2.add(colour, shared(cv2.cvtColor(255 - alpha, cv2.COLOR_GRAY2RGB), below))


def shared(share: UInt8[np.ndarray, "*s"], value: UInt8[np.ndarray, "*s"]) -> UInt8[np.ndarray, "*s"]:
    """(share x value + 127) div 255: 255 keeps the value, 0 removes it.

    OpenCV's rounded share x value / 255 is that very integer on every processor: the quotient is never nearer to a half
    than 1/510, which no rounding error reaches (tested for all 65,536 pairs).
    """
    return cv2.multiply(share, value, scale=1 / 255)
