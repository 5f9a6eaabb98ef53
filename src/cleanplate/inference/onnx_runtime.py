"""ONNX Runtime: exported graphs, without torch. One graph for pairs, or two that look at a plate once.

Contract: `OnnxRuntime.open` takes a whole graph (model.onnx) or the folder of plate.onnx and frame.onnx, and checks by
their header that they are ours and belong together. The header is JSON under the key `cleanplate` of a file's metadata:
what a checkpoint's header says and predicting needs, and how far the graph was found to be from its network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.inference.runtimes import FEATURES, HEADER, Answer, agree, answered, files_of
from cleanplate.types import Depth, InputError, Pixels


class OnnxRuntime:
    """Sessions of a whole graph alone, or of a plate's and a frame's. threads: of each; by default one per core."""

    name = "onnx"

    def __init__(self, sessions: dict[str, Any]) -> None:
        self._plate = sessions.get("plate")
        self._answering = sessions["whole" if self._plate is None else "frame"]
        self._floats = self._answering.get_inputs()[0].type == "tensor(float)"
        self._answers = [one.name for one in self._answering.get_outputs()]

    @classmethod
    def open(cls, path: Path, threads: int | None) -> tuple[OnnxRuntime, dict[str, Any]]:
        """The runtime and its header. path: a whole graph, or the folder of both others. Raises InputError."""
        files = files_of(path)
        sessions = {part: _session(file, threads) for part, file in files.items()}
        headers = {files[part]: _header(session, files[part]) for part, session in sessions.items()}
        return cls(sessions), agree(headers, tuple(files))

    def plate(self, plate: Pixels) -> Any:
        """The plate's maps; for the whole graph the plate itself."""
        picture = self._picture(plate)
        if self._plate is None:
            return picture
        return dict(zip(FEATURES, self._plate.run(list(FEATURES), {"plate": picture}), strict=True))

    def answer(self, features: Any, frame: Pixels, plate_depth: Depth | None) -> Answer:
        """See `Runtime`."""
        depth = np.zeros(frame.shape[:2], np.float32) if plate_depth is None else plate_depth
        given = {"frame": self._picture(frame), "plate_depth": depth[None]}
        known = {"plate": features} if self._plate is None else features
        return answered(self._answers, self._answering.run(None, {**given, **known}))

    def _picture(self, picture: Pixels) -> np.ndarray:
        picture = np.ascontiguousarray(picture)[None]
        return picture / np.float32(255) if self._floats else picture


def read_header(path: Path) -> dict[str, Any]:
    """The header of a graph's file. Raises InputError for one that is not ours."""
    return _header(_session(path, 1), path)


def _header(session: Any, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(HEADER)
    if text is None:
        raise InputError(f"{path} is an ONNX file, but not one of cleanplate's: make one with `cleanplate export`")
    return json.loads(text)


def _session(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    options.log_severity_level = 3
    # Threads that wait must sleep: beside a network, frames are decoded, enlarged and encoded.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class below Exception
        told = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no ONNX file that onnxruntime can open ({told})") from error
