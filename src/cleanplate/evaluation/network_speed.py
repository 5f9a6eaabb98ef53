"""Network speed: ours and the original in torch, predicting and training, float32 and bf16; what one worker composes.

Contract: networks carry random weights (speed does not depend on them) and pictures are noise. The original needs
seconds per training scene, so its steps have ORIGINAL_BATCH scenes where ours have OURS_BATCH; scenes per second are
compared. On one thread seconds are the processor's, on several the wall clock's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cleanplate.evaluation.clock import Clock, Figure, Measured, one_thread
from cleanplate.measures.losses import total
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.network.output import Output
from cleanplate.pictures.library import open_library
from cleanplate.scenes.dataset import Batch, LiveScenes
from cleanplate.settings import LossSettings, OptimizerSettings, PlanSettings
from cleanplate.training.optimizer import make_optimizer

OURS, ORIGINAL = "platenet", "original"
OURS_BATCH, ORIGINAL_BATCH = 32, 4
TRAINING_SIDE = 128
SCENES_PER_ROUND = 64
PRECISIONS = ("float32", "bf16")


def inference(clock: Clock, side: int) -> Measured:
    """A pair of pictures through both networks, batch norms folded, on torch's threads."""
    threads = torch.get_num_threads()
    names = (OURS, ORIGINAL)
    networks = {name: _channels_last(folded(build(name))) for name in names}
    plate, frame = (_noise(1, side) for _ in range(2))
    found = Measured()
    for precision in PRECISIONS:
        with torch.inference_mode(), _autocast(precision):
            calls = {name: lambda n=n: n(plate, frame, None) for name, n in networks.items()}
            times = clock.medians(calls, wall=threads > 1)
        what = f"network, {precision}"
        found.figures += [Figure(what, f"{name}, torch", side, threads, 1000 * times[name], "ms") for name in names]
        found.figures.append(_ratio(f"{what}: time of the original", side, threads, times[ORIGINAL] / times[OURS]))
    return found


def training(clock: Clock) -> Measured:
    """Forward, all losses, backward and an optimizer's step, in scenes per second, on torch's threads."""
    threads, batches = torch.get_num_threads(), {OURS: OURS_BATCH, ORIGINAL: ORIGINAL_BATCH}
    found = Measured()
    for precision in PRECISIONS:
        steps = {name: _step(name, batch, precision) for name, batch in batches.items()}
        times = clock.medians(steps, wall=threads > 1)
        rates = {name: batch / times[name] for name, batch in batches.items()}
        what = f"training, {precision}"
        found.figures += [
            Figure(what, f"{name}, {batches[name]} at once", TRAINING_SIDE, threads, rate, "scenes/s")
            for name, rate in rates.items()
        ]
        found.figures.append(
            _ratio(f"{what}: scenes of the original", TRAINING_SIDE, threads, rates[OURS] / rates[ORIGINAL])
        )
    return found


def composing(clock: Clock) -> Measured:
    """Scenes that one worker composes from the sample pictures, all camera effects on, pictures decoded before."""
    plates, cutouts = (open_library((), kind).pictures for kind in ("plates", "cutouts"))
    scenes = LiveScenes(
        plates, cutouts, size=TRAINING_SIDE, plan=PlanSettings(), effects="train", seed=0, scenes=None, greyscale=False
    )
    count = min(SCENES_PER_ROUND, len(scenes))
    stride = len(scenes) // count

    def compose() -> None:
        for i in range(count):
            scenes[(0, i * stride)]

    with one_thread():
        rate = count / clock.medians({"scenes": compose})["scenes"]
    return Measured([Figure("composing, camera effects", "one worker", TRAINING_SIDE, 1, rate, "scenes/s")])


def _ratio(what: str, side: int, threads: int, value: float) -> Figure:
    return Figure(what, OURS, side, threads, value, "x")


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """The memory order that both networks are fastest in."""
    return network.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]


def _noise(batch: int, side: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch * side)
    return torch.rand(batch, channels, side, side, generator=generator).contiguous(memory_format=torch.channels_last)


def _step(name: str, batch: int, precision: str) -> Callable[[], None]:
    """One step of training as `cleanplate train` takes it, channels last in memory."""
    network = _channels_last(build(name).train())
    optimizer = make_optimizer(network, OptimizerSettings())
    picture, single = (_noise(batch, TRAINING_SIDE, c) for c in (3, 1))
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
