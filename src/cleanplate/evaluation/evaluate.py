"""Evaluate: a trained model on composed scenes of new pictures, or on captured pairs, beside classical baselines.

What comes out (and what evaluation.json holds; PART as in `parts`, cells as in `cells`, NAME as in `baselines` or a
model's beside, STRESS as in `stress`):

    {"care": true, "part": "test", "left_out": 0, "scenes": {PATH: PART}, "mean": PART,
     "cells": {CELL: PART}, "cells_clean": {CELL: PART},
     "baselines": {NAME: {"scenes": {PATH: PART}, "mean": PART, "cells": {CELL: PART}}},
     "stress": {"pairs": STRESS, "cells": STRESS}}

"scenes" and "mean" are of captured pairs, of which "left_out" scenes trained or validated; "cells" of composed scenes
under the camera effects `standard`, "cells_clean" of the same under `none` (the model alone). What was not asked for,
or has no pictures, is absent.
"""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cleanplate.evaluation.baselines import NAMES, MeanDepth
from cleanplate.evaluation.captured import Captured, Judges, open_scenes, sequences
from cleanplate.evaluation.cells import CellScenes, find_cells, training_pictures
from cleanplate.evaluation.log import log_evaluation, log_file
from cleanplate.evaluation.measure import Methods, Model, Samples, Tick, measure
from cleanplate.evaluation.parts import FrameSums, cell_part, mean_part, scene_part
from cleanplate.evaluation.stress import measure_stress
from cleanplate.evaluation.stress_chart import check_name, draw_stress
from cleanplate.evaluation.table import score_table
from cleanplate.pictures.library import Library, open_library, sample_folder
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

SCENE_SIZE = 224
"""Side of composed scenes, pixels, whatever the run trained at, so that all runs are judged on the same scenes."""

MIN_SIZE = 16
"""Smallest side of composed scenes, pixels: under 11 there is no window for SSIM."""


@dataclass(frozen=True)
class Judging:
    """How models are judged.

    seed: of scenes, effects, intervals and damages. plate_depth: give models the plate's depth where known. baselines:
    judge the classical ones, too. mean_depth: of the training's plates. beside: other models, by name. part: the
    pictures that judge. stressed: the models, by name, whose stress curves are wanted, in order. progress: where bars
    are shown.
    """

    seed: int = 0
    plate_depth: bool = False
    baselines: bool = True
    mean_depth: MeanDepth | None = None
    beside: Mapping[str, Model] = field(default_factory=dict)
    part: Judges = "test"
    stressed: Mapping[str, Model] = field(default_factory=dict)
    progress: Progress | None = None

    def metas(self, model: Model) -> list[Mapping[str, Any]]:
        """What the checkpoints of all models say about them."""
        return [model.meta, *(other.meta for other in self.beside.values())]

    def methods(self, model: Model, metric: bool = True) -> Methods:
        """Who answers. metric: the truth's depth is in metres."""
        return Methods(model, self.plate_depth, self.baselines, self.mean_depth, metric, self.beside)

    def stress(self, samples: Samples, scenes: Sequence[str], label: str) -> dict[str, Any]:
        """{"stress": {label: curves}}, or nothing where none are wanted."""
        if not self.stressed:
            return {}
        with _task(self.progress, f"stress, {label}", len(samples)) as tick:
            return {"stress": {label: measure_stress(samples, scenes, self.stressed, self.seed, tick)}}


JUDGING = Judging()


