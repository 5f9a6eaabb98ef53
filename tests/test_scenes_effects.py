"""Each effect does what it says where it says so, and never touches the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cleanplate.scenes.background import Foliage, Screen
from cleanplate.scenes.camera import apply_effects
from cleanplate.scenes.effects import NONE, Effects
from cleanplate.scenes.ground import Bounce, Contact, Reflection
from cleanplate.scenes.light import Glow, Patch
from cleanplate.scenes.looks import Blend, Pane, Plain, Tone
from cleanplate.scenes.mixture import SHARES, draw_alone, draw_train
from cleanplate.scenes.motion import Drift, Sway, drifted
from cleanplate.scenes.outside import Outside
from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.sensor import Shot, exposed
from cleanplate.scenes.shadow import Light, Shadow
from cleanplate.types import Layer, Scene

SIDE, TOP, FOOT, LEFT, RIGHT = 128, 30, 90, 50, 80
"""The canvas, and the box that a red thing with a blue lower half fills on it."""
ROWS, COLUMNS = slice(TOP, FOOT), slice(LEFT, RIGHT)
SUN = Light(azimuth=0.6, elevation=0.7, distance=30.0, strength=0.6, softness=0.5)
OUTSIDE = Outside("pole", 3, 0.98, 0.9, np.pi, 1.2, 0.5, 0.7, 0.6, 0.5, (1.0, 1.0, 1.0), 0.4, 2.0)
SCREEN = Screen(1, 0.1, 0.1, 0.5, 0.4, 4, (20.0, 20.0, 250.0), 1.0)
FOLIAGE = Foliage(2, (0.5, 0.4, 0.2), 3.0, (80.0, 200.0, 60.0), 0.3)
SWAY = Sway(seed=1, cells=8, amplitude=3.0, spot=(0.5, 0.4, 0.3), faded=False)
PATCH = Patch(0.2, 0.2, 0.15, 0.15, 0.0, False, False, (0.5, 0.5, 0.5), 1.0, False)
TONE = Tone((0.5, 0.7, 0.9), 5.0, 0.3)

OF_THE_FRAME = {
    "shadow": Effects(shadow=Shadow((SUN,), 0.0, 0.5, (1.0, 1.0, 1.0), 0.4, 2.0)),
    "outside": Effects(outside=OUTSIDE),
    "contact": Effects(contacts=(Contact(0.9, 0.06, 0.2, 2.0),)),
    "reflection": Effects(reflection=Reflection(0.4, 1.0, 0.0)),
    "bounce": Effects(bounce=Bounce(0.5, 8.0)),
    "glow": Effects(glow=Glow(0.0, 0.2, (0.5, 0.5, 0.3), 0.2)),
    "patch": Effects(patches=(PATCH,)),
    "tone": Effects(tones=(TONE,)),
    "plain": Effects(plain=Plain((30.0, 60.0, 90.0), 0.2, 0.1)),
    "pane": Effects(pane=Pane(0.2, 0.1, 0.6, 0.3, 1.0)),
    "blend": Effects(blend=Blend("dark", 1.0)),
    "screen": Effects(screen=SCREEN),
    "dragged": Effects(dragged=(3.5, 0.0)),
    "exposure": Effects(frame=Shot(gain=(1.2, 1.1, 1.0))),
}
OF_THE_PLATE = {
    "drift": Effects(drift=Drift(1.0, 0.5, 0.0, 1.0)),
    "sway": Effects(sway=SWAY),
    "patch": Effects(patches=(replace(PATCH, plate=True),)),
    "exposure": Effects(plate=Shot(blur=1.0)),
}


@pytest.fixture
def scene() -> Scene:
    return made(np.full((SIDE, SIDE, 3), 120, np.uint8))


@pytest.fixture
def rough() -> Scene:
    return made(np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8))


def made(plate: np.ndarray) -> Scene:
    """The box on this plate, half a pixel of soft edge around it, on a floor that nobody knows."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[TOP - 1 : FOOT, LEFT - 1 : RIGHT + 1] = 128
    alpha[ROWS, COLUMNS] = 255
    colour = np.zeros_like(plate)
    colour[:60], colour[60:] = (220, 30, 30), (30, 30, 220)
    share = alpha[..., None] / 255
    frame = (share * colour + (1 - share) * plate + 0.5).astype(np.uint8)
    frame[alpha == 0] = plate[alpha == 0]
    placed = Placement("box", "free", False, 65 / SIDE, FOOT / SIDE, 30 / SIDE, 60 / SIDE, None)
    unknown = np.zeros((SIDE, SIDE), np.float32)
    recipe = Recipe(0, "plate", View(), 1.1, 1.0, None, (placed,))
    return Scene(plate, frame, alpha, unknown, unknown.copy(), (Layer(alpha.copy(), unknown.copy()),), recipe.to_json())


