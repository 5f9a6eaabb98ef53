"""Scenes per second of one worker, all effects on: `python benchmarks/compose.py [PLATES CUTOUTS] [--size 128]`."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2

from cleanplate.pictures.library import open_library
from cleanplate.scenes.dataset import LiveScenes, SampleOrder
from cleanplate.settings import PlanSettings


def scenes_per_second(scenes: LiveScenes, count: int = 500, rounds: int = 5) -> float:
    """Median over rounds, pictures decoded beforehand, on one thread."""
    cv2.setNumThreads(0)
    keys = SampleOrder(len(scenes), count, 0).step(0)
    for key in keys:
        scenes[key]
    seconds = []
    for epoch in range(1, rounds + 1):
        start = time.perf_counter()
        for _, index in keys:
            scenes[(epoch, index)]
        seconds.append(time.perf_counter() - start)
    return count / statistics.median(seconds)


def main() -> None:
    """Print the speed for the folders given, by default the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    plates = open_library(given.folders[:1], "plates").pictures
    cutouts = open_library(given.folders[1:2], "cutouts").pictures
    scenes = LiveScenes(plates, cutouts, size=given.size, plan=PlanSettings(), effects="train", seed=0)
    speed = scenes_per_second(scenes)
    print(f"{speed:.0f} scenes/s per worker at {given.size} px, {len(plates)} plates, {len(cutouts)} cutouts")


if __name__ == "__main__":
    main()
