"""Depth labels: what a teacher says of a stored dataset, in column files beside its shards; and scenes that wear them.

    labels/NAME/label.json                        what made them, written first
    labels/NAME/plates-PART-NNNNN.parquet         a row (and row group) per row of the shard's plates table: plate,
                                                  depth, low, step
    labels/NAME/scenes-PART-NNNNN.parquet         a row per scene of the shard, in its order: index, low, step and
        depth   binary (mode scenes)              the canvas, uint16, row after row
        layers  list<binary> (mode plates)        the box of each of the scene's layers, in their order
    labels/NAME/pictures-NNNNN.parquet            (mode plates) what the teacher said of each plate and cutout
    labels/NAME/manifest.json, preview.png        when all is there

A stored value s stands for low + step * s, 0 for unknown. Metric labels are metres (low 0, step 0.001); relative ones
are in the teacher's own unit, each row (a scene, a plate) with the full range of s for its own values, in 4,096 levels:
finer than any teacher, and two fifths smaller than 65,536.

Contract: `Labels(dataset, name).apply(scene, shard, row)` is the scene with the label for its depth, and 0 where that
is unknown. Depth stays what it is everywhere, larger = farther: `kind` says what is known of it. What is known up to
scale and shift is brought to 1..100 (`relative`: z, `disparity`: 1/z, affine in the teacher's output). As in every
scene, outside the mask the plate's depth is the frame's.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanplate.scenes.compose import whole_depth
from cleanplate.shards.format import FARTHEST, GROUP, MILLIMETRE
from cleanplate.shards.identity import Shard
from cleanplate.shards.reading import Dataset, Row, StoredShard
from cleanplate.teachers.model import Map, Values
from cleanplate.types import FAR_M, Depth, DepthKind, InputError, Layer, Scene

Mode = Literal["scenes", "plates"]
FOLDER, LABEL, PREVIEW = "labels", "label.json", "preview.png"
KEPT_GROUPS, KEPT_PLATES = 36, 160
LEVELS, LEVEL = 4096, 16
_PACKER = pa.Codec("zstd", compression_level=1)
_SCALE = [("low", pa.float64()), ("step", pa.float64())]
SCENES = {
    "scenes": pa.schema([("index", pa.int64()), ("depth", pa.binary()), *_SCALE]),
    "plates": pa.schema([("index", pa.int64()), ("layers", pa.list_(pa.binary())), *_SCALE]),
}
PLATES = pa.schema([("plate", pa.int32()), ("depth", pa.binary()), *_SCALE])


def scenes_name(name: str, shard: Shard) -> str:
    """Where the label of a shard's scenes lies in the dataset."""
    return f"{FOLDER}/{name}/scenes-{shard.name}.parquet"


def plates_name(name: str, shard: Shard) -> str:
    """Where the label of its plates lies."""
    return f"{FOLDER}/{name}/plates-{shard.name}.parquet"


def encode(maps: Sequence[Map], metric: bool) -> tuple[list[bytes], float, float]:
    """Maps of values, nan = unknown, as stored (uint16, little endian); with the low and the step of all of them."""
    if metric:
        return [_stored(part / np.float32(MILLIMETRE), 1) for part in maps], 0.0, MILLIMETRE
    least, most = _range(*maps)
    step = (most - least) / (LEVEL * (LEVELS - 1)) or 1.0
    return [_stored(1 + (part.astype(np.float64) - least) / step, LEVEL) for part in maps], least - step, step


def _stored(steps: np.ndarray, level: int) -> bytes:
    """Steps of 1 + any multiple of `level`, 0 for what is beyond or unknown."""
    with np.errstate(invalid="ignore"):
        stored = 1 + level * np.rint((steps - 1) / level)
        known = (stored >= 1) & (stored <= FARTHEST)
    return np.where(known, stored, 0).astype("<u2").tobytes()


def decode(data: bytes, shape: tuple[int, int], low: float, step: float) -> Values:
    """The values of a stored map, nan = unknown."""
    stored = np.frombuffer(data, "<u2").reshape(shape)
    return np.where(stored > 0, stored * np.float32(step) + np.float32(low), np.float32(np.nan))


