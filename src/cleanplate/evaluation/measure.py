"""Measure: what the model and the baselines answer to pairs, composed or captured, and the sums this comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cleanplate.evaluation.baselines import (
    THRESHOLD,
    Histograms,
    MeanDepth,
    contact_depth,
    difference,
    threshold_mask,
)
from cleanplate.evaluation.parts import FrameSums
from cleanplate.measures.edges import EdgeCounts, edge_counts
from cleanplate.measures.metrics import DepthSums, MaskCounts, aligned, depth_sums, mask_counts
from cleanplate.pictures.pairs import PairPixels
from cleanplate.types import MASK_THRESHOLD, Alpha, Depth, DepthKind, Pixels, Prediction

Sums = dict[str, list[FrameSums]]
"""By the method's name ("model" or a baseline's): one entry per frame."""
Tick = Callable[[], None]


@runtime_checkable
class Model(Protocol):
    """What is evaluated: a `Predictor`, or anything that answers like one."""

    @property
    def meta(self) -> Mapping[str, Any]: ...
    @property
    def depth_kind(self) -> str: ...
    def predict(self, plate: Pixels, frame: Pixels, plate_depth: Depth | None = None) -> Prediction: ...


@runtime_checkable
class Samples(Protocol):
    """Pairs that are read or composed when asked for, the same at every reading."""

    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> PairPixels: ...


@dataclass(frozen=True)
class Methods:
    """Who answers.

    beside: other models, by name, that answer the same. plate_depth: give models the plate's depth where known.
    baselines: let them answer too. mean_depth: the training plates' mean, if they have depth. metric: the truth's depth
    is in metres.
    """

    model: Model
    plate_depth: bool = False
    baselines: bool = True
    mean_depth: MeanDepth | None = None
    metric: bool = True
    beside: Mapping[str, Model] = field(default_factory=dict)

    @property
    def kind(self) -> DepthKind:
        """Up to what depth can be judged."""
        if self.model.depth_kind == "disparity":
            return "disparity"
        return "metric" if self.metric and self.model.depth_kind != "relative" else "relative"

    def answers(self, given: PairPixels) -> Iterator[tuple[str, Alpha | None, Depth | None]]:
        """Each method's name, alpha and depth for one pair; None = no answer. `difference_best` comes later."""
        prior = given.plate_depth if self.plate_depth else None
        prediction = self.model.predict(given.plate, given.frame, plate_depth=prior)
        yield "model", prediction.alpha, prediction.depth
        for name, model in self.beside.items():
            other = model.predict(given.plate, given.frame, plate_depth=prior)
            # Depth of another kind cannot be judged by the same rule.
            yield name, other.alpha, other.depth if model.depth_kind == self.model.depth_kind else None
        if not self.baselines:
            return
        yield "difference", threshold_mask(difference(given.plate, given.frame), THRESHOLD), None
        if given.plate_depth is not None:
            yield "plate_depth", None, given.plate_depth
            yield "plate_depth_contact", None, contact_depth(prediction.mask, given.plate_depth)
        if self.mean_depth is not None:
            yield "mean_depth", None, self.mean_depth(*given.frame.shape[:2])


def measure(samples: Samples, scenes: Sequence[str], methods: Methods, tick: Tick) -> Sums:
    """What each method's answers come to, frame by frame. scenes: the scene of each sample, for the best threshold."""
    sums: Sums = {"model": []}
    histograms = Histograms()
    for i in range(len(samples)):
        given = samples[i]
        for name, alpha, depth in methods.answers(given):
            frames = sums.setdefault(name, [FrameSums() for _ in range(i)])
            frames.append(frame_sums(given, alpha, depth, methods))
        if methods.baselines and given.alpha is not None:
            judged = np.ones(given.alpha.shape, bool) if given.judged is None else given.judged
            histograms.add(scenes[i], difference(given.plate, given.frame), given.alpha >= MASK_THRESHOLD, judged)
        for frames in sums.values():  # whoever had no answer for this frame
            frames.extend(FrameSums() for _ in range(i + 1 - len(frames)))
        tick()
    if methods.baselines:
        best = histograms.best()
        sums["difference_best"] = [
            frame_sums(given, threshold_mask(difference(given.plate, given.frame), best), None, methods)
            for given in map(samples.__getitem__, range(len(samples)))
        ]
    return {name: frames for name, frames in sums.items() if name == "model" or any(f != FrameSums() for f in frames)}


def frame_sums(given: PairPixels, alpha: Alpha | None, depth: Depth | None, methods: Methods) -> FrameSums:
    """The sums of one answer against what is known of the frame."""
    mask = MaskCounts() if alpha is None or given.alpha is None else mask_counts(alpha, given.alpha, given.judged)
    if depth is None or given.depth is None:
        return FrameSums(mask)
    scaled = aligned(depth, given.depth, methods.kind)
    relative = methods.kind != "metric"
    metric = DepthSums() if relative else depth_sums(depth, given.depth)
    inside, edges = DepthSums(), EdgeCounts()
    if given.alpha is not None and (given.alpha >= MASK_THRESHOLD).any():
        inside = depth_sums(scaled if relative else depth, given.depth, given.alpha >= MASK_THRESHOLD)
        edges = edge_counts(scaled, given.depth, given.alpha, given.judged)
    return FrameSums(mask, depth_sums(scaled, given.depth), metric, inside, edges)
