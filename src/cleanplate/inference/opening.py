"""Opening: which file a model's name means, and which runtime it is opened with.

    a run's folder, a `.safetensors` file       torch
    a folder with plate.onnx and frame.onnx     ONNX Runtime, or OpenVINO where asked for
    an `.onnx` file that `export` wrote         the same
    released                                    the packaged graphs by the same; with `torch`, the packaged checkpoint

Nothing here imports torch unless it is torch that is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cleanplate.extras import told
from cleanplate.inference.runtimes import GRAPHS, Runtime, RuntimeName
from cleanplate.network import checkpoint
from cleanplate.types import InputError

Opened = tuple[Runtime, dict[str, Any]]


def open_model(path: Path, runtime: RuntimeName, device: str | None, threads: int | None) -> Opened:
    """The runtime with its model, and the model's header. Raises InputError (see `predictor.load`)."""
    graphs = graphs_of(path)
    if runtime == "torch" or (runtime == "auto" and (graphs is None or device not in (None, "cpu"))):
        if graphs is not None and str(path) != checkpoint.RELEASED:
            raise InputError(
                f"{path} holds graphs for ONNX Runtime and OpenVINO, not for torch: give the run or checkpoint that "
                "they were exported from, or leave --runtime out"
            )
        return _torch(checkpoint.find(path), device, threads)
    if graphs is None:
        checkpoint.find(path)  # nothing at all is another error
        raise InputError(
            f"{path} is a checkpoint, which --runtime {runtime} cannot open: export it "
            f"(cleanplate export --model {path} --out graphs) and give --model graphs, or leave --runtime out"
        )
    if runtime == "openvino":
        return _openvino(graphs, threads)
    return _onnx(graphs, threads)


def graphs_of(path: Path) -> Path | None:
    """The exported file, or the folder of two, that a model's name means; None where it means a checkpoint."""
    if str(path) == checkpoint.RELEASED:
        path = checkpoint.released().parent
    elif path.suffix == ".onnx" and path.is_file():
        return path
    elif any((path / name).is_file() for name in checkpoint.NAMES):
        return None
    return path if all((path / name).is_file() for name in GRAPHS) else None


def _onnx(path: Path, threads: int | None) -> Opened:
    from cleanplate.inference.onnx_runtime import OnnxRuntime

    return OnnxRuntime.open(path, threads)


def _openvino(path: Path, threads: int | None) -> Opened:
    from cleanplate.inference.openvino_runtime import OpenVinoRuntime

    with told():
        return OpenVinoRuntime.open(path, threads)


def _torch(path: Path, device: str | None, threads: int | None) -> Opened:
    with told():
        import torch

        from cleanplate.inference.torch_runtime import TorchRuntime

    if threads is not None:
        torch.set_num_threads(threads)
    network, meta = checkpoint.load(path)
    return TorchRuntime(network, meta, device), meta
