"""A predictor: a trained network that takes pictures of any kind and size, and answers at the frame's own size.

Contract: `predict(plate, frame)` gives alpha 0..1 and depth (metres where the training depth was metric) at exactly
the frame's size. It has two halves, which may run in different threads (a finish beside the next look):

    look    the network's answer at the working size: the frame's own, up to `working_side` pixels on the longer side;
            larger pictures are box-averaged down to that (aspect kept)
    finish  the answer at the frame's size: alpha follows the frame's own edges (inference/upsample.py), both layers
            of ln z are enlarged and joined by that alpha, so that depth jumps where the mask does

A plate's depth is picked, not averaged, on the way down: between near and far lies a distance at which nothing stands.
Pictures with many more pixels than the training scenes had are looked at a second time, smaller, for their depth (see
`_depth_size`). Everything is numpy and OpenCV around a runtime (inference/runtimes.py); torch is one of them.

With `care`, which is the default, a frame whose camera has moved a little, or whose exposure differs, is brought to the
plate first (`cleanplate.care`), and the answer is brought back to the frame's own pixels.

A network that can look at a plate alone (ours) does so once; the next frames of the same plate cost three quarters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from cleanplate.care.correct import Care, Correction
from cleanplate.inference.opening import open_model
from cleanplate.inference.runtimes import Answer, Runtime, RuntimeName, layered
from cleanplate.inference.sources import DepthSource, Source, metres, pair, picked, read_plate_depth, stretched
from cleanplate.inference.upsample import enlarge_alpha, enlarge_smooth
from cleanplate.types import Depth, InputError, Pixels, Prediction

__all__ = ["DepthSource", "Look", "Predictor", "Source", "load", "read_plate_depth"]

SIZES_KEPT = 4
"""What is known of a plate is kept for so many sizes of frames."""

Upsample = Literal["guided", "bilinear"]
"""How alpha gets from the working size to the frame's."""

WORKING_SIDE = 320
"""Longest side, in pixels, at which the network looks at a picture unless told otherwise."""

MANY = 1.6
"""Working sizes with this many times the pixels of the largest training scenes are too large to judge depth by."""


@dataclass(frozen=True)
class Look:
    """What the network says of a frame, and what is needed to say it at the frame's own size.

    answer: at the working size, on the plate's pixels.
    frame: uint8 [h, w, 3], full size, as the network was shown it: brought to the plate where care did that.
    plate: uint8 at the working size; helps to enlarge alpha.
    correction: how it was brought there; None or the identity = as it came.
    """

    answer: Answer
    frame: Pixels
    plate: UInt8[np.ndarray, "small_h small_w 3"] | None = None
    correction: Correction | None = None


@dataclass
class _Stretched:
    """A plate at one size of frames, its care, and by working size its depth and what the runtime remembers of both."""

    plate: Pixels
    care: Care | None = None
    remembered: dict[tuple[int, int], tuple[Depth | None, Any]] = field(default_factory=dict)
    smaller: dict[tuple[int, int], Pixels] = field(default_factory=dict)

    def at(self, working: tuple[int, int]) -> Pixels:
        """The plate at a working size."""
        if working not in self.smaller:
            self.smaller[working] = stretched(self.plate, working)
        return self.smaller[working]


@dataclass(frozen=True)
class Seen:
    """The plate of the last prediction (a copy of its pixels), and what is known of it by the frame's size."""

    plate: Pixels
    sizes: dict[tuple[int, int], _Stretched] = field(default_factory=dict)