def empty(plate: np.ndarray) -> Scene:
    whole = made(plate)
    recipe = replace(Recipe.from_json(whole.recipe), placements=())
    return replace(whole, frame=plate.copy(), alpha=np.zeros_like(whole.alpha), layers=(), recipe=recipe.to_json())


def change(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return after.astype(int) - before


@pytest.mark.parametrize("name", OF_THE_FRAME)
def test_what_happens_to_the_frame_leaves_the_plate_alone(rough, name):
    plate, frame = apply_effects(OF_THE_FRAME[name], rough)
    np.testing.assert_array_equal(plate, rough.plate)
    assert (frame != rough.frame).any()


@pytest.mark.parametrize("name", OF_THE_PLATE)
def test_what_happens_to_the_plate_leaves_the_frame_alone(rough, name):
    plate, frame = apply_effects(OF_THE_PLATE[name], rough)
    np.testing.assert_array_equal(frame, rough.frame)
    assert (plate != rough.plate).any()


@pytest.mark.parametrize("name", ["shadow", "outside", "contact", "reflection", "bounce", "screen"])
def test_what_happens_to_the_background_leaves_what_stands_there_alone(rough, name):
    _, frame = apply_effects(OF_THE_FRAME[name], rough)
    solid = rough.alpha == 255
    np.testing.assert_array_equal(frame[solid], rough.frame[solid])


@pytest.mark.parametrize("kind", SHARES)
def test_no_family_touches_the_truth_or_minds_the_size(rough, kind):
    before = [array.copy() for array in arrays(rough)]
    for index in range(12):
        for picture in apply_effects(draw_alone(kind, 1, index), rough):
            assert picture.dtype == np.uint8
            assert picture.shape == rough.frame.shape
    for now, then in zip(arrays(rough), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for height, width in ((1, 1), (2, 3), (1, 9), (40, 17), (97, 160)):
        for index in range(4):
            for picture in apply_effects(draw_alone(kind, 2, index), cut(rough, height, width)):
                assert picture.shape == (height, width, 3)


def arrays(scene: Scene) -> list[np.ndarray]:
    own = [scene.plate, scene.frame, scene.alpha, scene.plate_depth, scene.depth]
    return own + [array for layer in scene.layers for array in (layer.alpha, layer.depth)]


def cut(scene: Scene, height: int, width: int) -> Scene:
    """The scene's middle, on a canvas of another size (repeated where that is larger)."""
    rows, columns = (np.arange(height) + 60) % SIDE, (np.arange(width) + 60) % SIDE

    def part(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[rows][:, columns])

    layers = tuple(Layer(part(layer.alpha), part(layer.depth)) for layer in scene.layers)
    names = ("plate", "frame", "alpha", "plate_depth", "depth")
    return replace(scene, layers=layers, **{name: part(getattr(scene, name)) for name in names})


def test_empty_scenes_are_perturbed_as_well(rough):
    nobody = empty(rough.plate)
    drawn = [draw_train(3, index) for index in range(60)]
    equal = [np.array_equal(*apply_effects(effects, nobody)) for effects in drawn]
    assert np.mean(equal) < 0.15
    for kind in ("photometric", "misalignment", "light", "noise", "blur", "compression", "background_motion"):
        pairs = [apply_effects(draw_alone(kind, 0, number), nobody) for number in range(12)]
        assert np.mean([np.array_equal(*pair) for pair in pairs]) < 0.5
    _, shaded = apply_effects(Effects(outside=OUTSIDE), nobody)
    assert (shaded <= nobody.frame).all()
    assert (shaded < 0.7 * nobody.frame).any()
    about_things = Effects(contacts=OF_THE_FRAME["contact"].contacts, tones=(TONE,), bounce=Bounce(0.5, 8.0))
    np.testing.assert_array_equal(apply_effects(about_things, nobody)[1], nobody.frame)


def test_nothing_is_nothing_bit_for_bit(rough):
    for scene in (rough, empty(rough.plate)):
        for given, taken in zip((scene.plate, scene.frame), apply_effects(NONE, scene), strict=True):
            np.testing.assert_array_equal(taken, given)


def test_a_contact_is_dark_right_under_the_thing_and_nowhere_above(scene):
    _, frame = apply_effects(OF_THE_FRAME["contact"], scene)
    assert frame[FOOT, LEFT + 8 : RIGHT - 8].max() < 0.4 * 120
    assert (frame <= scene.frame).all()
    assert frame[FOOT + 12 :].min() > 115
    np.testing.assert_array_equal(frame[: FOOT - 16], scene.frame[: FOOT - 16])
    lost = -change(frame, scene.frame).sum(axis=(1, 2))
    assert lost[FOOT:].sum() > 3 * lost[:FOOT].sum()  # what is lost beside the foot
    outside = replace(scene, layers=(Layer(np.roll(scene.alpha, SIDE - FOOT, 0), scene.depth),))
    np.testing.assert_array_equal(apply_effects(OF_THE_FRAME["contact"], outside)[1], scene.frame)


def test_a_wide_contact_bridges_the_gap_between_two_feet(scene):
    feet = scene.alpha.copy()
    feet[60:, LEFT + 8 : RIGHT - 8] = 0
    walker = replace(scene, alpha=feet, layers=(Layer(feet, scene.depth),))
    gap = slice(FOOT, FOOT + 2), slice(LEFT + 12, RIGHT - 12)
    shod, car = (
        apply_effects(Effects(contacts=(Contact(0.9, 0.06, across, 3.0),)), walker)[1] for across in (0.02, 0.7)
    )
    assert car[gap].mean() < 0.6 * shod[gap].mean()


def test_a_reflection_is_the_thing_upside_down_below_its_foot(scene):
    _, frame = apply_effects(OF_THE_FRAME["reflection"], scene)
    moved = change(frame, scene.frame)
    np.testing.assert_array_equal(frame[:FOOT], scene.frame[:FOOT])
    np.testing.assert_array_equal(frame[:, : LEFT - 2], scene.frame[:, : LEFT - 2])
    blue, red = moved[FOOT + 2 : FOOT + 20, LEFT:RIGHT], moved[FOOT + 32 : FOOT + 36, LEFT:RIGHT]
    assert blue[..., 2].min() > 10 > -10 > blue[..., 0].max()
    assert red[..., 0].max() > 3
    assert abs(blue[0]).sum() > abs(blue[-1]).sum()


def test_a_bounce_tints_what_is_near(scene):
    red = replace(scene, frame=np.where(scene.alpha[..., None] == 255, np.uint8(0), scene.frame))
    red.frame[ROWS, COLUMNS, 0] = 255
    moved = change(apply_effects(Effects(bounce=Bounce(0.5, 8.0)), red)[1], red.frame)
    near, far = moved[60, RIGHT + 2], moved[-4, -4]
    assert near[0] > 10
    assert near[2] < -10
    assert abs(far).max() <= 1


def test_a_pane_shows_the_plate_and_nothing_else_changes(rough):
    _, frame = apply_effects(OF_THE_FRAME["pane"], rough)
    inner = slice(TOP + 9, TOP + 20), slice(LEFT + 9, RIGHT - 9)
    np.testing.assert_allclose(frame[inner].astype(int), rough.plate[inner], atol=1)
    np.testing.assert_array_equal(frame[FOOT - 20 :], rough.frame[FOOT - 20 :])
    half = apply_effects(Effects(pane=Pane(0.2, 0.1, 0.6, 0.3, 0.5)), rough)[1]
    np.testing.assert_allclose(
        half[inner].astype(float), (rough.plate[inner] / 2.0 + rough.frame[inner] / 2.0), atol=1.5
    )


def test_plain_paint_has_its_colour_and_gradient(rough):
    _, frame = apply_effects(Effects(plain=Plain((30.0, 60.0, 90.0), 0.0, 0.0)), rough)
    assert (frame[ROWS, COLUMNS] == (30, 60, 90)).all()
    np.testing.assert_array_equal(frame[rough.alpha == 0], rough.frame[rough.alpha == 0])
    _, shaded = apply_effects(Effects(plain=Plain((100.0, 100.0, 100.0), 0.5, 0.0)), rough)
    assert shaded[TOP + 2, 60, 0] > 115 > 85 > shaded[FOOT - 2, 60, 0]
    _, kept = apply_effects(Effects(plain=Plain((100.0, 100.0, 100.0), 0.0, 0.3)), rough)
    assert kept[TOP + 5, 60, 0] > kept[FOOT - 5, 60, 0] + 30


@pytest.mark.parametrize("kind", ["soft", "dark", "bright", "eroded", "hard", "matched"])
def test_blends_change_the_edge(scene, kind):
    _, frame = apply_effects(Effects(blend=Blend(kind, 1.0)), scene)
    moved = np.abs(change(frame, scene.frame)).sum(axis=2)
    assert moved[40:80, LEFT - 2 : LEFT + 2].any()
    np.testing.assert_array_equal(frame[:, : LEFT - 4], scene.frame[:, : LEFT - 4])
    edge, rim = frame[40:55, LEFT - 1].astype(float).mean(), frame[40:55, LEFT].astype(float)
    if kind in ("soft", "dark", "bright", "eroded", "hard"):
        assert not moved[ROWS, COLUMNS][6:-6, 6:-6][:20].any()
    if kind == "dark":
        assert edge < 0.8 * scene.frame[40:55, LEFT - 1].mean()
    if kind == "bright":
        assert (change(frame, scene.frame)[40:55, LEFT - 1] >= 0).all()
    if kind == "eroded":
        assert np.abs(frame[40:55, LEFT - 1].astype(int) - scene.plate[40:55, LEFT - 1]).mean() < 40
    if kind == "soft":
        assert 35 < rim[:, 1].mean() < 115
    if kind == "matched":
        assert abs(frame[ROWS, COLUMNS].mean() - 120) < abs(scene.frame[ROWS, COLUMNS].mean() - 120)


def test_a_screen_shows_something_else_behind_the_thing(rough):
    _, frame = apply_effects(Effects(screen=SCREEN), rough)
    spot = np.zeros((SIDE, SIDE), bool)
    spot[13:64, 13:78] = True
    moved = (frame != rough.frame).any(axis=2)
    assert moved[spot & (rough.alpha == 0)].mean() > 0.9
    assert not moved[~spot].any()
    assert frame[20:28, 20:40, 2].mean() > frame[20:28, 20:40, 0].mean() + 60


def test_foliage_grows_in_both_pictures_behind_the_thing(rough):
    plate, frame = apply_effects(Effects(foliage=FOLIAGE), rough)
    behind = rough.alpha == 0
    np.testing.assert_array_equal(plate[behind], frame[behind])
    np.testing.assert_array_equal(frame[rough.alpha == 255], rough.frame[rough.alpha == 255])
    grown = (plate != rough.plate).any(axis=2)
    assert grown[40:60, 40:90].mean() > 0.5
    assert not grown[-10:, -10:].any()
    assert change(plate, rough.plate)[grown].mean(axis=0)[1] > change(plate, rough.plate)[grown].mean(axis=0)[0]


def test_leaves_move_in_the_plate_in_the_frame_and_change_their_light(rough, scene):
    both = Effects(sway=replace(SWAY, framed=True, more=((0.1, 0.9, 0.05),)))
    plate, frame = apply_effects(both, rough)
    behind = rough.alpha == 0
    assert (plate[behind] != frame[behind]).mean() > 0.3
    assert (frame[behind] != rough.frame[behind]).mean() > 0.3
    np.testing.assert_array_equal(frame[rough.alpha == 255], rough.frame[rough.alpha == 255])
    assert (plate[110:120, 8:18] != apply_effects(Effects(sway=SWAY), rough)[0][110:120, 8:18]).any()
    still, flickered = (apply_effects(Effects(sway=replace(SWAY, flicker=f)), scene)[0] for f in (0.0, 0.2))
    assert still.std() == 0 < 2 < flickered.std()


def test_ripples_run_across_the_picture():
    slope = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], SIDE, 0).repeat(3, 2)
    # where brightness grows to the right, a change of it is a displacement
    everywhere = replace(SWAY, spot=(0.5, 0.5, 9.0), cells=12)
    unevenness = []
    for ripple in (False, True):
        moved = change(apply_effects(Effects(sway=replace(everywhere, ripple=ripple)), made(slope))[0], slope)[
            8:-8, 8:-8, 0
        ]
        unevenness.append(moved.std(axis=1).mean() / moved.std())
    assert unevenness[1] < 0.6 * unevenness[0]


