"""Pictures from strangers: bytes in, checked pixels out; nothing is decoded before its header has been judged.

Contract: JPEG, PNG and WebP are read, by what they hold and not by what they are called; each becomes upright uint8
RGB, as from a file (`cleanplate.pictures.frames`). Refused, with the reason: other kinds, animations, more pixels than
allowed, a JPEG of more scans than cameras write (each costs a pass over the whole picture), what is damaged.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from cleanplate.pictures.frames import DECODE_ERRORS, decode, decode_depth, to_metres, to_rgb
from cleanplate.service.limits import LONGEST_SIDE, MEGA, RefusedError
from cleanplate.types import Depth, InputError, Pixels

KINDS = ("JPEG", "PNG", "WEBP")
MOST_SCANS = 64
_ORIENTATION = 0x0112
_EXPECTED = "send one JPEG, PNG or WebP picture"


def read_picture(data: bytes, name: str, most: int) -> Pixels:
    """A picture's bytes -> uint8 [h, w, 3]. name: for messages; most: pixels. Raises RefusedError (4xx)."""
    mode, upright = _judged(data, name, most)
    try:
        if data.startswith(b"\xff\xd8") and mode in ("RGB", "L") and upright:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        return to_rgb(decode(data, Path(name)), Path(name))
    except (InputError, ValueError) as error:
        raise _damaged(name, error) from error


def read_depth(data: bytes, name: str, most: int) -> Depth:
    """A 16-bit PNG of millimetres -> float32 metres [h, w], 0 = unknown. Raises RefusedError (4xx)."""
    mode, _ = _judged(data, name, most, ("PNG",))
    if not mode.startswith("I"):
        raise RefusedError(
            422, f"{name} is a PNG of mode {mode}: send 16-bit grey, millimetres, 0 where depth is unknown"
        )
    try:
        return to_metres(decode_depth(data, Path(name)), 0.001, 0)
    except InputError as error:
        raise _damaged(name, error) from error


def _judged(data: bytes, name: str, most: int, kinds: tuple[str, ...] = KINDS) -> tuple[str, bool]:
    """The mode of a picture that may be decoded, and whether it stands upright as it is."""
    if not data:
        raise RefusedError(422, f"{name} has no bytes: {_EXPECTED}")
    expected = _EXPECTED if kinds == KINDS else f"send one picture, {' or '.join(kinds)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs; the limit below is lower
            with Image.open(io.BytesIO(data), formats=kinds) as image:
                _check(image, data, name, most)
                return image.mode, image.getexif().get(_ORIENTATION, 1) == 1
    except Image.UnidentifiedImageError as error:
        raise RefusedError(415, f"{name} is no {', '.join(kinds)} by what it holds: {expected}") from error
    except Image.DecompressionBombError as error:
        raise RefusedError(413, f"{name} is far too large ({error}): {_at_most(most)}") from error
    except DECODE_ERRORS as error:
        raise _damaged(name, error) from error


def _check(image: Image.Image, data: bytes, name: str, most: int) -> None:
    width, height = image.size
    if width * height > most or max(width, height) > LONGEST_SIDE:
        raise RefusedError(413, f"{name} is {width}x{height}: {_at_most(most)}")
    if getattr(image, "n_frames", 1) > 1:
        raise RefusedError(
            422, f"{name} is an animation of {getattr(image, 'n_frames', 1)} pictures: send them one by one"
        )
    # Within a picture's data a marker's first byte is always followed by 0, so that this counts scans.
    scans = data.count(b"\xff\xda") if image.format == "JPEG" else 0
    if scans > MOST_SCANS:
        raise RefusedError(422, f"{name} is a JPEG of {scans} scans, which no camera writes: save it again")


def _at_most(most: int) -> str:
    return f"send at most {most / MEGA:g} megapixels, {LONGEST_SIDE} pixels a side (the server's --limits.megapixels)"


def _damaged(name: str, error: Exception) -> RefusedError:
    said = str(error).removeprefix(f"{name}: ")
    return RefusedError(422, f"{name} cannot be read: {said or 'cut off or damaged'}")


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w], [h, w, 3] or [h, w, 4], or uint16 [h, w] -> a PNG, packed quickly rather than tightly."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
