"""The desk: what workers do for requests, from a picture's bytes to an answer's.

Contract: a plate is looked at once, when it is posted; its frames find its features and its care ready, whichever
worker serves them. Nothing of one request stays with a worker: what is known of a plate is lent to it and taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cleanplate.care.align import Alignment
from cleanplate.care.correct import Correction
from cleanplate.care.doctor import Diagnosis, examine
from cleanplate.care.exposure import Exposure
from cleanplate.care.words import words
from cleanplate.inference.colours import decontaminate, fitted_plate
from cleanplate.inference.predictor import Predictor, Seen
from cleanplate.inference.sources import stretched
from cleanplate.service.answers import Answer, Wish, told
from cleanplate.service.limits import Limits, RefusedError
from cleanplate.service.pictures import read_depth, read_picture
from cleanplate.service.plates import Plate, Plates
from cleanplate.types import Pixels, Prediction

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """What every request's work needs. clock: is told how long each part took."""

    limits: Limits
    plates: Plates
    clock: Callable[[str, float], None]

    def timed(self, part: str, work: Callable[[], T]) -> T:
        """What `work` returns."""
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.clock(part, time.perf_counter() - start)

    def keep(self, predictor: Predictor, picture: bytes, depth: bytes | None) -> Plate:
        """A posted plate, looked at once, so that its frames need not wait for that. Raises RefusedError."""
        pixels = read_picture(picture, "the plate", self.limits.pixels)
        metres = None if depth is None else read_depth(depth, "the plate's depth", self.limits.pixels)
        if metres is not None and metres.shape != pixels.shape[:2]:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (metres.shape, pixels.shape)]
            raise RefusedError(
                422, f"the plate's depth is {sizes[0]} and the plate is {sizes[1]}: send both of one size"
            )
        predictor.seen = None
        predictor.correct(pixels, pixels)
        predictor.look(pixels, pixels, metres)
        seen, predictor.seen = predictor.seen, None
        return self.plates.keep(seen or Seen(pixels), metres)

    def answer(self, predictor: Predictor, plate: Plate, picture: bytes, wish: Wish) -> Answer:
        """What is asked of a frame before this plate. Raises RefusedError."""
        if wish.kind == "depth" and predictor.depth_kind == "none":
            raise RefusedError(406, "this server's model predicts no depth: ask for json, mask or cutout")
        frame = self.timed("decode", lambda: read_picture(picture, "the frame", self.limits.pixels))
        size = frame.shape[0], frame.shape[1]
        if size != plate.size and not wish.fit:
            sizes = [f"{one[1]}x{one[0]}" for one in (plate.size, size)]
            said = f"the plate is {sizes[0]} and the frame is {sizes[1]}"
            raise RefusedError(422, f"{said}: send frames of the plate's size, or say fit=true to stretch it")
        found, correction = self._predicted(predictor, plate, frame, wish)
        colours = frame
        if wish.cutout:
            behind = fitted_plate(stretched(plate.pixels, size), correction)
            colours = self.timed("colours", lambda: decontaminate(frame, found.alpha, behind))
        return self.timed("encode", lambda: told(colours, found, correction.words(), predictor.depth_kind, wish))

    def _predicted(
        self, predictor: Predictor, plate: Plate, frame: Pixels, wish: Wish
    ) -> tuple[Prediction, Correction]:
        size = frame.shape[0], frame.shape[1]
        # What is kept of a plate is read by several workers and never changed: what another size needs is made anew.
        predictor.seen = plate.seen if size == plate.size else Seen(plate.pixels)
        try:
            correction = Correction(size, Alignment(np.eye(3)), Exposure())
            if wish.care:
                correction = self.timed("correct", lambda: predictor.correct(plate.pixels, frame, wish.fit))
            look = self.timed("look", lambda: predictor.look(plate.pixels, frame, plate.depth, wish.fit, correction))
            return self.timed("finish", lambda: predictor.finish(look, wish.depth)), correction
        finally:
            predictor.seen = None

    def examined(self, plate: bytes, frame: bytes) -> tuple[Diagnosis, list[str]]:
        """The doctor's figures and words. Raises RefusedError."""
        pictures = [
            read_picture(data, name, self.limits.pixels) for data, name in ((plate, "the plate"), (frame, "the frame"))
        ]
        found = examine(pictures[0], [pictures[1]])
        return found, words(found)
