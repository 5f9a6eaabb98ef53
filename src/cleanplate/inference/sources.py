"""Sources: the pictures of a pair in any form, checked.

Contract: whatever is given, a path, a PIL image or an array, becomes uint8 [h, w, 3] or float [3, h, w] in 0..1, or an
`InputError` says what was given and what is expected.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from cleanplate.pictures.frames import read_image, to_rgb
from cleanplate.types import InputError, Pixels, to_pixels

Source = np.ndarray | Pillow.Image | PathLike[str] | str
"""A picture in any form: uint8 [h, w, 3], float [3, h, w] in 0..1, a PIL image, or the path of a file."""


def pair(plate: Source, frame: Source, fit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Plate and frame, of one size unless `fit`."""
    plate_pixels, frame_pixels = pixels(plate, "plate"), pixels(frame, "frame")
    sizes = size_of(plate_pixels), size_of(frame_pixels)
    if sizes[0] != sizes[1] and not fit:
        raise InputError(
            f"the plate is {words(sizes[0])} and the frame is {words(sizes[1])}: give pictures of one size, "
            "or resize the plate to the frame with --fit (from Python: fit=True)"
        )
    return plate_pixels, frame_pixels


def eight_bits(picture: np.ndarray) -> Pixels:
    """A checked picture as uint8 [h, w, 3]."""
    return picture if picture.dtype == np.uint8 else to_pixels(picture.astype(np.float32))


def pixels(source: Source, name: str) -> np.ndarray:
    """Any picture -> uint8 [h, w, 3], or float [3, h, w] in 0..1."""
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
        return source
    raise InputError(f"{given}: {expected}")


def _describe(source: object) -> str:
    if isinstance(source, np.ndarray):
        return f"an array {list(source.shape)} of {source.dtype}"
    return f"a {type(source).__name__}"


def size_of(picture: np.ndarray) -> tuple[int, int]:
    """(height, width) of uint8 [h, w, 3] or float [3, h, w]."""
    return picture.shape[:2] if picture.dtype == np.uint8 else picture.shape[1:]


def words(size: tuple[int, ...]) -> str:
    """A (height, width) as people write it."""
    return f"{size[1]}x{size[0]}" if len(size) == 2 else str(list(size))
