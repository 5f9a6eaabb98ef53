"""PlateNet: a plate and a frame in, what stands in front (mask) and how far away everything is (depth) out.

    encode(picture)                 -> the picture and its features at 1/4, 1/8, 1/16       (the same weights for both)
    remember(plate, plate_depth)    -> what a frame needs to know of the plate           (once for a whole video)
    decode(plate, frame, size)      -> mask logits, ln depth                     (meet per scale, context, way back up)

One encoder looks at both pictures. At each scale the two meet in one 1x1 convolution whose first weights are a
difference, W (frame - plate): the network starts as a change detector and learns from there what kind of change
matters. A convolution of both is the sum of one of each: the plate's is what is remembered, together with what the
plate alone tells of the scene (`Scene`), which costs a video nothing. At 1/32 the mean over the whole picture and the
place in it join every position, so the answer anywhere depends on the picture everywhere: a change of light is told
from a large plain object.

The way back up answers at every scale: the mask's logit, and ln z of the plate and of what stands in front, of 1/16,
1/8 and 1/4 resolution are enlarged and added up, as in a Laplacian pyramid (Burt and Adelson, 1983), so that depth,
which is smooth, need not squeeze through the finest maps. The last map, at 1/2, sees both pictures and their plain
difference, and adds four sub-pixels to each of these maps (pixel shuffle): no layer runs at full resolution, and edges
are as sharp as the pictures.

Depth is two layers (Wang and Adelson, Representing moving images with layers, 1994): the plate's, and where the mask
says so, that of what stands in front. So depth jumps exactly where the mask does, and neither layer has to.
What stands in front is as far away as the ground it stands on, which is looked up in the plate's layer (`standing`).
The plate's depth, where known, enters three times: as features by its own stem, (scaled ln z, share of known pixels);
as that ground; and as the plate's layer itself: the network says per pixel how far to trust it.

Made for one core of a processor: widths are multiples of 16, the lanes of its vectors; what is added is not copied, as
what is concatenated would be; almost all weights work at 1/8 resolution or less. Every convolution is followed by batch
norm and ReLU and folds into one multiply-add at inference. How blocks and widths were chosen: docs/network.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cleanplate.network.layers import Parted, Quarters, Residual, conv, places, twice
from cleanplate.network.output import Output, layered
from cleanplate.network.standing import Standing
from cleanplate.types import FAR_M, NEAR_M

STRIDE = 32
"""Pictures are padded to a multiple of this inside, by repeating their border."""

LOG_RANGE = math.log(FAR_M / NEAR_M)

Features = tuple[Tensor, ...]
"""A picture (padded, less its usual mean) and its maps at 1/4, 1/8 and 1/16."""


class Plate(NamedTuple):
    """What is remembered of a plate; the names end in what the picture's sides are divided by.

    f1: the picture, as in Features. d2, m4, m8, m16: its parts of the map at 1/2 and of the meetings.
    k8: what is known of its depth: mean of ln z, scaled to 0..1, over the known pixels, and their share.
    k1: the same per pixel; None where no depth was given.
    """

    f1: Float[Tensor, "p 3 h w"]
    d2: Tensor
    m4: Tensor
    m8: Tensor
    m16: Tensor
    k8: Float[Tensor, "p 2 _ _"]
    k1: Float[Tensor, "p 2 h w"] | None


class Encoder(nn.Module):
    """One picture -> its maps at 1/4, 1/8, 1/16."""

    def __init__(self, stem: int, widths: tuple[int, int, int], inner: tuple[int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stages = nn.ModuleList(
            (
                nn.Sequential(conv(3, stem, stride=2), conv(stem, fine, stride=2)),
                nn.Sequential(conv(fine, middle, stride=2), Residual(middle, inner[0])),
                nn.Sequential(conv(middle, coarse, stride=2), Residual(coarse, inner[1])),
            )
        )

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Features:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class Meeting(nn.Module):
    """Maps of both pictures (and what else is known of the plate there) -> one map; it starts as a difference."""

    def __init__(self, channels: int, extra: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.channels, self.extra = channels, extra
        self.mix = Parted(2 * channels + sum(extra), outputs, size=1)
        _start_as_difference(self.mix, channels)

    def plate(self, plate: Float[Tensor, "p c h w"], *extra: Tensor, coarser: bool = False) -> Float[Tensor, "p d h w"]:
        """The plate's part. coarser: what else is known of it has half its resolution."""
        total = self.mix.part(self.channels, plate, bias=True)
        for first, known in zip(accumulate(self.extra, initial=2 * self.channels), extra, strict=False):
            part = self.mix.part(first, known)
            total = total + (twice(part) if coarser else part)
        return total

    def forward(self, frame: Float[Tensor, "b c h w"], plate: Float[Tensor, "p d h w"]) -> Float[Tensor, "b d h w"]:
        return self.mix.join(self.mix.part(0, frame) + plate)


