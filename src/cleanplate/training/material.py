"""What a run learns from: scenes composed of pictures as it goes, or those of a stored dataset; always by part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate

from cleanplate.labels.labels import Labels
from cleanplate.pictures.library import Library, Picture, open_library
from cleanplate.pictures.split import PARTS, Part, part_of
from cleanplate.scenes.dataset import Batch, LiveScenes, to_float
from cleanplate.settings import PlanSettings, TrainSettings
from cleanplate.shards.identity import MANIFEST, Pictures
from cleanplate.shards.reading import Dataset
from cleanplate.training.stored import StoredScenes
from cleanplate.types import DepthKind, InputError

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class LiveMaterial:
    """The pictures of a run by part of the split, and what kind of depth they teach."""

    plates: dict[Part, tuple[Picture, ...]]
    cutouts: dict[Part, tuple[Picture, ...]]
    depth: str

    @property
    def kind(self) -> DepthKind:
        """What losses and metrics may ask of the depth."""
        return _kind(self.depth)

    @property
    def pictures(self) -> Pictures:
        """JSON-able: what was in which part, by name, fingerprint and group."""
        return {
            kind: {part: {p.name: {"sha256": p.sha256, "group": p.group} for p in pictures[part]} for part in PARTS}
            for kind, pictures in (("plates", self.plates), ("cutouts", self.cutouts))
        }

    def scenes(self, settings: TrainSettings, part: Part) -> LiveScenes:
        """The scenes of one part: training scenes as the settings say, others under the `standard` effects."""
        return LiveScenes(self.plates[part], self.cutouts[part], plan=settings.plan, **_options(settings, part))


@dataclass(frozen=True)
class StoredMaterial:
    """A stored dataset, complete. data: where it is and what it is, JSON-able. labels: None = its own depth."""

    dataset: Dataset
    data: dict[str, Any]
    depth: str
    labels: Labels | None = None

    @property
    def kind(self) -> DepthKind:
        """As `LiveMaterial.kind`."""
        return _kind(self.depth)

    @property
    def pictures(self) -> Pictures:
        """As `LiveMaterial.pictures`."""
        return self.dataset.identity.pictures

    @property
    def folders(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Where the dataset's plates and its cutouts lay when it was composed; none = the packaged sample."""
        plates, cutouts = (self.dataset.identity.folders.get(kind, []) for kind in ("plates", "cutouts"))
        return tuple(map(Path, plates)), tuple(map(Path, cutouts))

    def scenes(self, settings: TrainSettings, part: Part) -> StoredScenes:
        """As `LiveMaterial.scenes`."""
        return StoredScenes(self.dataset, part, labels=self.labels, **_options(settings, part))


Material = LiveMaterial | StoredMaterial


def _kind(depth: str) -> DepthKind:
    """How to judge this depth; "none" is judged nowhere."""
    return "relative" if depth == "relative" else "disparity" if depth == "disparity" else "metric"


def _options(settings: TrainSettings, part: Part) -> dict[str, Any]:
    """What live and stored scenes are told alike."""
    training = part == "train"
    return {
        "size": settings.size,
        "effects": settings.effects if training else "standard",
        "seed": settings.seed if training else settings.seed + 1,
        "scenes": settings.scenes if training else settings.validation_scenes,
        "greyscale": settings.greyscale,
        "prior_share": 0.5 if training else 0.0,
    }


def find_material(
    plates: tuple[Path, ...],
    cutouts: tuple[Path, ...],
    data: str | Path | None,
    settings: TrainSettings,
    strict: bool = False,
) -> Material:
    """The dataset, or else the split pictures of these folders. Raises InputError where nothing can be trained."""
    if data is None:
        if settings.labels is not None:
            raise InputError(
                f"--labels {settings.labels} belong to a stored dataset; add --data DIR, or leave them out"
            )
        return sort_pictures(
            open_library(plates, "plates", strict), open_library(cutouts, "cutouts", strict), settings.seed
        )
    given = [f"--{name}" for name, folders in (("plates", plates), ("cutouts", cutouts)) if folders]
    if given:
        raise InputError(
            f"--data {data} and {' and '.join(given)} are given; the dataset's scenes are made already: give either a "
            "dataset, or folders of pictures"
        )
    return open_stored(data, settings)


def open_stored(data: str | Path, settings: TrainSettings) -> StoredMaterial:
    """A stored dataset to train on; raises InputError when it is not finished, or nothing in it can be validated."""
    dataset = Dataset(data)
    identity, store = dataset.identity, dataset.store
    if settings.plan not in (PlanSettings(), identity.plan):
        raise InputError(
            f"--plan flags beside --data {data}: the plan is the dataset's; leave them out, or compose anew"
        )
    dataset.require_complete()
    if not store.exists(MANIFEST):
        raise InputError(f"{store.place} has no {MANIFEST}; run the `cleanplate compose` that began it again")
    for part in ("train", "validation"):
        if not identity.scenes[part]:
            raise InputError(
                f"{store.place} has no {part} scenes ({_counted(identity.scenes)}), so it cannot "
                f"{'train' if part == 'train' else 'choose the best'} checkpoint; compose a dataset with all parts: at "
                "least 3 plates and 3 cutouts that do not share a group, some tens of scenes, and the split"
            )
    facts = {
        "place": store.place if store.local is None else str(store.local.resolve()),
        "fingerprint": identity.fingerprint,
        "manifest": hashlib.sha256(store.read(MANIFEST)).hexdigest(),
    }
    if settings.labels is None:
        return StoredMaterial(dataset, facts, identity.depth)
    labels = Labels(dataset, settings.labels)
    labels.require_complete()
    return StoredMaterial(dataset, facts | {"labels": labels.facts}, labels.kind, labels)


def _counted(scenes: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in scenes.items())


def sort_pictures(plates: Library, cutouts: Library, seed: int) -> LiveMaterial:
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
    return LiveMaterial(parts["plates"], parts["cutouts"], kinds.pop() if kinds else "none")


def fixed_batches(material: Material, settings: TrainSettings, device: torch.device) -> list[Batch]:
    """The validation scenes, made once and kept."""
    scenes = material.scenes(settings, "validation")
    groups = [range(i, min(i + VALIDATION_BATCH, len(scenes))) for i in range(0, len(scenes), VALIDATION_BATCH)]
    return [to_float(default_collate([scenes[0, index] for index in group]), device) for group in groups]
