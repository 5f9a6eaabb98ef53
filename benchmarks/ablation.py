"""What each family of the training's camera effects is worth: leave it out, and see what is lost.

    python benchmarks/ablation.py --plates DIR --cutouts DIR --pairs DIR --samples 7000 --out runs/ablation

For every seed a network is trained with all families, without each of them, and without any effects, on the same number
of scenes of the same pictures: a seed makes the split, the scenes and the first weights, and what is left out changes
nothing about the other families. So differences are paired: within a seed nothing but the family differs.

All are judged without plate care, which would hide what was not learned: on captured or rendered pairs, none of which
train here (--pairs, and --empty for frames that show nothing), and on composed scenes of the validation's pictures
under `standard` effects. The lanes are processes of one thread each.

What is measured is kept in OUT/results.json and not measured again, and a training goes on where it was stopped: the
same command may be killed and given again. The table is OUT/ablation.md, all figures are in OUT/ablation.json; both
hold those seeds of which every run is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, get_args

from cleanplate.engine.engine import Engine, run_actors
from cleanplate.pictures.writing import write_atomically
from cleanplate.settings import EffectKind, TrainSettings
from cleanplate.types import InputError

if TYPE_CHECKING:
    from cleanplate.inference.predictor import Predictor
    from cleanplate.measures.metrics import MaskCounts
    from cleanplate.pictures.pairs import PairPixels

ALL, NONE = "all on", "none"
FAMILIES: tuple[EffectKind, ...] = get_args(EffectKind)
MEASURES = {
    "pairs_f1": "pairs: F1",
    "pairs_iou": "pairs: IoU",
    "pairs_false_alarm": "pairs: false alarms",
    "empty_false_alarm": "empty frames: false alarms",
    "composed_iou": "composed: IoU",
}
"""What is measured of every run, as the results and the table call it; "empty" only with --empty."""
Key = tuple[str, int]
"""What is left out (a family, ALL or NONE), and the seed."""
Scores = dict[str, float | None]
Runs = dict[str, Scores]
"""By "NAME #SEED"."""


@dataclass(frozen=True)
class Work:
    """What is trained and how it is judged. scenes: composed ones. judged_at: as `main` says, pixels."""

    plates: tuple[Path, ...]
    cutouts: tuple[Path, ...]
    settings: TrainSettings
    pairs: Path
    empty: Path | None
    scenes: int
    judged_at: int
    out: Path

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """What the figures depend on, JSON-able: "training" and "judging"."""
        s = self.settings
        given = (("plates", self.plates), ("cutouts", self.cutouts))
        folders = {name: [str(path.resolve()) for path in paths] for name, paths in given}
        judges = {name: str(path.resolve()) for name, path in self.judges().items()}
        return {
            "training": folders | {"samples": s.samples, "size": s.size, "batch": s.batch},
            "judging": judges | {"scenes": self.scenes, "judged_at": self.judged_at},
        }

    def judges(self) -> dict[str, Path]:
        """The folders of pairs that judge, by the name their scores begin with."""
        return {"pairs": self.pairs} | ({} if self.empty is None else {"empty": self.empty})

    def settings_of(self, key: Key) -> TrainSettings:
        """What one run trains."""
        name, seed = key
        left_out = tuple(family for family in FAMILIES if family == name)
        return replace(self.settings, seed=seed, effects="none" if name == NONE else "train", without=left_out)


class Lane:
    """What one process does: train a run to its end, then measure it. What judges is read once and kept."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.captured = {name: _captured(folder) for name, folder in work.judges().items()}
        self.composed: tuple[int, list[PairPixels]] | None = None

    def __call__(self, key: Key) -> Scores:
        from cleanplate.inference.predictor import load
        from cleanplate.training.loop import train

        began, folder = time.monotonic(), self.work.out / "-".join(map(str, key)).replace(" ", "-")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".log").open("a") as log, redirect_stderr(log):  # lanes would write across each other
            train(folder, self.work.plates, self.work.cutouts, self.work.settings_of(key))
        trained = time.monotonic()
        # The last checkpoint, not the best: all are judged after equally many samples.
        model = load(folder / "last.safetensors", care=False, working_side=self.work.judged_at)
        model.meta = {**model.meta, "depth": "none"}  # masks alone are judged: no second look for the depth
        scores = self._judged(model, key[1])
        return scores | {"seconds": trained - began, "judging_seconds": time.monotonic() - trained}

    def _judged(self, model: Predictor, seed: int) -> Scores:
        from cleanplate.measures.metrics import mask_scores

        scores: Scores = {}
        for name, scenes in self.captured.items():
            # As `cleanplate evaluate` counts: the frames of a scene together, then the mean of the scenes.
            found = [mask_scores(sum(counts[1:], counts[0])) for counts in (_counts(model, s) for s in scenes)]
            scores |= {f"{name}_{m}": _mean([float(one[m]) for one in found]) for m in ("f1", "iou", "false_alarm")}
        if self.composed is None or self.composed[0] != seed:  # a seed's runs share their split
            self.composed = seed, _composed(self.work, model)
        found = [mask_scores(counts) for counts in _counts(model, self.composed[1])]
        return scores | {f"composed_{m}": _mean([float(one[m]) for one in found]) for m in ("f1", "iou", "false_alarm")}


