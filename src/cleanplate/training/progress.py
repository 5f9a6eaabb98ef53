"""What a person sees while a network trains: one bar with the loss, the speed and the time left, on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cleanplate.training import run

SMOOTHING = 0.98
"""Weight of the past in the shown loss and speed."""


class TrainingProgress:
    """A context that shows a run's progress; silent when not `active` (all processes but the first)."""

    console = Console(stderr=True)

    def __init__(self, progress: run.Progress, active: bool) -> None:
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps  {task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not active,
            refresh_per_second=2,
        )
        self.task = self.bar.add_task("", total=progress.steps, completed=progress.step)
        self.loss: float | None = None
        self.samples_per_s = 0.0
        self.last = time.monotonic()
        self.scores = ""

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, loss: float, samples: int) -> None:
        """One step of `samples` was taken."""
        now = time.monotonic()
        speed = samples / max(now - self.last, 1e-9)
        self.last = now
        self.loss = loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        self.samples_per_s = speed if not self.samples_per_s else 0.9 * self.samples_per_s + 0.1 * speed
        self.bar.update(
            self.task,
            advance=1,
            description=f"loss {self.loss:.3f}  {self.samples_per_s:.0f} samples/s{self.scores}",
        )

    def known(self, steps: int | None) -> None:
        """The number of steps has been decided."""
        self.bar.update(self.task, total=steps)

    def validated(self, scores: dict[str, Any], seconds: float) -> None:
        """A validation took `seconds`, which are not the training's."""
        self.last += seconds
        shown = [("IoU", scores["mask"].get("iou")), ("delta1", scores["depth"].get("delta1"))]
        self.scores = "".join(f"  {name} {value:.3f}" for name, value in shown if value is not None)
