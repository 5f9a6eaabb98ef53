"""How far a dataset is: a bar with the rate and the time left, or one line per shard."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ShardProgress:
    """Says what is done: `made` once per shard. quiet: a line per shard instead of a bar."""

    console = Console(stderr=True)

    def __init__(self, verb: str, total: int, done: int = 0, quiet: bool = False, noun: str = "scenes") -> None:
        self._total, self._done, self._here, self._quiet, self._noun = total, done, 0, quiet, noun
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn(verb),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet,
        )
        self._task = self._bar.add_task(verb, total=total, completed=done, rate="")

    def __enter__(self) -> ShardProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def made(self, name: str, rows: int, seconds: float, size: int) -> None:
        """A shard is there. seconds: of one worker; size: bytes written, 0 = it was there already."""
        self._done, self._here = self._done + rows, self._here + rows
        rate = self._here / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(self._task, completed=self._done, rate=f"{rate:,.0f} {self._noun}/s")
        if self._quiet:
            what = f"{size / 1e6:.1f} MB in {seconds:.2f} s" if size else "was there"
            left = (self._total - self._done) / max(rate, 1e-9)
            counts = f"{rows:,} {self._noun}, {what}; {self._done:,} of {self._total:,}"
            line = f"{name}: {counts}, {rate:,.0f}/s, {left:.0f} s left"
            self.console.print(line, highlight=False, soft_wrap=True)
