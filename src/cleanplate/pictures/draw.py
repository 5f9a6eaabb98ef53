"""Drawing: maps as colours, panels side by side.

A colour always means the same, from picture to picture and step to step: ranges are given, never taken from the data.

Depth goes through ln, from `near` (red) to `far` (dark blue); unknown depth is mid grey, which the map does not hold.
Losses and differences go from black (low) through violet and orange to pale yellow (high), so that maps darken as a
training goes on. Colour maps: turbo (Mikhailov 2019) reversed, and inferno (Smith, van der Walt 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from cleanplate.types import FAR_M, MASK_THRESHOLD, NEAR_M, Alpha, Depth, Pixels

UNKNOWN = (128, 128, 128)
Tile = UInt8[np.ndarray, "_ _ 3"]
"""Pixels of a size of their own."""
PAPER, INK, QUIET = (255, 255, 255), (24, 24, 27), (113, 113, 122)
TINT = (0, 190, 120)
"""Colour of the foreground in overlays: rare in rooms and on people."""
GAP = 6
"""Pixels between tiles, and around the sheet."""
LINE = 1.3
"""Height of a caption's line, in sizes of its font."""
_STRIP = 32
"""Rows that are drawn at a time: as many as a processor's cache holds of a wide frame and what is made of it."""


@cache
def _table(colours: int, backwards: bool = False) -> UInt8[np.ndarray, "256 3"]:
    """A colour map of OpenCV as 256 colours."""
    ramp = np.arange(256, dtype=np.uint8)[:: -1 if backwards else 1]
    return np.ascontiguousarray(cv2.applyColorMap(ramp[:, None], colours)[:, 0, ::-1])


