"""The engine's contract with Ray: one Ray on this machine for all tests here, and a second driver at its address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cleanplate.engine import cluster
from cleanplate.engine.engine import Engine, run_actors, run_tasks
from cleanplate.settings import PlanSettings
from cleanplate.shards.make import make_dataset
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

KEYS = list(range(12))
ENGINE = Engine("ray", workers=2)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with cluster.connected(2, None) as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers do not find this folder
        yield ray


def scaled(job: int, key: int) -> int:
    return job * key


def dies_once(job: Path, key: int) -> int:
    marker = job / f"died-{key}"
    if key in (3, 8) and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return key * key


def dies_at_five(job: Path, key: int) -> int:
    with (job / str(key)).open("a") as log:
        log.write("begun\n")
    if key == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return key


def refuses_four(_: None, key: int) -> int:
    if key == 4:
        raise InputError("four is no good; give another")
    return key


def fails_softly(_: None, key: int) -> float:
    return 1 / (key - 4)


def facts(_: None, __: int) -> tuple[int, str]:
    import pyarrow as pa

    return pa.cpu_count(), os.environ["RAY_USAGE_STATS_ENABLED"]


class Counting:
    """An actor: says how many keys it has had, and dies at one of them."""

    def __init__(self, job: Path) -> None:
        self.job, self.count = job, 0

    def __call__(self, key: int) -> tuple[int, int]:
        self.count += 1
        return dies_once(self.job, key), self.count


def calls(task: Callable[[Any, int], Any]) -> Callable[[Any], Callable[[int], Any]]:
    """An actor that does a task."""
    return lambda job: lambda key: task(job, key)


def unmakable(_: None) -> Callable[[int], int]:
    raise InputError("no such teacher")


def test_results_are_those_of_processes(ray: Any) -> None:
    assert ray.is_initialized()
    assert sorted(run_tasks(scaled, 7, KEYS, ENGINE)) == [(key, 7 * key) for key in KEYS]
    assert sorted(run_actors(calls(scaled), 7, KEYS, ENGINE)) == [(key, 7 * key) for key in KEYS]


@pytest.mark.usefixtures("ray")
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    for name, run, work in (("tasks", run_tasks, dies_once), ("actors", run_actors, Counting)):
        (tmp_path / name).mkdir()
        results = dict(run(work, tmp_path / name, KEYS, ENGINE))
        squares = {key: result if name == "tasks" else result[0] for key, result in results.items()}
        assert squares == {key: key * key for key in KEYS}
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["died-3", "died-8"]


@pytest.mark.usefixtures("ray")
def test_a_key_that_always_kills_is_named(tmp_path: Path) -> None:
    for name, run, work in (("tasks", run_tasks, dies_at_five), ("actors", run_actors, calls(dies_at_five))):
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=r"^5 ended its worker 3 times"):
            list(run(work, tmp_path / name, KEYS, ENGINE))
        assert (tmp_path / name / "5").read_text() == 3 * "begun\n"


@pytest.mark.usefixtures("ray")
def test_errors_of_the_work_arrive() -> None:
    with pytest.raises(InputError, match=r"^four is no good; give another$"):
        list(run_tasks(refuses_four, None, KEYS, ENGINE))
    with pytest.raises(InputError, match=r"^four is no good; give another$"):
        list(run_actors(calls(refuses_four), None, KEYS, ENGINE))
    with pytest.raises(InputError, match=r"^no such teacher$"):
        list(run_actors(unmakable, None, KEYS, ENGINE))
    with pytest.raises(ZeroDivisionError, match="in fails_softly"):
        list(run_tasks(fails_softly, None, KEYS, ENGINE))


@pytest.mark.usefixtures("ray")
def test_a_worker_uses_one_thread_and_ray_reports_to_nobody() -> None:
    for run, work in ((run_tasks, facts), (run_actors, calls(facts))):
        assert list(run(work, None, [0], ENGINE)) == [(0, (1, "0"))]


def test_a_running_cluster_is_worked_on_at_its_address_and_left_alone(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ray.get_runtime_context().gcs_address
    code = (
        "from operator import mul\nfrom cleanplate.engine.engine import Engine, run_tasks\n"
        f"print(sorted(run_tasks(mul, 7, [1, 2, 3], Engine('ray', address={address!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[(1, 7), (2, 14), (3, 21)]\n"
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert list(run_tasks(scaled, 7, [1], Engine("ray"))) == [(1, 7)]


def test_an_address_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    for engine in (Engine("ray"), Engine("ray", address=f"localhost:{port}")):
        with pytest.raises(InputError, match=rf"no Ray at '(127.0.0.1|localhost):{port}' .*refused.*ray start --head"):
            list(run_tasks(scaled, 7, KEYS, engine))
    for address in ("auto", "somewhere:", "ray://somewhere:10001"):
        with pytest.raises(InputError, match=f"'{address}' is no address .* expected HOST:PORT"):
            list(run_actors(Counting, Path(), KEYS, Engine("ray", address=address)))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'cleanplate\[scale\]'"):
        list(run_actors(Counting, Path(), KEYS, ENGINE))


def test_gpus_are_shared_so_that_every_actor_fits() -> None:
    for gpus in range(1, 5):
        for actors in range(1, 20):
            share = cluster._share(gpus, actors)
            assert int(1 / share) * gpus >= actors
    assert cluster._share(0, 8) == 0.0
    assert cluster._share(8, 2) == 1.0


@pytest.mark.usefixtures("ray")
def test_a_dataset_made_by_ray_is_the_same_bytes(tmp_path: Path) -> None:
    write_plates(tmp_path / "plates", 6)
    write_cutouts(tmp_path / "cutouts", 6)
    stored = []
    for name, engine in (("ray", ENGINE), ("here", Engine(workers=0))):
        folders = [tmp_path / "plates"], [tmp_path / "cutouts"]
        plan = PlanSettings(scenes_per_view=5)
        store = make_dataset(tmp_path / name, *folders, scenes=90, size=32, plan=plan, engine=engine, quiet=True).store
        stored.append({file: store.read(file) for file in store.names()})
    assert stored[0] == stored[1]
    assert "scenes/test-00000.parquet" in stored[0]
