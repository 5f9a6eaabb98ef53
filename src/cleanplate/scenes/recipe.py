"""The plan and its recipes: which plate, which cutouts, where, how big, mirrored or not.

Contract: a `Plan` is all scenes that some pictures make: plates x cutouts x positions x mirror, 100 x 100 x 20 x 2 =
400,000 by default. Nothing is stored: scene `index` is found by mixed radix,

    index = ((plate * cutouts + cutout) * positions + position) * mirrors + mirrored,

and everything else about it (the place, further cutouts, the part shown, whether it is empty) is drawn by a generator
seeded with (seed, index). `recipe` is a pure function of (plan, index) and the pictures' content; its result is JSON.

A plan of fewer scenes takes N indices spread evenly over the whole: the i-th is (i mod plates, (i + i div l) mod
cutouts), l = lcm(plates, cutouts), which visits every plate, every cutout and then every pair equally often, since each
run of l pairs is distinct (Chinese remainders) and the next run is shifted by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import lcm

import numpy as np

from cleanplate.pictures.library import Picture
from cleanplate.scenes.placement import Placement, View, draw_placement, draw_view
from cleanplate.scenes.records import PLACES, VIEWS, chance, digest, from_json, generator, to_json
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError


@dataclass(frozen=True)
class Recipe:
    """Everything that makes one scene of given pictures.

    focal: focal length in plate heights. aspect: the plate's width / height. up: the floor's upward direction in the
    camera's axes (right, down, forward); None = no floor known. placements: back to front.
    """

    index: int
    plate: str
    view: View
    focal: float
    aspect: float
    up: tuple[float, float, float] | None
    placements: tuple[Placement, ...]

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back exactly."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """The recipe that `to_json` wrote."""
        return from_json(Recipe, text)


@dataclass(frozen=True)
class Plan:
    """All scenes of some pictures. `len(plan)` of them; `plan.scene(i)` says what the i-th combines.

    aspect: width / height of the canvas that the scenes are for.
    scenes: use only so many, spread evenly; None = all.
    """

    plates: tuple[Picture, ...]
    cutouts: tuple[Picture, ...]
    settings: PlanSettings
    seed: int
    scenes: int | None = None
    aspect: float = 1.0

    @property
    def total(self) -> int:
        """Scenes of the whole plan: plates x cutouts x positions x mirror."""
        return len(self.plates) * len(self.cutouts) * self._variants

    def __len__(self) -> int:
        return self.total if self.scenes is None else min(self.scenes, self.total)

    @property
    def _variants(self) -> int:
        return self.settings.positions * (2 if self.settings.mirror else 1)

    @cached_property
    def _orders(self) -> tuple[np.ndarray, np.ndarray]:
        rng = generator(PLACES, self.seed, -1)
        return rng.permutation(len(self.plates)), rng.permutation(len(self.cutouts))

    def index(self, i: int) -> int:
        """The place in the whole plan, 0 <= index < total, of this plan's i-th scene."""
        if not 0 <= i < len(self):
            raise IndexError(f"scene {i} of a plan of {len(self)}")
        if self.scenes is None:
            return i
        plates, cutouts, variants = len(self.plates), len(self.cutouts), self._variants
        rank, pair = divmod(i, plates * cutouts)
        plate = int(self._orders[0][pair % plates])
        cutout = int(self._orders[1][(pair + pair // lcm(plates, cutouts)) % cutouts])
        # each pair starts elsewhere in its variants, so that mirrored ones come early as well
        start = digest(PLACES, self.seed, -2, plate, cutout) % variants
        return (plate * cutouts + cutout) * variants + (start + rank) % variants

    def view_key(self, i: int) -> tuple[int, ...]:
        """The key of the generator that draws the view of the i-th scene, where scenes share views."""
        of_one_plate = self.total // len(self.plates)
        plate, rank = divmod(i, of_one_plate) if self.scenes is None else divmod(i, len(self.plates))[::-1]
        return VIEWS, self.seed, plate, rank // self.settings.scenes_per_view

    def scene(self, i: int) -> tuple[int, int, int, bool]:
        """(plate, cutout, position, mirrored) of this plan's i-th scene."""
        rest, variant = divmod(self.index(i), self._variants)
        plate, cutout = divmod(rest, len(self.cutouts))
        mirrors = 2 if self.settings.mirror else 1
        return plate, cutout, variant // mirrors, variant % mirrors == 1


def make_plan(
    plates: Sequence[Picture],
    cutouts: Sequence[Picture],
    settings: PlanSettings,
    seed: int,
    scenes: int | None = None,
    aspect: float = 1.0,
) -> Plan:
    """A plan, checked. Raises InputError when there are no pictures or the settings contradict themselves."""
    for kind, pictures in (("plates", plates), ("cutouts", cutouts)):
        if not pictures:
            raise InputError(f"no {kind} to make scenes of; expected at least one: give --{kind} a folder with more")
    objects, size, zoom = settings.objects, settings.size, settings.zoom
    problems = [
        (settings.positions < 1, f"positions must be at least 1, got {settings.positions}"),
        (not 1 <= objects[0] <= objects[1], f"objects must be 1 <= fewest <= most, got {objects}"),
        (not 0 < size[0] <= size[1] <= 1, f"size must be 0 < least <= most <= 1, got {size}"),
        (not 0 < zoom[0] <= zoom[1] <= 1, f"zoom must be 0 < least <= most <= 1, got {zoom}"),
        (scenes is not None and scenes < 1, f"scenes must be at least 1, got {scenes}"),
        (settings.scenes_per_view < 1, f"scenes_per_view must be at least 1, got {settings.scenes_per_view}"),
    ]
    for name in ("free_share", "empty_share", "leave_share"):
        share = getattr(settings, name)
        problems.append((not 0 <= share <= 1, f"{name} must be between 0 and 1, got {share}"))
    for wrong, message in problems:
        if wrong:
            raise InputError(f"the plan's settings: {message}")
    return Plan(tuple(plates), tuple(cutouts), settings, seed, scenes, aspect)


def recipe(plan: Plan, i: int, stock: Stock) -> Recipe:
    """The recipe of the plan's i-th scene: a pure function of the plan, i and the pictures' content."""
    index = plan.index(i)
    plate_number, first, _, mirrored = plan.scene(i)
    rng = generator(PLACES, plan.seed, index)
    settings = plan.settings
    name = plan.plates[plate_number].name
    plate = stock.plate(name)
    if settings.scenes_per_view == 1:
        view = draw_view(rng, settings, plate.aspect, plan.aspect)
    else:
        view = _shared_view(plan.view_key(i), settings, plate.aspect, plan.aspect)
    placements: list[Placement] = []
    if not chance(rng, settings.empty_share):
        for number in range(int(rng.integers(settings.objects[0], settings.objects[1] + 1))):
            chosen = first if number == 0 else int(rng.integers(len(plan.cutouts)))
            mirror = mirrored if number == 0 else settings.mirror and chance(rng, 0.5)
            cutout = plan.cutouts[chosen].name
            placements.append(draw_placement(rng, cutout, mirror, stock.cutout(cutout), plate, view, settings))
    up = None if plate.floor is None else plate.floor.up
    # back to front; an unknown depth is in front of all, in the order drawn
    placements.sort(key=lambda placed: -(placed.depth_m or 0.0))
    return Recipe(index, name, view, plate.focal, plate.aspect, up, tuple(placements))


@lru_cache(maxsize=8)
def _shared_view(key: tuple[int, ...], settings: PlanSettings, plate_aspect: float, aspect: float) -> View:
    return draw_view(generator(*key), settings, plate_aspect, aspect)
