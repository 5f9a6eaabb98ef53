"""Layering: a scene's label from one label of its plate and one of each cutout, as the scene itself was composed.

Contract: a teacher sees every plate once, whole, and every cutout once, on grey; each scene's label follows from these
by arithmetic, two thousand times fewer calls than scenes. The plate's label is cut to the scene's view. A layer's is

    v(pixel) = v(contact) * r(pixel),    r = the cutout's label / its own at the base, within 1/2..2,

for depth and for disparity alike. v(contact) follows from the plate's label:

- standing: the label at the point where it stands, and where that lies out of the view, at the nearest pixel in it;
  times the recipe's distance / the exact depth of that pixel where both are known, which is 1 where it stands on it;
- free: nearer than all that it covers: the nearest label that it covers, times the recipe's distance / the nearest
  exact depth that it covers (0.5 to 0.95), or 0.8 where these are unknown; and its relief reaches through nothing.

So the recipe's metres enter as a ratio only: a teacher's metres need not be the plate's. With disparity every factor on
depth divides. The relief is the cutout's where it is opaque (if it hardly is: where its alpha reaches one half),
elsewhere that of the nearest such pixel.
Source: as `scenes.depth.layered` and `scenes.compose`, for values that are known up to scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.compose import canvas_box, over
from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.stock import Cutout, Plate, base_of, without_holes
from cleanplate.teachers.model import Values
from cleanplate.types import AlphaPixels, Depth, DepthKind, Pixels, Scene

Relief = Float32[np.ndarray, "_ _"]
"""A cutout's label over its own at the base."""

GREY = 118
"""The background that a teacher sees behind a cutout: half of the light, in sRGB between black and white."""
MARGIN = 1.25
"""Side of the square that a cutout is shown in, over its longer side."""
CORE = 250
"""Alpha of the pixels that are the cutout's own: at its edges a teacher sees grey as well."""
DEEPEST = 2.0
"""A cutout's farthest and nearest point, over its base."""
FREE_RATIO, FREE_RANGE = 0.8, (0.5, 0.95)
STANDING_RANGE = (0.25, 4.0)
THROUGH = 0.98


def on_grey(cutout: Cutout) -> tuple[Pixels, tuple[slice, slice]]:
    """The cutout in the middle of a grey square, and where in it."""
    colour = cutout.levels[0]
    height, width = colour.shape[:2]
    side = round(MARGIN * max(height, width))
    top, left = (side - height) // 2, (side - width) // 2
    spot = slice(top, top + height), slice(left, left + width)
    picture = np.full((side, side, 3), GREY, np.uint8)
    picture[spot] = over(np.ascontiguousarray(colour[..., :3]), np.ascontiguousarray(colour[..., 3]), picture[spot])
    return picture, spot


def positive(values: Values) -> Values:
    """Relative values moved until none is below 0, where there are no ratios: their shift is free."""
    known = values[np.isfinite(values)]
    return values - min(known.min(), np.float32(0)) if known.size else values


def relief_of(values: Values, alpha: AlphaPixels) -> Relief:
    """The relief of a cutout from its values; 1 everywhere (flat) where these say nothing."""
    core, mask = alpha >= CORE, alpha >= 128
    solid = (core if core.sum() >= mask.sum() / 2 else mask) & np.isfinite(values) & (values > 0)
    known = without_holes(np.where(solid, values, np.float32(0)), alpha)
    base = 0.0 if known is None else base_of(known, alpha)
    if known is None or base <= 0:
        return np.ones(values.shape, np.float32)
    return np.clip(known / np.float32(base), 1 / np.float32(DEEPEST), np.float32(DEEPEST))


def view_values(plate: Float32[np.ndarray, "_ _"], view: View, height: int, width: int) -> Values:
    """The part of a whole plate's values that a view shows, at this size."""
    return Plate((), plate, None, 1.0, 1.0).part_depth(view.box, height, width)


def layer_values(
    recipe: Recipe, scene: Scene, plate: Values, reliefs: Mapping[str, Relief], kind: DepthKind
) -> list[np.ndarray]:
    """Values of each layer of a scene, maps of the canvas, nan outside its box.

    plate: what the view shows of the plate's values. reliefs: by the cutout's name.
    """
    maps = []
    for placement, layer in zip(recipe.placements, scene.layers, strict=True):
        values = np.full(plate.shape, np.nan, np.float32)
        left, top, width, height = cv2.boundingRect(layer.alpha)
        if width:
            spot = slice(top, top + height), slice(left, left + width)
            relief = _placed_relief(placement, recipe.view, reliefs[placement.cutout], plate.shape)[spot]
            if placement.mode == "standing":
                values[spot] = _standing(placement, recipe.view, plate, scene.plate_depth, kind) * relief
            else:
                values[spot] = _free(placement, plate, scene.plate_depth, layer.alpha >= 128, kind) * relief
                _keep_before(values[spot], plate[spot], kind)
        maps.append(values)
    return maps


def _placed_relief(placement: Placement, view: View, relief: Relief, shape: tuple[int, int]) -> Relief:
    """The relief on the canvas, 1 outside its box; where the placement's box leaves the canvas it is cut."""
    left, top, right, bottom = canvas_box(placement, view, *shape)
    resized = cv2.resize(relief, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST_EXACT)
    resized = cv2.flip(resized, 1) if placement.mirror else resized
    canvas = np.ones(shape, np.float32)
    rows, columns = slice(max(top, 0), min(bottom, shape[0])), slice(max(left, 0), min(right, shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[rows, columns] = resized[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return canvas


def _standing(placement: Placement, view: View, plate: Values, exact: Depth, kind: DepthKind) -> np.float32:
    """The value at the contact, nan where the plate has none there."""
    height, width = plate.shape
    row = min(max(int((placement.y - view.y) / view.height * height), 0), height - 1)
    column = min(max(int((placement.x - view.x) / view.width * width), 0), width - 1)
    return _times(plate[row, column], _ratio(placement.depth_m, float(exact[row, column]), STANDING_RANGE, 1.0), kind)


def _free(placement: Placement, plate: Values, exact: Depth, solid: np.ndarray, kind: DepthKind) -> np.float32:
    """A value nearer than all it covers; nan where nothing of that is known."""
    covered = plate[solid & np.isfinite(plate)]
    if not covered.size:
        return np.float32(np.nan)
    nearest = covered.max() if kind == "disparity" else covered.min()
    known = exact[solid & (exact > 0)]
    ratio = _ratio(placement.depth_m, float(known.min()) if known.size else 0.0, FREE_RANGE, FREE_RATIO)
    return _times(nearest, ratio, kind)


def _ratio(distance: float | None, exact: float, allowed: tuple[float, float], otherwise: float) -> float:
    """distance / exact, within what is allowed; `otherwise` where one of them is unknown."""
    if distance is None or exact <= 0:
        return otherwise
    return min(max(distance / exact, allowed[0]), allowed[1])


def _times(value: np.float32, ratio: float, kind: DepthKind) -> np.float32:
    """A value whose depth is so many times as large."""
    return np.float32(value / ratio if kind == "disparity" else value * ratio)


def _keep_before(values: np.ndarray, under: np.ndarray, kind: DepthKind) -> None:
    """Keep values nearer than what is under them (in place)."""
    with np.errstate(invalid="ignore"):
        if kind == "disparity":
            np.fmax(values, under / np.float32(THROUGH), out=values, where=np.isfinite(values))
        else:
            np.fmin(values, under * np.float32(THROUGH), out=values, where=np.isfinite(values))
