"""Clock: figures of speed, measured in turn, A B A B ..., within the same rounds; the medians are told.

A call that is quick is repeated until MEASURED_S have passed. What has had a round when time is up is told, what has
not is left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

MEASURED_S = 0.2
MOST_SECONDS = 220.0


@dataclass(frozen=True)
class Figure:
    """One figure. value: the median, in `unit`; where it is a ratio, of `ours` and `other`, both in `each`."""

    name: str
    value: float
    unit: str
    relative_to: str | None = None
    ours: float | None = None
    other: float | None = None
    each: str | None = None
    note: str = ""


class Clock:
    """Takes the rounds: how many, and until when."""

    def __init__(self, rounds: int, most_seconds: float = MOST_SECONDS) -> None:
        self.rounds = rounds
        self.end = time.perf_counter() + most_seconds

    def medians(self, *calls: Callable[[], object]) -> list[float] | None:
        """Median seconds per call of each, measured in turn in every round; None when time is up before one round."""
        taken: list[list[float]] = [[] for _ in calls]
        for number in range(self.rounds):
            if time.perf_counter() > self.end:
                break
            if number == 0:  # the first call of a network compiles its kernels
                for call in calls:
                    call()
            for times, call in zip(taken, calls, strict=True):
                times.append(_seconds(call))
        return [statistics.median(times) for times in taken] if taken[0] else None


def _seconds(call: Callable[[], object]) -> float:
    """Seconds per call, over as many calls as fill MEASURED_S."""
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    if once >= MEASURED_S:
        return once
    count = max(1, round(MEASURED_S / max(once, 1e-6)))
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
