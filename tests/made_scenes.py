"""Small pictures for the scenes' tests: a room whose floor is known in closed form, and cutouts of known size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cleanplate.pictures.library import Picture, open_library

WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
CAMERA_HEIGHT, PITCH, WALL = 1.6, np.radians(12.0), 5.0


def room_depth(height: int = HEIGHT, width: int = WIDTH, focal: float = FOCAL) -> np.ndarray:
    """Planar depth, metres, of a floor and a wall at WALL metres, seen from CAMERA_HEIGHT, pitched down by PITCH."""
    y = np.repeat((np.arange(height) + 0.5 - height / 2)[:, None] / focal, width, axis=1)
    down = np.array([0, np.cos(PITCH), np.sin(PITCH)])
    ahead = np.array([0, -np.sin(PITCH), np.cos(PITCH)])
    descent = y * down[1] + down[2]
    floor = np.where(descent > 1e-6, CAMERA_HEIGHT / np.maximum(descent, 1e-6), np.inf)
    wall = WALL / (y * ahead[1] + ahead[2])
    return np.minimum(floor, wall).astype(np.float32)


def write_plates(folder: Path, count: int, depth: bool = True) -> tuple[Picture, ...]:
    """Textured pictures of the room, in `folder`."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(60, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"plate{number}.png")
        if depth:
            millimetres = (room_depth() * 1000).round().astype(np.uint16)
            Image.fromarray(millimetres).save(folder / f"plate{number}_depth.png")
    facts = {f"plate{n}.png": {"focal_px": FOCAL} for n in range(count)}
    side = {"pictures": facts} | ({"depth_unit_m": 0.001, "depth_unknown": 0} if depth else {})
    (folder / "pictures.json").write_text(json.dumps(side))
    return open_library([folder], "plates").pictures


def write_cutouts(folder: Path, count: int, height_m: float | None = 1.0) -> tuple[Picture, ...]:
    """Ellipses with soft edges, 40 x 60 pixels, each of another colour, in `folder`."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[0:60, 0:40]
    inside = 1 - np.hypot((x - 19.5) / 20, (y - 29.5) / 30)
    alpha = np.clip(inside * 20 * 60 + 20, 0, 255).astype(np.uint8)
    for number in range(count):
        pixels = np.zeros((60, 40, 4), np.uint8)
        pixels[..., :3] = np.random.default_rng(100 + number).integers(0, 256, 3)
        pixels[..., 3] = alpha
        Image.fromarray(pixels).save(folder / f"cutout{number}.png")
    if height_m is not None:
        facts = {f"cutout{n}.png": {"height_m": height_m} for n in range(count)}
        (folder / "pictures.json").write_text(json.dumps({"pictures": facts}))
    return open_library([folder], "cutouts").pictures
