"""The store's contract on this machine, on a real server that speaks S3 (loopback), and on a filesystem of fsspec."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from cleanplate.engine.engine import Engine, run_tasks
from cleanplate.pictures.writing import beside
from cleanplate.settings import PlanSettings
from cleanplate.shards.make import make_dataset
from cleanplate.shards.place import shown, without_secrets
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from cleanplate.shards.verify import verify
from cleanplate.training.stored import StoredScenes
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

SECRET = "wJalrXUtnFEMI/K7MDENG+b"
ENCODED = "wJalrXUtnFEMI%2FK7MDENG%2Bb"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """HOST:PORT of a server that speaks S3, on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


def tell(server: str, what: str, content: bytes = b"") -> None:
    """Have the server forget its buckets (reset) or ask for permission after so many requests (reset-auth)."""
    request = Request(f"http://{server}/moto-api/{what}", content, {"Content-Type": "text/plain"})
    urlopen(request, timeout=10).close()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of a fresh, empty bucket."""
    for name, value in (
        ("ACCESS_KEY_ID", "testing"),
        ("SECRET_ACCESS_KEY", "testing"),
        ("EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    tell(server, "reset")
    boto3.client("s3", endpoint_url=f"http://{server}", region_name="us-east-1").create_bucket(Bucket="bucket")
    return f"s3://bucket/data?endpoint_override={server}&scheme=http"


@pytest.fixture(params=["local", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place of each kind."""
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
    elif request.param == "memory":
        yield "memory://data/here"
        fsspec.filesystem("memory").store.clear()
    else:
        yield str(tmp_path / "data")


def test_files_are_written_read_listed_and_deleted(place: str) -> None:
    store = Store(place)
    assert store.names() == store.names("scenes") == []
    assert not store.exists("dataset.json")
    store.write("dataset.json", b"{}")
    store.write("scenes/train-00001.parquet", b"first" * 1000)
    store.write("scenes/train-00000.parquet", b"")
    store.write("scenes/train-00001.parquet", b"second")
    assert store.names() == ["dataset.json", "scenes/train-00000.parquet", "scenes/train-00001.parquet"]
    assert store.names("scenes") == store.names()[1:]
    assert store.names("scene") == []
    assert store.read("scenes/train-00001.parquet") == b"second"
    assert (store.size("scenes/train-00001.parquet"), store.size("scenes/train-00000.parquet")) == (6, 0)
    assert store.exists("dataset.json")
    assert not store.exists("scenes")
    store.delete("dataset.json")
    store.delete("dataset.json")
    assert not store.exists("dataset.json")
    assert store.names("") == ["scenes/train-00000.parquet", "scenes/train-00001.parquet"]


def test_a_large_file_comes_back_whole(place: str) -> None:
    content = os.urandom(12_000_000)  # more than a part of an upload in parts
    store = Store(place)
    store.write("large", content)
    assert store.read("large") == content
    with store.open("large") as file:
        file.seek(11_000_000)
        assert file.read(10) == content[11_000_000:11_000_010]


def test_a_parquet_file_is_read_in_parts(place: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"index": list(range(1000))}), sink, row_group_size=100)
    store = Store(place)
    store.write("scenes/x.parquet", sink.getvalue().to_pybytes())
    with store.open("scenes/x.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(7)["index"].to_pylist() == list(range(700, 800))


def test_what_is_absent_is_named(place: str) -> None:
    store = Store(place)
    for ask in (store.read, store.open, store.size):
        with pytest.raises(InputError, match=r"(data|here|scheme=http) has no labels/label\.json$"):
            ask("labels/label.json")


def test_create_makes_a_file_only_once(place: str) -> None:
    store = Store(place)
    assert store.create("dataset.json", b"first") is True
    assert store.create("dataset.json", b"second") is False
    assert store.read("dataset.json") == b"first"
    assert store.names() == ["dataset.json"]


def test_of_many_that_create_at_once_one_wins(tmp_path: Path) -> None:
    for attempt in range(20):
        start = threading.Barrier(8)

        def create(number: int, folder: Path = tmp_path / str(attempt), start: threading.Barrier = start) -> bool:
            store = Store(folder)
            start.wait()
            return store.create("dataset.json", str(number).encode() * 100_000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert won.count(True) == 1
        assert Store(tmp_path / str(attempt)).read("dataset.json") == str(won.index(True)).encode() * 100_000
        assert len(list((tmp_path / str(attempt)).iterdir())) == 1


def test_a_disk_without_hard_links_creates_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unable)
    store = Store(tmp_path)
    assert (store.create("x", b"first"), store.create("x", b"second")) == (True, False)
    assert store.read("x") == b"first"


@pytest.mark.parametrize("do", ["write", "create"])
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, do: str) -> None:
    store = Store(tmp_path)
    beside(tmp_path / "x.parquet").symlink_to("/dev/full")  # whatever is written there meets a full disk
    with pytest.raises(InputError, match=rf"disk full while writing {tmp_path}/x\.parquet; free some space"):
        getattr(store, do)("x.parquet", bytes(100_000))
    assert list(tmp_path.iterdir()) == []
    store.write("x.parquet", b"now")


