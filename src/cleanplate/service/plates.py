"""Plates kept: what clients posted once, by an id that nobody can guess, until unused for long or space is needed.

Contract: `keep` returns the new plate's id; `of` finds it again and counts as use; `forget` drops it. At most
`limits.plates` plates and `limits.plates_mb` megabytes are kept: the one unused for longest goes first. Safe from any
thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cleanplate.inference.predictor import Seen
from cleanplate.service.limits import MEGA, Limits, RefusedError
from cleanplate.types import Depth, Pixels

CARE_PER_PIXEL, CARE_MOST = 24, 5_000_000
"""Bytes, by how the resident memory grew with plates of 256 to 2000 pixels a side; care works at a bounded size."""


@dataclass(frozen=True)
class Plate:
    """A plate with what is known of it for frames of its size. depth: metres [h, w], 0 = unknown."""

    id: str
    seen: Seen
    depth: Depth | None
    bytes: int

    @property
    def pixels(self) -> Pixels:
        return self.seen.plate

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


class Plates:
    """The plates of one server. now: the clock, seconds."""

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._now = limits, now
        self._kept: OrderedDict[str, tuple[Plate, float]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, seen: Seen, depth: Depth | None) -> Plate:
        """Keep a plate. Raises RefusedError (413) for one that alone is too large."""
        plate = Plate(secrets.token_urlsafe(16), seen, depth, _bytes(seen, depth))
        if plate.bytes > self.limits.plates_mb * MEGA:
            size = f"{plate.size[1]}x{plate.size[0]}"
            raise RefusedError(413, f"the plate is {size}, more than --limits.plates-mb {self.limits.plates_mb} holds")
        with self._lock:
            self._kept[plate.id] = plate, self._now()
            while len(self._kept) > self.limits.plates or self._total() > self.limits.plates_mb * MEGA:
                self._kept.popitem(last=False)
        return plate

    def of(self, id: str) -> Plate:
        """The plate of this id. Raises RefusedError (404)."""
        with self._lock:
            self._expire()
            if id not in self._kept:
                raise self._unknown()
            plate, _ = self._kept[id]
            self._kept[id] = plate, self._now()
            self._kept.move_to_end(id)
            return plate

    def forget(self, id: str) -> None:
        """Drop a plate. Raises RefusedError (404)."""
        with self._lock:
            self._expire()
            if self._kept.pop(id, None) is None:
                raise self._unknown()

    def count(self) -> tuple[int, int]:
        """How many are kept, and their bytes."""
        with self._lock:
            self._expire()
            return len(self._kept), self._total()

    def _total(self) -> int:
        return sum(plate.bytes for plate, _ in self._kept.values())

    def _expire(self) -> None:
        """Use keeps them in order: the first is the one unused for longest."""
        oldest = self._now() - self.limits.plate_minutes * 60
        while self._kept and next(iter(self._kept.values()))[1] <= oldest:
            self._kept.popitem(last=False)

    def _unknown(self) -> RefusedError:
        kept = f"for {self.limits.plate_minutes} minutes after their last use, {self.limits.plates} at most"
        return RefusedError(404, f"no plate of this id is kept (plates are, {kept}): post it again, to /plates")


def _bytes(seen: Seen, depth: Depth | None) -> int:
    """What a plate takes: its pixels, what plate care measures of it, what is remembered of it."""
    height, width = seen.plate.shape[:2]
    total = seen.plate.nbytes + min(CARE_MOST, CARE_PER_PIXEL * height * width)
    for known in seen.sizes.values():
        total += _weight(list(known.remembered.values())) + _weight(known.smaller)
    return total + (0 if depth is None else depth.nbytes)


def _weight(remembered: object) -> int:
    """The bytes of all arrays in what a runtime remembers."""
    if isinstance(remembered, dict):
        return sum(_weight(each) for each in remembered.values())
    if isinstance(remembered, list | tuple):
        return sum(_weight(each) for each in remembered)
    return int(getattr(remembered, "nbytes", 0))
