"""Live scenes are pure functions of (epoch, index); the order loses and repeats nothing and starts anywhere."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.scenes.camera import EffectsName
from cleanplate.scenes.dataset import LiveScenes, loader, to_float
from cleanplate.scenes.order import SampleOrder, _feistel
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    return write_plates(folder / "plates", 2), write_cutouts(folder / "cutouts", 3)


def live(pictures, size: int | tuple[int, int] = 48, effects: EffectsName = "train", **others) -> LiveScenes:
    return LiveScenes(*pictures, size=size, plan=PlanSettings(), effects=effects, seed=0, **others)


@pytest.mark.parametrize("size", [64, 128, (40, 56)])
def test_samples_have_the_stated_shapes_types_and_ranges(pictures, size):
    scenes = live(pictures, size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert len(scenes) == 2 * 3 * 20 * 2
    for index in range(12):
        sample = scenes[(0, index)]
        assert sample["plate"].shape == sample["frame"].shape == (3, height, width)
        for name in ("alpha", "depth", "plate_depth"):
            assert sample[name].shape == (1, height, width)
        assert sample["plate"].dtype == sample["frame"].dtype == sample["alpha"].dtype == np.uint8
        assert sample["depth"].dtype == sample["plate_depth"].dtype == np.float32
        assert (sample["depth"] >= 0).all()


def test_an_epoch_shows_the_same_scenes_with_fresh_effects(pictures):
    one, other = live(pictures), live(pictures)
    fresh = 0
    for index in range(8):
        a, again, later = one[(0, index)], other[(0, index)], one[(1, index)]
        for name in a:
            np.testing.assert_array_equal(a[name], again[name])
        np.testing.assert_array_equal(a["alpha"], later["alpha"])
        np.testing.assert_array_equal(a["depth"], later["depth"])
        fresh += not np.array_equal(a["frame"], later["frame"])
    assert fresh >= 6


def test_without_effects_frames_are_the_plate_where_alpha_is_0(pictures):
    scenes = live(pictures, effects="none", prior_share=1.0)
    for index in range(6):
        sample = scenes[(0, index)]
        background = np.broadcast_to(sample["alpha"] == 0, sample["frame"].shape)
        np.testing.assert_array_equal(sample["frame"][background], sample["plate"][background])


def test_greyscale_is_three_equal_channels_and_scenes_is_a_subset(pictures):
    scenes = live(pictures, greyscale=True, scenes=7)
    assert len(scenes) == 7
    frame = scenes[(0, 3)]["frame"]
    assert (frame == frame[:1]).all()
    assert frame.std() > 5


def test_the_prior_is_withheld_in_its_share_and_absent_without_depth(pictures, tmp_path):
    scenes = live(pictures, prior_share=0.5)
    given = [scenes[(0, index)]["plate_depth"].any() for index in range(80)]
    assert 0.3 < np.mean(given) < 0.7
    flat = live((write_plates(tmp_path / "flat", 1, depth=False), pictures[1]), prior_share=1.0)
    assert not any(flat[(0, index)][name].any() for index in range(10) for name in ("depth", "plate_depth"))


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 40),
    share=st.integers(1, 5),
    world=st.integers(1, 4),
    seed=st.integers(0, 3),
    start=st.integers(0, 30),
)
def test_ranks_together_see_each_epoch_once_and_any_step_is_reachable(length, share, world, seed, start):
    batch = share * world
    steps = 2 * length // batch + 3
    whole = list(islice(SampleOrder(length, batch, seed), steps))
    assert all(len(samples) == batch for samples in whole)
    flat = [sample for samples in whole for sample in samples]
    assert len(set(flat)) == len(flat)
    for epoch in (0, 1):
        assert sorted(index for e, index in flat if e == epoch) == list(range(length))
    ranks = [list(islice(SampleOrder(length, batch, seed, rank=r, world=world), steps)) for r in range(world)]
    for number, samples in enumerate(whole):
        assert [ranks[i % world][number][i // world] for i in range(batch)] == samples
    assert list(islice(SampleOrder(length, batch, seed, start_step=start), 5)) == [
        SampleOrder(length, batch, seed).step(start + k) for k in range(5)
    ]


def test_epochs_and_seeds_are_shuffled_differently():
    orders = [[index for _, index in SampleOrder(200, 200, seed).step(epoch)] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert abs(np.corrcoef(orders[0], np.arange(200))[0, 1]) < 0.3


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 600), epoch=st.integers(0, 3))
def test_huge_plans_are_permuted_without_a_stored_order(length, epoch):
    assert sorted(_feistel(place, length, 5, epoch) for place in range(length)) == list(range(length))


def test_a_plan_of_a_hundred_million_starts_at_once():
    batch = SampleOrder(10**8 + 7, 32, 0, start_step=2_000_000).step(2_000_000)
    assert len(set(batch)) == 32
    assert all(0 <= index < 10**8 + 7 for _, index in batch)
    assert np.std([index for _, index in batch]) > 10**7


def test_a_batch_that_processes_cannot_share_is_an_error():
    with pytest.raises(InputError, match="multiple of 3"):
        SampleOrder(10, 4, 0, world=3)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_gives_the_orders_batches_in_order(pictures, workers):
    scenes = live(pictures)
    order = SampleOrder(len(scenes), 4, 0, start_step=3)
    batches = list(islice(iter(loader(scenes, order, workers)), 2))
    for number, batch in enumerate(batches):
        for place, key in enumerate(order.step(3 + number)):
            for name, value in scenes[key].items():
                np.testing.assert_array_equal(batch[name][place].numpy(), value)
    moved = to_float(batches[0], "cpu")
    assert moved.frame.dtype == torch.float32
    assert moved.frame.max() <= 1
    assert moved.depth.shape == (4, 1, 48, 48)
    torch.testing.assert_close(moved.alpha * 255, batches[0]["alpha"].float())


def test_a_canvas_of_nothing_is_an_error(pictures):
    with pytest.raises(InputError, match="0 x 0"):
        live(pictures, size=0)
