"""Standing: how far away the things in front are, looked up in the plate's depth where they stand.

Contract: `Standing` takes what the way back up knows at 1/8 resolution (its map, the mask's logit, ln z of both layers,
and the plate's own depth where that is given) and says ln z of what stands in front again. It needs no layer at a finer
resolution, and no size of picture is special to it.

Maths: a thing that stands is as far away as the ground at its feet. With a the mask, per column, from any place down
through the mask until it ends, the share of the way's end at row j, seen from row i, is

    w(i, j) = a(i+1) ... a(j) (1 - a(j+1)),   i <= j, a = 0 below the picture,

and c(i) = sum_j w(i, j) ln z_plate(j) is the depth at the lower end of what is seen there. A column through a table's
top ends in the air, so the places of the picture then ask one another (dot-product attention, Vaswani et al., 2017, on
the map at 1/32): whoever is inside the mask may answer, the lower his end lies and the nearer his column, the louder
to begin with. Last, each place chooses between three votes, the answer of the others, its own column's, and what the
way back up said without asking, which is all there is for things that hang or are cut off by the picture's edge.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cleanplate.network.layers import Parted, Residual, conv, places

Map = Float[Tensor, "b 1 h w"]

CELL = 4
"""Side of a cell that asks and answers, in places of the map at 1/8."""


class Asking(nn.Module):
    """Dot-product attention among cells; how loud a low and a near one speaks is learned, and starts loud."""

    def __init__(self) -> None:
        super().__init__()
        self.loudness = nn.Parameter(torch.tensor([4.0, 8.0]))

    def forward(
        self,
        values: Float[Tensor, "b n 1"],
        query: Float[Tensor, "b d n"],
        key: Float[Tensor, "b d n"],
        share: Float[Tensor, "b 1 n"],
        low: Float[Tensor, "b 1 n"],
        across: Float[Tensor, "b n 1"],
    ) -> Float[Tensor, "b n 1"]:
        """values: ln z. share: of the cell's places inside the mask. low: row of the lower end. across: column."""
        lowness, nearness = self.loudness
        scores = query.transpose(1, 2) @ key / math.sqrt(query.shape[1]) + (share + 1e-3).log() + lowness * low
        scores = scores - nearness * (across - across.transpose(1, 2)).square()
        return scores.softmax(dim=2) @ values


class Standing(nn.Module):
    """channels: of the map at 1/8. width: of what the cells know of themselves."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.cell = nn.Sequential(Parted(channels + 5, width, stride=2), conv(width, width, stride=2))
        self.know = nn.Sequential(conv(width + 2, width, size=1), Residual(width, width))
        self.query, self.key = nn.Conv2d(width, 16, 1), nn.Conv2d(width, 16, 1)
        self.ask = Asking()
        self.vote = nn.Conv2d(channels + 4, 3, 1)
        with torch.no_grad():
            for layer in (self.query, self.key, self.vote):
                layer.weight.mul_(0.3)
                nn.init.zeros_(layer.bias)  # ty: ignore[invalid-argument-type]

    def forward(self, x: Float[Tensor, "b c h w"], logits: Map, behind: Map, front: Map, known: Map) -> Map:
        """x: the map. logits: the mask's. behind, front: ln z of the layers. known: share of `behind` that was given.

        Nothing but the front's own depth is taught through here: mask and plate are taken as they are.
        """
        # Twice as steep: a product over many rows must not fade inside the mask.
        alpha, behind = (2 * logits.detach().float()).sigmoid(), behind.detach().float()
        ends = lower_ends(alpha)
        row = places(alpha)[:, 1:]
        lowest, depth = (_at(ends, values) for values in (row, behind))
        others = self._ask(self._cells(x, alpha, behind, known, lowest, depth), alpha, lowest, depth)
        others = F.interpolate(others, scale_factor=CELL, mode="bilinear", align_corners=False)
        apart = (alpha, depth - behind, others - depth, front.float() - depth)
        weights = self.vote(torch.cat((x, *(part.to(x.dtype) for part in apart)), dim=1)).float().softmax(dim=1)
        return (weights * torch.cat((others, depth, front.float()), dim=1)).sum(1, keepdim=True)

    def _cells(self, x: Tensor, *told: Map) -> Float[Tensor, "b d _ _"]:
        """The map and what is told of every place, by cells."""
        first = self.cell[0]
        assert isinstance(first, Parted)
        beside = torch.cat([part.to(x.dtype) for part in told], dim=1)
        return self.cell[1](first.join(first.part(0, x, bias=True) + first.part(self.channels, beside)))

    def _ask(self, cells: Tensor, alpha: Tensor, lowest: Tensor, depth: Tensor) -> Tensor:
        """The cells' answers to one another: ln z, [b, 1, h, w] of the map at 1/32."""
        share = F.avg_pool2d(alpha, CELL)
        low, values = (F.avg_pool2d(alpha * part, CELL) / (share + 1e-4) for part in (lowest, depth))
        here = places(cells)
        known = self.know(torch.cat((cells, here.to(cells.dtype)), dim=1))
        query, key = (part(known).float() for part in (self.query, self.key))
        flat = (part.flatten(2) for part in (query, key, share, low))
        across = here[:, 0].flatten(1)[..., None].to(alpha.dtype)
        answers = self.ask(values.flatten(2).transpose(1, 2), *flat, across)
        return answers.transpose(1, 2).reshape(share.shape)


def lower_ends(alpha: Map) -> Float[Tensor, "b w h h"]:
    """w(i, j) of the module's text for every column: each row's weights sum to 1."""
    columns = alpha[:, 0].transpose(1, 2).clamp(1e-4, 1 - 1e-4)
    way = columns.log().cumsum(2)
    stops = 1 - F.pad(columns[:, :, 1:], (0, 1))
    rows = torch.arange(alpha.shape[2], device=alpha.device)
    below = rows[None, :] >= rows[:, None]
    # exp is slow where it underflows: e^-40 is nothing, too.
    shares = torch.where(below, way[:, :, None, :] - way[:, :, :, None], -40.0).clamp(min=-40.0).exp()
    return shares * stops[:, :, None, :]


def _at(ends: Float[Tensor, "b w h h"], values: Map) -> Map:
    """The values at the lower ends."""
    columns = values.expand(ends.shape[0], -1, -1, -1)[:, 0].transpose(1, 2)
    return (ends * columns[:, :, None]).sum(3).transpose(1, 2)[:, None]
