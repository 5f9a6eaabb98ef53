"""Losses against torch, kornia and finite differences; what they must not react to."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import get_args

import kornia
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.measures import losses
from cleanplate.settings import LossSettings
from cleanplate.types import DepthKind


def maps(seed: int, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = (3, 1, 24, 20)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, generator=generator)


def depths(seed: int, unknown: float = 0.2, shape: tuple[int, ...] = (3, 1, 24, 20)) -> torch.Tensor:
    return maps(seed, 0.5, 8.0, shape) * (maps(seed + 1, shape=shape) >= unknown)


def test_mask_parts_are_torchs() -> None:
    logits, alpha = maps(1, -3, 3), maps(2)
    parts = losses.mask_parts(logits, alpha)
    share = logits.sigmoid()
    assert parts["mask_bce"].item() == pytest.approx(F.binary_cross_entropy(share, alpha).item(), abs=1e-6)
    assert parts["mask_l1"].item() == pytest.approx(F.l1_loss(share, alpha).item(), abs=1e-6)
    assert parts["mask_l2"].item() == pytest.approx(F.mse_loss(share, alpha).item(), abs=1e-6)
    expected = kornia.losses.ssim_loss(share, alpha, 3, padding="valid")
    assert parts["mask_ssim3"].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("window", [3, 11])
def test_ssim_is_kornias(window: int) -> None:
    a, b = maps(3, shape=(2, 1, 30, 17)), maps(4, shape=(2, 1, 30, 17))
    expected = kornia.metrics.ssim(a, b, window, padding="valid")
    torch.testing.assert_close(losses.ssim_map(a, b, window), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [3, 11])
def test_depth_ssim_is_kornias_on_the_fixed_scale(window: int) -> None:
    log_depth, depth = maps(5, -1, 3), depths(6, unknown=0)
    scaled = [(v - math.log(0.1)) / math.log(1000) for v in (log_depth, depth.log())]
    expected = kornia.losses.ssim_loss(scaled[0], scaled[1], window, padding="valid")
    part = losses.depth_parts(log_depth, depth)[f"depth_ssim{window}"]
    assert part.item() == pytest.approx(expected.item(), abs=1e-5)


def test_depth_parts_by_hand() -> None:
    depth = torch.tensor([[[[1.0, 2.0, 0.0, 4.0]]]])
    log_depth = torch.tensor([[[[0.5, math.log(2.0), 9.0, math.log(4.0) - 1.0]]]])
    parts = losses.depth_parts(log_depth, depth)
    assert parts["depth_l1"].item() == pytest.approx(0.5)
    assert parts["depth_l2"].item() == pytest.approx(1.25 / 3)
    # neighbours both known: only the first two, at step 1, along x
    assert parts["depth_gradient"].item() == pytest.approx(0.5 / 4)
    assert parts["depth_silog"].item() == pytest.approx(math.sqrt(1.25 / 3 - 0.85 * (0.5 / 3) ** 2), abs=2e-3)
    assert parts["depth_ssim3"].item() == 0  # no window fits


def test_gradient_part_sees_coarse_steps() -> None:
    """A ramp of the error grows with the step: 1, 2, 4, 8 times the slope along x, nothing along y."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32) * 0.01
    part = losses.depth_parts(ramp, torch.ones(1, 1, 32, 32), only={"depth_gradient"})
    assert list(part) == ["depth_gradient"]
    assert part["depth_gradient"].item() == pytest.approx(0.01 * (1 + 2 + 4 + 8) / 4, rel=1e-4)


@pytest.mark.parametrize("kind", get_args(DepthKind))
def test_the_truth_costs_nothing(kind: DepthKind) -> None:
    depth = depths(7)
    log_depth = torch.where(depth > 0, depth, 3.0).log()
    for name, part in losses.depth_parts(log_depth, depth, kind).items():
        assert part.item() == pytest.approx(0, abs=1e-5), name
    alpha = maps(8).round()
    for name, part in losses.mask_parts(40 * alpha - 20, alpha).items():
        assert part.item() == pytest.approx(0, abs=1e-5), name


def test_dice_prefers_the_soft_truth() -> None:
    alpha = maps(9, 0.1, 0.9)
    at_truth = losses.mask_parts(torch.logit(alpha), alpha)["mask_dice"]
    assert at_truth.item() == pytest.approx(0, abs=1e-6)
    assert losses.mask_parts(torch.logit(alpha.round().clamp(0.01, 0.99)), alpha)["mask_dice"].item() > 0.01


def test_dice_teaches_empty_scenes() -> None:
    logits = torch.zeros(1, 1, 32, 32, requires_grad=True)
    losses.mask_parts(logits, torch.zeros(1, 1, 32, 32))["mask_dice"].backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_depth_front_is_the_error_where_something_stands() -> None:
    depth, log_depth = depths(13), maps(14, -1, 2)
    front = maps(15) > 0.8
    inside = front & (depth > 0)
    part = losses.depth_parts(log_depth, depth, front=front)["depth_front"]
    assert part.item() == pytest.approx((log_depth - depth.log())[inside].abs().mean().item(), rel=1e-5)
    nothing = losses.depth_parts(log_depth, depth, front=torch.zeros_like(front))["depth_front"]
    assert nothing.item() == 0


