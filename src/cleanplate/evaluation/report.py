"""A run's report: one HTML file that needs nothing else, readable on a phone, on light and on dark.

Contract: `report(run)` reads what lies in the run's folder and leaves out, with a sentence, what is not there:

    config.json       the resolved settings                      -> what was trained
    metrics.jsonl     losses and validation scores by step       -> curves
    evaluation.json   cells, scenes, baselines (and pairs.json, ...) -> tables
    panels/           STEP_NAME.png per validation               -> first, middle and last, side by side
    predictions/      NAME_overlay.png and its companions        -> pictures

Pictures are inside the file as JPEG, scaled down together until the file stays under 8 MB. No scripts.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any, Literal

from PIL import Image as Pillow

from cleanplate.evaluation.chart import line_chart
from cleanplate.evaluation.scores import cards, cell_tables, score_table, worst_scenes
from cleanplate.evaluation.stress_chart import WHERE, stress_charts
from cleanplate.pictures.frames import write_atomically
from cleanplate.types import InputError

PICTURE_BYTES = 5_500_000
"""All pictures together, before base64 makes 4/3 of it."""

SIDES = (1400, 1000, 720, 512, 360, 256)
"""Longest sides that are tried, in turn, until the pictures fit."""

PANELS = {
    "mask_loss": "Mask loss per pixel (darker is better)",
    "depth_loss": "Depth loss per pixel (darker is better)",
    "masks": "Predicted masks beside the truth",
    "depths": "Predicted depths beside the truth",
    "frames": "Frames, and frames recomposed from plate and prediction",
}
SHOTS = {"overlay": "what stands in front", "mask": "mask", "cutout": "cut out", "depth_colour": "depth, near is warm"}
MOST_PREDICTIONS = 8

TOLD = ("network", "size", "batch", "scenes", "samples", "epochs", "minutes", "precision", "effects", "greyscale")
"""Settings that stand in sight."""


def report(run: Path, out: Path | None = None) -> Path:
    """Write the report of the run in this folder; returns its path (`report.html` in the folder by default).

    Raises InputError when the folder holds no run, or when the report cannot be written.
    """
    if not (run / "config.json").is_file() and not (run / "metrics.jsonl").is_file():
        raise InputError(
            f"{run} holds neither config.json nor metrics.jsonl: give the folder that `cleanplate train --out` wrote"
        )
    out = out or run / "report.html"
    lines = read_metrics(run / "metrics.jsonl")
    measured = _measured(run)
    panels, shots = _panel_files(run / "panels"), _prediction_files(run / "predictions")
    pictures = embed([path for group in (panels, shots) for row in group.values() for _, path in row])
    sections = "\n".join(
        (
            cards(measured, _last(lines, "train")),
            _trained(run, lines),
            _scores(measured),
            _stress(measured),
            _curves(lines),
            _gallery("Through the training", "stack", panels, pictures, "No panels: the run has not validated yet."),
            _gallery("Predictions", "shots", shots, pictures, "No predictions lie in the run's folder."),
            worst_scenes(measured),
        )
    )
    page = Template(files("cleanplate.evaluation").joinpath("report.html").read_text("utf-8"))
    text = page.substitute(title=escape(f"cleanplate: {run.resolve().name}"), lead=_lead(lines), sections=sections)
    write_atomically(out, text.encode())
    return out


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short (the run was killed while writing) is left out."""
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def embed(paths: Sequence[Path]) -> dict[Path, str]:
    """Pictures as JPEG data URIs, at the largest of SIDES at which all of them stay under PICTURE_BYTES together."""
    data: dict[Path, bytes] = {}
    for side in SIDES:
        data = {path: _jpeg(path, side) for path in paths}
        if sum(map(len, data.values())) <= PICTURE_BYTES:
            break
    return {path: f"data:image/jpeg;base64,{b64encode(content).decode()}" for path, content in data.items()}


