"""Films made for the tests of videos: sound, variable frame rates, streams on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 12_800
"""Per second."""


def film(
    path: Path,
    frames: Sequence[np.ndarray],
    pts: Sequence[int],
    sound: str | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A video of these frames at these times (ticks), with a tone if a codec for it is given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "ultrafast", "crf": "12"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        audio = None
        if sound is not None:
            audio = container.add_stream(sound, rate=48_000)
            audio.codec_context.layout = "mono"
        for pixels, when in zip(frames, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = when, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            for number in range(int(pts[-1] / TICKS * 48_000 / 1024) + 2):
                time_s = (number * 1024 + np.arange(1024)) / 48_000
                tone = (np.sin(2 * np.pi * 440 * time_s) * 0.2).astype(np.float32)[None]
                piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 48_000, number * 1024, Fraction(1, 48_000)
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """The times and contents of a track's packets."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


class Broadcast:
    """A camera on loopback: MPEG-TS over TCP, frames in a circle at `fps` until it is stopped or has shown `count`."""

    def __init__(self, frames: Sequence[np.ndarray], fps: int = 25, count: int | None = None) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(60)
        self.address = f"tcp://127.0.0.1:{self._door.getsockname()[1]}"
        self._frames, self._fps, self._count = frames, fps, count
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        try:
            viewer, _ = self._door.accept()
            with viewer, viewer.makefile("wb") as wire, av.open(wire, "w", format="mpegts") as container:
                self._show(container)
        except OSError:
            return  # the viewer has gone

    def _show(self, container: av.container.OutputContainer) -> None:
        stream = container.add_stream("libx264", rate=self._fps)
        stream.height, stream.width = self._frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
        number, begin = 0, time.monotonic()
        while not self._stopped.is_set() and (self._count is None or number < self._count):
            pixels = self._frames[number % len(self._frames)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            number += 1
            time.sleep(max(0, begin + number / self._fps - time.monotonic()))
        container.mux(stream.encode(None))

    def __enter__(self) -> Broadcast:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._door.close()
        self._thread.join(20)
