"""Fine-tuning beside training from scratch: the same pictures, the same number of samples, judged on the same scenes.

    python benchmarks/finetune.py --plates MINE --cutouts MINE --minutes 3 [--from released] [--json FILE]

For each seed, which also makes the split: `--from` at its default learning rate (or at each of --rates), training from
scratch, and the first model as it is. --minutes times the first run (--samples instead says how many); all others get
its number of samples, so a busy machine favours none. Every row is judged on composed scenes of the test pictures,
which neither the runs nor the first model saw in training, under the effects `standard`; with --pairs also on captured
pairs, to see what is forgotten.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from cleanplate.evaluation.bench import machine
from cleanplate.evaluation.cells import find_cells
from cleanplate.evaluation.evaluate import Judging, measure_cells, measure_pairs
from cleanplate.inference.predictor import Predictor, load
from cleanplate.network.checkpoint import RELEASED, find, read_tensors
from cleanplate.network.fingerprints import joined, unpack
from cleanplate.pictures.library import open_library
from cleanplate.pictures.writing import write_atomically
from cleanplate.settings import FINE_TUNING, FROM_SCRATCH, TrainSettings
from cleanplate.training.loop import train
from cleanplate.training.material import sort_pictures
from cleanplate.types import InputError

Row = dict[str, Any]
PLAIN = Judging(baselines=False)


@dataclass(frozen=True)
class Work:
    """What is compared. rates: learning rates of the fine-tuning. scenes: composed scenes that judge."""

    plates: tuple[Path, ...]
    cutouts: tuple[Path, ...]
    start: Path
    rates: tuple[float, ...]
    settings: TrainSettings
    pairs: Path | None
    scenes: int
    judged_at: int


def compare(work: Work, seeds: Sequence[int], into: Path) -> list[Row]:
    """One row per way of training and seed. Raises InputError as training and evaluating do: at once where the first
    model has seen every picture that could judge.
    """
    rows, settings = [], work.settings
    libraries = open_library(work.plates, "plates"), open_library(work.cutouts, "cutouts")
    before = read_tensors(find(work.start))[1]["pictures"]
    for seed in seeds:  # said before the hours of training
        find_cells([{"pictures": joined(sort_pictures(*libraries, seed).pictures, unpack(before))}], *libraries)
    for seed in seeds:
        runs: dict[str, Path] = {}
        for name, start, rate in ways(work):
            given = replace(settings, seed=seed, optimizer=replace(settings.optimizer, learning_rate=rate))
            runs[name] = train(into / f"{seed}-{len(runs)}", work.plates, work.cutouts, given, start=start)
            # What the first run managed in its minutes is everybody's budget.
            settings = replace(settings, minutes=None, samples=_samples(runs[name]))
        seen = load(next(iter(runs.values()))).meta["pictures"]  # its own and those that the first model saw
        for name, path in {"as it is": find(work.start), **runs}.items():
            samples = _samples(path) if name in runs else 0
            rows.append({"way": name, "seed": seed, "samples": samples, **judge(work, path, seen)})
    return rows


def ways(work: Work) -> Iterator[tuple[str, Path | None, float]]:
    """Name (with the learning rate), first weights, learning rate."""
    for rate in work.rates:
        yield f"fine-tuned, {rate:g}", work.start, rate
    yield f"scratch, {FROM_SCRATCH:g}", None, FROM_SCRATCH


def judge(work: Work, path: Path, seen: dict[str, Any]) -> Row:
    """The scores of one model on the scenes of all: `seen` says which pictures may not judge."""
    model = load(path)
    model.meta = {**model.meta, "pictures": seen}
    libraries = open_library(work.plates, "plates"), open_library(work.cutouts, "cutouts")
    cells = measure_cells(model, *libraries, scenes=work.scenes, size=work.judged_at, judging=PLAIN)["cells"]
    row = {f"new {key}": value for key, value in _scores(cells["unseen_unseen"], model).items()}
    if work.pairs is not None:
        found = measure_pairs(model, work.pairs, PLAIN)["mean"]
        row |= {f"pairs {key}": value for key, value in _scores(found, model).items()}
    return row


def _scores(part: dict[str, Any], model: Predictor) -> Row:
    mask, depth = part["mask"], (part.get("depth") or {}).get("aligned") or {}
    known = {} if model.depth_kind == "none" or not depth else {"delta1": depth["delta1"]}
    return {"IoU": mask["iou"], "F1": mask["f1"], "alarms": mask["false_alarm"], **known}


def _samples(best: Path) -> int:
    """Of the whole run, of which `best` is a checkpoint on the way."""
    return read_tensors(best.with_name("last.safetensors"))[1]["samples"]


def averaged(rows: Sequence[Row]) -> list[Row]:
    """One row per way: the mean over the seeds; what a seed could not measure counts for none of them."""
    found = []
    for way in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == way]
        keys = [key for key in mine[0] if key not in ("way", "seed")]
        found.append({"way": way} | {key: _mean([row.get(key) for row in mine]) for key in keys})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def table(rows: Sequence[Row]) -> Table:
    """A line per way, a column per score."""
    shown = Table(title="fine-tuning beside training from scratch", title_justify="left")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    for key in keys:
        shown.add_column("" if key == "way" else key, justify="left" if key == "way" else "right")
    for row in rows:
        shown.add_row(*(_text(key, row.get(key)) for key in keys))
    return shown


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    return value if key == "way" else f"{value:,.0f}" if key == "samples" else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plates", nargs="+", type=Path, default=[], help="folders; none = the sample")
    parser.add_argument("--cutouts", nargs="+", type=Path, default=[], help="folders; none = the sample")
    parser.add_argument("--from", dest="start", type=Path, default=Path(RELEASED), help="the first weights")
    parser.add_argument("--rates", nargs="+", type=float, default=[FINE_TUNING], help="learning rates of fine-tuning")
    parser.add_argument("--minutes", type=float, help="budget of the first run, whose samples the others get")
    parser.add_argument("--samples", type=int, help="budget instead of --minutes")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=TrainSettings().size, help="side of the training scenes, pixels")
    parser.add_argument("--batch", type=int, default=TrainSettings().batch)
    parser.add_argument("--workers", type=int, default=TrainSettings().workers)
    parser.add_argument("--validation-scenes", type=int, default=TrainSettings().validation_scenes)
    parser.add_argument("--pairs", type=Path, help="captured pairs that judge as well")
    parser.add_argument("--scenes", type=int, default=200, help="composed scenes that judge")
    parser.add_argument("--judged-at", type=int, default=224, help="their side, pixels")
    parser.add_argument("--json", type=Path, help="write all rows here")
    given = parser.parse_args()
    if (given.minutes is None) == (given.samples is None):
        raise InputError("give one budget: --minutes or --samples")
    names = ("size", "batch", "minutes", "samples", "workers", "validation_scenes")
    settings = TrainSettings(**{name: getattr(given, name) for name in names})
    pictures = tuple(given.plates), tuple(given.cutouts)
    judged = given.pairs, given.scenes, given.judged_at
    with tempfile.TemporaryDirectory() as folder:
        work = Work(*pictures, given.start, tuple(given.rates), settings, *judged)
        rows = compare(work, range(given.seeds), Path(folder))
    if given.json is not None:
        content = {"machine": machine(), "work": {**vars(given)}, "rows": rows}
        write_atomically(given.json, (json.dumps(content, indent=1, default=str) + "\n").encode())
    Console().print(table(averaged(rows)))


if __name__ == "__main__":
    main()
