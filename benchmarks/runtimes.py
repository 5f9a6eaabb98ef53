"""All runtimes beside each other, on one thread: `python benchmarks/runtimes.py [--model RUN] [--json FILE]`.

The model is exported in fp32 and INT8 (to --graphs, or for this run only), and a pair of 256 x 256 pixels goes in turn

- through torch, ONNX Runtime and, where installed, OpenVINO, in both numbers: the whole graph, plate and frame;
- through the two halves of video: the plate's graph, and the frame's, the plate's features being known;
- through the `original` network in torch, in a fifth of the rounds: it takes seconds.

Beside them stands one 1024 x 1024 x 1024 float32 product of numpy: processors differ, ratios to it much less. Times are
medians of the process's own processor time, so that a busy machine is no slower; every library is held to one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cleanplate.evaluation.bench import machine
from cleanplate.inference.export import Precision, export
from cleanplate.inference.opening import open_model
from cleanplate.inference.runtimes import Runtime, RuntimeName
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError, Pixels

PRODUCT = 1024
NUMBERS: tuple[Precision, ...] = ("fp32", "int8")
RUNTIMES: tuple[RuntimeName, ...] = ("onnx", "openvino")
SELDOM = 5
"""The original network has a round in so many."""

Calls = dict[str, Callable[[], object]]


def calls(model: Path, graphs: Path, size: int) -> Calls:
    """What is timed, by its name. Precisions that the export refuses, and runtimes that are missing, are left out."""
    plate, frame = (np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8) for seed in (0, 1))
    factor = np.random.default_rng(2).random((PRODUCT, PRODUCT), dtype=np.float32)
    found: Calls = {"product": lambda: factor @ factor}
    found |= _halves("torch", open_model(model, "torch", "cpu", 1)[0], plate, frame)
    for numbers in exported(model, graphs):
        for runtime in RUNTIMES:
            for part, path in (("", graphs / numbers / "model.onnx"), ("halves", graphs / numbers)):
                with _optional():
                    opened, _ = open_model(path, runtime, None, 1)
                    name = f"{runtime} {numbers}"
                    found |= _halves(name, opened, plate, frame) if part else _pair(name, opened, plate, frame)
    original = folded(build("original"))
    pictures = [torch.from_numpy(one).permute(2, 0, 1)[None].float() / 255 for one in (plate, frame)]

    def by_original() -> None:
        with torch.inference_mode():
            original(*pictures, None)

    return found | {"original torch": by_original}


def exported(model: Path, graphs: Path) -> Iterator[str]:
    """The precisions that are there, made if needed."""
    for numbers in NUMBERS:
        try:
            if not (graphs / numbers / "frame.onnx").is_file():
                export(model, graphs / numbers, precision=numbers)
        except InputError as error:
            print(error)
        else:
            yield numbers


def _pair(name: str, runtime: Runtime, plate: Pixels, frame: Pixels) -> Calls:
    """The whole graph, for which a plate's features are the plate."""
    given = runtime.plate(plate)
    return {f"{name} pair": lambda: runtime.answer(given, frame, None)}


def _halves(name: str, runtime: Runtime, plate: Pixels, frame: Pixels) -> Calls:
    features = runtime.plate(plate)
    return {
        f"{name} plate": lambda: runtime.plate(plate),
        f"{name} frame": lambda: runtime.answer(features, frame, None),
    }


def timed(calls: Calls, rounds: int) -> dict[str, float]:
    """Median milliseconds of the process, measured in turn in every round; the first of a call does not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            if name.startswith("original") and number % SELDOM > 1:
                continue
            start = time.process_time()
            call()
            if number:
                taken[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def ratios(times: dict[str, float]) -> dict[str, float]:
    """The figures that are asked of us."""
    ours = times["onnx fp32 pair"]
    pairs = {name: value for name, value in times.items() if name.endswith(" pair")}
    best = min(pairs, key=lambda name: pairs[name])
    return {
        "onnx fp32 pair / product": ours / times["product"],
        "original torch / onnx fp32 pair": times["original torch"] / ours,
        "onnx fp32 frame / onnx fp32 pair": times["onnx fp32 frame"] / ours,
        f"onnx fp32 pair / {best}": ours / pairs[best],
    }


@contextmanager
def _optional() -> Generator[None]:
    """OpenVINO need not be there."""
    try:
        yield
    except InputError as error:
        if "openvino" not in str(error):
            raise


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("released"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--graphs", type=Path, help="a folder for the exported graphs; what is there is used")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if one.items() - os.environ.items():  # libraries read these when they are loaded: begin again
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        times = timed(calls(given.model, given.graphs or Path(folder), given.size), given.rounds)
    found: dict[str, Any] = {"machine": machine(), "size": given.size, "rounds": given.rounds, "ms": times}
    found["ratios"] = ratios(times)
    for name, value in times.items():
        print(f"{name:28} {value:9.2f} ms")
    for name, value in found["ratios"].items():
        print(f"{name:48} {value:7.2f} x")
    if given.json is not None:
        write_atomically(given.json, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
