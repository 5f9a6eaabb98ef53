"""Graphs: a torch network as modules that take pictures as they are decoded and give alpha and depth; for export.

Contract: `PlateGraph` and `FrameGraph` are the two halves of a video at the working size, the same calculation as
`TorchRuntime`; `PairGraph` is both at once, for networks that cannot look at one picture alone:

    PlateGraph   plate [n, h, w, 3], plate_depth [n, h, w]          -> f1 ... k1 (network.platenet.Plate)
    FrameGraph   frame [n, h, w, 3], f1 ... k1                      -> alpha, depth, behind, front [n, h, w]
    PairGraph    plate, frame [n, h, w, 3], plate_depth [n, h, w]   -> alpha, depth, behind, front [n, h, w]

Pictures are float32 in 0..255. `Smaller` and `Enlarge` bring pictures of any size to
the working size and the answer back: box average, bilinear. joining.py puts these parts together.

Padding is done here, not in the network, and without asking whether it is needed: sizes stay free that way.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cleanplate.inference.torch_runtime import greyed
from cleanplate.network.output import EDGE, Output, layered
from cleanplate.network.platenet import STRIDE, Plate

WHITE = 255.0

Maps = tuple[Tensor, ...]
Picture = Float[Tensor, "n h w 3"]
Single = Float[Tensor, "n h w"]
Small = Float[Tensor, "n small_h small_w"]


class _Graph(nn.Module):
    """A network with what its header says of its pictures and its answers."""

    def __init__(self, network: nn.Module, *, greyscale: bool, depth: bool) -> None:
        super().__init__()
        self.network: Any = network
        self.greyscale, self.depth = greyscale, depth

    def first(self, picture: Picture) -> Float[Tensor, "n 3 h w"]:
        """Channels first, and grey where the network knows nothing else."""
        x = picture.permute(0, 3, 1, 2)
        return greyed(x) if self.greyscale else x


def answers(output: Output, *, depth: bool) -> Maps:
    """alpha, depth, behind, front, each [n, h, w]; a mask-only model's alpha alone."""
    alpha = output.mask_logits.squeeze(1).sigmoid()
    if not depth:
        return (alpha,)
    behind, front = output.layers or (output.log_depth, output.log_depth)
    log_depth = layered(output.mask_logits, behind, front)
    return alpha, log_depth.squeeze(1).exp(), behind.squeeze(1), front.squeeze(1)


class PlateGraph(_Graph):
    """See the module's text."""

    def forward(self, plate: Picture, plate_depth: Single) -> Maps:
        features = self.network.encode(padded(self.first(plate)), WHITE)
        return tuple(self.network.remember(features, padded(plate_depth[:, None])))


class FrameGraph(_Graph):
    """See the module's text."""

    def forward(
        self,
        frame: Picture,
        f1: Tensor,
        d2: Tensor,
        m4: Tensor,
        m8: Tensor,
        m16: Tensor,
        k8: Tensor,
        k1: Tensor,
    ) -> Maps:
        picture = padded(self.first(frame))
        size = picture.shape[-2], picture.shape[-1]
        output = self.network.decode(Plate(f1, d2, m4, m8, m16, k8, k1), self.network.encode(picture, WHITE), size)
        return answers(_cut(output, frame.shape[1], frame.shape[2]), depth=self.depth)


class PairGraph(_Graph):
    """See the module's text. Of networks without stride, so nothing is padded."""

    def forward(self, plate: Picture, frame: Picture, plate_depth: Single) -> Maps:
        output = self.network(self.first(plate) / WHITE, self.first(frame) / WHITE, plate_depth[:, None])
        return answers(output, depth=self.depth)


class Fits(nn.Module):
    """Whether a picture is no larger than the working size."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, frame: Picture) -> Tensor:
        return torch.scalar_tensor(torch.sym_max(frame.shape[1], frame.shape[2])) <= self.side


class Smaller(nn.Module):
    """Both pictures and the plate's depth, brought down so that the longer side is at most `side`; aspect kept.

    Each pixel of a picture is the mean over the box that it covers, which is linear in rows and in columns: two
    products with a matrix of shares. Depth is that of the pixel in the middle of the box.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, plate: Picture, frame: Picture, plate_depth: Single) -> Maps:
        height, width = frame.shape[1:3]
        # round(height * side / longest), in whole numbers: the exporter follows those
        longest = torch.sym_max(torch.sym_max(height, width), self.side)
        new = [torch.sym_max(1, (2 * old * self.side + longest) // (2 * longest)) for old in (height, width)]
        rows, columns = _shares(height, new[0]), _shares(width, new[1]).transpose(0, 1)
        pictures = (
            torch.matmul(torch.matmul(rows, one.permute(0, 3, 1, 2)), columns).permute(0, 2, 3, 1)
            for one in (plate, frame)
        )
        depth = plate_depth.index_select(1, _middles(height, new[0])).index_select(2, _middles(width, new[1]))
        return *pictures, depth


class Enlarge(nn.Module):
    """alpha, behind, front at the working size, and the frame -> alpha (and depth) at the frame's size."""

    def forward(self, frame: Picture, alpha: Small, behind: Small | None = None, front: Small | None = None) -> Maps:
        size = frame.shape[1], frame.shape[2]
        share = _enlarged(alpha, size)
        if behind is None or front is None:
            return (share,)
        near, far = share**EDGE, (1 - share) ** EDGE
        behind = _enlarged(behind, size)
        return share, (behind + near / (near + far) * (_enlarged(front, size) - behind)).exp()


def padded(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c ph pw"]:
    """Right and bottom border repeated up to a multiple of STRIDE, as the network itself would."""
    down, right = ((side + STRIDE - 1) // STRIDE * STRIDE - side for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, down), mode="replicate")


def _cut(output: Output, height: int, width: int) -> Output:
    """Undo `padded`."""
    layers = output.layers or (output.log_depth, output.log_depth)
    logits, log_depth, *two = (one[:, :, :height, :width] for one in (output.mask_logits, output.log_depth, *layers))
    return Output(logits, log_depth, (two[0], two[1]))


def _shares(old: int, new: int) -> Float[Tensor, "new old"]:
    """Which share of new pixel i lies on old pixel j: how much of [i s, (i + 1) s] is in [j, j + 1], over s."""
    step = old / new
    start = torch.arange(new, dtype=torch.float32)[:, None] * step
    pixel = torch.arange(old, dtype=torch.float32)[None]
    return (torch.minimum(start + step, pixel + 1) - torch.maximum(start, pixel)).clamp(min=0) / step


def _middles(old: int, new: int) -> Tensor:
    """The pixel in the middle of each of `new` boxes over `old` pixels."""
    return torch.div((2 * torch.arange(new) + 1) * old, 2 * new, rounding_mode="floor")


def _enlarged(values: Small, size: tuple[int, int]) -> Single:
    return F.interpolate(values[:, None], size, mode="bilinear", align_corners=False)[:, 0]
