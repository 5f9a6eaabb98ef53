"""Composites: the plate where alpha is 0, the cutout where it is 1, hidden by what is nearer, unknown where unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cleanplate.scenes.compose import canvas_box, compose, shared
from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.recipe import Recipe, make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from made_scenes import WALL, write_cutouts, write_plates

SIDE = 96


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    return write_plates(folder / "plates", 2), write_cutouts(folder / "cutouts", 3)


@pytest.fixture(scope="module")
def stock(pictures):
    return Stock(*pictures, side=SIDE)


def one(stock: Stock, *placements: Placement, view: View | None = None) -> Recipe:
    plate = stock.plate("plate0.png")
    up = None if plate.floor is None else plate.floor.up
    return Recipe(0, "plate0.png", view or View(), plate.focal, plate.aspect, up, placements)


def test_shared_is_integer_arithmetic_for_every_pair():
    share, value = (a.astype(np.uint8) for a in np.mgrid[0:256, 0:256])
    np.testing.assert_array_equal(shared(share, value), (share.astype(int) * value + 127) // 255)


@pytest.mark.parametrize("size", [(SIDE, SIDE), (64, 112), (33, 17)])
def test_alpha_0_is_the_plate_bit_for_bit(pictures, stock, size):
    plan = make_plan(*pictures, PlanSettings(positions=3), seed=0)
    for i in range(0, len(plan), 2):
        scene = compose(recipe(plan, i, stock), stock, *size)
        np.testing.assert_array_equal(scene.frame[scene.alpha == 0], scene.plate[scene.alpha == 0])
        np.testing.assert_array_equal(scene.depth[scene.alpha == 0], scene.plate_depth[scene.alpha == 0])
        assert scene.frame.shape == (*size, 3)
        assert Recipe.from_json(scene.recipe) == recipe(plan, i, stock)


@pytest.mark.parametrize("mirror", [False, True])
def test_alpha_255_is_the_resized_cutout(stock, mirror):
    placed = Placement("cutout1.png", "free", mirror, 0.4, 0.8, 0.3, 0.5, None)
    scene = compose(one(stock, placed), stock, SIDE, SIDE)
    left, top, right, bottom = canvas_box(placed, View(), SIDE, SIDE)
    cutout, _ = stock.cutout("cutout1.png").at(bottom - top, right - left, mirror)
    np.testing.assert_array_equal(scene.alpha[top:bottom, left:right], cutout[..., 3])
    solid = cutout[..., 3] == 255
    assert solid.sum() > 200
    np.testing.assert_array_equal(scene.frame[top:bottom, left:right][solid], cutout[..., :3][solid])
    assert scene.alpha.sum() == cutout[..., 3].sum(dtype=int)


def test_soft_edges_have_the_cutouts_colour_without_fringe(stock):
    placed = Placement("cutout0.png", "free", False, 0.5, 0.9, 0.2, 0.3, None)
    scene = compose(one(stock, placed), stock, SIDE, SIDE)
    colour = stock.cutout("cutout0.png").levels[0][30, 20, :3].astype(float)
    share = scene.alpha[..., None] / 255
    assert ((scene.alpha > 0) & (scene.alpha < 255)).sum() > 20
    np.testing.assert_allclose(scene.frame, share * colour + (1 - share) * scene.plate, atol=2)


def test_what_the_plate_shows_nearer_hides_a_standing_cutout(pictures, stock, monkeypatch):
    plate = stock.plate("plate0.png")
    near = plate.depth.copy()
    near[:, :80] = 1.0  # a pillar on the left half
    pillar = Stock(*pictures, side=SIDE)
    monkeypatch.setattr(pillar, "plate", lambda _: replace(plate, depth=near))
    placed = Placement("cutout0.png", "standing", False, 0.5, 0.9, 0.4, 0.6, 2.0)
    scene = compose(one(stock, placed), pillar, SIDE, SIDE)
    assert scene.alpha[:, : SIDE // 2 - 2].max() == 0
    assert scene.alpha[:, SIDE // 2 + 2 :].max() == 255
    np.testing.assert_array_equal(scene.frame[:, : SIDE // 2 - 2], scene.plate[:, : SIDE // 2 - 2])
    floating = compose(one(stock, replace(placed, mode="free")), pillar, SIDE, SIDE)
    assert floating.alpha[:, : SIDE // 2 - 2].max() == 255


def test_nearer_layers_cover_farther_ones_and_depth_is_the_nearest(stock):
    far = Placement("cutout0.png", "standing", False, 0.5, 0.9, 0.4, 0.6, 2.0)
    near = Placement("cutout1.png", "standing", False, 0.55, 0.95, 0.4, 0.6, 1.5)
    scene = compose(one(stock, far, near), stock, SIDE, SIDE)
    back, front = scene.layers
    solid = front.alpha == 255
    assert (back.alpha[solid] == 0).all()
    assert (scene.depth[solid] == 1.5).all()
    only_back = (back.alpha >= 128) & (front.alpha == 0)
    assert only_back.any()
    assert (scene.depth[only_back] == 2.0).all()
    assert scene.depth.max() <= WALL + 1.5
    together = 255 - (255 - front.alpha.astype(int)) * (255 - compose(one(stock, far), stock, SIDE, SIDE).alpha) / 255
    np.testing.assert_allclose(scene.alpha, together, atol=1.01)


def test_a_cutout_of_unknown_depth_makes_the_frames_depth_unknown(stock):
    placed = Placement("cutout0.png", "free", False, 0.5, 0.9, 0.4, 0.6, None)
    scene = compose(one(stock, placed), stock, SIDE, SIDE)
    assert (scene.depth[scene.alpha >= 128] == 0).all()
    assert (scene.depth[scene.alpha < 128] > 0).all()


def test_a_view_is_the_plate_cut_out_and_enlarged(stock):
    placed = Placement("cutout0.png", "free", False, 0.5, 0.75, 0.2, 0.3, None)
    whole = compose(one(stock, placed), stock, 120, 160)
    part = compose(one(stock, placed, view=View(0.25, 0.25, 0.5, 0.5)), stock, 60, 80)
    np.testing.assert_array_equal(part.plate, whole.plate[30:90, 40:120])
    np.testing.assert_array_equal(part.frame, whole.frame[30:90, 40:120])
    np.testing.assert_array_equal(part.plate_depth, whole.plate_depth[30:90, 40:120])


def test_out_of_the_canvas_is_no_error(stock):
    for x, y in ((-3.0, 0.5), (0.5, -2.0), (4.0, 4.0)):
        scene = compose(one(stock, Placement("cutout0.png", "free", False, x, y, 0.4, 0.6, None)), stock, SIDE, SIDE)
        assert scene.alpha.max() == 0
        assert len(scene.layers) == 1


def test_memory_stays_within_the_budget(pictures):
    stock = Stock(*pictures, side=SIDE, budget=300_000)
    for _ in range(2):
        for picture in pictures[0]:
            stock.plate(picture.name)
        for picture in pictures[1]:
            stock.cutout(picture.name)
        assert 0 < stock._bytes <= 300_000
        assert stock._bytes == sum(item.bytes for item in stock._kept.values())
