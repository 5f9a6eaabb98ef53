"""The plain layout: a shard as ordinary picture files, for tools that read nothing else.

    PART/frames/00000123.jpg        the stored JPEG as it is
    PART/masks/00000123.png         soft mask, 8-bit grey, lossless
    PART/depths/00000123.png        depth, 16-bit grey, larger = farther, 0 = unknown
    PART/plates/00000100.jpg        what frames show with nothing in front, once per view: the first scene's number
    PART/plate_depths/00000100.png  the same view's depth, where something of it is known
    PART/scenes/00000000.jsonl      one line per scene of the shard that starts with this scene

Contract: a name carries the scene's number within its part, so that names of one scene agree across folders and no two
shards share a name. Depths are millimetres; of relative depth, steps of which `depth_unit` says how much each is. A
line of scenes/ names the scene's files, its pictures and the sha256 of every file it is the first to name, so that
the layout can be checked without a list of its own. A zip holds one shard, is made in one go and never added to: its
entries are sorted, stored and undated, and the same files give the same bytes.

PNG is written here (Portable Network Graphics Specification, W3C 2003): every row as its difference from the row above,
then zlib at its quickest, which takes half of Pillow's time for the same size.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8, UInt16

from cleanplate.shards.format import to_steps as stored_steps
from cleanplate.types import Depth, Scene

METRE_STEPS = 1000
MOST = 65534
"""Largest stored depth; readers take 65535 for saturated, hence unknown."""
UNDATED = (1980, 1, 1, 0, 0, 0)
"""The first date that a zip can hold."""


def plain_files(
    part: str,
    indices: Iterable[int],
    scenes: Iterable[Scene],
    frames_jpeg: Iterable[bytes],
    plates_jpeg: Iterable[bytes],
    metric: bool = True,
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of one shard, scene by scene; the lines about the scenes come last.

    indices: the scenes' numbers within their part. frames_jpeg, plates_jpeg: the stored pictures of each scene; equal
    plates are written once. metric: depths are metres. Raises ValueError when the four are not equally many.
    """
    written: dict[bytes, str] = {}
    lines: list[str] = []
    first = None
    for index, scene, frame, plate in zip(indices, scenes, frames_jpeg, plates_jpeg, strict=True):
        number = f"{index:08d}"
        first = first or number
        unit = 1 / METRE_STEPS if metric else _relative_unit(scene)
        files = {
            f"frames/{number}.jpg": frame,
            f"masks/{number}.png": grey_png(scene.alpha),
            f"depths/{number}.png": grey_png(to_steps(scene.depth, unit)),
        }
        view = written.setdefault(plate, number)
        has_depth = bool(scene.plate_depth.any())
        if view == number:
            files[f"plates/{number}.jpg"] = plate
            if has_depth:
                files[f"plate_depths/{number}.png"] = grey_png(to_steps(scene.plate_depth, unit))
        yield from ((f"{part}/{name}", content) for name, content in files.items())
        lines.append(_line(index, scene, unit if metric or scene.depth.any() else None, view, has_depth, files))
    if first is not None:
        yield f"{part}/scenes/{first}.jsonl", "".join(lines).encode()


def _line(index: int, scene: Scene, unit: float | None, view: str, has_depth: bool, files: dict[str, bytes]) -> str:
    recipe = json.loads(scene.recipe)
    number = f"{index:08d}"
    line = {
        "index": index,
        "frame": f"frames/{number}.jpg",
        "mask": f"masks/{number}.png",
        "depth": f"depths/{number}.png",
        "depth_unit": unit,
        "plate": f"plates/{view}.jpg",
        "plate_depth": f"plate_depths/{view}.png" if has_depth else None,
        "plate_picture": recipe["plate"],
        "cutout_pictures": [placed["cutout"] for placed in recipe["placements"]],
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def listed(folder: str, lines: bytes) -> dict[str, str]:
    """File name -> sha256 of everything that a file of scenes/ vouches for.

    folder: where its part lies ("files/train"). Raises ValueError, KeyError or TypeError for what is no such file.
    """
    rows = [json.loads(line) for line in lines.splitlines()]
    return {f"{folder}/{name}": digest for row in rows for name, digest in row["sha256"].items()}


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """One zip of these files: sorted by name, stored, undated. Raises ValueError for a name that comes twice."""
    content: dict[str, bytes] = {}
    for name, data in files:
        if name in content:
            raise ValueError(f"two files named {name} for one zip")
        content[name] = data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, UNDATED)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is made
            archive.writestr(entry, content[name])
    return buffer.getvalue()


def to_steps(depth: Depth, unit: float) -> UInt16[np.ndarray, "h w"]:
    """Depth -> whole steps of `unit`, nearest; 0 where it is unknown, below half a step or beyond the last step."""
    steps = stored_steps(depth, unit)
    return np.where(steps <= MOST, steps, 0).astype(np.uint16)


def _relative_unit(scene: Scene) -> float:
    """The step that spreads a scene's depths over all steps; one for all scenes of a plate, none of which adds any."""
    farthest = max(float(scene.plate_depth.max()), float(scene.depth.max()))
    return farthest / MOST if farthest > 0 else 1.0


def grey_png(values: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]) -> bytes:
    """A grey PNG of 8 or 16 bits."""
    height, width = values.shape
    plane = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">"))).view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + plane.shape[1]), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    rows[0, 1:] = plane[0]
    np.subtract(plane[1:], plane[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
