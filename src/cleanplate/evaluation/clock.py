"""Clock: how long calls take, measured in turn, A B A B ..., within the same rounds; the medians are told.

A call that is quick is repeated until MEASURED_S have passed. Seconds are processor time of the whole process, which
other programs lengthen little; `wall` is for calls that work on several threads, or in other processes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

MEASURED_S = 0.2

Key = TypeVar("Key", bound=Hashable)
Call = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    what: was done, by whom. side: of the pictures, pixels; None where there are none. threads: None: own processes.
    value: the median, in `unit`: ms, s, scenes/s, or x for a ratio of two other lines.
    products: the value as a multiple of a matrix product in the same rounds. pairs: of float32 ONNX Runtime's pair.
    """

    what: str
    by: str
    side: int | None
    threads: int | None
    value: float
    unit: str
    products: float | None = None
    pairs: float | None = None


@dataclass
class Measured:
    """Lines of the table, and why those that are missing are missing, by what they would have been of."""

    figures: list[Figure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.figures + other.figures, self.left_out | other.left_out)


@dataclass(frozen=True)
class Clock:
    """Takes the rounds: how many."""

    rounds: int

    def medians(self, calls: Mapping[Key, Call], *, wall: bool = False) -> dict[Key, float]:
        """Median seconds per call of each, measured in turn in every round."""
        now = time.perf_counter if wall else time.process_time
        for call in calls.values():  # the first call of a network compiles its kernels
            call()
        taken: dict[Key, list[float]] = {key: [] for key in calls}
        for _ in range(self.rounds):
            for key, call in calls.items():
                taken[key].append(_seconds(call, now))
        return {key: statistics.median(seconds) for key, seconds in taken.items()}


def _seconds(call: Call, now: Callable[[], float]) -> float:
    """Seconds per call, over as many calls as fill MEASURED_S."""
    start = now()
    call()
    once = now() - start
    if once >= MEASURED_S:
        return once
    count = max(1, round(MEASURED_S / max(once, 1e-5)))
    start = now()
    for _ in range(count):
        call()
    return (now() - start) / count


@contextmanager
def threads_of_torch(count: int | None) -> Generator[None]:
    """Within, torch has so many threads; None: as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Generator[None]:
    """Within, torch and OpenCV have one thread each."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threads_of_torch(1):
            yield
    finally:
        cv2.setNumThreads(before)
