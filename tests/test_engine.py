"""The engine's contract with processes: the same results whoever works, and nothing lost to whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cleanplate.engine.engine import Engine, cores, run_actors, run_tasks
from cleanplate.types import InputError

KEYS = list(range(20))


def scaled(job: int, key: int) -> int:
    return job * key


def dies_once(job: Path, key: int) -> int:
    """At keys 3 and 11 the first worker that comes is killed."""
    marker = job / f"died-{key}"
    if key in (3, 11) and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return key * key


def dies_at_five(job: Path, key: int) -> int:
    (job / f"{key}-{time.monotonic_ns()}").touch()
    if key == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return key


def refuses_four(_: None, key: int) -> int:
    if key == 4:
        raise InputError("four is no good; give another")
    return key


class SourError(Exception):
    """An error that cannot be made again from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def fails_softly(_: None, key: int) -> float:
    return 1 / (key - 4)


def fails_sourly(_: None, key: int) -> int:
    raise SourError("lemon", str(key))


def gives_what_cannot_be_sent(_: None, key: int) -> Callable[[], int]:
    return lambda: key


def notes_its_process(job: Path, key: int) -> int:
    (job / f"{key}-{os.getpid()}").touch()
    return os.getpid()


def sleeps(job: Path, key: int) -> None:
    notes_its_process(job, key)
    time.sleep(60)


def threads(_: None, __: int) -> tuple[int, int, str]:
    import cv2
    import pyarrow as pa

    return cv2.getNumThreads(), pa.cpu_count(), os.environ["OMP_NUM_THREADS"]


@dataclass(frozen=True)
class Heavy:
    """A job that leaves a file wherever it arrives, too large for a pipe's buffer."""

    folder: Path
    content: bytes = bytes(10_000_000)

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        (self.folder / f"arrived-{time.monotonic_ns()}-{os.getpid()}").touch()


def size_and_key(job: Heavy, key: bytes) -> tuple[int, int, bytes]:
    return os.getpid(), len(job.content), key


class Counting:
    """An actor: says how many keys it has had."""

    def __init__(self, job: int) -> None:
        self.count = job

    def __call__(self, key: int) -> tuple[int, int]:
        self.count += 1
        return key * key, self.count


def unmakable(job: str) -> Callable[[int], int]:
    if job == "input":
        raise InputError("no such teacher")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_are_the_same_whoever_works(workers: int) -> None:
    results = list(run_tasks(scaled, 7, KEYS, Engine(workers=workers)))
    assert sorted(results) == [(key, 7 * key) for key in KEYS]
    if workers < 2:
        assert [key for key, _ in results] == KEYS


@pytest.mark.parametrize("workers", [0, 2])
def test_actors_keep_what_they_have(workers: int) -> None:
    results = dict(run_actors(Counting, 100, KEYS, Engine(workers=workers)))
    assert {key: square for key, (square, _) in results.items()} == {key: key * key for key in KEYS}
    counts = sorted(count for _, count in results.values())
    assert counts[0] == 101
    assert len(set(counts)) >= len(KEYS) / max(workers, 1)


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_no_keys_are_no_work(kind: str) -> None:
    assert list(run_tasks(scaled, 7, [], Engine(kind))) == []
    assert list(run_actors(unmakable, "input", [], Engine(kind))) == []


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    results = list(run_tasks(dies_once, tmp_path, KEYS, Engine(workers=2)))
    assert sorted(results) == [(key, key * key) for key in KEYS]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["died-11", "died-3"]


def test_a_key_that_always_kills_is_named_and_no_other_is_blamed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^5 ended its worker 3 times \(killed by signal 9\); most often memory"):
        list(run_tasks(dies_at_five, tmp_path, KEYS, Engine(workers=2)))
    begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert begun.count("5") == 3


def test_workers_that_never_begin_are_an_error() -> None:
    with pytest.raises(InputError, match="3 workers in a row ended before they were ready"):
        list(run_actors(unmakable, "die", KEYS, Engine(workers=1)))


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from operator import mul\nfrom cleanplate.engine.engine import Engine, run_tasks\n"
        "list(run_tasks(mul, 7, [1, 2], Engine(workers=1)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_input_errors_arrive_with_their_message(workers: int) -> None:
    with pytest.raises(InputError, match=r"^four is no good; give another$"):
        list(run_tasks(refuses_four, None, KEYS, Engine(workers=workers)))
    with pytest.raises(InputError, match=r"^no such teacher$"):
        list(run_actors(unmakable, "input", KEYS, Engine(workers=workers)))


