"""Write docs/model.md, the card of the packaged model, from what was measured of it.

    python tools/model_card.py [--settings tools/model_card.toml] [--out docs/model.md] [--commands]

The settings list the evaluations: a title, the arguments of `cleanplate evaluate`, the JSON file that it writes, and
which part of it to show. --commands prints these commands instead (for a shell); then run this again. Everything else
comes from card.json beside the model (tools/release.py). A file that is not there is told as not measured.

The failure pictures are the model's worst pairs of a folder whose pictures may be shown, by IoU.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.evaluation.captured import open_scenes
from cleanplate.inference.predictor import load
from cleanplate.network import checkpoint
from cleanplate.pictures.draw import Tile, grey, sheet
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.library import sample_folder
from cleanplate.pictures.pairs import read_pair
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import Alpha, InputError, to_pixels
from release import source_name

ROOT = Path(__file__).parents[1]
SHOWABLE = ("rooms", "sample")
"""Sources whose pictures may be shown in documents."""
COLUMNS = {
    "IoU": ("mask", "iou"),
    "IoU, objects > 1 %, pooled": ("mask", "iou_pooled"),
    "F1": ("mask", "f1"),
    "boundary F": ("mask", "boundary_f"),
    "false alarms": ("mask", "false_alarm"),
    "delta1, aligned": ("aligned", "delta1"),
    "rmse/std, aligned": ("aligned", "rmse_over_std"),
    "delta1 in front": ("foreground", "delta1"),
    "AbsRel in front": ("foreground", "abs_rel"),
    "depth edges F1": ("edges", "f1"),
}
"""Heading: group and metric of an evaluation's part. Columns that nobody has a value in are left out."""

PAGE = """# The released model

*Written by `tools/model_card.py` from the model and the evaluations below; not by hand.*

```sh
cleanplate predict --plate plate.jpg clip.mp4
```

uses it: `--model released` is the default of `predict` and `evaluate`. From Python it is `cleanplate.load()`.

| | |
|---|---|
{facts}

Everything here that is a figure of the model itself is also in `card.json` beside it, for programs.

## What it learned from

Trained from scratch, by us, on pictures that weights may be made of. None of them is part of the model; it keeps
their fingerprints, so that `cleanplate evaluate` never takes one of them for new.

{data}

The authors of every 3-D model in the rendered rooms, with their licences (CC0 and
[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/)), are in `ATTRIBUTION.csv` beside the model; the licences'
texts are in the packaged sample, `cleanplate/pictures/sample/LICENSES/`. Scenes were composed of these pictures as
[Scenes](scenes.md) tells, with camera effects on every one.

## Evaluations

Nothing here trained the model or chose its weights; the limits of plate care were set by looking at the rendered pairs.
Where an interval stands, it covers 95 %. *False alarms* is the share of pixels
called foreground in frames that show none; depth *in front* is judged inside the true mask, in metres; *best* is the
fixed threshold that is best on the very data it is judged on. [Evaluation](evaluation.md) defines every score.

{evaluations}

## Where it fails

{failures}

## Intended use

{uses}

Not for:

{not_for}

## Limits

{limits}

## Your own pictures

```sh
cleanplate train --from released --plates my/plates --cutouts my/cutouts --out runs/mine --minutes 3
```

starts from these weights: see [Your own pictures](guide.md#continue-or-start-from-another-run).
"""


def write_card(settings_file: Path, out: Path) -> None:
    """Write the card and, beside it, images/failures.jpg. Raises InputError: no packaged model or card."""
    path = checkpoint.find(Path(checkpoint.RELEASED))
    card = json.loads(path.with_name("card.json").read_text())
    settings = tomllib.loads(settings_file.read_text())
    picture = out.parent / "images" / "failures.jpg"
    page = PAGE.format(
        facts="\n".join(f"| {name} | {value} |" for name, value in facts(card, settings)),
        data=data_table(card["data"]),
        evaluations="\n\n".join(evaluation(entry) for entry in settings["evaluation"]),
        failures=failures(settings["failures"], picture),
        **{name: "\n".join(f"- {line}" for line in settings[name]) for name in ("uses", "not_for", "limits")},
    )
    write_atomically(out, page.encode())


