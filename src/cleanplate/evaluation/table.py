"""The short table at the end of an evaluation: the model and the baselines, one row each, best scores in bold.

Below it, in words, the model's scores that have no column, and what was left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLUMNS = {
    "IoU": ("mask", "iou", True),
    "F1": ("mask", "f1", True),
    "boundary": ("mask", "boundary_f", True),
    "alarms": ("mask", "false_alarm", False),
    "delta1": ("aligned", "delta1", True),
    "abs_rel": ("aligned", "abs_rel", False),
}
"""Heading: group, metric, whether more is better. Short, so that a row fits 80 characters."""

NOTES = {
    "IoU, pooled over foregrounds above 1 % of the picture": (("mask", "iou_pooled"),),
    "depth in the foreground, delta1 and AbsRel": (("foreground", "delta1"), ("foreground", "abs_rel")),
    "depth aligned, RMSE over deviation": (("aligned", "rmse_over_std"),),
    "depth edges along the mask, F1": (("edges", "f1"),),
}
"""What is told below a table: group and metric of each number."""


def score_table(result: Mapping[str, Any], model: str) -> Iterator[Table]:
    """A table for new plates x new cutouts, and one for the mean over captured pairs: those that were measured."""
    baselines: Mapping[str, Any] = result.get("baselines", {})
    if "unseen_unseen" in result.get("cells", {}):
        rows = {_words(name): parts.get("cells", {}).get("unseen_unseen") for name, parts in baselines.items()}
        title = "new plates x new cutouts, effects standard"
        yield _table(title + _part(result), {model: result["cells"]["unseen_unseen"], **rows})
    if "mean" in result:
        rows = {_words(name): parts.get("mean") for name, parts in baselines.items()}
        title = f"captured pairs, mean of {len(result['scenes'])} scenes{_part(result)}"
        out = result.get("left_out", 0)
        note = f"{out} scenes left out: they trained or validated" if out and not _part(result) else ""
        yield _table(title, {model: result["mean"], **rows}, note)


def show_scores(run: Path) -> None:
    """Print the tables of a run's evaluation.json; nothing where there is none."""
    path = run / "evaluation.json"
    if path.is_file():
        for table in score_table(json.loads(path.read_text()), run.name):
            Console().print(table)


def _part(result: Mapping[str, Any]) -> str:
    return " that validated" if result.get("part") == "validation" else ""


def _table(title: str, parts: Mapping[str, Any], note: str = "") -> Table:
    lines = [*_notes(next(iter(parts.values()))), *([note] if note else [])]
    table = Table(title=title, title_justify="left", caption="\n".join(lines) or None, caption_justify="left")
    table.add_column(no_wrap=True)
    columns = []
    for heading, (group, metric, more) in COLUMNS.items():
        values = [_score(part, group, metric) for part in parts.values()]
        known = [value for value in values if value is not None]
        if not known:
            continue
        table.add_column(heading, justify="right")
        best = (max if more else min)(known) if len(known) > 1 else None
        columns.append([_text(value, value == best) for value in values])
    for name, cells in zip(parts, zip(*columns, strict=True), strict=True):
        if any(cells):
            table.add_row(escape(name), *cells)
    return table


def _notes(part: Mapping[str, Any]) -> Iterator[str]:
    for told, places in NOTES.items():
        values = [value for place in places if (value := _score(part, *place)) is not None]
        if values:
            yield f"{told}: {', '.join(f'{value:.3f}' for value in values)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _score(part: Mapping[str, Any] | None, group: str, metric: str) -> float | None:
    scores = (part or {}).get("mask") if group == "mask" else ((part or {}).get("depth") or {}).get(group)
    return (scores or {}).get(metric)


def _text(value: float | None, best: bool) -> str:
    return "" if value is None else f"[bold]{value:.3f}[/bold]" if best else f"{value:.3f}"