def _captured(folder: Path) -> list[list[PairPixels]]:
    """The frames of each scene below a folder, without depth: masks alone are judged."""
    from cleanplate.evaluation.captured import open_scenes
    from cleanplate.pictures.pairs import read_pair

    scenes, _ = open_scenes(folder, [])
    return [[replace(read_pair(pair), depth=None, plate_depth=None) for pair in pairs] for pairs in scenes.values()]


def _composed(work: Work, model: Predictor) -> list[PairPixels]:
    """Composed scenes of the pictures that validated this model."""
    from cleanplate.evaluation.cells import CellScenes, find_cells
    from cleanplate.pictures.library import open_library

    libraries = open_library(work.plates, "plates"), open_library(work.cutouts, "cutouts")
    cells = find_cells([model.meta], *libraries, part="validation")
    cell = next(cell for cell in cells if cell.name == "unseen_unseen")
    scenes = CellScenes(cell, "standard", work.scenes, work.judged_at, 0)
    return [scenes[i] for i in range(len(scenes))]


def _counts(model: Predictor, pairs: list[PairPixels]) -> list[MaskCounts]:
    from cleanplate.measures.metrics import mask_counts

    return [
        mask_counts(model.predict(pair.plate, pair.frame).alpha, pair.alpha, pair.judged)
        for pair in pairs
        if pair.alpha is not None
    ]


def _mean(values: list[float]) -> float | None:
    """Of the scenes in which it is defined."""
    known = [value for value in values if value == value]
    return mean(known) if known else None


def kept(work: Work) -> Runs:
    """What OUT/results.json holds of this very work. Raises InputError: other trainings are there."""
    path = work.out / "results.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    there, asked = content["training"], work.facts["training"]
    differ = [f"{name} is {there[name]!r} there, {asked[name]!r} now" for name in asked if there[name] != asked[name]]
    if differ:
        raise InputError(f"{work.out} holds another ablation: {'; '.join(differ)}; give another --out")
    return content["runs"] if content["judging"] == work.facts["judging"] else {}  # judge anew what is trained


def run(work: Work, names: tuple[str, ...], seeds: int, lanes: int) -> Runs:
    """Train and measure what is not there yet; every result is kept, and the table written anew, as soon as it is."""
    runs = kept(work)
    keys = [(name, seed) for seed in range(seeds) for name in names]
    left = [key for key in keys if _label(key) not in runs]
    began = time.monotonic()
    for done, (key, scores) in enumerate(run_actors(Lane, work, left, Engine(workers=lanes)), 1):
        runs[_label(key)] = scores
        write_atomically(work.out / "results.json", json.dumps(work.facts | {"runs": runs}, indent=1).encode())
        write_table(work, runs, names, seeds)
        minutes = (time.monotonic() - began) / 60
        spent = f"{scores['seconds']:.0f} + {scores['judging_seconds']:.0f} s"
        togo = f"about {minutes / done * (len(left) - done):.0f} minutes left"
        print(f"{len(keys) - len(left) + done} of {len(keys)}: {_label(key)}: {spent}; {togo}", file=sys.stderr)
    return runs


def _label(key: Key) -> str:
    return f"{key[0]} #{key[1]}"


