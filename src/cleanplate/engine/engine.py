"""The engine: the same work over many keys, in this process, in processes of this machine, or on a cluster by Ray.

Contract: work is a pure function of (job, key), so that doing a key again, elsewhere, changes nothing. Keys are given
out in order and few at a time; results come as they are done. A worker that dies (killed, out of memory) loses nothing:
its keys are done again by another, and a key that ends three workers is an InputError that names it. Any error of the
work stops all of it and is raised here. Every worker uses one thread of its libraries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from cleanplate.engine.processes import run_processes
from cleanplate.types import InputError

Job = TypeVar("Job")
Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    workers: processes; 0 = this one, whatever the kind; None = one per core (with ray: of the cluster).
    address: HOST:PORT of a running Ray cluster; None = RAY_ADDRESS of the environment, else Ray on this machine.
    """

    kind: Literal["processes", "ray"] = "processes"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise InputError(f"{self.workers} workers; expected 0 (work in this process) or more")
        if self.address is not None and self.kind != "ray":
            raise InputError(f"an address ({self.address}) is for Ray; add --engine ray, or leave it out")


def run_tasks(
    task: Callable[[Job, Key], Result], job: Job, keys: Sequence[Key], engine: Engine
) -> Iterator[tuple[Key, Result]]:
    """Yield (key, task(job, key)) as they are done. task: a function of a module; the job goes to a worker once."""
    return run_actors(partial(partial, task), job, keys, engine)


def run_actors(
    make: Callable[[Job], Callable[[Key], Result]], job: Job, keys: Sequence[Key], engine: Engine
) -> Iterator[tuple[Key, Result]]:
    """Yield (key, actor(key)) as they are done, each worker with its own actor = make(job), such as a loaded model."""
    if not keys:
        return iter(())
    if engine.workers == 0:
        return _run_here(make, job, keys)
    if engine.kind == "processes":
        return run_processes(make, job, keys, engine.workers or cores())
    from cleanplate.engine.cluster import run_ray_actors

    return run_ray_actors(make, job, keys, engine.workers, engine.address)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_here(
    make: Callable[[Job], Callable[[Key], Result]], job: Job, keys: Sequence[Key]
) -> Iterator[tuple[Key, Result]]:
    actor = make(job)
    for key in keys:
        yield key, actor(key)
