"""Videos in, as upright uint8 RGB frames with their times, through PyAV (FFmpeg's libraries).

Contract: `VideoReader` yields every frame that decodes, turned as the file's display matrix says, and ends with an
`InputError` when the file breaks off. Sizes are (height, width), as arrays have them. Times are whole ticks of
`time_base` seconds and rise from frame to frame, so that a variable frame rate stays what it is; they are the file's
own, less the container's start where that lies after 0 (as in transport streams). Videos out: `encoding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.types import InputError, Pixels

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv")

DEFAULT_FPS = 25.0
"""Taken when a file does not say."""


@dataclass(frozen=True)
class Timed:
    """A frame and when it is shown: `pts` ticks of the reader's time base, for `duration` ticks (0 = not said)."""

    pixels: Pixels
    pts: int
    duration: int = 0


@dataclass(frozen=True)
class Facts:
    """What a stream says of itself.

    size: (height, width) of the upright frames. fps: frames per second, on average. frames: how many there should be,
    an estimate (0 = not said). time_base: seconds per tick. start_s: what is taken off all times, seconds.
    aspect: width over height of one pixel of an upright frame.
    """

    size: tuple[int, int]
    fps: float
    frames: int
    time_base: Fraction
    start_s: Fraction
    aspect: Fraction


class VideoReader:
    """The frames of a video file. Iterate it any number of times; each time starts at the first frame.

    size, fps, frames: see `Facts`. Raises InputError at once when nothing in the file can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = Path(path), str(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; expected a video")
        self._start: Fraction = Fraction(0)
        first = next(self._decoded(), None)
        if first is None:
            raise InputError(f"{self.path}: holds no video frame that can be decoded; is the file whole?")
        import av

        with av.open(str(self.path)) as container:
            self.facts = facts(container, first)
        self.size, self.fps, self.frames = self.facts.size, self.facts.fps, self.facts.frames

    def __iter__(self) -> Iterator[Pixels]:
        """Frames in order. Raises InputError where decoding stops early, after the frames before it."""
        return (upright(frame) for frame in self._decoded())

    def timed(self) -> Iterator[Timed]:
        """The same with their times."""
        return timed(self._decoded(), self.facts)

    def _decoded(self) -> Iterator[Any]:
        """PyAV's frames, as they are decoded."""
        import av

        count = 0
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise InputError(f"{self.path}: has no video track; expected a video or a picture")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                broken = False
                for packet in container.demux(stream):
                    broken |= packet.is_corrupt
                    for frame in packet.decode():
                        yield frame
                        count += 1
                # A container that breaks off often just ends: its own index says how many frames there should be.
                if broken or count < stream.frames - max(2, stream.frames // 50):
                    raise InputError(self._broken_off(count, stream.frames))
        except av.FFmpegError as error:
            unreadable = f"{self.path}: cannot be decoded as a video; copy or convert the file again"
            raise InputError(f"{self._broken_off(count, 0) if count else unreadable} ({error.strerror})") from error

    def _broken_off(self, count: int, expected: int) -> str:
        of = f" of {expected}" if expected else ""
        return (
            f"{self.path}: the video is truncated or damaged after {count}{of} frames; copy or convert the file again"
        )


def facts(container: Any, first: Any) -> Facts:
    """The facts of PyAV's opened container, whose first decoded frame is known."""
    import av

    stream = container.streams.video[0]
    fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
    seconds = container.duration / av.time_base if container.duration else 0
    turned = round(first.rotation / 90) % 2 == 1
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    return Facts(
        size=(first.width, first.height) if turned else (first.height, first.width),
        fps=fps,
        frames=stream.frames or round(seconds * fps),
        time_base=stream.time_base or Fraction(1, 90_000),
        start_s=Fraction(max(0, container.start_time or 0), av.time_base),
        aspect=1 / aspect if turned else aspect,
    )


def timed(frames: Iterable[Any], about: Facts) -> Iterator[Timed]:
    """PyAV's frames -> upright pixels with rising times; a frame without a time comes one average frame later."""
    start = round(about.start_s / about.time_base)
    step = max(1, round(1 / (Fraction(about.fps) * about.time_base)))
    last = None
    for frame in frames:
        pts = frame.pts - start if frame.pts is not None else (0 if last is None else last + step)
        last = pts if last is None else max(pts, last + 1)
        yield Timed(upright(frame), last, int(frame.duration or 0))


def upright(frame: Any) -> Pixels:
    """A decoded PyAV frame -> RGB, turned by its display matrix (degrees counterclockwise, multiples of 90)."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
