"""The survey: what a stored dataset holds, in figures.

Contract: sizes and counts are of everything that is there; the figures about pixels are exact over the scenes they were
taken from, which are all, or an evenly spread sample of whole row groups where there are more than asked for (the
survey says how many). An unfinished dataset is surveyed as far as it is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

import numpy as np
from jaxtyping import Int64

from cleanplate.engine.engine import Engine, run_tasks
from cleanplate.pictures.split import PARTS
from cleanplate.scenes.records import ORDER, generator
from cleanplate.shards.format import GROUP
from cleanplate.shards.identity import Identity, Shard
from cleanplate.shards.reading import Dataset, row_groups
from cleanplate.shards.tally import AREA_BINS, Tally, depth_edges, tally
from cleanplate.types import InputError

SAMPLE = 20_000
"""Scenes that a survey reads unless it is told otherwise: half a minute's work, and means good to a thousandth."""
IN_PROCESS = 2_000
"""Up to so many scenes, starting workers takes longer than they save."""
REQUESTS = 16
"""Files whose sizes are asked for at once."""


@dataclass(frozen=True)
class PartSurvey:
    """One part. scenes, shards: planned; scenes_there, shards_there: made. bytes: of scenes and plates."""

    scenes: int
    scenes_there: int
    shards: int
    shards_there: int
    bytes: int


@dataclass(frozen=True)
class Histogram:
    """counts[i] lie in edges[i] <= value < edges[i + 1]."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Survey:
    """A dataset in figures. sampled: scenes behind everything from `mean` on.

    bytes_per_scene: of scenes and plates. labels: bytes of each. mean, deviation: per channel, 0..1. brightness: pixels
    of all frames per channel and value. empty_share: of scenes with no mask. objects: scenes by cutouts seen in them
    (the last: so many or more). mask_area: scenes with a mask, by its share of the picture. mask_position: share of
    each cell that masks cover, top row first. depth, depth_in_mask: pixels by metres ("metric"), or by the share of
    what is farthest in the plate; depth_unknown: share of pixels.
    """

    place: str
    dataset: str
    size: int
    depth_kind: Literal["metric", "relative", "none"]
    complete: bool
    parts: dict[str, PartSurvey]
    bytes_per_scene: float
    labels: dict[str, int]
    sampled: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    brightness: tuple[tuple[int, ...], ...]
    empty_share: float
    objects: tuple[int, ...]
    mask_area: Histogram
    mask_position: tuple[tuple[float, ...], ...]
    depth: Histogram
    depth_in_mask: Histogram
    depth_unknown: float


def survey(dataset: Dataset, scenes: int | None = SAMPLE, engine: Engine | None = None) -> Survey:
    """Survey a dataset. scenes: read about so many of them, in whole row groups; None = all.

    Raises InputError when there is no shard yet, or one cannot be read.
    """
    if scenes is not None and scenes < 1:
        raise InputError(f"--scenes must be at least 1, got {scenes}")
    there = stored_shards(dataset)
    if not there:
        raise InputError(f"{dataset.store.place} has no shard yet; run the `cleanplate compose` that began it again")
    parts = _parts(dataset, there)
    counts = _tally(dataset, sampled_groups(dataset.identity, there, scenes), engine)
    return _figures(dataset, parts, counts)


def stored_shards(dataset: Dataset) -> tuple[Shard, ...]:
    """The planned shards that are there."""
    missing = set(dataset.missing())
    return tuple(shard for shard in dataset.shards() if shard not in missing)


def _parts(dataset: Dataset, there: tuple[Shard, ...]) -> dict[str, PartSurvey]:
    identity, found = dataset.identity, {}
    with ThreadPoolExecutor(REQUESTS) as pool:
        for part in PARTS:
            mine = [shard for shard in there if shard.part == part]
            names = [name for shard in mine for name in (shard.scenes, shard.plates)]
            found[part] = PartSurvey(
                scenes=identity.scenes[part],
                scenes_there=sum(map(identity.rows_of, mine)),
                shards=len(identity.shards(part)),
                shards_there=len(mine),
                bytes=sum(pool.map(dataset.store.size, names)),
            )
    return found


def _labels(dataset: Dataset) -> dict[str, int]:
    """Bytes of each label."""
    sizes: dict[str, int] = {}
    for name in dataset.store.names("labels"):
        label = name.split("/")[1]
        sizes[label] = sizes.get(label, 0) + dataset.store.size(name)
    return sizes


def sampled_groups(identity: Identity, shards: tuple[Shard, ...], scenes: int | None) -> dict[Shard, list[int]]:
    """Row groups to read: all, or one of each of as many equal stretches as make up the number of scenes.

    Which one of its stretch is drawn: a fixed place would meet the same group of every shard.
    """
    groups = [(shard, group) for shard in shards for group in range(row_groups(identity.rows_of(shard)))]
    total = sum(map(identity.rows_of, shards))
    wanted = len(groups) if scenes is None else min(len(groups), max(1, -(-scenes * len(groups) // total)))
    rng = generator(ORDER, wanted, len(groups))
    chosen: dict[Shard, list[int]] = {}
    for k in range(wanted):
        first, last = k * len(groups) // wanted, (k + 1) * len(groups) // wanted
        shard, group = groups[int(rng.integers(first, last))]
        chosen.setdefault(shard, []).append(group)
    return chosen


def _tally(dataset: Dataset, sample: dict[Shard, list[int]], engine: Engine | None) -> Tally:
    rows = sum(min(GROUP * len(groups), dataset.identity.rows_of(shard)) for shard, groups in sample.items())
    engine = engine or Engine(workers=0 if rows <= IN_PROCESS else None)
    keys = [(shard, tuple(groups)) for shard, groups in sample.items()]
    return reduce(add, (counts for _, counts in run_tasks(tally_groups, dataset, keys, engine)))


def tally_groups(dataset: Dataset, key: tuple[Shard, tuple[int, ...]]) -> Tally:
    """Count the scenes of these row groups of a shard."""
    opened = dataset.open(key[0])
    scenes = (row.scene(opened) for group in key[1] for row in opened.read(group))
    return tally(scenes, dataset.identity.depth == "metric")


def _figures(dataset: Dataset, parts: dict[str, PartSurvey], counts: Tally) -> Survey:
    identity, metric = dataset.identity, dataset.identity.depth == "metric"
    edges = depth_edges(metric)
    position = counts.positions / np.maximum(counts.cell_pixels, 1)
    return Survey(
        place=dataset.store.place,
        dataset=identity.fingerprint,
        size=identity.size,
        depth_kind=identity.depth,
        complete=all(part.shards == part.shards_there for part in parts.values()),
        parts=parts,
        bytes_per_scene=sum(part.bytes for part in parts.values()) / sum(part.scenes_there for part in parts.values()),
        labels=_labels(dataset),
        sampled=counts.scenes,
        mean=counts.mean,
        deviation=counts.deviation,
        brightness=tuple(_whole(channel) for channel in counts.colours),
        empty_share=counts.empty / counts.scenes,
        objects=_whole(counts.objects),
        mask_area=Histogram(tuple(k / AREA_BINS for k in range(AREA_BINS + 1)), _whole(counts.areas)),
        mask_position=tuple(tuple(float(share) for share in row) for row in position),
        depth=Histogram(edges, _whole(counts.depths)),
        depth_in_mask=Histogram(edges, _whole(counts.depths_in_mask)),
        depth_unknown=counts.depth_unknown / max(1, int(counts.cell_pixels.sum())),
    )


def _whole(counts: Int64[np.ndarray, "n"]) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)
