"""The doctor: what is wrong between a plate and its frames, measured, and said in plain words.

Contract: `examine(plate, frames)` measures and returns a `Diagnosis`, which is JSON by `asdict`; `words` turns it into
sentences: what was found, whether plate care corrects it, what else to do. Nothing here needs a network.

Measures. Motion and exposure are those of `correct`. Everything else is taken after that correction and where nothing
stands in front, that is, where the robust difference stays below `FOREGROUND`:

- blur: the softer picture is the one whose partner fits better when blurred with a Gaussian; blur_px is its sigma;
- noise: 1.48 median |N * I| / 6 with N the difference of two Laplacians (Immerkaer, 1996), in the calmest quarter of
  the picture's blocks;
- blocks: the mean step across the borders of 8 x 8 blocks over the mean step elsewhere; JPEG and MPEG make it rise
  above 1. A JPEG file's own quality is read by `jpeg_quality` from its tables;
- light: the ratio of frame to plate, as a plane over the picture fitted to the medians of a grid; light_change is the
  largest ratio between two corners, minus 1.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from cleanplate.care.align import shrink
from cleanplate.care.correct import Care, Correction
from cleanplate.care.plate import frames_of, sample
from cleanplate.pictures.frames import read_bytes, read_image
from cleanplate.types import InputError, Pixels

FOREGROUND = 25
"""Corrected pixels that differ by more than this, of 255, are taken for something in front."""
FRAMES = 9
"""At most so many frames of a video or folder are examined, evenly spread."""
_SIDE = 640
_BLURS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0)
_GRID = 12


@dataclass(frozen=True)
class Diagnosis:
    """A plate and its frames, measured; medians over the frames.

    sizes: (height, width). shift_px (right, down), turn_deg, zoom: how frames must move to fit. shake_px: how far
    single frames lie from that. confidence: 0..1, how sure the motion is. gain: what frames' values are multiplied by
    at mid grey to fit, red, green, blue. softer, blur_px: which picture is softer, by a Gaussian of how many pixels.
    noise: standard deviation, of 255. blocks: 1 = no traces of compression. quality: of JPEG files, 1..100.
    light_change: 0.2 = the light has changed by a fifth from one corner to another. foreground: share of the picture
    that differs. clipped: share of the frame's values that are white.
    """

    frames: int
    plate_size: tuple[int, int]
    frame_size: tuple[int, int]
    shift_px: tuple[float, float]
    turn_deg: float
    zoom: float
    shake_px: float
    confidence: float
    gain: tuple[float, float, float]
    softer: Literal["plate", "frame"] | None
    blur_px: float
    plate_noise: float
    frame_noise: float
    plate_blocks: float
    frame_blocks: float
    light_change: float
    foreground: float
    clipped: float
    corrected: str
    plate_quality: int | None = None
    frame_quality: int | None = None


def examine(plate: UInt8[np.ndarray, "plate_h plate_w 3"], frames: Sequence[Pixels]) -> Diagnosis:
    """Measure a plate against one or several frames of the same camera. Raises InputError for no frames.

    A plate of another size is stretched to the frames first; the diagnosis says so by the two sizes.
    """
    if not frames:
        raise InputError("no frame to examine: give a picture, a folder of frames or a video")
    height, width = frames[0].shape[:2]
    fitted = plate
    if plate.shape != frames[0].shape:
        fitted = cv2.resize(plate, (width, height), interpolation=cv2.INTER_AREA)
    care = Care(fitted)
    corrections = [care.correct(frame) for frame in frames]
    looks = [_look(fitted, frame, correction) for frame, correction in zip(frames, corrections, strict=True)]
    middle = {name: float(np.median([look[name] for look in looks])) for name in looks[0]}
    shifts = np.array([correction.alignment.shift_px for correction in corrections])
    right, down = np.median(shifts, axis=0)
    red, green, blue = np.median([np.asarray(c.exposure.at(0.5)) / 0.5 for c in corrections], axis=0)
    blur = middle["blur"]
    return Diagnosis(
        frames=len(frames),
        plate_size=(plate.shape[0], plate.shape[1]),
        frame_size=(height, width),
        shift_px=(float(right), float(down)),
        turn_deg=float(np.median([c.alignment.turn_deg for c in corrections])),
        zoom=float(np.median([c.alignment.zoom for c in corrections])),
        shake_px=float(np.sqrt(np.square(shifts - (right, down)).sum(axis=1)).max()),
        confidence=float(np.median([c.alignment.confidence for c in corrections])),
        gain=(float(red), float(green), float(blue)),
        softer=None if blur == 0 else "plate" if blur > 0 else "frame",
        blur_px=abs(blur),
        plate_noise=noise(plate),
        frame_noise=float(np.median([noise(frame) for frame in frames])),
        plate_blocks=blocks(plate),
        frame_blocks=float(np.median([blocks(frame) for frame in frames])),
        light_change=middle["light"],
        foreground=middle["foreground"],
        clipped=middle["clipped"],
        corrected=corrections[len(corrections) // 2].words(),
    )


def examine_files(plate: Path, path: Path) -> Diagnosis:
    """`examine` a plate's file and a picture, a video or a folder of frames. Raises InputError."""
    frames = sample(frames_of([path]), FRAMES)
    found = examine(read_image(plate), frames)
    quality = jpeg_quality(path) if path.is_file() and len(frames) == 1 else None
    return replace(found, plate_quality=jpeg_quality(plate), frame_quality=quality)


