"""Scenes of any size with exact alpha, for `highres.py`: photographs as plates, photo cutouts in front.

A scene is a pure function of (pictures, kind, size, seed). Kinds:

    plain    the cutout as it is
    hair     fine strands grow out of its outline
    thin     wires and twigs cross the picture, and the cutout
    moving   everything in front is blurred by a straight motion, colour premultiplied with alpha
    shadow   the cutout darkens the plate beside it; the truth there is 0

The truth is the alpha that the frame was composed with, so it is exact whatever made its shape. Both pictures get
noise of their own (1.5 of 255) and are stored as JPEG (quality 95). A cutout that must be enlarged gets its edge back
(alpha is steepened by the factor of enlargement), else a larger picture would only have softer edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from cleanplate.pictures.frames import list_images
from cleanplate.types import Alpha, Pixels

KINDS = ("plain", "hair", "thin", "moving", "shadow")


@dataclass(frozen=True)
class HighScene:
    """plate, frame: uint8 [H, W, 3]. alpha: the truth. colour: what stands in front, where alpha > 0, without noise."""

    name: str
    plate: Pixels
    frame: Pixels
    alpha: Alpha
    colour: np.ndarray


@dataclass(frozen=True)
class Stock:
    """Files of one part (`tune` or `report`): no picture is in both."""

    plates: tuple[Path, ...]
    cutouts: tuple[Path, ...]


def stock(plates: Path, cutouts: Path, part: str, least: int = 400) -> Stock:
    """Every other picture, in the order of their names; cutouts of at least `least` pixels that have an alpha."""
    odd = {"tune": 0, "report": 1}[part]
    photos, large = _pictures(plates), [path for path in _pictures(cutouts) if _usable(path, least)]
    return Stock(tuple(photos[odd::2]), tuple(large[odd::2]))


def make(files: Stock, kind: str, size: tuple[int, int], seed: int) -> HighScene:
    """The scene of this kind and seed; size is (height, width)."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    height, width = size
    unit = height / 1080
    plate = _covering(_read(files.plates[int(rng.integers(len(files.plates)))])[..., :3], size)
    colour, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    for _ in range(2):
        cutout = _read(files.cutouts[int(rng.integers(len(files.cutouts)))])
        _put(colour, alpha, _sized(cutout, rng.uniform(0.45, 0.8) * height, rng), rng)
    if kind == "hair":
        _grow_hair(colour, alpha, rng, unit)
    if kind == "thin":
        _cross(colour, alpha, rng, unit)
    front = colour * alpha[..., None]
    if kind == "moving":
        front, alpha = _moved(front, alpha, rng, unit)
        colour = front / np.maximum(alpha, 1e-6)[..., None]
    behind = _shaded(plate, alpha, rng) if kind == "shadow" else plate.astype(np.float32)
    frame = front + (1 - alpha[..., None]) * behind
    return HighScene(f"{kind}-{seed}", _stored(plate, rng), _stored(frame, rng), alpha, colour)


def _pictures(folder: Path) -> list[Path]:
    return [path for path in list_images(folder) if not path.stem.endswith(("_depth", "_mask"))]


def _usable(path: Path, least: int) -> bool:
    picture = _read(path)
    return max(picture.shape[:2]) >= least and bool((picture[..., 3] < 128).any())


def _read(path: Path) -> np.ndarray:
    with Pillow.open(path) as picture:
        return np.asarray(picture.convert("RGBA"))