@pytest.mark.parametrize("plate", [False, True])
@pytest.mark.parametrize("round_", [False, True])
def test_a_patch_of_light_has_an_edge_and_its_colour(scene, plate, round_):
    sun = replace(PATCH, round=round_, plate=plate, gain=(0.5, 0.4, 0.2))
    lit = apply_effects(Effects(patches=(sun,)), scene)[0 if plate else 1]
    np.testing.assert_allclose(lit[25, 25], (180, 168, 144), atol=2)
    np.testing.assert_array_equal(lit[60:, 90:], scene.plate[60:, 90:])
    shade = apply_effects(Effects(patches=(replace(sun, gain=(-0.4, -0.4, -0.4)),)), scene)[0 if plate else 1]
    assert 70 <= shade[25, 25, 0] <= 74


def test_a_window_has_a_bar(scene):
    sun = replace(PATCH, across=0.2, down=0.2, edge=0.3)
    bare, barred = (apply_effects(Effects(patches=(replace(sun, bar=bar),)), scene)[1] for bar in (False, True))
    assert barred[26, 15, 0] < bare[26, 15, 0] - 30
    assert barred[15, 15, 0] == bare[15, 15, 0]


def test_what_moves_is_smeared_and_the_rest_is_not(rough):
    _, frame = apply_effects(OF_THE_FRAME["dragged"], rough)
    assert frame[50, LEFT - 3 : LEFT, 0].max() > rough.plate[50, LEFT - 3 : LEFT, 0].mean()
    np.testing.assert_array_equal(frame[:, :40], rough.frame[:, :40])
    np.testing.assert_array_equal(frame[: TOP - 5], rough.frame[: TOP - 5])


