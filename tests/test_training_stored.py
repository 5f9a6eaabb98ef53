"""Stored scenes are what live scenes would be; the window order loses and repeats nothing and starts anywhere."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.labels.labels import Labels
from cleanplate.scenes.camera import apply_effects, draw_effects
from cleanplate.scenes.compose import compose
from cleanplate.scenes.dataset import loader, taken
from cleanplate.scenes.recipe import recipe
from cleanplate.scenes.stock import Stock
from cleanplate.shards.format import decode_jpeg, encode_jpeg
from cleanplate.shards.identity import part_plan, plan_number, sorted_parts
from cleanplate.shards.reading import Dataset, Row, StoredShard
from cleanplate.training.stored import SPARE, StoredScenes, WindowOrder
from cleanplate.types import InputError, Scene
from made_dataset import write_pictures, write_shards

SIZE, ROWS = 64, 150
"""Shards of 150 rows: row groups of 100, 50, 100, 50 ..."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write_shards(folder, 456, SIZE, ROWS)
    return folder


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    return Dataset(folder / "data")


def stored(dataset: Dataset, part="train", *, effects="train", **options) -> StoredScenes:
    return StoredScenes(dataset, part, effects=effects, seed=5, **options)


def live(folder: Path, dataset: Dataset, numbers, size: int = SIZE) -> list[Scene]:
    """The training scenes that were stored, composed again."""
    identity = dataset.identity
    plates, cutouts = sorted_parts(*write_pictures(folder), identity.seed)["train"]
    plan, stock = part_plan(identity, "train", plates, cutouts), Stock(plates, cutouts, SIZE)
    indices = [plan_number(number, len(plan), len(plates), identity.plan.scenes_per_view) for number in numbers]
    recipes = [recipe(plan, index, stock) for index in indices]
    return [compose(drawn, Stock(plates, cutouts, size), size, size) for drawn in recipes]


def through_jpeg(scene: Scene) -> Scene:
    plate, frame = (decode_jpeg(encode_jpeg(pixels, 80)) for pixels in (scene.plate, scene.frame))
    return replace(scene, plate=plate, frame=frame)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_a_stored_sample_is_the_live_one_but_for_jpeg_and_rounded_depth(folder, dataset):
    scenes = stored(dataset, prior_share=1.0)
    numbers = [*range(0, 376, 15), 375]
    assert len(scenes) == 376
    for number, scene in zip(numbers, live(folder, dataset, numbers), strict=True):
        for epoch in (0, 3):
            sample = scenes[epoch, number]
            wanted = taken(through_jpeg(scene), "train", (5, epoch, number), prior_share=1.0)
            assert {n: (v.shape, v.dtype) for n, v in sample.items()} == {
                n: (v.shape, v.dtype) for n, v in wanted.items()
            }
            np.testing.assert_array_equal(sample["alpha"], wanted["alpha"])
            np.testing.assert_allclose(sample["depth"], wanted["depth"], atol=0.00051)
            np.testing.assert_allclose(sample["plate_depth"], wanted["plate_depth"], atol=0.0006)
            for name in ("plate", "frame"):
                assert apart(sample[name], wanted[name]) < 0.1, "a shadow may fall a hair elsewhere"


def test_epochs_differ_by_their_effects_alone_and_any_reader_agrees(dataset):
    one, other = stored(dataset), stored(dataset)
    fresh = 0
    for number in (7, 180, 333, 8):
        first, later = one[0, number], one[1, number]
        for name, value in other[0, number].items():
            np.testing.assert_array_equal(first[name], value)
        np.testing.assert_array_equal(first["depth"], later["depth"])
        fresh += not np.array_equal(first["frame"], later["frame"])
        plate, frame = apply_effects(draw_effects("train", 5, 1, number), one.scene(number))
        np.testing.assert_array_equal(later["frame"], frame.transpose(2, 0, 1))
        np.testing.assert_array_equal(later["plate"], plate.transpose(2, 0, 1))
    assert fresh >= 3


