"""Tracing: the torch modules of graphs.py as ONNX parts with free sizes and batch, for joining.py to put together."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from onnx import ModelProto
from onnxscript import optimizer
from torch import Tensor, nn
from torch.export import Dim

from cleanplate.export.graphs import Enlarge, Fits, FrameGraph, PairGraph, PlateGraph, Smaller
from cleanplate.export.joining import OPSET
from cleanplate.inference.runtimes import ANSWERS, FEATURES

LARGE = 1 << 24
"""Bytes; no weight is larger."""

EXAMPLE = (2, 75, 101)
"""Batch, height and width of what is traced; any odd ones will do."""


def cores(network: nn.Module, *, greyscale: bool, depth: bool) -> dict[str, ModelProto]:
    """A folded network in evaluation mode -> "plate" and "frame", or "pair" if it cannot encode a picture alone."""
    options = {"greyscale": greyscale, "depth": depth}
    answers = ANSWERS if depth else ANSWERS[:1]
    picture, metres = torch.rand(*EXAMPLE, 3), torch.rand(*EXAMPLE)
    if not hasattr(network, "encode"):
        given = {"plate": picture, "frame": picture, "plate_depth": metres}
        return {"pair": traced(PairGraph(network, **options), given, answers)}
    plate = PlateGraph(network, **options).eval()
    with torch.no_grad():
        features = dict(zip(FEATURES, plate(picture[:1], metres[:1]), strict=True))
    given = {"plate": picture, "plate_depth": metres}
    return {
        "plate": traced(plate, given, FEATURES),
        "frame": traced(FrameGraph(network, **options), {"frame": picture, **features}, answers),
    }


def parts(side: int, depth: bool) -> dict[str, ModelProto]:
    """What stands around the cores: "fits", "smaller" and "enlarge" (see graphs.py)."""
    picture, single = torch.rand(*EXAMPLE, 3), torch.rand(*EXAMPLE)
    given = {"plate": picture, "frame": picture, "plate_depth": single}
    maps = {name: torch.rand(EXAMPLE[0], 50, 60) for name in ("alpha", *(("behind", "front") if depth else ()))}
    return {
        "fits": traced(Fits(side), {"frame": picture}, ["fits"]),
        "smaller": traced(Smaller(side), given, [f"small_{name}" for name in given]),
        "enlarge": traced(
            Enlarge(), {"frame": picture, **maps}, [f"large_{name}" for name in ANSWERS[: 2 if depth else 1]]
        ),
    }


def traced(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> ModelProto:
    """A module as an ONNX graph whose pictures may have any size and batch."""
    shapes = tuple(dict.fromkeys(_free(name, one), Dim.DYNAMIC) for name, one in inputs.items())
    given = tuple(one.clone() for one in inputs.values())  # one tensor twice would be one input to the exporter
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            given,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None  # dynamo
        # A part of a convolution's weights becomes a weight of its own.
        optimizer.fold_constants(program.model, input_size_limit=LARGE, output_size_limit=LARGE)
    return program.model_proto


def _free(name: str, tensor: Tensor) -> tuple[int, ...]:
    """The axes of a tensor whose length is not known: of features, which have one plate, height and width."""
    if name in FEATURES:
        return (2, 3)
    return tuple(range(min(tensor.ndim, 3)))


@contextmanager
def _quiet() -> Generator[None]:
    """The exporter warns of libraries that it does not find, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