def _through(table: UInt8[np.ndarray, "256 3"], share: Float[np.ndarray, "h w"]) -> Pixels:
    level = (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cv2.LUT(cv2.cvtColor(level, cv2.COLOR_GRAY2RGB), table[None])


def colour_depth(depth: Depth, near: float | int = NEAR_M, far: float | int = FAR_M) -> Pixels:
    """Depth [h, w] -> colours: near = red, far = dark blue on a scale of ln depth, unknown (0, not finite) = grey.

    near, far: the ends of the scale, 0 < near < far; depth beyond them takes the end's colour.
    """
    if not 0 < near < far:
        raise ValueError(f"colour_depth needs 0 < near < far, got {near} and {far}")
    known = np.isfinite(depth) & (depth > 0)
    share = np.log(np.where(known, depth, np.float32(near)) / np.float32(near)) / np.float32(np.log(far / near))
    colours = _through(_table(cv2.COLORMAP_TURBO, backwards=True), share)
    colours[~known] = UNKNOWN
    return colours


def heat(values: Float[np.ndarray, "h w"], low: float | int, high: float | int) -> Pixels:
    """A map [h, w] -> colours, `low` and below = black, `high` and above = pale yellow; not finite = grey."""
    if not low < high:
        raise ValueError(f"heat needs low < high, got {low} and {high}")
    known = np.isfinite(values)
    share = (np.where(known, values, low).astype(np.float64) - low) / (high - low)
    return np.where(known[..., None], _through(_table(cv2.COLORMAP_INFERNO), share), np.array(UNKNOWN, np.uint8))


def grey(alpha: Alpha) -> Pixels:
    """Alpha 0..1 [h, w] -> black to white [h, w, 3]."""
    levels = (np.clip(alpha, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def overlay(frame: Pixels, alpha: Alpha) -> Pixels:
    """The frame with its foreground tinted, its outline drawn, and the rest dimmed and without colour."""
    drawn = np.empty_like(frame)
    edge = _outline(alpha)
    tint = np.full((_STRIP, frame.shape[1], 3), TINT, np.uint8)
    for top in range(0, len(frame), _STRIP):
        rows = slice(top, top + _STRIP)
        part, colour = frame[rows], tint[: len(frame) - top]
        luminance = cv2.convertScaleAbs(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), alpha=0.45, beta=30)
        behind = cv2.cvtColor(luminance, cv2.COLOR_GRAY2RGB)
        front = cv2.addWeighted(part, 0.75, colour, 0.25, 0)
        cv2.copyTo(colour, edge[rows], _mixed(front, behind, alpha[rows], drawn[rows]))
    return drawn


def over(front: Pixels, behind: Pixels, alpha: Alpha) -> Pixels:
    """The front over what is behind it: alpha front + (1 - alpha) behind; all of one size."""
    drawn = np.empty_like(front)
    for top in range(0, len(front), _STRIP):
        rows = slice(top, top + _STRIP)
        _mixed(front[rows], behind[rows], alpha[rows], drawn[rows])
    return drawn


def _mixed(front: Tile, behind: Tile, alpha: Float[np.ndarray, "h w"], drawn: Tile) -> Tile:
    """A strip of `over`, into `drawn`."""
    share = cv2.cvtColor(cv2.convertScaleAbs(np.clip(alpha, 0, 1), alpha=255), cv2.COLOR_GRAY2RGB)
    rest = cv2.multiply(behind, cv2.bitwise_not(share), scale=1 / 255)
    return cv2.add(cv2.multiply(front, share, scale=1 / 255), rest, dst=drawn)


def _outline(alpha: Alpha) -> UInt8[np.ndarray, "h w"]:
    """1 where a pixel of the mask [h, w] touches its outside (4 neighbours), else 0."""
    mask = (alpha >= MASK_THRESHOLD).view(np.uint8)
    inside = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    return cv2.subtract(mask, inside)


def sheet(
    rows: Sequence[Sequence[Tile | None]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    tile: int | None = None,
) -> Tile:
    """Tiles in rows, captions above the columns and beside the rows, on white.

    rows: pictures of any sizes; each stands centred in a cell as large as the largest; None leaves a cell empty.
    tile: make each picture's longer side this many pixels first.
    Labels: as many as there are rows and columns, or none; ValueError otherwise, and for a sheet without pictures.
    """
    columns = max((len(row) for row in rows), default=0)
    if len(row_labels) not in (0, len(rows)) or len(column_labels) not in (0, columns):
        raise ValueError(f"{len(rows)} x {columns} tiles, but {len(row_labels)} and {len(column_labels)} labels")
    tiles = [[None if picture is None else _scaled(picture, tile) for picture in row] for row in rows]
    sizes = [picture.size for row in tiles for picture in row if picture]
    if not sizes:
        raise ValueError("sheet needs at least one picture")
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    font = _font(max(12, min(18, height // 9)))
    captions = [_wrap(label, font, width) for label in column_labels]
    left = GAP + max((round(font.getlength(label)) + GAP for label in row_labels), default=0)
    top = GAP + max((LINE * font.size * len(lines) + GAP // 2 for lines in captions), default=0)
    left, top = round(left), round(top)
    canvas = Image.new("RGB", (left + columns * (width + GAP), top + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, lines in enumerate(captions):
        x = left + column * (width + GAP) + width / 2
        for above, text in enumerate(reversed(lines)):  # captions stand on the tiles
            draw.text((x, top - GAP // 2 - above * LINE * font.size), text, INK, font, anchor="md")
    for number, label in enumerate(row_labels):
        draw.text((left - GAP, top + number * (height + GAP) + height / 2), label, QUIET, font, anchor="rm")
    for number, row in enumerate(tiles):
        for column, picture in enumerate(row):
            if picture:
                x, y = left + column * (width + GAP), top + number * (height + GAP)
                canvas.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    return np.array(canvas)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType has one tiny bitmap font
        raise RuntimeError("drawing captions needs a Pillow with FreeType, as its wheels have it")
    return font


def _scaled(pixels: Tile, tile: int | None) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if tile is None or max(image.size) == tile:
        return image
    factor = tile / max(image.size)
    resample = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.LANCZOS  # enlarged pixels stay pixels
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), resample)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Words of a caption in lines that fit the tile; a single long word may stick out."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