def facts(card: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The first table's rows."""
    network, training, precision = card["network"], card["training"], card["precision"]
    yield "file", f"`cleanplate/released/model.safetensors`, {card['bytes'] / 1e6:.2f} MB, SHA-256 `{card['sha256']}`"
    yield "licence", card["licence"]
    said = f"{network['parameters']:,} parameters, {network['gflop_256']} GFLOP per pair of 256 px"
    yield "network", f"[`{network['name']}`](network.md), {said}"
    yield "answers", "alpha 0..1" + {"none": ""}.get(card["depth"], f" and depth, {card['depth']}")
    change = precision["largest_change"]
    yield (
        "stored",
        (f"{precision['stored']}: alpha moves by at most {change['alpha']:.1g}, ln depth by {change['ln_depth']:.1g}"),
    )
    budget = f"{training['samples']:,} scenes, {training['steps']:,} steps, {training['hours']:g} h"
    yield "budget", f"{budget} on {settings['machine']}"
    sizes = training["settings"].get("sizes") or [training["size"]]
    yield "scenes", f"{', '.join(map(str, dict.fromkeys(sizes)))} px, effects `{training['settings']['effects']}`"
    yield "made by", f"cleanplate {training['version']}"


def data_table(sources: Sequence[Mapping[str, Any]]) -> str:
    """What trained, with licences."""
    lines = ["| pictures | trained + validated | licence | from |", "|---|---|---|---|"]
    for source in sources:
        counts = "; ".join(
            f"{parts['train']:,} + {parts['validation']:,} {kind}" for kind, parts in source["pictures"].items()
        )
        lines.append(f"| {source['what']} | {counts} | {source['licence']} | {source['origin']} |")
    return "\n".join(lines)


def command(entry: Mapping[str, str]) -> str:
    """What writes an evaluation's file."""
    return f"cleanplate evaluate {entry['arguments']} --json {entry['file']}"


def evaluation(entry: Mapping[str, str]) -> str:
    """One evaluation: the command, and the model beside the baselines."""
    head = f"### {entry['title']}\n\n```sh\n{command(entry)}\n```\n\n"
    path = ROOT / entry["file"]
    if not path.is_file():
        return f"{head}Not measured yet."
    result = json.loads(path.read_text())
    rows = {"**released**": part(result, entry["part"])}
    for name, scores in result.get("baselines", {}).items():
        rows[name.replace("_", " ")] = part(scores, entry["part"])
    return head + scores_table({name: row for name, row in rows.items() if row is not None})


def part(result: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """The part of an evaluation at "mean" or "cells.CELL"; None where it was not measured."""
    found: Any = result
    for key in where.split("."):
        found = None if found is None else found.get(key)
    return found


def scores_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per method; the model's IoU and F1 with their intervals."""
    cells = {name: [score(row, *column) for column in COLUMNS.values()] for name, row in rows.items()}
    kept = [i for i in range(len(COLUMNS)) if any(values[i] for values in cells.values())]
    headings = [list(COLUMNS)[i] for i in kept]
    lines = ["| | " + " | ".join(headings) + " |", "|---|" + "---|" * len(kept)]
    lines += [f"| {name} | " + " | ".join(values[i] for i in kept) + " |" for name, values in cells.items()]
    return "\n".join(lines)


def score(row: Mapping[str, Any], group: str, metric: str) -> str:
    """A score as text, with its interval if it is the IoU or F1; nothing where there is none."""
    scores = row["mask"] if group == "mask" else (row.get("depth") or {}).get(group)
    value = (scores or {}).get(metric)
    if value is None:
        return ""
    interval = row.get("intervals", {}).get(metric) if group == "mask" and metric in ("iou", "f1") else None
    text = f"{100 * value:.3f} %" if metric == "false_alarm" else f"{value:.3f}"
    return text if interval is None else f"{text} ({interval[0]:.3f}-{interval[1]:.3f})"


def failures(settings: Mapping[str, Any], picture: Path) -> str:
    """Draw the worst pairs and say what they are. Raises InputError for pictures that may not be shown."""
    folder = sample_folder() / "pairs" if settings["pairs"] == "sample" else Path(settings["pairs"])
    if source_name(folder) not in SHOWABLE:
        raise InputError(f"{folder}: pictures of {source_name(folder)} are not shown in documents; give rendered pairs")
    model = load(checkpoint.RELEASED)
    scenes, _ = open_scenes(folder, [model.meta])
    found: list[tuple[float, str, list[Tile]]] = []
    for pair in (pair for pairs in scenes.values() for pair in pairs):
        given = read_pair(pair)
        if given.alpha is None:
            continue
        alpha = model.predict(given.plate, given.frame).alpha
        tiles: list[Tile] = [as_pixels(given.plate), as_pixels(given.frame), grey(given.alpha), grey(alpha)]
        found.append((overlap(alpha, given.alpha), pair.scene, tiles))
    worst = sorted(found, key=lambda one: one[:2])[: settings["count"]]
    labels = [f"{scene}: {iou:.2f}" for iou, scene, _ in worst]
    told = f"The {len(worst)} worst of {len(found)} rendered pairs that never trained, by IoU ({', '.join(labels)})"
    drawn = sheet([tiles for _, _, tiles in worst], labels, ["plate", "frame", "truth", "released"], tile=200)
    write_image(picture, np.asarray(drawn))
    return (
        f"![{told}](images/{picture.name})\n\n{told}; where nothing stands in front, 1 - the share called foreground."
    )


def as_pixels(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of a picture in either form."""
    return picture if picture.dtype == np.uint8 else to_pixels(picture)


def overlap(alpha: Alpha, truth: Alpha) -> float:
    """IoU of the masks; of a frame with nothing in front, 1 - the share called foreground."""
    mask, true = alpha >= 0.5, truth >= 0.5
    return float((mask & true).sum() / (mask | true).sum()) if true.any() else 1 - float(mask.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "model.md")
    parser.add_argument("--commands", action="store_true", help="print the commands that measure, and stop")
    given = parser.parse_args()
    if given.commands:
        print(*(command(entry) for entry in tomllib.loads(given.settings.read_text())["evaluation"]), sep="\n")
        return
    write_card(given.settings, given.out)
    print(given.out)


if __name__ == "__main__":
    main()
