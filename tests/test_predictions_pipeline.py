"""The pipeline: what a plain loop gives, in order, in bounded memory, and errors in their places."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from cleanplate.predictions.pipeline import WAITING, Clock, pipeline


def test_order_is_kept_under_load() -> None:
    rng = np.random.default_rng(0)
    naps = rng.choice([0, 0, 0.002], (3, 60))

    def stage(number: int):
        def work(item: tuple[int, list[int]]) -> tuple[int, list[int]]:
            time.sleep(naps[number, item[0]])
            return item[0], [*item[1], number]

        return work

    clocks = [Clock() for _ in range(4)]
    found = list(pipeline(((i, []) for i in range(60)), [stage(0), stage(1), stage(2)], clocks))
    assert found == [(i, [0, 1, 2]) for i in range(60)]
    assert [clock.items for clock in clocks] == [60] * 4
    assert clocks[1].seconds >= naps[0].sum()


def test_a_slow_end_holds_the_source_back() -> None:
    taken, done, most = 0, 0, 0

    def source() -> Iterator[int]:
        nonlocal taken, most
        for i in range(40):
            taken += 1
            most = max(most, taken - done)
            yield i

    for _ in pipeline(source(), [lambda item: item, lambda item: item]):
        time.sleep(0.002)
        done += 1
    assert done == 40
    assert most <= 3 * WAITING + 4  # three queues, and one item in each of four hands


@pytest.mark.parametrize("where", ["source", 0, 1])
def test_an_error_comes_after_what_was_before_it(where: str | int) -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            for i in range(100):
                if where == "source" and i == 7:
                    raise ZeroDivisionError("seven")
                yield i
        finally:
            closed.set()

    def stage(number: int):
        def work(item: int) -> int:
            if where == number and item == 7:
                raise ZeroDivisionError("seven")
            return item

        return work

    seen = []
    with pytest.raises(ZeroDivisionError, match="seven"):
        seen.extend(pipeline(source(), [stage(0), stage(1)]))
    assert seen == list(range(7))
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("stage-", "source"))]


def test_leaving_early_ends_all_threads() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    working = pipeline(endless(), [lambda item: item])
    assert next(working) == 1
    working.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("stage-", "source"))]
    assert list(pipeline([], [lambda item: item])) == []
