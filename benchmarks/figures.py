"""Figures of the dataset's benchmarks: what was measured, beside what it should reach, as a table and as JSON.

The machine is noisy, so whatever is compared is measured in turn, A B A B ..., and medians are told. `Measured` counts
the larger of wall and processor time, so that a second thread never passes for speed per core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from cleanplate.evaluation.bench import machine
from cleanplate.pictures.library import Picture, open_library
from cleanplate.pictures.writing import write_atomically


@dataclass(frozen=True)
class Figure:
    """One figure in its unit. target: what it should reach, at least or at most; None = told, not judged."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""
    rounds: tuple[float, ...] = field(default=())

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "more" else self.value <= self.target


@dataclass(frozen=True)
class Measured:
    """One timed run. seconds: wall; processor: seconds of processor time, all threads and processes of the run."""

    count: int
    seconds: float
    processor: float
    bytes: int = 0

    @property
    def rate(self) -> float:
        """Per second of wall time."""
        return self.count / self.seconds

    @property
    def per_core(self) -> float:
        """Per second of one core, for a run that means to use one."""
        return self.count / max(self.seconds, self.processor)


@dataclass(frozen=True)
class Pace:
    """A run over few things and one over many, taken one after the other: tells the start from the work."""

    few: Measured
    many: Measured

    @property
    def rate(self) -> float:
        """Per second once started. A short run on a busy machine can contradict itself: then the plain rate."""
        return self._more / self._longer if self._longer > 0 else self.many.rate

    @property
    def start(self) -> float:
        """Seconds that do not depend on the number of things."""
        return max(0.0, self.few.seconds - self.few.count / self.rate)

    @property
    def per_processor_second(self) -> float:
        """As `rate`, per second of processor time: what other programs take is not counted."""
        longer = self.many.processor - self.few.processor
        return self._more / longer if longer > 0 else self.many.count / self.many.processor

    def minutes(self, count: int) -> float:
        """Start and work for so many things."""
        return (self.start + count / self.rate) / 60

    @property
    def _more(self) -> int:
        return self.many.count - self.few.count

    @property
    def _longer(self) -> float:
        return self.many.seconds - self.few.seconds


def middle(name: str, rounds: Sequence[float], unit: str, target: float | None = None, note: str = "") -> Figure:
    """The median of the rounds, the more the better."""
    return Figure(name, median(rounds), unit, target, note=note, rounds=tuple(rounds))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What all these benchmarks take."""
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="plates, then cutouts (one or several)")
    parser.add_argument("--size", type=int, default=224, help="side of the scenes, pixels")
    parser.add_argument("--json", type=Path, help="write the figures here; - prints them instead of the table")
    parser.add_argument(
        "--into", type=Path, default=Path(tempfile.gettempdir()), help="where temporary folders go: a real disk"
    )


def open_pictures(folders: Sequence[Path]) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """Plates of the first folder and cutouts of all others; the sample's where none are given."""
    return open_library(folders[:1], "plates").pictures, open_library(folders[1:], "cutouts").pictures


def show(title: str, figures: Sequence[Figure], json_file: Path | None, **facts: Any) -> None:
    """Print the table, or the JSON to standard output; write the JSON."""
    to_stdout = json_file is not None and str(json_file) == "-"
    content = {"title": title, "machine": machine(), "load": _load(), **facts}
    content["figures"] = [asdict(figure) | {"reached": figure.reached} for figure in figures]
    text = json.dumps(content, indent=2)
    if to_stdout:
        print(text)
        return
    Console().print(_table(title, figures), *_notes(figures), sep="\n", highlight=False)
    if json_file is not None:
        write_atomically(json_file, f"{text}\n".encode())


def _table(title: str, figures: Sequence[Figure]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("measured", "to reach", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        sign = "≥" if figure.better == "more" else "≤"
        target = "" if figure.target is None else f"{sign} {_number(figure.target)} {figure.unit}"
        reached = {None: "", True: "yes", False: "[bold]no[/bold]"}[figure.reached]
        table.add_row(figure.name, f"{_number(figure.value)} {figure.unit}", target, reached)
    return table


def _notes(figures: Sequence[Figure]) -> Iterator[str]:
    yield from (f"{figure.name}: {figure.note}" for figure in figures if figure.note)
    yield f"At the end {_load():.1f} of {os.cpu_count()} cores were busy; other programs slow what is measured."


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _load() -> float:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0