def test_other_errors_arrive_with_the_place_where_they_were_raised() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(run_tasks(fails_softly, None, KEYS, Engine(workers=1)))
    assert "in fails_softly" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="lemon and 0"):
        list(run_tasks(fails_sourly, None, KEYS, Engine(workers=1)))
    with pytest.raises((AttributeError, TypeError), match="lambda"):
        list(run_tasks(gives_what_cannot_be_sent, None, KEYS, Engine(workers=1)))


def test_the_job_goes_to_each_worker_once_and_large_keys_and_results_get_through(tmp_path: Path) -> None:
    keys = [bytes([number]) * 1_000_000 for number in range(12)]
    results = list(run_tasks(size_and_key, Heavy(tmp_path), keys, Engine(workers=2)))
    assert sorted(key for key, _ in results) == keys
    assert all(result[1:] == (10_000_000, key) for key, result in results)
    arrived = [int(path.name.split("-")[-1]) for path in tmp_path.iterdir()]
    assert len(arrived) == len(set(arrived)) <= 2
    assert {process for _, (process, *_) in results} <= set(arrived)


def test_few_keys_are_on_their_way_and_leaving_early_ends_the_workers(tmp_path: Path) -> None:
    results = run_tasks(notes_its_process, tmp_path, list(range(1000)), Engine(workers=2))
    processes = {next(results)[1]}
    time.sleep(0.5)
    begun = [path.name.split("-") for path in tmp_path.iterdir()]
    assert len(begun) <= 5  # the one that is answered, and two for each worker
    processes |= {int(process) for _, process in begun}
    results.close()  # ty: ignore[unresolved-attribute]
    assert not any(map(is_alive, processes))


def test_a_worker_uses_one_thread() -> None:
    import cv2
    import pyarrow as pa

    here = cv2.getNumThreads(), pa.cpu_count(), os.environ.get("OMP_NUM_THREADS")
    ((_, (of_cv2, of_arrow, of_torch)),) = run_tasks(threads, None, [0], Engine(workers=1))
    assert of_cv2 <= 1
    assert (of_arrow, of_torch) == (1, "1")
    assert (cv2.getNumThreads(), pa.cpu_count(), os.environ.get("OMP_NUM_THREADS")) == here


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose two workers are at work, each with a file KEY-PID in tmp_path."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        # Whoever runs the tests in a shell's background lets them inherit that interrupts are ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\nfrom test_engine import *\n"
        f"list(run_tasks(sleeps, Path({str(tmp_path)!r}), KEYS, Engine(workers=2)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)
    waited_for(lambda: len(list(tmp_path.iterdir())) == 2, 30)
    yield process
    process.kill()
    process.communicate()


def test_workers_leave_when_their_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    family = members(parent.pid)
    assert len(family) >= 3
    parent.kill()
    parent.wait()
    waited_for(lambda: not any(map(is_alive, family)), 3)


def test_ctrl_c_leaves_at_once_and_only_the_parent_speaks(parent: subprocess.Popen[str]) -> None:
    family = members(parent.pid)
    said = None
    for _ in range(4):  # Python drops an interrupt that falls into a destructor: a user presses again
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to everyone
        with suppress(subprocess.TimeoutExpired):
            _, said = parent.communicate(timeout=5)
            break
    assert said is not None
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1
    waited_for(lambda: not any(map(is_alive, family)), 3)


def test_an_engine_says_what_it_cannot_do() -> None:
    with pytest.raises(InputError, match="-1 workers; expected 0"):
        Engine(workers=-1)
    with pytest.raises(InputError, match="add --engine ray"):
        Engine(address="10.0.0.1:6379")
    assert 1 <= cores() <= (os.cpu_count() or 1)


def members(session: int) -> list[int]:
    """The processes of a session, helpers of Python's included."""
    numbers = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [number for number in numbers if session_of(number) == session]


def session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def is_alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def waited_for(true: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"not so after {seconds} s"
        time.sleep(0.02)
