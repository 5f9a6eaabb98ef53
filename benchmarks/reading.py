"""How fast one core reads a stored dataset, shuffled: `python benchmarks/reading.py DATASET [--rounds 3]`.

A round opens the dataset anew and reads one epoch of its training part in the order that `cleanplate train --data`
reads, one scene at a time, in this process: every row group is read from its file once, every scene decoded and laid
out as the network gets it, without camera effects and without a prior (both are drawn, not read). The files' pages are
dropped from the system's cache first, so that the disk takes part.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import pyarrow as pa
import torch

from cleanplate.shards.reading import Dataset
from cleanplate.training.stored import StoredScenes, WindowOrder
from figures import Figure, Measured, middle, show

BATCH = 32


def read_epoch(place: Path, samples: int | None, seed: int) -> Measured:
    """Read an epoch of the training part, or its first scenes; opening the dataset is part of it."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    wall, processor = time.perf_counter(), time.process_time()
    scenes = StoredScenes(Dataset(place), "train", effects="none", seed=seed, prior_share=0.0)
    count = len(scenes) if samples is None else min(samples, len(scenes))
    keys = (key for step in WindowOrder(scenes.groups(), BATCH, seed) for key in step)
    for key in islice(keys, count):
        scenes[key]
    return Measured(count, time.perf_counter() - wall, time.process_time() - processor)


def drop_cache(place: Path) -> None:
    """Ask the system to forget the files' content (it is on the disk already)."""
    for path in place.rglob("*.parquet"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def measure_reading(place: Path, rounds: int, target: float | None = None, samples: int | None = None) -> Figure:
    """Scenes per second and core, median of the rounds."""
    size, taken = Dataset(place).identity.size, []
    for seed in range(rounds):
        drop_cache(place)
        taken.append(read_epoch(place, samples, seed))
    processor = median(one.count / one.processor for one in taken)
    note = (
        f"{taken[0].count:,} scenes, shuffled, decoded, without effects; one process, from the disk; "
        f"{processor:,.0f} per processor second"
    )
    return middle(f"read per core, stored at {size} px", [one.per_core for one in taken], "scenes/s", target, note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the dataset given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--samples", type=int, help="scenes per round; by default the whole training part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here; - prints them instead of the table")
    given = parser.parse_args(arguments)
    figure = measure_reading(given.dataset, given.rounds, samples=given.samples)
    show(f"Reading {given.dataset.name}", [figure], given.json)


if __name__ == "__main__":
    main()
