"""A label's job: what its workers are told, and what they answer."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cleanplate.labels.labels import Mode
from cleanplate.labels.polarity import Agreement
from cleanplate.pictures.library import Picture
from cleanplate.settings import TeacherSettings
from cleanplate.shards.format import GROUP
from cleanplate.shards.identity import Identity
from cleanplate.shards.store import Store
from cleanplate.teachers.model import Found
from cleanplate.teachers.teacher import Teacher, open_teacher


@dataclass(frozen=True)
class LabelJob:
    """What a worker needs. pictures: (plates, cutouts) with mode "plates". threads: of the teacher on a CPU."""

    store: Store
    identity: Identity
    name: str
    mode: Mode
    teacher: TeacherSettings
    found: Found
    threads: int
    pictures: tuple[tuple[Picture, ...], ...] | None

    @property
    def metric(self) -> bool:
        return self.teacher.teacher_unit == "m"

    def open_teacher(self) -> Teacher:
        """Its teacher, loaded."""
        return open_teacher(self.teacher, self.found, self.threads)


@dataclass(frozen=True)
class Labelled:
    """A file, or the files of a shard, that were made. files: name -> (bytes, sha256)."""

    rows: int
    seconds: float
    files: dict[str, tuple[int, str]]
    agreement: Agreement = field(default_factory=Agreement)

    @property
    def size(self) -> int:
        """Bytes written."""
        return sum(size for size, _ in self.files.values())


def table(
    groups: Iterable[list[dict[str, Any]]],
    schema: pa.Schema,
    facts: dict[str, str],
    footer: Callable[[], dict[str, str]] = dict,
    group: int = GROUP,
) -> bytes:
    """Rows as Parquet, zstd, in row groups of this size. facts: of the schema; footer: asked for at the end."""
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, schema.with_metadata(facts), compression="zstd", compression_level=1, use_dictionary=False
    ) as writer:
        for rows in groups:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema), row_group_size=group)
        writer.add_key_value_metadata(footer())
    return sink.getvalue()


def measured(data: bytes) -> tuple[int, str]:
    """(bytes, sha256) of a file."""
    return len(data), hashlib.sha256(data).hexdigest()
