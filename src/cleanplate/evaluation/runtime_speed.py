"""Runtime speed: the packaged model by every runtime that is installed, one thread each, beside what else there is.

Contract: a pair of SIDE x SIDE pixels goes in as bytes and comes out as alpha and ln depth, plate and frame both
encoded; "next frame" has the plate's features already. All runtimes are measured in turn. Beside them, in the same
turns, a PRODUCT^3 float32 matrix product, by which figures of different processors compare, and the original network
in torch. `frames_of_others`: what people run on fixed cameras today, at the same size.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import chdir, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from cleanplate.evaluation.clock import Clock, Figure
from cleanplate.inference.opening import open_model
from cleanplate.inference.runtimes import Runtime
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.types import InputError, Pixels

SIDE, PRODUCT = 256, 1024
MODEL = Path(checkpoint.RELEASED)

Call = Callable[[], object]


def runtimes(clock: Clock) -> Iterator[Figure]:
    """A pair and the next frame by each runtime, as multiples of a product; against float32 ONNX Runtime."""
    plate, frame = _pictures()
    with _one_thread(), tempfile.TemporaryDirectory() as folder:
        opened = dict(_runtimes(Path(folder)))
        calls: dict[str, Call] = {"product": _product(), "original": _original()}
        for name, runtime in opened.items():
            calls[f"{name}, pair"] = _pair(runtime, plate, frame)
            calls[f"{name}, next frame"] = _next(runtime, plate, frame)
        times = clock.medians(*calls.values())
    if times is None:
        return
    took = {name: 1000 * seconds for name, seconds in zip(calls, times, strict=True)}
    pair = took["onnx, pair"]
    for name in opened:
        yield _products(f"{SIDE}x{SIDE} pair, {name}, 1 thread", took[f"{name}, pair"], took["product"])
        if name != "onnx":
            each = took[f"{name}, pair"]
            yield Figure(f"{name} beside onnx, pair", pair / each, "x", "float32 ONNX Runtime", each, pair, "ms")
    following = took["onnx, next frame"]
    yield Figure("next frame beside a pair, onnx", pair / following, "x", "a new plate", following, pair, "ms")
    original = took["original"]
    note = "both on one thread"
    yield Figure("pair, onnx", original / pair, "x", "the original network in torch", pair, original, "ms", note)


def frames_of_others(clock: Clock) -> Iterator[Figure]:
    """A frame through background subtractors that know their plate, beside the next frame by ONNX Runtime."""
    plate, frame = _pictures()
    runtime, _ = open_model(MODEL, "onnx", None, 1)
    with _one_thread(), _subtractors(plate) as others:
        calls = {name: lambda one=one: one.apply(frame) for name, one in others.items()}
        times = clock.medians(_next(runtime, plate, frame), *calls.values())
    if times is None:
        return
    ours, *theirs = (1000 * seconds for seconds in times)
    for name, other in zip(others, theirs, strict=True):
        yield Figure(f"next frame, onnx, beside {name}", other / ours, "x", name, ours, other, "ms", "one thread")


def _runtimes(folder: Path) -> Iterator[tuple[str, Runtime]]:
    """By name: what is installed; INT8 as far as export offers it for this model."""
    from cleanplate.inference.export import export

    yield "onnx", open_model(MODEL, "onnx", None, 1)[0]
    try:
        export(MODEL, folder / "int8", precision="int8")
    except InputError:
        pass  # it would lose too much of the mask: nobody is offered it
    else:
        yield "onnx int8", open_model(folder / "int8", "onnx", None, 1)[0]
    if find_spec("openvino"):
        yield "openvino", open_model(MODEL, "openvino", None, 1)[0]
    yield "torch", open_model(MODEL, "torch", "cpu", 1)[0]


def _pictures() -> tuple[Pixels, Pixels]:
    rng = np.random.default_rng(0)
    plate, frame = (rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(2))
    return plate, frame


def _pair(runtime: Runtime, plate: Pixels, frame: Pixels) -> Call:
    return lambda: runtime.answer(runtime.plate(plate), frame, None)


def _next(runtime: Runtime, plate: Pixels, frame: Pixels) -> Call:
    features = runtime.plate(plate)
    return lambda: runtime.answer(features, frame, None)


def _product() -> Call:
    factor = torch.rand(PRODUCT, PRODUCT, generator=torch.Generator().manual_seed(0))
    return lambda: factor @ factor


def _original() -> Call:
    """The original network on a pair, batch norms folded, in the memory order that it is fastest in."""
    network: Any = folded(build("original")).to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    picture = torch.rand(1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)

    def look() -> None:
        with torch.inference_mode():
            network(picture, picture, None)

    return look


def _products(name: str, took: float, product: float) -> Figure:
    note = f"{took:.2f} ms; a {PRODUCT}^3 float32 product of torch on one thread takes {product:.2f} ms"
    return Figure(name, took / product, "products", note=note)


@contextmanager
def _subtractors(plate: Pixels) -> Generator[dict[str, Any]]:
    """MOG2, KNN and, where pybgs is installed, SuBSENSE; each has seen the plate."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    found: dict[str, Any] = {"MOG2": cv2.createBackgroundSubtractorMOG2(), "KNN": cv2.createBackgroundSubtractorKNN()}
    try:
        # It reads and writes its settings wherever it is started.
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            if find_spec("pybgs"):
                import pybgs  # ty: ignore[import-not-found]

                os.makedirs("config", exist_ok=True)  # noqa: PTH103 (its own relative path)
                found["SuBSENSE"] = pybgs.SuBSENSE()
            for one in found.values():
                one.apply(plate)
            yield found
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
