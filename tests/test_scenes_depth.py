"""The floor of an analytic room, against its closed form; a cutout's depth; a given depth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from cleanplate.pictures.frames import read_depth
from cleanplate.scenes.depth import fit_floor, given, layered
from made_scenes import CAMERA_HEIGHT, FOCAL, HEIGHT, PITCH, WALL, room_depth


def test_the_floor_of_an_analytic_room():
    floor = fit_floor(room_depth(), FOCAL / HEIGHT)
    assert floor is not None
    assert floor.camera_height == pytest.approx(CAMERA_HEIGHT, rel=0.01)
    np.testing.assert_allclose(floor.up, (0, -np.cos(PITCH), -np.sin(PITCH)), atol=0.01)
    assert (floor.points[:, 2] < WALL + 0.5).all()
    assert (floor.beyond[:, 1] >= 1).all()
    assert (floor.beyond[:, 2] < floor.points[:, 2].min() + 0.02).all()  # lower in the picture is nearer


@settings(max_examples=15)
@drawn(seed=st.integers(0, 1000), noise=st.floats(0, 0.01), holes=st.floats(0, 0.5))
def test_the_floor_survives_noise_and_holes(seed, noise, holes):
    rng = np.random.default_rng(seed)
    depth = room_depth() * (1 + noise * rng.standard_normal((HEIGHT, 160))).astype(np.float32)
    depth[rng.random(depth.shape) < holes] = 0
    floor = fit_floor(depth, FOCAL / HEIGHT, seed)
    assert floor is not None
    assert floor.camera_height == pytest.approx(CAMERA_HEIGHT, rel=0.03)
    assert not floor.mask[depth == 0].any()


def test_a_table_is_not_the_floor():
    depth = room_depth()
    x = (np.arange(160) + 0.5 - 80) / FOCAL
    y = (np.arange(HEIGHT) + 0.5 - 60) / FOCAL
    descent = np.broadcast_to((y * np.cos(PITCH) + np.sin(PITCH))[:, None], depth.shape)
    table = np.where(descent > 0.05, 0.85 / np.maximum(descent, 0.05), np.inf).astype(np.float32)
    spot = (np.abs(x)[None] < 0.3) & (table > 1.5) & (table < 3.5)
    depth[spot] = table[spot]  # 0.75 m above the floor
    assert spot.mean() > 0.1
    floor = fit_floor(depth, FOCAL / HEIGHT)
    assert floor is not None
    assert floor.camera_height == pytest.approx(CAMERA_HEIGHT, rel=0.01)
    assert floor.mask[spot].mean() < 0.02


@pytest.mark.parametrize("depth", [np.zeros((60, 80), np.float32), np.full((60, 80), 3, np.float32)])
def test_unknown_depth_and_a_bare_wall_have_no_floor(depth):
    assert fit_floor(depth, 1.2) is None


def test_floors_of_rendered_rooms():
    folder = Path(__file__).parents[2] / "shared" / "data" / "rooms" / "plates"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    facts = json.loads((folder / "pictures.json").read_text())["pictures"]
    errors = []
    for name in sorted(facts)[:25]:
        depth = read_depth(folder / name.replace(".jpg", "_depth.png"))
        floor = fit_floor(depth, facts[name]["focal_px"] / depth.shape[0])
        errors.append(np.inf if floor is None else abs(floor.camera_height / facts[name]["camera_height_m"] - 1))
    assert np.mean(np.array(errors) < 0.02) >= 0.75


def test_layered_depth():
    relief = np.array([[2.0, 2.5], [3.0, 2.0]], np.float32)
    assert (layered(None, relief, 2.0, True, (2, 2)) == 0).all()
    np.testing.assert_allclose(layered(5.0, None, 0.0, True, (2, 2)), 5.0)
    np.testing.assert_allclose(layered(5.0, relief, 2.0, True, (2, 2)), relief + 3)
    np.testing.assert_allclose(layered(1.0, relief, 2.0, False, (2, 2)), relief / 2)
    assert (layered(0.1, relief - 1.9, 2.0, True, (2, 2)) >= 0.05).all()


def test_given_depth_keeps_values_and_the_unknown():
    depth = np.array([[0, 1], [2, 3]], np.float32)
    np.testing.assert_array_equal(given(depth, (4, 4)), np.kron(depth, np.ones((2, 2))))
    np.testing.assert_array_equal(given(np.kron(depth, np.ones((3, 3), np.float32)), (2, 2)), depth)
