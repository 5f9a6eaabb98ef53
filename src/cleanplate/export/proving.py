"""Proving: how far exported graphs are from the network that they were made of, on real pairs.

Contract: `largest_differences` runs the torch network itself, with its own padding, and the graphs on the same
pictures: pairs in their own size, with an odd number of rows and columns, cut small, larger than the working side; one
at a time and two at once; with and without the plate's depth. It tells the largest difference of alpha, of ln depth
(so 1e-4 is a ten-thousandth of the distance), and of both answers between the whole graph and its two halves.

`mask_loss` tells how much intersection over union a graph of smaller numbers loses, over pairs with a true mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from cleanplate.export.graphs import Enlarge, Smaller, answers
from cleanplate.inference.onnx_runtime import Graph, OnnxRuntime
from cleanplate.inference.predictor import Predictor
from cleanplate.inference.torch_runtime import greyed
from cleanplate.pictures.pairs import PairPixels
from cleanplate.types import MASK_THRESHOLD

SMALL, TIMES = 60, 3
"""Cut pictures have so many rows; larger ones so many times the pair's rows and columns."""


@dataclass(frozen=True)
class Case:
    """Some pictures of one size. plate, frame: uint8 [n, h, w, 3]; plate_depth: metres [n, h, w], or None."""

    plate: np.ndarray
    frame: np.ndarray
    plate_depth: np.ndarray | None


def largest_differences(
    files: Mapping[str, ModelProto], network: nn.Module, pairs: Sequence[PairPixels], side: int, *, greyscale: bool
) -> dict[str, float]:
    """alpha, ln_depth (of models that know it), halves (where there are two): the largest difference of each.

    files: model.onnx and, where the network has halves, plate.onnx and frame.onnx. network: in evaluation mode.
    """
    graphs = {name: opened(file) for name, file in files.items()}
    found: dict[str, float] = {}

    def keep(name: str, one: np.ndarray, other: np.ndarray) -> None:
        found[name] = max(found.get(name, 0.0), float(np.abs(one - other).max()))

    for case in cases(pairs):
        whole = run(graphs["model.onnx"], plate=case.plate, frame=case.frame, plate_depth=_depth(case))
        truth = _truth(network, case, side, greyscale, "depth" in whole)
        keep("alpha", whole["alpha"], truth[0])
        if "depth" in whole:
            keep("ln_depth", np.log(whole["depth"]), np.log(truth[1]))
        if "plate.onnx" in graphs and max(case.frame.shape[1:3]) <= side:
            for i in range(len(case.frame)):
                one = slice(i, i + 1)
                known = run(graphs["plate.onnx"], plate=case.plate[one], plate_depth=_depth(case)[one])
                half = run(graphs["frame.onnx"], frame=case.frame[one], **known)
                keep("halves", half["alpha"], whole["alpha"][one])
                if "depth" in half:
                    keep("halves", np.log(half["depth"]), np.log(whole["depth"][one]))
    return found


def cases(pairs: Sequence[PairPixels]) -> Iterator[Case]:
    """What the pairs are made to."""
    for number, pair in enumerate(pairs):
        height, width = pair.frame.shape[:2]
        cut = height - 1 - height % 2, width - 1 - width % 2
        sizes = [(height, width), cut] if number else [(height, width), cut, (min(height, SMALL), min(width, SMALL))]
        for rows, columns in sizes:
            near = (slice(0, max(1, rows)), slice(0, max(1, columns)))
            plate, frame = pair.plate[near], pair.frame[near]
            depth = None if pair.plate_depth is None else pair.plate_depth[near]
            yield Case(plate[None], frame[None], None)
            if depth is not None:
                yield Case(plate[None], frame[None], depth[None])
        both = np.stack((pair.plate, pair.plate[:, ::-1])), np.stack((pair.frame, pair.frame[::-1, ::-1]))
        yield Case(*both, None)
        if number == 0:
            yield Case(
                *(one.repeat(TIMES, axis=0).repeat(TIMES, axis=1)[None] for one in (pair.plate, pair.frame)), None
            )


