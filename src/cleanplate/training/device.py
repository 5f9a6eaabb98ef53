"""Where and in which precision a training runs: accelerate's choice of processes and device, bf16 where it is fast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(precision: Literal["auto", "float32", "bf16"]) -> Accelerator:
    """CPU, one GPU, or several processes under torchrun. auto: bf16 where the device computes it fast."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state()  # an earlier training of this process may have used another precision
    # Without a GPU accelerate must be told, or every process of torchrun would train alone, all in one folder.
    cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
    auto = precision == "auto" and _has_fast_bf16(PartialState(cpu=cpu).device or torch.device("cpu"))
    return Accelerator(cpu=cpu, mixed_precision="bf16" if auto or precision == "bf16" else "no")


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def averaged(parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each scalar's mean over the processes, all of which must ask for it together."""
    if _processes() == 1:
        return parts
    values = _mean(torch.stack([part.detach().float() for part in parts.values()]))
    return dict(zip(parts, values, strict=True))


def pooled(count: torch.Tensor) -> torch.Tensor:
    """What every process divides its sum by, so that the mean of their quotients is that of all sums and counts."""
    return count.clamp(min=1) if _processes() == 1 else _mean(count).clamp(min=1 / _processes())


def _processes() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _mean(values: torch.Tensor) -> torch.Tensor:
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total / _processes()
