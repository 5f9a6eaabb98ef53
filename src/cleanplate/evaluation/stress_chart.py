"""Stress curves as charts: one small picture per damage, for the report (SVG) and for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cleanplate.evaluation.chart import line_chart
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

DAMAGES = {
    "shift": "plate shifted, pixels",
    "gain": "frame's exposure, times",
    "noise": "noise, deviation of 255",
    "jpeg": "JPEG quality",
    "blur": "blur, deviation in pixels",
    "size": "foreground, share of the picture",
}
"""What the horizontal axis of each chart is."""

METHODS = {
    "model": ("this model", "#2563ae", "-"),
    "model_without_care": ("without plate care", "#2563ae", ":"),
    "difference": ("difference", "#c2571a", "-"),
    "difference_best": ("best difference", "#c2571a", ":"),
    "mog2": ("MOG2", "#3d8046", "-"),
    "knn": ("KNN", "#8a4fa3", "-"),
}
"""Each method's name, and its colour and line in a file."""

WHERE = {"pairs": "captured pairs", "cells": "new plates and new cutouts"}
COLUMNS = 3


def stress_charts(stress: Mapping[str, Any], metric: str = "f1") -> Iterator[tuple[str, str]]:
    """Each damage's heading and its chart: an SVG with a legend, as `line_chart` makes it."""
    for damage, axis in DAMAGES.items():
        if damage in stress:
            levels = _labels(stress[damage]["levels"])
            series = {name: _points(values) for name, values in _curves(stress[damage], metric)}
            yield axis[0].upper() + axis[1:], line_chart(series, axis, labels=levels, heights=(0.0, 1.0))


def draw_stress(stress: Mapping[str, Mapping[str, Any]], path: Path, metric: str = "f1") -> None:
    """Write a PNG, SVG or PDF: a row of charts for each of {"pairs": ..., "cells": ...}."""
    from matplotlib.figure import Figure

    rows = -(-len(DAMAGES) // COLUMNS)
    figure = Figure(figsize=(12, 3.5 * rows * len(stress)), layout="constrained")
    parts = figure.subfigures(len(stress), squeeze=False)[:, 0]
    for part, (where, curves) in zip(parts, stress.items(), strict=True):
        part.suptitle(f"Mask {metric.upper()} under stress, {WHERE[where]}", x=0.01, ha="left", fontsize=12)
        grid = part.subplots(rows, COLUMNS, sharey=True).flat
        for axes, (damage, title) in zip(grid, DAMAGES.items(), strict=True):
            _draw(axes, curves.get(damage), title, metric)
        handles, names = part.axes[0].get_legend_handles_labels()
        part.legend(handles, names, loc="outside lower left", ncols=len(names), frameon=False, fontsize=9)
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=130))


def check_name(path: Path) -> None:
    """Raise InputError for a file that a chart cannot be drawn into; before anything is measured."""
    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"cannot draw into {path}: expected a name that ends in .svg, .png or .pdf")


def _draw(axes: Any, damage: Mapping[str, Any] | None, title: str, metric: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", color="#e0e1e0", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if damage is None:
        return
    labels = _labels(damage["levels"])
    axes.set_xticks(range(len(labels)), labels, fontsize=8 if len(labels[0]) < 6 else 7)
    for order, (method, (name, colour, line)) in enumerate(METHODS.items()):
        if method in damage["methods"]:
            values = [float("nan") if value is None else value for value in damage["methods"][method][metric]]
            axes.plot(values, line, color=colour, label=name, linewidth=1.8, marker="o", markersize=3, zorder=9 - order)


def _curves(damage: Mapping[str, Any], metric: str) -> Iterator[tuple[str, Sequence[float | None]]]:
    for method, (name, _, _) in METHODS.items():
        if method in damage["methods"]:
            yield name, damage["methods"][method][metric]


def _points(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(float(i), float(value)) for i, value in enumerate(values) if value is not None]


def _labels(levels: Sequence[float | str]) -> list[str]:
    return [
        level.removesuffix(" %").replace(" to ", "–") + "%" if isinstance(level, str) else f"{level:g}"
        for level in levels
    ]
