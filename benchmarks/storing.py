"""How fast scenes are stored: whole `cleanplate compose` commands, timed, beside the loop of 2020 and by both engines.

Every run is a fresh process that does all of it: start Python, check the pictures, start the workers, compose, write
the shards, the contact sheet and the manifest into a folder on the disk. What a run needs besides its scenes ("start")
is told apart by running few scenes and many: with seconds s and S for n and N scenes, the rate is (N - n) / (S - s) and
the start s - n / rate. Long runs are all rate; for all 400,000 scenes both are added up. The loop of 2020 runs on as
many cores as ours, one process on each, for what a core does beside a busy one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cleanplate.pictures.library import Picture
from cleanplate.types import InputError
from figures import Figure, Measured, Pace, middle
from original_loop import as_given, measure_on_cores, prepare

ALL = 400_000
WORKERS = 2
RATE, MINUTES, RATIO, BYTES, RAY = 1500.0, 4.5, 2.5, 20_000.0, 0.8
"""What is to be reached."""


@dataclass(frozen=True)
class Work:
    """What is stored. folders: plates, then cutouts; none = the sample. few, many: scenes of the two runs."""

    folders: tuple[Path, ...]
    size: int
    few: int
    many: int


def compose_command(work: Work, out: Path, scenes: int, engine: str = "processes") -> list[str]:
    """The command line that stores so many scenes."""
    pictures = [("--plates", work.folders[:1]), ("--cutouts", work.folders[1:])]
    given = [text for flag, folders in pictures if folders for text in (flag, *map(str, folders))]
    numbers = ["--scenes", scenes, "--size", work.size, "--workers", WORKERS, "--engine", engine]
    return [sys.executable, "-m", "cleanplate", "compose", "--out", str(out), "--quiet", *given, *map(str, numbers)]


def store(command: Sequence[str], out: Path, scenes: int) -> Measured:
    """Run the command: wall seconds, processor seconds of all its processes, bytes in `out`."""
    began, before = time.perf_counter(), os.times()
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, os.times()
    if finished.returncode != 0:
        raise InputError(f"{' '.join(command)} failed ({finished.returncode}): {finished.stderr[-2000:]}")
    processor = sum(b - a for a, b in zip(before[2:4], after[2:4], strict=True))
    return Measured(scenes, seconds, processor, sum(path.stat().st_size for path in out.rglob("*") if path.is_file()))


def pace(work: Work, folder: Path, engine: str = "processes") -> Pace:
    """Store few scenes, then many, each into a new folder that is deleted afterwards."""
    taken = []
    for scenes in (work.few, work.many):
        out = Path(tempfile.mkdtemp(dir=folder)) / "data"
        taken.append(store(compose_command(work, out, scenes, engine), out, scenes))
        shutil.rmtree(out.parent)
    return Pace(*taken)


def measure_storing(
    work: Work, pictures: tuple[Sequence[Picture], Sequence[Picture]], rounds: int, folder: Path, ray: bool
) -> Iterator[Figure]:
    """Rounds of: our pool, Ray, the loop of 2020 (both readings of it)."""
    loops = {
        "as given": as_given(*pictures, work.size),
        "brought to size before": prepare(*pictures, work.size, folder / "pictures"),
    }
    engines = ("processes", "ray") if ray else ("processes",)
    paces: dict[str, list[Pace]] = {engine: [] for engine in engines}
    olds: dict[str, list[Measured]] = {name: [] for name in loops}
    for number in range(rounds):
        for engine in engines:
            paces[engine].append(pace(work, folder, engine))
        for name, files in loops.items():
            olds[name].append(measure_on_cores(files, min(work.many, 2000), folder, number, WORKERS))
    yield from _of_pool(paces["processes"])
    for name, taken in olds.items():
        yield _of_loop(name, taken, paces["processes"])
    if ray:
        yield from _of_ray(paces["ray"], paces["processes"])


def _of_pool(paces: Sequence[Pace]) -> Iterator[Figure]:
    few, many = paces[0].few.count, paces[0].many.count
    how = f"{WORKERS} workers, everything in it; from runs of {few:,} and {many:,} scenes"
    yield middle("stored", [p.rate for p in paces], "scenes/s", RATE, how)
    yield middle(f"stored, start of the {many:,} included", [p.many.rate for p in paces], "scenes/s")
    yield middle("start: Python, checking the pictures, workers", [p.start for p in paces], "s")
    how = "start + scenes / rate; --scenes 400000 measures it" if many < ALL else "the run itself"
    whole = [p.many.seconds / 60 if many == ALL else p.minutes(ALL) for p in paces]
    yield Figure(f"all {ALL:,} scenes", median(whole), "min", MINUTES, "less", how, tuple(whole))
    yield Figure("on disk, per scene", paces[0].many.bytes / many, "B", BYTES, "less", "all files of the dataset")
    worked = [p.many.processor / p.many.seconds for p in paces]
    yield middle("cores kept busy", worked, "", note="processor seconds of all processes / wall seconds")


def _of_loop(name: str, taken: Sequence[Measured], paces: Sequence[Pace]) -> Figure:
    both = list(zip(paces, taken, strict=True))
    ratios = [pace.rate / WORKERS / old.per_core for pace, old in both]
    processor = median(pace.per_processor_second / (old.count / old.processor) for pace, old in both)
    rate = median(old.per_core for old in taken)
    note = f"the loop makes {rate:,.0f} scenes/s; by processor seconds, which other programs spare, {processor:.2f} x"
    return middle(f"per core, beside the loop of 2020, pictures {name}", ratios, "x", RATIO, note)


def _of_ray(ray: Sequence[Pace], pool: Sequence[Pace]) -> Iterator[Figure]:
    both = list(zip(ray, pool, strict=True))
    note = f"{median(r.rate for r in ray):,.0f} beside {median(p.rate for p in pool):,.0f} scenes/s"
    yield middle("Ray beside the pool, started", [r.rate / p.rate for r, p in both], "x", RAY, note)
    note = f"whole commands of {ray[0].many.count:,} scenes; Ray starts in {median(r.start for r in ray):.1f} s"
    yield middle(
        "Ray beside the pool, start included", [p.many.seconds / r.many.seconds for r, p in both], "x", None, note
    )
