"""Making a stored dataset: every missing shard of its identity, by the engine that is asked for.

Contract: `make_dataset` may be killed at any moment and called again; it makes only the shards that are missing, and
their bytes are the same whatever the engine and the number of workers. A shard's plates (and plain files) are written
before its scenes, so a scenes file that is there means a shard that is whole. The manifest comes last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2

from cleanplate.engine.engine import Engine, run_actors
from cleanplate.pictures.library import Picture, open_library
from cleanplate.pictures.split import PARTS, Part
from cleanplate.pictures.writing import sweep
from cleanplate.scenes.compose import laid_out, paste
from cleanplate.scenes.recipe import recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.shards.finish import FileFacts, file_facts, finish
from cleanplate.shards.format import Encoder
from cleanplate.shards.identity import (
    DATASET,
    MANIFEST,
    Identity,
    Shard,
    differences,
    make_identity,
    part_plan,
    plan_number,
    read_identity,
    sorted_parts,
)
from cleanplate.shards.plain import plain_files, zipped
from cleanplate.shards.progress import ShardProgress
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from cleanplate.types import InputError, Scene

FormatName = Literal["parquet", "files", "zip"]
STOCK_BYTES = 300_000_000
"""Decoded pictures that a worker keeps."""

Parts = dict[Part, tuple[tuple[Picture, ...], tuple[Picture, ...]]]

PlainRow = tuple[int, Scene, bytes, bytes]
"""Number, scene, frame's JPEG, plate's JPEG."""


@dataclass(frozen=True)
class Job:
    """What a worker needs for any shard of a dataset. parts: (plates, cutouts) of each."""

    store: Store
    identity: Identity
    parts: Parts
    format: FormatName


@dataclass(frozen=True)
class Made:
    """A shard that is there. seconds: that it took; 0 = it was there already. files: what was written of it."""

    rows: int
    seconds: float = 0.0
    files: dict[str, FileFacts] = field(default_factory=dict)


class ShardMaker:
    """Makes shards of one job, keeping decoded pictures from one to the next: called with a shard."""

    def __init__(self, job: Job) -> None:
        cv2.setNumThreads(0)  # a worker is one core's work
        self.job = job
        self._stocks: dict[str, Stock] = {}

    def __call__(self, shard: Shard) -> Made:
        """Make this shard unless it is there; raises InputError when it cannot be written."""
        store, identity = self.job.store, self.job.identity
        if all(store.exists(name) for name in last_files(identity, shard, self.job.format)):
            return Made(identity.rows_of(shard))
        began = time.perf_counter()
        rows, (scenes, plates, content) = self._encoded(shard)
        files = {}
        for name, data in ((shard.plates, plates), *self._plain(shard, rows), (shard.scenes, scenes)):
            store.write(name, data)
            files[name] = file_facts(data, *((identity.rows_of(shard), content) if name == shard.scenes else ()))
        return Made(identity.rows_of(shard), time.perf_counter() - began, files)

    def _encoded(self, shard: Shard) -> tuple[list[PlainRow], tuple[bytes, bytes, str]]:
        """The shard's tables; and what plain files are made of, where they are wanted."""
        identity, side = self.job.identity, self.job.identity.size
        plates, cutouts = self.job.parts[shard.part]
        plan = part_plan(identity, shard.part, plates, cutouts)
        if shard.part not in self._stocks:
            self._stocks = {shard.part: Stock(plates, cutouts, side, STOCK_BYTES)}
        stock = self._stocks[shard.part]
        facts = {"part": shard.part, "number": str(shard.number), "dataset": identity.fingerprint}
        encoder = Encoder((side, side), identity.quality, identity.depth == "metric", facts)
        kept, plain = [], self.job.format != "parquet"
        for index in range(identity.first(shard), identity.first(shard) + identity.rows_of(shard)):
            number = plan_number(index, len(plan), len(plates), identity.plan.scenes_per_view)
            drawn = recipe(plan, number, stock)
            composite = paste(drawn, stock, side, side)
            row = encoder.add(index, composite, drawn)
            if plain:
                kept.append((index, laid_out(composite), row["frame"], encoder.plate_picture(row["plate"])))
        return kept, encoder.finish()

    def _plain(self, shard: Shard, rows: list[PlainRow]) -> list[tuple[str, bytes]]:
        """The originals' layout beside the shard, where it is wanted: single files, or one zip."""
        if not rows:
            return []
        files = plain_files(shard.part, *zip(*rows, strict=True), metric=self.job.identity.depth != "relative")
        if self.job.format == "zip":
            return [(shard.zip, zipped(files))]
        return [(f"files/{name}", data) for name, data in files]


def last_files(identity: Identity, shard: Shard, format: FormatName) -> tuple[str, ...]:
    """The files that are written last of a shard: when they are there, all of it is."""
    if format == "zip":
        return shard.zip, shard.scenes
    return (shard.scenes,) if format == "parquet" else (identity.lines(shard), shard.scenes)


def make_dataset(
    out: str | Path,
    plates: Sequence[Path],
    cutouts: Sequence[Path],
    *,
    scenes: int | None = None,
    size: int = 224,
    quality: int = 80,
    seed: int = 0,
    plan: PlanSettings,
    split: bool = True,
    format: FormatName = "parquet",
    engine: Engine | None = None,
    quiet: bool = False,
    strict: bool = False,
) -> Dataset:
    """Make what is missing of this dataset and return it, complete. No folders = the packaged sample.

    out: a folder or URI. scenes: over all parts, None = the whole plan. size: side of the square scenes, pixels.
    Raises InputError: unusable pictures or settings, another dataset in `out` (saying what differs), a full disk.
    """
    libraries = open_library(plates, "plates", strict), open_library(cutouts, "cutouts", strict)
    options = {"size": size, "quality": quality, "seed": seed, "plan": plan, "scenes": scenes, "split": split}
    identity = make_identity(*libraries, **options)  # ty: ignore[invalid-argument-type]
    store = Store(out)
    _claim(store, identity)
    if store.local is not None:
        sweep(store.local)
    dataset = Dataset(out)
    there = set(store.names())
    missing = [shard for shard in identity.shards() if not there.issuperset(last_files(identity, shard, format))]
    job = Job(store, identity, sorted_parts(*libraries, seed, split), format)
    counts = ", ".join(f"{identity.scenes[part]:,} {part}" for part in PARTS)
    ShardProgress.console.print(
        f"{store.place}: {counts} scenes; {len(missing):,} of {len(identity.shards()):,} shards to make",
        highlight=False,
        soft_wrap=True,
    )
    written: dict[str, FileFacts] = {}
    total = sum(identity.scenes.values())
    with ShardProgress("composing", total, total - sum(map(identity.rows_of, missing)), quiet) as progress:
        for shard, result in run_actors(ShardMaker, job, missing, engine or Engine()):
            written |= result.files
            size = sum(facts["bytes"] for facts in result.files.values())
            progress.made(shard.name, result.rows, result.seconds, size)
    if missing or not store.exists(MANIFEST):
        finish(dataset, written)
    return dataset


def _claim(store: Store, identity: Identity) -> None:
    """Write dataset.json, or see that the one that is there says the same."""
    if store.create(DATASET, identity.to_json().encode()):
        return
    there = read_identity(store.read(DATASET), store.place)
    differ = differences(there, identity)
    if differ:
        shown = "; ".join(differ[:5]) + (f"; and {len(differ) - 5} more" if len(differ) > 5 else "")
        raise InputError(
            f"{store.place} holds another dataset: {shown}. Give another --out, or delete that dataset first"
        )
