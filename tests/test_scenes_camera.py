"""Effects: none is nothing, records replay, each effect does what it says, and the truth never changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cleanplate.scenes.camera import apply_effects, draw_effects
from cleanplate.scenes.compose import compose
from cleanplate.scenes.effects import NONE, Effects
from cleanplate.scenes.light import Glow
from cleanplate.scenes.looks import Tone
from cleanplate.scenes.motion import Drift, Sway
from cleanplate.scenes.recipe import make_plan, recipe
from cleanplate.scenes.sensor import Shot, exposed
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from made_scenes import write_cutouts, write_plates

GREY = np.full((128, 128, 3), 100, np.uint8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    pictures = write_plates(folder / "plates", 1), write_cutouts(folder / "cutouts", 2)
    stock = Stock(*pictures, side=128)
    plan = make_plan(*pictures, PlanSettings(empty_share=0.0, free_share=0.0, objects=(2, 2)), seed=0)
    return compose(recipe(plan, 0, stock), stock, 128, 128)


def test_none_is_the_composite_bit_for_bit(scene):
    plate, frame = apply_effects(draw_effects("none", 0, 1, 2), scene)
    np.testing.assert_array_equal(plate, scene.plate)
    np.testing.assert_array_equal(frame, scene.frame)


@pytest.mark.parametrize("name", ["train", "standard"])
def test_records_replay_identically_after_json_and_leave_the_scene_alone(scene, name):
    before = [a.copy() for a in (scene.plate, scene.frame, scene.alpha, scene.depth)]
    changed = 0
    for index in range(40):
        effects = draw_effects(name, 5, 1, index)
        assert effects == draw_effects(name, 5, 1, index)
        again = Effects.from_json(effects.to_json())
        assert again == effects
        first, second = apply_effects(effects, scene), apply_effects(again, scene)
        for a, b in zip(first, second, strict=True):
            assert a.dtype == np.uint8
            assert a.shape == scene.frame.shape
            np.testing.assert_array_equal(a, b)
        changed += not np.array_equal(first[1], scene.frame)
    assert changed > 30
    for a, b in zip(before, (scene.plate, scene.frame, scene.alpha, scene.depth), strict=True):
        np.testing.assert_array_equal(a, b)
    assert draw_effects(name, 5, 1, 0) != draw_effects(name, 5, 2, 0) != draw_effects(name, 6, 2, 0)


def test_standard_is_moderate_and_has_its_stated_shares():
    drawn = [draw_effects("standard", 0, 0, index) for index in range(600)]
    assert np.mean([e.shadow is not None for e in drawn]) == pytest.approx(0.6, abs=0.06)
    assert np.mean([e.frame.jpeg is not None for e in drawn]) == pytest.approx(0.5, abs=0.06)
    assert all(70 <= (e.frame.jpeg or 70) <= 95 and e.drift is not None for e in drawn)
    assert all(max(abs(e.drift.x), abs(e.drift.y)) <= 1 for e in drawn if e.drift is not None)
    assert np.std([np.log(e.frame.gain[1]) for e in drawn]) == pytest.approx(0.06, rel=0.2)
    some = [draw_effects("train", 0, 0, index) for index in range(600)]
    assert 0.02 < np.mean([e == NONE for e in some]) < 0.12
    assert np.std([np.log(e.frame.gain[1]) for e in some]) > 0.12


def test_exposure_white_balance_and_gamma():
    shown = exposed(GREY, Shot(gain=(1.5, 1.0, 0.5)))
    np.testing.assert_array_equal(shown[0, 0], [150, 100, 50])
    assert exposed(GREY, Shot(gamma=2.0))[0, 0, 0] == round(255 * (100 / 255) ** 2)
    assert exposed(GREY, Shot(gain=(9.0, 9.0, 9.0))).min() == 255


@pytest.mark.parametrize("grain", [False, True])
def test_noise_has_its_deviation_and_grows_with_light(grain):
    for level, expected in ((0.0, 4.0), (200 / 255, np.hypot(4, 6 * np.sqrt(200 / 255)))):
        flat = np.full((256, 256, 3), round(level * 255) or 60, np.uint8)
        shot = Shot(read=4.0, shot=6.0 if level else 0.0, grain=grain, noise_seed=9)
        noise = exposed(flat, shot).astype(float) - flat
        assert noise.std() == pytest.approx(expected, rel=0.06)
        assert abs(noise.mean()) < 0.15
    one, other = (exposed(GREY, Shot(read=4.0, noise_seed=seed)) for seed in (9, 10_000_019))
    assert not np.array_equal(one, other)
    big = exposed(np.full((600, 20, 3), 90, np.uint8), Shot(read=4.0, noise_seed=3))
    assert big.std() == pytest.approx(4, rel=0.1)


def test_jpeg_keeps_red_red_and_adds_error():
    red = GREY.copy()
    red[..., 0] = 220
    shown = exposed(red, Shot(jpeg=90))
    assert shown[..., 0].mean() > 200 > 120 > shown[..., 2].mean()
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    errors = [np.abs(exposed(rough, Shot(jpeg=quality)).astype(int) - rough).mean() for quality in (95, 30)]
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize("shot", [Shot(blur=1.0), Shot(motion=5.0), Shot(scale=0.4)])
def test_blur_motion_and_resolution_take_away_detail(shot):
    rough = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert exposed(rough, shot).std() < 0.75 * rough.std()


@pytest.mark.parametrize("turn", [0.0, 1e-7])
def test_drift_moves_the_plate_and_only_it(scene, turn):
    plate, frame = apply_effects(Effects(drift=Drift(2.0, -3.0, turn, 1.0)), scene)
    np.testing.assert_array_equal(frame, scene.frame)
    np.testing.assert_array_equal(plate[10:100, 10:100], scene.plate[13:103, 8:98])


def test_half_a_pixel_of_drift_is_between_its_neighbours(scene):
    smooth = replace(scene, plate=np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2))
    plate, _ = apply_effects(Effects(drift=Drift(0.5, 0.0, 0.0, 1.0)), smooth)
    np.testing.assert_allclose(plate[5, 10:110, 0].astype(int), smooth.plate[5, 10:110, 0].astype(int) - 1, atol=1)


def test_sway_moves_a_region_of_the_plate(scene):
    sway = Sway(seed=1, cells=8, amplitude=3.0, spot=(0.0, 0.0, 0.2), faded=False)
    plate, frame = apply_effects(Effects(sway=sway), scene)
    change = np.abs(plate.astype(int) - scene.plate).mean(axis=2)
    assert change[:40, :40].mean() > 5 > 1 > change[-30:, -30:].mean()
    np.testing.assert_array_equal(frame, scene.frame)
    faded, _ = apply_effects(Effects(sway=replace(sway, faded=True)), scene)
    assert faded[:40, :40].std() < plate[:40, :40].std()


def test_shadows_darken_the_background_and_never_the_cutouts(scene):
    for index in range(30):
        shadow = draw_effects("standard", 3, 0, index).shadow
        plate, frame = apply_effects(Effects(shadow=shadow), scene)
        np.testing.assert_array_equal(plate, scene.plate)
        np.testing.assert_array_equal(frame[scene.alpha == 255], scene.frame[scene.alpha == 255])
        assert (frame <= scene.frame).all()
        if shadow is not None:
            assert (frame < scene.frame).any()
            colourless = Effects(shadow=replace(shadow, tint=(1.0, 0.5, 0.0)))
            lost = scene.frame.astype(int) - apply_effects(colourless, scene)[1]
            assert lost[..., 2].max() == 0 < lost[..., 1].sum() < lost[..., 0].sum()


def test_tones_change_the_cutouts_and_nothing_else(scene):
    tone = Tone((0.5, 0.5, 0.5), 0.0, 0.0)
    _, frame = apply_effects(Effects(tones=(tone, tone)), scene)
    np.testing.assert_array_equal(frame[scene.alpha == 0], scene.frame[scene.alpha == 0])
    solid = scene.alpha == 255
    np.testing.assert_allclose(frame[solid].astype(float), scene.frame[solid] / 2, atol=1)


def test_camouflage_moves_a_cutout_to_its_surroundings_colour(scene):
    solid = scene.layers[-1].alpha == 255
    around = scene.frame[scene.layers[-1].alpha == 0].mean(axis=0)
    before = np.abs(scene.frame[solid].mean(axis=0) - around).sum()
    same = Tone((1.0, 1.0, 1.0), 0.0, 0.0)
    _, frame = apply_effects(Effects(tones=(same, replace(same, camouflage=0.9))), scene)
    assert np.abs(frame[solid].mean(axis=0) - around).sum() < 0.6 * before


def test_a_glow_changes_the_light_smoothly(scene):
    flat = replace(scene, frame=GREY)
    _, frame = apply_effects(Effects(glow=Glow(0.0, 0.2, (0.5, 0.5, 0.3), 0.0)), flat)
    assert frame[64, 3, 0] < 85
    assert frame[64, -3, 0] > 115
    assert np.abs(np.diff(frame[64, :, 0].astype(int))).max() <= 4


def test_other_sizes_work(scene):
    names = ("plate", "frame", "alpha", "plate_depth", "depth")
    part = replace(scene, layers=(), **{name: getattr(scene, name)[:1, :1] for name in names})
    for index in range(20):
        plate, frame = apply_effects(draw_effects("train", 0, 0, index), part)
        assert plate.shape == frame.shape == (1, 1, 3)
