"""Polarity: does a label run the way it was declared to, near where things are near?

Contract: depth teachers differ in what large means, and no file says it. A label is held against what else is known of
the same scenes: the dataset's own depth where it has one, and else the height in the picture, because what is lower is
mostly nearer. The measure is Spearman's rank correlation per scene, over a grid of pixels; it needs no scale. A label
whose mean correlation is negative was most likely declared the wrong way round; a picture of some scenes shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cleanplate.pictures.draw import GAP, INK, PAPER, Tile, colour_depth, sheet
from cleanplate.settings import TeacherSettings
from cleanplate.types import FAR_M, Depth, DepthKind, Pixels

GRID = 32
"""Pixels compared per side of a scene."""
CONTRARY, WEAK = -0.05, 0.1
LEAST_KNOWN = 0.5
"""A metric label that knows less than this of its pixels has most likely another unit."""
SHOWN_M = (0.5, 20.0)


@dataclass(frozen=True)
class Agreement:
    """Sums over scenes. with_depth: scenes compared with the dataset's own depth; depth: sum of their correlations.

    with_height, height: the same of the height in the picture. known: sum of the shares of pixels that have a label.
    """

    scenes: int = 0
    with_depth: int = 0
    depth: float = 0.0
    with_height: int = 0
    height: float = 0.0
    known: float = 0.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def correlation(self) -> float | None:
        """Mean rank correlation with the dataset's depth, else with the height; None if nothing could be compared."""
        if self.with_depth:
            return self.depth / self.with_depth
        return self.height / self.with_height if self.with_height else None


def agreement(label: Depth, exact: Depth) -> Agreement:
    """How far one label (larger = farther, 0 = unknown) agrees with the exact depth (0 = unknown), or the height."""
    height, width = label.shape
    rows = np.linspace(0, height - 1, min(GRID, height)).round().astype(int)
    columns = np.linspace(0, width - 1, min(GRID, width)).round().astype(int)
    z, t = label[np.ix_(rows, columns)], exact[np.ix_(rows, columns)]
    up = np.broadcast_to(-rows[:, None], z.shape)
    with_depth = rank_correlation(z[(z > 0) & (t > 0)], t[(z > 0) & (t > 0)])
    with_height = rank_correlation(z[z > 0], up[z > 0])
    return Agreement(
        1,
        int(with_depth is not None),
        with_depth or 0.0,
        int(with_height is not None),
        with_height or 0.0,
        float((label > 0).mean()),
    )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, on dense ranks (equal values, equal rank); None for fewer than ten values, or all equal."""
    if len(a) < 10:
        return None
    ranks = [np.unique(values, return_inverse=True)[1].astype(np.float64) for values in (a, b)]
    spread = [values.std() for values in ranks]
    if min(spread) == 0:
        return None
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / (spread[0] * spread[1]))


def verdict(found: Agreement, settings: TeacherSettings) -> tuple[str, bool]:
    """What the agreement says in words, and whether that is a warning."""
    value = found.correlation
    if value is None:
        return "nothing in these scenes tells near from far: look at the preview", False
    against = "the dataset's own depth" if found.with_depth else "the height in the picture (what is lower is nearer)"
    what = f"rank correlation {value:+.2f} with {against} over {found.scenes} scenes"
    if value < CONTRARY:
        other = "disparity" if settings.teacher_output == "depth" else "depth"
        return (
            f"the teacher's output looks like {other}, not {settings.teacher_output}: {what}. Look at the preview; if "
            f"near and far are swapped, delete the label and pass --teacher-output {other}"
        ), True
    if settings.teacher_unit == "m" and found.known < LEAST_KNOWN * found.scenes:
        return (
            f"only {found.known / found.scenes:.0%} of the label lies in 0..65.5 m: is the teacher's output in metres? "
            "If not, delete the label and pass --teacher-unit relative"
        ), True
    if value < WEAK:
        return f"the teacher hardly agrees with what is known: {what}. Look at the preview", True
    return f"the teacher agrees: {what}", False


Shown = tuple[Pixels, Depth, Depth]
"""A scene's frame, its label as depth, its exact depth (all 0 = none)."""


def preview(scenes: Sequence[Shown], kind: DepthKind, exact_metric: bool, title: str) -> Tile:
    """Rows of frames, labels as declared and exact depth, red = near, blue = far, grey = unknown, and a legend.

    Metres have the scale of SHOWN_M; beside a relative label everything is coloured by its rank in its scene.
    """
    metric = kind == "metric"
    rows: list[list[Tile | None]] = [
        [frame for frame, _, _ in scenes],
        [_coloured(label, metric) for _, label, _ in scenes],
    ]
    names = ["frame", "label as declared"]
    if any(exact.any() for _, _, exact in scenes):
        both = metric and exact_metric
        rows.append([_coloured(exact, both) if exact.any() else None for _, _, exact in scenes])
        names.append("depth of the dataset")
    tiles = sheet(rows, names, tile=160)
    legend = _legend(tiles.shape[1], title)
    return np.concatenate([tiles, legend])


def _coloured(depth: Depth, metric: bool) -> Tile:
    if metric:
        return colour_depth(depth, *SHOWN_M)
    known = depth > 0
    ordered = np.sort(depth[known])
    share = (np.searchsorted(ordered, depth, side="left") / max(len(ordered) - 1, 1)).astype(np.float32)
    return colour_depth(np.where(known, np.float32(FAR_M) ** share, np.float32(0)), 1.0, FAR_M)


def _legend(width: int, title: str) -> Tile:
    """A bar from near to far under the sheet, and what was declared."""
    bar_width, height = 160, 22
    canvas = Image.new("RGB", (width, height + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    middle = GAP + height // 2
    draw.text((GAP, middle), "near", INK, font, anchor="lm")
    left = GAP + 42
    ramp = np.repeat(np.geomspace(1.0, FAR_M, bar_width, dtype=np.float32)[None], height - 6, axis=0)
    canvas.paste(Image.fromarray(colour_depth(ramp, 1.0, FAR_M)), (left, GAP + 3))
    draw.text((left + bar_width + GAP, middle), "far", INK, font, anchor="lm")
    draw.text((left + bar_width + 60, middle), title, INK, font, anchor="lm")
    return np.array(canvas)
