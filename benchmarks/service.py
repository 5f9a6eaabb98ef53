"""The service under load: `python benchmarks/service.py [--clients 32] [--seconds 300] [--size 256] [--json FILE]`.

Starts `cleanplate serve`, and in another process so many clients, each with a connection, a plate and frames of its
own, that send the next frame as soon as the last is answered. Every answer is compared with what the predictor says of
that frame by itself: an answer that is nearer to another client's is a mixed-up one, a request without an answer a lost
one. The server's resident memory is sampled all the while; it is flat when the last quarter's median exceeds the second
quarter's by less than 2 percent. What clients do (compressing, comparing) takes from the same processors.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from cleanplate.inference.predictor import Predictor, load
from cleanplate.pictures.frames import decode, read_image, to_rgb
from cleanplate.types import AlphaPixels, Pixels
from figures import Figure, show

SAMPLE = Path(__file__).parents[1] / "src" / "cleanplate" / "pictures" / "sample" / "pairs"
FRAMES = 3
"""Frames of each client, sent in turn."""
CLOSE = 2
"""Levels of 255 by which an answer may differ from the right one: threads may add in another order."""
ANSWERS = ("mask", "mask", "json", "cutout")
"""What a client asks for, in turn."""


@dataclass(frozen=True)
class Client:
    """What one client sends, and what is right. Pictures as JPEG; masks uint8 [h, w]."""

    plate: bytes
    frames: tuple[bytes, ...]
    right: tuple[AlphaPixels, ...]


@dataclass
class Found:
    """What the clients found, all together."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: int = 0
    processor: float = 0.0
    """Seconds of processor time that the clients took."""


def clients(count: int, size: int, model: str) -> list[Client]:
    """Every client's own crop of the sample pairs, and the predictor's answers to it."""
    scenes, made = sorted(SAMPLE.iterdir()), []
    for number in range(count):
        rng = np.random.default_rng(number)
        scene = scenes[number % len(scenes)]
        pictures = [read_image(next(scene.glob("plate.*"))), *map(read_image, sorted((scene / "frames").iterdir()))]
        while len(pictures) < 1 + FRAMES:
            pictures.append(_marked(pictures[1], rng))
        height, width = pictures[0].shape[:2]
        side = int(min(height, width) * rng.uniform(0.75, 1))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        cut = [picture[top : top + side, left : left + side] for picture in pictures[: 1 + FRAMES]]
        plate, *frames = [cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in cut]
        made.append(_client(plate, frames))
    predictor = load(model)
    return [_answered(client, predictor) for client in made]


def _marked(frame: Pixels, rng: np.random.Generator) -> Pixels:
    """Another frame: something of one colour stands somewhere in it."""
    height, width = frame.shape[:2]
    centre = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
    axes = int(rng.uniform(0.08, 0.2) * width), int(rng.uniform(0.1, 0.3) * height)
    colour = [int(value) for value in rng.integers(0, 256, 3)]
    return cv2.ellipse(frame.copy(), centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)


