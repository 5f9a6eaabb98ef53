"""The survey: every figure against numpy over all pixels, the sample, the unfinished dataset, the pictures."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.engine.engine import Engine
from cleanplate.pictures.library import open_library
from cleanplate.settings import PlanSettings
from cleanplate.shards.contact import contact_sheet, metres_shown, spread
from cleanplate.shards.identity import DATASET, make_identity, sorted_parts
from cleanplate.shards.inspect import draw_survey, short_bytes, show_survey
from cleanplate.shards.make import Job, ShardMaker
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from cleanplate.shards.survey import sampled_groups, survey
from cleanplate.shards.tally import AREA_BINS, CELLS, depth_edges, tally
from cleanplate.types import InputError, Layer, Scene
from made_scenes import write_cutouts, write_plates

SIDE, ROWS = 48, 120


def write_dataset(folder, scenes: int, depth: bool = True) -> Dataset:
    """Shards of 120 scenes each, without a manifest."""
    write_plates(folder / "plates", 6, depth)
    write_cutouts(folder / "cutouts", 6)
    libraries = open_library([folder / "plates"], "plates"), open_library([folder / "cutouts"], "cutouts")
    plan = PlanSettings(scenes_per_view=5)
    identity = make_identity(*libraries, size=SIDE, quality=80, seed=0, plan=plan, scenes=scenes, rows=ROWS)
    store = Store(str(folder / "data"))
    store.write(DATASET, identity.to_json().encode())
    make = ShardMaker(Job(store, identity, sorted_parts(*libraries, 0), "parquet"))
    for shard in identity.shards():
        make(shard)
    return Dataset(str(folder / "data"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("survey"), 400)


def scenes_of(dataset: Dataset) -> list[Scene]:
    opened = [dataset.open(shard) for shard in dataset.shards()]
    return [row.scene(shard) for shard in opened for group in range(shard.groups) for row in shard.read(group)]


def test_figures_are_those_of_numpy_over_all_pixels(dataset):
    scenes = scenes_of(dataset)
    found = survey(dataset, None)
    assert found.sampled == len(scenes) == 400
    frames = np.stack([scene.frame for scene in scenes])
    assert found.mean == tuple(int(total) / (255 * frames[..., 0].size) for total in frames.sum((0, 1, 2), np.int64))
    np.testing.assert_allclose(found.deviation, (frames / 255.0).std((0, 1, 2)), rtol=1e-9)
    for channel in range(3):
        np.testing.assert_array_equal(found.brightness[channel], np.bincount(frames[..., channel].ravel(), None, 256))
    masks = np.stack([scene.alpha >= 128 for scene in scenes])
    shares = masks.mean((1, 2))
    assert found.empty_share == (shares == 0).mean() > 0
    np.testing.assert_array_equal(found.mask_area.counts, np.histogram(shares[shares > 0], found.mask_area.edges)[0])
    cells = masks.mean(0).reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean((1, 3))
    np.testing.assert_allclose(found.mask_position, cells, atol=1e-12)
    depths = np.stack([scene.depth for scene in scenes])
    assert found.depth_unknown == pytest.approx((depths == 0).mean())
    inside = depths[masks & (depths > 0)].astype(np.float64)
    # an edge falls between two millimetres: a depth beside it may be counted on either side by floats
    near_edge = np.abs(inside[:, None] / np.array(found.depth.edges) - 1).min(1) < 1e-3
    assert np.abs(np.histogram(inside, found.depth.edges)[0] - found.depth_in_mask.counts).sum() <= 2 * near_edge.sum()
    assert sum(found.depth.counts) == (depths > 0).sum()
    seen = [sum((layer.alpha >= 128).any() for layer in scene.layers) for scene in scenes]
    np.testing.assert_array_equal(found.objects, np.bincount(seen, minlength=16))


def test_counts_and_bytes_are_those_of_the_files(dataset):
    found = survey(dataset, 1)
    folder = dataset.store.local
    assert folder is not None
    assert {name: part.scenes for name, part in found.parts.items()} == dataset.identity.scenes
    assert found.complete
    for name, part in found.parts.items():
        files = [path for kind in ("scenes", "plates") for path in (folder / kind).glob(f"{name}-*.parquet")]
        assert part.bytes == sum(path.stat().st_size for path in files)
        assert part.shards == part.shards_there == len(files) // 2
    assert found.bytes_per_scene == sum(part.bytes for part in found.parts.values()) / 400


def test_a_sample_is_spread_over_all_shards_and_all_places_in_them(dataset):
    scenes = {"train": 320_000, "validation": 40_000, "test": 40_000}
    identity = replace(dataset.identity, scenes=scenes, rows=1000)
    chosen = sampled_groups(identity, identity.shards(), 20_000)
    groups = [group for mine in chosen.values() for group in mine]
    assert len(groups) == 200
    assert len(chosen) > 150
    assert np.bincount(groups, minlength=10).min() > 5
    assert sum(len(chosen.get(shard, ())) for shard in identity.shards("test")) == 20
    everything = sampled_groups(identity, identity.shards(), None)
    assert list(everything) == list(identity.shards())
    assert all(mine == list(range(10)) for mine in everything.values())


def test_a_sample_is_nearly_the_whole_and_says_how_much_it_is(dataset):
    found, whole = survey(dataset, 160), survey(dataset, None)
    assert 0 < found.sampled < 400
    assert survey(dataset, 160) == found
    np.testing.assert_allclose(found.mean, whole.mean, atol=0.03)
    with pytest.raises(InputError, match="--scenes must be at least 1, got 0"):
        survey(dataset, 0)


def test_workers_find_the_same(dataset):
    assert survey(dataset, None, Engine(workers=2)) == survey(dataset, None, Engine(workers=0))


def test_an_unfinished_dataset_is_surveyed_as_far_as_it_is(tmp_path):
    dataset = write_dataset(tmp_path, 250)
    gone = dataset.shards("train")[0]
    dataset.store.delete(gone.scenes)
    found = survey(dataset)
    assert not found.complete
    assert found.parts["train"].scenes - found.parts["train"].scenes_there == ROWS
    assert found.sampled == 250 - ROWS
    assert draw_survey(found, dataset).std() > 0
    for shard in dataset.shards():
        if shard != gone:
            dataset.store.delete(shard.scenes)
    with pytest.raises(InputError, match="no shard yet"):
        survey(dataset)


def test_without_depth_there_are_no_depths_and_still_pictures(tmp_path):
    dataset = write_dataset(tmp_path, 60, depth=False)
    found = survey(dataset)
    assert (found.depth_kind, sum(found.depth.counts), found.depth_unknown) == ("none", 0, 1.0)
    assert draw_survey(found, dataset).shape[1] >= 1100
    assert Image.open(io.BytesIO(contact_sheet(dataset))).size[0] > 128


def test_show_prints_writes_and_draws(dataset, tmp_path, capsys):
    found = show_survey(dataset, None, tmp_path / "figures.json", tmp_path / "survey.png")
    printed = capsys.readouterr().out
    for expected in ("complete", "320", "deviation", f"{found.mean[0]:.4f}", f"{found.empty_share:.1%}"):
        assert expected in printed
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written == json.loads(json.dumps(asdict(found)))
    picture = np.array(Image.open(tmp_path / "survey.png"))
    assert picture.shape[0] > 800
    # every one of the six plots holds more than its paper
    height = round(0.56 * picture.shape[1])
    for plot in (half for band in np.array_split(picture[20:height], 2) for half in np.array_split(band, 3, axis=1)):
        assert (plot.std(axis=2) > 10).mean() > 0.01


def test_the_contact_sheet_is_the_same_every_time_and_has_every_part(dataset):
    sheet = contact_sheet(dataset, columns=3, rows=4)
    assert sheet == contact_sheet(Dataset(dataset.store.place), columns=3, rows=4)
    picture = np.array(Image.open(io.BytesIO(sheet)))
    # 4 rows of scenes, each three rows of tiles of 128 pixels
    assert 4 * 3 * 128 < picture.shape[0] < 4 * 3 * 150
    coloured = (picture.std(axis=2) > 30).mean(axis=1)
    assert (coloured[:450] > 0.1).any()


def test_spread_takes_middles_of_equal_stretches(dataset):
    shards = dataset.shards("train")
    places = spread(dataset.identity, shards, 8)
    numbers = [shard.number * ROWS + row for shard, row in places]
    assert numbers == [(2 * k + 1) * 320 // 16 for k in range(8)]
    assert len(spread(dataset.identity, shards, 1000)) == 320
    assert spread(dataset.identity, [], 5) == []


def test_the_scale_of_depth_is_round_and_holds_the_depths(dataset):
    scenes = scenes_of(dataset)[:20]
    near, far = metres_shown(scenes)
    assert (near, far) in [(a, b) for a in (0.5, 1, 2) for b in (5, 10, 20)]
    known = np.concatenate([scene.depth[scene.depth > 0] for scene in scenes])
    assert ((known >= near) & (known <= far)).mean() > 0.97


def scene_of(rng: np.random.Generator, height: int, width: int) -> Scene:
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (height, width), dtype=np.uint8) * np.uint8(rng.integers(2))
    depth = (rng.integers(0, 65535, (height, width)) * rng.integers(0, 2)).astype(np.float32) / 1000
    layers = (Layer(alpha, depth),) * int(rng.integers(0, 3))
    return Scene(frame, frame, alpha, depth, depth, layers, "{}")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_a_tally_is_the_sum_of_any_parts_of_it(height, width, count, cut, seed):
    rng = np.random.default_rng(seed)
    scenes = [scene_of(rng, height, width) for _ in range(count)]
    whole, parts = tally(scenes, True), tally(scenes[:cut], True) + tally(scenes[cut:], True)
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(value, getattr(parts, name))
    pixels = height * width * count
    assert whole.colours.sum() == 3 * pixels
    assert whole.cell_pixels.sum() == whole.depths.sum() + whole.depth_unknown == pixels
    assert whole.positions.sum() == sum((scene.alpha >= 128).sum() for scene in scenes)
    assert whole.areas.sum() + whole.empty == whole.objects.sum() == count


def test_a_full_mask_and_depths_at_the_edges_fall_in_their_bins():
    alpha = np.full((4, 4), 255, np.uint8)
    frame = np.zeros((4, 4, 3), np.uint8)
    depth = np.array([[0.1, 1.0, 10.0, 65.5], [0.01, 0.0, 0.0, 0.0]] * 2, np.float32)
    found = tally([Scene(frame, frame, alpha, depth, depth, (), "{}")], True)
    assert found.areas[AREA_BINS - 1] == 1
    edges = depth_edges(True)
    expected = np.zeros(60, int)
    for value, pixels in ((0.1, 4), (1.0, 2), (10.0, 2), (65.5, 2)):
        expected[np.searchsorted(edges, value, side="right") - 1] += pixels
    np.testing.assert_array_equal(found.depths, expected)
    assert found.depth_unknown == 6


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (16_900, "16.9 kB"), (7e9, "7 GB"), (0, "0 B")])
def test_sizes_are_short(size, text):
    assert short_bytes(size) == text
