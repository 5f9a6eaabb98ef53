"""The listing: what was made of which input, in predictions.json and in words.

Contract: one `Entry` per input, whatever became of it. `UnusableError` says that an input is at fault, not the disk:
it is left out, or cut short, and the rest goes on; `tell` makes an error of that at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cleanplate.types import InputError


@dataclass(frozen=True)
class Entry:
    """One input's line in predictions.json.

    foreground: share of the pixels that stand in front, over all frames. depth: how to read the depth file.
    corrected: what plate care did (see `cleanplate.care.correct.Tally`); None without it.
    error: why the input was left out, or where a video broke off. stopped: whether Ctrl-C ended it before its end.
    dropped: frames of a live source that were left out, to keep up with it. fps: frames per second done.
    """

    input: str
    name: str
    kind: Literal["image", "video", "live"]
    frames: int = 0
    foreground: float | None = None
    files: dict[str, str] = field(default_factory=dict)
    depth: dict[str, Any] | None = None
    corrected: dict[str, Any] | None = None
    error: str | None = None
    stopped: bool = False
    dropped: int | None = None
    fps: float | None = None


class UnusableError(InputError):
    """The input is at fault, not the disk that results go to: it is left out, or cut short, and the rest goes on."""


@contextmanager
def blamed_on(name: str) -> Generator[None]:
    """What an InputError of the block is: the fault of this input, which it names."""
    try:
        yield
    except InputError as error:
        raise UnusableError(str(error) if name in str(error) else f"{name}: {error}") from error


def tell(entries: Sequence[Entry], inputs: int, out: Path) -> None:
    """What was done, on standard output; inputs left out or cut short are an InputError.

    inputs: how many there were to do; Ctrl-C leaves some without an entry.
    """
    done = [entry for entry in entries if entry.frames]
    frames = sum(entry.frames for entry in done)
    print(f"{out}: {frames} {'frame' if frames == 1 else 'frames'} predicted, of {len(done)} of {inputs} inputs")
    for entry in entries:
        if entry.dropped:
            print(f"{entry.input}: {entry.dropped} frames were dropped to keep up with it")
        if entry.stopped:
            kept = f"its first {entry.frames} frames are kept, as whole files"
            print(f"{entry.input}: stopped; {kept}, and the same command makes them anew, from the start")
    wrong = [entry for entry in entries if entry.error]
    for entry in wrong[:-1]:
        print(f"cleanplate: {entry.error}", file=sys.stderr)
    if wrong:
        others = "" if len(wrong) == len(entries) else f"; everything else is in {out}"
        kept = [f"{entry.frames} frames of {Path(entry.input).name} are kept" for entry in wrong if entry.frames]
        raise InputError(
            f"{wrong[-1].error} ({len(wrong)} of {inputs} inputs could not be used in full"
            f"{others}{''.join(f'; {k}' for k in kept)})"
        )
