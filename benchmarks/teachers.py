"""Two ways to label with a depth teacher, in figures: it sees every composite, or every picture once.

    python benchmarks/teachers.py --run RUN [--plates DIR --cutouts DIR ...] [--scenes 1000]
    python benchmarks/teachers.py --depth teacher=onnx:FILE --teacher-output disparity --teacher-unit relative

A dataset is composed and labelled both ways. `--run` makes the teacher of a trained network: shown one picture as plate
and as frame, its depth is that of a single picture, exported to ONNX. Agreement is judged on scenes whose pictures do
not train (those that the network of a run with the same pictures and seed never saw), against the exact depth that the
scenes were composed with, after the alignment that the label's kind permits: means over the scenes, of the whole frame
and of its foreground (same alignment), and of one label against the other.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from torch import Tensor, nn

from cleanplate.engine.engine import Engine
from cleanplate.labels.label import label
from cleanplate.labels.labels import Labels, Mode
from cleanplate.measures.metrics import aligned, depth_scores, depth_sums
from cleanplate.network.checkpoint import find, load
from cleanplate.network.fold import folded
from cleanplate.settings import PlanSettings, TeacherSettings
from cleanplate.shards.make import make_dataset
from cleanplate.shards.reading import Dataset
from cleanplate.types import Depth, DepthKind, Scene
from figures import Figure, Measured, Pace, show

Scores = dict[str, float]
ALL = 400_000
MODES: tuple[Mode, ...] = ("scenes", "plates")
VIEW = 25
"""Scenes that share a view of a plate, as `cleanplate compose` has it."""
STRIDE = 32
"""What the exported network's input sides are multiples of."""


@dataclass(frozen=True)
class Options:
    """Compare the two ways of labelling: --label scenes and --label plates."""

    run: Path | None = None
    """A training's folder or checkpoint: its network becomes the teacher."""
    plates: tuple[Path, ...] = ()
    """Folders of plates; none = the sample pictures."""
    cutouts: tuple[Path, ...] = ()
    """Folders of cutouts; none = the sample pictures."""
    scenes: int = 2000
    """Scenes of the dataset; a second one of a quarter tells the start from the work."""
    size: int = 224
    workers: int | None = None
    """Processes; none = one for the teacher, with all cores, and one per core for the rest; 0 = this one does all."""
    into: Path = Path(tempfile.gettempdir())
    """Where the dataset goes for the time being."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them instead of the table."""
    teacher: Annotated[TeacherSettings, tyro.conf.arg(name="")] = field(default_factory=TeacherSettings)


@dataclass(frozen=True)
class Labelled:
    """A finished label. seen: pictures that the teacher was shown. teaching: seconds until it had seen the last.

    taken: in all. after: from then on. bytes: of its files.
    """

    labels: Labels
    seen: int
    teaching: float
    taken: Measured
    after: Measured


class SinglePicture(nn.Module):
    """A picture, [b, 3, h, w] in 0..1 -> its depth, [b, 1, h, w]: the network of plate and frame, shown it as both."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        unknown = picture[:, :1] * 0  # a plate's depth of which nothing is known
        return self.network(picture, picture, unknown).log_depth.exp()


def export_teacher(run: Path, file: Path) -> TeacherSettings:
    """Write the run's network as an ONNX depth teacher; sides are free multiples of STRIDE."""
    network, meta = load(find(run))
    axes = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        # torch's newer exporter needs one more package; this one is announced to go some day
        warnings.simplefilter("ignore")
        torch.onnx.export(
            SinglePicture(folded(network)).eval(),
            (torch.rand(2, 3, 4 * STRIDE, 4 * STRIDE),),
            str(file),
            dynamo=False,
            input_names=["picture"],
            output_names=["depth"],
            dynamic_axes={"picture": axes, "depth": axes},
            opset_version=18,
        )
    return TeacherSettings(
        depth=f"teacher=onnx:{file}",
        teacher_output="depth",
        teacher_unit="m" if meta["depth"] == "metric" else "relative",
        teacher_multiple=STRIDE,
        teacher_mean=(0.0, 0.0, 0.0),
        teacher_std=(1.0, 1.0, 1.0),
    )


def labelled(data: Dataset, mode: Mode, teacher: TeacherSettings, options: Options) -> Labelled:
    """Label the dataset one way, from its first file to its manifest."""
    scenes, place = sum(data.identity.scenes.values()), Path(data.store.place)
    began, clock = time.time(), time.perf_counter()
    pictures = {"plates": options.plates, "cutouts": options.cutouts}
    engine = Engine(workers=options.workers)
    labels = label(place, teacher, mode=mode, name=mode, **pictures, engine=engine, quiet=True)  # ty: ignore[invalid-argument-type]
    seconds = time.perf_counter() - clock
    files = list((place / "labels" / mode).glob("*.parquet"))
    shown = [path for path in files if mode == "scenes" or path.name.startswith("pictures-")]
    teaching = max(path.stat().st_mtime for path in shown) - began
    size = sum(path.stat().st_size for path in files)
    seen = sum(pq.read_metadata(path).num_rows for path in shown)
    after = Measured(scenes, max(seconds - teaching, 0.0), 0)
    return Labelled(labels, seen, teaching, Measured(scenes, seconds, 0, size), after)