def feeds(cores: Mapping[str, ModelProto], pairs: Sequence[PairPixels]) -> dict[str, list[dict[str, np.ndarray]]]:
    """What real pairs give to each of the cores, half of them with the plate's depth; see joining.py."""
    graphs = {name: opened(core) for name, core in cores.items()}
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in cores}
    for number, pair in enumerate(pairs):
        plate, frame = (one[None].astype(np.float32) for one in (pair.plate, pair.frame))
        told = pair.plate_depth is not None and number % 2 == 0
        depth = pair.plate_depth[None] if told and pair.plate_depth is not None else np.zeros(frame.shape[:3], "f4")
        if "pair" in cores:
            found["pair"].append({"plate": plate, "frame": frame, "plate_depth": depth})
            continue
        found["plate"].append({"plate": plate, "plate_depth": depth})
        found["frame"].append({"frame": frame, **run(graphs["plate"], plate=plate, plate_depth=depth)})
    return found


def mask_loss(before: Predictor, after: Predictor, pairs: Sequence[PairPixels]) -> tuple[float, float]:
    """Mean IoU of both predictors' masks over the pairs that show something; without any truth, `before` is it."""
    scores = []
    for pair in pairs:
        one, other = (model.predict(pair.plate, pair.frame).mask for model in (before, after))
        truth = one if pair.alpha is None else pair.alpha >= MASK_THRESHOLD
        judged = np.ones_like(truth) if pair.judged is None else pair.judged
        if (truth & judged).any():
            scores.append([_iou(mask, truth, judged) for mask in (one, other)])
    first, second = np.mean(scores, axis=0) if scores else (1.0, 1.0)
    return float(first), float(second)


def opened(file: ModelProto) -> Graph:
    """A graph as users run it, on one thread."""
    return Graph(file.SerializeToString(), 1)


def run(graph: Graph, **given: np.ndarray) -> dict[str, np.ndarray]:
    """A graph's outputs by name. Pictures are uint8; a graph of floats gets them in 0..1."""
    taken = {name: np.ascontiguousarray(given[name]) for name in graph.inputs}
    return graph.run(
        {
            name: value / np.float32(255) if value.dtype == np.uint8 and graph.floats else value
            for name, value in taken.items()
        }
    )


def predictor(files: Mapping[str, ModelProto], meta: dict[str, Any], side: int) -> Predictor:
    """A predictor over these graphs, which need not be on disk."""
    halves = {"plate": "plate.onnx", "frame": "frame.onnx"}
    parts = halves if "plate.onnx" in files else {"whole": "model.onnx"}
    runtime = OnnxRuntime({part: opened(files[name]) for part, name in parts.items()})
    return Predictor(runtime, meta, working_side=side, care=False)


def _depth(case: Case) -> np.ndarray:
    return np.zeros(case.frame.shape[:3], np.float32) if case.plate_depth is None else case.plate_depth


def _truth(network: nn.Module, case: Case, side: int, greyscale: bool, depth: bool) -> list[np.ndarray]:
    """alpha (and depth) by torch, at the size of the case."""
    plate, frame = (torch.from_numpy(np.ascontiguousarray(one)).float() / 255 for one in (case.plate, case.frame))
    metres = torch.from_numpy(_depth(case).copy())
    large = max(frame.shape[1:3]) > side
    with torch.inference_mode():
        small = Smaller(side)(plate, frame, metres) if large else (plate, frame, metres)
        pictures = [one.permute(0, 3, 1, 2) for one in small[:2]]
        prior = None if case.plate_depth is None else small[2][:, None]
        output = network(*(greyed(one) if greyscale else one for one in pictures), prior)
        found: Sequence[Tensor] = answers(output, depth=depth)
        if large:
            found = Enlarge()(frame, found[0], *found[2:])
    return [one.numpy() for one in found[:2]]


def _iou(mask: np.ndarray, truth: np.ndarray, judged: np.ndarray) -> float:
    union = (mask | truth) & judged
    return float((mask & truth & judged).sum() / union.sum()) if union.any() else 1.0
