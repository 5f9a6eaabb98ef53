"""Where and in which precision a training runs: accelerate's choice of processes and device, bf16 where it is fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(precision: Literal["auto", "float32", "bf16"]) -> Accelerator:
    """CPU, one GPU, or several processes under torchrun. auto: bf16 where the device computes it fast."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state()  # an earlier training of this process may have used another precision
    auto = precision == "auto" and _has_fast_bf16(PartialState().device or torch.device("cpu"))
    return Accelerator(mixed_precision="bf16" if auto or precision == "bf16" else "no")


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def memory_format(network: str, device: torch.device) -> torch.memory_format:
    """Channels last where it is faster: on GPUs, and for the wide layers of the originals; not for PlateNet on a CPU,

    whose many small batch norms run several times slower in that layout (torch 2.13)."""
    return torch.contiguous_format if network == "platenet" and device.type == "cpu" else torch.channels_last
