"""A drawing of a network: each convolution a bar, left to right as it runs, tall as its map, thick as its channels."""

from __future__ import annotations

import math
from pathlib import Path

from cleanplate.network.summary import Row, Summary
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#44aa99", "#882255")
GAP, WIDEST = 0.5, 2.4


def draw_network(found: Summary, path: Path) -> None:
    """Write an SVG, PNG or PDF. Colours name the top-level parts; heights are the map's side, widths sqrt(channels)."""
    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"cannot draw into {path}: expected a name that ends in .svg, .png or .pdf")
    from matplotlib.figure import Figure

    rows = [row for row in found.layers if row.kind.startswith(("conv", "linear"))]
    parts = list(dict.fromkeys(row.name.split(".")[0] for row in rows))
    figure = Figure(figsize=(max(8.0, 0.26 * len(rows)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    x, previous = 0.0, ""
    for row in rows:
        part = row.name.split(".")[0]
        x += GAP if part != previous else 0.15
        x = _bar(axes, row, x, COLOURS[parts.index(part) % len(COLOURS)], part if part != previous else "", found.size)
        previous = part
    axes.set_xlim(0, x + GAP)
    axes.set_ylim(-0.72, 0.72)
    axes.set_axis_off()
    axes.set_title(
        f"{found.network}: {found.parameters:,} parameters, {found.flops / 1e9:.2f} GFLOP per pair of "
        f"{found.size}x{found.size} pictures\nheight: side of the map (logarithmic); width: channels; number: channels",
        fontsize=9,
    )
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=150))


def _bar(axes, row: Row, x: float, colour: str, label: str, size: int) -> float:
    """Draw one layer at x and return its right end. Heights are logarithmic, so that 1/32 can still be seen."""
    channels, side = row.output[0], row.output[-1] if len(row.output) == 3 else 1
    height = 0.1 + 0.9 * math.log2(side + 1) / math.log2(size + 1)
    width = WIDEST * math.sqrt(channels / 256)
    axes.add_patch(_rectangle(x, -height / 2, width, height, colour))
    axes.text(x + width / 2, height / 2 + 0.01, str(channels), ha="center", va="bottom", fontsize=5)
    if label:
        axes.text(x, -0.58, label, fontsize=7, color=colour, rotation=45, rotation_mode="anchor", ha="right", va="top")
    return x + width


def _rectangle(x: float, y: float, width: float, height: float, colour: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=0.5)
