"""Standing: lower ends of columns, what the depth in front starts as, and what it teaches."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.network.standing import Standing, lower_ends


def _walk(column: list[bool], start: int) -> int:
    """The row at which a way down from `start` through the mask ends, by walking it."""
    row = start
    while row + 1 < len(column) and column[row + 1]:
        row += 1
    return row


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_lower_ends_are_where_a_walk_down_the_mask_ends(column: list[bool]) -> None:
    alpha = torch.tensor(column, dtype=torch.float32)[None, None, :, None]
    ends = lower_ends(alpha)[0, 0]
    assert torch.allclose(ends.sum(1), torch.ones(len(column)))
    assert ends.argmax(1).tolist() == [_walk(column, row) for row in range(len(column))]


def _floor(height: int, width: int) -> torch.Tensor:
    """ln z of a floor: 8 m far above, 1 m at the lower edge."""
    z = torch.linspace(8, 1, height)[:, None].expand(height, width)
    return z.log()[None, None].contiguous()


@pytest.mark.parametrize("lower_end", [11, 19, 27])
def test_a_standing_thing_starts_as_far_away_as_the_ground_at_its_feet(lower_end: int) -> None:
    torch.manual_seed(0)
    standing = Standing(16).eval()
    behind = _floor(32, 32)
    logits = torch.full((1, 1, 32, 32), -8.0)
    logits[..., 4 : lower_end + 1, 12:20] = 8.0
    # Two of the three votes know the ground; the third says something absurd, and must not carry the day.
    with torch.no_grad():
        standing.vote.bias.copy_(torch.tensor([0.0, 0.0, -9.0]))
        found = standing(
            torch.zeros(1, 16, 32, 32), logits, behind, torch.full_like(behind, 5.0), torch.ones_like(behind)
        )
    inside = found[logits > 0].exp()
    assert inside.median().item() == pytest.approx(behind[0, 0, lower_end, 0].exp().item(), rel=0.1)


def test_the_legs_of_a_table_say_how_far_its_top_is() -> None:
    torch.manual_seed(0)
    standing = Standing(16).eval()
    behind = _floor(32, 32)
    logits = torch.full((1, 1, 32, 32), -8.0)
    logits[..., 8:12, 8:24] = 8.0  # the top, in the air
    logits[..., 12:25, 8:10] = logits[..., 12:25, 22:24] = 8.0  # two legs
    with torch.no_grad():
        standing.vote.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))  # the others' answers
        found = standing(torch.zeros(1, 16, 32, 32), logits, behind, behind, torch.ones_like(behind))
    middle = found[0, 0, 9, 16].exp().item()
    ground, air = (behind[0, 0, row, 0].exp().item() for row in (24, 11))
    assert abs(middle - ground) < 0.25 * abs(air - ground)


def test_mask_and_plate_are_not_taught_by_the_depth_in_front() -> None:
    standing = Standing(16)
    x = torch.randn(2, 16, 8, 8, requires_grad=True)
    logits, behind, front = (torch.randn(2, 1, 8, 8, requires_grad=True) for _ in range(3))
    standing(x, logits, behind, front, torch.zeros(2, 1, 8, 8)).sum().backward()
    assert logits.grad is None
    assert behind.grad is None
    assert x.grad is not None
    assert front.grad is not None
    assert all(weight.grad is not None for weight in standing.parameters())


def test_answers_stay_between_the_votes() -> None:
    torch.manual_seed(1)
    standing = Standing(16).eval()
    with torch.no_grad():
        found = standing(
            torch.randn(1, 16, 12, 20),
            torch.randn(1, 1, 12, 20),
            torch.full((1, 1, 12, 20), math.log(3.0)),
            torch.full((1, 1, 12, 20), math.log(3.0)),
            torch.zeros(1, 1, 12, 20),
        )
    assert torch.allclose(found, torch.full_like(found, math.log(3.0)), atol=1e-3)
