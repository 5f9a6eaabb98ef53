"""The page in a browser: frames a second that a headless Chromium makes of a camera, WebAssembly on this processor.

    python benchmarks/page.py [--model RUN] [--side 256] [--seconds 10] [--json FILE]

A packaged pair is the clip of a fake camera, 640 x 480 at 30 frames/s: its plate, then its frame, again and again. The
page takes the plate and looks on; printed are the median over the seconds, and how long one look takes. The browser,
the camera and the server share the processors with the page, as they do at home.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import uvicorn

from cleanplate.inference.opening import GRAPHS
from cleanplate.inference.predictor import load
from cleanplate.network.checkpoint import released
from cleanplate.page.assets import EXAMPLE
from cleanplate.pictures.frames import read_image
from cleanplate.pictures.library import sample_folder
from cleanplate.service.app import create_app
from cleanplate.service.limits import Limits
from cleanplate.service.page import graph_files, page_files
from cleanplate.service.serve import LOOPBACK, listening, server_config
from cleanplate.types import Pixels

CAMERA = 640, 480
RATE = 30


def write_clip(path: Path, scenes: Sequence[tuple[Pixels, int]], rate: int = RATE) -> None:
    """A YUV4MPEG2 file that Chromium takes for a camera: each picture for so many frames. Sides are even."""
    height, width = scenes[0][0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for picture, frames in scenes:
            file.write((b"FRAME\n" + cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes()) * frames)


@contextmanager
def served(graphs: Path) -> Generator[str]:
    """The page with the two graphs of this folder, at the address that is given."""
    predictor = load(released(), care=False, threads=1)
    app = create_app([predictor], Limits(), "released", page_files() | graph_files(graphs, GRAPHS), LOOPBACK)
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(server_config(app, Limits()))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@contextmanager
def browser(clip: Path) -> Generator[Any]:
    """A headless Chromium (of playwright) whose camera shows this clip."""
    from playwright.sync_api import sync_playwright

    arguments = (
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(arguments))
        yield running
        running.close()


def measure(address: str, running: Any, side: int, seconds: float) -> dict[str, Any]:
    """Take the plate, then read twice a second what the page says of its speed."""
    from playwright.sync_api import expect

    page = running.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    expect(page.get_by_role("status")).to_contain_text("Ready", timeout=60_000)
    page.get_by_label("after").select_option("0")
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_role("button", name="Take the plate").click()
    expect(page.get_by_role("status")).to_contain_text("Step in", timeout=60_000)
    page.get_by_label("Longest side").select_option(str(side))
    time.sleep(4)
    rates, looks, words = [], [], ""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        words = page.locator("#speed").inner_text()
        if found := re.match(r"([\d.]+) frames/s, (\d+) ms", words):
            rates.append(float(found[1]))
            looks.append(float(found[2]))
    found = page.evaluate("() => ({isolated: crossOriginIsolated, threads: cleanplate.about.threads})")
    page.close()
    return {
        "side": side,
        "camera": list(CAMERA),
        "frames_per_second": statistics.median(rates),
        "look_ms": statistics.median(looks),
        **found,
    }


def clip_of(pair: Path, path: Path) -> Path:
    """A packaged pair as a camera's clip: 5 s of its plate, 5 s of its frame."""
    pictures = (read_image(pair / "plate.jpg"), read_image(pair / "frames" / "0.jpg"))
    write_clip(path, [(cv2.resize(picture, CAMERA), 5 * RATE) for picture in pictures])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=released().parent, help="folder with plate.onnx and frame.onnx")
    parser.add_argument("--side", type=int, choices=(192, 256, 320), default=256)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = clip_of(sample_folder() / "pairs" / EXAMPLE, Path(folder) / "camera.y4m")
        with served(given.model) as address, browser(clip) as running:
            found = measure(address, running, given.side, given.seconds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    print(
        f"{found['frames_per_second']:.1f} frames/s at {given.side} px, {found['look_ms']:.0f} ms a look, "
        f"{found['threads']} thread(s) of WebAssembly"
    )


if __name__ == "__main__":
    main()
