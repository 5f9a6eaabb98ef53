"""A PART: the scores of one model over some scenes, with 95 % intervals, as evaluation.json holds it.

    {"mask": {METRIC: value} | null, "depth": {"aligned": {...}, "metric": {...} | null, "foreground": {...}} | null,
     "intervals": {METRIC: [low, high]}}

A value without meaning is null and has no interval. In "intervals" the mask's metrics and those of the aligned depth
go by their own names ("iou", "delta1"), the others by "metric.delta1" and "foreground.delta1".

A frame's sums pool within its scene; a part over several scenes is the mean of the scenes' scores (of those that have
one). Intervals are percentiles of RESAMPLES seeded bootstrap means:

- composed scenes: plates and cutouts are drawn anew with replacement, and a scene weighs (times its plate was drawn) x
  (times its cutout was drawn) (Owen, The pigeonhole bootstrap, 2007): scenes share pictures and are not independent;
- captured pairs: frames within a scene; for the mean, whole scenes when there are at least three, else frames in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from cleanplate.measures.metrics import (
    DEPTH_METRICS,
    MASK_METRICS,
    DepthSums,
    MaskCounts,
    depth_scores,
    mask_scores,
    weighted,
)

Part = dict[str, Any]
Rows = Float64[np.ndarray, "r 31"]
"""Scores, one row per scene or resample, one column per entry of COLUMNS."""

DEPTH_GROUPS = ("aligned", "metric", "foreground")
COLUMNS = tuple(("mask", metric) for metric in MASK_METRICS) + tuple(
    (group, metric) for group in DEPTH_GROUPS for metric in DEPTH_METRICS
)
RESAMPLES = 500
LEAST_SCENES = 3
"""From this many captured scenes on, the mean's interval resamples scenes."""


@dataclass(frozen=True, slots=True)
class FrameSums:
    """What one frame contributes; sums of zero where nothing was answered, or nothing is known.

    aligned: depth brought to the truth's scale. metric: as it is. foreground: inside the true mask, metric if the model
    is, else aligned.
    """

    mask: MaskCounts = field(default_factory=MaskCounts)
    aligned: DepthSums = field(default_factory=DepthSums)
    metric: DepthSums = field(default_factory=DepthSums)
    foreground: DepthSums = field(default_factory=DepthSums)


def cell_part(
    frames: Sequence[FrameSums], plates: Int64[np.ndarray, " n"], cutouts: Int64[np.ndarray, " n"], seed: int
) -> Part:
    """The part of composed scenes. plates, cutouts: the number of each scene's pictures; -1 = no cutout (empty)."""
    rng = np.random.default_rng([seed, 1])
    rows = _scores(frames)
    weights = _times_drawn(rng, plates) * _times_drawn(rng, cutouts)
    return _part(frames, _mean(rows, np.ones((1, len(rows))))[0], _mean(rows, weights))


def scene_part(frames: Sequence[FrameSums], seed: int) -> Part:
    """The part of one captured scene."""
    return _part(frames, _scores(frames, np.ones((1, len(frames))))[0], _scores(frames, _draws(seed, 2, len(frames))))


def mean_part(scenes: Sequence[Sequence[FrameSums]], seed: int) -> Part:
    """The part over captured scenes, each counting the same."""
    rows = np.concatenate([_scores(frames, np.ones((1, len(frames)))) for frames in scenes])
    if len(scenes) >= LEAST_SCENES:
        again = _mean(rows, _draws(seed, 3, len(scenes)))
    else:
        each = [_scores(frames, _draws(seed, 4 + i, len(frames))) for i, frames in enumerate(scenes)]
        again = np.stack([_mean(np.stack(few), np.ones((1, len(scenes))))[0] for few in zip(*each, strict=True)])
    everything = [frame for frames in scenes for frame in frames]
    return _part(everything, _mean(rows, np.ones((1, len(rows))))[0], again)


def _scores(frames: Sequence[FrameSums], weights: Float64[np.ndarray, "r n"] | None = None) -> Rows:
    """Scores of the pooled sums, once for each row of weights over the frames; without weights, each frame's own."""
    mask = mask_scores(weighted([frame.mask for frame in frames], weights))
    columns = [mask[metric] for metric in MASK_METRICS]
    for group in DEPTH_GROUPS:
        depth = depth_scores(weighted([getattr(frame, group) for frame in frames], weights))
        columns += [depth[metric] for metric in DEPTH_METRICS]
    return np.stack(columns, axis=1)


def _mean(rows: Float64[np.ndarray, "n 31"], weights: Float64[np.ndarray, "r n"]) -> Rows:
    """Weighted means of the rows' known scores; NaN where none is known."""
    known = np.isfinite(rows)
    total = weights @ known
    return np.divide(weights @ np.where(known, rows, 0), total, out=np.full(total.shape, np.nan), where=total > 0)


def _draws(seed: int, stream: int, count: int) -> Float64[np.ndarray, "r n"]:
    """How often each of `count` is drawn in `count` draws with replacement, for each resample."""
    rng = np.random.default_rng([seed, stream])
    return rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)


def _times_drawn(rng: np.random.Generator, pictures: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "r n"]:
    """How often each scene's picture is drawn when the pictures are; 1 for a scene without one (-1)."""
    names, numbers = np.unique(pictures[pictures >= 0], return_inverse=True)
    times = np.ones((RESAMPLES, len(pictures)))
    if len(names):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        times[:, pictures >= 0] = drawn[:, numbers]
    return times


def _part(frames: Sequence[FrameSums], means: Float64[np.ndarray, " 31"], again: Rows) -> Part:
    scores = dict(zip(COLUMNS, means, strict=True))

    def group(name: str, metrics: Sequence[str]) -> dict[str, float | None]:
        values = {metric: float(scores[name, metric]) for metric in metrics}
        return {metric: value if np.isfinite(value) else None for metric, value in values.items()}

    masks = any(frame.mask.judged for frame in frames)
    depths = {name: any(getattr(frame, name).known for frame in frames) for name in DEPTH_GROUPS}
    depth = {name: group(name, DEPTH_METRICS) if depths[name] or name != "metric" else None for name in DEPTH_GROUPS}
    return {
        "mask": group("mask", MASK_METRICS) if masks else None,
        "depth": depth if depths["aligned"] else None,
        "intervals": _intervals(means, again) if len(frames) > 1 else {},
    }


def _intervals(means: Float64[np.ndarray, " 31"], again: Rows) -> dict[str, list[float]]:
    intervals = {}
    for (group, metric), mean, values in zip(COLUMNS, means, again.T, strict=True):
        values = values[np.isfinite(values)]
        if np.isfinite(mean) and len(values):
            name = f"{group}.{metric}" if group in ("metric", "foreground") else metric
            intervals[name] = [float(end) for end in np.percentile(values, (2.5, 97.5))]
    return intervals