@pytest.mark.parametrize("size", [48, 32, 20])
def test_smaller_scenes_are_what_is_composed_at_that_size(folder, dataset, size):
    scenes = stored(dataset, effects="none", size=size, prior_share=1.0)
    numbers = range(0, 376, 9)
    areas, depths = [], []
    for number, whole, small in zip(
        numbers, live(folder, dataset, numbers), live(folder, dataset, numbers, size), strict=True
    ):
        sample = scenes[0, number]
        assert sample["frame"].shape == (3, size, size)
        assert sample["alpha"].shape == sample["depth"].shape == sample["plate_depth"].shape == (1, size, size)
        assert abs(sample["alpha"].mean() - whole.alpha.mean()) < 2
        areas.append(apart(sample["alpha"][0], small.alpha))
        inside = sample["alpha"][0] >= 128
        np.testing.assert_array_equal(sample["depth"][0][~inside], scenes.scene(number).plate_depth[~inside])
        both = inside & (small.alpha >= 128) & (small.depth > 0)
        depths.append(np.abs(sample["depth"][0] / np.where(both, small.depth, 1) - 1)[both].mean() if both.any() else 0)
    assert np.mean(areas) < 6
    assert np.mean(depths) < 0.02


def test_effects_keep_their_length_on_a_smaller_canvas(dataset):
    """A drift of some pixels of 128 is drawn for the canvas that the network sees, not for the stored one."""
    scenes = stored(dataset, size=32)
    for number in range(30):
        plate, _ = apply_effects(draw_effects("train", 5, 0, number), scenes.scene(number))
        np.testing.assert_array_equal(scenes[0, number]["plate"], plate.transpose(2, 0, 1))


def test_greyscale_and_the_share_of_priors(dataset):
    scenes = stored(dataset, greyscale=True)
    samples = [scenes[0, number] for number in range(60)]
    assert all((s["frame"] == s["frame"][:1]).all() and s["frame"].std() > 5 for s in samples)
    assert 0.2 < np.mean([s["plate_depth"].any() for s in samples]) < 0.8
    assert not any(stored(dataset, prior_share=0.0)[0, n]["plate_depth"].any() for n in range(20))


@pytest.mark.parametrize(("count", "length"), [(37, 37), (1, 1), (375, 375), (None, 376), (9999, 376)])
def test_fewer_scenes_are_spread_evenly_and_counted_by_row_group(dataset, count, length):
    scenes = stored(dataset, scenes=count)
    rows = [scenes.row(number) for number in range(len(scenes))]
    assert len(rows) == length
    assert rows == sorted(set(rows))
    assert max(np.diff([-1, *rows, 376])) <= -(-376 // length) + 1 or length == 1
    edges = [0, 100, 150, 250, 300, 376]
    assert scenes.groups().tolist() == [sum(a <= row < b for row in rows) for a, b in pairwise(edges)]


def test_an_epoch_reads_every_row_group_once_and_memory_is_a_window(dataset, monkeypatch):
    reads, read = [], StoredShard.read

    def counted(shard: StoredShard, group: int):
        reads.append((shard.shard.number, group))
        return read(shard, group)

    monkeypatch.setattr(StoredShard, "read", counted)
    scenes = stored(dataset, effects="none", window=1)
    order = scenes.order(8, 0)
    assert order.window == 1
    seen = [number for step in range(47) for _, number in order.step(step) if scenes[0, number]]
    assert sorted(seen) == list(range(376))
    assert sorted(reads) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    many = stored(dataset, effects="none", window=1)
    for number in range(0, 376, 3):
        assert many[0, number]
    assert len(many._groups) <= 1 + SPARE


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_give_the_orders_batches_in_order(dataset):
    scenes = stored(dataset, window=2)
    scenes[0, 0]  # files are open, and must not be shared with the workers
    order = scenes.order(6, 0, start_step=60)
    batches = list(islice(iter(loader(scenes, order, 2)), 5))
    for number, batch in enumerate(batches):
        for place, key in enumerate(order.step(60 + number)):
            for name, value in scenes[key].items():
                np.testing.assert_array_equal(batch[name][place].numpy(), value)


def _frame(scenes: StoredScenes, key: tuple[int, int], queue) -> None:
    queue.put(scenes[key]["frame"].tobytes())


def test_a_spawned_process_reads_by_itself(dataset):
    scenes = stored(dataset)
    wanted = scenes[0, 101]["frame"].tobytes()
    assert len(pickle.dumps(scenes)) < 50_000, "what is in memory stays here"
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_frame, args=(scenes, (0, 101), queue))
    process.start()
    assert queue.get(timeout=60) == wanted
    process.join()


def test_what_is_not_stored_is_an_error(dataset):
    with pytest.raises(InputError, match=r"scenes of 64 px, 65 px are asked for.*--size 1 to 64.*--size 65"):
        stored(dataset, size=65)
    with pytest.raises(InputError, match="at least 1, got 0"):
        stored(dataset, scenes=0)
    with pytest.raises(IndexError):
        stored(dataset)[0, 376]


