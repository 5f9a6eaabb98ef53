"""Images and depth maps in and out of files: whatever wrote them, they come in as upright uint8 RGB or float32 metres.

Contract: what is read is checked, what is written is whole. A file is decoded completely or an `InputError` names it;
a picture of more than `MAX_PIXELS` is refused from its header, before memory is taken.

Conversions: EXIF orientation is applied; 16-bit grey becomes round(v / 257), 16-bit colour its high byte; float grey
must be 0..1; CMYK, palette, YCbCr and LAB become RGB; transparency is dropped (`alpha_of` keeps it).
Depth on disk is uint16 millimetres; 0 and 65535 (saturated) mean unknown. Videos (`video.py`) and whole writing
(`writing.py`) are offered here as well.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

from cleanplate.pictures.encoding import VideoWriter as VideoWriter
from cleanplate.pictures.video import VideoReader as VideoReader
from cleanplate.pictures.writing import write_atomically as write_atomically
from cleanplate.types import AlphaPixels, Depth, InputError, Pixels

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
DEPTH_SUFFIXES = (".png", ".tiff", ".tif", ".npy")
MAX_PIXELS = 89_000_000
"""Largest picture that is decoded: just under the size at which Pillow itself warns of a decompression bomb."""

# What Pillow's decoders raise on broken files, beyond OSError (found by damaging files of every format).
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises InputError when it is missing, a folder, or may not be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file") from error


def decode(data: bytes, path: Path) -> Image.Image:
    """A picture file's bytes -> the whole picture, upright, in its own mode. `path` is for messages only.

    Raises InputError: not a picture, truncated, damaged, or larger than MAX_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            image.load()
            return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"at most {MAX_PIXELS / 1e6:.0f} million pixels are read: make the picture smaller"
        raise InputError(f"{path}: too large, possibly a decompression bomb ({error}); {limit}") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path}: not a picture (its content is no JPEG, PNG, WebP or TIFF)") from error
    except DECODE_ERRORS as error:
        raise InputError(f"{path}: truncated or damaged ({error}); replace the file") from error


def to_rgb(image: Image.Image, path: Path) -> Pixels:
    """A decoded picture of any mode -> uint8 [h, w, 3]. Raises InputError when its values have no agreed meaning."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(_grey8(np.asarray(image), path)[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when a palette with transparency becomes RGB in one step
    try:
        return np.array(image.convert("RGB"), dtype=np.uint8)
    except ValueError as error:
        raise InputError(f"{path}: pictures of mode {image.mode} cannot be read as colours; save it as RGB") from error


def alpha_of(image: Image.Image) -> AlphaPixels | None:
    """The alpha channel of a decoded picture (RGBA, LA, PA, palette or colour key), or None if it has none."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    return np.array(image.convert("RGBA").getchannel("A"), dtype=np.uint8)


def grey_of(image: Image.Image, path: Path) -> AlphaPixels:
    """A decoded mask of any mode -> uint8 [h, w]; an alpha channel is ignored."""
    if image.mode.startswith(("I", "F")):
        return _grey8(np.asarray(image), path)
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"), dtype=np.uint8)
    return np.array(Image.fromarray(to_rgb(image, path)).convert("L"), dtype=np.uint8)


def _grey8(values: Shaped[np.ndarray, "h w"], path: Path) -> AlphaPixels:
    """16-bit or 0..1 float grey -> 8 bit, scaled instead of clipped."""
    highest = 1 if values.dtype.kind == "f" else 65535
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > highest:
        raise InputError(f"{path}: grey values of {values.min():g}..{values.max():g}, expected 0..{highest}")
    return (values * (255.0 / highest) + 0.5).astype(np.uint8)


def read_image(path: Path) -> Pixels:
    """Any picture file -> upright uint8 RGB [h, w, 3]. Raises InputError naming the file and what is wrong with it."""
    path = Path(path)
    return to_rgb(decode(read_bytes(path), path), path)


