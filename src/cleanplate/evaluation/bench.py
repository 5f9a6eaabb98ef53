"""Speed, as ratios taken in one run: ours beside the original network, cached features beside none.

Contract: absolute times mean little on shared processors, so every pair of figures is measured in turn, A B A B ...,
within the same rounds, and the median over the rounds is told. A call that is quick is repeated until MEASURED_S
have passed. Networks carry random weights (speed does not depend on them) and pictures are noise.

The original network needs seconds per training scene, so its steps have ORIGINAL_BATCH scenes where ours have
OURS_BATCH; the figure compared is scenes per second. Everything stops after MOST_SECONDS: what has had a round by then
is told, what has not is left out.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from cleanplate import __version__
from cleanplate.evaluation.clock import Clock, Figure
from cleanplate.evaluation.runtime_speed import frames_of_others, runtimes
from cleanplate.inference.predictor import of_network
from cleanplate.measures.losses import total
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.network.output import Output
from cleanplate.pictures.frames import write_atomically
from cleanplate.pictures.library import open_library
from cleanplate.scenes.dataset import Batch, LiveScenes
from cleanplate.settings import LossSettings, OptimizerSettings, PlanSettings
from cleanplate.training.optimizer import make_optimizer
from cleanplate.types import InputError, to_pixels

OURS_BATCH, ORIGINAL_BATCH = 32, 4
INFERENCE_SIDE, TRAINING_SIDE = 256, 128
SCENES_PER_ROUND = 64
BUSY = 0.5
"""Other programs' load above which the table carries a warning."""


def bench(rounds: int = 5, threads: int | None = None, json: Path | None = None) -> list[Figure]:
    """Measure, print the table (to standard error when the JSON goes to standard output) and write the JSON.

    rounds: at least 1. threads: torch's; its own choice by default. json: a file, or - for standard output.
    """
    if rounds < 1:
        raise InputError(f"--rounds is {rounds}: give at least 1, 5 for instance")
    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}: give at least 1, or leave it out")
    to_stdout = json is not None and str(json) == "-"
    console = Console(stderr=to_stdout)
    clock, busy = Clock(rounds), _load()
    with _threads(threads), console.status("measuring; this takes a few minutes"):
        figures = [figure for measure in MEASURES for figure in measure(clock)]
        content = {
            "machine": machine(),
            "load_before": busy,
            "rounds": rounds,
            "figures": [asdict(figure) for figure in figures],
        }
    console.print(_table(figures), *_notes(figures, busy), sep="\n", highlight=False)
    if to_stdout:
        print(dumps(content, indent=2))
    elif json is not None:
        write_atomically(json, (dumps(content, indent=2) + "\n").encode())
    return figures


def inference(clock: Clock) -> Iterator[Figure]:
    """A pair of pictures through both networks, batch norms folded, float32 and bf16."""
    networks = [_channels_last(folded(build(name))) for name in ("platenet", "original")]
    plate, frame = (_noise(1, INFERENCE_SIDE) for _ in range(2))
    for precision in ("float32", "bf16"):
        with torch.inference_mode(), _autocast(precision):
            times = clock.medians(*((lambda n=n: n(plate, frame, None)) for n in networks))
        if times:
            name = f"inference, {INFERENCE_SIDE}x{INFERENCE_SIDE} pair, {precision}"
            ours, other = (1000 * t for t in times)
            yield Figure(name, other / ours, "x", "the original network", ours, other, "ms")


def cached_plate(clock: Clock) -> Iterator[Figure]:
    """The next frame of a plate that was seen before, beside a new plate for every frame."""
    meta = {"depth": "metric"}
    predictor = of_network(build("platenet"), meta, "cpu", working_side=INFERENCE_SIDE)
    pictures = [to_pixels(_noise(1, INFERENCE_SIDE)[0].numpy()) for _ in range(3)]
    others = [0]

    def new_plate() -> None:
        others[0] += 1
        predictor.predict(pictures[others[0] % 2], pictures[2])

    times = clock.medians(lambda: predictor.predict(pictures[0], pictures[2]), new_plate)
    if times:
        ours, other = (1000 * t for t in times)
        yield Figure(
            f"next frame of the same plate, {INFERENCE_SIDE}x{INFERENCE_SIDE}",
            other / ours,
            "x",
            "a new plate",
            ours,
            other,
            "ms",
        )


