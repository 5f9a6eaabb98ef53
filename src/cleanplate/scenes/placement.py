"""Placements: where a cutout goes in a plate, and how large.

Contract: a `View` is the part of the plate that a scene shows, a `Placement` puts one cutout into the plate; both are
in shares of the plate's width and height, so that they hold at any resolution. Two ways to place, each uniform over the
positions that it permits:

- `standing`: the contact point is drawn among the floor's pixels; a cutout that spans H metres at the distance z is
  f H / z tall (f: focal length in plate heights). What the plate shows nearer than z hides it.
- `free`: anywhere, any size in the stated range; if the plate's depth is known, nearer than everything it covers.

Most placements lie fully inside the view; a stated share may leave it, by at most half in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from cleanplate.scenes.records import between, chance, log_between, shortened
from cleanplate.scenes.stock import SILHOUETTE, Cutout, Plate
from cleanplate.settings import PlanSettings

SMALLEST, TALLEST, TALLEST_LEAVING = 0.07, 0.95, 1.8
"""A standing cutout's height, as shares of the view's height."""
LEAST_VISIBLE, LEAST_AREA = 0.35, 0.002
"""A placement is refused when less of the cutout, or a smaller share of the view, is seen."""
HIDES = 0.95
"""The plate hides what stands behind it: plate depth < HIDES x the cutout's."""
TRIES = 6
_GRID = ((np.arange(SILHOUETTE) + 0.5) / SILHOUETTE).astype(np.float32)


@dataclass(frozen=True)
class View:
    """The part of the plate that a scene shows: left, top, width, height in shares of the plate's sides."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, width, height)."""
        return self.x, self.y, self.width, self.height


@dataclass(frozen=True)
class Placement:
    """One cutout in a plate. x, y: the bottom centre; x, width in plate widths, y, height in plate heights.

    depth_m: metres (in the plate's units) to the contact point, or to a free cutout; None = unknown.
    """

    cutout: str
    mode: Literal["standing", "free"]
    mirror: bool
    x: float
    y: float
    width: float
    height: float
    depth_m: float | None


def draw_view(rng: np.random.Generator, settings: PlanSettings, plate_aspect: float, aspect: float) -> View:
    """A part of the plate, its size in the settings' range, anywhere in it.

    The shape is drawn between the whole plate squeezed into the canvas and a true crop of the canvas's aspect (width /
    height), so that the network meets both. A zoom of (1, 1) shows the whole plate, always.
    """
    if settings.zoom == (1.0, 1.0):
        return View()
    side = between(rng, *settings.zoom)
    wide = min(1.0, aspect / plate_aspect) ** float(rng.random())
    tall = min(1.0, plate_aspect / aspect) ** float(rng.random())
    width, height = side * wide, side * tall
    left, top = between(rng, 0, 1 - width), between(rng, 0, 1 - height)
    return View(shortened(left), shortened(top), shortened(width), shortened(height))


def draw_placement(
    rng: np.random.Generator, name: str, mirror: bool, cutout: Cutout, plate: Plate, view: View, settings: PlanSettings
) -> Placement:
    """Place a cutout by the settings' mode; `standing` falls back to `free` where nothing it may stand on is seen."""
    leaves = chance(rng, settings.leave_share)
    free = settings.placement == "free" or (settings.placement == "auto" and chance(rng, settings.free_share))
    if not free:
        placed = _standing(rng, name, mirror, cutout, plate, view, leaves)
        if placed is not None:
            return placed
    return _free(rng, name, mirror, cutout, plate, view, settings.size, leaves)