class FullSystem(fsspec.AbstractFileSystem):
    """A remote disk without space."""

    protocol = "full"

    def info(self, path: str, **_: object) -> dict[str, object]:
        raise FileNotFoundError(path)

    def _open(self, path: str, **_: object) -> None:
        raise OSError(28, "No space left on device", path)


def test_a_full_disk_elsewhere_says_so_too() -> None:
    fsspec.register_implementation("full", FullSystem, clobber=True)
    with pytest.raises(InputError, match="cannot write full://x/y: disk full: free some space"):
        Store("full://x").write("y", b"content")


def test_unfinished_files_are_not_listed_and_other_hidden_ones_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("scenes/a.parquet", b"")
    beside(tmp_path / "scenes" / "b.parquet").write_bytes(b"half")
    (tmp_path / ".hidden").touch()
    assert store.names() == [".hidden", "scenes/a.parquet"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("x", b"old")
    code = (
        "import sys\nfrom cleanplate.shards.store import Store\n"
        "while True:\n    Store(sys.argv[1]).write('x', bytes(50_000_000))"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, tmp_path])
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert store.names() == ["x"]
    assert store.size("x") in (3, 50_000_000)


def test_what_breaks_off_leaves_nothing_elsewhere() -> None:
    store = Store("memory://data")
    store.write("x", b"old")

    memory = fsspec.filesystem("memory")
    before = set(memory.store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "mv", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("Connection lost")))
        with pytest.raises(InputError, match="cannot write memory://data/y: its server does not answer"):
            store.write("y", b"new")
    assert set(memory.store) == before
    assert store.names() == ["x"]
    memory.store.clear()


def test_places_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("data", Path("data"), tmp_path / "data", f"file://{tmp_path}/data", "./data/"):
        store = Store(place)
        assert store.local == tmp_path / "data"
        assert store.place == str(place)
    store.write("x", b"y")
    monkeypatch.chdir("/")
    assert store.read("x") == b"y"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*choose another place"):
        Store(tmp_path / "file").write("x", b"y")
    with pytest.raises(InputError, match=r"cannot read .*data: "):
        Store(tmp_path).read("data")


def test_places_that_are_none() -> None:
    with pytest.raises(InputError, match=r"foo://x: unknown kind of place 'foo'; expected a folder, s3://BUCKET"):
        Store("foo://x")
    with pytest.raises(InputError, match=r"s3:/ begins neither a folder nor a URI; expected s3://"):
        Store(Path("s3://bucket/data"))
    with pytest.raises(InputError, match="names no bucket"):
        Store("s3://?region=us-east-1")
    with pytest.raises(InputError, match=r"cannot open s3://b/x\?bogus=\*\*\*: .*bogus"):
        Store("s3://b/x?bogus=1")
    with pytest.raises(InputError, match=r"cannot open sftp://host/x: .*paramiko"):
        Store("sftp://host/x")


def size_of(store: Store, name: str) -> int:
    store.write(f"{name}-seen", b"")
    return store.size(name)


def test_a_store_goes_to_other_processes(bucket: str, tmp_path: Path) -> None:
    for store in (Store(bucket), Store(tmp_path)):
        store.write("x", b"four")
        assert list(run_tasks(size_of, store, ["x"], Engine(workers=1))) == [("x", 4)]
        assert store.names() == ["x", "x-seen"]
        again = pickle.loads(pickle.dumps(store))
        assert (again.place, again.local, again.read("x")) == (store.place, store.local, b"four")