class Context(nn.Module):
    """The coarsest map at half its resolution, with the mean over the whole picture and its own place at each position.

    The place (x, y in -1..1) lets depth lean on what rooms and streets have in common: near below, far above.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = conv(channels, width, stride=2)
        self.whole = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True))
        self.mix = nn.Sequential(
            conv(2 * width + 2, width, size=1), Residual(width, width), Residual(width, width), conv(width, channels, 1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        low = self.down(x)
        whole = self.whole(low.mean(dim=(2, 3)))[:, :, None, None].expand_as(low)
        return x + twice(self.mix(torch.cat((low, whole, places(low)), dim=1)))


class Scene(nn.Sequential):
    """What the plate alone tells of the scene, at 1/16, from its map and its depth's there.

    It is asked once per plate, so a video pays nothing for it.
    """

    def __init__(self, channels: int, inner: int, extra: int) -> None:
        super().__init__(
            conv(channels + extra, channels, size=1), Residual(channels, inner), Context(channels, channels)
        )


class PlateNet(nn.Module):
    """See the module's text. widths: at 1/4, 1/8 and 1/16 resolution; inner: of the blocks at 1/8 and 1/16."""

    mean: Tensor

    def __init__(
        self,
        stem: int = 16,
        widths: tuple[int, int, int] = (32, 48, 96),
        inner: tuple[int, int] = (32, 64),
        context: int = 128,
        fine: int = 16,
        prior: int = 16,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.encoder = Encoder(stem, widths, inner)
        self.prior = conv(2, prior)
        self.detail = Parted(9, fine, stride=2)  # of frame, plate, and how far they are apart
        _start_as_difference(self.detail, 3)
        extras = (prior,), (widths[2],), (prior, widths[2])
        self.meet = nn.ModuleList(Meeting(w, extra, w) for w, extra in zip(widths, extras, strict=True))
        self.scene = Scene(widths[2], inner[1], prior)
        self.context = Context(widths[2], context)
        self.settle = conv(widths[2], widths[2])
        low, middle, high = widths[::-1]
        self.shrink = nn.ModuleList((conv(low, middle, 1), conv(middle, high, 1), conv(high, fine, 1)))
        self.join = nn.ModuleList((conv(middle, middle), conv(high, high)))
        self.standing = Standing(middle)
        rough = [nn.Conv2d(width, 3, 1) for width in (low, middle, high)]
        self.rough = nn.ModuleList(rough)
        self.quarters = Quarters((True, True, False, True))
        self.head = nn.Conv2d(fine, 4 * 4, 3, padding=1)
        # Small first answers: little stands in front (a logit of -2), 2 m away and a metre before the plate.
        with torch.no_grad():
            for layer in (*rough, self.head):
                layer.weight.mul_(0.3)
                nn.init.zeros_(layer.bias)  # ty: ignore[invalid-argument-type]
            rough[0].bias.copy_(torch.tensor([-2.0, math.log(3.0), math.log(2.0)]))  # ty: ignore[missing-union-attribute]

    def encode(self, picture: Float[Tensor, "b 3 h w"], white: float = 1.0) -> Features:
        """RGB in 0..white -> the picture's features."""
        mean = self.mean.flatten() * white
        # A batch norm, because a runtime does that in one pass.
        centred = F.batch_norm(_pad(picture), mean, torch.full_like(mean, white * white), eps=0.0)
        return centred, *self.encoder(centred)

    def remember(self, plate: Features, plate_depth: Float[Tensor, "p 1 h w"] | None = None) -> Plate:
        """A plate's features (and its depth in metres, 0 = unknown) -> what `decode` needs of both."""
        ground = None if plate_depth is None else _ground(plate_depth)
        known = _nothing(plate[1]) if ground is None else F.avg_pool2d(ground, 4).to(plate[1].dtype)
        prior = self.prior(_over_known(known))
        coarse = F.avg_pool2d(prior, 4)
        picture, *maps = plate
        scene = self.scene(torch.cat((maps[2], coarse), dim=1))
        fine, middle, low = self._meetings()
        parts = (
            fine.plate(maps[0], prior),
            middle.plate(maps[1], scene, coarser=True),
            low.plate(maps[2], coarse, scene),
        )
        detail = self.detail.part(3, picture, bias=True)
        return Plate(picture, detail, *parts, _over_known(F.avg_pool2d(known, 2)), ground)

    def decode(self, plate: Plate, frame: Features, size: tuple[int, int]) -> Output:
        """What is remembered of the plate, the frame's features -> Output at `size` (h, w)."""
        met = zip(self._meetings(), frame[1:], (plate.m4, plate.m8, plate.m16), strict=True)
        fine, middle, coarse = (meet(f, p) for meet, f, p in met)
        x = self.settle(self.context(coarse))
        rough = self.rough[0](x)
        for i, skip in enumerate((middle, fine)):
            x = self.join[i](twice(self.shrink[i](x)) + skip)
            rough = _smoothly_twice(rough) + self.rough[i + 1](x)
            if i == 0:
                rough = self._stood(x, rough, plate.k8)
        x = self._detail(plate, frame[0]) + twice(self.shrink[2](x))
        # Sub-pixels of sharp and smooth are added at 1/2: at full size there is but one shuffle.
        four = self.head(x) + self.quarters(_smoothly_twice(rough))
        logits, behind, trust, front = _cut(F.pixel_shuffle(four, 2), size).split(1, dim=1)
        if plate.k1 is not None:
            given, sure = _cut(plate.k1, size).split(1, dim=1)
            behind = behind + trust.sigmoid() * sure * (given * LOG_RANGE + math.log(NEAR_M) - behind)
        # The mask learns from masks alone: depth, unknown in many scenes, takes its edges from there.
        return Output(logits, layered(logits, behind, front), (behind, front))

    def forward(
        self,
        plate: Float[Tensor, "b 3 h w"],
        frame: Float[Tensor, "b 3 h w"],
        plate_depth: Float[Tensor, "b 1 h w"] | None = None,
    ) -> Output:
        """plate, frame: RGB in 0..1, any size from 1x1, the same for both. plate_depth: metres, 0 = unknown."""
        # One pass for both, then chunks rather than slices, as in `decode`.
        maps = [both.chunk(2) for both in self.encode(torch.cat((plate, frame)))]
        plates, frames = (tuple(pair[i] for pair in maps) for i in (0, 1))
        return self.decode(self.remember(plates, plate_depth), frames, (frame.shape[-2], frame.shape[-1]))

    def _meetings(self) -> Iterator[Meeting]:
        return (meet for meet in self.meet if isinstance(meet, Meeting))

    def _stood(self, x: Tensor, rough: Tensor, known: Tensor) -> Tensor:
        """The rough answers at 1/8, the depth in front looked up in the plate's, as far as that is known."""
        logits, behind, front = rough.split(1, dim=1)
        scaled, share = (part.expand_as(logits) for part in known.split(1, dim=1))
        ground = torch.lerp(behind, scaled * LOG_RANGE + math.log(NEAR_M), share)
        return torch.cat((logits, behind, self.standing(x, logits, ground, front, share).to(rough.dtype)), dim=1)

    def _detail(self, plate: Plate, frame: Float[Tensor, "b 3 h w"]) -> Tensor:
        """Both pictures and their difference as one map at 1/2."""
        apart = (frame - plate.f1).abs()
        return self.detail.join(self.detail.part(6, apart) + (self.detail.part(0, frame) + plate.d2))


def _ground(depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 ph pw"]:
    """The plate's depth, padded: ln z scaled to 0..1, and 1; both 0 where it is unknown."""
    depth = _pad(depth)
    known = (depth > 0).to(depth.dtype)
    return torch.cat((known * (depth.clamp(NEAR_M, FAR_M).log() - math.log(NEAR_M)) / LOG_RANGE, known), dim=1)


def _nothing(like: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b 2 h w"]:
    """What `_ground` says where no depth was given."""
    return like.new_zeros((like.shape[0], 2, *like.shape[-2:]))


def _over_known(means: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Means of `_ground` over all pixels -> mean of ln z over the known ones, and their share."""
    mean, share = means.split(1, dim=1)
    return torch.cat((mean / share.clamp(min=1e-3), share), dim=1)


def _start_as_difference(layer: nn.Sequential, channels: int) -> None:
    """The weights of a convolution's second `channels` inputs become those of its first, negative."""
    weight = next(layer.parameters())
    with torch.no_grad():
        weight[:, channels : 2 * channels] = -weight[:, :channels]


def _smoothly_twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _pad(x: Tensor) -> Tensor:
    """Right and bottom border repeated up to a multiple of STRIDE."""
    height, width = x.shape[-2:]
    down, right = -height % STRIDE, -width % STRIDE
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def _cut(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `_pad`."""
    return x if tuple(x.shape[-2:]) == size else x[:, :, : size[0], : size[1]]