def training(clock: Clock) -> Iterator[Figure]:
    """Forward, all losses, backward and an optimizer's step, in scenes per second."""
    for precision in ("float32", "bf16"):
        steps = [_step("platenet", OURS_BATCH, precision), _step("original", ORIGINAL_BATCH, precision)]
        times = clock.medians(*steps)
        if times:
            ours, other = OURS_BATCH / times[0], ORIGINAL_BATCH / times[1]
            note = f"batches of {OURS_BATCH} for ours, {ORIGINAL_BATCH} for the original, per scene"
            name = f"training at {TRAINING_SIDE} px, {precision}"
            yield Figure(name, ours / other, "x", "the original network", ours, other, "scenes/s", note)


def composing(clock: Clock) -> Iterator[Figure]:
    """Scenes that one worker composes from the sample pictures, all camera effects on."""
    plates, cutouts = (open_library((), kind).pictures for kind in ("plates", "cutouts"))
    scenes = LiveScenes(
        plates, cutouts, size=TRAINING_SIDE, plan=PlanSettings(), effects="train", seed=0, scenes=None, greyscale=False
    )
    count = min(SCENES_PER_ROUND, len(scenes))
    stride = len(scenes) // count

    def compose() -> None:
        for i in range(count):
            scenes[(0, i * stride)]

    compose()
    times = clock.medians(compose)
    if times:
        note = f"one worker, {TRAINING_SIDE} px, camera effects, pictures decoded before"
        yield Figure("composing", count / times[0], "scenes/s", note=note)


def command_line(clock: Clock) -> Iterator[Figure]:
    """From typing `cleanplate --help` to its answer."""
    command = [sys.executable, "-m", "cleanplate", "--help"]
    times = clock.medians(lambda: subprocess.run(command, check=True, capture_output=True))
    if times:
        yield Figure("cleanplate --help", times[0], "s")


MEASURES: Sequence[Callable[[Clock], Iterator[Figure]]] = (
    command_line,
    composing,
    runtimes,
    frames_of_others,
    inference,
    cached_plate,
    training,
)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "runtimes": {name: metadata.version(name) for name in ("onnxruntime", "openvino", "pybgs") if find_spec(name)},
        "sizes": {"inference": INFERENCE_SIDE, "training": TRAINING_SIDE},
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cleanplate": __version__,
    }


def _load() -> float:
    """Cores that programs kept busy during the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


@contextmanager
def _threads(count: int | None) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _channels_last(network: nn.Module) -> nn.Module:
    """The memory order that both networks predict fastest in."""
    return network.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]


def _noise(batch: int, side: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch * side)
    return torch.rand(batch, channels, side, side, generator=generator).to(memory_format=torch.channels_last)


def _step(name: str, batch: int, precision: str) -> Callable[[], None]:
    """One step of training as `cleanplate train` takes it, channels last in memory."""
    network = build(name).train().to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    optimizer = make_optimizer(network, OptimizerSettings())
    picture, single = (_noise(batch, TRAINING_SIDE, c).contiguous(memory_format=torch.channels_last) for c in (3, 1))
    scenes = Batch(plate=picture, frame=picture.flip(0), alpha=single, depth=single * 5 + 1, plate_depth=single * 5 + 1)
    settings = LossSettings()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(precision):
            output = network(scenes.plate, scenes.frame, scenes.plate_depth)
        loss, _ = total(Output(output.mask_logits.float(), output.log_depth.float()), scenes, settings)
        loss.backward()
        optimizer.step()

    return step


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(title="Speed, medians over the rounds", title_justify="left")
    table.add_column("")
    for heading in ("ours", "other", "figure"):
        table.add_column(heading, justify="right", no_wrap=True)
    for f in figures:
        both = [f"{part:.4g} {f.each}" if part is not None else "" for part in (f.ours, f.other)]
        value = f"{f.value:.0f}" if f.value >= 100 else f"{f.value:.2g}"
        table.add_row(f.name, *both, f"{value}{'' if f.unit == 'x' else ' '}{f.unit}")
    return table


def _notes(figures: Sequence[Figure], busy: float) -> Iterator[str]:
    """What the table's figures are, in words, and a warning when other programs were at work."""
    for f in figures:
        if told := ", ".join(filter(None, (f"beside {f.relative_to}" if f.relative_to else "", f.note))):
            yield f"{f.name}: {told}"
    if busy > BUSY:
        yield f"Other programs kept {busy:.1f} cores busy when this began: close them and measure again."