def evaluate(
    *,
    model: Path,
    pairs: Path | None = None,
    plates: Sequence[Path] = (),
    cutouts: Sequence[Path] = (),
    cells: bool = False,
    scenes: int = 200,
    size: int = SCENE_SIZE,
    care: bool = True,
    part: Judges = "test",
    plate_depth: bool = False,
    baselines: bool = True,
    beside: Path | None = None,
    stress: bool = False,
    stress_chart: Path | None = None,
    json: Path | None = None,
    log: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate a model as the command line says (see `cli.Evaluate` for each argument); print a table, write the JSON.

    Returns what the JSON holds. Raises InputError for folders that don't fit.
    """
    from cleanplate.inference.predictor import load

    with_cells = bool(cells or plates or cutouts or pairs is None)
    if size < MIN_SIZE:
        raise InputError(f"scenes of {size} px are too small to judge: give --size {MIN_SIZE} or more")
    if stress_chart is not None:
        check_name(stress_chart)
    predictor = load(model, care=care)
    config = predictor.meta["config"]
    run = {kind: [Path(folder) for folder in config.get(kind) or ()] for kind in ("plates", "cutouts")}
    others = {} if beside is None else _beside(beside, load(beside, care=care), predictor)
    stressed: dict[str, Model] = {}
    if stress or stress_chart is not None:
        stressed = ({"model": predictor} if care else {}) | {"model_without_care": load(model, care=False)}
    result: dict[str, Any] = {"care": care, "part": part}
    with _progress() as progress:
        mean_depth = _mean_depth(predictor, run["plates"]) if baselines else None
        judging = Judging(seed, plate_depth, baselines, mean_depth, others, part, stressed, progress)
        if pairs is not None:
            folder = sample_folder() / "pairs" if str(pairs) == "sample" and not pairs.exists() else pairs
            _merge(result, measure_pairs(predictor, folder, judging))
            if log := log or log_file(model):
                options = {"care": care, "part": part, "plate_depth": plate_depth, "seed": seed}
                log_evaluation(log, model, folder, result, options)
        if with_cells:
            opened = [
                open_library(list(given) or run[kind], kind)
                for kind, given in (("plates", plates), ("cutouts", cutouts))
            ]
            _merge(result, measure_cells(predictor, *opened, scenes=scenes, size=size, judging=judging))
    if "baselines" in result:
        result["baselines"] = {
            name: result["baselines"][name] for name in (*others, *NAMES) if name in result["baselines"]
        }
    # The table comes first: it is all that is left of the work where the file cannot be written.
    Console(stderr=str(json) == "-").print(*score_table(result, _name(model)), sep="\n")
    _write(result, json)
    if stress_chart is not None:
        draw_stress(result["stress"], stress_chart)
    return result


def measure_cells(
    model: Model,
    plates: Library,
    cutouts: Library,
    *,
    scenes: int = 200,
    size: int = SCENE_SIZE,
    judging: Judging = JUDGING,
) -> dict[str, Any]:
    """The cells that these pictures fill: {"cells", "cells_clean", "baselines", "stress"}, the last two if asked for.

    scenes: per cell. size: side of the scenes, pixels. Raises InputError when no picture is unseen.
    """
    result: dict[str, Any] = {"cells": {}, "cells_clean": {}}
    found = find_cells(judging.metas(model), plates, cutouts, judging.part)
    compared, alone = judging, replace(judging, baselines=False, beside={})
    for key, effects, judges in (("cells", "standard", compared), ("cells_clean", "none", alone)):
        for cell in found:
            composed = CellScenes(cell, effects, scenes, size, judging.seed)
            label = f"{cell.name.replace('_', ' plates, ')} cutouts" + ("" if key == "cells" else ", no effects")
            with _task(judging.progress, label, len(composed)) as tick:
                names = [str(i) for i in range(len(composed))]
                sums = measure(composed, names, judges.methods(model, cell.metric), tick)
            pictures = composed.pictures()
            for name, frames in sums.items():
                where = result if name == "model" else _baseline(result, name)
                where.setdefault(key, {})[cell.name] = cell_part(frames, *pictures, judging.seed)
            if key == "cells" and cell.name == "unseen_unseen":
                result |= judging.stress(composed, names, "cells")
    return result


def measure_pairs(model: Model, folder: Path, judging: Judging = JUDGING) -> dict[str, Any]:
    """The captured scenes below a folder: {"left_out", "scenes", "mean", "baselines", "stress"}, the last two if asked.

    Raises InputError when there are no pairs that may judge, a scene has no mask at all, or sizes within a pair differ.
    """
    scenes, left_out = open_scenes(folder, judging.metas(model), judging.part)
    captured = Captured([pair for pairs in scenes.values() for pair in pairs])
    with _task(judging.progress, "captured pairs", len(captured)) as tick:
        sums = measure(captured, captured.scenes, judging.methods(model), tick)
    by_method = {name: _by_scene(frames, captured.scenes) for name, frames in sums.items()}
    if judging.baselines:
        by_method |= sequences(scenes)
    result: dict[str, Any] = {"left_out": left_out}
    for name, by_scene in by_method.items():
        where = result if name == "model" else _baseline(result, name)
        where["scenes"] = {scene: scene_part(frames, judging.seed) for scene, frames in by_scene.items()}
        where["mean"] = mean_part(list(by_scene.values()), judging.seed)
    return result | judging.stress(captured, captured.scenes, "pairs")


def _by_scene(frames: Sequence[FrameSums], scenes: Sequence[str]) -> dict[str, list[FrameSums]]:
    grouped: dict[str, list[FrameSums]] = {}
    for one, scene in zip(frames, scenes, strict=True):
        grouped.setdefault(scene, []).append(one)
    return grouped


def _beside(path: Path, other: Model, ours: Model) -> dict[str, Model]:
    """Another model under its network's name, or its folder's where that is ours, too."""
    network = str(other.meta.get("network", ""))
    name = network if network not in ("", ours.meta.get("network")) else _name(path)
    if name in ("model", *NAMES):
        raise InputError(f"--beside {path}: a column is called {name} already; give the run another name")
    return {name: other}


def _name(model: Path) -> str:
    return model.resolve().name


def _mean_depth(model: Model, folders: Sequence[Path]) -> MeanDepth | None:
    """The mean depth of the model's training plates; None when they are not there any more or have no depth."""
    try:
        plates = training_pictures(model.meta, open_library(folders, "plates"))
    except InputError:
        return None
    mean = MeanDepth(plates)
    return None if mean.empty else mean


def _baseline(result: dict[str, Any], name: str) -> dict[str, Any]:
    return result.setdefault("baselines", {}).setdefault(name, {})


def _merge(result: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what was measured to the result; baselines and stress one by one."""
    for name, parts in more.get("baselines", {}).items():
        _baseline(result, name).update(parts)
    if "stress" in more:
        result.setdefault("stress", {}).update(more["stress"])
    result.update({key: value for key, value in more.items() if key not in ("baselines", "stress")})


def _write(result: Mapping[str, Any], path: Path | None) -> None:
    text = jsonlib.dumps(result, indent=1, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    elif path is not None:
        write_atomically(path, text.encode())


def _progress() -> Progress:
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*bars, console=Console(stderr=True))


@contextmanager
def _task(progress: Progress | None, label: str, total: int) -> Generator[Tick]:
    """A bar for `total` frames; calling what is yielded moves it on."""
    if progress is None:
        yield lambda: None
        return
    task = progress.add_task(label, total=total)
    yield lambda: progress.advance(task)
