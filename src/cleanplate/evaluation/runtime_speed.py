"""Runtime speed: one model by every runtime that is installed, on one thread, beside what else there is.

Contract: pictures of side x side pixels go in as bytes and come out as alpha and ln depth. Measured in the same rounds:

    product        PRODUCT^3 in float32, by torch: processors differ, ratios to it much less
    pair           plate and frame to an answer, by the whole graph; by torch, the plate and then the frame
    plate          what is remembered of a plate, by the half that a video runs once
    next frame     the answer to a frame of a plate that is remembered
    original       a pair by the original network in torch
    MOG2, ...      a frame by background subtractors that know their plate: what people run on fixed cameras today

`figures` and `ratios` are pure: milliseconds in, lines of the table out. The graphs are exported first, which proves
them, and takes longer than the measuring; INT8 is measured only where export offers it (export/export.py).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from cleanplate.evaluation.clock import Call, Clock, Figure, Measured, one_thread
from cleanplate.export.export import Precision, export
from cleanplate.inference.opening import open_model
from cleanplate.inference.runtimes import Runtime
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.types import InputError, Pixels

PRODUCT = 1024
PRECISIONS: dict[str, Precision] = {"float32": "fp32", "INT8": "int8"}

Key = tuple[str, str]
"""What was done, and by whom."""
BASE: Key = ("product", "torch")
PAIR: Key = ("pair", "ONNX Runtime float32")
NEXT: Key = ("next frame", PAIR[1])
ORIGINAL: Key = ("pair", "original, torch")


def runtimes(clock: Clock, model: Path, graphs: Path | None, side: int) -> Measured:
    """All runtimes, the original and the subtractors, and the ratios that matter.

    model: a run's folder, a checkpoint or `released`. graphs: a folder for its exported graphs, by precision; what is
    there is used; by default they are made for this measuring only.
    Raises InputError: no such model, or one that cannot be exported; graphs of different networks.
    """
    rng = np.random.default_rng(0)
    plate, frame = (rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(2))
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        folder = (graphs or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        calls, left_out = _calls(model, folder, plate, frame)
        calls |= stack.enter_context(_subtractors(plate, frame, left_out))
        times = {key: 1000 * seconds for key, seconds in clock.medians(calls).items()}
    return Measured(figures(times, side) + ratios(times, side), left_out)


def figures(times: Mapping[Key, float], side: int) -> list[Figure]:
    """Milliseconds as lines of the table. times: with BASE and PAIR among them."""
    return [
        Figure(*key, PRODUCT if key == BASE else side, 1, ms, "ms", ms / times[BASE], ms / times[PAIR])
        for key, ms in times.items()
    ]


def ratios(times: Mapping[Key, float], side: int) -> list[Figure]:
    """What float32 ONNX Runtime's pair is beside a product, the original, a next frame and the fastest runtime."""
    offered = [key for key in times if key[0] == "pair" and key != ORIGINAL]
    best = min(offered, key=lambda key: times[key])
    pair, by = times[PAIR], PAIR[1]
    found = {
        ("pair / product", by): pair / times[BASE],
        ("original's pair / pair", by): times[ORIGINAL] / pair,
        ("next frame / pair", by): times[NEXT] / pair,
        ("pair / pair of the fastest runtime", best[1]): pair / times[best],
    }
    return [Figure(*key, side, 1, value, "x") for key, value in found.items()]


def _calls(model: Path, graphs: Path, plate: Pixels, frame: Pixels) -> tuple[dict[Key, Call], dict[str, str]]:
    """What is timed of networks; and what is left out, with the reason."""
    factor = torch.rand(PRODUCT, PRODUCT, generator=torch.Generator().manual_seed(0))
    calls: dict[Key, Call] = {BASE: lambda: factor @ factor}
    left_out: dict[str, str] = {}
    found = _exported(model, graphs, left_out)
    for numbers, folder in found.items():
        whole, halves = (open_model(path, "onnx", None, 1)[0] for path in (folder / "model.onnx", folder))
        calls |= _three(f"ONNX Runtime {numbers}", whole, halves, plate, frame)
    for numbers, folder in found.items():
        try:  # the same files are open already, so that only OpenVINO itself can be missing
            whole, halves = (open_model(path, "openvino", None, 1)[0] for path in (folder / "model.onnx", folder))
        except InputError as error:
            left_out["OpenVINO"] = str(error)
        else:
            calls |= _three(f"OpenVINO {numbers}", whole, halves, plate, frame)
    network, _ = open_model(model, "torch", "cpu", 1)
    calls |= _three("torch", network, network, plate, frame)
    return calls | {ORIGINAL: _original(plate.shape[0])}, left_out


def _exported(model: Path, graphs: Path, left_out: dict[str, str]) -> dict[str, Path]:
    """The folders of graphs by their numbers, made where they are not there. Raises InputError without float32."""
    found, weights = {}, set()
    for numbers, precision in PRECISIONS.items():
        folder = graphs / precision
        try:
            if not (folder / "graphs.card.json").is_file():  # written last
                export(model, folder, precision=precision)
        except InputError as error:
            if precision == "fp32":
                raise
            left_out[numbers] = str(error)
        else:
            found[numbers] = folder
            weights.add(open_model(folder, "onnx", None, 1)[1]["weights"])
    if len(weights) > 1:
        raise InputError(f"--graphs {graphs} holds graphs of different networks: give an empty folder")
    return found


def _three(by: str, whole: Runtime, halves: Runtime, plate: Pixels, frame: Pixels) -> dict[Key, Call]:
    """A pair, a plate, and the next frame of a plate that is known. whole, halves: one runtime's, of the same model."""
    known = halves.plate(plate, None)
    return {
        ("pair", by): lambda: whole.answer(whole.plate(plate, None), frame),
        ("plate", by): lambda: halves.plate(plate, None),
        ("next frame", by): lambda: halves.answer(known, frame),
    }


def _original(side: int) -> Call:
    """The original network on a pair, batch norms folded, in the memory order that it is fastest in."""
    network: Any = folded(build("original")).to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    picture = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)

    def look() -> None:
        with torch.inference_mode():
            network(picture, picture, None)

    return look


@contextmanager
def _subtractors(plate: Pixels, frame: Pixels, left_out: dict[str, str]) -> Generator[dict[Key, Call]]:
    """A frame by MOG2, KNN and, where pybgs is installed, SuBSENSE; each has seen the plate."""
    found: dict[str, Any] = {"MOG2": cv2.createBackgroundSubtractorMOG2(), "KNN": cv2.createBackgroundSubtractorKNN()}
    # SuBSENSE reads and writes its settings wherever it is started.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        os.makedirs("config")  # noqa: PTH103 (its own relative path)
        try:
            with _silence():
                found["SuBSENSE"] = _subsense()
        except ImportError as error:
            left_out["SuBSENSE"] = f"{error}; benchmarks/subtractors.py says how to install pybgs"
        for name in found:
            _apply(found, name, plate)
        try:
            yield {("frame", name): partial(_apply, found, name, frame) for name in found}
        finally:
            with _silence():
                found.pop("SuBSENSE", None)


def _subsense() -> Any:
    import pybgs  # ty: ignore[import-not-found]

    return pybgs.SuBSENSE()


def _apply(found: Mapping[str, Any], name: str, frame: Pixels) -> object:
    # Looked up, not held: the calls must not outlive the silence in which a subtractor ends.
    return found[name].apply(frame)


@contextmanager
def _silence() -> Generator[None]:
    """Standard output of the process, C++ included, goes nowhere: SuBSENSE tells of its birth and death."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
