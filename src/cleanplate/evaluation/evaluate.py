"""Evaluate: a trained model on composed scenes of new pictures, or on captured pairs, beside classical baselines.

What comes out (and what evaluation.json holds; PART as in `parts`, cells as in `cells`, NAME as in `baselines`):

    {"scenes": {PATH: PART}, "mean": PART, "cells": {CELL: PART}, "cells_clean": {CELL: PART},
     "baselines": {NAME: {"scenes": {PATH: PART}, "mean": PART, "cells": {CELL: PART}}}}

"scenes" and "mean" are of captured pairs; "cells" of composed scenes under the camera effects `standard`, "cells_clean"
of the same under `none` (the model alone). What was not asked for, or has no pictures, is absent.
"""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cleanplate.evaluation.baselines import LEAST_FRAMES, NAMES, MeanDepth, subtractor_masks
from cleanplate.evaluation.cells import CellScenes, find_cells, training_pictures
from cleanplate.evaluation.measure import Methods, Model, Tick, measure
from cleanplate.evaluation.parts import FrameSums, cell_part, mean_part, scene_part
from cleanplate.evaluation.table import score_table
from cleanplate.measures.metrics import mask_counts
from cleanplate.pictures.library import Library, open_library, sample_folder
from cleanplate.pictures.pairs import Pair, PairPixels, open_pairs, read_pair
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

SCENE_SIZE = 224
"""Side of composed scenes, pixels, whatever the run trained at, so that all runs are judged on the same scenes."""

MIN_SIZE = 16
"""Smallest side of composed scenes, pixels: under 11 there is no window for SSIM."""


