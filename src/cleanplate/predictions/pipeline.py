"""A pipeline: the stages of work on a clip side by side, a thread each, with short queues between them.

Contract: `pipeline(source, stages)` yields stage_n(... stage_1(item)) for every item of the source, in the source's
order, as a plain loop would; at most `WAITING` items stand in each queue, so memory does not grow with the clip. What a
stage or the source raises comes out at its own place in the order, after the results of all items before it, and ends
the pipeline. Leaving it early (closing the generator, an error in what consumes it) ends all threads before it returns.

It pays because what the stages call (FFmpeg, OpenCV, ONNX Runtime, torch, most of numpy) lets go of Python's lock. A
stage sees one item at a time, in order, so it may keep what it knows of the last one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from time import perf_counter
from typing import Any

WAITING = 2
"""Items that may wait between two stages: enough to even out slow and fast ones, few enough for 4K frames."""
_PATIENCE_S = 0.1
"""So often a thread that waits looks whether it is still needed."""


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class _End:
    """What comes after the last item."""


@dataclass
class Clock:
    """How long a stage has worked, without its waits: `seconds` over `items`."""

    seconds: float = 0.0
    items: int = 0


class _Line:
    """A queue that both sides leave when everything stops."""

    def __init__(self, stopped: threading.Event) -> None:
        self._queue: Queue[Any] = Queue(WAITING)
        self._stopped = stopped

    def put(self, item: Any) -> bool:
        """Whether it was taken; False once everything stops."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE_S)
            except Full:
                continue
            return True
        return False

    def get(self) -> Any:
        """The next item; the end once everything stops."""
        while not self._stopped.is_set():
            try:
                return self._queue.get(timeout=_PATIENCE_S)
            except Empty:
                continue
        return _End()


def pipeline(
    source: Iterable[Any], stages: Sequence[Callable[[Any], Any]], clocks: Sequence[Clock] | None = None
) -> Iterator[Any]:
    """What the stages make of every item of the source, in order, each stage in its thread.

    clocks: one for the source and one per stage, which are filled in. The source is read in a thread, too, and closed.
    """
    timed = list(clocks) if clocks is not None else [Clock() for _ in range(len(stages) + 1)]
    stopped = threading.Event()
    lines = [_Line(stopped) for _ in timed]
    threads = [threading.Thread(target=_read, args=(source, lines[0], timed[0]), name="source", daemon=True)]
    for number, stage in enumerate(stages):
        work = (stage, lines[number], lines[number + 1], timed[number + 1])
        threads.append(threading.Thread(target=_work, args=work, name=f"stage-{number}", daemon=True))
    for thread in threads:
        thread.start()
    try:
        while not isinstance(item := lines[-1].get(), _End):
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _read(source: Iterable[Any], line: _Line, clock: Clock) -> None:
    """Put the source's items on the line until it ends, fails, or nobody wants more."""
    items = iter(source)
    try:
        while True:
            begin = perf_counter()
            try:
                item = next(items)
            except StopIteration:
                break
            clock.seconds, clock.items = clock.seconds + perf_counter() - begin, clock.items + 1
            if not line.put(item):
                return
        line.put(_End())
    except BaseException as error:
        line.put(_Raised(error))
    finally:
        close = getattr(items, "close", None)
        if close is not None:  # a generator's files are let go in the thread that read them
            close()


def _work(stage: Callable[[Any], Any], before: _Line, after: _Line, clock: Clock) -> None:
    """Bring items from one line to the next through a stage, until the end or an error."""
    while True:
        item = before.get()
        if isinstance(item, _End | _Raised):
            after.put(item)
            return
        begin = perf_counter()
        try:
            item = stage(item)
        except BaseException as error:
            after.put(_Raised(error))
            return
        clock.seconds, clock.items = clock.seconds + perf_counter() - begin, clock.items + 1
        if not after.put(item):
            return
