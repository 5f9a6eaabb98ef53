"""The plate's depth as an input: withheld in its share, never inventing what is unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.scenes.prior import Prior, corrupt_depth, draw_prior
from cleanplate.scenes.records import from_json, to_json
from made_scenes import room_depth


@given(index=st.integers(0, 10_000))
def test_unknown_stays_unknown_and_records_replay(index):
    prior = draw_prior(1.0, 0, 0, index)
    assert from_json(Prior, to_json(prior)) == prior
    nothing = np.zeros((30, 40), np.float32)
    assert not corrupt_depth(prior, nothing).any()
    depth = room_depth()
    before = depth.copy()
    made = corrupt_depth(prior, depth)
    np.testing.assert_array_equal(made, corrupt_depth(prior, depth))
    np.testing.assert_array_equal(depth, before)
    assert made.dtype == np.float32
    assert (made >= 0).all()
    assert made.max() < 2 * depth.max()


def test_the_stated_share_is_given():
    given = [draw_prior(0.5, 1, 0, index).given for index in range(1000)]
    assert np.mean(given) == pytest.approx(0.5, abs=0.05)
    assert not draw_prior(0.0, 1).given
    assert draw_prior(1.0, 1).given
    assert not corrupt_depth(Prior(0, given=False), room_depth()).any()


def test_each_corruption():
    depth = room_depth()
    np.testing.assert_array_equal(corrupt_depth(Prior(0, True), depth), depth)
    holes = corrupt_depth(Prior(0, True, holes=0.3), depth)
    assert (holes == 0).mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_array_equal(holes[holes > 0], depth[holes > 0])
    noise = corrupt_depth(Prior(0, True, noise=0.02), depth) / depth - 1
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    np.testing.assert_allclose(corrupt_depth(Prior(0, True, scale=1.05), depth), depth * 1.05, rtol=1e-6)
    coarse = corrupt_depth(Prior(0, True, grid=4), depth)
    assert len(np.unique(coarse)) <= len(np.unique(depth)) / 4
    edge = np.where(np.arange(40)[None] < 20, 1.0, 2.0).repeat(30, 0).astype(np.float32)
    assert (corrupt_depth(Prior(0, True, bleed=2), edge)[0] == 2).sum() == 22
    assert (corrupt_depth(Prior(0, True, bleed=-2), edge)[0] == 1).sum() == 22
    assert (corrupt_depth(Prior(0, True, x=128 / 30 * 3), edge)[0] == 1).sum() == 33 - 10
