"""A clip: all frames of a video or of a live source, predicted and written while they are read.

Contract: `predict_clip` decodes, looks (plate care, network, smoothing), finishes and encodes in a pipeline, a thread
each (`pipeline`), and gives the same files as a plain loop. Whatever ends it early leaves what the frames before made,
as whole files: a clip that breaks off (`Made.broken`) and Ctrl-C (`Made.stopped`; a second one gives up at once). Only
what is wrong with the disk, and a clip without one good frame, leave nothing and are raised.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from types import FrameType
from typing import Protocol, runtime_checkable

from cleanplate.care.correct import Correction, Tally
from cleanplate.inference.colours import decontaminate, fitted_plate
from cleanplate.inference.predictor import Look, Predictor
from cleanplate.inference.sources import DepthSource, stretched
from cleanplate.pictures.video import Timed
from cleanplate.predictions.listing import UnusableError, blamed_on
from cleanplate.predictions.outputs import Outputs
from cleanplate.predictions.pipeline import Clock, pipeline
from cleanplate.predictions.smoothing import Smoothing
from cleanplate.types import Pixels, Prediction

STAGES = ("decode", "look", "finish", "encode")


@runtime_checkable
class Source(Protocol):
    """Frames with their times: a VideoReader, a LiveReader. name: what people call it."""

    name: str

    def timed(self) -> Iterable[Timed]:
        """The frames in order; InputError where they break off."""
        ...


@dataclass
class Made:
    """What became of a clip. foreground: mean share of the pixels. clocks: each stage's work, by STAGES."""

    frames: int = 0
    foreground: float = 0.0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    broken: str | None = None
    stopped: bool = False
    clocks: tuple[Clock, ...] = field(default_factory=lambda: tuple(Clock() for _ in STAGES))


@dataclass
class Lookout:
    """The first half of the work: shows the predictor one frame after the other, each after its correction."""

    predictor: Predictor
    plate: Pixels
    plate_depth: DepthSource | None
    fit: bool
    smoothing: Smoothing | None
    tally: Tally = field(default_factory=Tally)
    before: Correction | None = None

    def look(self, timed: Timed) -> Look:
        """What the network says of a frame."""
        if self.predictor.care:
            self.before = self.predictor.correct(self.plate, timed.pixels, self.fit, self.before)
            self.tally.add(self.before)
        look = self.predictor.look(self.plate, timed.pixels, self.plate_depth, self.fit, self.before)
        return look if self.smoothing is None else self.smoothing(look)


def predict_clip(
    predictor: Predictor,
    plate: Pixels,
    source: Source,
    outputs: Outputs,
    plate_depth: DepthSource | None = None,
    fit: bool = False,
    smooth: bool = True,
    advance: Callable[[], object] = lambda: None,
    stop: threading.Event | None = None,
) -> Made:
    """Every frame of the source into the outputs, which are closed.

    advance: called after each frame. stop: ends it after the frames that are under way, as Ctrl-C does, which sets it.
    Raises UnusableError when there is not one good frame; InputError when the disk is at fault.
    """
    made = Made()
    lookout = Lookout(predictor, plate, plate_depth, fit, Smoothing() if smooth else None, made.tally)

    def look(timed: Timed) -> tuple[Timed, Look]:
        with blamed_on(source.name):
            return timed, lookout.look(timed)

    def finish(item: tuple[Timed, Look]) -> tuple[Timed, Prediction, Pixels | None]:
        timed, look = item
        found = predictor.finish(look, depth="depth" in outputs.kinds)
        if not outputs.needs_colours:
            return timed, found, None
        behind = fitted_plate(stretched(plate, found.alpha.shape), look.correction)
        return timed, found, decontaminate(timed.pixels, found.alpha, behind)

    def encode(item: tuple[Timed, Prediction, Pixels | None]) -> float:
        outputs.write(*item)
        return float(item[1].mask.mean())

    begin = perf_counter()
    with interruptible(stop or threading.Event()) as stop:
        stages = (look, finish, encode)
        try:
            for share in pipeline(_until(source, stop), stages, made.clocks):
                made.frames, made.foreground = made.frames + 1, made.foreground + share
                advance()
        except UnusableError as error:
            if not made.frames:
                outputs.discard()
                raise
            # The frames so far are worth keeping.
            made.broken = str(error)
        except BaseException:
            outputs.discard()
            raise
        made.stopped = stop.is_set()
        outputs.close(whole=not made.stopped and made.broken is None)
    made.foreground /= max(1, made.frames)
    made.seconds = perf_counter() - begin
    return made


def _until(source: Source, stop: threading.Event) -> Iterator[Timed]:
    """The source's frames until it is told to stop."""
    with blamed_on(source.name):
        for timed in source.timed():
            if stop.is_set():
                return
            yield timed


@contextmanager
def interruptible(stop: threading.Event) -> Generator[threading.Event]:
    """The event, which the first Ctrl-C sets for as long as the block lasts; the second one interrupts as usual.

    Threads cannot be interrupted, and a file that is interrupted within a frame is lost: so they are asked to end.
    """

    def ask(number: int, at: FrameType | None) -> None:
        if stop.is_set() and callable(before):
            before(number, at)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals arrive in the main thread only
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
