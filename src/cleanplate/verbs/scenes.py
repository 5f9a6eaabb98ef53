"""Verbs about pictures and scenes: inspect, compose, label. Each is a thin door to one function."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleanplate.settings import PlanSettings, TeacherSettings
from cleanplate.types import InputError

Folders = tuple[Path, ...]


@dataclass(frozen=True)
class Inspect:
    """Show pictures: what a folder holds and what is wrong with it, a batch as the network gets it, or the effects.

    With a stored dataset: its figures, its histograms, and whether it still is as it was written.
    """

    data: Annotated[str | None, tyro.conf.Positional] = None
    """A stored dataset (the --out of compose) instead of folders of pictures."""
    verify: bool = False
    """Read all of the dataset: find flipped bytes, missing and foreign files."""
    json: Path | None = None
    """Write the dataset's figures here as JSON; - prints them."""
    plates: Folders = ()
    """Folders of plates; none = the sample pictures."""
    cutouts: Folders = ()
    """Folders of cutouts; none = the sample pictures."""
    batch: bool = False
    """Also draw a batch of training scenes, exactly as the network gets them."""
    effects: bool = False
    """Also draw every family of camera effects alone, mild to strong, beside a clean composite."""
    out: Path = Path("inspect.png")
    """Where the picture of the batch, of the effects or of the dataset goes."""
    count: int = 16
    """Scenes in the batch."""
    part: Literal["train", "validation", "test"] = "train"
    """Which part of the split the scenes are made of."""
    strict: bool = False
    """Stop at the first bad picture instead of skipping it."""
    size: int = 128
    """Side of the square scenes, pixels."""
    greyscale: bool = False
    """Grey pictures (three equal channels)."""
    scenes: int | None = None
    """Draw from this many scenes, spread evenly over the plan; of a dataset, look at so many (20,000; 0 = all)."""
    seed: int = 0
    mixture: Literal["train", "standard", "none"] = "train"
    """Camera effects on the scenes of the batch."""
    plan: PlanSettings = field(default_factory=PlanSettings)

    def run(self) -> None:
        if self.data is not None:
            self._dataset(self.data)
            return
        from cleanplate.scenes.inspect import draw_batch, show

        if self.verify or self.json is not None:
            raise InputError("--verify and --json are for a stored dataset; name it: cleanplate inspect DIR --verify")
        if self.batch and self.effects:
            raise InputError(f"--batch and --effects both draw into {self.out}; ask for one of them at a time")
        libraries = show(self.plates, self.cutouts, self.seed, self.strict)
        if self.effects:
            from cleanplate.scenes.sheet import draw_sheet

            draw_sheet(*libraries, self.out, part=self.part, size=self.size, plan=self.plan, seed=self.seed)
        if self.batch:
            draw_batch(
                *libraries,
                self.out,
                count=self.count,
                part=self.part,
                size=self.size,
                plan=self.plan,
                effects=self.mixture,
                seed=self.seed,
                scenes=self.scenes,
                greyscale=self.greyscale,
            )

    def _dataset(self, place: str) -> None:
        from cleanplate.shards.inspect import SAMPLE, show_survey, show_verify
        from cleanplate.shards.reading import Dataset
        from cleanplate.shards.store import Store

        if self.batch or self.effects:
            raise InputError(
                f"--batch and --effects draw scenes of folders of pictures, not of the dataset {place}: leave them out "
                "(which effects a batch has is said by --mixture train, standard or none)"
            )
        if self.verify:
            show_verify(Store(place))
            return
        scenes = SAMPLE if self.scenes is None else self.scenes or None
        show_survey(Dataset(place), scenes, self.json, self.out)