def _client(plate: Pixels, frames: list[Pixels]) -> Client:
    plate_jpeg, *frame_jpegs = [
        cv2.imencode(".jpg", one[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for one in (plate, *frames)
    ]
    return Client(plate_jpeg, tuple(frame_jpegs), ())


def _answered(client: Client, predictor: Predictor) -> Client:
    """The client with the predictor's masks of its frames, each read as from a file."""
    name = Path("a client's picture")
    plate, *frames = [to_rgb(decode(one, name), name) for one in (client.plate, *client.frames)]
    alphas = [predictor.predict(plate, frame).alpha for frame in frames]
    return Client(client.plate, client.frames, tuple((alpha * 255 + 0.5).astype(np.uint8) for alpha in alphas))


@contextmanager
def server(model: str, workers: int | None = None) -> Generator[tuple[int, int]]:
    """`cleanplate serve` on a free port: the port and the process."""
    command = [sys.executable, "-m", "cleanplate", "serve", "--model", model, "--port", "0", "--no-open"]
    command += [] if workers is None else ["--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline() if process.stdout is not None else ""
        yield int(said.split("http://127.0.0.1:")[1].split()[0]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def load_with(port: int, everyone: list[Client], seconds: float) -> Found:
    """All clients at once for so long."""
    found, lock = Found(), threading.Lock()
    end = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_ask, args=(port, number, everyone, end, found, lock))
        for number in range(len(everyone))
    ]
    before = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.processor = time.process_time() - before
    return found


def _ask(port: int, number: int, everyone: list[Client], end: float, found: Found, lock: threading.Lock) -> None:
    """One client's requests until the end."""
    me = everyone[number]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    key = json.loads(_sent(connection, "/plates", me.plate)[1])["id"]
    turn = number
    while time.perf_counter() < end:
        which, kind = turn % FRAMES, ANSWERS[turn % len(ANSWERS)]
        start = time.perf_counter()
        try:
            status, body = _sent(connection, f"/plates/{key}/frames?answer={kind}", me.frames[which])
        except (OSError, http.client.HTTPException) as error:
            with lock:
                found.failed.append(f"client {number}, turn {turn}: {error!r}")
            connection.close()
            continue
        took = time.perf_counter() - start
        problem = "" if status != 200 else _wrong(kind, body, number, which, everyone)
        with lock:
            found.seconds.append(took)
            found.refused += status != 200
            if problem:
                found.wrong.append(f"client {number}, turn {turn}, {kind}: {problem}")
        turn += 1
    connection.close()


def _sent(connection: http.client.HTTPConnection, path: str, picture: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, picture, {"Content-Type": "image/jpeg"})
    response = connection.getresponse()
    return response.status, response.read()


def _wrong(kind: str, body: bytes, number: int, which: int, everyone: list[Client]) -> str:
    """What is wrong with an answer; nothing if it is this client's own."""
    right = everyone[number].right[which]
    if kind == "json":
        share, expected = json.loads(body)["foreground"], float((right >= 128).mean())
        return "" if abs(share - expected) < 0.002 else f"foreground {share} instead of {expected}"
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    found = picture if picture is None or picture.ndim == 2 else picture[..., 3]
    if found is None or found.shape != right.shape:
        return "no picture of the frame's size"
    far = int(cv2.absdiff(found, right).max())
    if far <= CLOSE:
        return ""
    others = ((n, f) for n, one in enumerate(everyone) for f in range(FRAMES) if (n, f) != (number, which))
    of = [f"client {n}'s frame {f}" for n, f in others if cv2.absdiff(found, everyone[n].right[f]).max() <= CLOSE]
    return f"{far} levels off" + (f": it is {of[0]}" if of else "")


def _watched(pid: int, into: list[int], stop: threading.Event) -> None:
    """The resident memory of a process, bytes, once a second."""
    while not stop.wait(1):
        into.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(count: int, seconds: float, size: int, model: str, workers: int | None = None) -> list[Figure]:
    """Serve, load, and judge."""
    everyone = clients(count, size, model)
    context = multiprocessing.get_context("spawn")
    memory: list[int] = []
    stop = threading.Event()
    with server(model, workers) as (port, pid), context.Pool(1) as apart:
        apart.apply(load_with, (port, everyone, min(3.0, seconds)))  # connections, plates and memory find their sizes
        watcher = threading.Thread(target=_watched, args=(pid, memory, stop))
        watcher.start()
        start, before = time.perf_counter(), _processor(pid)
        found = apart.apply(load_with, (port, everyone, seconds))
        took, used = time.perf_counter() - start, _processor(pid) - before
        stop.set()
        watcher.join()
    for line in (found.wrong + found.failed)[:10]:
        print(line, file=sys.stderr)
    return _judged(found, took, used, memory)


def _judged(found: Found, took: float, used: float, memory: list[int]) -> list[Figure]:
    p50, p99 = (float(value) for value in np.percentile(found.seconds, (50, 99)))
    quarter = max(1, len(memory) // 4)
    early, late = memory[quarter : 2 * quarter] or memory, memory[-quarter:]
    grown = median(late) / median(early) - 1 if memory else 0.0
    return [
        Figure("requests per second", len(found.seconds) / took, "/s", 40),
        Figure("p50", 1000 * p50, "ms"),
        Figure("p99", 1000 * p99, "ms"),
        Figure("processor time per answer: server", 1000 * used / len(found.seconds), "ms"),
        Figure("processor time per answer: clients", 1000 * found.processor / len(found.seconds), "ms"),
        Figure("p99 / p50", p99 / p50, "x", 3, "less"),
        Figure("answers", len(found.seconds), ""),
        Figure("wrong or mixed-up answers", len(found.wrong), "", 0, "less"),
        Figure("lost requests", len(found.failed), "", 0, "less"),
        Figure("refused requests", found.refused, "", 0, "less"),
        Figure("resident memory", (max(memory) if memory else 0) / 1e6, "MB"),
        Figure("growth of memory, 2nd to last quarter", 100 * grown, "%", 2, "less"),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--model", default="released")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", type=Path, help="write the figures here; - prints them instead of the table")
    given = parser.parse_args()
    figures = measure(given.clients, given.seconds, given.size, given.model, given.workers)
    show(f"{given.clients} clients for {given.seconds:g} s, {given.size} px", figures, given.json)


if __name__ == "__main__":
    main()
