"""PlateNet: a plate and a frame in, what stands in front (mask) and how far away everything is (depth) out.

    encode(picture)                      -> features at 1/2, 1/4, 1/8, 1/16       (the same weights for both pictures)
    decode(plate, frame, plate_depth)    -> mask logits, ln depth                 (fuse per scale, context, way back up)

One encoder looks at both pictures, so a plate's features can be computed once and serve a whole video. On the way down
every stage is a *dense block*: each layer sees all earlier maps of its stage and adds a few of its own (Huang et al.,
"Densely Connected Convolutional Networks", 2017), from 1/4 resolution on, where concatenation is cheap on a CPU. At
each scale the two pictures meet as (frame, plate, |frame - plate|). At 1/32 the mean over the whole picture and the
place in it join every position, so the answer anywhere depends on the picture everywhere: a change of light is told
from a large plain object.

The way back up answers at every scale: the mask's logit and ln z of 1/16, 1/8 and 1/4 resolution are enlarged and added
up, as in a Laplacian pyramid (Burt and Adelson, 1983), so that depth, which is smooth, need not squeeze through the
finest maps. The last map, at 1/2, sees the plain difference of the two pictures, folded so that every position holds
its four pixels (pixel unshuffle), and adds four sub-pixels to each answer (pixel shuffle): no layer runs at full
resolution, and edges are as sharp as the pictures.

The plate's depth, where known, enters twice: as features by its own stem, (scaled ln z, share of known pixels), and as
an answer: where nothing stands in front it *is* the depth, so the network says per pixel how far to trust it.
Every convolution is followed by batch norm and ReLU and folds into one multiply-add at inference.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cleanplate.network.output import Output
from cleanplate.types import FAR_M, NEAR_M

STRIDE = 32
"""Pictures are padded to a multiple of this inside, by repeating their border."""

Features = tuple[Tensor, ...]
"""A picture (padded, less its usual mean) and its maps at 1/2, 1/4, 1/8 and 1/16."""


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; same padding."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class DenseBlock(nn.Module):
    """Layers that each see the input and all earlier layers' maps: `inputs` + layers * growth channels out."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(inputs + growth * i, growth) for i in range(layers))
        self.channels = inputs + growth * layers

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x


class Encoder(nn.Module):
    """One picture -> its maps at 1/2, 1/4, 1/8, 1/16."""

    def __init__(self, stem: int, widths: tuple[int, int, int], growths: tuple[int, int, int], layers: int) -> None:
        super().__init__()
        self.stem = conv(3, stem, stride=2)
        self.down, self.dense = nn.ModuleList(), nn.ModuleList()
        self.channels = [stem]
        for width, growth in zip(widths, growths, strict=True):
            self.down.append(conv(self.channels[-1], width, stride=2))
            self.dense.append(DenseBlock(width, growth, layers))
            self.channels.append(width + growth * layers)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Features:
        maps = [self.stem(x)]
        for down, dense in zip(self.down, self.dense, strict=True):
            maps.append(dense(down(maps[-1])))
        return tuple(maps)


