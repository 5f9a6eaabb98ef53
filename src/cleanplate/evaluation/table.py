"""The short table at the end of an evaluation: the model and the baselines, one row each, best scores in bold."""

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


def score_table(result: Mapping[str, Any], model: str) -> Iterator[Table]:
    """A table for new plates x new cutouts, and one for the mean over captured pairs: those that were measured."""
    baselines: Mapping[str, Any] = result.get("baselines", {})
    if "unseen_unseen" in result.get("cells", {}):
        rows = {_words(name): parts.get("cells", {}).get("unseen_unseen") for name, parts in baselines.items()}
        yield _table("new plates x new cutouts, effects standard", {model: result["cells"]["unseen_unseen"], **rows})
    if "mean" in result:
        rows = {_words(name): parts.get("mean") for name, parts in baselines.items()}
        yield _table(f"captured pairs, mean of {len(result['scenes'])} scenes", {model: result["mean"], **rows})


def show_scores(run: Path) -> None:
    """Print the tables of a run's evaluation.json; nothing where there is none."""
    path = run / "evaluation.json"
    if path.is_file():
        for table in score_table(json.loads(path.read_text()), run.name):
            Console().print(table)


def _table(title: str, parts: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(no_wrap=True)
    columns = []
    for heading, (group, metric, more) in COLUMNS.items():
        table.add_column(heading, justify="right")
        values = [_score(part, group, metric) for part in parts.values()]
        known = [value for value in values if value is not None]
        best = (max if more else min)(known) if len(known) > 1 else None
        columns.append([_text(value, value == best) for value in values])
    for name, cells in zip(parts, zip(*columns, strict=True), strict=True):
        if any(cells):
            table.add_row(escape(name), *cells)
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _score(part: Mapping[str, Any] | None, group: str, metric: str) -> float | None:
    scores = (part or {}).get("mask") if group == "mask" else ((part or {}).get("depth") or {}).get(group)
    return (scores or {}).get(metric)


def _text(value: float | None, best: bool) -> str:
    return "" if value is None else f"[bold]{value:.3f}[/bold]" if best else f"{value:.3f}"
