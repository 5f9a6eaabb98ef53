"""Stress: how the masks fare when plate and frame fit each other less and less, one damage at a time.

    {DAMAGE: {"levels": [...], "methods": {NAME: {"f1": [...], "iou": [...], "false_alarm": [...]}}}}

Contract: `damaged` is a pure function of (pair, damage, level, seed); the truth stays the frame's. Lengths are pixels
of the pictures as they are. Scores are those of an evaluation: frames pool within a scene, scenes count the same; null
without meaning. Damages, each of otherwise untouched pairs:

- shift: the plate moved by whole pixels along one of four directions, drawn per scene; its border is repeated;
- gain: the frame's values times this, clipped as a sensor clips;
- noise: normal noise of this deviation (of 255) on every value of the frame;
- jpeg: the frame compressed at this quality;
- blur: the frame under a Gaussian of this deviation;
- size: nothing is damaged; frames by the share of the picture that their foreground covers ("frames" counts them).

`difference_best` has the best threshold of each level, so it knows the damage; no fixed threshold can do better there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int64

from cleanplate.evaluation.baselines import (
    LEAST_FRAMES,
    THRESHOLD,
    Histograms,
    difference,
    subtractor_masks,
)
from cleanplate.evaluation.measure import Model, Samples, Tick
from cleanplate.measures.metrics import MaskCounts, mask_counts, mask_scores, weighted
from cleanplate.pictures.pairs import PairPixels
from cleanplate.types import MASK_THRESHOLD, Alpha, Pixels

LEVELS: dict[str, tuple[float, ...]] = {
    "shift": (0.0, 1.0, 2.0, 4.0, 6.0, 8.0),
    "gain": (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0),
    "noise": (0.0, 5.0, 10.0, 15.0, 20.0, 30.0),
    "jpeg": (95.0, 80.0, 60.0, 40.0, 25.0, 15.0, 10.0),
    "blur": (0.0, 0.5, 1.0, 2.0, 3.0, 4.0),
}
NOTHING = {"shift": 0.0, "gain": 1.0, "noise": 0.0, "blur": 0.0}
"""The level that does nothing: it is measured once for all damages."""
AREAS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
"""Ends of the ranges of size, shares of the judged picture; a frame belongs to the range whose upper end it reaches."""
METRICS = ("f1", "iou", "false_alarm")
STEPS = (
    ("", 0.0),
    *((name, level) for name, levels in LEVELS.items() for level in levels if level != NOTHING.get(name)),
)
"""Every damage and level that a pair is looked at under; none comes first."""

Counts = dict[str, list[MaskCounts]]
"""By the method's name: one entry per frame."""
Curves = dict[str, dict[str, Any]]


def measure_stress(
    samples: Samples, scenes: Sequence[str], models: Mapping[str, Model], seed: int, tick: Tick
) -> Curves:
    """The curves of these models, the thresholds and, where every scene is a sequence, the subtractors.

    scenes: the scene of each sample, a scene's samples being neighbours. tick: called once for each sample.
    """
    numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    looks: dict[tuple[str, float], Counts] = {step: {name: [] for name in models} for step in STEPS}
    thresholds = {step: _Thresholds() for step in STEPS}
    for i in range(len(samples)):
        given = samples[i]  # read, or composed, once for all steps
        for step in STEPS:
            pair = damaged(given, *step, seed, numbers[scenes[i]], i)
            for name, model in models.items():
                looks[step][name].append(_counts(model.predict(pair.plate, pair.frame).alpha, pair))
            thresholds[step].add(scenes[i], pair)
        tick()
    sequences = min(map(scenes.count, numbers)) >= LEAST_FRAMES
    for step, look in looks.items():
        look |= thresholds[step].counts()
        if sequences:
            look |= _subtractors(samples, scenes, step, seed)
    untouched = looks[STEPS[0]]
    everyone = range(len(samples))
    curves: Curves = {}
    for damage, levels in LEVELS.items():
        found = [looks.get((damage, level), untouched) for level in levels]
        curves[damage] = {"levels": list(levels), "methods": _curves(found, [everyone] * len(levels), scenes)}
    return curves | {"size": _sizes(untouched, scenes)}


def damaged(pair: PairPixels, damage: str, level: float, seed: int, scene: int = 0, frame: int = 0) -> PairPixels:
    """The pair with one damage of this level, or none (""). scene, frame: numbers that draw directions and noise."""
    if not damage:
        return pair
    if damage == "shift":
        direction = int(np.random.default_rng([seed, scene]).integers(4))
        return replace(pair, plate=_shifted(pair.plate, round(level), direction))
    pixels = pair.frame
    if damage == "gain":
        pixels = _bytes(pixels * np.float32(level))
    elif damage == "noise":
        noise = np.random.default_rng([seed, scene, frame]).standard_normal(pixels.shape, np.float32)
        pixels = _bytes(pixels + np.float32(level) * noise)
    elif damage == "jpeg":
        _, data = cv2.imencode(
            ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, round(level)]
        )
        pixels = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    elif level > 0:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), level))
    return replace(pair, frame=pixels)