class Context(nn.Module):
    """The coarsest map at half its resolution, with the mean over the whole picture and its own place at each position.

    The place (x, y in -1..1) lets depth lean on what rooms and streets have in common: near below, far above.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = conv(channels, channels, stride=2)
        self.whole = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(inplace=True))
        self.mix = nn.Sequential(
            conv(2 * channels + 2, channels, size=1), conv(channels, channels), conv(channels, channels)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        low = self.down(x)
        whole = self.whole(low.mean(dim=(2, 3)))[:, :, None, None].expand_as(low)
        return torch.cat((x, _twice(self.mix(torch.cat((low, whole, _places(low)), dim=1)))), dim=1)


class PlateNet(nn.Module):
    """See the module's text. Widths and growths are per stage, from 1/4 resolution to 1/16; fused from 1/2 to 1/16."""

    mean: Tensor

    def __init__(
        self,
        stem: int = 16,
        widths: tuple[int, int, int] = (24, 48, 96),
        growths: tuple[int, int, int] = (8, 16, 32),
        layers: int = 2,
        fused: tuple[int, int, int, int] = (12, 24, 48, 128),
        fine: int = 16,
        prior: int = 8,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.encoder = Encoder(stem, widths, growths, layers)
        self.prior = conv(2, prior)
        extra = (2, prior, 0, 0)
        self.fuse = nn.ModuleList(
            conv(3 * c + e, f, size=1) for c, e, f in zip(self.encoder.channels, extra, fused, strict=True)
        )
        self.context = Context(fused[3])
        self.settle = conv(2 * fused[3], fused[3])
        upwards = fused[::-1]
        self.shrink = nn.ModuleList(conv(low, high, size=1) for low, high in pairwise(upwards))
        self.join = nn.ModuleList(conv(2 * width, width) for width in upwards[1:3])
        self.join.append(conv(2 * fused[0] + 3 * 4, fine))
        rough = [nn.Conv2d(width, 2, 1) for width in upwards[:3]]
        self.rough = nn.ModuleList(rough)
        self.head = nn.Conv2d(fine, 3 * 4, 3, padding=1)
        with torch.no_grad():
            for layer in (*rough, self.head):
                layer.weight.mul_(0.3)
                nn.init.zeros_(layer.bias)  # ty: ignore[invalid-argument-type]
            rough[0].bias.copy_(torch.tensor([-2.0, math.log(3.0)]))  # ty: ignore[missing-union-attribute]

    def encode(self, picture: Float[Tensor, "b 3 h w"]) -> Features:
        """RGB in 0..1 -> the picture's features, for `decode`. Do this once for a plate that serves many frames."""
        centred = _pad(picture) - self.mean
        return centred, *self.encoder(centred)

    def decode(
        self, plate: Features, frame: Features, plate_depth: Float[Tensor, "b 1 h w"] | None, size: tuple[int, int]
    ) -> Output:
        """Features of both pictures (and the plate's depth in metres, 0 = unknown) -> Output at `size` (h, w)."""
        priors = self._prior(plate_depth, frame[1])
        fused = []
        for fuse, p, f, prior in zip(self.fuse, plate[1:], frame[1:], priors, strict=True):
            fused.append(fuse(torch.cat((f, p.expand_as(f), (f - p).abs(), *prior), dim=1)))
        fused[0] = torch.cat((fused[0], F.pixel_unshuffle((frame[0] - plate[0]).abs(), 2).to(fused[0].dtype)), dim=1)
        x = self.settle(self.context(fused[3]))
        rough = self.rough[0](x)
        for i, (shrink, join) in enumerate(zip(self.shrink, self.join, strict=True)):
            x = join(torch.cat((_twice(shrink(x)), fused[2 - i]), dim=1))
            rough = _smoothly_twice(rough) + (self.rough[i + 1](x) if i < 2 else 0)
        # Splits, not slices: the gradient of a slice is a full map of zeros.
        fine = _cut(F.pixel_shuffle(self.head(x), 2), size).split(1, dim=1)
        smooth = _cut(_smoothly_twice(rough), size).split(1, dim=1)
        log_depth = smooth[1] + fine[1]
        if plate_depth is not None:
            trust = fine[2].sigmoid() * (plate_depth > 0)
            log_depth = log_depth + trust * (plate_depth.clamp(NEAR_M, FAR_M).log() - log_depth)
        return Output(smooth[0] + fine[0], log_depth)

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
        return self.decode(plates, frames, plate_depth, (frame.shape[-2], frame.shape[-1]))

    def _prior(self, depth: Tensor | None, half: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """The plate's depth as maps at 1/2 and 1/4; where nothing is known, both channels are 0."""
        if depth is None:
            fine = half.new_zeros((len(half), 2, *half.shape[-2:]))
            return (fine,), (self.prior(F.avg_pool2d(fine, 2)),), (), ()
        depth = _pad(depth)
        known = (depth > 0).to(depth.dtype)
        scaled = torch.where(depth > 0, torch.log(depth.clamp(NEAR_M, FAR_M) / NEAR_M) / math.log(FAR_M / NEAR_M), 0)
        share, mean = F.avg_pool2d(known, 2), F.avg_pool2d(scaled, 2)
        fine = torch.cat((mean / share.clamp(min=1e-3), share), dim=1).to(half.dtype)
        return (fine,), (self.prior(F.avg_pool2d(fine, 2)),), (), ()


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _smoothly_twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _places(like: Tensor) -> Tensor:
    """[b, 2, h, w]: where each position of a map lies in the picture, x and y from -1 to 1."""
    b, _, h, w = like.shape
    y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) * (2 / h) - 1
    x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) * (2 / w) - 1
    return torch.stack((x[None, :].expand(h, w), y[:, None].expand(h, w))).expand(b, 2, h, w)


def _pad(x: Tensor) -> Tensor:
    """Right and bottom border repeated up to a multiple of STRIDE."""
    height, width = x.shape[-2:]
    down, right = -height % STRIDE, -width % STRIDE
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def _cut(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `_pad`."""
    return x if tuple(x.shape[-2:]) == size else x[:, :, : size[0], : size[1]]
