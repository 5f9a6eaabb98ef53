"""The depth teacher: somebody else's network that says of a picture how near or far everything in it is.

Contract: `open_teacher(settings)` loads a teacher, which is called with pictures (uint8 RGB [h, w, 3], any sizes) and
gives a map for each (float32 [h, w], at its picture's size), in its own output: whether large means near or far, and in
which unit, no file says, so the settings must. `to_values` turns that output into what is compared and stored, of one
of three kinds:

- metric: metres, larger = farther (metric disparity d becomes 1 / d), unknown (nan) where that is not in 0..65.5 m;
- relative: the teacher's depth, larger = farther, right up to scale and shift;
- disparity: the teacher's disparity, larger = nearer, right up to scale and shift.

A teacher is a folder of a transformers model or an ONNX file. A folder never touches the network; the name of a model
on the hub is the wish to fetch it, once, into the hub's cache. Its fingerprint is the SHA-256 of its file or files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from cleanplate.settings import TeacherSettings
from cleanplate.teachers.model import Found, Maps, Pictures, Runner, Values
from cleanplate.types import DepthKind, InputError

SOURCES = "teacher=hf:MODEL_OR_DIR or teacher=onnx:FILE"
FARTHEST_M = 65.535
"""What uint16 millimetres can hold."""


class Teacher:
    """A loaded teacher, called with a list of pictures. run: the network with its preprocessing."""

    def __init__(self, source: str, run: Runner) -> None:
        self.source, self._run = source, run

    def __call__(self, pictures: Pictures) -> Maps:
        """The teacher's output for each picture, float32 [h, w] at its size. Raises InputError when it is not a number.

        Infinite is allowed: some teachers say so of the sky.
        """
        maps = self._run(pictures)
        for number, found in enumerate(maps):
            if np.isnan(found).any():
                raise InputError(
                    f"the teacher {self.source} gives NaN for picture {number + 1} of {len(maps)}; its preprocessing "
                    "is declared wrongly (--teacher-range, --teacher-mean, --teacher-std), or its weights are damaged"
                )
        return [_resized(found, *picture.shape[:2]) for found, picture in zip(maps, pictures, strict=True)]


def parse_source(depth: str) -> tuple[Literal["hf", "onnx"], str]:
    """("hf" | "onnx", place) of `--depth teacher=KIND:PLACE`. Raises InputError for anything else."""
    kind, colon, place = depth.removeprefix("teacher=").partition(":")
    if not depth.startswith("teacher=") or not colon or not place or kind not in ("hf", "onnx"):
        raise InputError(f"--depth is {depth!r}; expected {SOURCES}")
    return ("hf", place) if kind == "hf" else ("onnx", place)


def kind_of(settings: TeacherSettings) -> DepthKind:
    """What the teacher's values are. Raises InputError when the settings do not say what its output means."""
    if settings.teacher_output is None or settings.teacher_unit is None:
        missing = [f"--teacher-{name}" for name in ("output", "unit") if getattr(settings, f"teacher_{name}") is None]
        raise InputError(
            f"{' and '.join(missing)} must be said, no file tells it: disparity (larger = nearer) or depth (larger = "
            "farther), in m or relative"
        )
    if settings.teacher_unit == "m":
        return "metric"
    return "relative" if settings.teacher_output == "depth" else "disparity"


def to_values(output: Values, settings: TeacherSettings) -> Values:
    """A teacher's output as values of its kind; nan = unknown."""
    if settings.teacher_unit != "m":
        return np.where(np.isfinite(output), output, np.float32(np.nan))
    if settings.teacher_output == "disparity":
        output = np.divide(np.float32(1), output, out=np.full_like(output, np.inf), where=output > 0)
    return np.where((output > 0) & (output <= FARTHEST_M), output, np.float32(np.nan))


def find_teacher(settings: TeacherSettings) -> Found:
    """Find (and where it is a name on the hub, fetch) the teacher. Raises InputError when it is not there."""
    kind_of(settings)
    if settings.teacher_batch < 1:
        raise InputError(f"--teacher-batch must be at least 1, got {settings.teacher_batch}")
    kind, place = parse_source(settings.depth)
    path = Path(place).expanduser()
    if kind == "onnx":
        if not path.is_file():
            raise InputError(f"{path}: no such file; --depth teacher=onnx:FILE needs an ONNX file")
        beside = (path.with_name(path.name + end) for end in (".data", "_data"))  # weights above 2 GB
        files = [path, *filter(Path.is_file, beside)]
    else:
        from cleanplate.teachers.hf import fetched, files_of

        path = path if path.is_dir() else fetched(place)
        files = files_of(path)
    return Found(kind, f"{kind}:{place}", path, _fingerprint(files))


def check_teacher(settings: TeacherSettings) -> None:
    """Raises InputError when the teacher is not there, or what its output means is not said."""
    kind_of(settings)
    find_teacher(settings)


def open_teacher(settings: TeacherSettings, found: Found | None = None, threads: int | None = None) -> Teacher:
    """Load a teacher. found: what `find_teacher` said, if it was asked. threads: on a CPU; None = all cores.

    Raises InputError: no such teacher, not one that gives depth, a package that is missing, a device that is not there.
    """
    found = found or find_teacher(settings)
    threads = threads or _cores()
    if found.kind == "onnx":
        from cleanplate.teachers.onnx import OnnxTeacher

        return Teacher(found.source, OnnxTeacher(found.path, settings, threads))
    from cleanplate.teachers.hf import HfTeacher

    return Teacher(found.source, HfTeacher(found, settings, threads))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fingerprint(files: Sequence[Path]) -> str:
    """Of one file its SHA-256 as `sha256sum` gives it, of several that of their names and digests."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    told = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    return hashlib.sha256(told.encode()).hexdigest()


def _resized(output: np.ndarray, height: int, width: int) -> Values:
    output = np.ascontiguousarray(output, dtype=np.float32)
    if output.shape == (height, width):
        return output
    return cv2.resize(output, (width, height), interpolation=cv2.INTER_LINEAR)