def summarised(runs: Runs, names: tuple[str, ...], seeds: int) -> list[dict[str, Any]]:
    """One row per name: of each measure the mean over the whole seeds, and the paired difference to ALL.

    ALL comes first, then the families, those first whose loss costs most F1 on pairs, then NONE.
    """
    whole = [seed for seed in range(seeds) if all(_label((name, seed)) in runs for name in names)]
    rows = [{"name": name, "seeds": len(whole)} | _row(runs, name, whole) for name in names] if whole else []

    def place(row: dict[str, Any]) -> tuple[int, float]:
        measure = row.get("pairs_f1")
        return (0 if row["name"] == ALL else 2 if row["name"] == NONE else 1, measure["difference"] if measure else 0)

    return sorted(rows, key=place)


def _row(runs: Runs, name: str, seeds: list[int]) -> dict[str, Any]:
    row = {}
    for measure in MEASURES:
        values = [(runs[_label((name, s))].get(measure), runs[_label((ALL, s))].get(measure)) for s in seeds]
        known = [(mine, base) for mine, base in values if mine is not None and base is not None]
        if len(known) == len(seeds):
            changes = [mine - base for mine, base in known]
            row[measure] = {
                "mean": mean(mine for mine, _ in known),
                "difference": mean(changes),
                "least": min(changes),
                "most": max(changes),
            }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: means, and in brackets the difference to ALL with its least and its most over the seeds."""
    shown = {measure: title for measure, title in MEASURES.items() if any(measure in row for row in rows)}
    lines = ["| | " + " | ".join(shown.values()) + " |", "|---" * (1 + len(shown)) + "|"]
    for row in rows:
        title = row["name"] if row["name"] in (ALL, NONE) else f"without `{row['name']}`"
        cells = [_cell(row.get(measure), measure, row["name"] == ALL) for measure in shown]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, float] | None, measure: str, base: bool) -> str:
    if found is None:
        return ""
    percent = measure.endswith("false_alarm")
    value = f"{found['mean']:.2%}".replace("%", " %") if percent else f"{found['mean']:.3f}"
    if base:
        return value
    change, least, most = (
        f"{100 * found[name]:+.2f}" if percent else f"{found[name]:+.3f}" for name in ("difference", "least", "most")
    )
    return f"{value} ({change})" if least == most else f"{value} ({change}: {least} to {most})"


def write_table(work: Work, runs: Runs, names: tuple[str, ...], seeds: int) -> None:
    """OUT/ablation.md and OUT/ablation.json, once a seed is whole."""
    rows = summarised(runs, names, seeds)
    if rows:
        write_atomically(work.out / "ablation.md", table(rows).encode())
        content = {**work.facts, "rows": rows, "runs": runs}
        write_atomically(work.out / "ablation.json", (json.dumps(content, indent=1) + "\n").encode())


def main() -> None:
    """Train and measure what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plates", nargs="+", type=Path, default=[], help="folders; none = the sample")
    parser.add_argument("--cutouts", nargs="+", type=Path, default=[], help="folders; none = the sample")
    parser.add_argument("--pairs", type=Path, required=True, help="captured or rendered pairs that judge")
    parser.add_argument("--empty", type=Path, help="more pairs, for the false alarms in their empty frames")
    parser.add_argument("--samples", type=int, required=True, help="scenes that every run is trained on")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=64, help="side of the training scenes, pixels")
    parser.add_argument("--batch", type=int, default=TrainSettings().batch)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES, help="those to leave out, in turn")
    parser.add_argument("--lanes", type=int, default=2, help="processes that train at the same time; 0 = this one")
    parser.add_argument("--scenes", type=int, default=100, help="composed scenes that judge")
    parser.add_argument("--judged-at", type=int, default=128, help="their side, and the longer side of pairs, pixels")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    given = parser.parse_args()
    # Validation at the beginning and the end alone, and on few scenes: nothing is chosen by it.
    settings = TrainSettings(workers=0, validation_scenes=32, validate_every=given.samples)
    settings = replace(settings, **{name: getattr(given, name) for name in ("samples", "size", "batch")})
    folders = tuple(given.plates), tuple(given.cutouts)
    work = Work(*folders, settings, given.pairs, given.empty, given.scenes, given.judged_at, given.out)
    names = (ALL, *given.families, NONE)
    try:
        runs = run(work, names, given.seeds, given.lanes)
        write_table(work, runs, names, given.seeds)  # of fewer families than last time, perhaps
    except InputError as error:
        sys.exit(f"ablation: error: {error}")
    print(table(summarised(runs, names, given.seeds)), end="")


if __name__ == "__main__":
    main()