def test_a_forked_process_opens_the_store_again(bucket: str) -> None:
    """As a DataLoader's workers do. In a process of its own, which has threads of nothing else."""
    code = (
        "import os, sys\nfrom cleanplate.shards.store import Store\n"
        "store = Store(sys.argv[1]); store.write('x', b'four')\n"
        "if os.fork() == 0:\n    store.write('y', store.read('x')); os._exit(0)\n"
        "assert os.wait()[1] == 0; print(store.names())"
    )
    done = subprocess.run([sys.executable, "-c", code, bucket], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['x', 'y']\n"


def test_a_missing_bucket_is_named(bucket: str) -> None:
    store = Store(bucket.replace("bucket/", "nowhere/"))
    assert not store.exists("dataset.json")
    with pytest.raises(InputError, match=r"cannot write s3://nowhere/data.*/x: there is no such bucket: make it"):
        store.write("x", b"content")


def test_missing_permission_is_said(bucket: str, server: str) -> None:
    store = Store(bucket)
    store.write("x", b"content")
    tell(server, "reset-auth", b"0")
    try:
        for act in (lambda: store.write("y", b""), lambda: store.read("x"), lambda: store.exists("x"), store.names):
            with pytest.raises(InputError, match=r"no permission: check the credentials .*AWS_ACCESS_KEY_ID"):
                act()
    finally:
        tell(server, "reset-auth", b"inf")


@pytest.mark.usefixtures("bucket")
def test_an_endpoint_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    store = Store(f"s3://bucket/data?endpoint_override={nobody}&scheme=http")
    with pytest.raises(InputError, match=rf"{nobody}.*/x: its server does not answer: check the address"):
        store.write("x", b"content")


def test_secrets_of_a_uri_work_and_are_shown_nowhere(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    uri = bucket.replace("s3://", f"s3://AKIAEXAMPLE:{ENCODED}@")
    store = Store(uri)
    store.write("x", b"content")
    assert pickle.loads(pickle.dumps(store)).read("x") == b"content"
    said = [store.place, repr(store), str(store)]
    for bad in (uri + "&bogus=token123", f"s3://AKIAEXAMPLE:{SECRET}@bucket/data", uri.replace("bucket", "nowhere")):
        try:
            Store(bad).write("x", b"content")
        except InputError as error:
            said += [str(error), "".join(traceback.format_exception(error)).replace(bad, "")]
    assert len(said) == 9
    assert not [text for text in said for secret in (SECRET, ENCODED, "AKIAEXAMPLE", "token123") if secret in text]


def test_what_of_a_uri_is_shown() -> None:
    assert shown("s3://bucket/a@b") == "s3://bucket/a@b"
    assert shown("s3://key:pass@bucket/a?region=eu&token=x") == "s3://bucket/a?region=eu&token=***"
    assert shown("sftp://me@host:22/a@b") == "sftp://host:22/a@b"
    assert shown("sftp://host:22/a@b") == "sftp://host:22/a@b"
    assert shown("s3://key:pa/ss@bucket/a") == "s3://bucket/a"
    assert shown("memory://x") == "memory://x"
    assert without_secrets("bad pa/ss in s3://key:pa%2Fss@b", "s3://key:pa%2Fss@b") == "bad *** in s3://b"


def test_a_dataset_on_s3_is_the_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    write_plates(tmp_path / "plates", 6)
    write_cutouts(tmp_path / "cutouts", 6)
    options: dict = {"scenes": 60, "size": 32, "plan": PlanSettings(scenes_per_view=5), "quiet": True}

    def make(place: str, workers: int) -> Dataset:
        folders = [tmp_path / "plates"], [tmp_path / "cutouts"]
        return make_dataset(place, *folders, engine=Engine(workers=workers), **options)

    here, there = make(str(tmp_path / "data"), 0), make(bucket, 1)
    assert {name: there.store.read(name) for name in there.store.names()} == {
        name: here.store.read(name) for name in here.store.names()
    }
    there.store.delete("scenes/test-00000.parquet")
    assert [problem.file for problem in verify(there.store)] == ["scenes/test-00000.parquet"]
    make(bucket, 0)
    assert verify(there.store) == []
    near, far = (StoredScenes(Dataset(place), "train", effects="train", seed=1) for place in (here.store.place, bucket))
    assert all(np.array_equal(near[0, 7][name], far[0, 7][name]) for name in near[0, 7])