def evaluate(
    *,
    model: Path,
    pairs: Path | None = None,
    plates: Sequence[Path] = (),
    cutouts: Sequence[Path] = (),
    cells: bool = False,
    scenes: int = 200,
    size: int = SCENE_SIZE,
    plate_depth: bool = False,
    baselines: bool = True,
    json: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate a model as the command line says (see `cli.Evaluate` for each argument); print a table, write the JSON.

    Returns what the JSON holds. Raises InputError for folders that don't fit.
    """
    from cleanplate.inference.predictor import load

    with_cells = bool(cells or plates or cutouts or pairs is None)
    if size < MIN_SIZE:
        raise InputError(f"scenes of {size} px are too small to judge: give --size {MIN_SIZE} or more")
    predictor = load(model)
    config = predictor.meta["config"]
    run = {kind: [Path(folder) for folder in config.get(kind) or ()] for kind in ("plates", "cutouts")}
    result: dict[str, Any] = {}
    mean_depth = _mean_depth(predictor, run["plates"]) if baselines else None
    options: dict[str, Any] = {
        "seed": seed,
        "plate_depth": plate_depth,
        "baselines": baselines,
        "mean_depth": mean_depth,
    }
    with _progress() as options["progress"]:
        if pairs is not None:
            folder = sample_folder() / "pairs" if str(pairs) == "sample" and not pairs.exists() else pairs
            _merge(result, measure_pairs(predictor, folder, **options))
        if with_cells:
            opened = [
                open_library(list(given) or run[kind], kind)
                for kind, given in (("plates", plates), ("cutouts", cutouts))
            ]
            composed: dict[str, Any] = {"scenes": scenes, "size": size}
            _merge(result, measure_cells(predictor, *opened, **composed, **options))
    if "baselines" in result:
        result["baselines"] = {name: result["baselines"][name] for name in NAMES if name in result["baselines"]}
    # The table comes first: it is all that is left of the work where the file cannot be written.
    Console(stderr=str(json) == "-").print(*score_table(result, model.resolve().name), sep="\n")
    _write(result, json)
    return result


def measure_cells(
    model: Model,
    plates: Library,
    cutouts: Library,
    *,
    scenes: int = 200,
    size: int = SCENE_SIZE,
    seed: int = 0,
    plate_depth: bool = False,
    baselines: bool = True,
    mean_depth: MeanDepth | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The cells that these pictures fill: {"cells", "cells_clean", "baselines"}, the last only if asked for.

    scenes: per cell. size: side of the scenes, pixels. Raises InputError when no picture is unseen.
    """
    result: dict[str, Any] = {"cells": {}, "cells_clean": {}}
    found = find_cells(model.meta, plates, cutouts)
    for key, effects, compared in (("cells", "standard", baselines), ("cells_clean", "none", False)):
        for cell in found:
            composed = CellScenes(cell, effects, scenes, size, seed)
            methods = Methods(model, plate_depth, compared, mean_depth, cell.metric)
            label = f"{cell.name.replace('_', ' plates, ')} cutouts" + ("" if key == "cells" else ", no effects")
            with _task(progress, label, len(composed)) as tick:
                sums = measure(composed, [str(i) for i in range(len(composed))], methods, tick)
            pictures = composed.pictures()
            for name, frames in sums.items():
                where = result if name == "model" else _baseline(result, name)
                where.setdefault(key, {})[cell.name] = cell_part(frames, *pictures, seed)
    return result


def measure_pairs(
    model: Model,
    folder: Path,
    *,
    seed: int = 0,
    plate_depth: bool = False,
    baselines: bool = True,
    mean_depth: MeanDepth | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The captured scenes below a folder: {"scenes", "mean", "baselines"}, the last only if asked for.

    Raises InputError when there are no pairs, a scene has no mask at all, or sizes within a pair differ.
    """
    pairs = open_pairs(folder)
    scenes: dict[str, list[Pair]] = {}
    for pair in pairs:
        scenes.setdefault(pair.scene, []).append(pair)
    for scene, members in scenes.items():
        if not any(pair.mask_path for pair in members):
            raise InputError(
                f"{folder / scene}: none of its {len(members)} frames has a mask, so there is nothing to judge by; "
                "give masks/NAME.png (0 = background, 255 = foreground, 128 = not judged) for frames/NAME.png"
            )
    methods = Methods(model, plate_depth, baselines, mean_depth)
    with _task(progress, "captured pairs", len(pairs)) as tick:
        sums = measure(Captured(pairs), [pair.scene for pair in pairs], methods, tick)
    by_method = {name: _by_scene(frames, pairs) for name, frames in sums.items()}
    if baselines:
        by_method |= _sequences(scenes)
    result: dict[str, Any] = {}
    for name, by_scene in by_method.items():
        where = result if name == "model" else _baseline(result, name)
        where["scenes"] = {scene: scene_part(frames, seed) for scene, frames in by_scene.items()}
        where["mean"] = mean_part(list(by_scene.values()), seed)
    return result


class Captured:
    """Pairs on disk, read when asked for."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, i: int) -> PairPixels:
        return read_pair(self._pairs[i])


def _sequences(scenes: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, list[FrameSums]]]:
    """The subtractors' sums, by method and scene, for the scenes long enough to be a sequence."""
    found: dict[str, dict[str, list[FrameSums]]] = {}
    for name in ("mog2", "knn"):
        for scene, pairs in scenes.items():
            if len(pairs) < LEAST_FRAMES:
                continue
            plate = read_pair(pairs[0]).plate
            masks = subtractor_masks(name, plate, (read_pair(pair).frame for pair in pairs))
            truths = (read_pair(pair) for pair in pairs)
            found.setdefault(name, {})[scene] = [
                FrameSums() if given.alpha is None else FrameSums(mask_counts(mask, given.alpha, given.judged))
                for mask, given in zip(masks, truths, strict=True)
            ]
    return found


def _by_scene(frames: Sequence[FrameSums], pairs: Sequence[Pair]) -> dict[str, list[FrameSums]]:
    grouped: dict[str, list[FrameSums]] = {}
    for one, pair in zip(frames, pairs, strict=True):
        grouped.setdefault(pair.scene, []).append(one)
    return grouped


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
    """Add what was measured to the result; baselines one by one."""
    for name, parts in more.get("baselines", {}).items():
        _baseline(result, name).update(parts)
    result.update({key: value for key, value in more.items() if key != "baselines"})


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