class Predictor:
    """A runtime with what its model's header says about it.

    meta: the header; `depth` is "metric", "relative", "disparity" or "none".
    working_side: longest side at which the network looks, pixels.
    care: bring each frame to its plate before the network looks, where that is sure to help.
    upsample: guided: alpha's edges follow the full-size frame's (inference/upsample.py); bilinear: they are blurred.
    """

    def __init__(
        self,
        runtime: Runtime,
        meta: dict[str, Any],
        *,
        working_side: int = WORKING_SIDE,
        care: bool = True,
        upsample: Upsample = "guided",
    ) -> None:
        if working_side < 1:
            raise InputError(f"working_side is {working_side}: give at least 1 pixel, {WORKING_SIDE} for instance")
        self.runtime = runtime
        self.meta = meta
        self.working_side = working_side
        self.care = care
        self.upsample: Upsample = upsample
        self.seen: Seen | None = None

    @property
    def depth_kind(self) -> str:
        """metric: metres; relative: right up to one unknown scale per picture; none: the model predicts no depth.

        disparity: relative, too; what the model learned from is 1/depth up to scale and shift.
        """
        return self.meta["depth"]

    def predict(
        self,
        plate: Source,
        frame: Source,
        plate_depth: DepthSource | None = None,
        fit: bool = False,
        correction: Correction | None = None,
    ) -> Prediction:
        """What stands in front of the plate in this frame, and how far away everything is.

        plate, frame: pictures of one size, or of any sizes with `fit`, which stretches the plate to the frame.
        plate_depth: the plate's depth in metres [h, w], 0 = unknown, or a file of it (see `read_plate_depth`).
        correction: how the frame is brought to the plate (see `correct`); without one, `care` decides.
        Raises InputError for a picture that cannot be read or used, and for sizes that differ without `fit`.
        """
        return self.finish(self.look(plate, frame, plate_depth, fit, correction))

    def look(
        self,
        plate: Source,
        frame: Source,
        plate_depth: DepthSource | None = None,
        fit: bool = False,
        correction: Correction | None = None,
    ) -> Look:
        """The first half of `predict`, at the working size. One at a time: what is learned of the plate is kept."""
        plate_pixels, frame_pixels = pair(plate, frame, fit)
        size = frame_pixels.shape[0], frame_pixels.shape[1]
        known = self._known(plate_pixels, size)
        depth = None if plate_depth is None else metres(plate_depth, self.depth_kind, plate_pixels.shape[:2], fit)
        if correction is None and self.care:
            correction = _care(known).correct(frame_pixels)
        if correction is not None and not correction.is_identity:
            frame_pixels = correction.frame(frame_pixels, known.plate)
        working = working_size(*size, self.working_side)
        answer = self._answer(known, frame_pixels, depth, working)
        scaled = self._depth_size(working)
        if scaled != working and answer.front is not None:
            answer = _joined(answer, self._answer(known, frame_pixels, depth, scaled), depth is not None)
        return Look(answer, frame_pixels, known.at(working), correction)

    def finish(self, look: Look, depth: bool = True) -> Prediction:
        """The second half of `predict`: the answer at the frame's size. Changes nothing: any thread may do it.

        depth: whether it is wanted; what is made of masks alone is made faster.
        """
        size = look.frame.shape[0], look.frame.shape[1]
        answer, back = look.answer, look.correction
        if self.upsample == "guided":
            alpha = enlarge_alpha(answer.alpha, look.frame, look.plate)
        else:
            alpha = enlarge_smooth(answer.alpha, size)
        log_depth = None
        if depth and answer.behind is not None and answer.front is not None:
            log_depth = layered(alpha, enlarge_smooth(answer.behind, size), enlarge_smooth(answer.front, size))
        if back is not None and not back.is_identity:
            alpha = back.back(alpha)
            log_depth = None if log_depth is None else back.back(log_depth)
        return Prediction(alpha, None if log_depth is None else np.exp(log_depth))

    def correct(self, plate: Source, frame: Source, fit: bool = False, before: Correction | None = None) -> Correction:
        """How this frame is brought to the plate, whatever `care` says; the identity where nothing is sure to help.

        before: the correction of the clip's last frame, which steadies this one (see `cleanplate.care.correct`).
        """
        plate_pixels, frame_pixels = pair(plate, frame, fit)
        size = frame_pixels.shape[0], frame_pixels.shape[1]
        return _care(self._known(plate_pixels, size)).correct(frame_pixels, before)

    def _known(self, plate: Pixels, size: tuple[int, int]) -> _Stretched:
        """What is kept of this plate for frames of this size; another plate takes its place."""
        # By content, not identity: an array that its owner changed in place is another plate.
        if self.seen is None or not np.array_equal(self.seen.plate, plate):
            self.seen = Seen(plate.copy())
        sizes = self.seen.sizes
        if size not in sizes:
            while len(sizes) >= SIZES_KEPT:
                sizes.pop(next(iter(sizes)))
            sizes[size] = _Stretched(stretched(self.seen.plate, size))
        return sizes[size]

    def _depth_size(self, working: tuple[int, int]) -> tuple[int, int]:
        """Where the network judges depth: as many pixels as its largest training scenes had, or the working size.

        Edges are found better the more pixels there are, but how far things are is read off their size, which the
        network knows at the scales it was trained on.
        """
        settings = self.meta.get("config", {}).get("settings", {})
        trained = max(settings.get("sizes") or (settings.get("size") or 0,))
        if not trained or working[0] * working[1] <= MANY * trained**2:
            return working
        scale = trained / math.sqrt(working[0] * working[1])
        return max(1, round(working[0] * scale)), max(1, round(working[1] * scale))

    def _answer(self, known: _Stretched, frame: Pixels, depth: np.ndarray | None, working: tuple[int, int]) -> Answer:
        """The network's answer at this size; what it remembers of the plate is kept, while its depth is the same."""
        prior = None if depth is None else picked(depth, working)
        kept = known.remembered.get(working)
        if kept is None or not _same(kept[0], prior):
            kept = known.remembered[working] = prior, self.runtime.plate(known.at(working), prior)
        return self.runtime.answer(kept[1], stretched(frame, working))