def noise(picture: Pixels) -> float:
    """The standard deviation of a picture's noise, of 255, from its calmest blocks."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found = np.abs(cv2.filter2D(grey, -1, kernel))[1:-1, 1:-1]
    side = 16
    rows, columns = (max(1, length // side) for length in found.shape)
    cells = [cell for strip in np.array_split(found, rows) for cell in np.array_split(strip, columns, axis=1)]
    medians = [1.4826 * float(np.median(cell)) / 6 for cell in cells if cell.size]
    return float(np.quantile(medians, 0.25)) if medians else 0.0


def blocks(picture: Pixels) -> float:
    """How much larger steps across the borders of 8 x 8 blocks are than all others; 1 = no blocks."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ratios = []
    for values in (grey, grey.T):
        steps = np.abs(np.diff(values, axis=1)).clip(0, 12)
        across = np.arange(steps.shape[1]) % 8 == 7
        if across.sum() >= 2:
            ratios.append((steps[:, across].mean() + 0.05) / (steps[:, ~across].mean() + 0.05))
    return float(np.mean(ratios)) if ratios else 1.0


def jpeg_quality(path: Path) -> int | None:
    """The quality 1..100 that libjpeg's tables of this file stand for; None for other kinds of file."""
    data = read_bytes(path)
    if not data.startswith(b"\xff\xd8"):
        return None
    with Image.open(io.BytesIO(data)) as image:
        tables = getattr(image, "quantization", None)
    if not tables:
        return None
    # The mean of the standard luminance table is 57.6; libjpeg scales it by 5000/q below 50, by 200 - 2q above.
    scale = float(np.mean(tables[0])) / 57.625 * 100
    return int(np.clip(round(5000 / scale if scale > 100 else (200 - scale) / 2), 1, 100))


def _look(plate: Pixels, frame: Pixels, correction: Correction) -> dict[str, float]:
    """What one corrected frame shows: blur (> 0: the plate is softer), light, foreground, clipped."""
    fitted = correction.frame(frame, plate)
    plate, fitted = shrink(plate, _SIDE), shrink(fitted, _SIDE)
    difference = cv2.absdiff(cv2.blur(plate, (3, 3)), cv2.blur(fitted, (3, 3))).max(axis=2)
    bare = difference <= FOREGROUND
    return {
        "blur": _blur(plate, fitted, bare),
        "light": _light(plate, fitted),
        "foreground": float(1 - bare.mean()),
        "clipped": float((frame >= 250).mean()),
    }


def _blur(plate: Pixels, frame: Pixels, bare: Bool[np.ndarray, "h w"]) -> float:
    """The Gaussian by which the sharper picture fits the softer one best: > 0 if the plate is softer, 0 if neither."""
    a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (plate, frame))
    bare = cv2.erode(bare.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if bare.mean() < 0.1:
        return 0.0

    def misfit(x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]) -> float:
        # Only what is fine tells of blur; shadows and light are coarse.
        detail = (x - cv2.GaussianBlur(x, (0, 0), 5)) - (y - cv2.GaussianBlur(y, (0, 0), 5))
        return float(np.minimum(np.abs(detail), 20)[bare].mean())

    still = misfit(a, b)
    tries = [(sigma, misfit(a, cv2.GaussianBlur(b, (0, 0), sigma))) for sigma in _BLURS]
    tries += [(-sigma, misfit(cv2.GaussianBlur(a, (0, 0), sigma), b)) for sigma in _BLURS]
    sigma, least = min(tries, key=lambda found: found[1])
    return sigma if least < 0.85 * still and abs(sigma) > 0.5 else 0.0


def _light(plate: Pixels, frame: Pixels) -> float:
    """The largest ratio between two corners of the plane through ln(frame / plate), minus 1."""
    a, b = (picture.mean(axis=2, dtype=np.float32) for picture in (plate, frame))
    usable = (a > 8) & (a < 245) & (b > 8) & (b < 245)
    ratio = np.log(np.maximum(b, 1) / np.maximum(a, 1))
    spots = []
    for rows in np.array_split(np.arange(len(a)), _GRID):
        for columns in np.array_split(np.arange(a.shape[1]), _GRID):
            box = np.ix_(rows, columns)
            if usable[box].sum() > 8:
                x, y = columns.mean() / a.shape[1] - 0.5, rows.mean() / len(a) - 0.5
                spots.append((1.0, x, y, float(np.median(ratio[box][usable[box]]))))
    if len(spots) < 20:
        return 0.0
    table = np.array(spots)
    weights, plane = np.ones(len(table)), np.zeros(3)
    for _ in range(8):
        design = table[:, :3] * weights[:, None]
        plane = np.linalg.solve(design.T @ table[:, :3] + 1e-6 * np.eye(3), design.T @ table[:, 3])
        weights = 1 / np.square(1 + np.square((table[:, 3] - table[:, :3] @ plane) / 0.1))
    # A plane through a few agreeing places is no light.
    return float(np.exp(abs(plane[1]) + abs(plane[2])) - 1) if (weights > 0.5).mean() > 0.5 else 0.0
