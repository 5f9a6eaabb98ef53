"""Labels of shards: values for every scene, from a teacher that sees it or layered, as column files.

Contract: `ShardLabeller(job)` may be called with a shard again, elsewhere. The shard's plates are written before its
scenes; the file of its scenes under its final name says that all is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cleanplate.labels.label_job import LabelJob, Labelled, measured, table
from cleanplate.labels.labels import (
    PLATES,
    SCENES,
    encode,
    plates_name,
    scenes_name,
    with_frame_values,
    with_layer_values,
)
from cleanplate.labels.picture_labels import Layered
from cleanplate.labels.polarity import Agreement, Shown, agreement
from cleanplate.shards.format import GROUP
from cleanplate.shards.identity import Shard
from cleanplate.shards.reading import Row, StoredShard
from cleanplate.teachers.model import Values
from cleanplate.teachers.teacher import kind_of, to_values
from cleanplate.types import Scene

COMPARED = 100
"""Scenes of a shard whose agreement is measured."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Scenes to label at once, without storing them. places: rows of each shard."""

    places: dict[Shard, list[int]]


@dataclass(frozen=True)
class Probed:
    """What came of a probe."""

    scenes: tuple[Shown, ...]
    agreement: Agreement


class Seen:
    """Values from a teacher that sees every frame and every view of a plate."""

    def __init__(self, job: LabelJob) -> None:
        self._job, self._teacher = job, job.open_teacher()

    def plates(self, opened: StoredShard, rows: Sequence[int]) -> dict[int, Values]:
        """Values of these rows of the shard's plates table."""
        return dict(zip(rows, self._values([opened.plate(row)[0] for row in rows]), strict=True))

    def scenes(self, scenes: Sequence[Scene], plates: Sequence[Values]) -> list[list[np.ndarray]]:  # noqa: ARG002
        """For each scene the values of its frame."""
        return [[values] for values in self._values([scene.frame for scene in scenes])]

    def _values(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        return [to_values(output, self._job.teacher) for output in self._teacher(pictures)]


class ShardLabeller:
    """Labels the scenes of shards, or a few scenes for a preview: called with a shard or a probe."""

    def __init__(self, job: LabelJob) -> None:
        cv2.setNumThreads(0)
        self.job, self._kind = job, kind_of(job.teacher)
        self._source = Seen(job) if job.mode == "scenes" else Layered(job)

    def __call__(self, key: Shard | Probe) -> Labelled | Probed:
        return self._shard(key) if isinstance(key, Shard) else self._probe(key)

    def _shard(self, shard: Shard) -> Labelled:
        began, job = time.perf_counter(), self.job
        opened = StoredShard(job.store, shard)
        plates = self._source.plates(opened, range(opened.plates))
        facts = {"dataset": job.identity.fingerprint, "part": shard.part, "number": str(shard.number)}
        plate_rows = [self._plate_row(number, plates[number]) for number in sorted(plates)]
        agreed: list[Agreement] = []
        groups = (self._group(opened, group, plates, agreed) for group in range(opened.groups))
        written = {
            plates_name(job.name, shard): table([plate_rows], PLATES, facts, group=1),
            scenes_name(job.name, shard): table(groups, SCENES[job.mode], facts, lambda: _footer(agreed)),
        }
        for name, data in written.items():
            job.store.write(name, data)
        files = {name: measured(data) for name, data in written.items()}
        return Labelled(opened.rows, time.perf_counter() - began, files, sum(agreed, Agreement()))

    def _group(
        self, opened: StoredShard, group: int, plates: dict[int, Values], agreed: list[Agreement]
    ) -> list[dict[str, Any]]:
        """The rows of one row group; how some of them agree is added to `agreed`."""
        stored = opened.read(group)
        scenes = [row.scene(opened) for row in stored]
        found = self._source.scenes(scenes, [plates[row.plate] for row in stored])
        every = max(1, opened.rows // COMPARED)
        for place in range(-group * GROUP % every, len(stored), every):
            worn = self._worn(scenes[place], found[place], plates[stored[place].plate])
            agreed.append(agreement(worn.depth, scenes[place].depth))
        return [self._row(*one) for one in zip(stored, found, strict=True)]

    def _row(self, row: Row, found: list[np.ndarray]) -> dict[str, Any]:
        """A row of the scenes table."""
        if self.job.mode == "scenes":
            (depth,), low, step = encode(found, self.job.metric)
            return {"index": row.index, "depth": depth, "low": low, "step": step}
        boxes = [(facts["left"], facts["top"], facts["width"], facts["height"]) for facts in row.layers]
        crops = [values[t : t + h, left : left + w] for values, (left, t, w, h) in zip(found, boxes, strict=True)]
        layers, low, step = encode(crops, self.job.metric)
        return {"index": row.index, "layers": layers, "low": low, "step": step}

    def _plate_row(self, number: int, values: Values) -> dict[str, Any]:
        (depth,), low, step = encode([values], self.job.metric)
        return {"plate": number, "depth": depth, "low": low, "step": step}

    def _worn(self, scene: Scene, found: list[np.ndarray], plate: Values) -> Scene:
        if self.job.mode == "scenes":
            return with_frame_values(scene, found[0], plate, self._kind)
        return with_layer_values(scene, found, plate, self._kind)

    def _probe(self, probe: Probe) -> Probed:
        shown, total = [], Agreement()
        for shard, places in probe.places.items():
            opened = StoredShard(self.job.store, shard)
            rows = [opened.read(place // GROUP)[place % GROUP] for place in places]
            scenes = [row.scene(opened) for row in rows]
            by_row = self._source.plates(opened, sorted({row.plate for row in rows}))
            plates = [by_row[row.plate] for row in rows]
            for scene, found, plate in zip(scenes, self._source.scenes(scenes, plates), plates, strict=True):
                worn = self._worn(scene, found, plate)
                shown.append((scene.frame, worn.depth, scene.depth))
                total += agreement(worn.depth, scene.depth)
        return Probed(tuple(shown), total)


def _footer(agreed: list[Agreement]) -> dict[str, str]:
    return {"agreement": json.dumps(vars(sum(agreed, Agreement())))}