def test_a_part_without_scenes_is_an_error(tmp_path):
    dataset = write_shards(tmp_path, 3, 32, ROWS)
    with pytest.raises(InputError, match=r"no validation scenes.*'train': 3"):
        stored(dataset, "validation")


ORDERS = {
    "groups": st.lists(st.integers(0, 7), min_size=1, max_size=12).filter(any),
    "window": st.integers(1, 5),
    "share": st.integers(1, 5),
    "world": st.integers(1, 4),
    "seed": st.integers(0, 3),
}


@settings(max_examples=60, deadline=None)
@given(**ORDERS)
def test_ranks_together_see_each_epoch_once_in_full_batches(groups, window, share, world, seed):
    length, batch = sum(groups), share * world
    steps = 2 * length // batch + 3
    whole = list(islice(WindowOrder(groups, batch, seed, window=window), steps))
    assert all(len(samples) == batch for samples in whole)
    flat = [sample for samples in whole for sample in samples]
    assert len(set(flat)) == len(flat)
    for epoch in (0, 1):
        assert sorted(number for e, number in flat if e == epoch) == list(range(length))
    ranks = [
        list(islice(WindowOrder(groups, batch, seed, rank=r, world=world, window=window), steps)) for r in range(world)
    ]
    for number, samples in enumerate(whole):
        assert [ranks[i % world][number][i // world] for i in range(batch)] == samples


@settings(max_examples=40, deadline=None)
@given(**ORDERS, start=st.integers(0, 60))
def test_an_order_that_goes_on_at_a_step_is_the_order_that_went_on(groups, window, share, world, seed, start):
    batch = share * world
    others = {"rank": world - 1, "world": world, "window": window}
    went_on = list(islice(WindowOrder(groups, batch, seed, **others), start, start + 5))
    assert list(islice(WindowOrder(groups, batch, seed, start_step=start, **others), 5)) == went_on
    jumping = WindowOrder(groups, batch, seed, **others)
    assert [jumping.step(start + k) for k in (4, 0, 2)] == [went_on[k] for k in (4, 0, 2)]


def test_a_window_is_read_before_the_next_and_holds_scenes_from_everywhere():
    order = WindowOrder([100] * 400, 50, 0, window=20)
    numbers = np.array([number for step in range(40_000 // 50) for _, number in order.step(step)])
    for window in numbers.reshape(20, 2000):
        groups = set(window // 100)
        assert len(groups) == 20
        assert np.std(sorted(groups)) > 60, "neighbours in the window come from all over the part"
        batches = window.reshape(40, 50)
        assert min(len(set(batch // 100)) for batch in batches) >= 12, "each batch mixes most of the window"
        assert (np.abs(np.diff(window)) == 1).mean() < 0.01
    assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 0.1


def test_epochs_and_seeds_are_shuffled_differently():
    orders = [
        tuple(number for _, number in WindowOrder([10] * 20, 200, seed, window=4).step(epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4


def test_a_hundred_million_scenes_start_at_once():
    batch = WindowOrder(np.full(10**6, 100), 32, 0).step(7_000_000)
    assert len(set(batch)) == 32
    assert {epoch for epoch, _ in batch} == {2}
    assert np.std([number for _, number in batch]) > 10**7


def test_orders_that_make_no_batches_are_errors():
    with pytest.raises(InputError, match="multiple of 3"):
        WindowOrder([10], 4, 0, world=3)
    with pytest.raises(InputError, match="at least one scene"):
        WindowOrder([0], 4, 0)


def test_shadows_fall_where_the_scene_was_composed_whatever_a_label_says(dataset):
    """A label changes the truth alone: plate and frame stay those of the stored depth."""

    class Halved(Labels):
        def __init__(self) -> None:
            pass

        def apply(self, scene: Scene, shard: StoredShard, row: Row) -> Scene:  # noqa: ARG002
            half = tuple(replace(layer, depth=layer.depth / 2) for layer in scene.layers)
            return replace(scene, depth=scene.depth / 2, plate_depth=scene.plate_depth / 2, layers=half)

    options = {"effects": "train", "seed": 3, "prior_share": 0.0}
    plain, labelled = (StoredScenes(dataset, "train", labels=label, **options) for label in (None, Halved()))
    for number in range(30):
        one, other = plain[0, number], labelled[0, number]
        assert np.array_equal(one["plate"], other["plate"])
        assert np.array_equal(one["frame"], other["frame"])
        assert np.allclose(one["depth"], 2 * other["depth"])
