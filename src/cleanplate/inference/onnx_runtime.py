"""ONNX Runtime: exported graphs, without torch. One graph for pairs, or two that look at a plate once.

Contract: `OnnxRuntime.open` takes a whole graph (model.onnx) or the folder of plate.onnx and frame.onnx, and checks by
their header that they are ours and belong together. The header is JSON under the key `cleanplate` of a file's metadata:
what a checkpoint's header says and predicting needs, and how far the graph was found to be from its network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.inference.runtimes import HEADER, Answer, agree, answered, files_of, metres
from cleanplate.types import Depth, InputError, Pixels

KEPT = 4
"""Sizes of pictures for which a graph is kept open."""


class OnnxRuntime:
    """A whole graph alone, or a plate's and a frame's."""

    name = "onnx"

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        self._plate = graphs.get("plate")
        self._answering = graphs["whole" if self._plate is None else "frame"]
        self._floats = self._answering.floats

    @classmethod
    def open(cls, path: Path, threads: int | None) -> tuple[OnnxRuntime, dict[str, Any]]:
        """The runtime and its header. path: a whole graph, or the folder of both others. Raises InputError."""
        files = files_of(path)
        graphs = {part: Graph.open(file, threads) for part, file in files.items()}
        headers = {files[part]: _header(graph, files[part]) for part, graph in graphs.items()}
        return cls(graphs), agree(headers, tuple(files))

    def plate(self, plate: Pixels, plate_depth: Depth | None) -> Any:
        """What is remembered of the plate; for the whole graph, what was given."""
        given = {"plate": self._picture(plate), "plate_depth": metres(plate, plate_depth)}
        return given if self._plate is None else self._plate.run(given)

    def answer(self, known: Any, frame: Pixels) -> Answer:
        """See `Runtime`."""
        return answered(self._answering.run({"frame": self._picture(frame), **known}))

    def _picture(self, picture: Pixels) -> np.ndarray:
        picture = np.ascontiguousarray(picture)[None]
        return picture / np.float32(255) if self._floats else picture


class Graph:
    """A graph's file, opened anew for every size of picture: with all shapes known, it runs 1.1 times as fast.

    content: of the file. threads: by default one per core.
    """

    def __init__(self, content: bytes, threads: int | None) -> None:
        self._content, self._threads = content, threads
        described = _session(content, 1, optimised=False)
        self.header = described.get_modelmeta().custom_metadata_map.get(HEADER)
        self._shapes = {one.name: one.shape for one in described.get_inputs()}
        self.inputs = tuple(self._shapes)
        self._outputs = [one.name for one in described.get_outputs()]
        self.floats = described.get_inputs()[0].type == "tensor(float)"
        self._sessions: dict[tuple[tuple[int, ...], ...], Any] = {}

    @classmethod
    def open(cls, path: Path, threads: int | None) -> Graph:
        """Raises InputError for a file that ONNX Runtime cannot open."""
        try:
            return cls(path.read_bytes(), threads)
        except Exception as error:  # onnxruntime's errors have no common class below Exception
            told = str(error).strip().splitlines()[0]
            raise InputError(f"{path} is no ONNX file that onnxruntime can open ({told})") from error

    def run(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        key = tuple(given[name].shape for name in self.inputs)
        # What was used last stands last.
        session = self._sessions.pop(key, None) or self._opened(key)
        self._sessions[key] = session
        return dict(zip(self._outputs, session.run(self._outputs, dict(given)), strict=True))

    def _opened(self, key: tuple[tuple[int, ...], ...]) -> Any:
        while len(self._sessions) >= KEPT:
            self._sessions.pop(next(iter(self._sessions)))
        sizes = {
            axis: size
            for axes, shape in zip(self._shapes.values(), key, strict=True)
            for axis, size in zip(axes, shape, strict=True)
            if isinstance(axis, str)
        }
        return _session(self._content, self._threads, sizes)


def read_header(path: Path) -> dict[str, Any]:
    """The header of a graph's file. Raises InputError for one that is not ours."""
    return _header(Graph.open(path, 1), path)


def _header(graph: Graph, path: Path) -> dict[str, Any]:
    if graph.header is None:
        raise InputError(f"{path} is an ONNX file, but not one of cleanplate's: make one with `cleanplate export`")
    return json.loads(graph.header)


def _session(
    content: bytes, threads: int | None, sizes: Mapping[str, int] | None = None, *, optimised: bool = True
) -> Any:
    """sizes: of axes, by their names; all others stay free."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for axis, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(axis, size)
    # Threads that wait must sleep: beside a network, frames are decoded, enlarged and encoded.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
