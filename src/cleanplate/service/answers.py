"""Answers: a prediction in the form that was asked for.

Contract: a mask, a cutout or a depth is a PNG; figures are JSON, which holds the pictures as well where they are asked
for. Masks are 8-bit alpha, depths 16-bit millimetres (0 = unknown); where the model knows no metres, one stored step is
worth `units_per_step`. RLE is COCO's, uncompressed: lengths of runs down the columns, the first of them background.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool

from cleanplate.predictions.depths import stored, unit
from cleanplate.service.pictures import encode_png
from cleanplate.types import AlphaPixels, Depth, Pixels, Prediction

Kind = Literal["json", "mask", "cutout", "depth"]
Part = Literal["mask", "rle", "cutout", "depth"]


@dataclass(frozen=True)
class Box:
    """The smallest upright box around the mask, pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class DepthFigures:
    """kind: metric (metres), relative or disparity (up to scale). Medians over all pixels and over the mask's."""

    kind: str
    median: float
    median_foreground: float | None
    units_per_step: float


@dataclass(frozen=True)
class Rle:
    """A mask in COCO's uncompressed run lengths. size: height, width."""

    size: tuple[int, int]
    counts: list[int]


@dataclass(frozen=True)
class Figures:
    """A frame's answer in figures. foreground: share of pixels in front; corrected: what plate care did."""

    width: int
    height: int
    foreground: float
    box: Box | None
    depth: DepthFigures | None
    corrected: str
    rle: Rle | None = None
    pictures: dict[str, str] = field(default_factory=dict)
    """mask, cutout, depth: PNGs in base64, as far as they were asked for."""


@dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    kind: Kind = "json"
    include: tuple[Part, ...] = ()
    fit: bool = False
    care: bool = True

    @property
    def cutout(self) -> bool:
        """Whether a cutout has to be made."""
        return self.kind == "cutout" or (self.kind == "json" and "cutout" in self.include)

    @property
    def depth(self) -> bool:
        """Whether depth has to be made."""
        return self.kind in ("json", "depth")


@dataclass(frozen=True)
class Answer:
    """A PNG with its headers, or figures."""

    png: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    figures: Figures | None = None


def told(colours: Pixels, found: Prediction, corrected: str, depth_kind: str, wish: Wish) -> Answer:
    """What is asked of a frame.

    colours: of what stands in front, for a cutout. corrected: plate care's words. depth_kind: the model's.
    """
    if wish.kind == "json":
        return Answer(figures=_figures(colours, found, corrected, depth_kind, wish))
    headers = {}
    if wish.kind == "depth" and found.depth is not None:
        headers["Units-Per-Step"] = f"{unit(found.depth, depth_kind):g}"
    return Answer(_png(wish.kind, colours, found, depth_kind), headers)


def _figures(colours: Pixels, found: Prediction, corrected: str, depth_kind: str, wish: Wish) -> Figures:
    mask = found.mask
    wanted = [part for part in ("mask", "cutout", "depth") if part in wish.include]
    pictures = {
        part: base64.b64encode(_png(part, colours, found, depth_kind)).decode()
        for part in wanted
        if part != "depth" or found.depth is not None
    }
    return Figures(
        width=mask.shape[1],
        height=mask.shape[0],
        foreground=round(float(mask.mean()), 6),
        box=_box(mask),
        depth=_depth_figures(found.depth, mask, depth_kind),
        corrected=corrected,
        rle=_rle(mask) if "rle" in wish.include else None,
        pictures=pictures,
    )


def _png(part: str, colours: Pixels, found: Prediction, depth_kind: str) -> bytes:
    if part == "depth" and found.depth is not None:
        return encode_png(stored(found.depth, unit(found.depth, depth_kind)))
    alpha: AlphaPixels = (found.alpha * 255 + 0.5).astype(np.uint8)
    return encode_png(np.dstack((colours, alpha)) if part == "cutout" else alpha)


def _box(mask: Bool[np.ndarray, "h w"]) -> Box | None:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def _depth_figures(depth: Depth | None, mask: Bool[np.ndarray, "h w"], kind: str) -> DepthFigures | None:
    if depth is None:
        return None
    front = depth[mask]
    return DepthFigures(
        kind=kind,
        median=_short(float(np.median(depth))),
        median_foreground=_short(float(np.median(front))) if front.size else None,
        units_per_step=_short(unit(depth, kind)),
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _rle(mask: Bool[np.ndarray, "h w"]) -> Rle:
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return Rle((mask.shape[0], mask.shape[1]), [0, *counts] if flat[0] else counts)
