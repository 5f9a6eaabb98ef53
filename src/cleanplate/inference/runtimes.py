"""Runtimes: who calculates a network's answer. torch from a checkpoint, ONNX Runtime or OpenVINO from exported graphs.

Contract: a runtime is shown pictures that are already of the working size, uint8 [h, w, 3], and does all the rest
(scaling to 0..1, greyscale, padding, activation), so that every runtime answers the same:

    known  = runtime.plate(plate, plate_depth)   once per plate and size; what is known is the runtime's own
    answer = runtime.answer(known, frame)

Each runtime is a module of its own (torch_runtime, onnx_runtime, openvino_runtime), imported only when it is used.
This module needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from cleanplate.network.fingerprints import unpack
from cleanplate.types import Alpha, Depth, InputError, Pixels

GRAPHS = ("plate.onnx", "frame.onnx")
"""The two graphs of a video: what is remembered of the plate, once; then every frame's answer."""

FEATURES = ("f1", "d2", "m4", "m8", "m16", "k8", "k1")
"""What the plate's graph gives and the frame's takes: the fields of `network.platenet.Plate`."""

PARTS = ("d2", "m4", "m8", "m16")
"""Those that a frame's convolutions are added to; the others are the plate itself and its depth."""

ANSWERS = ("alpha", "depth", "behind", "front")
"""What the graphs answer; those of a mask-only model the first alone."""

HEADER = "cleanplate"
"""The key of a graph's metadata that holds its header, as JSON."""

FORMAT = 2
"""Of graphs and their header; raised when those of an older release can no longer be read."""

RuntimeName = Literal["auto", "onnx", "openvino", "torch"]

EDGE = 4.0
"""How much steeper than alpha the step from one layer of depth to the other is, as in `cleanplate.network.output`."""

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Answer:
    """A network's answer to one pair, all maps of one size.

    alpha: 0..1. behind, front: ln z of the plate's layer and of what stands in front of it, z in metres where the
    training depth was metric; one and the same map from a network that does not tell layers apart, None from a
    mask-only model.
    """

    alpha: Alpha
    behind: Map | None = None
    front: Map | None = None


@runtime_checkable
class Runtime(Protocol):
    """What a predictor needs of a network. One call at a time: a runtime is not shared between threads."""

    name: str

    def plate(self, plate: Pixels, plate_depth: Depth | None) -> Any:
        """What `answer` needs of a plate at the working size. plate_depth: metres [h, w], 0 = unknown."""
        ...

    def answer(self, known: Any, frame: Pixels) -> Answer:
        """The answer to a frame of the plate's size."""
        ...


def layered(alpha: Alpha, behind: Map, front: Map) -> Map:
    """ln z: the layer behind, or where alpha says so the one in front; all of one size.

    The share of the front layer is sigmoid(EDGE logit(alpha)) = a^EDGE / (a^EDGE + (1 - a)^EDGE).
    """
    a, b = np.float32(alpha) ** 2, np.float32(1 - alpha) ** 2
    a, b = a * a, b * b
    return behind + a / (a + b) * (front - behind)


def metres(plate: Pixels, plate_depth: Depth | None) -> Float32[np.ndarray, "1 h w"]:
    """A plate's depth as graphs take it: 0 where nothing is known."""
    return np.zeros((1, *plate.shape[:2]), np.float32) if plate_depth is None else plate_depth[None]


def answered(found: Mapping[str, np.ndarray]) -> Answer:
    """A graph's outputs for one frame, [1, h, w] each, as an Answer; its own `depth` is made of the layers."""
    layers = (found[name][0] for name in ("behind", "front") if name in found)
    return Answer(found["alpha"][0], *layers)


def files_of(path: Path) -> dict[str, Path]:
    """The graphs that a path means, by their part: a whole graph's file, or a folder's plate and frame."""
    if path.is_dir():
        return dict(zip(("plate", "frame"), (path / name for name in GRAPHS), strict=True))
    return {"whole": path}


def agree(headers: Mapping[Path, dict[str, Any]], parts: Sequence[str]) -> dict[str, Any]:
    """The header of graphs that belong together. Raises InputError for another format, part or network."""
    for (path, header), part in zip(headers.items(), parts, strict=True):
        if header.get("format") != FORMAT:
            raise InputError(
                f"{path} has graph format {header.get('format')!r}, this release of cleanplate reads {FORMAT}; "
                f"it was written by version {header.get('version', 'unknown')}: install that one, or export again"
            )
        if header["part"] != part:
            raise InputError(
                f"{path} is the {header['part']} graph, expected the {part} graph: give the folder that holds "
                f"{' and '.join(GRAPHS)}, or a model.onnx, as `cleanplate export` wrote them"
            )
    if len({header["weights"] for header in headers.values()}) > 1:
        raise InputError(f"{' and '.join(map(str, headers))} come from two different networks: export both together")
    first = next(iter(headers.values()))
    return {**first, "pictures": unpack(first.get("pictures", {}))}
