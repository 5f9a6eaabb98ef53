"""How weights move: AdamW or SGD, and a learning rate that is a pure function of the step: nothing of it is stored."""

from __future__ import annotations

import math

import torch
from torch import nn

from cleanplate.settings import OptimizerSettings

WARM_UP = 250
"""Steps over which one-cycle rises to its peak; a tenth of the budget when that is less."""


def make_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Weight decay acts on matrices and kernels only: decaying biases and batch norm's scales does no good."""
    weights = list(network.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.peak, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.peak, fused=True)


def lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Put each moment into memory as its weight lies there: weights may have moved to another layout since.

    Fused steps walk weights and moments by address; in two layouts they would mix up the elements.
    """
    for weight, state in optimizer.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == weight.shape:
                state[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def rate(step: int, steps: int | None, settings: OptimizerSettings) -> float:
    """Learning rate at `step` (from 0) of `steps`. Until a time budget's `steps` are known, one-cycle warms up."""
    peak = settings.peak
    match settings.schedule:
        case "constant":
            return peak
        case "step":
            share = step / steps if steps else 0.0
            return peak * (1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01)
        case "onecycle":
            warm = WARM_UP if steps is None else max(1, min(WARM_UP, steps // 10))
            if steps is None or step < warm:
                return peak * min(1.0, (step + 1) / warm)
            share = min(1.0, (step - warm) / max(1, steps - warm))
            return peak * (1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * share)))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors, named "optimizer.PARAMETER.KEY"."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Undo `optimizer_tensors`, into an optimizer made for the same network."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
