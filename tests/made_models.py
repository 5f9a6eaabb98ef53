"""A run's pictures and stand-ins for its model, for the evaluation's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.pictures.frames import write_depth, write_image
from cleanplate.pictures.library import Library
from cleanplate.pictures.split import PARTS
from cleanplate.types import Depth, Pixels, Prediction
from made_scenes import write_cutouts, write_plates

COLOUR = (250, 10, 240)
"""What stands in front in `write_scene` has this colour."""


@dataclass
class MadeModel:
    """Answers by a function of (plate, frame); remembers which plate depths it was given. care: as it was opened."""

    answer: Callable[[Pixels, Pixels], tuple[np.ndarray, np.ndarray | None]]
    meta: dict[str, Any]
    depth_kind: str = "metric"
    priors: list[Depth | None] = field(default_factory=list)
    care: bool = False

    def predict(self, plate: Pixels, frame: Pixels, plate_depth: Depth | None = None) -> Prediction:
        self.priors.append(plate_depth)
        alpha, depth = self.answer(plate, frame)
        return Prediction(alpha.astype(np.float32), depth)


def by_colour(_plate: Pixels, frame: Pixels) -> tuple[np.ndarray, np.ndarray | None]:
    """The perfect answer to a pair of `write_scene`."""
    mask = (frame == COLOUR).all(axis=2)
    return mask, np.where(mask, 2.0, 4.0).astype(np.float32)


@dataclass(frozen=True)
class MadeRun:
    """Pictures in folders, split three plates to train, one to validate, two to test; cutouts alike."""

    plates: Library
    cutouts: Library
    meta: dict[str, Any]


def make_run(folder: Path) -> MadeRun:
    """Six plates with depth and six cutouts."""
    write_plates(folder / "plates", 6)
    write_cutouts(folder / "cutouts", 6)
    from cleanplate.pictures.library import open_library

    libraries = [open_library([folder / kind], kind) for kind in ("plates", "cutouts")]
    cuts = dict(zip(PARTS, (slice(0, 3), slice(3, 4), slice(4, 6)), strict=True))
    pictures = {
        library.kind: {
            part: {p.name: {"sha256": p.sha256, "group": p.group} for p in library.pictures[cut]}
            for part, cut in cuts.items()
        }
        for library in libraries
    }
    config = {library.kind: [str(library.folders[0])] for library in libraries} | {"settings": {"size": 48}}
    return MadeRun(libraries[0], libraries[1], {"config": config, "pictures": pictures, "depth": "metric"})


def write_scene(folder: Path, frames: int, seed: int = 0, depth: bool = True, masks: bool = True) -> None:
    """A captured scene: a noisy plate 4 m away and, in all frames but the first, a square of COLOUR 2 m away."""
    rng = np.random.default_rng(seed)
    plate = rng.integers(60, 120, (32, 44, 3)).astype(np.uint8)
    write_image(folder / "plate.png", plate)
    write_depth(folder / "plate_depth.png", np.full((32, 44), 4, np.float32))
    for number in range(frames):
        mask = np.zeros((32, 44), bool)
        if number:
            mask[8:22, number : number + 14] = True
        frame = np.clip(plate + rng.normal(0, 2, plate.shape), 0, 255).astype(np.uint8)
        frame[mask] = COLOUR
        name = f"{number:03d}.png"
        write_image(folder / "frames" / name, frame)
        if masks:
            write_image(folder / "masks" / name, mask.astype(np.uint8) * 255)
        if depth:
            write_depth(folder / "depths" / name, np.where(mask, 2, 4).astype(np.float32))
