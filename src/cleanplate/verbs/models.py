"""Verbs about networks: train, summary, compare, evaluate, predict, report, bench. Each is a door to one function."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleanplate.settings import TeacherSettings, TrainSettings, VideoSettings
from cleanplate.types import InputError

Folders = tuple[Path, ...]


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
    pairs: Folders = ()
    """Folders of captured pairs (DIR/**/SCENE/plate.png, frames/, masks/, ...) that train too, split by scene."""
    preset: Literal["ours", "original"] = "ours"
    """original: the original project's losses and SGD, in place of --loss and --optimizer (its network: --network)."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start from the weights of this run or checkpoint; released = the packaged model."""
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
            self.pairs,
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

    model: Path = Path("released")
    """A run's folder or a checkpoint; released = the packaged model."""
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
    care: bool = True
    """Let plate care align and correct each frame before the model sees it, as `cleanplate predict` does."""
    part: Literal["test", "validation"] = "test"
    """validation: judge by what validated the model, and nothing else; to choose without touching the test part."""
    plate_depth: bool = False
    """Give the model the plate's depth where it is known."""
    baselines: bool = True
    """Measure the classical baselines as well."""
    beside: Path | None = None
    """Another run or checkpoint, judged on the same scenes in the same table."""
    stress: bool = False
    """Measure how scores fall with a shifted plate, another exposure, noise, compression, blur and object size."""
    stress_chart: Path | None = None
    """Draw the stress curves into this PNG, SVG or PDF (implies --stress)."""
    json: Path | None = None
    """Write everything here as JSON; - prints it to standard output (and the table to standard error)."""
    log: Path | None = None
    """Append the mean scores of --pairs to this file; by default evaluations.jsonl in the run's folder."""
    seed: int = 0
    """Seed of the scenes, their effects, the damages and the intervals."""

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
            care=self.care,
            part=self.part,
            plate_depth=self.plate_depth,
            baselines=self.baselines,
            beside=self.beside,
            stress=self.stress,
            stress_chart=self.stress_chart,
            json=self.json,
            log=self.log,
            seed=self.seed,
        )


@dataclass(frozen=True)
class PlateTeacher(TeacherSettings):
    """A teacher that is asked about the plate alone; the other flags say what its answer means."""

    depth: Annotated[str, tyro.conf.arg(name="plate-depth-teacher")] = ""
    """hf:MODEL_OR_DIR or onnx:FILE: this depth network says the plate's depth, once: plate-depth.png, in --out."""


@dataclass(frozen=True)
class Predict:
    """Mask, cutout and depth for images, folders of images and videos."""

    inputs: tyro.conf.Positional[Folders]
    """Images, folders of images, videos; none with --live."""
    plate: Path
    """The scene with nothing in front; auto = estimate it from each video or folder of frames, or learn it live."""
    model: Path = Path("released")
    """A run's folder, a checkpoint, an exported model.onnx or folder; released = the packaged model."""
    plate_depth: Path | None = None
    """Depth of the plate: uint16 millimetres (PNG, TIFF) or metres (npy)."""
    out: Path = Path("predictions")
    """Folder for what is made."""
    fit: bool = False
    """Resize the plate when its size differs from a frame's."""
    care: bool = True
    """Bring each frame to the plate (its place, its exposure) before the model looks, where that is sure to help."""
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto"
    """Who calculates; auto: ONNX Runtime for exported graphs and the packaged model, torch for runs and checkpoints."""
    upsample: Literal["guided", "bilinear"] = "guided"
    """How the mask gets to the frame's size: along the frame's own edges, or blurred."""
    videos: Annotated[VideoSettings, tyro.conf.arg(name="")] = field(default_factory=VideoSettings)
    teacher: Annotated[PlateTeacher, tyro.conf.arg(name="")] = field(default_factory=PlateTeacher)

    def run(self) -> None:
        from cleanplate.predictions.files import predict_files

        predict_files(
            self.model,
            self.plate,
            self.inputs,
            self.out,
            self._plate_depth(),
            self.fit,
            self.care,
            self.videos,
            self.runtime,
            self.upsample,
        )

    def _plate_depth(self) -> Path | None:
        """The file that was given, or the one that the teacher makes."""
        if not self.teacher.depth:
            return self.plate_depth
        if self.plate_depth is not None:
            raise InputError(
                f"--plate-depth {self.plate_depth} and --plate-depth-teacher {self.teacher.depth}: give the plate's "
                "depth, or a teacher that says it, not both"
            )
        if str(self.plate) == "auto":
            raise InputError(
                f"--plate auto and --plate-depth-teacher {self.teacher.depth}: the teacher looks at one plate, before "
                "any frame; give --plate a file, such as the one that `--plate auto` wrote, or leave the teacher out"
            )
        from cleanplate.inference.predictor import load
        from cleanplate.predictions.plate_depth import teach_plate_depth

        settings = replace(self.teacher, depth=f"teacher={self.teacher.depth.removeprefix('teacher=')}")
        written = teach_plate_depth(load(self.model), self.plate, settings, self.out)
        print(f"the plate's depth is in {written}: give it by --plate-depth from now on")
        return written


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
    """Measure speed, one table: every runtime, the original network, background subtractors, training, composing."""

    rounds: int = 5
    """Rounds; medians are printed."""
    threads: int | None = None
    """Threads of torch for both networks (`networks`); by default its own choice. The rest has one."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them."""
    only: tuple[Literal["start", "composing", "runtimes", "networks"], ...] = ()
    """Measure these alone; `runtimes` are ONNX Runtime, INT8, OpenVINO, torch, `original` and subtractors."""
    model: Path = Path("released")
    """The run or checkpoint that the runtimes run."""
    graphs: Path | None = None
    """A folder for its exported graphs, which take minutes to make; what is there is used."""
    size: int = 256
    """Side of the pictures that are predicted, pixels."""

    def run(self) -> None:
        from cleanplate.evaluation.bench import bench

        bench(self.rounds, self.threads, self.json, self.only, self.model, self.graphs, self.size)
