"""Shadows of a box on an analytic floor: on the far side of the light, as long as trigonometry says."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.records import generator
from cleanplate.scenes.shadow import Light, Shadow, draw_shadow, shade
from cleanplate.types import Layer
from made_scenes import CAMERA_HEIGHT, FOCAL, HEIGHT, PITCH, WIDTH, room_depth

LENS = FOCAL / HEIGHT, WIDTH / HEIGHT
UP = (0.0, -float(np.cos(PITCH)), -float(np.sin(PITCH)))
ROW = 95
"""The box touches the floor at this row, in the middle of the picture."""


def floor_distance(row: float) -> float:
    return CAMERA_HEIGHT / ((row - HEIGHT / 2) / FOCAL * np.cos(PITCH) + np.sin(PITCH))


def box(height_m: float, width_m: float, mode: str = "standing") -> tuple[Placement, Layer]:
    """A solid box and its layer on a canvas as large as the plate."""
    z = floor_distance(ROW)
    tall, wide = height_m * FOCAL / z, width_m * FOCAL / z
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[round(ROW - tall) : ROW, round(80 - wide / 2) : round(80 + wide / 2)] = 255
    placed = Placement("box", mode, False, 0.5, ROW / HEIGHT, wide / WIDTH, tall / HEIGHT, z)  # ty: ignore
    return placed, Layer(alpha, np.where(alpha > 0, np.float32(z), np.float32(0)))


def lit(azimuth: float, elevation: float, contact: float = 0.0, mode: str = "standing", up=UP) -> np.ndarray:
    light = Light(azimuth, elevation, distance=200.0, strength=0.5, softness=0.3)
    shadow = Shadow((light,), contact, 0.4, (1.0, 1.0, 1.0), pitch=0.3, wall=2.0)
    placed, layer = box(0.8, 0.8, mode)
    return shade(shadow, (placed,), (layer,), View(), LENS, up, room_depth())


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("elevation", [0.7, 1.0])
def test_a_light_from_the_side_casts_a_shadow_as_long_as_its_elevation_says(side, elevation):
    factor = lit(side * np.pi / 2, elevation)
    z = floor_distance(ROW)
    # the billboard stands an eighth of its width before the contact point, as the front of a body does
    length = (0.8 / np.tan(elevation) - 0.12 * 0.8) * FOCAL / z
    across = (np.arange(WIDTH) + 0.5 - WIDTH / 2) * -side  # positive on the far side of the light
    dark = factor[ROW] < 0.75
    reached = across[dark]
    assert factor[ROW].min() == pytest.approx(0.5, abs=0.03)
    assert (reached > -8).all()
    assert reached.max() == pytest.approx(length, abs=3)
    inner = (across > 4) & (across < length - 4)
    assert dark[inner].all()


def test_a_light_behind_the_camera_darkens_the_floor_behind_the_box():
    factor = lit(0.0, 0.9)
    assert factor[ROW - 8, 80] < 0.6
    assert (factor[ROW + 8 :] > 0.95).all()
    against = lit(np.pi, 0.9)
    assert against[ROW + 8, 80] < 0.6
    assert (against[: ROW - 12] > 0.95).all()


def test_a_low_light_throws_the_shadow_onto_the_wall():
    factor = lit(0.0, 0.05)
    wall = (
        np.abs(room_depth() * (np.cos(PITCH) - (np.indices((HEIGHT, WIDTH))[0] - 59.5) / FOCAL * np.sin(PITCH)) - 5)
        < 0.01
    )
    assert wall.mean() > 0.3
    assert (factor[wall] < 0.6).sum() > 50


@pytest.mark.parametrize(("mode", "up"), [("free", UP), ("standing", None)])
def test_without_a_known_floor_a_plausible_one_is_assumed(mode, up):
    factor = lit(np.pi / 2, 0.9, mode=mode, up=up)
    assert factor.min() < 0.6
    assert (factor[ROW - 2 : ROW + 3, 50:79] < 0.7).any()
    assert np.isfinite(factor).all()


def test_the_contact_blob_is_darkest_at_the_feet():
    light = Light(0.0, 1.0, 5.0, 0.0, 1.0)
    placed, layer = box(0.8, 0.8)
    factor = shade(
        Shadow((light,), 0.6, 0.5, (1.0, 1.0, 1.0), 0.3, 2.0), (placed,), (layer,), View(), LENS, UP, room_depth()
    )
    row, column = np.unravel_index(factor.argmin(), (HEIGHT, WIDTH))
    assert abs(row - ROW) <= 3
    assert abs(column - 80) <= 3
    assert factor.min() == pytest.approx(0.4, abs=0.06)


def test_drawn_shadows_stay_in_range():
    for number in range(200):
        shadow = draw_shadow(generator(number), 0.75)
        assert 1 <= len(shadow.lights) <= 2
        assert all(0 <= light.strength <= 0.75 and 0.3 < light.elevation < 1.4 for light in shadow.lights)
        assert shadow == draw_shadow(generator(number), 0.75)
