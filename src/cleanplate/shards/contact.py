"""The contact sheet: scenes of a stored dataset, spread over its parts, as they will be read.

Contract: the picture is a function of the stored scenes alone. Each scene is shown as frame, mask (tinted, outlined)
and depth (near = red, far = blue, grey = unknown). Metres have one scale for the whole sheet, in round numbers that
hold nearly all of its depths and stand beside it; relative depth is a share of what is farthest in its plate; where
there is none, nothing is shown. Every part that has scenes has at least one row of them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cleanplate.pictures.draw import colour_depth, overlay, sheet
from cleanplate.shards.format import GROUP
from cleanplate.shards.identity import Identity, Shard
from cleanplate.shards.reading import Dataset
from cleanplate.types import Pixels, Scene

COLUMNS, ROWS = 8, 4
TILE = 128
NEAREST_SHARE = 0.1
"""The near end of the scale of relative depth."""


@dataclass(frozen=True)
class Shown:
    """A scene of the sheet. farthest: the scale of its relative depth."""

    name: str
    scene: Scene

    @property
    def farthest(self) -> float:
        return max(float(self.scene.plate_depth.max()), float(self.scene.depth.max())) or 1.0


def contact_sheet(dataset: Dataset, columns: int = COLUMNS, rows: int = ROWS) -> bytes:
    """A PNG of `rows` x `columns` scenes, fewer where there are not so many. Raises InputError for missing shards."""
    buffer = io.BytesIO()
    Image.fromarray(scene_grid(dataset, columns, rows)).save(buffer, "PNG")
    return buffer.getvalue()


def scene_grid(dataset: Dataset, columns: int, rows: int, shards: Sequence[Shard] | None = None) -> Pixels:
    """The same as pixels. shards: choose from these only; by default from all that are planned."""
    identity = dataset.identity
    shards = dataset.shards() if shards is None else shards
    lines: list[list[Shown]] = []
    for part, count in _rows_of_parts(identity, shards, rows).items():
        places = spread(identity, [shard for shard in shards if shard.part == part], count * columns)
        lines += [_read(dataset, places[first : first + columns]) for first in range(0, len(places), columns)]
    if not lines:
        return np.full((TILE, TILE, 3), 255, np.uint8)
    scenes = [shown.scene for line in lines for shown in line]
    scale = metres_shown(scenes) if identity.depth == "metric" else None
    widest, deep = max(map(len, lines)), any(scene.depth.any() for scene in scenes)
    return np.concatenate([_band(line, widest, deep, scale) for line in lines])


def _rows_of_parts(identity: Identity, shards: Sequence[Shard], rows: int) -> dict[str, int]:
    """Rows for each part that has scenes: one at least, the others to the largest part."""
    scenes: dict[str, int] = {}
    for shard in shards:
        scenes[shard.part] = scenes.get(shard.part, 0) + identity.rows_of(shard)
    if not scenes:
        return {}
    shares = dict.fromkeys(scenes, 1)
    shares[max(scenes, key=lambda part: scenes[part])] += max(0, rows - len(scenes))
    return shares


def spread(identity: Identity, shards: Sequence[Shard], count: int) -> list[tuple[Shard, int]]:
    """(shard, row in it) of `count` scenes, the middles of equal stretches of these shards; all if there are fewer."""
    sizes = [identity.rows_of(shard) for shard in shards]
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if sizes else 0
    count = min(count, total)
    places = [(2 * k + 1) * total // (2 * count) for k in range(count)]
    which = np.searchsorted(ends, places, side="right") if count else []
    return [(shards[s], place - int(ends[s]) + sizes[s]) for s, place in zip(which, places, strict=True)]


def _read(dataset: Dataset, places: Sequence[tuple[Shard, int]]) -> list[Shown]:
    found = []
    for shard, row in places:
        opened = dataset.open(shard)
        stored = opened.read(row // GROUP)[row % GROUP]
        found.append(Shown(f"{shard.part} {stored.index}", stored.scene(opened)))
    return found


def metres_shown(scenes: Sequence[Scene]) -> tuple[float, float]:
    """(nearest, farthest) of a scale that 98 % of the known depths lie on, each a 1, 2 or 5 with zeros."""
    known = np.concatenate([scene.depth[scene.depth > 0][::16] for scene in scenes])
    if not known.size:
        return 1.0, 10.0
    low, high = (float(value) for value in np.quantile(known, (0.01, 0.99)))
    steps = [factor * 10.0**power for power in range(-4, 4) for factor in (1, 2, 5)]
    near = max((step for step in steps if step <= low), default=steps[0])
    return near, min(step for step in steps if step >= high and step > near)


def _band(line: Sequence[Shown], columns: int, deep: bool, scale: tuple[float, float] | None) -> Pixels:
    """One row of scenes: a row of tiles for each kind of picture, each scene's name above its own."""
    tiles: dict[str, list[Pixels | None]] = {
        "frame": [shown.scene.frame for shown in line],
        "mask": [overlay(shown.scene.frame, shown.scene.alpha.astype(np.float32) / np.float32(255)) for shown in line],
    }
    if deep:
        label = "depth" if scale is None else f"depth {scale[0]:g}-{scale[1]:g} m"
        tiles[label] = [_depth(shown, scale) for shown in line]
    empty = columns - len(line)
    names = [shown.name for shown in line] + [""] * empty
    return sheet([row + [None] * empty for row in tiles.values()], tuple(tiles), names, tile=TILE)


def _depth(shown: Shown, scale: tuple[float, float] | None) -> Pixels:
    if scale is not None:
        return colour_depth(shown.scene.depth, *scale)
    return colour_depth(shown.scene.depth / np.float32(shown.farthest), NEAREST_SHARE, 1.0)
