"""Captured pairs on disk: a scene's plate and its frames, with masks and depths where they are known.

Layout (any depth of folders; a scene is a folder that holds a plate):

    DIR/**/SCENE/plate.png|jpg  frames/NAME.png|jpg  masks/NAME.png  depths/NAME.png  plate_depth.png

Masks: 0..255 is alpha, unless the masks of a scene hold only {0, 128, 255}: then 128 means "not judged" (the border of
a hand-made mask, say), which no score may count. Depth: uint16 millimetres, 0 = unknown. Frames are sorted by name, so
that a sequence stays one. All pictures of a pair have one size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from cleanplate.pictures.frames import list_images, read_depth, read_grey, read_image
from cleanplate.pictures.library import prefixes
from cleanplate.types import Alpha, Depth, InputError, Pixels

LAYOUT = "DIR/**/SCENE/plate.png (or .jpg), frames/NAME.png (or .jpg), masks/NAME.png, depths/NAME.png, plate_depth.png"
PLATE_NAMES = ("plate.png", "plate.jpg", "plate.jpeg", "plate.webp")

log = logging.getLogger("cleanplate")


@dataclass(frozen=True)
class Pair:
    """One frame of a scene and its plate. scene: posix path relative to the folder opened. index: place in the scene.

    ternary: the scene's masks hold only {0, 128, 255}, so 128 is not judged.
    """

    scene: str
    plate_path: Path
    frame_path: Path
    mask_path: Path | None
    depth_path: Path | None
    plate_depth_path: Path | None
    index: int
    ternary: bool = False


@dataclass(frozen=True)
class PairPixels:
    """A pair's pictures, all of one size. alpha: 0..1, 0 where not judged. judged: None = all. Depths: metres."""

    plate: Pixels
    frame: Pixels
    alpha: Alpha | None
    judged: Bool[np.ndarray, "h w"] | None
    depth: Depth | None
    plate_depth: Depth | None


def open_pairs(folder: Path) -> tuple[Pair, ...]:
    """Every pair below a folder, sorted by scene, then frame. Raises InputError: there is none, a mask is broken."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected pairs as {LAYOUT}")
    scenes = sorted({path.parent for path in folder.rglob("plate.*") if path.name in PLATE_NAMES})
    pairs = tuple(pair for scene in scenes for pair in _open_scene(folder, scene))
    if not pairs:
        raise InputError(f"{folder}: holds no pairs; expected {LAYOUT}")
    return pairs


def open_teaching(folders: Sequence[Path]) -> tuple[Pair, ...]:
    """The pairs of one or several folders that a network can learn from: every pixel has a truth.

    Scenes of several folders are told apart by as much of the folder's end as it takes, as libraries do with pictures.
    Others are left out with a warning. Raises InputError: no pairs, none that can teach, the same folder twice.
    """
    paths = tuple(Path(folder) for folder in folders)
    opened = [
        replace(pair, scene=prefix + pair.scene)
        for path, prefix in zip(paths, prefixes(paths), strict=True)
        for pair in open_pairs(path)
    ]
    teaching = tuple(pair for pair in opened if _is_judged(pair))
    if len(teaching) < len(opened):
        log.warning("%d of %d pairs have no mask, or pixels that it does not judge (128); they do not train",
                    len(opened) - len(teaching), len(opened))  # fmt: skip
    if not teaching:
        raise InputError(
            f"none of the {len(opened)} pairs of {', '.join(map(str, paths))} can train: each needs a mask that "
            "judges every pixel (no 128 where masks hold only 0, 128 and 255)"
        )
    return teaching


def _is_judged(pair: Pair) -> bool:
    if pair.mask_path is None:
        return False
    return not pair.ternary or not (read_grey(pair.mask_path) == 128).any()


def _open_scene(folder: Path, scene: Path) -> list[Pair]:
    name = scene.relative_to(folder).as_posix()
    frames = list_images(scene / "frames") if (scene / "frames").is_dir() else []
    if not frames:
        log.warning("%s: a plate without frames/; left out", scene)
    plate = next(scene / plate for plate in PLATE_NAMES if (scene / plate).is_file())
    masks = [_existing(scene / "masks" / f"{frame.stem}.png") for frame in frames]
    depths = [_existing(scene / "depths" / f"{frame.stem}.png") for frame in frames]
    plate_depth = _existing(scene / "plate_depth.png")
    ternary = _ternary([mask for mask in masks if mask])
    return [
        Pair(name, plate, frame, mask, depth, plate_depth, index, ternary)
        for index, (frame, mask, depth) in enumerate(zip(frames, masks, depths, strict=True))
    ]


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _ternary(masks: list[Path]) -> bool:
    """Whether all masks of a scene hold nothing but 0, 128 and 255; the first soft mask settles it."""
    return bool(masks) and all(np.isin(read_grey(mask), (0, 128, 255)).all() for mask in masks)


def read_pair(pair: Pair) -> PairPixels:
    """Read a pair. Raises InputError naming both files and sizes when a picture has another size than the frame."""
    frame = read_image(pair.frame_path)
    plate = read_image(pair.plate_path)
    mask = read_grey(pair.mask_path) if pair.mask_path else None
    depth = read_depth(pair.depth_path) if pair.depth_path else None
    plate_depth = read_depth(pair.plate_depth_path) if pair.plate_depth_path else None
    paths = (pair.plate_path, pair.mask_path, pair.depth_path, pair.plate_depth_path)
    for path, array in zip(paths, (plate, mask, depth, plate_depth), strict=True):
        if array is not None and array.shape[:2] != frame.shape[:2]:
            raise InputError(f"{path}: {array.shape[0]} x {array.shape[1]} px, but {pair.frame_path} is "
                             f"{frame.shape[0]} x {frame.shape[1]} px (height x width)")  # fmt: skip
    if mask is None:
        return PairPixels(plate, frame, None, None, depth, plate_depth)
    judged = mask != 128 if pair.ternary else None
    alpha = mask.astype(np.float32) / np.float32(255)
    if judged is not None:
        alpha[~judged] = 0
    return PairPixels(plate, frame, alpha, judged, depth, plate_depth)