@pytest.mark.parametrize("kind", get_args(DepthKind))
@pytest.mark.parametrize("name", losses.DEPTH_PARTS)
def test_unknown_pixels_have_no_gradient(name: str, kind: DepthKind) -> None:
    depth = depths(10, unknown=0.05, shape=(2, 1, 40, 40))
    log_depth = maps(11, -1, 2, depth.shape)
    log_depth[depth == 0] = math.inf  # whatever stands there must not matter
    log_depth.requires_grad_()
    losses.depth_parts(log_depth, depth, kind, {name}, front=maps(12, 0, 1, depth.shape) > 0.5)[name].backward()
    grad = log_depth.grad
    assert grad is not None
    assert torch.isfinite(grad).all()
    assert (grad[depth == 0] == 0).all()
    if not name.startswith("depth_ssim11"):
        assert (grad[depth > 0] != 0).any()


@pytest.mark.parametrize(("window", "last"), [(3, 5), (11, 5)])
def test_windows_that_touch_unknown_pixels_are_dropped(window: int, last: int) -> None:
    """In a picture one window high, an unknown pixel in column 5 hides columns 0 to 5: no window left sees them."""
    depth = torch.full((1, 1, window, 40), 2.0)
    depth[..., window // 2, 5] = 0
    name = f"depth_ssim{window}"
    start = max(0, last - window + 1)  # the first column that only dropped windows see
    for column, seen in ((start, start > 0), (last, False), (last + 1, True), (30, True)):
        log_depth = torch.full_like(depth, math.log(2.0))
        log_depth[..., column] += 3
        cost = losses.depth_parts(log_depth, depth, only={name})[name].item()
        assert (cost > 1e-6) == seen, (column, cost)


@pytest.mark.parametrize("kind", get_args(DepthKind))
def test_nothing_known_costs_nothing_and_has_a_graph(kind: DepthKind) -> None:
    log_depth = maps(13).requires_grad_()
    parts = losses.depth_parts(log_depth, torch.zeros(3, 1, 24, 20), kind)
    torch.stack(list(parts.values())).sum().backward()
    assert all(part.item() == 0 for part in parts.values())
    assert log_depth.grad is not None
    assert (log_depth.grad == 0).all()


def test_silog_forgives_most_of_a_wrong_scale_and_is_smooth_at_the_truth() -> None:
    depth = depths(14, unknown=0.1)
    truth = torch.where(depth > 0, depth, 1.0).log()
    scaled = (truth + math.log(3)).requires_grad_()
    part = losses.depth_parts(scaled, depth)["depth_silog"]
    assert part.item() == pytest.approx(math.sqrt(0.15) * math.log(3), abs=2e-3)
    exact = truth.clone().requires_grad_()
    losses.depth_parts(exact, depth)["depth_silog"].backward()
    assert exact.grad is not None
    assert exact.grad.abs().max() < 1e-4


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5), st.floats(-0.4, 3), st.floats(0.2, 5), st.integers(0, 99))
def test_relative_parts_ignore_scale_and_shift_of_labels_and_scale_of_predictions(
    scale: float, shift: float, factor: float, seed: int
) -> None:
    depth, log_depth = depths(seed), maps(seed + 7, -1, 2)
    moved = torch.where(depth > 0, scale * (depth + shift), 0.0)
    assert (moved[depth > 0] > 0).all()
    expected = losses.depth_parts(log_depth, depth, "relative")
    got = losses.depth_parts(log_depth + math.log(factor), moved, "relative")
    for name, part in expected.items():
        assert got[name].item() == pytest.approx(part.item(), rel=5e-3, abs=2e-4), name


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5), st.floats(0, 3), st.floats(0.2, 5), st.integers(0, 99))
def test_disparity_parts_ignore_scale_and_shift_of_the_labels_disparity(
    scale: float, shift: float, factor: float, seed: int
) -> None:
    depth, log_depth = depths(seed), maps(seed + 7, -1, 2)
    moved = torch.where(depth > 0, 1 / (scale * (1 / depth + shift)), 0.0)
    expected = losses.depth_parts(log_depth, depth, "disparity")
    got = losses.depth_parts(log_depth + math.log(factor), moved, "disparity")
    for name, part in expected.items():
        assert got[name].item() == pytest.approx(part.item(), rel=5e-3, abs=2e-4), name
    # and the truth up to scale and shift of 1/z is perfect, which it is not as a relative depth
    perfect = torch.where(depth > 0, 1 / moved, 1.0).log().neg()
    assert losses.depth_parts(perfect, depth, "disparity")["depth_l1"].item() == pytest.approx(0, abs=2e-3)
    if shift > 0.3:
        assert losses.depth_parts(perfect, depth, "relative")["depth_l1"].item() > 0.02


