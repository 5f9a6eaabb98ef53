"""The packaged sample: it opens without a warning, is small, attributed, and its pairs are held out."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanplate.pictures.library import open_library, read_cutout, read_plate, sample_folder
from cleanplate.pictures.pairs import open_pairs

SAMPLE = sample_folder()


def entries(kind: str) -> dict[str, dict]:
    return json.loads((SAMPLE / kind / "pictures.json").read_text())["pictures"]


def metas() -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(SAMPLE.glob("pairs/*/meta.json"))}


def test_everything_opens_under_strict() -> None:
    plates, cutouts = open_library([], "plates", strict=True), open_library([], "cutouts", strict=True)
    assert len(plates.pictures) == len(entries("plates")) >= 100
    assert len(cutouts.pictures) == len(entries("cutouts")) >= 200
    assert {p.name for p in cutouts.pictures} == entries("cutouts").keys()
    assert all(p.depth_unit_m == 0.001 for library in (plates, cutouts) for p in library.pictures)
    assert all(p.height_m and p.group.endswith(".obj") for p in cutouts.pictures)
    assert len({p.group for p in cutouts.pictures}) >= 200
    pixels, depth = read_plate(plates.pictures[0])
    assert depth is not None
    assert pixels.shape[:2] == depth.shape == (240, 320)
    assert 1 < np.median(depth) < 10


def test_cutouts_have_their_relief_where_they_are_visible() -> None:
    for picture in open_library([], "cutouts").pictures[::20]:
        pixels, depth = read_cutout(picture)
        assert depth is not None
        visible, known = pixels[..., 3] >= 128, depth > 0
        assert (known & visible).sum() > 0.95 * visible.sum()
        low, high = entries("cutouts")[picture.name]["depth_range_m"]
        assert low - 0.01 <= depth[known].min()
        assert depth[known].max() <= high + 0.01


def test_its_size() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 9_500_000


def test_people_and_pairs_are_a_fair_share() -> None:
    kinds = Counter(entry["kind"] for entry in entries("cutouts").values())
    assert 0.35 <= kinds["person"] / kinds.total() <= 0.45
    assert len(kinds) >= 10
    assert min(kinds.values()) >= 10
    changes = [meta["change"]["kind"] for meta in metas().values()]
    assert len(changes) == 30
    assert 8 <= sum(change != "none" for change in changes) <= 15
    assert sum(not meta["foreground"] for meta in metas().values()) == 4
    assert len(open_pairs(SAMPLE / "pairs")) == 30


def test_the_attribution_covers_every_model_and_only_those() -> None:
    with (SAMPLE / "ATTRIBUTION.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    used = {model for entry in entries("plates").values() for model in entry["models"]}
    used |= {entry["model"] for entry in entries("cutouts").values()}
    used |= {model for meta in metas().values() for model in meta["models"] + meta["foreground"]}
    assert {row["model"] for row in rows if row["used_as"] == "model"} == used
    assert all(row["licence"] for row in rows)
    texts = {path.name for path in (SAMPLE / "LICENSES").iterdir()}
    assert {f"{row['model'].split('/')[0]}-LICENSE.TXT" for row in rows} <= texts


def test_pairs_are_held_out() -> None:
    foregrounds = {model for meta in metas().values() for model in meta["foreground"]}
    assert not foregrounds & {entry["model"] for entry in entries("cutouts").values()}

    def thumbnail(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((32, 24)), np.float32)

    plates = np.stack([thumbnail(path) for path in sorted((SAMPLE / "plates").glob("*.jpg"))])
    for path in sorted(SAMPLE.glob("pairs/*/plate.jpg")):
        assert np.abs(plates - thumbnail(path)).mean((1, 2)).min() > 8, path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image).astype(int)


def test_conversion_kept_alpha_and_relief() -> None:
    corpus = Path(__file__).parents[2] / "shared" / "data" / "rooms" / "cutouts"
    if not corpus.is_dir():
        pytest.skip(f"no {corpus}")
    for name in sorted(entries("cutouts"))[::25]:
        stem = Path(name).stem
        ours, source = pixels(SAMPLE / "cutouts" / name), pixels(corpus / f"{stem}.png")
        assert np.array_equal(ours[..., 3], source[..., 3])
        assert np.abs(ours - source)[source[..., 3] == 255].mean() < 6
        ours, source = pixels(SAMPLE / "cutouts" / f"{stem}_depth.png"), pixels(corpus / f"{stem}_depth.png")
        assert np.abs(ours - source).max() <= 2  # millimetres
