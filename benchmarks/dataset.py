"""The stored dataset in figures: storing, size on disk, reading, memory, Ray, beside what each should reach.

    python benchmarks/dataset.py [PLATES CUTOUTS [CUTOUTS ...]] [--scenes 25000] [--rounds 3] [--json FILE]

Without folders the packaged sample is used. --scenes 400000 --rounds 1 stores the whole dataset. Linux only, because of
the memory. `--into` must be a disk, not memory, and have room for three datasets (20 kB per scene).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cleanplate.types import InputError
from figures import Figure, add_arguments, open_pictures, show
from memory import peak_memory
from reading import measure_reading
from storing import WORKERS, Work, compose_command, measure_storing, store

MEMORY = 1.5
READ = {128: 3000.0, 224: 1000.0}
"""Scenes per second and core to be read, by the side that they are stored at."""
PARTS = ("storing", "memory", "reading")
IN_MEMORY = ("tmpfs", "ramfs")


def measure_memory(work: Work, folder: Path) -> Iterator[Figure]:
    """Peak of all processes, for half of the scenes and for all."""
    for scenes in (work.many // 2, work.many):
        out = folder / f"memory-{scenes}"
        peak = peak_memory(compose_command(work, out, scenes))
        shutil.rmtree(out)
        name = f"peak memory, {scenes:,} scenes, {WORKERS} workers"
        note = f"PSS of up to {peak.processes} processes, {peak.samples} samples"
        yield Figure(name, peak.bytes / 1e9, "GB", MEMORY, "less", note)


def measure_reads(work: Work, scenes: int, rounds: int, folder: Path) -> Iterator[Figure]:
    """Reading of shuffled scenes, of datasets stored at each of the sizes."""
    for size, target in READ.items():
        out = folder / f"read-{size}"
        store(compose_command(replace(work, size=size), out, scenes), out, scenes)
        yield measure_reading(out, rounds, target)
        shutil.rmtree(out)


def file_system(folder: Path) -> str:
    """Kind of file system that the folder lies on ("" where /proc does not tell). Raises InputError for memory."""
    mounts = Path("/proc/mounts")
    lines = [line.split() for line in mounts.read_text().splitlines()] if mounts.is_file() else []
    above = [(len(at), kind) for _, at, kind, *_ in lines if folder.resolve().is_relative_to(at)]
    kind = max(above, default=(0, ""))[1]
    if kind in IN_MEMORY:
        raise InputError(f"{folder} lies in memory ({kind}); give --into a folder on a disk")
    return kind


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, in this order: storing (pool, Ray, the loop of 2020), memory, reading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--scenes", type=int, default=25_000, help="scenes of the long run")
    parser.add_argument("--few", type=int, default=5_000, help="scenes of the short run that tells the start apart")
    parser.add_argument("--read", type=int, default=6_000, help="scenes of the datasets that are read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    parser.add_argument("--no-ray", dest="ray", action="store_false", help="leave Ray out")
    given = parser.parse_args(arguments)
    if not 0 < given.few < given.scenes:
        parser.error(f"--few {given.few} must be above 0 and below --scenes {given.scenes}")
    disk = file_system(given.into)
    work = Work(tuple(given.folders), given.size, given.few, given.scenes)
    pictures = open_pictures(given.folders)
    facts = {"pictures": [len(kind) for kind in pictures], "size": given.size, "disk": disk, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(dir=given.into) as name:
        folder = Path(name)
        measures = {
            "storing": lambda: measure_storing(work, pictures, given.rounds, folder, given.ray),
            "memory": lambda: measure_memory(work, folder),
            "reading": lambda: measure_reads(work, given.read, given.rounds, folder),
        }
        figures = [figure for part in PARTS if part in given.only for figure in measures[part]()]
    title = f"The stored dataset: {work.size} px, {len(pictures[0])} plates, {len(pictures[1])} cutouts"
    show(title, figures, given.json, **facts)


if __name__ == "__main__":
    main()
