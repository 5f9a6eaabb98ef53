"""A PART: the scores of one model over some scenes, with 95 % intervals, as evaluation.json holds it.

    {"mask": {METRIC: value} | null,
     "depth": {"aligned": {...}, "metric": {...} | null, "foreground": {...}, "edges": {...}} | null,
     "intervals": {METRIC: [low, high]}}

A value without meaning is null and has no interval. In "intervals" the mask's metrics and those of the aligned depth
go by their own names ("iou", "delta1"), the others by "metric.delta1", "foreground.delta1" and "edges.f1".

A frame's sums pool within its scene; a part over several scenes is the mean of the scenes' scores (of those that have
one). Only "iou_pooled" is one score of all frames' sums together: of the frames whose true foreground covers more than
LEAST_SHARE of the judged picture. Intervals are percentiles of RESAMPLES seeded bootstrap means:

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

from cleanplate.measures.edges import EDGE_METRICS, EdgeCounts, edge_scores
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
Rows = Float64[np.ndarray, "r 35"]
"""Scores, one row per scene or resample, one column per entry of COLUMNS."""

DEPTH_GROUPS = ("aligned", "metric", "foreground")
GROUPS = {"mask": (*MASK_METRICS, "iou_pooled"), **dict.fromkeys(DEPTH_GROUPS, DEPTH_METRICS), "edges": EDGE_METRICS}
"""Every group of a part and its metrics, in the order of COLUMNS."""
COLUMNS = tuple((group, metric) for group, metrics in GROUPS.items() for metric in metrics)
POOLED = COLUMNS.index(("mask", "iou_pooled"))
LEAST_SHARE = 0.01
RESAMPLES = 500
LEAST_SCENES = 3
"""From this many captured scenes on, the mean's interval resamples scenes."""


@dataclass(frozen=True, slots=True)
class FrameSums:
    """What one frame contributes; sums of zero where nothing was answered, or nothing is known.

    aligned: depth brought to the truth's scale. metric: as it is. foreground: inside the true mask, metric if the model
    is, else aligned. edges: of the aligned depth, along the true mask.
    """

    mask: MaskCounts = field(default_factory=MaskCounts)
    aligned: DepthSums = field(default_factory=DepthSums)
    metric: DepthSums = field(default_factory=DepthSums)
    foreground: DepthSums = field(default_factory=DepthSums)
    edges: EdgeCounts = field(default_factory=EdgeCounts)


def cell_part(
    frames: Sequence[FrameSums], plates: Int64[np.ndarray, " n"], cutouts: Int64[np.ndarray, " n"], seed: int
) -> Part:
    """The part of composed scenes. plates, cutouts: the number of each scene's pictures; -1 = no cutout (empty)."""
    rng = np.random.default_rng([seed, 1])
    rows, once = _scores(frames), np.ones((1, len(frames)))
    weights = _times_drawn(rng, plates) * _times_drawn(rng, cutouts)
    return _part(
        frames, _with_pooled(frames, once, _mean(rows, once)), _with_pooled(frames, weights, _mean(rows, weights))
    )


def scene_part(frames: Sequence[FrameSums], seed: int) -> Part:
    """The part of one captured scene."""
    once, draws = np.ones((1, len(frames))), _draws(seed, 2, len(frames))
    return _part(
        frames,
        _with_pooled(frames, once, _scores(frames, once)),
        _with_pooled(frames, draws, _scores(frames, draws)),
    )


def mean_part(scenes: Sequence[Sequence[FrameSums]], seed: int) -> Part:
    """The part over captured scenes, each counting the same (in `iou_pooled`: each frame)."""
    rows, once = (
        np.concatenate([_scores(frames, np.ones((1, len(frames)))) for frames in scenes]),
        np.ones((1, len(scenes))),
    )
    if len(scenes) >= LEAST_SCENES:
        draws = _draws(seed, 3, len(scenes))
        weights = np.repeat(draws, [len(frames) for frames in scenes], axis=1)
        again = _mean(rows, draws)
    else:
        each = [_draws(seed, 4 + i, len(frames)) for i, frames in enumerate(scenes)]
        weights = np.concatenate(each, axis=1)
        scores = [_scores(frames, draws) for frames, draws in zip(scenes, each, strict=True)]
        again = np.stack([_mean(np.stack(few), once)[0] for few in zip(*scores, strict=True)])
    frames = [frame for scene in scenes for frame in scene]
    mean = _with_pooled(frames, np.ones((1, len(frames))), _mean(rows, once))
    return _part(frames, mean, _with_pooled(frames, weights, again))


def _scores(frames: Sequence[FrameSums], weights: Float64[np.ndarray, "r n"] | None = None) -> Rows:
    """Scores of the pooled sums, once for each row of weights over the frames; without weights, each frame's own.

    The column of `iou_pooled` is NaN (see `_with_pooled`): it is no score of a scene.
    """
    mask = mask_scores(weighted([frame.mask for frame in frames], weights))
    edges = edge_scores(weighted([frame.edges for frame in frames], weights))
    groups = {"mask": mask | {"iou_pooled": np.full(len(mask["iou"]), np.nan)}, "edges": edges}
    for group in DEPTH_GROUPS:
        groups[group] = depth_scores(weighted([getattr(frame, group) for frame in frames], weights))
    return np.stack([groups[group][metric] for group, metric in COLUMNS], axis=1)


def _with_pooled(frames: Sequence[FrameSums], weights: Float64[np.ndarray, "r n"], rows: Rows) -> Rows:
    """The rows with `iou_pooled` of the frames taken as often as each row of weights says."""
    counts = [frame.mask for frame in frames]
    large = np.array([one.hits + one.missed > LEAST_SHARE * one.judged for one in counts], np.float64)
    rows = rows.copy()
    rows[:, POOLED] = mask_scores(weighted(counts, weights * large))["iou"]
    return rows


def _mean(rows: Float64[np.ndarray, "n 35"], weights: Float64[np.ndarray, "r n"]) -> Rows:
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


def _part(frames: Sequence[FrameSums], mean: Float64[np.ndarray, "1 35"], again: Rows) -> Part:
    scores = dict(zip(COLUMNS, mean[0], strict=True))

    def group(name: str) -> dict[str, float | None]:
        values = {metric: float(scores[name, metric]) for metric in GROUPS[name]}
        return {metric: value if np.isfinite(value) else None for metric, value in values.items()}

    masks = any(frame.mask.judged for frame in frames)
    depths = {name: any(getattr(frame, name).known for frame in frames) for name in DEPTH_GROUPS}
    depth = {name: group(name) if depths[name] or name != "metric" else None for name in DEPTH_GROUPS}
    return {
        "mask": group("mask") if masks else None,
        "depth": depth | {"edges": group("edges")} if depths["aligned"] else None,
        "intervals": _intervals(mean[0], again) if len(frames) > 1 else {},
    }


def _intervals(means: Float64[np.ndarray, " 35"], again: Rows) -> dict[str, list[float]]:
    intervals = {}
    for (group, metric), mean, values in zip(COLUMNS, means, again.T, strict=True):
        values = values[np.isfinite(values)]
        if np.isfinite(mean) and len(values):
            name = metric if group in ("mask", "aligned") else f"{group}.{metric}"
            intervals[name] = [float(end) for end in np.percentile(values, (2.5, 97.5))]
    return intervals