def judged(data: Dataset, labels: Sequence[Labels]) -> Iterator[tuple[Scene, list[Depth]]]:
    """Scenes of validation and test pictures (all scenes if there are none), and each label's depth of them."""
    held_out = [shard for shard in data.shards() if shard.part != "train"]
    for shard in held_out or data.shards():
        opened = data.open(shard)
        for group in range(opened.groups):
            for row in opened.read(group):
                scene = row.scene(opened)
                yield scene, [one.apply(scene, opened, row).depth for one in labels]


def agreement(depth: Depth, truth: Depth, inside: np.ndarray, kind: DepthKind) -> Scores:
    """abs_rel and delta1 of one scene, whole and inside its mask; nan where nothing is known."""
    depth = aligned(depth, truth, kind)
    where = {"frame": None, "foreground": inside}
    found = {name: depth_scores(depth_sums(depth, truth, part)) for name, part in where.items()}
    return {f"{name}, {part}": float(found[part][name]) for part in where for name in ("abs_rel", "delta1")}


def agreements(data: Dataset, labels: Sequence[Labels]) -> tuple[int, dict[str, Scores]]:
    """How many scenes were judged, and the mean scores of each label, and of the second against the first."""
    taken: dict[str, list[Scores]] = {one.name: [] for one in labels} | {"both": []}
    for scene, depths in judged(data, labels):
        inside = scene.alpha >= 128
        for one, depth in zip(labels, depths, strict=True):
            taken[one.name].append(agreement(depth, scene.depth, inside, one.kind))
        taken["both"].append(agreement(depths[1], depths[0], inside, labels[0].kind))
    means = {
        who: {name: float(np.nanmean([one[name] for one in scores])) for name in scores[0]}
        for who, scores in taken.items()
    }
    return len(taken["both"]), means


def figures_of(made: dict[Mode, list[Labelled]], count: int, scores: dict[str, Scores]) -> Iterator[Figure]:
    """The table's rows, one way after the other."""
    for mode, (few, many) in made.items():
        pace = Pace(few.taken, many.taken) if mode == "scenes" else Pace(few.after, many.after)
        once = 0.0 if mode == "scenes" else many.teaching
        seen = "all scenes and every view of a plate" if mode == "scenes" else "every plate and every cutout once"
        yield Figure(f"{mode}: pictures that the teacher saw", many.seen, "", note=seen)
        yield Figure(f"{mode}: seconds until the last", many.teaching, "s")
        yield Figure(f"{mode}: seconds in all", many.taken.seconds, "s")
        yield Figure(f"{mode}: labels, once started", pace.rate, "/s")
        yield Figure(f"{mode}: {ALL:,} labels at this pace", once / 60 + pace.minutes(ALL), "min")
        yield Figure(f"{mode}: on disk, per scene", many.taken.bytes / many.taken.count, "B")
        yield from (Figure(f"{mode}: {name}", value, "") for name, value in scores[mode].items())
    few, many = (made[mode][1] for mode in ("plates", "scenes"))
    ratio = many.seen / many.taken.count * ALL / few.seen
    yield Figure(f"pictures to show a teacher for {ALL:,} scenes, scenes beside plates", ratio, "x")
    note = f"plates' label against scenes' label; all agreement over {count} scenes"
    for name, value in scores["both"].items():
        yield Figure(f"the two: {name}", value, "", note=note)
        note = ""


def compose(options: Options, scenes: int, place: Path) -> Dataset:
    """A dataset to label."""
    pictures = options.plates, options.cutouts
    plan, engine = PlanSettings(scenes_per_view=VIEW), Engine(workers=options.workers)
    return make_dataset(place, *pictures, scenes=scenes, size=options.size, plan=plan, engine=engine, quiet=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose, label twice, compare."""
    options = tyro.cli(Options, args=arguments, description=__doc__)
    with tempfile.TemporaryDirectory(dir=options.into) as name:
        teacher = options.teacher
        if options.run is not None:
            exported = export_teacher(options.run, Path(name) / "teacher.onnx")
            teacher = replace(exported, teacher_device=teacher.teacher_device, teacher_batch=teacher.teacher_batch)
        datasets = [compose(options, n, Path(name) / f"data{n}") for n in (options.scenes // 4, options.scenes)]
        made = {mode: [labelled(data, mode, teacher, options) for data in datasets] for mode in MODES}
        count, scores = agreements(datasets[1], [many.labels for _, many in made.values()])
        facts = made["scenes"][1].labels.facts
        title = f"Labelling {options.scenes:,} scenes of {options.size} px"
        show(title, list(figures_of(made, count, scores)), options.json, teacher=facts)


if __name__ == "__main__":
    main()
