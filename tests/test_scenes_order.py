"""The order of several sizes: every side once per block, found without counting, no sample lost between ranks."""

from __future__ import annotations

from itertools import islice

from cleanplate.scenes.order import SampleOrder, SizedOrder

SIDES = (64, 128, 192, 256)


def order(start: int = 0, rank: int = 0, world: int = 1, batch: int = 32) -> SizedOrder:
    return SizedOrder(50, batch, 7, start, rank, world, size=128, sides=SIDES)


def test_every_block_has_every_side_once_and_steps_of_equal_area() -> None:
    one = order()
    steps = list(islice(one, 40))
    sides = [{side for _, _, side in step} for step in steps]
    assert all(len(side) == 1 for side in sides)
    for block in range(10):
        assert set.union(*sides[4 * block : 4 * block + 4]) == set(SIDES)
    assert sides[:4] != sides[4:8] or sides[4:8] != sides[8:12], "the turns are shuffled"
    assert {one.side(k): len(step) for k, step in enumerate(steps)} == {64: 128, 128: 32, 192: 14, 256: 8}
    assert {order(batch=6).side(k): len(s) for k, s in enumerate(islice(order(batch=6), 4))}[256] == 4, "never too few"


def test_samples_are_those_of_one_size_in_the_same_places() -> None:
    several = [place[:2] for step in islice(order(), 12) for place in step]
    plain = [place for step in islice(SampleOrder(50, 1, 7), len(several)) for place in step]
    assert several == plain


def test_any_step_is_found_without_counting_and_samples_are_counted_right() -> None:
    one, steps = order(), list(islice(order(), 30))
    assert list(islice(order(start=13), 5)) == steps[13:18]
    seen = 0
    for k, step in enumerate(steps):
        assert one.span(k) == (seen, seen + len(step))
        seen += len(step)
        assert one.steps_of(seen) == k + 1
        assert one.steps_of(seen - 1) == k + 1
    assert SampleOrder(50, 32, 7).steps_of(65) == 3


def test_ranks_share_each_step() -> None:
    whole = list(islice(order(world=2, batch=64), 8))
    for k, first in enumerate(whole):
        second = order(rank=1, world=2, batch=64).step(k)
        assert len(first) == len(second), "as many for each"
        both = [place for two in zip(first, second, strict=True) for place in two]
        alone = [place for step in islice(SampleOrder(50, 1, 7), order(world=2, batch=64).span(k)[1]) for place in step]
        assert [place[:2] for place in both] == alone[-len(both) :]
