"""The networks: exact sizes, any picture size, cached plates, the plate's depth's way, context over the picture."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.drawing import draw_network
from cleanplate.network.fold import folded
from cleanplate.network.layers import Parted, Quarters, conv
from cleanplate.network.original import Original, OriginalSmall
from cleanplate.network.platenet import PlateNet, _ground, _over_known
from cleanplate.network.summary import summarise, summary
from cleanplate.types import InputError

REFERENCE_PARAMETERS = 1_977_280


@pytest.fixture
def net() -> PlateNet:
    """An untrained network whose batch norms have seen something, so that evaluation mode is not trivial."""
    torch.manual_seed(0)
    network = PlateNet()
    for _ in range(3):
        network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64) * 5)
    return network.eval()


def pair(height: int = 64, width: int = 64, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return tuple(torch.rand(batch, 3, height, width, generator=generator) for _ in range(2))  # ty: ignore[invalid-return-type]


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def flops(name: str, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build(name).eval()(*pair(size, size), None)
    return counter.get_total_flops()


def test_the_originals_have_exactly_their_published_parameters() -> None:
    assert count(Original()) == REFERENCE_PARAMETERS
    assert count(OriginalSmall()) == 305_728


def test_platenet_is_small_and_cheap() -> None:
    assert count(PlateNet()) <= REFERENCE_PARAMETERS
    assert flops("platenet", 128) * 150 <= flops("original", 128)


@pytest.mark.parametrize("name", ["platenet", "original", "original-small"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 96), (50, 1)])
def test_any_size_from_one_pixel(name: str, size: tuple[int, int]) -> None:
    output = build(name).eval()(*pair(*size), None)
    assert output.mask_logits.shape == output.log_depth.shape == (1, 1, *size)
    assert output.mask_logits.isfinite().all()
    assert output.log_depth.isfinite().all()


def receptive_field(name: str, output: int, size: int = 49) -> int:
    """Side of the square of frame pixels that the middle output pixel depends on."""
    torch.manual_seed(0)
    plate, frame = pair(size, size)
    frame.requires_grad_()
    build(name).eval()(plate, frame, None)[output][0, 0, size // 2, size // 2].backward()
    assert frame.grad is not None
    rows = frame.grad[0].abs().amax((0, 2)).nonzero()
    return int(rows.max() - rows.min()) + 1


def test_the_originals_see_9_and_19_pixels() -> None:
    # Their layer list gives 3 + 2 + 2 + 2 for the mask; for the depth, nine 3x3 convolutions in a row.
    assert receptive_field("original", 0) == 9
    assert receptive_field("original", 1) == 19


def test_context_spans_the_picture(net: PlateNet) -> None:
    plate, frame = pair(256, 256)
    frame.requires_grad_()
    net(plate, frame, None).mask_logits[0, 0, 3, 3].backward()
    assert frame.grad is not None
    assert frame.grad[0, :, -32:, -32:].abs().max() > 0


def test_a_plate_is_remembered_once(net: PlateNet) -> None:
    plate, frames = pair(40, 56)[0], torch.rand(3, 3, 40, 56)
    depth = torch.rand(1, 1, 40, 56) + 1
    known = net.remember(net.encode(plate), depth)
    together = net(plate.expand(3, -1, -1, -1), frames, depth.expand(3, -1, -1, -1))
    for i in range(3):
        alone = net.decode(known, net.encode(frames[i : i + 1]), (40, 56))
        torch.testing.assert_close(alone.mask_logits[0], together.mask_logits[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.log_depth[0], together.log_depth[i], atol=1e-5, rtol=1e-4)


def test_one_plate_serves_a_batch_of_frames(net: PlateNet) -> None:
    plate, frames = pair()[0], torch.rand(3, 3, 64, 64)
    for depth in (None, torch.rand(1, 1, 64, 64) + 1):
        output = net.decode(net.remember(net.encode(plate), depth), net.encode(frames), (64, 64))
        every = None if depth is None else depth.expand(3, -1, -1, -1)
        expected = net(plate.expand(3, -1, -1, -1), frames, every)
        torch.testing.assert_close(output.mask_logits, expected.mask_logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(output.log_depth, expected.log_depth, atol=1e-5, rtol=1e-4)


def test_a_convolution_is_the_sum_of_its_parts() -> None:
    torch.manual_seed(0)
    whole, parts = conv(9, 16, stride=2).eval(), Parted(9, 16, stride=2).eval()
    parts.load_state_dict(whole.state_dict())
    x = torch.rand(2, 9, 15, 17)
    for layer, named in ((parts, whole), (folded(nn.Sequential(parts))[0], whole)):
        total = layer.part(0, x[:, :3], bias=True) + layer.part(3, x[:, 3:8]) + layer.part(8, x[:, 8:])
        torch.testing.assert_close(layer.join(total), named(x), atol=1e-5, rtol=1e-4)


def test_the_scene_is_looked_at_once_per_plate(net: PlateNet) -> None:
    plate, frame = pair()
    asked = []
    net.scene.register_forward_hook(lambda *_: asked.append(1))
    known = net.remember(net.encode(plate))
    answers = [net.decode(known, net.encode(one), (64, 64)) for one in (frame, plate, frame)]
    assert len(asked) == 1
    with torch.no_grad():
        net.scene[0][0].weight.normal_()
    assert not torch.equal(net(plate, frame, None).mask_logits, answers[0].mask_logits)


def test_unknown_plate_depth_is_no_plate_depth(net: PlateNet) -> None:
    plate, frame = pair()
    nothing = net(plate, frame, None)
    unknown = net(plate, frame, torch.zeros(1, 1, 64, 64))
    torch.testing.assert_close(nothing.log_depth, unknown.log_depth)
    torch.testing.assert_close(nothing.mask_logits, unknown.mask_logits)
    assert not torch.allclose(nothing.log_depth, net(plate, frame, torch.full((1, 1, 64, 64), 4.0)).log_depth)


def test_mean_of_the_plate_depth_ignores_unknown_pixels() -> None:
    """One known pixel per 4x4 block says as much about depth as sixteen; only the share of known pixels differs."""
    full = torch.full((1, 1, 64, 64), 3.0)
    sparse = torch.zeros_like(full)
    sparse[..., ::4, ::4] = 3.0
    of_full, of_sparse = (_over_known(F.avg_pool2d(_ground(depth), 4)) for depth in (full, sparse))
    torch.testing.assert_close(of_full[:, 0], of_sparse[:, 0])
    torch.testing.assert_close(of_full[:, 1], 16 * of_sparse[:, 1])


def test_it_starts_as_a_change_detector() -> None:
    """Where both pictures are the same, what they are makes no difference to where they meet, before any training."""
    torch.manual_seed(0)
    for meeting, width in zip(PlateNet().meet, (32, 48, 96), strict=True):
        extra = torch.zeros(2, meeting.mix[0].in_channels - 2 * width, 4, 4)
        picture, another = torch.rand(2, width, 4, 4), torch.rand(2, width, 4, 4)
        same, same_too, changed = (
            meeting.mix[0](torch.cat((frame, plate, extra), dim=1))
            for frame, plate in ((picture, picture), (another, another), (picture, another))
        )
        torch.testing.assert_close(same, same_too, atol=1e-5, rtol=0)
        assert (changed - same).abs().max() > 0.01


def test_widths_fill_the_lanes_of_a_processor() -> None:
    """Blocks of 16 channels: others are computed, too, and thrown away."""
    answers = 3, 12
    widths = {m.out_channels for m in PlateNet().modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 16 == 0 for width in widths - set(answers))


def test_depth_jumps_where_the_mask_does(net: PlateNet) -> None:
    """Two layers: far inside and far outside of the mask lies the one or the other, and the mask decides alone."""
    plate, frame = pair(64, 64)
    with torch.no_grad():
        for layer in (*net.rough, net.head):
            layer.weight.zero_()
            layer.bias.zero_()
        net.rough[0].bias.copy_(torch.tensor([0.0, math.log(5.0), math.log(2.0)]))
        net.standing.vote.bias.copy_(torch.tensor([0.0, 0.0, 99.0]))  # without asking where things stand
        for logit, expected in ((6.0, 2.0), (-6.0, 5.0), (0.0, math.sqrt(10))):
            net.rough[0].bias[0] = logit
            assert net(plate, frame, None).log_depth.exp().mean().item() == pytest.approx(expected, rel=1e-3)
        known = torch.full((1, 1, 64, 64), 7.0)
        net.head.bias[8:12] = 20.0  # full trust in the plate's depth: it is the layer behind, never the one in front
        for logit, expected in ((6.0, 2.0), (-6.0, 7.0)):
            net.rough[0].bias[0] = logit
            assert net(plate, frame, known).log_depth.exp().mean().item() == pytest.approx(expected, rel=1e-3)


def test_depth_does_not_move_the_mask() -> None:
    torch.manual_seed(0)
    network = PlateNet()
    network(*pair(64, 64, 2), None).log_depth.mean().backward()
    assert all(layer.weight.grad[0].abs().max() == 0 for layer in network.rough)


def test_it_runs_in_bf16_with_and_without_the_plates_depth(net: PlateNet) -> None:
    for depth in (None, torch.full((1, 1, 64, 64), 3.0)):
        with torch.autocast("cpu", torch.bfloat16):
            output = net(*pair(64, 64), depth)
        assert output.mask_logits.isfinite().all()
        assert output.log_depth.isfinite().all()


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = PlateNet()
    output = network(*pair(64, 64, 2), torch.rand(2, 1, 64, 64) + 1)
    (output.mask_logits.square().mean() + output.log_depth.square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


def test_batch_norm_folds(net: PlateNet) -> None:
    """Convolution and batch norm are one multiply-add at inference: export and quantisation rely on it."""
    expected = net(*pair(), None)
    without = folded(net)
    assert not [module for module in without.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(without(*pair(), None), expected, atol=1e-4, rtol=1e-3)


def test_summary_counts_what_torch_counts(tmp_path, capsys) -> None:
    for name in ("platenet", "original-small"):
        found = summarise(name, 64)
        assert found.flops == flops(name, 64) == sum(row.flops for row in found.layers)
        assert found.parameters == sum(row.parameters for row in found.layers) == count(build(name))
    found = summary("platenet", 64, tmp_path / "net.json")
    assert f"{found.parameters:,} parameters" in capsys.readouterr().out
    assert json.loads((tmp_path / "net.json").read_text())["flops"] == found.flops
    draw_network(found, tmp_path / "net.svg")
    assert "<svg" in (tmp_path / "net.svg").read_text()
    with pytest.raises(InputError, match=r"\.svg"):
        draw_network(found, tmp_path / "net.txt")


def test_checkpoint_round_trip(net: PlateNet, tmp_path) -> None:
    checkpoint.save(tmp_path / "run" / "best.safetensors", net, {"network": "platenet", "depth": "metric", "step": 3})
    again, meta = checkpoint.load(checkpoint.find(tmp_path / "run"))
    assert meta["step"] == 3
    assert not again.training
    torch.testing.assert_close(again(*pair(), None), net(*pair(), None), atol=0, rtol=0)


def test_checkpoint_errors_say_what_to_do(net: PlateNet, tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.write_tensors(path, dict(net.state_dict()), {"format": 0, "network": "platenet", "version": "0.0.1"})
    with pytest.raises(InputError, match=r"format 0.*0\.0\.1"):
        checkpoint.load(path)
    checkpoint.save(path, net, {"network": "original"})
    with pytest.raises(InputError, match="do not fit"):
        checkpoint.load(path)
    checkpoint.save(path, net, {"network": "platenet"})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        checkpoint.load(path)
    path.write_text("not a checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        checkpoint.load(path)
    with pytest.raises(InputError, match="no model"):
        checkpoint.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no network is called"):
        build("resnet")


def test_quarters_are_a_bilinear_enlargement() -> None:
    maps = torch.rand(2, 3, 5, 7)
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    found = F.pixel_shuffle(Quarters((True, True, False, True))(maps), 2)
    torch.testing.assert_close(found[:, [0, 1, 3]], expected)
    assert not found[:, 2].any()
