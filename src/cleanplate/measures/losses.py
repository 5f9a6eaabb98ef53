"""Losses: named parts of how far a mask and a depth map are from the truth, and their weighted total.

A part is a scalar tensor >= 0, 0 when the prediction is the truth; its name is its weight's field in `LossSettings`.
Everything is computed in float32, under autocast as well.

Mask parts compare logits, or p = sigmoid(logits), with the soft alpha a:

- mask_bce: mean of -a ln p - (1 - a) ln(1 - p);
- mask_dice: 1 - (2 sum pa + s) / (sum p^2 + sum a^2 + s) per scene, then the mean. The squares make p = a the optimum
  for soft alpha too (Milletari et al., V-Net, 2016); s, a thousandth of the picture, gives empty scenes a gradient;
- mask_l1, mask_l2: mean |p - a|, mean (p - a)^2; mask_ssim3: (1 - SSIM) / 2 of p and a, window 3.

Depth parts act on v = ln z at the pixels whose truth is known, with the error d = v - v_true:

- depth_l1, depth_l2: mean |d|, mean d^2; depth_front: mean |d| where something stands in front (alpha >= 0.5), which is
  what a depth is asked for, and little of most pictures;
- depth_ssim3, depth_ssim11: mean (1 - SSIM) / 2 of (v - ln 0.1) / (ln 100 - ln 0.1), windows 3 and 11, over the windows
  that touch no unknown pixel;
- depth_gradient: mean |d_x| + mean |d_y| of d subsampled by 1, 2, 4, 8, mean of the four (Li and Snavely, MegaDepth,
  2018);
- depth_silog: sqrt(mean d^2 - 0.85 (mean d)^2) per scene, then the mean (Eigen et al., 2014; the root and 0.85 as in
  Lee et al., BTS, 2019): a wrong scale costs sqrt(0.15) of what it would cost in mean d^2.

Relative labels are known up to scale and shift, so there the prediction's z and the label are first normalised per
scene to zero median and unit mean absolute deviation (Ranftl et al., MiDaS, 2020), and v is that; SSIM sees v / 6 +
1/2. Where the label came from relative disparity it is 1/z that is known up to scale and shift: the same, of 1/z.

SSIM is the one of Wang et al., 2004, with Gaussian windows of sigma 1.5 that lie wholly inside the picture. The blur
is two products with banded matrices: on one CPU core 4 to 8 times faster than the convolutions of kornia, the
reference in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cleanplate.settings import LossSettings
from cleanplate.types import FAR_M, MASK_THRESHOLD, NEAR_M, DepthKind

Maps = Float[Tensor, "b 1 h w"]
Known = Bool[Tensor, "b 1 h w"]
Scalar = Float[Tensor, ""]
Parts = dict[str, Tensor]
Count = Callable[[Tensor], Tensor]
"""What a sum over known pixels (or scenes) is divided by, given how many this process has. With several processes it is
the mean over them: then the mean of their losses is the loss of one process with all their samples."""

MASK_PARTS = ("mask_bce", "mask_dice", "mask_l1", "mask_l2", "mask_ssim3")
DEPTH_PARTS = ("depth_l1", "depth_l2", "depth_front", "depth_ssim3", "depth_ssim11", "depth_gradient", "depth_silog")

SILOG_SHARE = 0.85
GRADIENT_STEPS = (1, 2, 4, 8)
SIGMA = 1.5
LOG_NEAR, LOG_RANGE = math.log(NEAR_M), math.log(FAR_M / NEAR_M)
RELATIVE_RANGE = 6.0


@runtime_checkable
class Predicted(Protocol):
    """What a network gives: logits of alpha and ln of depth, both [b, 1, h, w]."""

    @property
    def mask_logits(self) -> Tensor: ...
    @property
    def log_depth(self) -> Tensor: ...


@runtime_checkable
class Truth(Protocol):
    """What a batch knows: alpha 0..1 and depth (0 = unknown), both [b, 1, h, w]."""

    @property
    def alpha(self) -> Tensor: ...
    @property
    def depth(self) -> Tensor: ...


def at_least_one(count: Tensor) -> Tensor:
    """What a single process divides by."""
    return count.clamp(min=1)


def total(
    output: Predicted, batch: Truth, settings: LossSettings, kind: DepthKind = "metric", over: Count = at_least_one
) -> tuple[Tensor, Parts]:
    """The loss to minimise, and all its parts by name, with "mask", "depth" and "total" among them.

    total = settings.mask * mask + settings.depth * depth, each the weighted sum of its parts. Parts of weight 0 are not
    computed and not named. kind: what is known of the depth labels.
    """
    weights = vars(settings)
    wanted = {name for name in MASK_PARTS + DEPTH_PARTS if weights[name] > 0}
    masks = mask_parts(output.mask_logits, batch.alpha, wanted) if settings.mask > 0 else {}
    front = batch.alpha >= MASK_THRESHOLD
    depths = depth_parts(output.log_depth, batch.depth, kind, wanted, over, front) if settings.depth > 0 else {}
    zero = output.mask_logits.new_zeros((), dtype=torch.float32)
    mask = sum((weights[name] * part for name, part in masks.items()), zero)
    depth = sum((weights[name] * part for name, part in depths.items()), zero)
    whole = settings.mask * mask + settings.depth * depth
    return whole, {**masks, **depths, "mask": mask, "depth": depth, "total": whole}


def mask_parts(logits: Maps, alpha: Maps, only: Collection[str] | None = None) -> Parts:
    """The mask parts by name (those in `only`, or all). alpha is 0..1 and may be soft."""
    wanted = set(MASK_PARTS if only is None else only)
    with torch.autocast(logits.device.type, enabled=False):
        logits, alpha = logits.float(), alpha.float()
        parts: Parts = {}
        if "mask_bce" in wanted:
            parts["mask_bce"] = F.binary_cross_entropy_with_logits(logits, alpha)
        share = logits.sigmoid()
        if "mask_dice" in wanted:
            parts["mask_dice"] = _dice(share, alpha)
        if "mask_l1" in wanted:
            parts["mask_l1"] = F.l1_loss(share, alpha)
        if "mask_l2" in wanted:
            parts["mask_l2"] = F.mse_loss(share, alpha)
        if "mask_ssim3" in wanted:
            parts["mask_ssim3"] = _ssim_loss(share, alpha, torch.ones_like(alpha), 3)
        return parts


def depth_parts(
    log_depth: Maps,
    depth: Maps,
    kind: DepthKind = "metric",
    only: Collection[str] | None = None,
    over: Count = at_least_one,
    front: Known | None = None,
) -> Parts:
    """The depth parts by name (those in `only`, or all). depth: 0 = unknown; such pixels get exactly zero gradient.

    front: where something stands in front; without it there is no depth_front. Without any known pixel every part is 0
    and still carries a (zero) gradient.
    """
    wanted = set(DEPTH_PARTS if only is None else only)
    with torch.autocast(log_depth.device.type, enabled=False):
        known = depth > 0
        compared = _logarithmic if kind == "metric" else _normalised_inverse if kind == "disparity" else _normalised
        value, truth, unit = compared(log_depth.float(), depth.float(), known)
        error = value - truth
        seen = known.float()  # sums and products of bool tensors are slow on a CPU
        count = over(seen.sum())
        parts: Parts = {}
        if "depth_l1" in wanted:
            parts["depth_l1"] = error.abs().sum() / count
        if "depth_l2" in wanted:
            parts["depth_l2"] = error.square().sum() / count
        if "depth_front" in wanted and front is not None:
            inside = seen * front.float()
            parts["depth_front"] = (error.abs() * inside).sum() / over(inside.sum())
        for name, window in (("depth_ssim3", 3), ("depth_ssim11", 11)):
            if name in wanted:
                parts[name] = _ssim_loss(value * unit[0] + unit[1], truth * unit[0] + unit[1], seen, window, over)
        if "depth_gradient" in wanted:
            parts["depth_gradient"] = _gradient_loss(error, seen, over)
        if "depth_silog" in wanted:
            parts["depth_silog"] = _silog(error, seen, over)
        return parts


def mask_map(logits: Maps, alpha: Maps) -> Maps:
    """Binary cross-entropy of every pixel, float32, for panels."""
    return F.binary_cross_entropy_with_logits(logits.float(), alpha.float(), reduction="none")


def depth_map(log_depth: Maps, depth: Maps) -> Maps:
    """|ln z - ln z_true| of every pixel, float32, 0 where the truth is unknown, for panels."""
    value, truth, _ = _logarithmic(log_depth.float(), depth.float(), depth > 0)
    return (value - truth).abs()


def _logarithmic(log_depth: Maps, depth: Maps, known: Known) -> tuple[Maps, Maps, tuple[float, float]]:
    """Predicted and true ln z, constant where unknown (so no gradient gets there), and the line to SSIM's 0..1."""
    value = torch.where(known, log_depth, 0.0)
    truth = torch.where(known, depth, 1.0).log()
    return value, truth, (1 / LOG_RANGE, -LOG_NEAR / LOG_RANGE)


