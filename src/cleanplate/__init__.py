"""Two folders of pictures in; a network that says what stands in front of a plate, and how far away everything is, out.

From Python, three lines:

    import cleanplate
    model = cleanplate.load()                               # the packaged model; or load("runs/mine")
    prediction = model.predict("plate.jpg", "frame.jpg")   # .alpha, .mask, .depth
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from os import PathLike

    from cleanplate.inference.predictor import Predictor

__version__ = "0.1.0"


def load(
    model: str | PathLike[str] = "released",
    *,
    care: bool = True,
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto",
) -> Predictor:
    """Open a trained model: the packaged one, a run's folder, a checkpoint, or exported graphs. Raises InputError.

    care: bring each frame to its plate before the network looks, where that is sure to help.
    runtime: who calculates; auto: ONNX Runtime for exported graphs and the packaged model, torch for the others.
    """
    from cleanplate.inference.predictor import load as open_model

    return open_model(model, care=care, runtime=runtime)