def read_grey(path: Path) -> AlphaPixels:
    """Any picture file -> upright uint8 [h, w], as masks are read. Raises InputError."""
    path = Path(path)
    return grey_of(decode(read_bytes(path), path), path)


def decode_depth(data: bytes, path: Path) -> Shaped[np.ndarray, "h w"]:
    """A depth file's bytes -> [h, w] as stored (integers or floats). Raises InputError: not one channel."""
    if path.suffix.lower() == ".npy":
        try:
            stored = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, OSError, EOFError, SyntaxError) as error:
            raise InputError(f"{path}: no numpy array ({error}); expected a 2-D array written by numpy.save") from error
    else:
        stored = np.array(decode(data, path))
    if stored.ndim != 2 or stored.size == 0 or stored.dtype.kind not in "uif":
        raise InputError(f"{path}: {stored.dtype} of shape {stored.shape}; depth is one channel of numbers, [h, w]")
    return stored


def to_metres(stored: Shaped[np.ndarray, "h w"], unit_m: float | int | None, unknown: float | int) -> Depth:
    """Stored depth -> metres (or stored units where `unit_m` is 1), 0 = unknown.

    unit_m: metres per stored unit; None = 0.001 for integers, 1 for floats.
    unknown: the stored value that means unknown, besides 0, negative, not finite, and 65535 in 16-bit files.
    """
    unit = (1.0 if stored.dtype.kind == "f" else 0.001) if unit_m is None else unit_m
    known = np.isfinite(stored) & (stored > 0) & (stored != unknown)
    if stored.dtype.itemsize == 2 and stored.dtype.kind == "u":
        known &= stored != 65535
    return np.where(known, np.where(known, stored, 0).astype(np.float64) * unit, 0).astype(np.float32)


def read_depth(path: Path, unit_m: float | int | None = None, unknown: float | int = 0) -> Depth:
    """A depth file (PNG, TIFF, npy) -> float32 metres [h, w], 0 = unknown.

    unit_m: metres per stored unit; None = millimetres for integers, metres for floats. Raises InputError.
    """
    path = Path(path)
    return to_metres(decode_depth(read_bytes(path), path), unit_m, unknown)


def write_image(path: Path, pixels: Shaped[np.ndarray, "h w *c"], quality: int = 95) -> None:
    """uint8 [h, w], [h, w, 3] or [h, w, 4] -> a file of its suffix's kind. Raises InputError, ValueError."""
    path = Path(path)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"write_image takes uint8 [h, w], [h, w, 3] or [h, w, 4], got {pixels.dtype} {pixels.shape}")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"{path}: unknown kind of picture; name it {', '.join(PICTURE_SUFFIXES)}")
    kind = Image.registered_extensions()[path.suffix.lower()]
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == "JPEG" and image.mode == "RGBA":
        raise InputError(f"{path}: JPEG has no transparency; name it .png or .webp")
    image.save(buffer, kind, **({"quality": quality} if kind in ("JPEG", "WEBP") else {}))
    write_atomically(path, buffer.getvalue())


def write_depth(path: Path, depth: Depth) -> None:
    """Metres -> uint16 millimetre PNG; not finite, <= 0 and beyond 65.534 m are written as 0 = unknown."""
    millimetres = np.nan_to_num(np.asarray(depth, np.float64), nan=0, posinf=0, neginf=0) * 1000 + 0.5
    millimetres[(millimetres < 1) | (millimetres >= 65535)] = 0
    buffer = io.BytesIO()
    Image.fromarray(millimetres.astype(np.uint16)).save(buffer, "PNG")
    write_atomically(Path(path), buffer.getvalue())


def list_images(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted by name; hidden files are not pictures. Raises InputError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of pictures ({', '.join(PICTURE_SUFFIXES)})")
    files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    return sorted((path for path in files if not path.name.startswith(".")), key=lambda path: path.name)