@dataclass(frozen=True)
class Compose:
    """Make a stored dataset: Parquet shards of composed scenes. The same command goes on with a stopped one."""

    out: str
    """The dataset's folder, or a URI (s3://BUCKET/PATH...)."""
    plates: Folders = ()
    """Folders of plates; none = the sample pictures."""
    cutouts: Folders = ()
    """Folders of cutouts; none = the sample pictures."""
    scenes: int | None = None
    """Scenes over all parts of the split, spread evenly over the plan; none = the whole plan."""
    size: int = 224
    """Side of the square scenes, pixels."""
    quality: int = 80
    """Of the JPEGs, 1 to 100."""
    seed: int = 0
    """Decides the split and the scenes."""
    split: bool = True
    """Keep pictures for validation and test. Without, every picture trains: nothing can be judged on the dataset."""
    format: Literal["parquet", "files", "zip"] = "parquet"
    """files, zip: beside the shards also pictures of frames, masks and depths, one by one or a zip per shard."""
    engine: Literal["processes", "ray"] = "processes"
    """What the work runs on."""
    workers: int | None = None
    """Processes at once; none = one per core (of the whole cluster)."""
    address: str | None = None
    """A Ray cluster's address; none = Ray on this machine."""
    quiet: bool = False
    """A line per shard instead of a bar."""
    strict: bool = False
    """Stop at the first bad picture instead of skipping it."""
    label: Literal["scenes", "plates"] = "scenes"
    """With a teacher: what it sees, as in `cleanplate label`."""
    effects_preview: Path | None = None
    """With a teacher: draw frames beside its labels here."""
    plan: PlanSettings = field(default_factory=lambda: PlanSettings(scenes_per_view=25))
    teacher: Annotated[TeacherSettings, tyro.conf.arg(name="")] = field(default_factory=TeacherSettings)

    def run(self) -> None:
        from cleanplate.engine.engine import Engine
        from cleanplate.shards.make import make_dataset
        from cleanplate.teachers.teacher import check_teacher

        labelled = self.teacher.depth != "layered"
        if labelled:
            check_teacher(self.teacher)  # before the hours of composing
        dataset = make_dataset(
            self.out,
            self.plates,
            self.cutouts,
            scenes=self.scenes,
            size=self.size,
            quality=self.quality,
            seed=self.seed,
            plan=self.plan,
            split=self.split,
            format=self.format,
            engine=Engine(self.engine, self.workers, self.address),
            quiet=self.quiet,
            strict=self.strict,
        )
        if labelled:
            Label(
                data=self.out,
                label=self.label,
                plates=self.plates,
                cutouts=self.cutouts,
                engine=self.engine,
                address=self.address,
                effects_preview=self.effects_preview,
                quiet=self.quiet,
                teacher=self.teacher,
            ).run()
        print(dataset.store.place)


@dataclass(frozen=True)
class Label:
    """Add a depth teacher's labels to a stored dataset, beside what it has. The same command goes on when stopped."""

    data: str
    """The dataset (the --out of compose)."""
    label: Literal["scenes", "plates"] = "scenes"
    """scenes: the teacher sees every composite. plates: each plate and cutout once, then layered: far fewer calls."""
    name: str | None = None
    """The label's name, for `train --labels`; none = the teacher's."""
    plates: Folders = ()
    """With --label plates: where the dataset's plates lie now; none = where they lay when it was composed."""
    cutouts: Folders = ()
    """With --label plates: where its cutouts lie now."""
    engine: Literal["processes", "ray"] = "processes"
    """What the work runs on."""
    workers: int | None = None
    """Teachers at once, each in a process; none = one, with the GPU or all cores."""
    address: str | None = None
    """A Ray cluster's address; none = Ray on this machine."""
    effects_preview: Path | None = None
    """Draw frames beside their labels, near = warm, here as well (always: labels/NAME/preview.png)."""
    quiet: bool = False
    """A line per shard instead of a bar."""
    teacher: Annotated[TeacherSettings, tyro.conf.arg(name="")] = field(default_factory=TeacherSettings)

    def run(self) -> None:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as in Train
        from cleanplate.engine.engine import Engine
        from cleanplate.labels.label import label

        made = label(
            self.data,
            self.teacher,
            mode=self.label,
            name=self.name,
            plates=self.plates,
            cutouts=self.cutouts,
            engine=Engine(self.engine, self.workers, self.address),
            preview=self.effects_preview,
            quiet=self.quiet,
        )
        print(f"labels: {made.name}")
