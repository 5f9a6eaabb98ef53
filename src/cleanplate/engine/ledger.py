"""The ledger of a run of keys, and the loop that keeps workers of any kind busy by it.

Contract: keys are given out in order, at most two to a worker (so that it need not wait for its next), near the end
one (so that no key waits behind another). A worker answers its keys in order; when it dies, its keys are given out
again, each alone to a worker, so that one that ends its worker cannot put the blame on another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from cleanplate.types import InputError

TRIES = 3
"""So many workers may a key end, and so many may end in a row before they are ready."""

Says = Literal["ready", "result", "error", "ended"]
Key = TypeVar("Key")


@runtime_checkable
class Worker(Protocol):
    """What answers keys, elsewhere."""

    def send(self, key: Any) -> None:
        """Let it work on this key after those it has; nothing happens if it is dead."""

    def receive(self) -> tuple[Says, Any]:
        """What it says next, and the result, the error to raise, or how it ended."""
        ...

    def end(self) -> None:
        """Stop it at once, if it is not dead already."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


def supervise(
    keys: Sequence[Key],
    count: int,
    start: Callable[[int], list[AnyWorker]],
    wait: Callable[[list[AnyWorker]], Iterable[AnyWorker]],
) -> Iterator[tuple[Key, Any]]:
    """Yield (key, result) as `count` workers answer. start: new workers, so many; wait: for those with news."""
    ledger: Ledger[AnyWorker, Key] = Ledger(keys)
    pool: list[AnyWorker] = []
    try:
        pool += start(min(count, len(keys)))
        while ledger.is_open():
            for worker in wait(pool):
                says, value = worker.receive()
                answered = [ledger.done(worker)] if says == "result" else []
                if says == "error":
                    raise value
                if says == "ready":
                    ledger.ready(worker)
                if says == "ended":
                    pool.remove(worker)
                    worker.end()
                    ledger.ended(worker, value)
                    pool += start(1)
                for other in pool:
                    for key in ledger.give(other):
                        other.send(key)
                yield from ((key, value) for key in answered)
    finally:
        for worker in pool:
            worker.end()


class Ledger(Generic[AnyWorker, Key]):
    """Which keys of a run wait, and which worker holds which."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._waiting = deque(range(len(keys)))
        self._held: dict[AnyWorker, deque[int]] = {}
        self._deaths = [0] * len(keys)
        self._unready = 0

    def is_open(self) -> bool:
        """Whether any key is not done."""
        return bool(self._waiting) or any(self._held.values())

    def ready(self, worker: AnyWorker) -> None:
        """This worker can be given keys from now on."""
        self._held[worker] = deque()
        self._unready = 0

    def give(self, worker: AnyWorker) -> Iterator[Key]:
        """The keys to send to this worker now; none before it is ready."""
        held = self._held.get(worker)
        while held is not None and self._waiting:
            suspect = any(self._deaths[number] for number in (*held, self._waiting[0]))
            if held and (suspect or len(held) == 2 or len(self._waiting) <= len(self._held)):
                return
            held.append(self._waiting.popleft())
            yield self._keys[held[-1]]

    def done(self, worker: AnyWorker) -> Key:
        """The key that this worker has answered."""
        return self._keys[self._held[worker].popleft()]

    def ended(self, worker: AnyWorker, how: str) -> None:
        """Take a dead worker's keys back. Raises InputError where trying again is no use."""
        held = self._held.pop(worker, None)
        if held is None:
            self._unready += 1
            if self._unready == TRIES:
                raise InputError(
                    f"{TRIES} workers in a row ended before they were ready ({how}); expected memory for each, and a "
                    'script that does its work under `if __name__ == "__main__":`. Try fewer workers, or 0 to see why'
                )
            return
        for number in held:
            self._deaths[number] += 1
            if self._deaths[number] == TRIES:
                key = self._keys[number]
                raise InputError(
                    f"{getattr(key, 'name', key)} ended its worker {TRIES} times ({how}); most often memory runs out: "
                    "try fewer workers, or 0 to see why"
                )
        self._waiting.extendleft(reversed(held))
