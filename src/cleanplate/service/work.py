"""Work: a queue in front of a few threads, each with a predictor of its own; first come, first served.

Contract: `do(call)` runs `call(predictor)` in the next free thread and returns what it returns, to the request that
asked and to no other. Full queue: 503 with the time after which to try again. Not done in time, or nobody waits for it
any more: 504, and if it has not begun it never does. What has begun is always finished: a picture's size bounds it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from cleanplate.inference.predictor import Predictor
from cleanplate.service.limits import Limits, RefusedError, busy

T = TypeVar("T")


@dataclass
class _Job:
    """One call, and who waits for it."""

    call: Callable[[Predictor], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    abandoned: bool = False

    def run(self, predictor: Predictor) -> None:
        try:
            self._tell(self.call(predictor), None)
        except Exception as error:
            self._tell(None, error)

    def _tell(self, result: object, error: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is gone: the server was stopped for good
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: object, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Work:
    """The threads and their queue. predictors: one per thread, for no runtime is shared between threads."""

    def __init__(self, predictors: Sequence[Predictor], limits: Limits) -> None:
        self.limits = limits
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._usual = 0.05
        self._threads = [
            threading.Thread(target=self._serve, args=(predictor,), name=f"cleanplate-{number}", daemon=True)
            for number, predictor in enumerate(predictors)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is in the queue, then end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(self.limits.seconds)

    @property
    def ready(self) -> bool:
        """Whether every thread lives."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._jobs.qsize()

    def check(self) -> None:
        """Raises RefusedError (503) when the queue is full: better said before a request is read than after."""
        if self.waiting >= self.limits.queue:
            seconds = self._usual * self.waiting / len(self._threads)
            raise busy(f"{self.waiting} requests are waiting, as many as the server takes (--limits.queue)", seconds)

    async def do(self, call: Callable[[Predictor], T]) -> T:
        """What `call` returns. Raises RefusedError (503, 504), and whatever `call` raises."""
        self.check()
        loop = asyncio.get_running_loop()
        job = _Job(call, loop.create_future(), loop)
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(job.future, self.limits.seconds)
        except TimeoutError as error:
            said = f"no answer within {self.limits.seconds} s (the server's --limits.seconds)"
            raise RefusedError(504, f"{said}: send smaller pictures, or fewer at a time") from error
        finally:
            job.abandoned = True

    def _serve(self, predictor: Predictor) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.abandoned:
                start = time.perf_counter()
                job.run(predictor)
                self._usual += 0.1 * (time.perf_counter() - start - self._usual)
            # Otherwise the last request's pictures would stay until the next one comes.
            del job
