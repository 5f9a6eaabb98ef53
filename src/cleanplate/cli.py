"""The command line: one frozen dataclass per verb, each a thin door to one function. Heavy imports stay behind it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleanplate import __version__
from cleanplate.settings import PlanSettings, TeacherSettings, TrainSettings
from cleanplate.types import InputError

Folders = tuple[Path, ...]
DESCRIPTION = "Two folders of pictures in; a network for what stands in front, and how far away, out."


@dataclass(frozen=True)
class Inspect:
    """Show pictures: what a folder holds and what is wrong with it, or a batch exactly as the network gets it.

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
    out: Path = Path("inspect.png")
    """Where the picture of the batch, or of the dataset, goes."""
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
    effects: Literal["train", "standard", "none"] = "train"
    """Camera effects on the scenes."""
    plan: PlanSettings = field(default_factory=PlanSettings)

    def run(self) -> None:
        if self.data is not None:
            self._dataset(self.data)
            return
        from cleanplate.scenes.inspect import draw_batch, show

        if self.verify or self.json is not None:
            raise InputError("--verify and --json are for a stored dataset; name it: cleanplate inspect DIR --verify")
        libraries = show(self.plates, self.cutouts, self.seed, self.strict)
        if self.batch:
            draw_batch(
                *libraries,
                self.out,
                count=self.count,
                part=self.part,
                size=self.size,
                plan=self.plan,
                effects=self.effects,
                seed=self.seed,
                scenes=self.scenes,
                greyscale=self.greyscale,
            )

    def _dataset(self, place: str) -> None:
        from cleanplate.shards.inspect import SAMPLE, show_survey, show_verify
        from cleanplate.shards.reading import Dataset
        from cleanplate.shards.store import Store

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


@dataclass(frozen=True)
class Train:
    """Train a network on scenes composed from plates and cutouts. The same command continues a stopped run."""

    out: Path
    """The run's folder."""
    plates: Folders = ()
    """Folders of plates; none = the sample pictures."""
    cutouts: Folders = ()
    """Folders of cutouts; none = the sample pictures."""
    data: str | None = None
    """A stored dataset (the --out of compose) instead of plates and cutouts."""
    preset: Literal["ours", "original"] = "ours"
    """original: the original project's losses and SGD, in place of --loss and --optimizer (its network: --network)."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start from the weights of this run or checkpoint."""
    fresh: bool = False
    """Delete what the run's folder holds and start anew."""
    strict: bool = False
    """Stop at the first bad picture instead of skipping it."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(default_factory=TrainSettings)

    def run(self) -> None:
        # Threads of torch that wait must soon sleep, not spin: the processes that compose scenes need the cores.
        # This is libgomp's word, read when torch is loaded. Without it two cores lose most of their speed.
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
        from cleanplate.training.loop import train

        best = train(
            self.out,
            self.plates,
            self.cutouts,
            self.settings,
            self.preset,
            self.from_,
            self.fresh,
            self.strict,
            self.data,
        )
        if os.environ.get("RANK", "0") == "0":
            print(best)


@dataclass(frozen=True)
class Summary:
    """Print a network's parameters, FLOPs and shapes per layer."""

    network: Literal["platenet", "original", "original-small"] = "platenet"
    size: int = 128
    """Side of the pictures that the figures are for, pixels."""
    draw: Path | None = None
    """Draw the architecture into this SVG, PNG or PDF."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them."""

    def run(self) -> None:
        from cleanplate.network.summary import summary

        found = summary(self.network, self.size, self.json)
        if self.draw is not None:
            from cleanplate.network.drawing import draw_network

            draw_network(found, self.draw)


@dataclass(frozen=True)
class Compare:
    """MSE and SSIM of two pictures, side by side."""

    a: tyro.conf.Positional[Path]
    b: tyro.conf.Positional[Path]
    out: Path | None = None
    """Draw both pictures, their difference and their SSIM map into this picture."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them."""

    def run(self) -> None:
        from cleanplate.evaluation.compare import compare_files

        compare_files(self.a, self.b, out=self.out, json=self.json)


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained model on composed scenes it never saw, or on captured pairs, beside classical baselines."""

    model: Path
    """A run's folder or a checkpoint."""
    pairs: Path | None = None
    """A folder of captured pairs (DIR/**/SCENE/plate.png, frames/, masks/, ...); `sample` = the packaged ones."""
    plates: Folders = ()
    """Folders of plates for the four cells; by default the run's own."""
    cutouts: Folders = ()
    """Folders of cutouts for the four cells; by default the run's own."""
    cells: bool = False
    """Measure the four cells beside --pairs too; without --pairs they are measured anyway."""
    scenes: int = 200
    """Composed scenes per cell."""
    size: int = 224
    """Side of the composed scenes, pixels."""
    plate_depth: bool = False
    """Give the model the plate's depth where it is known."""
    baselines: bool = True
    """Measure the classical baselines as well."""
    json: Path | None = None
    """Write everything here as JSON; - prints it to standard output (and the table to standard error)."""
    seed: int = 0
    """Seed of the scenes, their effects and the intervals."""

    def run(self) -> None:
        from cleanplate.evaluation.evaluate import evaluate

        evaluate(
            model=self.model,
            pairs=self.pairs,
            plates=self.plates,
            cutouts=self.cutouts,
            cells=self.cells,
            scenes=self.scenes,
            size=self.size,
            plate_depth=self.plate_depth,
            baselines=self.baselines,
            json=self.json,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Predict:
    """Mask, cutout and depth for images, folders of images and videos."""

    inputs: tyro.conf.Positional[Folders]
    """Images, folders of images, videos."""
    model: Path
    """A run's folder or a checkpoint."""
    plate: Path
    """The scene with nothing in front."""
    plate_depth: Path | None = None
    """Depth of the plate: uint16 millimetres (PNG, TIFF) or metres (npy)."""
    out: Path = Path("predictions")
    """Folder for what is made."""
    fit: bool = False
    """Resize the plate when its size differs from a frame's."""

    def run(self) -> None:
        from cleanplate.inference.files import predict_files

        predict_files(self.model, self.plate, self.inputs, self.out, self.plate_depth, self.fit)


@dataclass(frozen=True)
class Report:
    """Write a run's self-contained HTML report: curves, panels, scores, predictions."""

    run_folder: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path | None = None
    """The HTML file; by default report.html in the run's folder."""

    def run(self) -> None:
        from cleanplate.evaluation.report import report
        from cleanplate.evaluation.table import show_scores

        written = report(self.run_folder, self.out)
        show_scores(self.run_folder)
        print(f"report: {written}")


@dataclass(frozen=True)
class Bench:
    """Measure speed as ratios in one run: inference, training and composing, ours beside the original network."""

    rounds: int = 5
    """Rounds; medians are printed."""
    threads: int | None = None
    """Threads of torch; by default its own choice."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them."""

    def run(self) -> None:
        from cleanplate.evaluation.bench import bench

        bench(self.rounds, self.threads, self.json)


Verb = (
    Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Compose, tyro.conf.subcommand("compose")]
    | Annotated[Label, tyro.conf.subcommand("label")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Summary, tyro.conf.subcommand("summary")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Returns 0, or 2 after an error in what was given (its message goes to standard error)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"cleanplate {__version__}")
        return 0
    verb = tyro.cli(Verb, args=arguments, prog="cleanplate", description=DESCRIPTION)
    try:
        verb.run()
    except InputError as error:
        print(f"cleanplate: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cleanplate: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
