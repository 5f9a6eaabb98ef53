"""`cleanplate serve` as users run it: it says where it is, serves what the documentation shows, and stops whole."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cleanplate import cli
from cleanplate.service.serve import is_loopback, listening
from cleanplate.types import InputError
from made_server import SAMPLE, SCENES, Client, noise, png

ROOT = Path(__file__).parents[1]
SCENE = SAMPLE / SCENES[0]


def started(*arguments: str) -> tuple[subprocess.Popen[str], int, str]:
    """A server of its own process, its port, and what it said."""
    command = [sys.executable, "-m", "cleanplate", "serve", "--port", "0", "--no-open", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    port = re.search(r":(\d+) ", said)
    assert port, said + (process.stderr.read() if process.stderr else "")
    return process, int(port[1]), said


@pytest.fixture(scope="module")
def server() -> Generator[int]:
    process, port, _ = started("--workers", "1")
    yield port
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "stopped" in said
    assert "warning" not in errors
    assert "Traceback" not in errors


def examples() -> list[str]:
    """The curl commands of the documentation."""
    return re.findall(r"^curl .*$", (ROOT / "docs" / "service.md").read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documented_commands_work(server: int, tmp_path: Path) -> None:
    for name in ("plate.jpg", "plate_depth.png"):
        shutil.copy(SCENE / name, tmp_path)
    shutil.copy(SCENE / "frames" / "0.jpg", tmp_path / "frame.jpg")
    commands = examples()
    assert len(commands) >= 10
    key = ""
    for line in commands:
        here = line.replace("127.0.0.1:8000", f"127.0.0.1:{server}").replace("curl -s", "curl -sS --fail-with-body")
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, env=os.environ | {"ID": key}, capture_output=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if line.endswith("/plates"):
            key = json.loads(done.stdout)["id"]
    assert np.array(Image.open(tmp_path / "mask.png")).shape == (240, 320)
    assert set(json.loads((tmp_path / "answer.json").read_text())["pictures"]) == {"depth"}


def test_the_page_is_served_with_the_model(server: int) -> None:
    client = Client(server)
    sizes = [len(client("GET", f"/model/{name}.onnx").body) for name in ("plate", "frame")]
    assert min(sizes) > 100_000
    assert b"<title>cleanplate</title>" in client("GET", "/").body
    assert client("GET", "/", Host=f"evil.example:{server}").status == 421


def test_what_is_under_way_is_finished_before_it_stops() -> None:
    process, port, _ = started("--workers", "1")
    client = Client(port)
    large = noise(0, 900, 1200)
    key = client.plate(png(large))
    frame = png(np.roll(large, 5, axis=1))
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(client.frame(key, frame).status)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while b"cleanplate_queue_depth 0.0" in client("GET", "/metrics").body:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    for thread in threads:
        thread.join()
    assert "Traceback" not in errors
    assert (statuses, process.returncode) == ([200] * 4, 0)
    assert "stopped" in said
    with pytest.raises(ConnectionRefusedError):
        client("GET", "/health")


def test_other_hosts_are_warned_of() -> None:
    process, port, _ = started("--host", "0.0.0.0", "--workers", "1")
    assert Client(port)("GET", "/health", Host="any.example").status == 200
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert "warning: --host 0.0.0.0 lets other machines in" in errors
    assert "--names" in errors


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("192.168.1.2", False), ("::", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_place_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert cli.main(["serve", "--port", port, "--no-open"]) == 2
    error = capsys.readouterr().err
    assert f"--port {port}" in error
    assert "--port 0" in error
    with pytest.raises(InputError, match="cannot listen"), listening("203.0.113.7", 0):
        pass
    with pytest.raises(InputError, match="65535"), listening("127.0.0.1", 99_999):
        pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--model", "nowhere"], "nowhere"), (["--workers", "0"], "--workers 0"), (["--limits.queue", "0"], "queue is 0")],
)
def test_mistakes_are_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--no-open", "--port", "0", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['uvicorn'] = None\nfrom cleanplate.cli import main\n"
        "sys.exit(main(['serve', '--no-open']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'pip install "cleanplate[serve]"' in done.stderr


def test_under_load_every_answer_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark, short, at a small size: no answer lost, wrong or mixed up."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark: Any = importlib.import_module("service")
    found = {figure.name: figure.value for figure in benchmark.measure(6, 1.5, 96, "released", 2)}
    assert found["answers"] >= 6
    assert found["wrong or mixed-up answers"] == 0
    assert found["lost requests"] == 0
    assert found["refused requests"] == 0


def test_the_load_notices_an_answer_that_is_another_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark: Any = importlib.import_module("service")
    everyone = benchmark.clients(2, 64, "released")
    own, other = (png(everyone[number].right[1]) for number in (0, 1))
    assert benchmark._wrong("mask", own, 0, 1, everyone) == ""
    assert "client 1's frame 1" in benchmark._wrong("mask", other, 0, 1, everyone)
    assert benchmark._wrong("mask", b"nothing", 0, 1, everyone)


def test_a_killed_client_does_not_stop_the_server(server: int) -> None:
    client = Client(server)
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=10)
    connection.putrequest("POST", "/plates")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"half of it")
    connection.close()
    assert client("GET", "/health").json["ready"] is True
