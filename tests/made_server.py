"""A real server on loopback, in a thread of the test, and pictures to send to it."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from PIL import Image

from cleanplate.inference.predictor import Predictor
from cleanplate.inference.runtimes import Answer
from cleanplate.service.app import create_app
from cleanplate.service.limits import Limits
from cleanplate.service.page import File
from cleanplate.service.serve import listening, server_config
from cleanplate.types import Depth, Pixels

SAMPLE = Path(__file__).parents[1] / "src" / "cleanplate" / "pictures" / "sample" / "pairs"
SCENES = tuple(sorted(path.name for path in SAMPLE.iterdir()))


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]

    @property
    def picture(self) -> np.ndarray:
        return np.array(Image.open(io.BytesIO(self.body)))


@dataclass(frozen=True)
class Client:
    """Requests to one server, each on a connection of its own."""

    port: int

    def __call__(self, method: str, path: str, body: bytes = b"", kind: str = "", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named | ({"Content-Type": kind} if kind else {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def plate(self, picture: bytes, kind: str = "application/octet-stream") -> str:
        """Post a plate; its id."""
        reply = self("POST", "/plates", picture, kind)
        assert reply.status == 201, reply.body
        return reply.json["id"]

    def frame(self, id: str, picture: bytes, query: str = "", **headers: str) -> Reply:
        """Post a frame of a plate."""
        return self("POST", f"/plates/{id}/frames{query}", picture, "application/octet-stream", **headers)


@contextmanager
def serving(
    predictors: Sequence[Predictor],
    limits: Limits | None = None,
    files: dict[str, File] | None = None,
    names: frozenset[str] = frozenset(),
) -> Generator[Client]:
    """A server of these predictors on a free port."""
    limits = limits or Limits()
    app = create_app(predictors, limits, "made", files, names)
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(server_config(app, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
                assert thread.is_alive()
            yield Client(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@dataclass
class Differing:
    """A runtime whose answer is the difference from the plate, when `gate` is open: quick, and every pair's own."""

    name: str = "differing"
    gate: threading.Event = field(default_factory=threading.Event)
    seen: int = 0

    def plate(self, plate: Pixels, plate_depth: Depth | None) -> tuple[Pixels, Depth | None]:
        return plate, plate_depth

    def answer(self, known: tuple[Pixels, Depth | None], frame: Pixels) -> Answer:
        self.seen += 1
        assert self.gate.wait(20)
        plate, plate_depth = known
        alpha = cv2.absdiff(plate, frame).max(axis=2).astype(np.float32) / 255
        behind = np.zeros_like(alpha) if plate_depth is None else np.log(np.maximum(plate_depth, 0.1))
        return Answer(alpha, behind, behind - 1)


def differing(count: int = 1, depth: str = "metric") -> list[Predictor]:
    """Predictors that answer at once."""
    runtimes = [Differing() for _ in range(count)]
    for runtime in runtimes:
        runtime.gate.set()
    return [Predictor(runtime, {"depth": depth}, care=False) for runtime in runtimes]


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def noise(seed: int, height: int = 60, width: int = 80) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def form(**parts: bytes) -> tuple[bytes, str]:
    """A multipart body, and its Content-Type."""
    lines = [
        b'--edge\r\nContent-Disposition: form-data; name="%s"; filename="../../etc/%s"\r\n\r\n%s\r\n'
        % (name.encode(), name.encode(), data)
        for name, data in parts.items()
    ]
    return b"".join([*lines, b"--edge--\r\n"]), "multipart/form-data; boundary=edge"
