"""Reading a stored dataset: its folder, its shards, their rows, and scenes as they were before any camera effect.

Contract: `Dataset(place)` opens a folder or a URI; `dataset.open(shard)` a shard; `shard.read(group)` the rows of one
row group, undecoded (about 40 kB each); `row.scene(shard)` is a `Scene` as `compose` made it, but for the JPEG of plate
and frame and depth rounded to the stored step.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanplate.scenes.compose import whole_alpha, whole_depth
from cleanplate.shards.format import GROUP, PLATES, READ, decode_jpeg
from cleanplate.shards.identity import DATASET, Identity, Shard, read_identity
from cleanplate.shards.store import Store
from cleanplate.types import Depth, InputError, Layer, Pixels, Scene

KEPT_PLATES = 160
"""Decoded plates that a dataset keeps for all of its open shards: those of a window of training's order."""

Plates = OrderedDict[tuple[Shard, int], tuple[Pixels, Depth, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One stored scene, undecoded. layers: as in the format, back to front."""

    index: int
    plate: int
    frame: bytes
    layers: list[dict[str, Any]]
    recipe: str

    def scene(self, shard: StoredShard) -> Scene:
        """The scene, decoded; its plate and plate depth are shared with others and not to be written to."""
        plate, plate_depth, scale = shard.plate(self.plate)
        side = plate_depth.shape
        layers = tuple(_layer(facts, side, scale) for facts in self.layers)
        alpha = whole_alpha(layers, side)
        depth = whole_depth(layers, alpha, plate_depth)
        return Scene(plate, decode_jpeg(self.frame), alpha, plate_depth, depth, layers, self.recipe)


def _layer(facts: dict[str, Any], side: tuple[int, int], scale: float) -> Layer:
    layer = Layer(np.zeros(side, np.uint8), np.zeros(side, np.float32))
    left, top, width, height = facts["left"], facts["top"], facts["width"], facts["height"]
    spot = slice(top, top + height), slice(left, left + width)
    layer.alpha[spot] = np.frombuffer(facts["alpha"], np.uint8).reshape(height, width)
    if facts["depth"]:
        np.multiply(
            np.frombuffer(facts["depth"], "<u2").reshape(height, width), np.float32(scale), out=layer.depth[spot]
        )
    return layer


class StoredShard:
    """An open shard. rows: scenes; groups: row groups; side: (height, width). kept: decoded plates of open shards."""

    def __init__(self, store: Store, shard: Shard, kept: Plates | None = None) -> None:
        self.shard, self._kept = shard, Plates() if kept is None else kept
        try:
            self._scenes = pq.ParquetFile(store.open(shard.scenes))
            self._plates = pq.read_table(pa.BufferReader(store.read(shard.plates)), schema=PLATES).to_pylist()
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{store.place}: {shard.name} is damaged ({error}); delete {shard.scenes} and run compose again"
            ) from error
        facts = {key.decode(): value.decode() for key, value in (self._scenes.schema_arrow.metadata or {}).items()}
        self.facts = facts | {k.decode(): v.decode() for k, v in (self._scenes.metadata.metadata or {}).items()}
        self.side = int(facts["height"]), int(facts["width"])
        self.rows, self.groups = self._scenes.metadata.num_rows, self._scenes.metadata.num_row_groups

    def read(self, group: int) -> list[Row]:
        """The rows of one row group, in order: `GROUP` of them, fewer in the last."""
        table = self._scenes.read_row_group(group, columns=READ, use_threads=False)
        return [Row(**facts) for facts in table.to_pylist()]

    def plate(self, row: int) -> tuple[Pixels, Depth, float]:
        """(pixels, depth, depth's step) of a row of the plates table, decoded once and kept for a while."""
        key = self.shard, row
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        facts = self.plate_facts(row)
        scale = facts["depth_scale"]
        depth = np.zeros(self.side, np.float32)
        if facts["depth"]:
            np.multiply(np.frombuffer(facts["depth"], "<u2").reshape(self.side), np.float32(scale), out=depth)
        self._kept[key] = decode_jpeg(facts["picture"]), depth, scale
        if len(self._kept) > KEPT_PLATES:
            self._kept.popitem(last=False)
        return self._kept[key]

    @property
    def plates(self) -> int:
        """Rows of the plates table."""
        return len(self._plates)

    def plate_facts(self, row: int) -> dict[str, Any]:
        """name, x, y, width, height ... of a row of the plates table, undecoded."""
        return self._plates[row]


class Dataset:
    """A stored dataset. place: a folder, or a URI that pyarrow or fsspec reaches."""

    def __init__(self, place: str | Path) -> None:
        self.store = Store(place)
        if not self.store.exists(DATASET):
            raise InputError(
                f"{self.store.place} is no dataset: it has no {DATASET}; give the --out of `cleanplate compose`"
            )
        self.identity: Identity = read_identity(self.store.read(DATASET), self.store.place)
        self._plates = Plates()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_plates": Plates()}  # other processes decode their own

    def shards(self, part: str | None = None) -> tuple[Shard, ...]:
        """All planned shards, of one part or of all."""
        return self.identity.shards(part)

    def open(self, shard: Shard) -> StoredShard:
        """This shard. Raises InputError when it is missing or no Parquet."""
        return StoredShard(self.store, shard, self._plates)

    def missing(self) -> tuple[Shard, ...]:
        """Planned shards that are not there yet."""
        there = set(self.store.names("scenes"))
        return tuple(shard for shard in self.shards() if shard.scenes not in there)

    def require_complete(self) -> None:
        """Raises InputError, which says how to go on, when shards are missing."""
        missing = self.missing()
        if missing:
            raise InputError(
                f"{self.store.place} is not finished: {len(missing)} of {len(self.shards())} shards are missing, the "
                f"first is {missing[0].name}; run the `cleanplate compose` that began it again, it makes only these"
            )


def row_groups(rows: int) -> int:
    """Row groups of a shard of so many rows."""
    return -(-rows // GROUP)
