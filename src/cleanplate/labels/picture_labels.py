"""Labels of single pictures, plates whole and cutouts on grey, and the labels of scenes that are layered of them.

Contract: `PictureLabeller(job)` is called with a chunk of pictures and writes its file. `Layered(job)` reads these
files and answers, as a teacher would that sees every frame, with values for a shard's plates and scenes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanplate.labels.label_job import LabelJob, Labelled, measured, table
from cleanplate.labels.labels import FOLDER, decode, encode
from cleanplate.labels.layering import Relief, layer_values, on_grey, positive, relief_of, view_values
from cleanplate.scenes.placement import View
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.stock import Stock
from cleanplate.shards.reading import StoredShard
from cleanplate.teachers.model import Values
from cleanplate.teachers.teacher import kind_of, to_values
from cleanplate.types import Scene

CHUNK = 16
"""Pictures per file."""
STOCK_BYTES = 300_000_000
KEPT_BYTES = 256_000_000
"""Of decoded labels, in a worker."""
PICTURES = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("depth", pa.binary()),
        ("low", pa.float64()),
        ("step", pa.float64()),
        ("alpha", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Chunk:
    """Some pictures that share a file."""

    number: int
    kind: str
    names: tuple[str, ...]

    def file(self, name: str) -> str:
        """Where it lies in a dataset's label of this name."""
        return f"{FOLDER}/{name}/pictures-{self.number:05d}.parquet"


def picture_chunks(job: LabelJob) -> list[Chunk]:
    """All pictures of the dataset, plates first, in files of a few."""
    chunks: list[Chunk] = []
    for kind in ("plates", "cutouts"):
        names = sorted(name for part in job.identity.pictures[kind].values() for name in part)
        for first in range(0, len(names), CHUNK):
            chunks.append(Chunk(len(chunks), kind, tuple(names[first : first + CHUNK])))
    return chunks


class PictureLabeller:
    """Labels plates whole, and cutouts on grey: called with a chunk."""

    def __init__(self, job: LabelJob) -> None:
        assert job.pictures is not None  # `label` opened them
        self.job, self._teacher = job, job.open_teacher()
        self._stock = Stock(*job.pictures, job.identity.size, STOCK_BYTES)

    def __call__(self, chunk: Chunk) -> Labelled:
        began = time.perf_counter()
        rows = self._plates(chunk) if chunk.kind == "plates" else self._cutouts(chunk)
        data = table([list(rows)], PICTURES, {"dataset": self.job.identity.fingerprint})
        self.job.store.write(chunk.file(self.job.name), data)
        files = {chunk.file(self.job.name): measured(data)}
        return Labelled(len(chunk.names), time.perf_counter() - began, files)

    def _plates(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        pictures = [self._stock.plate(name).levels[0] for name in chunk.names]
        for name, output in zip(chunk.names, self._teacher(pictures), strict=True):
            yield self._row("plates", name, to_values(output, self.job.teacher), b"")

    def _cutouts(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        cutouts = [self._stock.cutout(name) for name in chunk.names]
        shown = [on_grey(cutout) for cutout in cutouts]
        outputs = self._teacher([picture for picture, _ in shown])
        for name, cutout, output, (_, spot) in zip(chunk.names, cutouts, outputs, shown, strict=True):
            alpha = np.ascontiguousarray(cutout.levels[0][..., 3])
            values = to_values(output, self.job.teacher)[spot]
            yield self._row("cutouts", name, np.where(alpha >= 128, values, np.float32(np.nan)), alpha.tobytes())

    def _row(self, kind: str, name: str, values: Values, alpha: bytes) -> dict[str, Any]:
        (depth,), low, step = encode([values], self.job.metric)
        height, width = values.shape
        facts = {"kind": kind, "name": name, "height": height, "width": width, "low": low, "step": step}
        return facts | {"depth": depth, "alpha": alpha}


class Layered:
    """Values from the labels of whole plates and cutouts."""

    def __init__(self, job: LabelJob) -> None:
        self._job, self._kind = job, kind_of(job.teacher)
        self._files = {
            (chunk.kind, name): chunk.file(job.name) for chunk in picture_chunks(job) for name in chunk.names
        }
        self._kept: dict[tuple[str, str], np.ndarray] = {}
        self._bytes = 0

    def plates(self, opened: StoredShard, rows: Sequence[int]) -> dict[int, Values]:
        """Values of these rows of the shard's plates table."""
        found = {}
        for row in rows:
            facts = opened.plate_facts(row)
            view = View(facts["x"], facts["y"], facts["width"], facts["height"])
            found[row] = view_values(self._picture("plates", facts["name"]), view, *opened.side)
        return found

    def scenes(self, scenes: Sequence[Scene], plates: Sequence[Values]) -> list[list[np.ndarray]]:
        """For each scene the values of its layers."""
        found = []
        for scene, plate in zip(scenes, plates, strict=True):
            recipe = Recipe.from_json(scene.recipe)
            found.append(layer_values(recipe, scene, plate, self._reliefs(recipe), self._kind))
        return found

    def _reliefs(self, recipe: Recipe) -> Mapping[str, Relief]:
        return {placement.cutout: self._picture("cutouts", placement.cutout) for placement in recipe.placements}

    def _picture(self, kind: str, name: str) -> np.ndarray:
        """A plate's values or a cutout's relief, kept for a while."""
        key = kind, name
        if key not in self._kept:
            table = pq.read_table(self._job.store.open(self._files[key]), use_threads=False)
            read = {(facts["kind"], facts["name"]): self._decoded(facts) for facts in table.to_pylist()}
            self._kept |= read
            self._bytes += sum(values.nbytes for values in read.values())
            while self._bytes > KEPT_BYTES and len(self._kept) > len(read):
                self._bytes -= self._kept.pop(next(iter(self._kept))).nbytes
        return self._kept[key]

    def _decoded(self, facts: dict[str, Any]) -> np.ndarray:
        shape = facts["height"], facts["width"]
        values = decode(facts["depth"], shape, facts["low"], facts["step"])
        values = values if self._job.metric else positive(values)
        if facts["kind"] == "plates":
            return values
        return relief_of(values, np.frombuffer(facts["alpha"], np.uint8).reshape(shape))
