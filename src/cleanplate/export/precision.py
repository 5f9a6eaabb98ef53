"""Precision: the cores of an export with smaller numbers, fp16 weights or INT8 arithmetic. ONNX in, ONNX out.

Contract: `halved` stores large weights as float16 and calculates as before: half the bytes, the same speed. `quantised`
calculates convolutions with 8-bit integers whose ranges are those that real pairs show (static quantisation, one scale
per channel of weights): smaller still, and faster where the processor multiplies integers faster. The first layers,
which see the pictures themselves, and the last, which all of the answer passes, stay as they are.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

HALVED = 4000
"""Weights of more numbers than this are stored in half precision."""
LEAST_CHANNELS = 16
"""Convolutions with fewer channels in or out stay in floats: they are the first and the last."""

PASSING = ("Add", "Concat", "Relu", "Resize")
"""What passes integers on, where it stands between convolutions of integers: changing back and forth costs time."""

Feed = Mapping[str, np.ndarray]


def halved(core: ModelProto) -> ModelProto:
    """A copy whose large weights are stored as float16, which the runtime turns into float32 when it opens the file."""
    core = _copy(core)
    casts = []
    for weight in core.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size <= HALVED:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        core.graph.node.insert(0, cast)
    return core


def quantised(core: ModelProto, feeds: Sequence[Feed]) -> ModelProto:
    """A copy whose inner convolutions are of 8-bit integers. feeds: inputs of real pairs, for the ranges."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Feeds(CalibrationDataReader):
        left = iter(feeds)

        def get_next(self) -> Any:
            return next(self.left, None)

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantised.onnx"
            quantize_static(
                _copy(core),
                path,
                Feeds(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", *PASSING],
                nodes_to_quantize=sorted(inner(core)),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": False},
            )
            return onnx.load(path)
    finally:
        logger.setLevel(level)


def inner(core: ModelProto) -> set[str]:
    """The operations that may be of integers: wide convolutions, and what only adds, joins or repeats their answers."""
    shapes = {weight.name: list(weight.dims) for weight in core.graph.initializer}
    found, reached = set(), set()
    for node in core.graph.node:  # in the order of the calculation
        if node.op_type == "Conv":
            chosen = min(shapes[node.input[1]][:2]) >= LEAST_CHANNELS
        else:
            chosen = node.op_type in PASSING and not reached.isdisjoint(node.input)
        if chosen:
            found.add(node.name)
            reached.update(node.output)
    return found


def _copy(core: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(core)
    return copied
