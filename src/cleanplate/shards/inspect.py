"""The verb `inspect DIR`: what a stored dataset holds, as tables, as JSON, as one picture; and whether it is intact."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from cleanplate.pictures.draw import INK, PAPER, QUIET
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.writing import write_atomically
from cleanplate.shards.contact import scene_grid
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from cleanplate.shards.survey import SAMPLE, Histogram, Survey, stored_shards, survey
from cleanplate.shards.verify import verify
from cleanplate.types import InputError, Pixels

COLUMNS, ROWS = 8, 3
"""Scenes of the sample grid."""
WIDTH = 1100
"""Least width of the picture, pixels."""
CHANNELS = {"red": "#cc3344", "green": "#228833", "blue": "#4477aa"}
ALL, IN_MASK = "#4477aa", "#ee6677"
DPI = 110
LISTED = 20
"""Problems that a message lists."""
RARE = 500
"""Bins with fewer than one in so many do not widen a plot."""
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))


def show_survey(
    dataset: Dataset, scenes: int | None = SAMPLE, json: Path | None = None, out: Path | None = None
) -> Survey:
    """Print a survey; write it as JSON ("-" = standard output), and draw it into the picture `out`.

    scenes: as in `survey`. Raises InputError.
    """
    found = survey(dataset, scenes)
    console = Console(stderr=json == Path("-"))
    for table in (parts_table(found), figures_table(found)):
        console.print(table)
    if json is not None:
        text = jsonlib.dumps(asdict(found), indent=1)
        print(text) if json == Path("-") else write_atomically(json, text.encode())
    if out is not None:
        write_image(out, draw_survey(found, dataset))
        console.print(f"picture: {escape(str(out))}", soft_wrap=True)
    return found


def show_verify(store: Store) -> None:
    """Read the whole dataset and say that it is as it was written. Raises InputError, which lists what is not."""
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(TextColumn("verifying"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        problems = verify(store, lambda size, total: bar.update(task, advance=size, total=total))
    if not problems:
        Console().print(f"{escape(store.place)}: every file is there, every byte as it was written", soft_wrap=True)
        return
    shown = [f"  {problem}" for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        shown.append(f"  and {len(problems) - LISTED:,} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    raise InputError(f"{store.place} has {count}:\n" + "\n".join(shown))


def parts_table(found: Survey) -> Table:
    """Scenes, shards and bytes per part."""
    state = "complete" if found.complete else "NOT FINISHED"
    table = Table(title=f"{found.place}: {state}, scenes of {found.size} x {found.size}, depth {found.depth_kind}")
    for column in ("part", "scenes", "missing", "shards", "size", "per scene"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, part in found.parts.items():
        each = short_bytes(part.bytes / part.scenes_there) if part.scenes_there else ""
        missing = f"{part.scenes - part.scenes_there:,}"
        shards = f"{part.shards_there} of {part.shards}"
        table.add_row(name, f"{part.scenes_there:,}", missing, shards, short_bytes(part.bytes), each)
    for label, size in found.labels.items():
        table.add_row(f"label {label}", "", "", "", short_bytes(size), "")
    return table


def figures_table(found: Survey) -> Table:
    """What the scenes that were read look like, in figures."""
    table = Table(title=f"over {_sampled(found)}", show_header=False)
    table.add_row("mean (red, green, blue)", _triple(found.mean))
    table.add_row("deviation", _triple(found.deviation))
    table.add_row("scenes with nothing in front", f"{found.empty_share:.1%}")
    for count, scenes in enumerate(found.objects):
        if scenes and count:
            more = " or more" if count == len(found.objects) - 1 else ""
            table.add_row(f"scenes with {count}{more} in front", f"{scenes / found.sampled:.1%}")
    table.add_row("mask's share of the picture, if any (quartiles)", quartiles(found.mask_area, "{:.0%}"))
    of, unit = ("", "{:.2f} m") if found.depth_kind == "metric" else (", share of the farthest", "{:.0%}")
    table.add_row(f"depth{of} (quartiles)", quartiles(found.depth, unit))
    table.add_row(f"depth within masks{of} (quartiles)", quartiles(found.depth_in_mask, unit))
    table.add_row("pixels of unknown depth", f"{found.depth_unknown:.1%}")
    return table


def quartiles(histogram: Histogram, unit: str) -> str:
    """The three quartiles as text, read between the edges of their bins; "none" of nothing."""
    total = sum(histogram.counts)
    if not total:
        return "none"
    heights = np.concatenate([[0], np.cumsum(histogram.counts)]) / total
    shown = (unit.format(float(np.interp(share, heights, histogram.edges))) for share in (0.25, 0.5, 0.75))
    return ", ".join(shown)


def short_bytes(size: float | int) -> str:
    """12345678 -> 12.3 MB."""
    value, unit = next(((size / step, unit) for step, unit in UNITS if size >= step), (size, "B"))
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def _triple(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def _sampled(found: Survey) -> str:
    there = sum(part.scenes_there for part in found.parts.values())
    if found.sampled == there:
        return f"all {there:,} scenes"
    return f"a sample of {found.sampled:,} of {there:,} scenes, spread evenly"


def draw_survey(found: Survey, dataset: Dataset) -> Pixels:
    """The survey as a picture: histograms, the map of positions, and a grid of scenes from all parts."""
    grid = scene_grid(dataset, COLUMNS, ROWS, stored_shards(dataset))
    width = max(WIDTH, grid.shape[1])
    paper = np.full((grid.shape[0], width - grid.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([_plots(found, width), np.concatenate([grid, paper], axis=1)])


def _plots(found: Survey, width: int) -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, 0.56 * width / DPI), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    title = f"{found.place}: {_sampled(found)}, {short_bytes(found.bytes_per_scene)} each"
    figure.suptitle(title, fontsize=11, color=_colour(INK))
    axes = figure.subplots(2, 3).ravel()
    _areas(axes[0], found)
    _positions(axes[1], found, figure)
    _objects(axes[2], found)
    _depths(axes[3], found)
    _brightness(axes[4], found)
    _sizes(axes[5], found)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _areas(axes: Any, found: Survey) -> None:
    _title(axes, "mask's share of the picture", "share, %", "scenes, %")
    edges = 100 * np.array(found.mask_area.edges)
    heights = 100 * np.array(found.mask_area.counts) / found.sampled
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=ALL, edgecolor="white", linewidth=0.5)
    if any(found.mask_area.counts):
        axes.set_xlim(0, 100 * _middle(found.mask_area)[1])
    _note(axes, f"{found.empty_share:.1%} of the scenes have no mask")


def _positions(axes: Any, found: Survey, figure: Any) -> None:
    _title(axes, "where the mask is", "", "")
    share = 100 * np.array(found.mask_position)
    image = axes.imshow(share, cmap="inferno", vmin=0, vmax=max(float(share.max()), 1e-9), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    bar = figure.colorbar(image, ax=axes, fraction=0.05)
    bar.set_label("covered by masks, % of scenes", fontsize=8, color=_colour(QUIET))
    bar.ax.tick_params(labelsize=7, colors=_colour(QUIET))


def _objects(axes: Any, found: Survey) -> None:
    _title(axes, "cutouts seen in a scene", "cutouts", "scenes, %")
    last = max(k for k, count in enumerate(found.objects) if count) + 1
    heights = 100 * np.array(found.objects[:last]) / found.sampled
    bars = axes.bar(range(last), heights, 0.8, color=ALL)
    axes.bar_label(bars, [f"{height:.0f}" for height in heights], fontsize=8, color=_colour(QUIET))
    axes.set_xticks(range(last))
    axes.margins(y=0.12)


def _depths(axes: Any, found: Survey) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    unit = "metres" if found.depth_kind == "metric" else "share of the plate's farthest"
    _title(axes, "depth", unit, "pixels, %")
    for histogram, colour, name in ((found.depth, ALL, "all pixels"), (found.depth_in_mask, IN_MASK, "in masks")):
        total = sum(histogram.counts)
        if total:
            heights = 100 * np.array(histogram.counts) / total
            axes.stairs(heights, histogram.edges, color=colour, fill=colour == ALL, alpha=0.6 if colour == ALL else 1)
            axes.plot([], [], color=colour, label=name)
    if not any(found.depth.counts):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no depth is known", transform=axes.transAxes, ha="center", fontsize=9)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(*_middle(found.depth, found.depth_in_mask))
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    legend = axes.legend(fontsize=8, frameon=False, loc="upper left", title=f"{found.depth_unknown:.1%} unknown")
    legend.get_title().set_fontsize(8)


def _middle(*histograms: Histogram) -> tuple[float, float]:
    """The edges around all bins that hold at least one in 2,000 of a histogram."""
    held = [k for h in histograms for k, count in enumerate(h.counts) if count and count * RARE >= sum(h.counts)]
    return histograms[0].edges[min(held)], histograms[0].edges[max(held) + 1]


def _brightness(axes: Any, found: Survey) -> None:
    _title(axes, "colours of the frames", "value, 0..1", "pixels, %")
    for channel, (name, colour) in enumerate(CHANNELS.items()):
        counts = np.array(found.brightness[channel], np.float64).reshape(64, 4).sum(1)
        label = f"{name}: {found.mean[channel]:.3f} ± {found.deviation[channel]:.3f}"
        axes.plot((np.arange(64) + 0.5) / 64, 100 * counts / counts.sum(), color=colour, linewidth=1.3, label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def _sizes(axes: Any, found: Survey) -> None:
    _title(axes, "scenes per part", "", "")
    parts = [(name, part) for name, part in found.parts.items() if part.scenes]
    names = [name for name, _ in parts]
    axes.barh(names, [part.scenes for _, part in parts], 0.6, color="#e4e4e7")
    bars = axes.barh(names, [part.scenes_there for _, part in parts], 0.6, color=ALL)
    labels = [f"{part.scenes_there:,} of {part.scenes:,}, {short_bytes(part.bytes)}" for _, part in parts]
    axes.bar_label(bars, labels, fontsize=8, padding=4, color=_colour(QUIET))
    axes.invert_yaxis()
    axes.set_xlim(0, 2 * axes.get_xlim()[1])
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _title(axes: Any, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=_colour(INK))
    axes.set_xlabel(across, fontsize=8, color=_colour(QUIET))
    axes.set_ylabel(up, fontsize=8, color=_colour(QUIET))
    axes.tick_params(labelsize=8, colors=_colour(QUIET))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _note(axes: Any, text: str) -> None:
    axes.text(0.98, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=_colour(QUIET))


def _colour(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in rgb)
