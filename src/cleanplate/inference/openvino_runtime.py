"""OpenVINO: the exported graphs by Intel's runtime, which is quicker on Intel's processors; optional.

Contract: as `OnnxRuntime`, with the same files. A graph is compiled anew for each size of picture, which takes a second
or two, and then runs faster than one for all sizes; the last few are kept. On processors that calculate with bf16, it
does: alpha moves by some thousandths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.inference.runtimes import ANSWERS, FEATURES, PARTS, Answer, agree, answered, files_of, metres
from cleanplate.types import Depth, Pixels

KEPT = 4
"""Compiled graphs of one kind that are kept, one per size."""


class OpenVinoRuntime:
    """Graphs that are compiled when they first meet a size. threads: by default OpenVINO's own choice."""

    name = "openvino"

    def __init__(self, models: dict[str, Any], core: Any, threads: int | None) -> None:
        self._models, self._core, self._threads = models, core, threads
        known = {*FEATURES, *ANSWERS}
        self._outputs = {
            part: [next(iter(known & one.names)) for one in model.outputs] for part, model in models.items()
        }
        self._compiled: dict[str, dict[tuple[int, ...], Any]] = {part: {} for part in models}
        self._floats = next(iter(models.values())).inputs[0].element_type.get_type_name() == "f32"

    @classmethod
    def open(cls, path: Path, threads: int | None) -> tuple[OpenVinoRuntime, dict[str, Any]]:
        """The runtime and its header. path: a whole graph, or the folder of both others. Raises InputError."""
        import openvino

        from cleanplate.inference.onnx_runtime import read_header

        files = files_of(path)
        found = agree({file: read_header(file) for file in files.values()}, tuple(files))
        core = openvino.Core()
        return cls({part: core.read_model(file) for part, file in files.items()}, core, threads), found

    def plate(self, plate: Pixels, plate_depth: Depth | None) -> Any:
        """What is remembered of the plate, as OpenVINO keeps it; for the whole graph, what was given."""
        given = {"plate": self._picture(plate), "plate_depth": metres(plate, plate_depth)}
        if "plate" not in self._models:
            return given
        request = self._run("plate", given)
        return {name: _kept(request.get_tensor(name)) for name in FEATURES}

    def answer(self, known: Any, frame: Pixels) -> Answer:
        """See `Runtime`."""
        part = "frame" if "frame" in self._models else "whole"
        request = self._run(part, {"frame": self._picture(frame), **known})
        names = [name for name in self._outputs[part] if name != "depth"]
        return answered({name: request.get_tensor(name).data.copy() for name in names})

    def _run(self, part: str, given: dict[str, Any]) -> Any:
        """The request of this graph and size, after it has calculated."""
        compiled = self._compiled[part]
        key = tuple(next(iter(given.values())).shape)
        if key not in compiled:
            while len(compiled) >= KEPT:
                compiled.pop(next(iter(compiled)))
            compiled[key] = self._compile(part, {name: list(one.shape) for name, one in given.items()})
        compiled[key].infer(given, share_inputs=True)
        return compiled[key]

    def _compile(self, part: str, shapes: dict[str, list[int]]) -> Any:
        fast = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        model = self._models[part].clone()
        # A plate's maps come from here, in the order and type of _as_calculated.
        model.reshape({name: _channels_first(shape) if name in PARTS else shape for name, shape in shapes.items()})
        wishes: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if fast else "f32", "NUM_STREAMS": 1}
        if self._threads is not None:
            wishes["INFERENCE_NUM_THREADS"] = self._threads
        if part != "whole":
            model = _as_calculated(model, outputs=part == "plate", fast=fast)
        return self._core.compile_model(model, "CPU", wishes).create_infer_request()

    def _picture(self, picture: Pixels) -> np.ndarray:
        picture = np.ascontiguousarray(picture)[None]
        return picture / np.float32(255) if self._floats else picture


def _as_calculated(model: Any, *, outputs: bool, fast: bool) -> Any:
    """The graph with the plate's parts in the type and order that convolutions leave and take them in, channels last.

    Otherwise they would be turned around twice, which takes a fifth of the time.
    """
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    for name in PARTS:
        one = steps.output(name) if outputs else steps.input(name)
        one.tensor().set_element_type(Type.bf16 if fast else Type.f32).set_layout(Layout("NHWC"))
        one.model().set_layout(Layout("NCHW"))
    return steps.build()


def _channels_first(shape: list[int]) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]]


def _kept(tensor: Any) -> Any:
    """A copy, because the next plate is written into the same tensor."""
    from openvino import Tensor

    copied = Tensor(tensor.element_type, tensor.shape)
    tensor.copy_to(copied)
    return copied
