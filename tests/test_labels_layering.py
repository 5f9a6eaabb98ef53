"""Layering: one label of a plate and one of a cutout, put together as the scene was."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.labels.layering import layer_values, on_grey, positive, relief_of, view_values
from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.stock import Cutout
from cleanplate.types import Layer, Scene

HEIGHT, WIDTH = 40, 60
WHOLE = View()


def ramp(near: float = 1.0, far: float = 5.0) -> np.ndarray:
    """Far above, near below."""
    return np.repeat(np.linspace(far, near, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)


def scene(box: tuple[int, int, int, int], exact: np.ndarray | None = None) -> Scene:
    """One layer, solid in (left, top, right, bottom)."""
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[box[1] : box[3], box[0] : box[2]] = 255
    depth = np.zeros((HEIGHT, WIDTH), np.float32) if exact is None else exact
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Scene(pixels, pixels, alpha, depth, depth, (Layer(alpha, np.zeros_like(depth)),), "")


def placed(mode, box: tuple[int, int, int, int], depth_m: float | None, mirror: bool = False) -> Placement:
    left, top, right, bottom = box
    x, width = (left + right) / 2 / WIDTH, (right - left) / WIDTH
    return Placement("c", mode, mirror, x, bottom / HEIGHT, width, (bottom - top) / HEIGHT, depth_m)


def values(placement: Placement, made: Scene, plate: np.ndarray, relief=None, kind="metric", view=WHOLE) -> np.ndarray:
    recipe = Recipe(0, "p", view, 1.0, 1.5, None, (placement,))
    relief = np.ones((8, 8), np.float32) if relief is None else relief
    return layer_values(recipe, made, plate, {"c": relief}, kind)[0]


BOX = (20, 10, 30, 30)


@pytest.mark.parametrize("kind", ["metric", "relative", "disparity"])
def test_what_stands_has_the_plates_value_at_its_feet(kind):
    """The teacher's own value: its metres are half the plate's here, and the recipe's do not matter."""
    plate = 1 / ramp() if kind == "disparity" else ramp() / 2
    exact = ramp()
    got = values(placed("standing", BOX, float(exact[30, 25])), scene(BOX, exact), plate, kind=kind)
    np.testing.assert_allclose(got[10:30, 20:30], plate[30, 25], rtol=1e-5)
    assert np.isnan(got[:10]).all()
    assert np.isnan(got[:, 30:]).all()
    without_exact = values(placed("standing", BOX, 3.3), scene(BOX), plate, kind=kind)
    np.testing.assert_allclose(without_exact[10:30, 20:30], plate[30, 25])


@pytest.mark.parametrize("kind", ["metric", "disparity"])
def test_feet_below_the_view_are_nearer_than_its_lowest_row(kind):
    """Half as far as the last row says, by the recipe and the exact depth there."""
    box, exact = (20, 20, 30, 60), ramp()
    plate = 1 / exact if kind == "disparity" else exact
    distance = float(exact[-1, 25]) / 2
    got = values(placed("standing", box, distance), scene((20, 20, 30, 40), exact), plate, kind=kind)
    depth = 1 / got if kind == "disparity" else got
    np.testing.assert_allclose(depth[20:, 20:30], distance, rtol=1e-5)