def load(
    path: str | PathLike[str],
    *,
    working_side: int | None = None,
    device: str | None = None,
    care: bool = True,
    runtime: RuntimeName = "auto",
    threads: int | None = None,
    upsample: Upsample = "guided",
) -> Predictor:
    """Open a model: a run's folder (its best checkpoint, else its last), one `.safetensors` file, or exported graphs.

    working_side, care, upsample: see `Predictor`; by default the side that the model was made for.
    device: torch's, such as cuda.
    runtime: auto takes ONNX Runtime for exported graphs and the released model, torch for checkpoints.
    threads: of the runtime; by default its own choice. Raises InputError when there is no such file or folder, when
    what is there is no model of this version, and when the runtime is not installed or does not fit the file.
    """
    opened, meta = open_model(Path(path), runtime, device, threads)
    side = working_side if working_side is not None else meta.get("working_side", WORKING_SIDE)
    return Predictor(opened, meta, working_side=side, care=care, upsample=upsample)


def of_network(
    network: Any,
    meta: dict[str, Any],
    device: str | None = None,
    *,
    working_side: int = WORKING_SIDE,
    care: bool = True,
) -> Predictor:
    """A torch network (see `TorchRuntime`) with the header that a checkpoint of it would have."""
    from cleanplate.inference.torch_runtime import TorchRuntime

    return Predictor(TorchRuntime(network, meta, device), meta, working_side=working_side, care=care)


def working_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """The size at which the network looks: the picture's own, or its longer side brought down to `longest`."""
    most = max(height, width, longest)
    # Rounded in whole numbers, as the exported graph does.
    return max(1, (2 * height * longest + most) // (2 * most)), max(1, (2 * width * longest + most) // (2 * most))


def _care(known: _Stretched) -> Care:
    if known.care is None:
        known.care = Care(known.plate)
    return known.care


def _same(one: Depth | None, other: Depth | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _joined(fine: Answer, coarse: Answer, given: bool) -> Answer:
    """How far things are from the coarse answer, where one ends from the fine one.

    given: the plate's depth was; then the fine answer already has it, sharply, wherever nothing stands in front.
    """
    size = fine.alpha.shape[0], fine.alpha.shape[1]
    front, behind = (None if one is None else enlarge_smooth(one, size) for one in (coarse.front, coarse.behind))
    return replace(fine, behind=fine.behind if given else behind, front=front)