def _covering(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture that fills this size."""
    scale = max(size[0] / picture.shape[0], size[1] / picture.shape[1])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    wide, tall = math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale)
    large = cv2.resize(picture, (wide, tall), interpolation=way)
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return np.ascontiguousarray(large[top : top + size[0], left : left + size[1]])


def _sized(cutout: np.ndarray, longest: float, rng: np.random.Generator) -> np.ndarray:
    """A cutout as float RGBA (0..255, alpha 0..1), its longer side this long, perhaps mirrored."""
    scale = longest / max(cutout.shape[:2])
    picture = cutout.astype(np.float32)
    alpha = picture[..., 3:] / 255
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = cv2.resize(np.dstack((picture[..., :3] * alpha, alpha)), size, interpolation=way)
    colour = np.clip(large[..., :3] / np.maximum(large[..., 3:], 1e-3), 0, 255)
    soft = np.clip((large[..., 3:] - 0.5) * max(1.0, scale) + 0.5, 0, 1)
    whole = np.dstack((colour, soft))
    return whole[:, ::-1] if rng.random() < 0.5 else whole


def _put(colour: np.ndarray, alpha: np.ndarray, cutout: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a cutout over what is there, in place, wholly inside where it fits."""
    height, width = alpha.shape
    cutout = cutout[:height, :width]
    top, left = (int(rng.integers(0, room + 1)) for room in (height - cutout.shape[0], width - cutout.shape[1]))
    spot = slice(top, top + cutout.shape[0]), slice(left, left + cutout.shape[1])
    _over(colour[spot], alpha[spot], cutout[..., :3], cutout[..., 3])


def _over(colour: np.ndarray, alpha: np.ndarray, top: np.ndarray, cover: np.ndarray) -> None:
    together = cover + alpha * (1 - cover)
    share = (cover / np.maximum(together, 1e-6))[..., None]
    colour[:] = share * top + (1 - share) * colour
    alpha[:] = together


def _grow_hair(colour: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, unit: float) -> None:
    """Strands of one cutout's own colours, out of the outline, 20 to 90 px of 1080 lines long, one to two px wide."""
    contours, _ = cv2.findContours((alpha > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)[:, 0].astype(np.float32)
    distance = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    comb = rng.normal(0, 0.6)
    for start in rng.choice(len(outline), min(len(outline), int(rng.integers(150, 500))), replace=False):
        here, ahead = outline[start], outline[(start + 9) % len(outline)]
        along = (ahead - here) / (np.linalg.norm(ahead - here) + 1e-6)
        out = np.array((along[1], -along[0])) + along * (comb + rng.normal(0, 0.3))
        bend = along * rng.normal(0, 0.5)
        steps = np.linspace(0, 1, 12)[:, None] * rng.uniform(20, 90) * unit
        line = here - 3 * unit * out + out * steps + bend * steps**2 / (60 * unit)
        inside = (here - 4 * unit * out).clip((0, 0), (alpha.shape[1] - 1, alpha.shape[0] - 1)).astype(int)
        shade = (
            colour[inside[1], inside[0]] if distance[inside[1], inside[0]] > 0 else colour[int(here[1]), int(here[0])]
        )
        _stroke(colour, alpha, line, shade * rng.uniform(0.7, 1.15), max(1, round(rng.uniform(0.8, 2.2) * unit)))


def _cross(colour: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, unit: float) -> None:
    """Wires and twigs from side to side, 1 to 8 px of 1080 lines wide."""
    height, width = alpha.shape
    for _ in range(int(rng.integers(4, 9))):
        ends = rng.uniform((-0.1, 0), (1.1, 1), (3, 2)) * (width, height)
        t = np.linspace(0, 1, 40)[:, None]
        line = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        _stroke(colour, alpha, line, rng.uniform(10, 245, 3), max(1, round(rng.uniform(1, 8) * unit)))


def _stroke(colour: np.ndarray, alpha: np.ndarray, line: np.ndarray, shade: np.ndarray, thick: int) -> None:
    left, top = np.floor(line.min(0)).astype(int) - thick - 2
    right, bottom = np.ceil(line.max(0)).astype(int) + thick + 2
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, alpha.shape[1]), min(bottom, alpha.shape[0])
    if left >= right or top >= bottom:
        return
    cover = np.zeros((bottom - top, right - left), np.uint8)
    points = np.round((line - (left, top)) * 16).astype(np.int32)
    cv2.polylines(cover, [points[:, None]], isClosed=False, color=255, thickness=thick, lineType=cv2.LINE_AA, shift=4)
    spot = slice(top, bottom), slice(left, right)
    _over(colour[spot], alpha[spot], np.clip(shade, 0, 255).astype(np.float32), cover.astype(np.float32) / 255)


def _moved(
    front: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Blurred along a straight line of 10 to 40 px of 1080 lines."""
    length, angle = rng.uniform(10, 40) * unit, rng.uniform(0, math.pi)
    side = 2 * math.ceil(length / 2) + 3
    kernel = np.zeros((side, side), np.uint8)
    middle, reach = np.full(2, side // 2), np.array((math.cos(angle), math.sin(angle))) * length / 2
    ends = [tuple(int(v) for v in np.round((middle + way * reach) * 16)) for way in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    weights = kernel / kernel.sum(dtype=np.float32)
    blurred = cv2.filter2D(np.dstack((front, alpha)), -1, weights.astype(np.float32), borderType=cv2.BORDER_REPLICATE)
    return np.maximum(blurred[..., :3], 0), np.clip(blurred[..., 3], 0, 1)


def _shaded(plate: Pixels, alpha: Alpha, rng: np.random.Generator) -> np.ndarray:
    """The plate under a soft shadow of what stands in front."""
    height = alpha.shape[0]
    shift = rng.uniform(-0.06, 0.06), rng.uniform(0, 0.05)
    matrix = np.array([[1, 0, shift[0] * height], [0, 1, shift[1] * height]])
    cast = cv2.warpAffine(alpha, matrix, alpha.shape[::-1])
    soft = cv2.GaussianBlur(cast, (0, 0), rng.uniform(0.003, 0.015) * height)
    return plate * (1 - rng.uniform(0.25, 0.6) * soft[..., None]).astype(np.float32)


def _stored(picture: np.ndarray, rng: np.random.Generator) -> Pixels:
    """With the sensor's noise, as a JPEG gives it back."""
    noise = rng.standard_normal(picture.shape, np.float32) * 1.5
    pixels = np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)
    file = BytesIO()
    Pillow.fromarray(pixels).save(file, "jpeg", quality=95, subsampling=2)
    return np.asarray(Pillow.open(file))