def _standing(
    rng: np.random.Generator, name: str, mirror: bool, cutout: Cutout, plate: Plate, view: View, leaves: bool
) -> Placement | None:
    if plate.floor is None or cutout.height_m is None:
        return None
    points = plate.floor.points.T
    x, y, z = np.concatenate([points, plate.floor.beyond.T], axis=1) if leaves else points
    heights = np.float32(plate.focal * cutout.height_m) / z
    widths = heights * np.float32(cutout.aspect / plate.aspect)
    tallest = TALLEST_LEAVING if leaves else TALLEST
    permitted = (heights >= SMALLEST * view.height) & (heights <= tallest * view.height)
    permitted &= _inside(x, y, widths, heights, view, leaves)
    candidates = np.flatnonzero(permitted)
    for _ in range(TRIES if len(candidates) else 0):
        i = candidates[int(rng.integers(len(candidates)))]
        height, width, distance = shortened(heights[i]), shortened(widths[i]), shortened(z[i])
        placed = Placement(name, "standing", mirror, shortened(x[i]), shortened(y[i]), width, height, distance)
        covered, seen = _covered(placed, cutout, plate, view)
        hidden = (covered > 0) & (covered < HIDES * z[i])
        solid = int(cutout.silhouette.sum())
        visible = int((seen & ~hidden).sum())
        area = visible / SILHOUETTE**2 * width * height / (view.width * view.height)
        if visible >= LEAST_VISIBLE * solid and area >= LEAST_AREA:
            return placed
    return None


def _inside(
    x: np.ndarray, y: np.ndarray, width: np.ndarray, height: np.ndarray, view: View, leaves: bool
) -> np.ndarray:
    """Whether the box lies in the view; if it may leave, whether its centre does."""
    right, bottom = view.x + view.width, view.y + view.height
    if leaves:
        middle = y - height / 2
        return (x >= view.x) & (x <= right) & (middle >= view.y) & (middle <= bottom)
    return (x - width / 2 >= view.x) & (x + width / 2 <= right) & (y - height >= view.y) & (y <= bottom)


def _free(
    rng: np.random.Generator,
    name: str,
    mirror: bool,
    cutout: Cutout,
    plate: Plate,
    view: View,
    size: tuple[float, float],
    leaves: bool,
) -> Placement:
    # in plate heights: the view is plate.aspect * view.width wide and view.height high
    wide, tall = plate.aspect * view.width, view.height
    longer = log_between(rng, *size) * min(wide, tall)
    height = longer if cutout.aspect <= 1 else longer / cutout.aspect
    shrink = min(1.0, wide / (height * cutout.aspect), tall / height)
    height *= shrink
    width = height * cutout.aspect / plate.aspect
    if leaves:
        x, middle = between(rng, view.x, view.x + view.width), between(rng, view.y, view.y + view.height)
        y = middle + height / 2
    else:
        x = between(rng, view.x + width / 2, view.x + view.width - width / 2)
        y = between(rng, view.y + height, view.y + view.height)
    nearer = between(rng, 0.5, 0.95)
    x, y, width, height = shortened(x), shortened(y), shortened(width), shortened(height)
    placed = Placement(name, "free", mirror, x, y, width, height, None)
    covered, seen = _covered(placed, cutout, plate, view)
    known = covered[seen & (covered > 0)]
    if not known.size:
        return placed
    return Placement(name, "free", mirror, x, y, width, height, shortened(known.min() * nearer))


def _covered(placed: Placement, cutout: Cutout, plate: Plate, view: View) -> tuple[np.ndarray, Bool[np.ndarray, "s s"]]:
    """(plate depth under the cutout on the silhouette's grid, 0 = unknown; where the cutout is solid and in view)."""
    columns = placed.x + (_GRID - 0.5) * placed.width
    rows = placed.y + (_GRID - 1) * placed.height
    across = (columns >= view.x) & (columns < view.x + view.width)
    down = (rows >= view.y) & (rows < view.y + view.height)
    silhouette = cutout.silhouette[:, ::-1] if placed.mirror else cutout.silhouette
    seen = silhouette & down[:, None] & across[None]
    if plate.depth is None:
        return np.zeros(seen.shape, np.float32), seen
    height, width = plate.depth.shape
    # minimum and maximum: np.clip takes ten times as long for so few numbers
    i = np.minimum(np.maximum((rows * height).astype(int), 0), height - 1)
    j = np.minimum(np.maximum((columns * width).astype(int), 0), width - 1)
    return plate.depth[i[:, None], j[None]], seen
