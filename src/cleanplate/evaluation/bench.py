"""Bench: speed in one table, of this machine: threads, sizes, runtimes; ours, the original network, subtractors.

Contract: absolute times mean little on shared processors, so what is compared is measured in turn, within the same
rounds (clock.py), and stands beside a matrix product of those rounds. What is not installed has no line, and the
reason is told. The JSON holds the same: the machine, `figures`, `ratios` and `left_out`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from rich.console import Console
from rich.table import Table

from cleanplate import __version__
from cleanplate.evaluation import network_speed, runtime_speed
from cleanplate.evaluation.clock import Clock, Figure, Measured, threads_of_torch
from cleanplate.network import checkpoint
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

Group = Literal["start", "composing", "runtimes", "networks"]

SMALLEST = 16
BUSY = 0.5
"""Other programs' load above which the table carries a warning."""


def bench(
    rounds: int = 5,
    threads: int | None = None,
    json: Path | None = None,
    only: Sequence[Group] = (),
    model: Path = Path(checkpoint.RELEASED),
    graphs: Path | None = None,
    size: int = 256,
) -> Measured:
    """Measure, print the table (to standard error when the JSON goes to standard output) and write the JSON.

    rounds: at least 1. threads: torch's for `networks`; its own choice by default; the rest has one. json: a file, or -
    for standard output. only: the groups of lines to measure; none: all. model, graphs: see `runtimes`. size: of the
    pictures for predicting, pixels.
    """
    if rounds < 1:
        raise InputError(f"--rounds is {rounds}: give at least 1, 5 for instance")
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}: give at least 1, or leave it out")
    if size < SMALLEST:
        raise InputError(f"--size is {size}: give at least {SMALLEST} pixels, 256 for instance")
    to_stdout = json is not None and str(json) == "-"
    console = Console(stderr=to_stdout)
    busy, clock = _load(), Clock(rounds)
    groups = {
        "start": lambda: command_line(clock),
        "composing": lambda: network_speed.composing(clock),
        "runtimes": lambda: runtime_speed.runtimes(clock, model, graphs, size),
        "networks": lambda: network_speed.inference(clock, size) + network_speed.training(clock),
    }
    found = Measured()
    with threads_of_torch(threads), console.status("") as status:
        told = machine()
        for name in only or groups:
            status.update(f"measuring: {name}; all of it takes several minutes")
            found += groups[name]()
    content = {"machine": told, "load_before": busy, "rounds": rounds, "model": str(model), "size": size}
    lines = [asdict(figure) for figure in found.figures]
    content["figures"] = [line for line in lines if line["unit"] != "x"]
    content["ratios"] = [line for line in lines if line["unit"] == "x"]
    content["left_out"] = found.left_out
    console.print(table(found.figures, told, rounds), *_notes(found, busy), sep="\n", highlight=False)
    if to_stdout:
        print(dumps(content, indent=2))
    elif json is not None:
        write_atomically(json, (dumps(content, indent=2) + "\n").encode())
    return found


def command_line(clock: Clock) -> Measured:
    """From typing `cleanplate --help` to its answer."""
    command = [sys.executable, "-m", "cleanplate", "--help"]
    calls = {"help": lambda: subprocess.run(command, check=True, capture_output=True)}
    seconds = clock.medians(calls, wall=True)["help"]
    return Measured([Figure("start to end", "cleanplate --help", None, None, seconds, "s")])


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "runtimes": {name: metadata.version(name) for name in ("onnxruntime", "openvino", "pybgs") if find_spec(name)},
        "opencv": cv2.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cleanplate": __version__,
    }


def table(figures: Sequence[Figure], told: Mapping[str, Any], rounds: int) -> Table:
    """The lines under what they were taken on, ratios last. told: by `machine`."""
    runtimes = {**told["runtimes"], "torch": told["torch"], "opencv": told["opencv"]}
    title = (
        f"{told['processor']}, {told['cores']} cores; cleanplate {told['cleanplate']}\n"
        f"{', '.join(f'{name} {version}' for name, version in runtimes.items())}\n"
        f"medians of {rounds} rounds; processor time where threads are 1"
    )
    lines = Table(title=title, title_justify="left")
    for heading in ("", "by"):
        lines.add_column(heading)
    for heading in ("px", "threads", "median", "products", "pairs"):
        lines.add_column(heading, justify="right", no_wrap=True)
    for is_ratio in (False, True):
        for f in (f for f in figures if (f.unit == "x") is is_ratio):
            counts = ("" if one is None else str(one) for one in (f.side, f.threads))
            beside = ("" if one is None else f"{_digits(one)} x" for one in (f.products, f.pairs))
            lines.add_row(f.what, f.by, *counts, f"{_digits(f.value)} {f.unit}", *beside)
        lines.add_section()
    return lines


def _digits(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _notes(found: Measured, busy: float) -> Iterator[str]:
    """What the columns are, what is left out, and a warning when other programs were at work."""
    if any(f.products for f in found.figures):
        side, by = runtime_speed.PRODUCT, runtime_speed.PAIR[1]
        yield f"products: multiples of the {side}x{side}x{side} float32 product; pairs: of the pair by {by}"
    if "OpenVINO float32" in {f.by for f in found.figures}:
        yield "OpenVINO calculates float32 graphs in bf16 on processors that can"
    for name, reason in found.left_out.items():
        yield f"left out: {name}: {reason}"
    if busy > BUSY:
        yield f"Other programs kept {busy:.1f} cores busy when this began: close them and measure again."


def _load() -> float:
    """Cores that programs kept busy during the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