def test_a_contact_is_found_in_the_view():
    view = View(0.25, 0.5, 0.5, 0.5)
    plate = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) + 1
    placement = Placement("c", "standing", False, 0.5, 0.75, 0.1, 0.1, None)
    got = values(placement, scene((25, 12, 35, 20)), plate, view=view)
    assert np.nanmax(got) == plate[HEIGHT // 2, WIDTH // 2]


@pytest.mark.parametrize("kind", ["metric", "relative", "disparity"])
@pytest.mark.parametrize(("depth_m", "ratio"), [(None, 0.8), (1.5, 0.6), (0.1, 0.5), (2.4, 0.95)])
def test_what_floats_is_nearer_than_all_that_it_covers(kind, depth_m: float | None, ratio: float):
    exact = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    plate = (1 / ramp() if kind == "disparity" else ramp()).copy()
    plate[12, 22] = 4.0 if kind == "disparity" else 0.25  # the nearest thing covered
    plate[0, 0] = 50.0 if kind == "disparity" else 0.01  # and one nearer, elsewhere
    got = values(placed("free", BOX, depth_m), scene(BOX, exact), plate, kind=kind)
    expected = 4.0 / ratio if kind == "disparity" else 0.25 * ratio
    np.testing.assert_allclose(got[10:30, 20:30], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["metric", "disparity"])
def test_the_relief_is_in_proportion_and_turns_with_the_cutout(kind):
    exact, relief = ramp(), np.ones((20, 10), np.float32)
    relief[:, 5:] = 1.25
    plate = 1 / exact if kind == "disparity" else exact
    distance = float(exact[30, 25])
    for mirror in (False, True):
        got = values(placed("standing", BOX, distance, mirror), scene(BOX, exact), plate, relief, kind)
        turned = relief[:, ::-1] if mirror else relief
        np.testing.assert_allclose(got[10:30, 20:30], plate[30, 25] * turned, rtol=1e-5)


@pytest.mark.parametrize("kind", ["metric", "disparity"])
def test_a_floating_relief_reaches_through_nothing(kind):
    relief = np.ones((20, 10), np.float32)
    relief[:, 5:] = 0.5 if kind == "disparity" else 2.0  # far behind its base
    plate = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    got = values(placed("free", BOX, None), scene(BOX), plate, relief, kind)[10:30, 20:30]
    if kind == "disparity":
        np.testing.assert_allclose(got[:, :5], 2 / 0.8)
        np.testing.assert_allclose(got[:, 5:], 2 / 0.98)
    else:
        np.testing.assert_allclose(got[:, :5], 2 * 0.8)
        np.testing.assert_allclose(got[:, 5:], 2 * 0.98)


def test_what_leaves_the_canvas_or_covers_the_unknown():
    relief = np.ones((20, 10), np.float32)
    relief[:10] = 1.5  # its upper half, which is out of the picture
    box = (-5, -10, 5, 10)
    got = values(placed("free", box, None), scene((0, 0, 5, 10)), np.full((HEIGHT, WIDTH), 4.0, np.float32), relief)
    np.testing.assert_allclose(got[:10, :5], 3.2)
    unknown = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    for mode in ("free", "standing"):
        assert np.isnan(values(placed(mode, BOX, 2.0), scene(BOX), unknown)).all()
    hidden = scene((0, 0, 0, 0))
    assert np.isnan(values(placed("free", BOX, 2.0), hidden, ramp())).all()


def test_relief_is_relative_to_the_base_and_fills_up():
    depth = np.full((40, 20), 3.0, np.float32)
    depth[:20] = 3.6
    depth[38:] = 2.0
    alpha = np.full((40, 20), 255, np.uint8)
    alpha[:, 0], depth[:, 0] = 100, 9.0  # an edge, where the teacher saw grey
    got = relief_of(depth, alpha)
    np.testing.assert_allclose(got[38:], 1.0)
    np.testing.assert_allclose(got[:20], 1.8)
    np.testing.assert_allclose(got[20:38], 1.5)
    assert relief_of(depth * np.float32(7), alpha) == pytest.approx(got)
    depth[:20] = 60
    assert relief_of(depth, alpha).max() == 2.0, "no cutout is twice as deep as it is far away"
    for nothing in (np.nan, 0.0, -1.0):
        assert (relief_of(np.full((40, 20), nothing, np.float32), alpha) == 1).all()
    depth[5:] = np.nan
    assert (relief_of(depth, alpha) == 1).all(), "little is known"


def test_relative_values_below_zero_are_moved():
    values_ = np.array([[-2.0, np.nan, 3.0]], np.float32)
    np.testing.assert_array_equal(positive(values_), np.array([[0, np.nan, 5]], np.float32))
    np.testing.assert_array_equal(positive(-values_), np.array([[5, np.nan, 0]], np.float32))
    np.testing.assert_array_equal(positive(values_[:, 2:]), values_[:, 2:])
    assert np.isnan(positive(values_[:, 1:2])).all()


def test_a_view_is_the_part_that_the_scene_shows():
    plate = np.arange(80 * 120, dtype=np.float32).reshape(80, 120)
    plate[0, 0] = np.nan
    np.testing.assert_array_equal(view_values(plate, View(0.25, 0.5, 0.5, 0.5), 40, 60), plate[40:, 30:90])
    assert np.isnan(view_values(plate, WHOLE, 80, 120)[0, 0])


def test_a_cutout_is_shown_on_grey():
    colour = np.zeros((30, 20, 4), np.uint8)
    colour[10:20, 5:15] = (200, 100, 50, 255)
    picture, spot = on_grey(Cutout((colour,), None, 0.0, 2 / 3, None, np.ones((4, 4), bool)))
    assert picture.shape == (38, 38, 3)
    np.testing.assert_array_equal(picture[spot][10:20, 5:15], np.broadcast_to(np.uint8([200, 100, 50]), (10, 10, 3)))
    outside = np.ones((38, 38), bool)
    outside[spot][10:20, 5:15] = False
    assert (picture[outside] == 118).all()
    assert picture[spot].shape == (30, 20, 3)
