"""The training loop: batches of composed scenes in, a network that is better at the end of every line out.

One step: draw a batch -> forward -> losses.total -> backward -> clip -> step, at a rate that is a function of the step.
A sample is a function of (seed, epoch, index) and nothing else here is random, so weights, optimizer and the number of
the step are the whole state: on one CPU process 2N steps equal N steps, kill -9, N steps, bit for bit.

A budget in minutes times the first steps, then freezes the number of steps in the state: from there on the run is a run
of that many steps, whenever and however often it is continued.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from cleanplate.measures import losses
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.synchronised import synchronised
from cleanplate.pictures.writing import raise_for_disk
from cleanplate.scenes.dataset import Batch, loader, to_float
from cleanplate.settings import TrainSettings, with_preset, with_rate
from cleanplate.training.average import Average
from cleanplate.training.device import averaged, make_accelerator, pooled
from cleanplate.training.elder import Elder, find_elder, taught
from cleanplate.training.material import StoredMaterial, find_material, fixed_batches
from cleanplate.training.optimizer import lay_out, make_optimizer, rate
from cleanplate.training.progress import TrainingProgress
from cleanplate.training.run import Progress, Run, check, make_config
from cleanplate.training.tracking import Tracker
from cleanplate.training.validation import measured, score, validate
from cleanplate.types import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

TIMED_STEPS, SETTLING_STEPS = 50, 10
"""A time budget times this many steps, leaving out the first few, in which pictures are decoded and caches fill."""
VALIDATIONS = 10
LOG_EVERY, LOG_LINES, SAVE_SECONDS = 20, 100, 60.0
"""A line of metrics every so many steps; more often where the whole run would have fewer lines."""
PANEL_SCENES = 6


def train(
    out: Path,
    plates: tuple[Path, ...],
    cutouts: tuple[Path, ...],
    settings: TrainSettings,
    preset: Literal["ours", "original"] = "ours",
    start: Path | None = None,
    fresh: bool = False,
    strict: bool = False,
    data: str | Path | None = None,
    pairs: tuple[Path, ...] = (),
) -> Path:
    """Train until the budget is spent and return the best checkpoint; continue when `out` holds this very run.

    No plates or cutouts: the packaged sample. data: a stored dataset instead. pairs: captured pairs that train too.
    start: a run or checkpoint whose weights are the first ones. Raises InputError: unusable pictures, another run in
    `out`, no budget, a loss that diverges.
    """
    settings = with_rate(with_preset(settings, preset), start is not None)
    check(settings)
    accelerator = make_accelerator(settings.precision)
    material = find_material(plates, cutouts, data, settings, strict, pairs)
    elder = None if start is None else find_elder(start, settings.network)
    material, teacher = taught(material, elder)
    with accelerator.main_process_first():
        config = make_config(plates, cutouts, start, settings, material, pairs)
        run = Run(out, config, material, fresh and accelerator.is_main_process, elder.pictures if elder else {})
    torch.manual_seed(settings.seed)
    network = build(settings.network)
    if elder is not None:
        network.load_state_dict(elder.network.state_dict())
    optimizer = make_optimizer(network, settings.optimizer)
    average = Average(network, settings.optimizer.average)
    progress = run.restore(network, optimizer, average)
    try:
        return Training(run, settings, accelerator, network, optimizer, average, progress, teacher).go()
    except OSError as error:  # metrics and TensorBoard are appended to, not written whole
        raise_for_disk(error, out)
        raise


class Training:
    """One run in progress: what it needs at every step, held together."""

    def __init__(
        self,
        run: Run,
        settings: TrainSettings,
        accelerator: Accelerator,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Average,
        progress: Progress,
        teacher: Elder | None = None,
    ) -> None:
        self.run, self.settings, self.accelerator, self.progress = run, settings, accelerator, progress
        self.raw = network if accelerator.num_processes == 1 else synchronised(network, accelerator.device)
        self.network, self.optimizer = accelerator.prepare(
            self.raw.to(memory_format=torch.channels_last),  # ty: ignore[no-matching-overload]
            optimizer,
        )
        lay_out(self.optimizer)
        self.average = average.as_in(self.raw)
        self.teacher = teacher.to(accelerator.device) if teacher else None
        self.kind = run.material.kind
        self.scenes = run.material.scenes(settings, "train")
        rank, world = accelerator.process_index, accelerator.num_processes
        self.order = self.scenes.order(settings.batch * world, settings.seed, progress.step, rank, world)
        self.tracker = Tracker(run.folder, progress.step, accelerator.is_main_process)
        self.validation = fixed_batches(run.material.scenes(settings, "validation"), accelerator.device)
        captured = run.material.captured(settings, "validation")
        self.pairs = fixed_batches(captured, accelerator.device) if captured else []
        self.started = time.monotonic() - progress.seconds
        self.settles_at, self.settled = progress.step + SETTLING_STEPS, math.nan
        self.recent: deque[float] = deque(maxlen=200)

    def go(self) -> Path:
        """Take all steps that are left."""
        if self.progress.steps is None:
            self.progress.steps = self._steps_of_budget()
        if self.progress.step == self.progress.steps:
            self.tracker.close()
            if self.accelerator.is_main_process:
                TrainingProgress.console.print(f"{self.run.folder} is finished: {self.progress.step:,} steps")
            return checkpoint.find(self.run.folder)
        if self.progress.step == 0:
            self.say_what_it_does()
            self._validate()
        with TrainingProgress(self.progress, self.accelerator.is_main_process) as bar:
            saved = time.monotonic()
            for batch in self._batches():
                self._step(batch, bar)
                self.progress.seconds = time.monotonic() - self.started
                if self._is_timed():
                    self._freeze_steps()
                    bar.known(self.progress.steps)
                last = self.progress.step == self.progress.steps
                if last or (self.progress.steps and self.progress.step % self._validate_every() == 0):
                    self._validate(bar)
                if last or time.monotonic() - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
                if last:
                    break
        self.tracker.close()
        return checkpoint.find(self.run.folder)

    def say_what_it_does(self) -> None:
        """One line per thing that a user should know before waiting for it."""
        parts, console = self.run.material, TrainingProgress.console
        if not self.accelerator.is_main_process:
            return
        for kind, pictures in parts.pictures.items():
            given = self.run.config[kind] or isinstance(parts, StoredMaterial)
            sample = "" if given else " (the packaged sample: no --" + kind + " given)"
            counts = ", ".join(f"{len(pictures[part])} {part}" for part in ("train", "validation", "test"))
            console.print(f"{kind}{sample}: {counts}")
        sizes = " ".join(map(str, self.settings.sizes or (self.settings.size,)))
        console.print(f"scenes: {len(self.scenes):,} per epoch, {sizes} px")
        if self.teacher is not None:
            console.print("no plate has depth: the model that this starts from says what depth is, so that it stays")
        if parts.depth == "none":
            console.print("no plate has depth: training the mask alone (depth beside a plate: NAME_depth.png)")

    def _batches(self) -> Iterator[Batch]:
        """From this step on, without end."""
        for batch in loader(self.scenes, self.order, self.settings.workers):
            moved = to_float(batch, self.accelerator.device)
            yield moved if self.teacher is None else self.teacher.label(moved)

    def _step(self, batch: Batch, bar: TrainingProgress) -> None:
        settings, progress = self.settings, self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = rate(progress.step, progress.steps, settings.optimizer)
        self.optimizer.zero_grad()
        with self.accelerator.autocast():
            output = self.network(batch.plate, batch.frame, batch.plate_depth)
        loss, parts = losses.total(output, batch, settings.loss, self.kind, pooled)
        parts = averaged(parts)
        seen = float(parts["total"].detach())
        self._stop_when_diverging(seen)
        self.accelerator.backward(loss)
        if settings.optimizer.clip > 0:
            self.accelerator.clip_grad_norm_(self.network.parameters(), settings.optimizer.clip)
        self.optimizer.step()
        first, progress.samples = self.order.span(progress.step)
        progress.step += 1
        self.average.follow(self.raw, progress.step)
        bar.advance(seen, progress.samples - first)
        if progress.step % self._log_every() == 0:
            size = {"size": batch.frame.shape[-1]} if settings.sizes else {}
            self.tracker.write(self._row("train", parts, bar.samples_per_s) | size)

    def _row(self, kind: str, parts: dict[str, Any], speed: float) -> dict[str, Any]:
        step = self.progress.step
        return {
            "step": step,
            "samples": self.progress.samples,
            "seconds": round(time.monotonic() - self.started, 2),
            "kind": kind,
            "loss": {name: round(float(torch.as_tensor(part).detach()), 6) for name, part in parts.items()},
            "learning_rate": rate(step, self.progress.steps, self.settings.optimizer),
            "samples_per_s": round(speed, 2),
        }

    def _stop_when_diverging(self, loss: float) -> None:
        """Raise when the loss is not a number, or far above everything lately; what is saved stays as it is."""
        usual = sorted(self.recent)[len(self.recent) // 2] if len(self.recent) == self.recent.maxlen else math.inf
        self.recent.append(loss)
        if math.isfinite(loss) and loss < 100 * max(usual, 1e-3):
            return
        self.tracker.close()
        raise InputError(
            f"the loss became {loss:.4g} at step {self.progress.step}: training diverges and was stopped; the last "
            f"good checkpoint stays in {self.run.folder}. Try --optimizer.learning-rate "
            f"{self.settings.optimizer.peak / 3:.2g} with --fresh or another --out"
        )

    def _validate(self, bar: TrainingProgress | None = None) -> None:
        """Measure, draw the panels, and keep the checkpoint if it is the best so far."""
        if not self.accelerator.is_main_process:
            return
        began = time.monotonic()
        with self.average.worn_by(self.raw):
            scores = validate(self.raw, self.validation, self.settings.loss, self.kind)
            if self.pairs:
                scores["pairs"] = validate(self.raw, self.pairs, self.settings.loss, self.kind)
            self._draw()
            if self.progress.best is None or score(scores) > self.progress.best:
                self.progress.best = score(scores)
                self.run.save_checkpoint("best", self.raw, self.progress)
        self.tracker.write(self._row("validation", scores["loss"], 0.0) | measured(scores))
        if bar is not None:
            bar.validated(scores, time.monotonic() - began)
            self._save()

    def _draw(self) -> None:
        """The panels of the first validation scenes."""
        fixed = Batch(*(getattr(self.validation[0], name)[:PANEL_SCENES] for name in Batch.__dataclass_fields__))
        self.raw.eval()
        with torch.inference_mode():
            self.tracker.panels(self.progress.step, fixed, self.raw(fixed.plate, fixed.frame, None))
        self.raw.train()

    def _save(self) -> None:
        """Only finite weights replace what is there."""
        if not self.accelerator.is_main_process or not all(
            bool(w.isfinite().all()) for w in self.raw.state_dict().values()
        ):
            return
        with self.average.worn_by(self.raw):
            self.run.save_checkpoint("last", self.raw, self.progress)
        self.run.save_state(self.raw, self.optimizer, self.average, self.progress)

    def _steps_of_budget(self) -> int | None:
        """The number of steps, or None where a budget in minutes has to be timed first."""
        s = self.settings
        if s.minutes is not None:
            return None
        samples = s.samples if s.epochs is None else math.ceil(s.epochs * len(self.scenes))
        return max(1, self.order.steps_of(samples or 0))

    def _is_timed(self) -> bool:
        if self.progress.steps is None and self.progress.step == self.settles_at:
            self.settled = time.monotonic()
        return self.progress.steps is None and self.progress.step >= max(TIMED_STEPS, self.settles_at + 1)

    def _freeze_steps(self) -> None:
        """Turn the minutes left into steps; validations take their part. All processes take rank 0's number."""
        assert self.settings.minutes is not None  # _check saw to it that there is one budget
        now = time.monotonic()
        per_step = (now - self.settled) / (self.progress.step - self.settles_at)
        began = time.monotonic()
        validate(self.raw, self.validation, self.settings.loss, self.kind)
        validating = time.monotonic() - began
        left = 60 * self.settings.minutes - (time.monotonic() - self.started) - VALIDATIONS * validating
        steps = torch.tensor(self.progress.step + max(1, int(left / per_step)), device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(steps, 0)
        self.progress.steps = int(steps)
        self._save()

    def _log_every(self) -> int:
        steps = self.progress.steps
        return LOG_EVERY if steps is None else max(1, min(LOG_EVERY, steps // LOG_LINES))

    def _validate_every(self) -> int:
        assert self.progress.steps is not None
        return self.settings.validate_every or max(1, math.ceil(self.progress.steps / VALIDATIONS))
