"""Limits: how much one server takes on, so that no client, by mistake or on purpose, takes all of it.

Contract: everything that a client can make grow has a bound here, and whoever meets one is told which, by a
`RefusedError`: a status, a sentence (what was given, what is expected, what to do) and, where waiting helps, how long.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from cleanplate.types import InputError

MEGA = 1_000_000
LONGEST_SIDE = 16_384
"""Pixels: longer pictures are beyond what OpenCV moves and enlarges."""


@dataclass(frozen=True)
class Limits:
    """What a server takes on. All are at least 1."""

    body_mb: int = 16
    """Largest request, megabytes."""
    megapixels: int = 16
    """Largest picture, millions of pixels; read from its header, before anything is decoded."""
    plates: int = 64
    """Plates that are kept; the one unused for longest makes room for the next."""
    plates_mb: int = 512
    """Memory of all plates that are kept, megabytes."""
    plate_minutes: int = 30
    """A plate is forgotten when it was not used for so long."""
    queue: int = 64
    """Requests that wait for a free worker; more are answered by 503."""
    seconds: int = 30
    """A request that has waited and worked for so long is answered by 504."""
    read_seconds: int = 15
    """A request must have arrived in full, and an answer be taken off, within so long."""
    connections: int = 256
    """Connections at one time."""
    held_mb: int = 256
    """Memory of all requests and answers under way, megabytes; beyond it, 503."""

    def check(self) -> None:
        """Raises InputError."""
        for each in fields(self):
            if getattr(self, each.name) < 1:
                flag = f"--limits.{each.name.replace('_', '-')}"
                raise InputError(f"{flag} is {getattr(self, each.name)}: give at least 1; {each.default} is usual")

    @property
    def body_bytes(self) -> int:
        return self.body_mb * MEGA

    @property
    def pixels(self) -> int:
        return self.megapixels * MEGA


class RefusedError(Exception):
    """A request that is not served. status: of HTTP; headers: what goes with it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def busy(message: str, seconds: float) -> RefusedError:
    """503, with a time after which another try is worth it."""
    wait = max(1, min(60, round(seconds)))
    return RefusedError(503, f"{message}; try again in {wait} s", {"Retry-After": str(wait)})


@dataclass
class Held:
    """Bytes of requests and answers that are in memory now. Used by the event loop alone."""

    limit: int
    bytes: int = 0


@dataclass
class Share:
    """One request's share of what is held."""

    of: Held
    bytes: int = 0

    def ask(self, count: int) -> None:
        """Take up more memory. Raises RefusedError (503) when others hold too much of it."""
        if self.bytes + count <= self.of.limit < self.of.bytes + count:
            raise busy(f"requests under way hold {self.of.bytes / MEGA:.0f} MB already", 2.0)
        self.take(count)

    def take(self, count: int) -> None:
        """Take up more memory, come what may: an answer that is there is sent."""
        self.bytes += count
        self.of.bytes += count

    def free(self) -> None:
        """The request is done."""
        self.of.bytes -= self.bytes
        self.bytes = 0
