"""Synchronised batch norm: several processes normalise as one process with all their samples would.

torch's own SyncBatchNorm is for GPUs only; `SynchronisedNorm` does the same on a CPU. Process r knows the mean m_r, the
variance v_r and the number n_r of its values per channel. All processes exchange these once and put them together
(Chan, Golub and LeVeque, 1979), which loses no digits as sums of squares would:

    m = sum n_r m_r / N,    v = sum n_r (v_r + (m_r - m)^2) / N,    N = sum n_r.

Backwards, with x^ = (x - m) / s and s = sqrt(v + e), the means over all N values of dy and of dy x^ are exchanged:

    dx = g / s (dy - mean(dy) - x^ mean(dy x^)),

the gradient of the *sum* of the processes' losses; averaging the weights' gradients afterwards (as distributed training
does) makes it that of their mean. Names of parameters and buffers are those of plain batch norm, so checkpoints fit
both. In evaluation mode nothing is exchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def synchronised(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch norm shared by all processes; its parameters and buffers are the very same ones."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for norm in network.modules():
        if type(norm) is nn.BatchNorm2d:
            norm.__class__ = SynchronisedNorm  # same state, another forward
    return network


class SynchronisedNorm(nn.BatchNorm2d):
    """Batch norm over the samples of all processes, which must call it together, as training does."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            mean, variance, count = _pooled(input)
            self._remember(mean, variance * (count / (count - 1).clamp(min=1)))
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as plain batch norm does (its variance there is the unbiased one)."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def _pooled(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance per channel, and the number of values, over all processes."""
    channels = x.shape[1]
    zeros = torch.zeros(channels, device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(x, zeros, zeros.clone(), 1.0)  # the quick way to both on a CPU
    own = torch.cat((mean.double(), variance.double(), mean.new_tensor([x.numel() // channels], dtype=torch.float64)))
    everyone = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(everyone, own)
    means, variances, counts = torch.stack(everyone).split((channels, channels, 1), dim=1)
    whole = (counts * means).sum(0) / counts.sum()
    spread = (counts * (variances + (means - whole).square())).sum(0) / counts.sum()
    return whole.to(mean.dtype), spread.to(mean.dtype), counts.sum().to(mean.dtype)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are functions of every process' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        # as if mean and variance were constants; what they add is a line in x per channel
        straight, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack((for_weight, for_bias))
        torch.distributed.all_reduce(sums)
        along, flat = sums / count
        scale = (variance + ctx.eps).rsqrt()
        slope = weight * scale * scale * along
        offset = weight * scale * flat - slope * mean
        slope, offset = (line.to(x.dtype).view(1, -1, 1, 1) for line in (slope, offset))
        return straight.sub_(offset).addcmul_(x, slope, value=-1), for_weight, for_bias, None, None, None, None
