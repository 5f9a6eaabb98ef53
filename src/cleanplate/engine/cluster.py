"""Ray: a function's work over many keys on this machine's Ray or on a cluster's.

Contract: as `engine.run_actors` says, with a pool of actors of the size that the cluster has at the start. (Ray's tasks
would follow a growing cluster, but cancelling them races with their answers and can abort the driver, in 2.60.) A
cluster's machines must have this package, and reach the store and the pictures under the same names. Ray on this
machine is started for the run, reports nothing to anyone, and is shut down after it; a Ray that this process is
connected to already is used and left alone.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from cleanplate.engine.ledger import Says, supervise
from cleanplate.engine.processes import one_thread
from cleanplate.types import InputError

Job = TypeVar("Job")
Key = TypeVar("Key")
Result = TypeVar("Result")

OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory for Ray on this machine: results are small, files go to the store."""
ANSWER_SECONDS = 5.0
"""A cluster that takes longer to accept a connection does not answer."""


def run_ray_actors(
    make: Callable[[Job], Callable[[Key], Result]],
    job: Job,
    keys: Sequence[Key],
    workers: int | None,
    address: str | None,
) -> Iterator[tuple[Key, Result]]:
    """Yield (key, actor(key)) as they are done by a pool of actors; GPUs, where there are any, are shared evenly."""
    with connected(workers, address) as ray:
        count = min(_size(ray, workers), len(keys))
        remote = ray.remote(num_cpus=1, num_gpus=_share(_total(ray, "GPU"), count))(_Loaded)
        parcel = [ray.put((make, job))]

        def start(count: int) -> list[_Actor]:
            return [_Actor(ray, remote.remote(), parcel) for _ in range(count)]

        def with_news(pool: list[_Actor]) -> list[_Actor]:
            oldest = {actor.answers[0]: actor for actor in pool if actor.answers}
            return [oldest[answer] for answer in ray.wait(list(oldest))[0]]

        yield from supervise(keys, count, start, with_news)


@contextmanager
def connected(workers: int | None, address: str | None) -> Generator[Any]:
    """The ray module, connected to the cluster at this address, else of RAY_ADDRESS, else to a Ray started here.

    Raises InputError: Ray is not installed, or the address does not answer.
    """
    try:
        import ray
    except ImportError:
        raise InputError("the engine ray needs Ray, which is not installed: pip install 'cleanplate[scale]'") from None
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _require_answer(address)
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {}
    if address == "local":
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        options = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_answer(address, str(error).partition("\n")[0]) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """See that something listens at HOST:PORT: Ray itself would wait for it for ever (so would its `auto`)."""
    if address == "local":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InputError(
            f"{address!r} is no address that work can be sent to; expected HOST:PORT, as `ray start --head` prints it, "
            "on a machine of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise _no_answer(address, str(error)) from error


def _no_answer(address: str, why: str) -> InputError:
    return InputError(
        f"no Ray at {address!r} ({why}); start one there (`ray start --head`), correct --address, or leave it out "
        "to work on this machine alone"
    )


def _size(ray: Any, workers: int | None) -> int:
    """Workers to use: by default one per core; a cluster that starts machines on demand may begin with none."""
    return workers or max(1, _total(ray, "CPU"))


def _total(ray: Any, kind: str) -> int:
    return int(ray.cluster_resources().get(kind, 0))


def _share(gpus: int, actors: int) -> float:
    """The part of a GPU for each actor, so that all of them fit (Ray counts to four digits)."""
    return math.floor(1e4 / math.ceil(actors / gpus)) / 1e4 if gpus else 0.0


def _outcome(ray: Any, answer: Any) -> tuple[Says, Any]:
    """The result that is there, the error of the work, or how its worker ended."""
    try:
        return "result", ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        return "error", error.cause if isinstance(error.cause, InputError) else error
    except ray.exceptions.RayError as error:
        return "ended", str(error).strip().partition("\n")[0]


class _Actor:
    """This side of an actor: its handle and its answers to come, oldest first."""

    def __init__(self, ray: Any, handle: Any, parcel: list[Any]) -> None:
        self._ray, self._handle = ray, handle
        self._loaded = False
        self.answers = deque([handle.load.remote(parcel)])

    def send(self, key: Any) -> None:
        self.answers.append(self._handle.answer.remote(key))

    def receive(self) -> tuple[Says, Any]:
        says, value = _outcome(self._ray, self.answers.popleft())
        if says == "result" and not self._loaded:
            self._loaded, says = True, "ready"
        return says, value

    def end(self) -> None:
        self._ray.kill(self._handle)


class _Loaded:
    """The far side of an actor. (Its making cannot fail: Ray would hide what is wrong with the job.)"""

    def load(self, parcel: list[Any]) -> None:
        one_thread()
        make, job = _fetch(parcel)
        self._work = make(job)

    def answer(self, key: Any) -> Any:
        return self._work(key)


def _fetch(parcel: list[Any]) -> tuple[Any, Any]:
    import ray

    return ray.get(parcel[0])
