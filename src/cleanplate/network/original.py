"""The two reference networks of 2020, rebuilt from their published layer lists, for comparison.

Everything runs at full resolution, without down-sampling, so a mask pixel sees 9 px of the picture and a depth pixel
19 px. Convolutions have no bias; each is followed by batch norm. The last convolution of a head has three channels:
`Original` takes each head's mean over its three, `OriginalSmall` (the mask branch alone, one output for both targets)
reads channel 0 as the mask and channel 1 as the depth. With exactly 1,977,280 and 305,728 parameters.

Neither knows what to do with the plate's depth: the argument is accepted, so that every network is called alike, and
not used.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cleanplate.network.output import Output


def _conv(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class MaskBranch(nn.Module):
    """Both pictures through the same small stem, then side by side through a wide layer: three channels out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, 32),
            nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
            nn.Conv2d(32, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(_conv(128, 256), nn.Conv2d(256, 3, 3, padding=1, bias=False))

    def forward(self, plate: Float[Tensor, "b 3 h w"], frame: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        return self.head(torch.cat((self.stem(plate), self.stem(frame)), dim=1))


class OriginalSmall(nn.Module):
    """The mask branch alone: 305,728 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = MaskBranch()

    def forward(
        self,
        plate: Float[Tensor, "b 3 h w"],
        frame: Float[Tensor, "b 3 h w"],
        plate_depth: Float[Tensor, "b 1 h w"] | None = None,  # noqa: ARG002
    ) -> Output:
        """plate, frame: RGB in 0..1, same size. plate_depth: not used."""
        answer = self.branch(plate, frame)
        return Output(answer[:, 0:1], answer[:, 1:2])


class Original(nn.Module):
    """A mask branch and a depth branch side by side: 1,977,280 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = MaskBranch()
        self.depth = nn.Sequential(
            _conv(6, 64),
            _conv(64, 64),
            Residual(_conv(64, 64), _conv(64, 64)),
            _conv(64, 128),
            _conv(128, 256),
            Residual(_conv(256, 256), _conv(256, 256, relu=False)),
            nn.Conv2d(256, 3, 3, padding=1, bias=False),
        )

    def forward(
        self,
        plate: Float[Tensor, "b 3 h w"],
        frame: Float[Tensor, "b 3 h w"],
        plate_depth: Float[Tensor, "b 1 h w"] | None = None,  # noqa: ARG002
    ) -> Output:
        """plate, frame: RGB in 0..1, same size. plate_depth: not used."""
        depth = self.depth(torch.cat((plate, frame), dim=1))
        return Output(self.mask(plate, frame).mean(1, keepdim=True), depth.mean(1, keepdim=True))
