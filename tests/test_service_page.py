"""Files over HTTP: those that were listed at the start, and nothing else on the disk; plates kept and forgotten."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from cleanplate.inference.predictor import Seen
from cleanplate.inference.runtimes import GRAPHS
from cleanplate.network import checkpoint
from cleanplate.page.assets import assets
from cleanplate.service.limits import Limits, RefusedError
from cleanplate.service.model import open_served
from cleanplate.service.page import graph_files, page_files
from cleanplate.service.plates import Plates
from cleanplate.types import InputError
from made_graphs import graphs_of
from made_server import Client, differing, noise, serving

TRAVERSALS = (
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/model/../../etc/passwd",
    "/model/..%5c..%5cetc%5cpasswd",
    "//etc/passwd",
    "/./main.js/../../assets.py",
    "/assets.py",
    "/__init__.py",
    "/model/model.safetensors",
    "/model/plate.onnx%00.js",
    "/plates/../../etc/passwd/frames",
    "/plates/..%2f..%2fetc%2fpasswd/frames",
)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "plate.onnx").write_bytes(b"the plate's graph")
    (folder / "secret.txt").write_text("nobody's business")
    return folder


@pytest.fixture(scope="module")
def client(graphs: Path) -> Generator[Client]:
    with serving(differing(), files=page_files() | graph_files(graphs, ("plate.onnx", "frame.onnx"))) as client:
        yield client


def test_every_file_of_the_page_is_served(client: Client) -> None:
    assert client("GET", "/").body == client("GET", "/index.html").body
    for address, asset in assets().items():
        reply = client("GET", f"/{address}")
        assert reply.status == 200, address
        assert reply.headers["content-type"] == asset.media_type
        content = asset.path.read_bytes()
        assert reply.body == (gzip.decompress(content) if asset.gzipped else content)
        assert reply.headers["cross-origin-embedder-policy"] == "require-corp"


def test_packed_files_are_sent_packed_to_those_who_take_that(client: Client) -> None:
    address, asset = next((address, asset) for address, asset in assets().items() if asset.gzipped)
    reply = client("GET", f"/{address}", Accept_Encoding="gzip, deflate, br")
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["vary"] == "Accept-Encoding"
    assert reply.body == asset.path.read_bytes()


def test_what_a_browser_has_is_not_sent_again(client: Client) -> None:
    tag = client("GET", "/main.js").headers["etag"]
    again = client("GET", "/main.js", If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert client("GET", "/style.css", If_None_Match=tag).status == 200


def test_the_models_graphs_lie_beside_the_page(client: Client) -> None:
    assert client("GET", "/model/plate.onnx").body == b"the plate's graph"
    assert client("GET", "/model/frame.onnx").status == 404
    assert client("GET", "/model/secret.txt").status == 404


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_reaches_the_disk(client: Client, path: str) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.split(b" ")[1] in (b"404", b"405", b"400"), answer[:200]
    assert b"root:" not in answer


def test_exported_graphs_are_served_as_they_are(tmp_path: Path) -> None:
    folder = graphs_of(checkpoint.released(), tmp_path)
    predictors, files = open_served(folder, "auto", 2)
    assert files == graph_files(folder, GRAPHS)
    assert [predictor.runtime.name for predictor in predictors] == ["onnx", "onnx"]
    assert predictors[0].runtime is not predictors[1].runtime
    with pytest.raises(InputError, match="nowhere"):
        open_served(Path("nowhere"), "auto", 1)


def seen(side: int = 10) -> Seen:
    return Seen(noise(0, side, side))


def test_plates_are_forgotten_when_unused() -> None:
    clock = [0.0]
    plates = Plates(Limits(plate_minutes=1), lambda: clock[0])
    ids = [plates.keep(seen(), None).id for _ in range(2)]
    clock[0] = 50
    plates.of(ids[0])
    clock[0] = 70
    assert plates.of(ids[0]).id == ids[0]
    with pytest.raises(RefusedError, match="1 minutes"):
        plates.of(ids[1])
    assert plates.count()[0] == 1


def test_plates_share_bounded_memory() -> None:
    plates = Plates(Limits(plates_mb=3))
    ids = [plates.keep(seen(300), None).id for _ in range(3)]  # 2.4 MB each with their care
    assert plates.count() == (1, 2_430_000)
    assert plates.of(ids[2]).size == (300, 300)
    with pytest.raises(RefusedError, match=r"--limits.plates-mb"):
        plates.keep(seen(500), None)


def test_ids_cannot_be_guessed() -> None:
    plates = Plates(Limits())
    ids = {plates.keep(seen(2), None).id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(key) >= 22 for key in ids)