def _jpeg(path: Path, side: int) -> bytes:
    with Pillow.open(path) as picture:
        rgba = picture.convert("RGBA")
    rgba.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    # JPEG has no alpha: cutouts stand on mid grey, on which light and dark edges both show.
    flat = Pillow.new("RGBA", rgba.size, (128, 128, 128, 255))
    flat.alpha_composite(rgba)
    buffer = BytesIO()
    flat.convert("RGB").save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def _measured(run: Path) -> dict[str, dict[str, Any]]:
    """Every evaluation in the folder, evaluation.json first, by the name of its file."""
    found = {}
    for path in sorted(run.glob("*.json"), key=lambda path: (path.name != "evaluation.json", path.name)):
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError:
            continue
        if isinstance(content, dict) and ("cells" in content or "mean" in content):
            found[path.stem] = content
    return found


def _panel_files(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """Per panel: (caption, file) of the first, the middle and the last validation."""
    rows = {}
    for name, title in PANELS.items():
        found = sorted(folder.glob(f"*_{name}.png"))
        chosen = sorted({0, len(found) // 2, len(found) - 1}) if found else []
        if chosen:
            rows[title] = [(f"step {int(found[i].name.split('_')[0]):,}", found[i]) for i in chosen]
    return rows


def _prediction_files(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    rows = {}
    for overlay in sorted(folder.rglob("*_overlay.png"))[:MOST_PREDICTIONS]:
        name = overlay.relative_to(folder).as_posix().removesuffix("_overlay.png")
        shots = [(text, folder / f"{name}_{shot}.png") for shot, text in SHOTS.items()]
        rows[name] = [(text, path) for text, path in shots if path.is_file()]
    return rows


def _gallery(
    title: str,
    kind: Literal["stack", "shots"],
    rows: Mapping[str, Sequence[tuple[str, Path]]],
    pictures: Mapping[Path, str],
    missing: str,
) -> str:
    """Rows of pictures with captions: wide ones as a stack, others (shots) side by side where there is room."""
    parts = [f"<h2>{escape(title)}</h2>"]
    for name, shots in rows.items():
        figures = (
            f'<figure><img src="{pictures[path]}" alt="{escape(f"{name}: {caption}")}" loading="lazy">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for caption, path in shots
        )
        parts.append(f'<h3>{escape(name)}</h3><div class="{kind}">{"".join(figures)}</div>')
    return "".join(parts) if rows else f'{parts[0]}<p class="soft">{escape(missing)}</p>'


def _last(lines: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    return next((line for line in reversed(list(lines)) if line.get("kind") == kind), {})


def _lead(lines: Sequence[Mapping[str, Any]]) -> str:
    last = _last(lines, "train")
    if not last:
        return "Nothing has been trained yet."
    text = f"{last['step']:,} steps"
    if "samples" in last:
        text += f", {last['samples']:,} scenes"
    return f"{text}, {duration(float(last['seconds']))} of training." if "seconds" in last else f"{text}."


def duration(seconds: float) -> str:
    """95 -> "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _trained(run: Path, lines: Sequence[Mapping[str, Any]]) -> str:
    """The settings: the few that say most in sight, all of them folded."""
    title = "<h2>What was trained, on what</h2>"
    if not (run / "config.json").is_file():
        return f'{title}<p class="soft">No config.json: the settings are not known.</p>'
    try:
        config = json.loads((run / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{run / 'config.json'} is not JSON ({error}): restore it, or train again") from error
    settings = dict(_flat(config.get("settings", {})))
    told = {kind: _pictures(config, kind) for kind in ("plates", "cutouts")}
    told |= {name.replace("_", " "): settings[name] for name in TOLD if name in settings}
    if speed := _last(lines, "train").get("samples_per_s"):
        told["scenes per second"] = f"{speed:.1f}"
    told["cleanplate"] = str(config.get("version", "unknown"))
    rest = dict(_flat({key: value for key, value in config.items() if key != "pictures"}))
    return f"{title}{_facts(told)}<details><summary>All {len(rest)} settings</summary>{_facts(rest)}</details>"


def _pictures(config: Mapping[str, Any], kind: str) -> str:
    """How many, from where, in which parts, and a fingerprint over all of them."""
    parts = config.get("pictures", {}).get(kind, {})
    count = sum(len(pictures) for pictures in parts.values())
    where = ", ".join(config.get(kind) or ["the packaged sample"])
    shares = ", ".join(f"{len(pictures)} {part}" for part, pictures in parts.items())
    digests = sorted(str(p.get("sha256")) for pictures in parts.values() for p in pictures.values())
    fingerprint = hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
    return f"{count} of {where} ({shares}; fingerprint {fingerprint})" if count else where


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """{"a": {"b": 1}} -> ("a.b", "1"); lists and other values as they print; nothing for null."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value is not None:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield prefix, text if len(text) <= 300 else f"{text[:300]}..."


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in facts.items())
    return f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'


def _scores(measured: Mapping[str, Mapping[str, Any]]) -> str:
    parts = ["<h2>How good it is</h2>"]
    if not measured:
        return f'{parts[0]}<p class="soft">Not measured yet: run <code>cleanplate evaluate</code>.</p>'
    for name, evaluation in measured.items():
        if "cells" in evaluation:
            parts.append(cell_tables(evaluation))
        if "mean" in evaluation:
            count = len(evaluation.get("scenes", {}))
            where = "captured pairs" if name in ("evaluation", "pairs") else f"captured pairs, {name}"
            parts.append(f"<h3>{count} scenes of {escape(where)}</h3>")
            parts.append(score_table(evaluation["mean"], {n: b.get("mean") for n, b in _baselines(evaluation)}))
    return "".join(parts)


def _stress(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Curves of every evaluation that has some; nothing where none has."""
    parts = []
    for name, evaluation in measured.items():
        for where, curves in evaluation.get("stress", {}).items():
            told = "" if name in ("evaluation", "pairs") else f", {escape(name)}"
            charts = (f"<figure><h3>{title}</h3>{chart}</figure>" for title, chart in stress_charts(curves))
            parts.append(f'<h3>{WHERE[where].capitalize()}{told}</h3><div class="charts">{"".join(charts)}</div>')
    note = (
        "Mask F1 when plate and frame fit each other less and less, one damage at a time. Difference: a fixed "
        "threshold; best difference: the best one of each level."
    )
    return f'<h2>Under stress</h2><p class="soft">{note}</p>{"".join(parts)}' if parts else ""


def _baselines(evaluation: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(evaluation.get("baselines", {}).items())


def _curves(lines: Sequence[Mapping[str, Any]]) -> str:
    charts = {
        "Loss": (_series(lines, ("loss",), ("total", "mask", "depth"), "train"), True),
        "Mask, validation": (_series(lines, ("mask",), ("iou", "f1"), "validation"), False),
        "Depth, validation": (_series(lines, ("depth",), ("delta1", "abs_rel"), "validation"), False),
        "Loss, validation": (_series(lines, ("loss",), ("total", "mask", "depth"), "validation"), True),
        "Learning rate": (_series(lines, (), ("learning_rate",), "train"), False),
    }
    drawn = {title: line_chart(series, "steps", log) for title, (series, log) in charts.items()}
    figures = "".join(f"<figure><h3>{title}</h3>{chart}</figure>" for title, chart in drawn.items() if chart)
    if not figures:
        return '<h2>Curves</h2><p class="soft">No curves: metrics.jsonl holds nothing yet.</p>'
    note = '<p class="soft">Losses are drawn on a logarithmic axis.</p>'
    return f'<h2>Curves</h2>{note}<div class="charts">{figures}</div>'


def _series(
    lines: Iterable[Mapping[str, Any]], path: Sequence[str], names: Sequence[str], kind: str
) -> dict[str, list[tuple[float, float]]]:
    """Named numbers of the lines of one kind, under `path`, by step."""
    series: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for line in lines:
        inner = line
        for key in path:
            inner = inner.get(key) or {}
        for name in names:
            if line.get("kind") == kind and isinstance(inner.get(name), int | float):
                series[name].append((float(line["step"]), float(inner[name])))
    return series