def _normalised(log_depth: Maps, depth: Maps, known: Known) -> tuple[Maps, Maps, tuple[float, float]]:
    """As `_logarithmic`, for z and label of zero median and unit mean absolute deviation in each scene."""
    # The scale of z is free, so taking the middle away keeps exp from overflowing and changes nothing.
    middle = _median(log_depth.detach(), known)
    z = torch.where(known, log_depth - middle, 0.0).clamp(-8, 8).exp()
    return _standard(z, known), _standard(depth, known), (1 / RELATIVE_RANGE, 0.5)


def _normalised_inverse(log_depth: Maps, depth: Maps, known: Known) -> tuple[Maps, Maps, tuple[float, float]]:
    """As `_normalised`, for 1/z of both."""
    return _normalised(-log_depth, torch.where(known, 1 / depth, 0.0), known)


def _standard(z: Maps, known: Known) -> Maps:
    middle = _median(z, known)
    away = torch.where(known, z - middle, 0.0)
    spread = away.abs().sum((1, 2, 3), keepdim=True) / known.float().sum((1, 2, 3), keepdim=True).clamp(min=1)
    # A flat map has no spread: the floor keeps it flat instead of blowing rounding errors up.
    return away / (spread + 1e-4 * middle.detach().abs() + 1e-12)


