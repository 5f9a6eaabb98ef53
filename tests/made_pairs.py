"""Small captured pairs for tests: a textured room, a bright disc in front of it at a known distance, its shadow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cleanplate.pictures.frames import write_depth, write_image

HEIGHT, WIDTH = 60, 80
FRONT, BEHIND = 1.5, 4.0
"""Metres to the disc, and to the wall."""


def disc(number: int) -> np.ndarray:
    """bool [h, w]: where the disc of this frame is."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.hypot(x - 20 - 8 * (number % 5), y - 30) < 14


def write_scene(folder: Path, name: str, frames: int = 1, depth: bool = True, middle: int | None = None) -> None:
    """One scene of `frames` frames. middle: a grey level in every mask, in one row of the picture."""
    scene = folder / name
    rng = np.random.default_rng(sum(name.encode()))
    plate = rng.integers(40, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    write_image(scene / "plate.png", plate)
    if depth:
        write_depth(scene / "plate_depth.png", np.full((HEIGHT, WIDTH), BEHIND, np.float32))
    for number in range(frames):
        front = disc(number)
        frame = plate.copy()
        frame[50:] //= 2  # a shadow, which is no foreground
        frame[front] = 230
        mask = np.where(front, 255, 0).astype(np.uint8)
        if middle is not None:
            mask[0] = middle
        write_image(scene / "frames" / f"{number}.png", frame)
        write_image(scene / "masks" / f"{number}.png", mask)
        if depth:
            write_depth(scene / "depths" / f"{number}.png", np.where(front, FRONT, BEHIND).astype(np.float32))


def write_pairs(folder: Path, scenes: int, frames: int = 1, **more) -> Path:
    """A folder of so many scenes."""
    for number in range(scenes):
        write_scene(folder, f"room{number}", frames, **more)
    return folder