class Labels:
    """The labels of this name in a dataset. kind: what is known of their depth. mode: what the teacher saw.

    Raises InputError when there are none of this name, or they were made for another dataset.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self._dataset, self.name = dataset, name
        store, identity = dataset.store, dataset.identity
        if not store.exists(f"{FOLDER}/{name}/{LABEL}"):
            there = sorted({path.split("/")[1] for path in store.names(FOLDER) if path.count("/") > 1})
            raise InputError(
                f"{store.place} has no label {name!r}; it has {', '.join(there) or 'none'}: make it by "
                "`cleanplate label`, or name another"
            )
        self.facts: dict[str, Any] = json.loads(store.read(f"{FOLDER}/{name}/{LABEL}"))
        if self.facts["dataset"] != identity.fingerprint:
            raise InputError(f"{store.place}: the label {name!r} was made for another dataset; make it anew")
        self.mode: Mode = self.facts["mode"]
        self.kind: DepthKind = self.facts["kind"]
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_groups", "_plates")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def missing(self) -> tuple[Shard, ...]:
        """Shards of the dataset without this label."""
        there = set(self._dataset.store.names(f"{FOLDER}/{self.name}"))
        return tuple(shard for shard in self._dataset.shards() if scenes_name(self.name, shard) not in there)

    def require_complete(self) -> None:
        """Raises InputError, which says how to go on, when shards have no label yet."""
        missing = self.missing()
        if missing:
            raise InputError(
                f"{self._dataset.store.place}: the label {self.name!r} is not finished, {len(missing)} of "
                f"{len(self._dataset.shards())} shards are missing, the first is {missing[0].name}; run the "
                "`cleanplate label` that began it again, it makes only these"
            )

    def apply(self, scene: Scene, shard: StoredShard, row: Row) -> Scene:
        """The stored scene of this row with the label's depth, plate depth and layers' depth."""
        group, place = divmod(row.index - self._dataset.identity.first(shard.shard), GROUP)
        label = self._group(shard.shard, group)[place]
        if label["index"] != row.index:
            raise InputError(
                f"{self._dataset.store.place}: {scenes_name(self.name, shard.shard)} has scene {label['index']} where "
                f"the shard has {row.index}; delete it and run `cleanplate label` again"
            )
        shape, scale = scene.alpha.shape, (label["low"], label["step"])
        plate = self._plate(shard.shard, row.plate, shape)
        if self.mode == "scenes":
            data = _PACKER.decompress(label["depth"], 2 * scene.alpha.size, asbytes=True)
            return with_frame_values(scene, decode(data, shape, *scale), plate, self.kind)
        boxes = [(facts["left"], facts["top"], facts["width"], facts["height"]) for facts in row.layers]
        crops = [decode(data, (b[3], b[2]), *scale) for data, b in zip(label["layers"], boxes, strict=True)]
        return with_layer_values(scene, placed(crops, boxes, shape), plate, self.kind)

    def _group(self, shard: Shard, group: int) -> list[dict[str, Any]]:
        key = shard, group
        if key not in self._groups:
            rows = self._open(scenes_name(self.name, shard)).read_row_group(group, use_threads=False).to_pylist()
            if self.mode == "scenes":  # kept packed: whole canvases of thousands of scenes
                rows = [row | {"depth": _PACKER.compress(row["depth"], asbytes=True)} for row in rows]
            _keep(self._groups, key, rows, KEPT_GROUPS)
        return self._groups[key]

    def _plate(self, shard: Shard, row: int, shape: tuple[int, int]) -> Values:
        key = shard, row
        if key not in self._plates:
            table = self._open(plates_name(self.name, shard)).read_row_group(row, use_threads=False)
            facts = table.to_pylist()[0]
            _keep(self._plates, key, decode(facts["depth"], shape, facts["low"], facts["step"]), KEPT_PLATES)
        return self._plates[key]

    def _open(self, name: str) -> pq.ParquetFile:
        # opened anew for every group: no handle that a forked process would share
        try:
            return pq.ParquetFile(self._dataset.store.open(name))
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self._dataset.store.place}: {name} is damaged ({error}); delete it and run `cleanplate label` again"
            ) from error

    def _forget(self) -> None:
        self._groups: OrderedDict[tuple[Shard, int], list[dict[str, Any]]] = OrderedDict()
        self._plates: OrderedDict[tuple[Shard, int], Values] = OrderedDict()


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)


def placed(
    crops: Sequence[Map], boxes: Sequence[tuple[int, int, int, int]], shape: tuple[int, int]
) -> list[np.ndarray]:
    """Maps of a canvas (height, width), each a crop at its box (left, top, width, height), else nan."""
    maps = []
    for crop, (left, top, width, height) in zip(crops, boxes, strict=True):
        whole = np.full(shape, np.nan, np.float32)
        whole[top : top + height, left : left + width] = crop
        maps.append(whole)
    return maps


def with_layer_values(scene: Scene, layers: Sequence[np.ndarray], plate: Values, kind: DepthKind) -> Scene:
    """The scene with these values, maps of the canvas, for the depth of its layers and of its plate."""
    worn = [Layer(layer.alpha, values) for layer, values in zip(scene.layers, layers, strict=True)]
    whole = whole_depth(worn, scene.alpha, plate)
    scale = _range(whole, plate)
    made = tuple(_worn(layer, lambda spot, of=layer: to_depth(of.depth[spot], kind, *scale)) for layer in worn)
    return replace(scene, plate_depth=to_depth(plate, kind, *scale), depth=to_depth(whole, kind, *scale), layers=made)


def with_frame_values(scene: Scene, frame: Values, plate: Values, kind: DepthKind) -> Scene:
    """The scene with the values of the whole frame for its depth, and those of the plate behind its mask.

    Each relative map has a scale of its own: the plate's is brought to the frame's by what both see.
    """
    if kind != "metric":
        plate = _brought(plate, frame, scene.alpha == 0)
    behind = np.where(scene.alpha >= 128, plate, frame)
    scale = _range(frame, behind)
    depth = to_depth(frame, kind, *scale)
    layers = tuple(_worn(layer, lambda spot: depth[spot]) for layer in scene.layers)
    return replace(scene, plate_depth=to_depth(behind, kind, *scale), depth=depth, layers=layers)


def _worn(layer: Layer, depth: Callable[[tuple[slice, slice]], Depth]) -> Layer:
    """The layer with another depth where anything is seen of it."""
    made = np.zeros_like(layer.depth)
    left, top, width, height = cv2.boundingRect(layer.alpha)
    if width:
        spot = slice(top, top + height), slice(left, left + width)
        np.copyto(made[spot], depth(spot), where=layer.alpha[spot] > 0)
    return Layer(layer.alpha, made)


def _brought(plate: Values, frame: Values, where: np.ndarray) -> Values:
    """The plate's values by the factor and shift of least squared error; unknown where they run against each other."""
    few = np.s_[:: max(1, plate.shape[0] // 64), :: max(1, plate.shape[1] // 64)]
    both = where[few] & np.isfinite(plate[few]) & np.isfinite(frame[few])
    if both.sum() < 2:
        return np.full_like(plate, np.nan)
    p, f = plate[few][both].astype(np.float64), frame[few][both].astype(np.float64)
    spread = ((p - p.mean()) ** 2).mean()
    factor = ((p - p.mean()) * (f - f.mean())).mean() / spread if spread > 0 else 0.0
    if factor <= 0:
        return np.full_like(plate, np.nan)
    return plate * np.float32(factor) + np.float32(f.mean() - factor * p.mean())


def _range(*maps: Map) -> tuple[float, float]:
    """Least and most of what is known; (0, 0) if nothing is."""
    least = [np.fmin.reduce(values, axis=None) for values in maps if values.size]
    most = [np.fmax.reduce(values, axis=None) for values in maps if values.size]
    if not np.isfinite(least).any():
        return 0.0, 0.0
    return float(np.fmin.reduce(least)), float(np.fmax.reduce(most))


def to_depth(values: Map, kind: DepthKind, least: float, most: float) -> Depth:
    """Depth of a scene whose known values lie in least..most: larger = farther, 0 = unknown."""
    if kind == "metric":
        return np.fmax(values, np.float32(0))
    near, span = np.float32(1 / FAR_M), np.float32((most - least) or 1.0)
    if kind == "disparity":
        depth = np.reciprocal((values - np.float32(least)) * ((1 - near) / span) + near)
    else:
        depth = (values - np.float32(least)) * (np.float32(FAR_M - 1) / span) + np.float32(1)
    return np.fmax(depth, np.float32(0))  # which turns nan into 0
