"""Cells: {seen, unseen plates} x {seen, unseen cutouts}, and the fixed composed scenes on which each is judged.

A picture is seen when it, or its group, trained the model; unseen when neither it nor its group is in the training's
train or validation part. Pictures that validated chose the checkpoint, so they judge nothing; for choosing between
models they, and they alone, stand in for the unseen ones (part `validation`). A group that is no more than the file's
own name (no pictures.json) ties nothing together: two folders may both hold a 0001.jpg.

A cell's scenes are a pure function of (pictures, number, size, effects, seed): the whole plate, at most one cutout,
every plate and cutout equally often, a tenth of them empty for the false alarms, with or without camera effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from cleanplate.evaluation.captured import Judges
from cleanplate.pictures.library import Library, Picture
from cleanplate.pictures.pairs import PairPixels
from cleanplate.scenes.camera import EffectsName, apply_effects, draw_effects
from cleanplate.scenes.compose import compose
from cleanplate.scenes.recipe import Plan, make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError

Seen = Literal["seen", "unseen"]
SETTINGS = PlanSettings(objects=(1, 1), empty_share=0.1, zoom=(1.0, 1.0))
"""One cutout per scene, so that a scene belongs to one cell."""
BOTH: tuple[Seen, Seen] = ("seen", "unseen")
CELLS = tuple(f"{plate}_{cutout}" for plate in BOTH for cutout in BOTH)


@dataclass(frozen=True)
class Cell:
    """The pictures of one cell. name: "seen_unseen" and so on, plates before cutouts."""

    name: str
    plates: tuple[Picture, ...]
    cutouts: tuple[Picture, ...]

    @property
    def number(self) -> int:
        """0..3: each cell's scenes are drawn by another seed."""
        return CELLS.index(self.name)

    @property
    def metric(self) -> bool:
        """Whether the plates' depth is in metres (or there is none)."""
        return all(plate.depth_path is None or plate.depth_unit_m is not None for plate in self.plates)


def find_cells(
    metas: Sequence[Mapping[str, Any]], plates: Library, cutouts: Library, part: Judges = "test"
) -> tuple[Cell, ...]:
    """The cells that these pictures fill, for the models of these checkpoints' metadata; empty ones are absent.

    A picture is seen when any of the models saw it.
    Raises InputError when no plate or no cutout is unseen: seen pictures alone say nothing about new ones.
    """
    parts = {
        library.kind: _by_seen(library, [meta["pictures"][library.kind] for meta in metas], part)
        for library in (plates, cutouts)
    }
    for library in (plates, cutouts):
        if not parts[library.kind]["unseen"]:
            told = "took part in the model's training, so none can judge it"
            raise InputError(
                f"{', '.join(map(str, library.folders))}: all {len(library.pictures)} {library.kind} "
                f"{told if part == 'test' else 'are others than those that validated the model'}; "
                f"give --{library.kind} a folder with pictures "
                f"{'it never saw' if part == 'test' else 'that validated it, or take --part test'}"
            )
    return tuple(
        Cell(f"{plate}_{cutout}", parts["plates"][plate], parts["cutouts"][cutout])
        for plate in BOTH
        for cutout in BOTH
        if parts["plates"][plate] and parts["cutouts"][cutout]
    )


def training_pictures(meta: Mapping[str, Any], library: Library) -> tuple[Picture, ...]:
    """The library's pictures whose very content trained the model."""
    digests = {fact["sha256"] for fact in meta["pictures"][library.kind].get("train", {}).values()}
    return tuple(picture for picture in library.pictures if picture.sha256 in digests)


def _by_seen(
    library: Library, known: Sequence[Mapping[str, Mapping[str, Any]]], part: Judges
) -> dict[Seen, tuple[Picture, ...]]:
    trained, validated = (
        set().union(*(_marks(parts.get(name, {})) for parts in known)) for name in ("train", "validation")
    )
    found: dict[Seen, list[Picture]] = {"seen": [], "unseen": []}
    for picture in library.pictures:
        marks = _marks({picture.name: {"sha256": picture.sha256, "group": picture.group}})
        if marks & trained:
            found["seen"].append(picture)
        elif bool(marks & validated) == (part == "validation"):
            found["unseen"].append(picture)
    return {seen: tuple(pictures) for seen, pictures in found.items()}


def _marks(facts: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
    """By what pictures are known again: their content, and groups that are more than their file's name."""
    marks = {("content", fact["sha256"]) for fact in facts.values()}
    groups = {
        fact["group"] for name, fact in facts.items() if fact["group"] != str(PurePosixPath(name).with_suffix(""))
    }
    return marks | {("group", group) for group in groups}


class CellScenes:
    """The scenes of a cell, composed when asked for, as if they were captured pairs.

    size: side of the square scenes, pixels. Indexable, and the same at every reading.
    """

    def __init__(self, cell: Cell, effects: EffectsName, scenes: int, size: int, seed: int) -> None:
        self.plan: Plan = make_plan(cell.plates, cell.cutouts, SETTINGS, seed, scenes)
        self._effects: EffectsName = effects
        self._size = size
        self._key = (seed, cell.number)
        self._stock = Stock(cell.plates, cell.cutouts, size)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, i: int) -> PairPixels:
        scene = compose(recipe(self.plan, i, self._stock), self._stock, self._size, self._size)
        plate, frame = apply_effects(draw_effects(self._effects, *self._key, i), scene)
        return PairPixels(
            plate=plate,
            frame=frame,
            alpha=scene.alpha.astype(np.float32) / np.float32(255),
            judged=None,
            depth=scene.depth if scene.depth.any() else None,
            plate_depth=scene.plate_depth if scene.plate_depth.any() else None,
        )

    def pictures(self) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The number of each scene's plate and of its cutout; -1 = no cutout, the scene is empty."""
        plates, cutouts = [], []
        for i in range(len(self)):
            plate, cutout, _, _ = self.plan.scene(i)
            plates.append(plate)
            cutouts.append(cutout if recipe(self.plan, i, self._stock).placements else -1)
        return np.array(plates, np.int64), np.array(cutouts, np.int64)
