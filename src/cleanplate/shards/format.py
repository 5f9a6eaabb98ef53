"""The format of a shard: scenes as two Parquet tables, and back.

Contract: an `Encoder` turns composed scenes into the bytes of a scenes table and of a plates table; `reading` gives
the scenes back. Plates and frames pass the same JPEG codec: compression on the frames alone would give the foreground
away. Alpha is exact. Depth is exact to half a millimetre (uint16 millimetres, larger = farther, 0 = unknown, beyond
65.5 m unknown); relative depth has its own step per plate (`depth_scale`).

scenes/PART-NNNNN.parquet, one row per scene, row groups of 100:

    index   int64    number of the scene in its part
    plate   int32    row of the plates table
    frame   binary   JPEG, 4:2:0
    mask    binary   soft alpha of everything in front, uint8, height * width, row after row
    layers  list<struct>, back to front: cutout, left, top, width, height (pixels of the canvas), mode, mirror, depth_m
            (metres to the contact, null = unknown), alpha (what is seen of it, uint8, height * width of the box),
            depth (uint16, little endian, of the box; empty = unknown)
    recipe  string   the JSON that makes the scene again

plates/PART-NNNNN.parquet, one row per view: plate int32, name, x, y, width, height (the view, shares of the
plate), picture (JPEG), depth (uint16, the canvas's height * width; empty = none), depth_scale (metres, or relative
units, per step).

The frame's depth is the plate's, overwritten by the layers' where the mask is (`scenes.compose.whole_depth`).
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from cleanplate.scenes.compose import Composite, Patch
from cleanplate.scenes.placement import Placement
from cleanplate.scenes.recipe import Recipe
from cleanplate.types import Depth, InputError, Pixels

GROUP = 100
"""Scenes per row group: what is read at once."""
MILLIMETRE = 0.001
FARTHEST = 65535
RELATIVE_STEPS = 60000

LAYER = pa.struct(
    [
        pa.field("cutout", pa.string()),
        *(pa.field(name, pa.int16()) for name in ("left", "top", "width", "height")),
        pa.field("mode", pa.string()),
        pa.field("mirror", pa.bool_()),
        pa.field("depth_m", pa.float32()),
        pa.field("alpha", pa.binary()),
        pa.field("depth", pa.binary()),
    ]
)
SCENES = pa.schema(
    [
        ("index", pa.int64()),
        ("plate", pa.int32()),
        ("frame", pa.binary()),
        ("mask", pa.binary()),
        ("layers", pa.list_(LAYER)),
        ("recipe", pa.string()),
    ]
)
PLATES = pa.schema(
    [
        ("plate", pa.int32()),
        ("name", pa.string()),
        *((name, pa.float64()) for name in ("x", "y", "width", "height")),
        ("picture", pa.binary()),
        ("depth", pa.binary()),
        ("depth_scale", pa.float64()),
    ]
)
READ = ["index", "plate", "frame", "layers", "recipe"]
"""What makes a scene again; the mask is there for other readers."""


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """JPEG with 4:2:0 colours; the accurate integer transform, so that bytes depend on no processor."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420")


def decode_jpeg(data: bytes) -> Pixels:
    """The pixels of a stored picture. Raises InputError for damaged data."""
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise InputError(
            f"a stored picture is damaged ({error}); `cleanplate inspect DIR --verify` says which file"
        ) from error


def to_steps(depth: Depth, scale: float) -> np.ndarray:
    """Depth as uint16 steps of this scale; what is farther than they reach is 0, unknown."""
    steps = depth * np.float32(1 / scale)
    np.rint(steps, out=steps)
    if steps.size and steps.max() > FARTHEST:
        steps[steps > FARTHEST] = 0
    return steps.astype("<u2")


