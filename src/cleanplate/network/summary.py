"""What a network is made of: parameters, multiply-adds and shapes per layer, as a table, JSON, or a drawing.

One multiply-add counts as two FLOPs, the way torch's counter does; only convolutions and matrix products are counted.
Layers are recorded by running the network once on a pair of square pictures, so each picture of the pair counts.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cleanplate.network.build import build
from cleanplate.network.layers import Quarters
from cleanplate.network.standing import Asking
from cleanplate.pictures.writing import write_atomically

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One layer as it ran. flops: for the whole pair. inputs, output: shapes without the batch."""

    name: str
    kind: str
    inputs: Shape
    output: Shape
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """A network at one size. flops: for one pair of pictures, 2 per multiply-add."""

    network: str
    size: int
    parameters: int
    flops: int
    layers: tuple[Row, ...]


def summarise(name: str, size: int) -> Summary:
    """Run the named network once on a pair of size x size pictures and record its layers. Raises InputError."""
    network = build(name).eval()
    rows: list[Row] = []
    hooks = [module.register_forward_hook(_recorder(path, rows)) for path, module in _leaves(network)]
    picture = torch.zeros(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(picture, picture, None)
    for hook in hooks:
        hook.remove()
    parameters = sum(p.numel() for p in network.parameters())
    return Summary(name, size, parameters, counter.get_total_flops(), tuple(rows))


def summary(name: str, size: int, json: Path | None = None) -> Summary:
    """Print the summary; write the figures as JSON ("-" = standard output)."""
    found = summarise(name, size)
    console = Console(stderr=json == Path("-"))
    console.print(_table(found))
    console.print(f"{found.parameters:,} parameters, {found.flops / 1e9:.3f} GFLOP per pair of {size}x{size} pictures")
    if json is not None:
        text = jsonlib.dumps(asdict(found), indent=1)
        print(text) if json == Path("-") else write_atomically(json, text.encode())
    return found


def _leaves(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((path, module) for path, module in network.named_modules() if not any(module.children()))


def _recorder(path: str, rows: list[Row]) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        again = any(row.name == path for row in rows)  # a shared layer: its second run adds no parameters
        count = 0 if again else sum(p.numel() for p in module.parameters())
        row = Row(
            path,
            _kind(module),
            tuple(inputs[0].shape[1:]),
            tuple(output.shape[1:]),
            count,
            _flops(module, inputs, output),
        )
        rows.append(row)

    return record


def _flops(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    """2 x weights x positions: every weight of a convolution, of those for its inputs, is used once per position."""
    if isinstance(module, Asking):
        values, query = inputs[:2]
        return 2 * query.numel() * query.shape[-1] + 2 * values.numel() * values.shape[1]
    if isinstance(module, Quarters):
        return 2 * output.numel() * module.weights[0].numel()
    if isinstance(module, nn.Conv2d):
        weights = module.weight[:, : inputs[0].shape[1]]
        return 2 * weights.numel() * output.shape[0] * output.shape[-2] * output.shape[-1]
    return 2 * module.weight.numel() * output.shape[0] if isinstance(module, nn.Linear) else 0


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        side, stride = module.kernel_size[0], module.stride[0]
        each = " depthwise" if module.groups > 1 else ""
        return f"conv {side}x{side}{f'/{stride}' if stride > 1 else ''}{each}"
    return {"BatchNorm2d": "batch norm", "ReLU": "relu", "Linear": "linear"}.get(
        type(module).__name__, type(module).__name__
    )


def _table(found: Summary) -> Table:
    table = Table(title=f"{found.network} at {found.size}x{found.size}", box=None, pad_edge=False)
    for column, justify in (("layer", "left"), ("kind", "left"), ("in", "right"), ("out", "right")):
        table.add_column(column, justify=justify)
    table.add_column("parameters", justify="right")
    table.add_column("MFLOP", justify="right")
    for row in found.layers:
        if row.kind == "relu":
            continue
        shapes = ["x".join(str(n) for n in shape) for shape in (row.inputs, row.output)]
        flops = f"{row.flops / 1e6:.2f}" if row.flops else ""
        table.add_row(row.name, row.kind, *shapes, f"{row.parameters:,}" if row.parameters else "", flops)
    return table