def _median(values: Maps, known: Known) -> Float[Tensor, "b 1 1 1"]:
    """Median of each scene's known values; 0 where none is known."""
    only_known = torch.where(known, values, torch.nan).flatten(1)
    return only_known.nanmedian(dim=1).values.nan_to_num(0.0).view(-1, 1, 1, 1)


def _dice(share: Maps, alpha: Maps) -> Scalar:
    smooth = share[0].numel() / 1000
    both = (share * alpha).sum((1, 2, 3))
    each = (share.square() + alpha.square()).sum((1, 2, 3))
    return (1 - (2 * both + smooth) / (each + smooth)).mean()


def _silog(error: Maps, seen: Maps, over: Count) -> Scalar:
    count = seen.sum((1, 2, 3))
    pixels = count.clamp(min=1)
    mean = error.sum((1, 2, 3)) / pixels
    inside = error.square().sum((1, 2, 3)) / pixels - SILOG_SHARE * mean.square()
    # The root has no slope at 0; a small floor gives it one, of 0, and is taken away again.
    root = (inside.clamp(min=0) + 1e-6).sqrt() - 1e-3
    return root.sum() / over((count > 0).float().sum())


def _gradient_loss(error: Maps, seen: Maps, over: Count) -> Scalar:
    """Mean over subsampling steps of the mean absolute slope of the error, between neighbours both known."""
    loss = error.new_zeros(())
    for step in GRADIENT_STEPS:
        e, k = error[..., ::step, ::step], seen[..., ::step, ::step]
        for axis in (-1, -2):
            both = k.narrow(axis, 1, k.shape[axis] - 1) * k.narrow(axis, 0, k.shape[axis] - 1)
            slope = e.diff(dim=axis).abs()
            loss = loss + (slope * both).sum() / over(both.sum())
    return loss / len(GRADIENT_STEPS)


def _ssim_loss(value: Maps, truth: Maps, seen: Maps, window: int, over: Count = at_least_one) -> Scalar:
    """Mean (1 - SSIM) / 2 over the windows that touch no unknown pixel; 0 when there is none."""
    if min(value.shape[-2:]) < window:
        return value.sum() * 0.0
    rows, columns = (_band(side, window, value.device) for side in value.shape[-2:])
    valid = (_blur(_stacked(1 - seen), (rows > 0).float(), (columns > 0).float()) == 0).float()
    alike = _ssim(_stacked(value), _stacked(truth), rows, columns)
    return ((1 - alike) * valid).sum() / (2 * over(valid.sum()))


def ssim_map(a: Maps, b: Maps, window: int) -> Float[Tensor, "b 1 _ _"]:
    """SSIM of each Gaussian window inside two pictures of range 0..1: [b, 1, h - window + 1, w - window + 1].

    The sides must reach the window.
    """
    rows, columns = (_band(side, window, a.device) for side in a.shape[-2:])
    return _ssim(_stacked(a), _stacked(b), rows, columns).transpose(0, 1)[:, None]


Stacked = Float[Tensor, "h b w"]


def _stacked(maps: Maps) -> Stacked:
    """Rows first, so that a blur along either axis is one matrix product without a copy."""
    return maps[:, 0].transpose(0, 1).contiguous()


def _blur(maps: Stacked, rows: Tensor, columns: Tensor) -> Tensor:
    high, batch, wide = maps.shape
    down = rows.T @ maps.view(high, batch * wide)
    return (down.view(-1, wide) @ columns).view(rows.shape[1], batch, columns.shape[1])


def _ssim(a: Stacked, b: Stacked, rows: Tensor, columns: Tensor) -> Tensor:
    mean_a, mean_b = _blur(a, rows, columns), _blur(b, rows, columns)
    power, product = _blur(a * a + b * b, rows, columns), _blur(a * b, rows, columns)
    mean_product, mean_power = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    alike = (2 * mean_product + 1e-4) * (2 * (product - mean_product) + 9e-4)
    return alike / ((mean_power + 1e-4) * (power - mean_power + 9e-4))


def _band(length: int, window: int, device: torch.device) -> Float[Tensor, "n m"]:
    """The matrix whose product with a row is that row seen through a Gaussian window at each of its places."""
    offset = torch.arange(length, device=device)[:, None] - torch.arange(length - window + 1, device=device)
    inside = (offset >= 0) & (offset < window)
    weights = torch.exp(-((offset - (window - 1) / 2) ** 2) / (2 * SIGMA**2)) * inside
    return weights / weights.sum(0)