class Encoder:
    """Collects the scenes of one shard, a row group at a time, and gives the bytes of its two tables."""

    def __init__(self, side: tuple[int, int], quality: int, metric: bool, facts: dict[str, str]) -> None:
        self._quality, self._metric = quality, metric
        self._plates: dict[tuple[Any, ...], int] = {}
        self._scales: list[float] = []
        self._plate_rows: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._hash = hashlib.sha256()
        self._facts = {"height": str(side[0]), "width": str(side[1]), **facts}
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, SCENES.with_metadata(self._facts), **_options("frame", "index"))

    def add(self, index: int, scene: Composite, recipe: Recipe) -> dict[str, Any]:
        """Encode one more scene; returns its row."""
        plate = self._plate(scene, recipe)
        placed = zip(recipe.placements, scene.patches, strict=True)
        row = {
            "index": index,
            "plate": plate,
            "frame": encode_jpeg(scene.frame, self._quality),
            "mask": scene.alpha.tobytes(),
            "layers": [_layer_row(placement, patch, self._scales[plate]) for placement, patch in placed],
            "recipe": scene.recipe,
        }
        self._digest(row)
        self._rows.append(row)
        if len(self._rows) == GROUP:
            self._flush()
        return row

    def plate_picture(self, row: int) -> bytes:
        """The JPEG of a row of the plates table."""
        return self._plate_rows[row]["picture"]

    def finish(self) -> tuple[bytes, bytes, str]:
        """(scenes table, plates table, SHA-256 of the rows' content, which no Parquet version changes)."""
        self._flush()
        plates = pa.Table.from_pylist(self._plate_rows, PLATES.with_metadata(self._facts))
        for row in self._plate_rows:
            self._digest(row)
        content = self._hash.hexdigest()
        self._writer.add_key_value_metadata({"content": content})
        self._writer.close()
        sink = io.BytesIO()
        pq.write_table(plates, sink, **_options("picture", "plate"))
        return self._sink.getvalue(), sink.getvalue(), content

    def _plate(self, scene: Composite, recipe: Recipe) -> int:
        """The row of the scene's plate, encoded when it is met first."""
        key = recipe.plate, recipe.view
        if key not in self._plates:
            self._plates[key] = len(self._plates)
            known = scene.plate_depth.any()
            largest = max(
                float(depth.max(initial=0)) for depth in (scene.plate_depth, *(p.depth for p in scene.patches))
            )
            scale = MILLIMETRE if self._metric or not known else largest / RELATIVE_STEPS
            view = dict(zip(("x", "y", "width", "height"), recipe.view.box, strict=True))
            self._scales.append(scale)
            self._plate_rows.append(
                {
                    "plate": self._plates[key],
                    "name": recipe.plate,
                    **view,
                    "picture": encode_jpeg(scene.plate, self._quality),
                    "depth": to_steps(scene.plate_depth, scale).tobytes() if known else b"",
                    "depth_scale": scale,
                }
            )
        return self._plates[key]

    def _digest(self, row: dict[str, Any]) -> None:
        """Take a row into the content hash, but for the mask, which is the layers' alphas added up."""
        parts = [row, *row.get("layers", ())]
        plain = [{k: v for k, v in part.items() if not isinstance(v, bytes | list)} for part in parts]
        self._hash.update(repr(plain).encode())
        for part in parts:
            for name, value in part.items():
                if name != "mask" and isinstance(value, bytes):
                    self._hash.update(value)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(_batch(self._rows), row_group_size=GROUP)
            self._rows = []


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """The rows as columns; for these nested rows `from_pylist` takes three times as long."""
    layers = [layer for row in rows for layer in row["layers"]]
    ends = np.cumsum([0, *(len(row["layers"]) for row in rows)])
    fields = [pa.array([layer[field.name] for layer in layers], field.type) for field in LAYER]
    structs = pa.StructArray.from_arrays(fields, fields=list(LAYER))
    nested = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)
    columns = {field.name: field.type for field in SCENES if field.name != "layers"}
    arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in columns.items()} | {"layers": nested}
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in SCENES], schema=SCENES)


def _options(plain: str, counted: str) -> dict[str, Any]:
    """Parquet's settings: JPEGs are not compressed again, masks quickly, and no statistics of pixels."""
    schema = SCENES if plain == "frame" else PLATES
    leaves = [field.name for field in schema if field.name != "layers"]
    leaves += [f"layers.list.element.{field.name}" for field in LAYER] if schema is SCENES else []
    return {
        "compression": {leaf: {plain: "NONE", "mask": "LZ4"}.get(leaf, "ZSTD") for leaf in leaves},
        "compression_level": {leaf: 1 for leaf in leaves if leaf not in (plain, "mask")},
        "use_dictionary": [leaf for leaf in leaves if leaf.rsplit(".", 1)[-1] in ("name", "cutout", "mode")],
        "write_statistics": [counted],
        "write_page_checksum": True,
    }


def _layer_row(placement: Placement, patch: Patch, scale: float) -> dict[str, Any]:
    left, top, width, height = cv2.boundingRect(patch.alpha) if patch.alpha.size else (0, 0, 0, 0)
    spot = slice(top, top + height), slice(left, left + width)
    known = placement.depth_m is not None
    return {
        "cutout": placement.cutout,
        "left": patch.left + left,
        "top": patch.top + top,
        "width": width,
        "height": height,
        "mode": placement.mode,
        "mirror": placement.mirror,
        "depth_m": float(np.float32(placement.depth_m)) if known else None,
        "alpha": patch.alpha[spot].tobytes(),
        "depth": to_steps(patch.depth[spot], scale).tobytes() if known else b"",
    }
