"""Quality against latency of PlateNet and of variants of it, each trained on the same scenes from the same seeds.

    python benchmarks/architectures.py PLATES CUTOUTS --samples 10000 --seeds 1 --out runs/architectures

Each variant changes one thing. Quality: composed scenes of validation pictures, under the `standard` effects. What is
measured is kept in OUT/results.json, one entry per variant and seed, and not measured again; the table is OUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanplate.measures import losses
from cleanplate.network.platenet import Context, Plate, PlateNet, Scene, conv
from cleanplate.pictures.writing import write_atomically
from cleanplate.scenes.dataset import loader, to_float
from cleanplate.settings import TrainSettings
from cleanplate.training.material import LiveMaterial, find_material, fixed_batches
from cleanplate.training.optimizer import make_optimizer, rate
from cleanplate.training.validation import validate
from latency import latency


class Dense(nn.Module):
    """Two layers that each see all earlier maps, brought back to the width that came in (Huang et al., 2017)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((conv(channels, inner // 2), conv(channels + inner // 2, inner // 2)))
        self.back = conv(channels + inner, channels, size=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return self.back(x)


class Separable(nn.Module):
    """Twice the channels, a 3x3 filter on each alone, and back (Sandler et al., MobileNetV2, 2018)."""

    def __init__(self, channels: int, _: int) -> None:
        super().__init__()
        wide = 2 * channels
        alone = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.widen = nn.Sequential(*conv(channels, wide, size=1), alone, nn.BatchNorm2d(wide), nn.ReLU(inplace=True))
        self.narrow = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.narrow(self.widen(x)))


class Undetailed(PlateNet):
    """The finest map sees both pictures, but is not given their difference."""

    def _detail(self, plate: Plate, frame: Tensor) -> Tensor:
        return self.detail.join(self.detail.part(0, frame) + plate.d2)


class Local(Context):
    """No mean over the whole picture and no place: what is near decides."""

    def forward(self, x: Tensor) -> Tensor:
        low = self.down(x)
        nothing = low.new_zeros((len(low), low.shape[1] + 2, *low.shape[-2:]))
        return x + F.interpolate(self.mix(torch.cat((low, nothing), dim=1)), scale_factor=2, mode="nearest")


class Glance(Scene):
    """The plate is looked at no longer than a frame: the scene stays unknown."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.zeros_like(input[:, :96])


def _with_blocks(block: Callable[[int, int], nn.Module]) -> PlateNet:
    network = PlateNet()
    for stage, channels, inner in zip(network.encoder.stages[1:], (48, 96), (32, 64), strict=True):
        stage[1] = block(channels, inner)  # ty: ignore[invalid-assignment]
    return network


def _local() -> PlateNet:
    network = PlateNet()
    network.context = Local(96, 128)
    return network


def _glance() -> PlateNet:
    network = PlateNet()
    network.scene = Glance(96, 64, 16)
    return network


def _random_start() -> PlateNet:
    network = PlateNet()
    for block in (*network.meet, network.detail):
        next(layer for layer in block.modules() if isinstance(layer, nn.Conv2d)).reset_parameters()
    return network


VARIANTS: dict[str, Callable[[], nn.Module]] = {
    "platenet": PlateNet,
    "half as wide": lambda: PlateNet(widths=(16, 32, 48), inner=(16, 32), context=64),
    "wider": lambda: PlateNet(widths=(32, 64, 128), inner=(32, 64)),
    "twice as wide": lambda: PlateNet(stem=32, widths=(64, 96, 192), inner=(48, 96), fine=32),
    "dense blocks": lambda: _with_blocks(Dense),
    "separable blocks": lambda: _with_blocks(Separable),
    "no context": _local,
    "no look at the plate alone": _glance,
    "no difference given": Undetailed,
    "random start": _random_start,
}


def trained(network: nn.Module, material: LiveMaterial, settings: TrainSettings) -> dict[str, float]:
    """Train by the usual recipe and return the validation's IoU and delta1."""
    network = network.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    optimizer = make_optimizer(network, settings.optimizer)
    scenes = material.scenes(settings, "train")
    order = scenes.order(settings.batch, settings.seed)
    steps = order.steps_of(settings.samples or 0)
    for step, batch in zip(range(steps), loader(scenes, order, settings.workers), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, settings.optimizer)
        batch = to_float(batch, "cpu")
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
            output = network(batch.plate, batch.frame, batch.plate_depth)
        losses.total(output, batch, settings.loss, material.kind)[0].backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.optimizer.clip)
        optimizer.step()
    batches = fixed_batches(material.scenes(settings, "validation"), torch.device("cpu"))
    scores = validate(network, batches, settings.loss, material.kind)
    return {"iou": scores["mask"]["iou"], "delta1": scores["depth"].get("delta1", float("nan"))}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, one line per variant that has results: means over its seeds."""
    lines = ["| variant | parameters | 256 px pair, x product | mask IoU | depth delta1 |", "|---|---|---|---|---|"]
    for name in VARIANTS:
        rows = [result for key, result in results.items() if key.rsplit(" #", 1)[0] == name]
        if rows:
            mean = {key: statistics.mean(row[key] for row in rows) for key in ("ratio", "iou", "delta1")}
            figures = f"{mean['ratio']:.2f} | {mean['iou']:.3f} | {mean['delta1']:.3f}"
            lines.append(f"| {name} | {rows[0]['parameters']:,} | {figures} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train and measure what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plates", type=Path, nargs="?")
    parser.add_argument("cutouts", type=Path, nargs="?")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/architectures"))
    given = parser.parse_args()
    folders = [(folder,) if folder else () for folder in (given.plates, given.cutouts)]
    kept = given.out / "results.json"
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    bf16 = "bf16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    for seed in range(given.seeds):
        settings = TrainSettings(
            samples=given.samples, size=given.size, batch=16, workers=given.workers, seed=seed, precision=bf16
        )
        material = find_material(folders[0], folders[1], None, settings)
        assert isinstance(material, LiveMaterial)
        for name in given.only:
            key = f"{name} #{seed}"
            if key in results:
                continue
            torch.manual_seed(seed)
            network = VARIANTS[name]()
            found = {"parameters": sum(p.numel() for p in network.parameters()), "ratio": latency(network).ratio}
            results[key] = found | trained(network, material, settings)
            given.out.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(results, indent=1).encode())
            print(key, results[key], flush=True)
    write_atomically(given.out / "table.md", table(results).encode())
    print(table(results), end="")


if __name__ == "__main__":
    main()
