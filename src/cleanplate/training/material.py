"""What a run learns from: its pictures by part of the split, and the scenes that are composed of each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.data import default_collate

from cleanplate.pictures.library import Library, Picture
from cleanplate.pictures.split import PARTS, Part, part_of
from cleanplate.scenes.dataset import Batch, LiveScenes, to_float
from cleanplate.settings import TrainSettings
from cleanplate.types import InputError

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class Material:
    """The pictures of a run by part of the split, and what kind of depth they teach."""

    plates: dict[Part, tuple[Picture, ...]]
    cutouts: dict[Part, tuple[Picture, ...]]
    depth: str

    def listing(self) -> dict[str, Any]:
        """JSON-able: what was in which part, by name, fingerprint and group."""
        return {
            kind: {part: {p.name: {"sha256": p.sha256, "group": p.group} for p in pictures[part]} for part in PARTS}
            for kind, pictures in (("plates", self.plates), ("cutouts", self.cutouts))
        }


def sort_pictures(plates: Library, cutouts: Library, seed: int) -> Material:
    """Split both libraries; raises InputError when nothing can be validated, or metric and relative depth are mixed."""
    parts = {"plates": part_of(plates, seed), "cutouts": part_of(cutouts, seed)}
    for kind, part in parts.items():
        if not part["validation"]:
            count = sum(len(p) for p in part.values())
            raise InputError(
                f"{count} {kind} of {len({p.group for ps in part.values() for p in ps})} groups are too few to train "
                f"and validate on different ones; give at least 3 {kind} that do not share a group (pictures.json)"
            )
    kinds = {"relative" if p.depth_unit_m is None else "metric" for p in plates.pictures if p.depth_path}
    if len(kinds) > 1:
        raise InputError(
            "some plates have depth in metres and some relative depth; train on one kind: leave out a folder, or "
            "state depth_unit_m in each folder's pictures.json"
        )
    return Material(parts["plates"], parts["cutouts"], kinds.pop() if kinds else "none")


def live_scenes(
    material: Material, settings: TrainSettings, part: Literal["train", "validation", "test"]
) -> LiveScenes:
    """The scenes of one part of the split: training scenes as the settings say, others under the `standard` effects."""
    training = part == "train"
    return LiveScenes(
        material.plates[part],
        material.cutouts[part],
        size=settings.size,
        plan=settings.plan,
        effects=settings.effects if training else "standard",
        seed=settings.seed if training else settings.seed + 1,
        scenes=settings.scenes if training else settings.validation_scenes,
        greyscale=settings.greyscale,
        prior_share=0.5 if training else 0.0,
    )


def fixed_batches(material: Material, settings: TrainSettings, device: torch.device) -> list[Batch]:
    """The validation scenes, composed once and kept."""
    scenes = live_scenes(material, settings, "validation")
    groups = [range(i, min(i + VALIDATION_BATCH, len(scenes))) for i in range(0, len(scenes), VALIDATION_BATCH)]
    return [to_float(default_collate([scenes[0, index] for index in group]), device) for group in groups]
