"""A live source: a camera or a stream that the user named, whose frames come when they come.

Contract: `LiveReader` reads in a thread of its own and keeps only the newest frame. Who takes frames more slowly than
they come gets them late by one frame at most; the others are counted in `dropped`. Times begin at 0 with the first
frame taken and are the source's own from then on, so that what is recorded plays at the right speed; only what lay in
buffers at the beginning is kept from running ahead of the clock. It ends where the stream does, after `seconds`, or
when `stop` is set; a source that says nothing for PATIENCE_S is an InputError. Who joins a stream in its midst gets
pieces first that cannot be decoded; they are passed over, as are damaged ones.

Only what names itself a stream (SCHEMES) or a Linux camera (/dev/video*) is opened. The sound of live sources is left.
RTSP's pictures come within its TCP connection, or over UDP where the server offers nothing else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from time import monotonic
from typing import Any

from cleanplate.care.plate import estimate_plate
from cleanplate.pictures.video import DEFAULT_FPS, Facts, Timed, facts, upright
from cleanplate.types import InputError, Pixels

SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "tcp", "udp")
CAMERA = "/dev/video"
PATIENCE_S = 10.0
"""A source that is silent for so long is taken for dead."""
LEARNED_FROM = 30
"""Frames that a plate is learned from: enough to see behind who still walks out, few enough to be quick."""
SETTLED_S, AHEAD_S = 2.0, 0.1
"""Until the first, times may not be ahead of the clock by more than the second; later, the source knows better."""
_POLL_S = 0.1


class LiveReader:
    """The newest frames of a live source; a context manager. seconds: how long, from the first frame taken.

    name: the address without user and password. facts: as of a video; frames is 0. Raises InputError for a source that
    cannot be opened or shows nothing.
    """

    def __init__(self, source: str, seconds: float | None = None) -> None:
        self.name, self.seconds = without_password(source), seconds
        self.dropped = 0
        self.stop = threading.Event()
        self._news = threading.Condition()
        self._newest: Any = None
        self._ended: str | None = None
        self._container = _opened(source)
        self._decoded = _decoded(self._container)
        begin = monotonic()
        try:
            first = next(self._decoded)
            about = facts(self._container, first)
        except (*_errors(), StopIteration) as error:
            self._container.close()
            cause = _cause(error, monotonic() - begin)
            raise InputError(f"{self.name}: shows no picture ({cause}); is it a video stream?") from error
        fps = about.fps if 1 <= about.fps <= 240 else DEFAULT_FPS  # streams often do not know, and say anything
        self.facts: Facts = replace(about, fps=fps, frames=0, start_s=Fraction(0))
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def timed(self) -> Iterator[Timed]:
        """The newest frame, again and again, until it ends. Raises InputError where the source breaks off."""
        begin, start, last = None, 0, -1
        base = self.facts.time_base
        step = round(1 / (Fraction(self.facts.fps) * base))
        self.dropped = 0  # what came while nobody looked is no loss
        while (frame := self._next()) is not None:
            if begin is None:
                begin, start = monotonic(), frame.pts or 0
            passed = monotonic() - begin
            if self.seconds is not None and passed >= self.seconds:
                return
            if frame.pts is not None and passed < SETTLED_S:
                if (frame.pts - start) * base - passed > AHEAD_S:
                    start = frame.pts - round(passed / base)
                if frame.pts - start <= last:
                    continue  # it lay in a buffer, and its time is taken
            last = max(last + 1, (last + step) if frame.pts is None else frame.pts - start)
            yield Timed(upright(frame), last)

    def _next(self) -> Any:
        """The newest frame as soon as there is one; None at the end."""
        silent = monotonic()
        while not self.stop.is_set():
            if (frame := self._take()) is not None:
                return frame
            if self._ended is not None:
                if self._ended:
                    raise InputError(self._ended)
                return None
            if monotonic() - silent > PATIENCE_S:
                raise InputError(f"{self.name}: nothing has come for {PATIENCE_S:g} seconds; is it still there?")
            with self._news:
                self._news.wait(_POLL_S)
        return None

    def _take(self) -> Any:
        with self._news:
            frame, self._newest = self._newest, None
        return frame

    def _read(self) -> None:
        """Decode for as long as there is something; the newest frame takes the place of the last one."""
        ended, heard = "", monotonic()
        try:
            for frame in self._decoded:
                heard = monotonic()
                with self._news:
                    self.dropped += self._newest is not None
                    self._newest = frame
                    self._news.notify()
                if self.stop.is_set():
                    break
        except _errors() as error:
            ended = f"{self.name}: the stream broke off ({_cause(error, monotonic() - heard)})"
        self._container.close()
        self._ended = ended

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)


def learn_plate(reader: LiveReader, seconds: float) -> Pixels:
    """The plate of a live source, from what it shows for so many seconds. Raises InputError if it shows too little."""
    frames: list[Pixels] = []
    begin, every = monotonic(), seconds / LEARNED_FROM
    for timed in reader.timed():
        passed = monotonic() - begin
        if passed >= seconds:
            break
        if passed >= len(frames) * every:
            frames.append(timed.pixels)
    if reader.stop.is_set():
        raise KeyboardInterrupt
    if not frames:
        raise InputError(f"{reader.name}: showed nothing for the plate in {seconds:g} seconds; give a longer --learn")
    return estimate_plate(islice(frames, LEARNED_FROM))


def without_password(source: str) -> str:
    """An address as it may be shown and written: without user and password."""
    return re.sub(r"://[^/?#]*@", "://", source)


def _opened(source: str) -> Any:
    """PyAV's container, which has a video track."""
    import av

    name, begin = without_password(source), monotonic()
    camera = source.startswith(CAMERA)
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if not camera and scheme not in SCHEMES:
        raise InputError(
            f"--live {name}: give a camera ({CAMERA}0) or the address of a stream ({'://, '.join(SCHEMES)}://); "
            "files are given without --live"
        )
    # Pictures at once: by default FFmpeg looks at 5 seconds of a stream before it shows any.
    options = {} if camera else {"analyzeduration": "1000000"}
    if scheme.startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"
    try:
        container = av.open(source, format="v4l2" if camera else None, options=options, timeout=PATIENCE_S)
    except _errors() as error:
        hint = "is it plugged in, and may you read it?" if camera else "is the address right, and does it send?"
        cause = _cause(error, monotonic() - begin)
        raise InputError(f"{name}: cannot be opened ({cause}); {hint}") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{name}: has no video track; expected a camera's or a stream's pictures")
    return container


def _decoded(container: Any) -> Iterator[Any]:
    """PyAV's frames of the first video track. Raises TimeoutError where nothing that comes makes a picture."""
    import av

    video, seen = container.streams.video[0], monotonic()
    for packet in container.demux():
        try:
            frames = packet.decode() if packet.stream is video else []
        except av.InvalidDataError:
            frames = []
        for frame in frames:
            yield frame
            seen = monotonic()
        if monotonic() - seen > PATIENCE_S:
            raise TimeoutError(f"what came for {PATIENCE_S:g} seconds makes no picture")


def _cause(error: Exception, waited: float) -> str:
    """What is wrong, in words. waited: seconds; FFmpeg says anything where it was told to wait no longer."""
    if waited >= PATIENCE_S and not isinstance(error, TimeoutError):
        return f"nothing has come for {PATIENCE_S:g} seconds"
    return getattr(error, "strerror", None) or str(error) or "it ends at once"


def _errors() -> tuple[type[Exception], ...]:
    import av

    return av.FFmpegError, OSError, ValueError