def _bytes(values: np.ndarray) -> Pixels:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _shifted(plate: Pixels, by: int, direction: int) -> Pixels:
    """Moved right, down, left or up."""
    y, x = ((0, by), (by, 0), (0, -by), (-by, 0))[direction]
    rows, columns = (np.arange(side) for side in plate.shape[:2])
    rows, columns = (np.clip(at - off, 0, len(at) - 1) for at, off in ((rows, y), (columns, x)))
    return np.ascontiguousarray(plate[rows][:, columns])


class _Thresholds:
    """What the difference's thresholds score under one damage."""

    def __init__(self) -> None:
        self._histograms = Histograms()
        self._frames: list[Int64[np.ndarray, "2 256"]] = []

    def add(self, scene: str, pair: PairPixels) -> None:
        """Count one frame."""
        if pair.alpha is None:
            self._frames.append(np.zeros((2, 256), np.int64))
            return
        judged = np.ones(pair.alpha.shape, bool) if pair.judged is None else pair.judged
        apart, truth = difference(pair.plate, pair.frame), pair.alpha >= MASK_THRESHOLD
        self._frames.append(self._histograms.add(scene, apart, truth, judged))

    def counts(self) -> Counts:
        """Of the fixed and of the best threshold, frame by frame; without boundaries and errors of alpha."""
        thresholds = {"difference": THRESHOLD, "difference_best": self._histograms.best()}
        return {name: [self._at(frame, threshold) for frame in self._frames] for name, threshold in thresholds.items()}

    @staticmethod
    def _at(frame: Int64[np.ndarray, "2 256"], threshold: int) -> MaskCounts:
        hits, false = (float(number) for number in frame[:, threshold:].sum(axis=1))
        true, judged = float(frame[0].sum()), float(frame.sum())
        empty = true == 0
        return MaskCounts(
            hits,
            false,
            true - hits,
            judged,
            empty_false=false if empty else 0.0,
            empty_judged=judged if empty else 0.0,
        )


def _subtractors(samples: Samples, scenes: Sequence[str], step: tuple[str, float], seed: int) -> Counts:
    """The counts of each subtractor, which sees every scene from its beginning."""
    counts: Counts = {"mog2": [], "knn": []}
    for number, scene in enumerate(dict.fromkeys(scenes)):
        members = [i for i, other in enumerate(scenes) if other == scene]
        pairs = [damaged(samples[i], *step, seed, number, i) for i in members]
        for name, found in counts.items():
            masks = subtractor_masks(name, pairs[0].plate, (pair.frame for pair in pairs))  # ty: ignore[invalid-argument-type]
            found += [_counts(mask, pair) for mask, pair in zip(masks, pairs, strict=True)]
    return counts


def _counts(alpha: Alpha, given: PairPixels) -> MaskCounts:
    return MaskCounts() if given.alpha is None else mask_counts(alpha, given.alpha, given.judged)


def _sizes(looked: Counts, scenes: Sequence[str]) -> dict[str, Any]:
    """Scores by the share of the picture that the foreground covers; ranges without a frame are left out."""
    shares = [(one.hits + one.missed) / max(one.judged, 1) for one in next(iter(looked.values()))]
    ranges = {
        f"{100 * low:g} to {100 * high:g} %": [i for i, share in enumerate(shares) if low < share <= high]
        for low, high in pairwise(AREAS)
    }
    ranges = {name: frames for name, frames in ranges.items() if frames}
    return {
        "levels": list(ranges),
        "frames": [len(frames) for frames in ranges.values()],
        "methods": _curves([looked] * len(ranges), list(ranges.values()), scenes),
    }


def _curves(
    looks: Sequence[Counts], frames: Sequence[Sequence[int]], scenes: Sequence[str]
) -> dict[str, dict[str, list[float | None]]]:
    """Each method's scores, level by level, of the frames given for each level."""
    curves: dict[str, dict[str, list[float | None]]] = {}
    for look, chosen in zip(looks, frames, strict=True):
        for name, counts in look.items():
            scores = _scores([counts[i] for i in chosen], [scenes[i] for i in chosen])
            curve = curves.setdefault(name, {metric: [] for metric in METRICS})
            for metric in METRICS:
                curve[metric].append(scores[metric])
    return curves


def _scores(counts: Sequence[MaskCounts], scenes: Sequence[str]) -> dict[str, float | None]:
    """METRICS: the mean over the scenes of those that have a value."""
    members = np.array([[scene == other for other in scenes] for scene in dict.fromkeys(scenes)], np.float64)
    scores = mask_scores(weighted(counts, members))
    known = {metric: scores[metric][np.isfinite(scores[metric])] for metric in METRICS}
    return {metric: float(values.mean()) if len(values) else None for metric, values in known.items()}
