"""Worker processes: a function's work over many keys on this machine's cores.

Contract: as `engine.run_actors` says. Workers are spawned, not forked: they inherit no thread and no lock. Each is
connected by one pipe; when it closes, the other side is dead, at whatever moment and for whatever reason. So a worker
leaves within moments of its parent, and the parent hears of a dead worker after all that it said.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from cleanplate.engine.ledger import Says, supervise
from cleanplate.types import InputError

Job = TypeVar("Job")
Key = TypeVar("Key")
Result = TypeVar("Result")

_SPAWN = multiprocessing.get_context("spawn")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def run_processes(
    make: Callable[[Job], Callable[[Key], Result]], job: Job, keys: Sequence[Key], workers: int
) -> Iterator[tuple[Key, Result]]:
    """Yield (key, result) as they are done by so many processes, each with its own `make(job)`."""
    packed = pickle.dumps((make, job))

    def start(count: int) -> list[_Process]:
        fresh = [_Process() for _ in range(count)]
        for process in fresh:  # only now: sending a large job waits for the other side, and all start at once
            process.send_bytes(packed)
        return fresh

    return supervise(keys, workers, start, _with_news)


def _with_news(pool: list[_Process]) -> list[_Process]:
    ready = set(wait([process.pipe for process in pool]))
    return [process for process in pool if process.pipe in ready]


class _Process:
    """The parent's side of a worker."""

    def __init__(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def send(self, key: Any) -> None:
        self.send_bytes(pickle.dumps(key))

    def send_bytes(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # dead: receiving will tell
            self.pipe.send_bytes(message)

    def receive(self) -> tuple[Says, Any]:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            return "ended", f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()
        self._process.close()


@contextlib.contextmanager
def _interrupts_held() -> Generator[None]:
    """A process started here gets no Ctrl-C of the terminal: it is the parent's to stop, and to say so."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it with the first process would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection) -> None:
    """A worker's life: make what works from the job, then answer keys in order."""
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, inbox), daemon=True).start()
    try:
        one_thread()  # before the job's modules load their libraries
        make, job = pickle.loads(inbox.get())
        work = make(job)
        pipe.send(("ready", None))
        while True:
            pipe.send(("result", work(pickle.loads(inbox.get()))))
    except Exception as error:
        pipe.send(("error", _sendable(error)))
        inbox.get()  # the parent ends this process


def _receive(pipe: Connection, inbox: SimpleQueue[bytes]) -> None:
    """Take what comes at once, so that neither side waits to send; leave with the parent."""
    try:
        while True:
            inbox.put(pipe.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error with the traceback it has here (an InputError says all itself), or its text if it cannot be pickled."""
    if isinstance(error, InputError):
        return error
    text = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker process:\n{text}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error


def one_thread() -> None:
    """Let libraries, loaded or not yet, use one thread of this process: workers share the cores between them."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    loaded: dict[str, Any] = dict(sys.modules)
    if "torch" in loaded:
        loaded["torch"].set_num_threads(1)
    if "cv2" in loaded:
        loaded["cv2"].setNumThreads(0)
    if "pyarrow" in loaded:
        loaded["pyarrow"].set_cpu_count(1)
