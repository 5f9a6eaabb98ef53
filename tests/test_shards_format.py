"""The format: what is stored of a scene comes back, and other readers can read it as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cleanplate.scenes.compose import Composite, laid_out, paste
from cleanplate.scenes.recipe import Recipe, make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.shards.format import GROUP, Encoder, decode_jpeg, encode_jpeg
from cleanplate.shards.identity import Shard
from cleanplate.shards.reading import StoredShard
from cleanplate.shards.store import Store
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

SHARD = Shard("train", 0)
COUNT, SIDE = 130, 64


def _composed(root: Path, depth: bool) -> list[tuple[Recipe, Composite]]:
    plates = write_plates(root / "plates", 4, depth)
    cutouts = write_cutouts(root / "cutouts", 5)
    settings = PlanSettings(positions=5, scenes_per_view=10, objects=(1, 3))
    plan, stock = make_plan(plates, cutouts, settings, 3, COUNT), Stock(plates, cutouts, SIDE)
    recipes = [recipe(plan, i, stock) for i in range(COUNT)]
    return [(drawn, paste(drawn, stock, SIDE, SIDE)) for drawn in recipes]


def _stored(root: Path, scenes: list[tuple[Recipe, Composite]], metric: bool = True) -> tuple[Store, str]:
    encoder = Encoder((SIDE, SIDE), 80, metric, {"part": "train", "number": "0"})
    for index, (drawn, scene) in enumerate(scenes):
        encoder.add(index, scene, drawn)
    tables = encoder.finish()
    store = Store(root / "data")
    store.write(SHARD.plates, tables[1])
    store.write(SHARD.scenes, tables[0])
    return store, tables[2]


@pytest.fixture(scope="module", params=[True, False], ids=["depth", "no depth"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, StoredShard, Path]:
    root = tmp_path_factory.mktemp("format")
    scenes = _composed(root, request.param)
    store, _ = _stored(root, scenes)
    laid = [(drawn, laid_out(composite)) for drawn, composite in scenes]
    return laid, StoredShard(store, SHARD), root / "data"


def _rows(shard: StoredShard) -> list:
    return [row for group in range(shard.groups) for row in shard.read(group)]


def test_a_stored_scene_is_the_composed_one(both: tuple) -> None:
    scenes, shard, _ = both
    rows = _rows(shard)
    assert [row.index for row in rows] == list(range(COUNT))
    assert shard.groups == -(-COUNT // GROUP)
    for row, (drawn, scene) in zip(rows, scenes, strict=True):
        again = row.scene(shard)
        assert np.array_equal(again.alpha, scene.alpha)
        assert all(np.array_equal(a.alpha, b.alpha) for a, b in zip(again.layers, scene.layers, strict=True))
        # where a layer shows nothing its depth is not kept
        for a, b in zip(again.layers, scene.layers, strict=True):
            assert np.abs(a.depth - b.depth)[b.alpha > 0].max(initial=0) < 0.00051
        assert np.abs(again.depth - scene.depth).max() < 0.00051
        assert np.abs(again.plate_depth - scene.plate_depth).max() < 0.00051
        assert Recipe.from_json(again.recipe) == drawn
        assert np.array_equal(again.plate, decode_jpeg(encode_jpeg(scene.plate, 80)))
        assert np.array_equal(again.frame, decode_jpeg(encode_jpeg(scene.frame, 80)))


def test_plates_are_stored_once(both: tuple) -> None:
    scenes, _, folder = both
    stored = pq.read_table(folder / SHARD.plates)
    assert stored.num_rows == len({(drawn.plate, drawn.view) for drawn, _ in scenes}) < COUNT / 3


def test_other_readers_find_what_is_written_down(both: tuple) -> None:
    import duckdb

    scenes, _, folder = both
    table = pq.read_table(folder / SHARD.scenes).to_pylist()
    for row, (drawn, scene) in zip(table, scenes, strict=True):
        mask = np.frombuffer(row["mask"], np.uint8).reshape(SIDE, SIDE)
        assert np.array_equal(mask, scene.alpha)
        assert [layer["cutout"] for layer in row["layers"]] == [placed.cutout for placed in drawn.placements]
    query = f"select count(*), sum(len(layers)) from '{folder / SHARD.scenes}'"
    assert duckdb.sql(query).fetchall()[0] == (COUNT, sum(len(drawn.placements) for drawn, _ in scenes))


def test_datasets_reads_the_shards(both: tuple, tmp_path: Path) -> None:
    import datasets

    _, shard, folder = both
    files = [str(folder / SHARD.scenes)]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == COUNT
    assert loaded[7]["frame"] == _rows(shard)[7].frame
    assert len(loaded[7]["layers"]) == len(_rows(shard)[7].layers)


def test_same_scenes_same_bytes_and_content(tmp_path: Path) -> None:
    scenes = _composed(tmp_path, True)
    first, second = (_stored(tmp_path / name, scenes) for name in ("a", "b"))
    assert first[1] == second[1]
    for name in (SHARD.scenes, SHARD.plates):
        assert first[0].read(name) == second[0].read(name)
    other, content = _stored(tmp_path / "c", scenes[:-1])
    assert content != first[1]
    assert StoredShard(other, SHARD).facts["content"] == content


def test_relative_depth_keeps_its_proportions(tmp_path: Path) -> None:
    scenes = _composed(tmp_path, True)
    store, _ = _stored(tmp_path, scenes, metric=False)
    shard = StoredShard(store, SHARD)
    for row, (_, composite) in zip(_rows(shard), scenes, strict=True):
        assert np.abs(row.scene(shard).depth / laid_out(composite).depth - 1).max() < 1e-3


def test_damaged_shard_is_an_input_error(tmp_path: Path) -> None:
    store, _ = _stored(tmp_path, _composed(tmp_path, False)[:5])
    store.write(SHARD.scenes, b"PAR1 but not really")
    with pytest.raises(InputError, match=r"scenes/train-00000.parquet and run compose again"):
        StoredShard(store, SHARD)