@pytest.mark.parametrize("name", ["depth_l1", "depth_l2"])
@pytest.mark.parametrize("kind", get_args(DepthKind))
def test_a_step_down_the_slope_brings_depth_nearer_to_the_truth(kind: DepthKind, name: str) -> None:
    """What is predicted too far is pulled nearer, whichever way round the label was given."""
    depth = torch.linspace(1, 4, 256).view(1, 1, 16, 16)
    log_depth = depth.log()
    log_depth[..., 5, 5] += 0.5
    log_depth.requires_grad_()
    losses.depth_parts(log_depth, depth, kind, {name}, front=maps(12, 0, 1, depth.shape) > 0.5)[name].backward()
    assert log_depth.grad is not None
    assert log_depth.grad[..., 5, 5] > 0


@pytest.mark.parametrize("kind", get_args(DepthKind))
def test_gradients_are_those_of_finite_differences(kind: DepthKind) -> None:
    depth = depths(15, shape=(1, 1, 14, 13), unknown=0.02)
    log_depth = maps(16, -1, 2, depth.shape).requires_grad_()
    weights = dict.fromkeys(losses.DEPTH_PARTS, 1.0)

    def value(at: torch.Tensor) -> torch.Tensor:
        parts = losses.depth_parts(at, depth, kind)
        return torch.stack([weights[name] * part for name, part in parts.items()]).sum()

    value(log_depth).backward()
    assert log_depth.grad is not None
    known = (depth > 0).flatten().nonzero()[::17, 0]
    for pixel in known.tolist():
        step = torch.zeros(depth.numel())
        step[pixel] = 2e-3
        both = [value((log_depth + sign * step.view(depth.shape)).detach()).item() for sign in (1, -1)]
        slope = log_depth.grad.flatten()[pixel].item()
        assert (both[0] - both[1]) / 4e-3 == pytest.approx(slope, abs=6e-3, rel=0.1)


def test_total_is_the_weighted_sum_and_computes_only_what_counts() -> None:
    output = SimpleNamespace(mask_logits=maps(17, -3, 3), log_depth=maps(18, -1, 2))
    batch = SimpleNamespace(alpha=maps(19), depth=depths(20))
    weights = LossSettings(mask=2.0, depth=0.5, mask_bce=1.0, mask_dice=0.0, mask_l2=3.0, depth_l1=2.0, depth_silog=0.0)
    whole, parts = losses.total(output, batch, weights)
    assert {"mask_dice", "mask_l1", "depth_silog", "depth_l2"}.isdisjoint(parts)
    mask = parts["mask_bce"] + 3 * parts["mask_l2"]
    depth = 2 * parts["depth_l1"] + 0.5 * parts["depth_front"] + parts["depth_ssim11"] + parts["depth_gradient"]
    assert parts["mask"].item() == pytest.approx(mask.item())
    assert parts["depth"].item() == pytest.approx(depth.item())
    assert whole.item() == parts["total"].item() == pytest.approx((2 * mask + 0.5 * depth).item())
    _, without = losses.total(output, batch, LossSettings(depth=0.0))
    assert without["depth"].item() == 0
    assert "depth_l1" not in without


def test_every_part_has_a_weight() -> None:
    assert set(losses.MASK_PARTS + losses.DEPTH_PARTS) | {"mask", "depth"} == set(vars(LossSettings()))


def test_autocast_changes_nothing() -> None:
    logits, log_depth = maps(21, -3, 3), maps(22, -1, 2)
    alpha, depth = maps(23), depths(24)
    plain = {**losses.mask_parts(logits, alpha), **losses.depth_parts(log_depth, depth)}
    with torch.autocast("cpu", torch.bfloat16):
        cast = {**losses.mask_parts(logits, alpha), **losses.depth_parts(log_depth, depth)}
    for name, part in plain.items():
        assert (cast[name].dtype, cast[name].item()) == (torch.float32, part.item()), name
    halves = losses.depth_parts(log_depth.bfloat16(), depth)
    assert all(part.dtype == torch.float32 for part in halves.values())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 5, 2), (1, 1, 3, 40)])
def test_tiny_pictures(shape: tuple[int, ...]) -> None:
    logits, log_depth = maps(25, shape=shape).requires_grad_(), maps(26, shape=shape).requires_grad_()
    output = SimpleNamespace(mask_logits=logits, log_depth=log_depth)
    whole, _ = losses.total(
        output, SimpleNamespace(alpha=maps(27, shape=shape), depth=depths(28, shape=shape)), LossSettings()
    )
    whole.backward()
    assert torch.isfinite(whole)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_maps_for_panels() -> None:
    logits, alpha, log_depth, depth = maps(29, -3, 3), maps(30), maps(31, -1, 2), depths(32)
    parts = {**losses.mask_parts(logits, alpha), **losses.depth_parts(log_depth, depth)}
    assert losses.mask_map(logits, alpha).mean().item() == pytest.approx(parts["mask_bce"].item(), rel=1e-5)
    errors = losses.depth_map(log_depth, depth)
    assert (errors[depth == 0] == 0).all()
    assert errors[depth > 0].mean().item() == pytest.approx(parts["depth_l1"].item(), rel=1e-5)
    assert np.isfinite(errors.numpy()).all()