def test_a_tilt_keeps_the_middle_and_bends_the_rest():
    steps = np.repeat(np.arange(129, dtype=np.float32)[None, :129] * 1.9, 129, 0)
    plate = np.repeat(steps.astype(np.uint8)[..., None], 3, 2)
    bent = change(drifted(plate, Drift(0.0, 0.0, 0.0, 1.0, (0.03, 0.0))), plate)[..., 0]
    assert bent[64, 64] == 0
    assert abs(bent[64, 10:20]).min() >= 1
    assert abs(bent[64, 105:115]).min() >= 1


def test_veil_vignette_direction_and_video():
    black, grey = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 100, np.uint8)
    assert (exposed(black, Shot(veil=20.0)) == 20).all()
    dim = exposed(grey, Shot(vignette=0.4))
    assert dim[32, 32, 0] >= 99
    assert 58 <= dim[0, 0, 0] <= 62
    stripes = np.repeat((np.arange(64) // 2 % 2 * 200).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    level, upright = (exposed(stripes, Shot(motion=8.0, direction=angle)) for angle in (0.0, np.pi / 2))
    np.testing.assert_array_equal(upright, stripes)
    assert level.std() < 0.5 * stripes.std()
    rough = np.random.default_rng(0).integers(60, 200, (63, 61, 3), dtype=np.uint8)
    poor, poorer = (exposed(rough, Shot(video=quality)) for quality in (45, 14))
    assert poor.shape == rough.shape
    assert 0 < np.abs(change(poor, rough)).mean() < np.abs(change(poorer, rough)).mean()
    assert (exposed(rough, Shot(video=30, grid=(3, 5))) != exposed(rough, Shot(video=30))).any()
