"""Videos in and out, as upright uint8 RGB frames, through PyAV (FFmpeg's libraries, x264 inside the wheel).

Contract: `VideoReader` yields every frame that decodes, turned as the file's display matrix says, and ends with an
`InputError` when the file breaks off. `VideoWriter` writes H.264 in yuv420p with BT.709 colours, which plays
everywhere, beside its place, and renames it when it is whole. Sizes are (height, width), as arrays have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from cleanplate.pictures.writing import beside, raise_for_disk
from cleanplate.types import InputError, Pixels

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")

DEFAULT_FPS = 25.0
"""Taken when a file does not say."""


class VideoReader:
    """The frames of a video file. Iterate it any number of times; each time starts at the first frame.

    size: (height, width) of the upright frames. fps: frames per second. frames: how many there should be, an
    estimate (0 = the file does not say). Raises InputError at once when nothing in the file can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; expected a video")
        first = next(iter(self), None)
        if first is None:
            raise InputError(f"{self.path}: holds no video frame that can be decoded; is the file whole?")
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])
        self.fps, self.frames, _ = self._facts()

    def _facts(self) -> tuple[float, int, bool]:
        """(frames per second, number of frames or an estimate, whether the container itself counts them)."""
        import av

        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            if stream.frames:
                return fps, stream.frames, True
            seconds = container.duration / av.time_base if container.duration else 0
            return fps, round(seconds * fps), False

    def __iter__(self) -> Iterator[Pixels]:
        """Frames in order. Raises InputError where decoding stops early, after the frames before it."""
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
                        yield _upright(frame)
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


def _upright(frame: Any) -> Pixels:
    """A decoded PyAV frame -> RGB, turned by its display matrix (degrees counterclockwise, multiples of 90)."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


class VideoWriter:
    """Writes an H.264 video; use it as a context manager. The file appears when the block ends without an error.

    size: (height, width) of every frame. An odd side is repeated by one pixel, since yuv420p has only even ones.
    crf: x264's quality, lower = better. Raises InputError when the disk is full or the place cannot be written,
    ValueError for a frame of another size.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float | int = DEFAULT_FPS, crf: int = 18) -> None:
        import av

        self.path, self.size = Path(path), size
        self._partial = beside(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The index in front, so that a browser can play while it loads.
            options = {"movflags": "+faststart"} if self.path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
            self._container = av.open(str(self._partial), "w", options=options)
            self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise_for_disk(error, self.path)
            raise InputError(f"{self.path}: no video can be written there ({error}); name it .mp4 or .mkv") from error
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(crf)}
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, as players assume
        context.color_range = 1

    def write(self, pixels: Pixels) -> None:
        """Append one uint8 RGB frame."""
        from av import VideoFrame

        if pixels.shape[:2] != self.size:
            raise ValueError(f"{self.path}: a frame of {pixels.shape[:2]} in a video of {self.size}")
        height, width = self.size
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._mux(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"))

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise_for_disk(error, self.path)
            raise

    def close(self) -> None:
        """Finish the file and put it in its place."""
        try:
            self._mux(None)
            self._container.close()
            self._partial.replace(self.path)
        except OSError as error:
            raise_for_disk(error, self.path)
            raise
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        with suppress(OSError):  # what stopped the block says more than what then stops the closing
            self._container.close()
        self._partial.unlink(missing_ok=True)
