"""Sources: the pictures of a pair in any form, checked.

Contract: whatever is given, a path, a PIL image or an array, becomes uint8 [h, w, 3], or an `InputError` says what was
given and what is expected. A plate's depth becomes metres [h, w].
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow
from PIL import ImageOps

from cleanplate.pictures.frames import read_depth, read_image, to_rgb
from cleanplate.pictures.side_data import read_folder
from cleanplate.types import Depth, InputError, Pixels, to_pixels

Source = np.ndarray | Pillow.Image | PathLike[str] | str
"""A picture in any form: uint8 [h, w, 3], float [3, h, w] in 0..1, a PIL image, or the path of a file."""

DepthSource = np.ndarray | PathLike[str] | str
"""A depth map: float metres [h, w], 0 = unknown, or the path of a file of it."""


def pair(plate: Source, frame: Source, fit: bool) -> tuple[Pixels, UInt8[np.ndarray, "frame_h frame_w 3"]]:
    """Plate and frame, of one size unless `fit`."""
    pictures = pixels(plate, "plate"), pixels(frame, "frame")
    sizes = [words(picture.shape[:2]) for picture in pictures]
    if sizes[0] != sizes[1] and not fit:
        raise InputError(
            f"the plate is {sizes[0]} and the frame is {sizes[1]}: give pictures of one size, "
            "or resize the plate to the frame with --fit (from Python: fit=True)"
        )
    return pictures


def pixels(source: Source, name: str) -> Pixels:
    """Any picture -> uint8 [h, w, 3]. Raises InputError."""
    if isinstance(source, str | PathLike):
        return read_image(Path(source))
    if isinstance(source, Pillow.Image):
        return to_rgb(ImageOps.exif_transpose(source), Path(f"the {name}"))
    given = f"the {name} is {_describe(source)}"
    expected = "give uint8 [h, w, 3] in 0..255, float [3, h, w] in 0..1, a PIL image, or a path"
    if not isinstance(source, np.ndarray) or source.ndim != 3 or 0 in source.shape:
        raise InputError(f"{given}: {expected}")
    if source.dtype == np.uint8 and source.shape[2] == 3:
        return source
    if np.issubdtype(source.dtype, np.floating) and source.shape[0] == 3:
        low, high = float(source.min()), float(source.max())
        # The comparison is written so that NaN fails it; a resampled picture may overshoot a little.
        if not (low >= -0.01 and high <= 1.01):
            raise InputError(f"{given} with values {low:g} to {high:g}: {expected}")
        return to_pixels(source.astype(np.float32))
    raise InputError(f"{given}: {expected}")


def stretched(picture: Pixels, size: tuple[int, int]) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """A picture at (height, width): averaged where it shrinks, else interpolated."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (size[1], size[0]), interpolation=way)


def metres(depth: DepthSource, depth_kind: str, plate_size: tuple[int, int], fit: bool) -> np.ndarray:
    """The plate's depth as floats [h, w], of the plate's size unless `fit`. Raises InputError."""
    found = depth if isinstance(depth, np.ndarray) else read_plate_depth(Path(depth), depth_kind)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.floating):
        raise InputError(
            f"the plate's depth is an array {list(found.shape)} of {found.dtype}: give metres as floats [h, w], "
            "0 = unknown (a file of uint16 millimetres is read by giving its path)"
        )
    if found.shape != plate_size and not fit:
        raise InputError(
            f"the plate's depth is {words(found.shape)} and the plate is {words(plate_size)}: give a depth of "
            "the plate's own size, or stretch both to the frame with --fit (from Python: fit=True)"
        )
    return found


def picked(depth: np.ndarray, size: tuple[int, int]) -> Depth:
    """Metres at (height, width), each the nearest pixel's: between near and far lies a depth at which nothing stands.

    What is not finite, or not above 0, becomes 0: unknown.
    """
    if depth.shape != size:
        depth = cv2.resize(depth, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def read_plate_depth(path: Path, depth_kind: str = "metric") -> Depth:
    """A plate's depth for a model of this kind: metres, 0 = unknown. Reading it once serves a whole video.

    Integers are millimetres and floats metres, unless a `pictures.json` beside the file says otherwise.
    Raises InputError for a file that is no depth, and for relative depth where the model knows metres.
    """
    folder = read_folder(path.parent, "")
    if folder.relative and depth_kind == "metric":
        raise InputError(
            f"{path} is relative depth, as {path.parent / 'pictures.json'} says, and the model was trained on metres: "
            "give the plate's depth in metres, or none"
        )
    return read_depth(path, 1.0 if folder.relative else folder.depth_unit_m, folder.depth_unknown)


def _describe(source: object) -> str:
    if isinstance(source, np.ndarray):
        return f"an array {list(source.shape)} of {source.dtype}"
    return f"a {type(source).__name__}"


def words(size: tuple[int, ...]) -> str:
    """A (height, width) as people write it."""
    return f"{size[1]}x{size[0]}" if len(size) == 2 else str(list(size))
