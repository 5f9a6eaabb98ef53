"""What a run learns from: scenes composed of pictures as it goes, or those of a stored dataset; always by part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.utils.data import default_collate

from cleanplate.labels.labels import Labels
from cleanplate.pictures.library import Library, Picture, open_library
from cleanplate.pictures.pairs import Pair, open_teaching
from cleanplate.pictures.split import PARTS, Part, part_of, split
from cleanplate.scenes.captured import CapturedPairs, MixedScenes
from cleanplate.scenes.dataset import Batch, LiveScenes, to_float
from cleanplate.settings import PlanSettings, TrainSettings
from cleanplate.shards.identity import MANIFEST, Pictures
from cleanplate.shards.reading import Dataset
from cleanplate.training.stored import StoredScenes
from cleanplate.types import DepthKind, InputError

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class LiveMaterial:
    """The pictures of a run by part of the split, and what kind of depth they teach. A pair's group is its scene."""

    plates: dict[Part, tuple[Picture, ...]]
    cutouts: dict[Part, tuple[Picture, ...]]
    depth: str
    pairs: dict[Part, tuple[Pair, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> DepthKind:
        """What losses and metrics may ask of the depth."""
        return _kind(self.depth)

    @cached_property
    def pictures(self) -> Pictures:
        """JSON-able: what was in which part, by name, fingerprint and group. Of pairs: scenes, and their plates."""
        found: Pictures = {
            kind: {part: {p.name: {"sha256": p.sha256, "group": p.group} for p in pictures[part]} for part in PARTS}
            for kind, pictures in (("plates", self.plates), ("cutouts", self.cutouts))
        }
        if self.pairs:
            scenes = {part: {pair.scene: pair.plate_path for pair in self.pairs[part]} for part in PARTS}
            found["pairs"] = {
                part: {name: {"sha256": _digest(plate), "group": name} for name, plate in plates.items()}
                for part, plates in scenes.items()
            }
        return found

    def scenes(self, settings: TrainSettings, part: Part) -> LiveScenes | MixedScenes:
        """The scenes of one part: training scenes as the settings say, others under the `standard` effects.

        Captured pairs are among the training scenes.
        """
        sides = settings.sizes if part == "train" else ()
        pictures, options = (self.plates[part], self.cutouts[part]), _options(settings, part)
        plan = replace(settings.plan, empty_share=0.0) if "empty" in options["without"] else settings.plan
        composed = LiveScenes(*pictures, plan=plan, sides=sides, **options)
        captured = self.captured(settings, part) if part == "train" else None
        return composed if captured is None else MixedScenes(composed, captured, settings.pairs_share)

    def captured(self, settings: TrainSettings, part: Part) -> CapturedPairs | None:
        """The captured pairs of one part, whole where they don't train; None where there are none."""
        pairs = self.pairs.get(part)
        if not pairs:
            return None
        training, options = part == "train", _options(settings, part)
        most = options.pop("scenes")
        largest = max((settings.size, *settings.sizes))
        return CapturedPairs(pairs if training else pairs[:most], whole=not training, largest=largest, **options)


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

    def captured(self, settings: TrainSettings, part: Part) -> None:  # noqa: ARG002
        """As `LiveMaterial.captured`: a dataset has no pairs beside it."""
        return


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
        "without": settings.without if training else (),
    }


def find_material(
    plates: tuple[Path, ...],
    cutouts: tuple[Path, ...],
    data: str | Path | None,
    settings: TrainSettings,
    strict: bool = False,
    pairs: tuple[Path, ...] = (),
) -> Material:
    """The dataset, or else the split pictures and pairs of these folders. InputError: nothing can be trained."""
    if data is None:
        if settings.labels is not None:
            raise InputError(
                f"--labels {settings.labels} belong to a stored dataset; add --data DIR, or leave them out"
            )
        opened = open_library(plates, "plates", strict), open_library(cutouts, "cutouts", strict)
        return sort_pictures(*opened, settings.seed, open_teaching(pairs) if pairs else ())
    live = [flag for flag, value in (("--pairs", pairs), ("--sizes", settings.sizes)) if value]
    if live:
        raise InputError(
            f"--data {data} and {' and '.join(live)}: a dataset's scenes are of one size, without captured pairs; give "
            f"--plates and --cutouts in place of --data, or leave out {' and '.join(live)}"
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


def sort_pictures(plates: Library, cutouts: Library, seed: int, pairs: tuple[Pair, ...] = ()) -> LiveMaterial:
    """Split the libraries and the pairs' scenes.

    Raises InputError when nothing can be validated, or metric and relative depth are mixed.
    """
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
    if not kinds and any(pair.depth_path for pair in pairs):
        kinds = {"metric"}
    depth = kinds.pop() if kinds else "none"
    return LiveMaterial(parts["plates"], parts["cutouts"], depth, _sorted_pairs(pairs, seed))


def _sorted_pairs(pairs: tuple[Pair, ...], seed: int) -> dict[Part, tuple[Pair, ...]]:
    """The pairs by part; no frames of one scene are parted. Empty where there are none.

    A scene that lies in a folder called train, validation or test belongs there; the others are split.
    """
    if not pairs:
        return {}
    scenes = {pair.scene for pair in pairs}
    stated = {scene: part for scene in scenes for part in PARTS if part in PurePosixPath(scene).parts[:-1]}
    parts = split(scenes - stated.keys(), seed) | stated
    return {part: tuple(pair for pair in pairs if parts[pair.scene] == part) for part in PARTS}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fixed_batches(scenes: LiveScenes | MixedScenes | StoredScenes | CapturedPairs, device: torch.device) -> list[Batch]:
    """Validation scenes, made once and kept."""
    groups = [range(i, min(i + VALIDATION_BATCH, len(scenes))) for i in range(0, len(scenes), VALIDATION_BATCH)]
    return [to_float(default_collate([scenes[0, index] for index in group]), device) for group in groups]
