"""Layers that the parts of PlateNet are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; same padding."""
    return nn.Sequential(*linear(inputs, outputs, size, stride), nn.ReLU(inplace=True))


def linear(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """Convolution and batch norm, same padding: what a ReLU follows later."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)


class PartConv(nn.Conv2d):
    """A convolution of maps that are not known at the same time: each is convolved alone, and all are added up."""

    def forward(self, input: Float[Tensor, "b _ h w"], first: int = 0, *, bias: bool = False) -> Tensor:
        """What the convolution makes of its inputs from the `first` on. bias: one part must have it."""
        weight = self.weight[:, first : first + input.shape[1]]
        return F.conv2d(input, weight, self.bias if bias else None, self.stride, self.padding)


class Parted(nn.Sequential):
    """`conv` by parts."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> None:
        part = PartConv(inputs, outputs, size, stride, padding=size // 2, bias=False)
        super().__init__(part, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def part(self, first: int, x: Float[Tensor, "b _ h w"], *, bias: bool = False) -> Tensor:
        """See `PartConv`."""
        return self[0](x, first, bias=bias)

    def join(self, total: Tensor) -> Tensor:
        """Batch norm and ReLU of the sum of all parts."""
        return self[2](self[1](total))


class Residual(nn.Module):
    """x plus what two convolutions say of it, by way of fewer channels (He et al., 2016)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.inner = conv(channels, inner)
        self.outer = nn.Sequential(*linear(inner, channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(x + self.outer(self.inner(x)))


class Quarters(nn.Module):
    """A map enlarged to twice its size, bilinearly, as four sub-pixels of each channel, for a pixel shuffle.

    given: for every channel of the answer whether it is one of the map's, in their order, or else zeros.

    A convolution of all channels with mostly zeros: runtimes are quicker at that than at one of each channel alone.
    """

    weights: Tensor

    def __init__(self, given: Sequence[bool]) -> None:
        super().__init__()
        channels = sum(given)
        shares = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
        each = (shares[:, None, :, None] * shares[None, :, None, :]).reshape(4, 1, 3, 3)
        of = accumulate(given, initial=0)
        weights = torch.cat(
            [
                F.pad(each, (0, 0, 0, 0, i, channels - 1 - i)) if is_one else torch.zeros(4, channels, 3, 3)
                for i, is_one in zip(of, given, strict=False)
            ]
        )
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ h w"]:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.weights.to(x.dtype))


def twice(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    """Every position as 2 x 2."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def places(like: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b 2 h w"]:
    """Where each position of a map lies in the picture, x and y from -1 to 1."""
    b, _, h, w = like.shape
    y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) * (2 / h) - 1
    x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) * (2 / w) - 1
    return torch.stack((x[None, :].expand(h, w), y[:, None].expand(h, w))).expand(b, 2, h, w)
