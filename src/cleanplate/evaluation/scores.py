"""An evaluation's scores as HTML: the cards on top, the tables of cells and baselines, the scenes that went worst.

A score is a number of a PART ({"mask": {...}, "depth": {"aligned": {...}, "metric": ..., "foreground": {...}},
"intervals": {...}}), found by its path: "mask.iou", "depth.aligned.delta1". What is null or absent shows as a dash; a
column that no row fills is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cleanplate.evaluation.chart import short

Part = Mapping[str, Any]

COLUMNS = {
    "mask.iou": ("IoU", True),
    "mask.iou_pooled": ("IoU, pooled", True),
    "mask.f1": ("F1", True),
    "mask.precision": ("precision", True),
    "mask.recall": ("recall", True),
    "mask.boundary_f": ("boundary F", True),
    "mask.mae": ("MAE", False),
    "mask.false_alarm": ("false alarms", False),
    "depth.aligned.delta1": ("depth δ<1.25", True),
    "depth.aligned.abs_rel": ("depth AbsRel", False),
    "depth.metric.delta1": ("metric δ<1.25", True),
    "depth.foreground.delta1": ("δ<1.25 in front", True),
    "depth.foreground.abs_rel": ("AbsRel in front", False),
    "depth.edges.f1": ("depth edges F1", True),
}
"""Path of a score: its heading, and whether more is better."""

CELLS = {
    "seen_seen": "plates and cutouts of the training",
    "seen_unseen": "new cutouts",
    "unseen_seen": "new plates",
    "unseen_unseen": "new plates and new cutouts",
}
MOST_WORST = 10
NOTE = (
    "Small figures: 95 % intervals. Pooled: all frames together, foregrounds over 1 % of the picture. Difference best "
    "has the threshold that is best on these very scenes. Plate depth is the plate's true depth, which the model is "
    "not given unless it was asked for."
)


def score(part: Part | None, path: str) -> float | None:
    """The number at "mask.iou" and the like; None where it is null or absent."""
    value: Any = part
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def interval(part: Part | None, path: str) -> tuple[float, float] | None:
    """The interval of a score; None where none was estimated. The mask's and the aligned depth's go by bare names."""
    name = path.removeprefix("mask.").removeprefix("depth.").removeprefix("aligned.")
    found = ((part or {}).get("intervals") or {}).get(name)
    return (float(found[0]), float(found[1])) if found and None not in found else None


def score_table(model: Part | None, baselines: Mapping[str, Part | None]) -> str:
    """The model beside the baselines, on the same scenes. The best of a column is coloured."""
    rows: dict[str, Part | None] = {"this model": model, **baselines}
    columns = [path for path in COLUMNS if any(score(part, path) is not None for part in rows.values())]
    head = "".join(f"<th>{COLUMNS[path][0].replace('<', '&lt;')}</th>" for path in columns)
    best = {path: _best(list(rows.values()), path) for path in columns}
    body = ""
    for name, part in rows.items():
        cells = "".join(_cell(part, path, best[path]) for path in columns)
        ours = ' class="ours"' if name == "this model" else ""
        body += f"<tr{ours}><td>{escape(name.replace('_', ' '))}</td>{cells}</tr>"
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _best(parts: Sequence[Part | None], path: str) -> float | None:
    values = [value for part in parts if (value := score(part, path)) is not None]
    return (max(values) if COLUMNS[path][1] else min(values)) if len(values) > 1 else None


def _cell(part: Part | None, path: str, best: float | None = None) -> str:
    value, between = score(part, path), interval(part, path)
    small = "" if between is None else f"<small>{between[0]:.3f} to {between[1]:.3f}</small>"
    mark = ' class="best"' if value is not None and value == best else ""
    return f"<td{mark}>{'–' if value is None else f'{value:.3f}'}{small}</td>"


def cell_tables(evaluation: Mapping[str, Any]) -> str:
    """New plates x new cutouts beside the baselines, then all four cells, with and without camera effects."""
    cells = evaluation["cells"]
    baselines = {name: b.get("cells", {}).get("unseen_unseen") for name, b in evaluation.get("baselines", {}).items()}
    parts = []
    if cells.get("unseen_unseen"):
        parts.append("<h3>New plates and new cutouts, under camera effects</h3>")
        parts.append(score_table(cells["unseen_unseen"], baselines))
        parts.append(f'<p class="soft">{NOTE}</p>')
    kinds = [key for key in evaluation if key == "cells" or key.startswith("cells_")]
    paths = [
        path
        for path in ("mask.iou", "mask.f1", "depth.aligned.delta1", "depth.aligned.abs_rel")
        if any(score(part, path) is not None for kind in kinds for part in evaluation[kind].values())
    ]
    head = "".join(f"<th>{COLUMNS[path][0].replace('<', '&lt;')}</th>" for path in paths)
    body = "".join(
        f"<tr><td>{CELLS[cell]}, {_effects(kind)}</td>{''.join(_cell(part, path) for path in paths)}</tr>"
        for cell in CELLS
        for kind in kinds
        if (part := evaluation[kind].get(cell)) is not None
    )
    parts.append("<h3>Seen and unseen pictures, effect by effect</h3>")
    parts.append(f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>')
    return "".join(parts)


def _effects(kind: str) -> str:
    named = {"cells": "camera effects", "cells_clean": "no effects"}
    return named.get(kind) or escape(kind.removeprefix("cells_").replace("_", " "))


def cards(measured: Mapping[str, Mapping[str, Any]], last: Mapping[str, Any]) -> str:
    """The few figures that say most, large."""
    shown: list[tuple[str, str]] = []
    for evaluation in measured.values():
        cell = evaluation.get("cells", {}).get("unseen_unseen")
        iou, delta = score(cell, "mask.iou"), score(cell, "depth.aligned.delta1")
        if iou is not None:
            simple = evaluation.get("baselines", {}).get("difference_best", {}).get("cells", {}).get("unseen_unseen")
            other = score(simple, "mask.iou")
            beside = "" if other is None else f"; the best difference threshold: {other:.3f}"
            shown.append((f"{iou:.3f}", f"mask IoU, new plates and cutouts{beside}"))
        if delta is not None:
            shown.append((f"{delta:.3f}", "of depth within 25 %, new plates and cutouts"))
        f1 = score(evaluation.get("mean"), "mask.f1")
        if f1 is not None:
            shown.append((f"{f1:.3f}", "mask F1, captured pairs"))
    if "samples" in last:
        shown.append((short(float(last["samples"])), "scenes trained on"))
    if last.get("samples_per_s"):
        shown.append((f"{last['samples_per_s']:.0f}/s", "scenes trained per second"))
    boxes = "".join(f'<div class="card"><b>{escape(big)}</b><span>{escape(text)}</span></div>' for big, text in shown)
    return f'<div class="cards">{boxes}</div>' if shown else ""


def worst_scenes(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The scenes with the lowest IoU (or, where nothing stands in front, the most false alarms), worst first."""
    rows = [
        (value if value is not None else 1 - (score(part, "mask.false_alarm") or 0), name, part)
        for evaluation in measured.values()
        for name, part in evaluation.get("scenes", {}).items()
        if (value := score(part, "mask.iou")) is not None or score(part, "mask.false_alarm") is not None
    ]
    title = "<h2>Where it fails</h2>"
    if not rows:
        return f'{title}<p class="soft">No scenes were measured one by one (evaluate --pairs does it).</p>'
    paths = ("mask.iou", "mask.precision", "mask.recall", "mask.false_alarm")
    head = "".join(f"<th>{COLUMNS[path][0]}</th>" for path in paths)
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(_cell({**part, 'intervals': {}}, path) for path in paths)}</tr>"
        for _, name, part in sorted(rows, key=lambda row: row[:2])[:MOST_WORST]
    )
    table = f'<div class="wide"><table><thead><tr><th>scene</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"{title}<p>The worst of {len(rows)} scenes.</p>{table}"
