"""The report: one file that needs nothing else, and says what is missing instead of leaving a blank."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from cleanplate.evaluation import report as report_module
from cleanplate.evaluation.chart import MOST_POINTS, line_chart
from cleanplate.evaluation.report import embed, read_metrics, report
from cleanplate.evaluation.scores import interval, score, score_table
from cleanplate.types import InputError

VOID = {"meta", "img", "br", "link"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(HTMLParser):
    """What a page holds; unbalanced elements are errors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def part(iou: float | None, delta1: float) -> dict:
    return {
        "mask": {"iou": iou, "f1": iou, "precision": 0.9, "recall": 0.8, "mae": 0.02, "boundary_f": None,
                 "false_alarm": 0.004},
        "depth": {"aligned": {"delta1": delta1, "abs_rel": 0.2}, "metric": None, "foreground": {"abs_rel": 0.31}},
        "intervals": {"iou": [0.701, 0.822], "delta1": [0.5, 0.6], "foreground.abs_rel": [0.3, 0.32]},
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder as a training, an evaluation and a prediction leave it."""
    run = tmp_path / "a run & more"
    (run / "panels").mkdir(parents=True)
    (run / "predictions").mkdir()
    rng = np.random.default_rng(0)

    def picture(path: Path, channels: int = 3) -> None:
        Pillow.fromarray(rng.integers(0, 256, (60, 80, channels), dtype=np.uint8)).save(path)

    for step in (0, 50, 100, 150, 200):
        for name in ("mask_loss", "depth_loss", "masks", "depths", "frames"):
            picture(run / "panels" / f"{step:07d}_{name}.png")
    for shot in ("overlay", "mask", "depth_colour"):
        picture(run / "predictions" / f"f1_{shot}.png")
    picture(run / "predictions" / "f1_cutout.png", channels=4)
    listed = {"train": {"<a>.jpg": {"sha256": "ab", "group": "a"}, "b.jpg": {"sha256": "cd", "group": "b"}},
              "validation": {"c.jpg": {"sha256": "ef", "group": "c"}}, "test": {}}  # fmt: skip
    settings = {"network": "platenet", "size": 128, "batch": 16, "loss": {"mask": 2.0}}
    config = {"version": "9.8.7", "plates": ["/data/<rooms>"], "cutouts": [], "from": None, "settings": settings,
              "pictures": {"plates": listed, "cutouts": listed}}  # fmt: skip
    (run / "config.json").write_text(json.dumps(config))
    lines = [
        {"step": s, "samples": 16 * s, "seconds": s / 2.0, "kind": kind, "loss": {"total": 2 / s, "mask": 1 / s},
         "mask": {"iou": s / 250}, "depth": {"delta1": 0.5, "abs_rel": 0.4}, "samples_per_s": 31.5}
        for s in range(10, 201, 10) for kind in ("train", "validation")
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 210, "ki')
    cells = {cell: part(0.771, 0.551) for cell in ("seen_seen", "seen_unseen", "unseen_seen", "unseen_unseen")}
    evaluation = {
        "cells": cells,
        "cells_clean": {cell: part(0.93, 0.6) for cell in cells},
        "scenes": {"yard/<night>": part(0.123, 0.4), "room": part(0.9, 0.4), "empty": part(None, 0.4)},
        "mean": part(0.512, 0.4),
        "baselines": {"difference_best": {"cells": {"unseen_unseen": part(0.641, 0.2)}, "mean": part(0.333, 0.1)}},
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    return run


def test_a_whole_run_is_shown(run: Path) -> None:
    out = report(run)
    assert out == run / "report.html"
    page = Page(out.read_text("utf-8"))
    words = " ".join(page.text)
    assert page.count("img") == 5 * 3 + 4
    assert page.count("svg") >= 4
    for expected in ("0.771", "0.641", "0.701 to 0.822", "0.123", "yard/<night>", "/data/<rooms>", "9.8.7", "200 steps",
                     "3,200 scenes", "1 min 40 s", "step 100", "step 200", "2 train", "a run & more"):  # fmt: skip
        assert expected in words, expected
    assert "Not measured" not in words
    assert "No panels" not in words


def test_nothing_outside_the_file_is_needed(run: Path) -> None:
    text = report(run).read_text("utf-8")
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "srcset", "data", "poster"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#")), (tag, name, value[:80])
    assert not re.search(r"url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_pictures_survive(run: Path) -> None:
    pictures = [attributes["src"] for tag, attributes in Page(report(run).read_text("utf-8")).tags if tag == "img"]
    for source in pictures:
        head, data = str(source).split(",", 1)
        assert head == "data:image/jpeg;base64"
        assert Pillow.open(BytesIO(base64.b64decode(data))).size == (80, 60)


def test_many_large_pictures_stay_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "PICTURE_BYTES", 60_000)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Pillow.fromarray(noise).resize((800, 600)).save(path)
    embedded = embed(paths)
    assert sum(map(len, embedded.values())) < 60_000 * 4 / 3 + 200
    assert len(embedded) == 3


def test_missing_pieces_are_told(run: Path) -> None:
    shutil.rmtree(run / "panels")
    shutil.rmtree(run / "predictions")
    (run / "evaluation.json").unlink()
    (run / "metrics.jsonl").unlink()
    words = " ".join(Page(report(run, run / "other.html").read_text("utf-8")).text)
    for expected in ("Not measured yet", "No panels", "No predictions", "No curves", "Nothing has been trained yet"):
        assert expected in words


def test_pairs_of_another_file_are_shown(run: Path) -> None:
    (run / "pairs_street.json").write_text(json.dumps({"scenes": {"s": part(0.456, 0.1)}, "mean": part(0.456, 0.1)}))
    words = " ".join(Page(report(run).read_text("utf-8")).text)
    assert "pairs_street" in words
    assert "0.456" in words


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json.*cleanplate train"):
        report(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        report(tmp_path)


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


def test_scores_are_found_by_their_path() -> None:
    assert score(part(0.5, 0.6), "depth.aligned.delta1") == 0.6
    assert score(part(None, 0.6), "mask.iou") is None
    assert score({"mask": None, "depth": None}, "depth.metric.delta1") is None
    assert interval(part(0.5, 0.6), "depth.foreground.abs_rel") == (0.3, 0.32)
    assert interval(part(0.5, 0.6), "mask.f1") is None


def test_the_best_of_a_column_is_marked() -> None:
    table = score_table(part(0.7, 0.5), {"difference": part(0.9, 0.4), "mog2": None})
    best = re.findall(r'<td class="best">([\d.]+)', table)
    assert "0.900" in best
    assert "0.500" in best
    assert "0.700" not in best


finite = st.floats(1e-6, 1e6) | st.just(float("nan")) | st.just(0.0)


@given(st.lists(st.tuples(st.floats(0, 1e7), finite), max_size=600), st.booleans())
def test_charts_keep_inside_their_frame(points: list[tuple[float, float]], log: bool) -> None:
    chart = line_chart({"a < b": points}, "steps", log)
    if not chart:
        assert not [y for _, y in points if y > 0 or (y == 0 and not log)]
        return
    Page(chart)
    line = re.search(r'points="([^"]*)"', chart)
    assert line is not None
    drawn = [pair.split(",") for pair in line[1].split()]
    assert 1 <= len(drawn) <= MOST_POINTS
    for x, y in drawn:
        assert -0.1 <= float(x) <= 520.1
        assert -0.1 <= float(y) <= 260.1


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs a browser: chromium")
def test_a_browser_opens_it(run: Path, tmp_path: Path) -> None:
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
               f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", report(run).resolve().as_uri()]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.returncode == 0
    assert "0.771" in done.stdout
    assert "<svg" in done.stdout
