"""The plan enumerates each combination once; recipes are pure, exact in JSON, and place as the settings say."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleanplate.pictures.library import Picture, open_library
from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.recipe import Plan, Recipe, make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError
from made_scenes import FOCAL, HEIGHT, write_cutouts, write_plates

ORIGINAL = PlanSettings(objects=(1, 1), empty_share=0.0, zoom=(1.0, 1.0), leave_share=0.0, placement="free")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    return write_plates(folder / "plates", 3), write_cutouts(folder / "cutouts", 4)


@pytest.fixture(scope="module")
def stock(pictures):
    return Stock(*pictures, side=64)


def plan_of(plates: int, cutouts: int, settings: PlanSettings, seed: int) -> Plan:
    """A plan of so many pictures; which ones doesn't matter to the enumeration."""
    one = Picture("x", Path("x"), "", 20, 20, "x", 22.0, None, None, None, 0.0, None, (0, 0, 20, 20))
    return make_plan((one,) * plates, (one,) * cutouts, settings, seed)


def test_the_originals_plan_is_400000():
    plan = plan_of(100, 100, PlanSettings(), 0)
    assert len(plan) == 400_000
    assert plan.scene(399_999) == (99, 99, 19, True)
    with pytest.raises(IndexError):
        plan.scene(400_000)


@settings(max_examples=40, deadline=None)
@given(plates=st.integers(1, 7), cutouts=st.integers(1, 7), positions=st.integers(1, 4), mirror=st.booleans())
def test_every_combination_exactly_once_with_and_without_a_subset(plates, cutouts, positions, mirror):
    whole = plan_of(plates, cutouts, PlanSettings(positions=positions, mirror=mirror), 3)
    total = plates * cutouts * positions * (1 + mirror)
    everything = [whole.scene(i) for i in range(len(whole))]
    assert len(set(everything)) == len(everything) == total
    spread = replace(whole, scenes=total + 5)
    assert len(spread) == total
    assert {spread.scene(i) for i in range(total)} == set(everything)


@settings(max_examples=40, deadline=None)
@given(plates=st.integers(1, 9), cutouts=st.integers(1, 9), scenes=st.integers(1, 200), seed=st.integers(0, 5))
def test_a_subset_uses_all_pictures_equally(plates, cutouts, scenes, seed):
    plan = replace(plan_of(plates, cutouts, PlanSettings(), seed), scenes=scenes)
    chosen = [plan.scene(i) for i in range(len(plan))]
    for part, count in ((0, plates), (1, cutouts)):
        times = Counter(scene[part] for scene in chosen)
        uses = [times[number] for number in range(count)]
        assert max(uses) - min(uses) <= 1


numbers = st.floats(allow_nan=False, allow_infinity=False)
placements = st.builds(
    Placement,
    st.text(),
    st.sampled_from(["standing", "free"]),
    st.booleans(),
    *[numbers] * 4,
    st.none() | numbers,
)


@given(
    index=st.integers(0, 10**12),
    plate=st.text(),
    view=st.builds(View, *[numbers] * 4),
    up=st.none() | st.tuples(numbers, numbers, numbers),
    placed=st.lists(placements, max_size=3).map(tuple),
)
def test_json_keeps_recipes_exactly(index, plate, view, up, placed):
    made = Recipe(index, plate, view, 1.25, 4 / 3, up, placed)
    assert Recipe.from_json(made.to_json()) == made


def test_the_same_index_is_the_same_scene_in_another_process(pictures, stock):
    plan = make_plan(*pictures, PlanSettings(), seed=7)
    here = [recipe(plan, i, stock).to_json() for i in (5, 77, 11)]
    plates, cutouts = (str(part[0].path.parent) for part in pictures)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cleanplate.pictures.library import open_library\n"
        "from cleanplate.scenes.recipe import make_plan, recipe\n"
        "from cleanplate.scenes.stock import Stock\n"
        "from cleanplate.settings import PlanSettings\n"
        "parts = [open_library([Path(f)], k).pictures for f, k in zip(sys.argv[1:], ('plates', 'cutouts'))]\n"
        "plan = make_plan(*parts, PlanSettings(), seed=7)\n"
        "for i in (11, 5, 77): print(recipe(plan, i, Stock(*parts, side=64)).to_json())\n"
    )
    run = subprocess.run([sys.executable, "-c", code, plates, cutouts], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [here[2], here[0], here[1]]


def test_standing_size_is_focal_length_times_height_over_distance(pictures, stock):
    plan = make_plan(*pictures, replace(ORIGINAL, placement="standing"), seed=0)
    made = [recipe(plan, i, stock) for i in range(len(plan))]
    placed = [p for r in made for p in r.placements]
    standing = [p for p in placed if p.mode == "standing"]
    assert len(standing) > 0.9 * len(placed)
    for p in standing:
        assert p.depth_m is not None
        # cutouts span 1 m; the focal length is 150 px of a plate 120 px high
        assert p.height * HEIGHT == pytest.approx(FOCAL * 1.0 / p.depth_m, rel=1e-4)
        assert p.width * 160 == pytest.approx(p.height * HEIGHT * 40 / 60, rel=1e-4)


def test_without_a_height_nothing_stands(pictures, tmp_path):
    cutouts = write_cutouts(tmp_path / "unknown", 1, height_m=None)
    plan = make_plan(pictures[0], cutouts, replace(ORIGINAL, placement="standing"), seed=0)
    stock = Stock(pictures[0], cutouts, side=64)
    assert {p.mode for i in range(20) for p in recipe(plan, i, stock).placements} == {"free"}


def test_unknown_plate_depth_leaves_the_cutouts_depth_unknown(pictures, tmp_path):
    plates = write_plates(tmp_path / "flat", 1, depth=False)
    plan = make_plan(plates, pictures[1], PlanSettings(empty_share=0.0), seed=0)
    stock = Stock(plates, pictures[1], side=64)
    placed = [p for i in range(20) for p in recipe(plan, i, stock).placements]
    assert placed
    assert all(p.depth_m is None and p.mode == "free" for p in placed)


def test_free_positions_are_uniform_and_inside(pictures, stock):
    plan = make_plan(*pictures, replace(ORIGINAL, positions=60, size=(0.3, 0.3)), seed=1)
    placed = [recipe(plan, i, stock).placements[0] for i in range(len(plan))]
    x, y = np.array([p.x for p in placed]), np.array([p.y for p in placed])
    width, height = placed[0].width, placed[0].height
    assert (x - width / 2 >= -1e-9).all()
    assert (x + width / 2 <= 1 + 1e-9).all()
    assert (y - height >= -1e-9).all()
    assert (y <= 1 + 1e-9).all()
    for share in ((x - width / 2) / (1 - width), (y - height) / (1 - height)):
        counts, _ = np.histogram(share, bins=8, range=(0, 1))
        expected = len(placed) / 8
        # chi-square with 7 degrees of freedom passes 24.3 once in a thousand times
        assert ((counts - expected) ** 2 / expected).sum() < 24.3


def test_the_leaving_share_leaves_by_at_most_half(pictures, stock):
    plan = make_plan(*pictures, replace(ORIGINAL, positions=40, leave_share=1.0, size=(0.5, 0.5)), seed=1)
    placed = [recipe(plan, i, stock).placements[0] for i in range(len(plan))]
    out = [p.x < p.width / 2 or p.x > 1 - p.width / 2 or p.y > 1 or p.y < p.height for p in placed]
    assert 0.4 < np.mean(out) < 0.95
    assert all(0 <= p.x <= 1 and 0 <= p.y - p.height / 2 <= 1 for p in placed)


def test_shares_of_empty_scenes_and_objects(pictures, stock):
    settings = PlanSettings(positions=40, empty_share=0.3, objects=(2, 3))
    plan = make_plan(*pictures, settings, seed=0)
    counts = Counter(len(recipe(plan, i, stock).placements) for i in range(len(plan)))
    assert set(counts) == {0, 2, 3}
    assert counts[0] / len(plan) == pytest.approx(0.3, abs=0.06)
    assert counts[2] / len(plan) == pytest.approx(0.35, abs=0.06)


def test_views_lie_in_the_plate_and_squeeze_no_more_than_the_whole_plate(pictures, stock):
    plan = make_plan(*pictures, PlanSettings(zoom=(0.6, 1.0)), seed=0)
    for i in range(100):
        view = recipe(plan, i, stock).view
        assert view.x >= 0
        assert view.y >= 0
        assert view.x + view.width <= 1
        assert view.y + view.height <= 1
        assert 1 - 1e-9 <= view.width * 4 / 3 / view.height <= 4 / 3 + 1e-9
    assert recipe(make_plan(*pictures, ORIGINAL, seed=0), 0, stock).view == View()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"positions": 0}, "positions"),
        ({"objects": (2, 1)}, "objects"),
        ({"size": (0.0, 0.5)}, "size"),
        ({"zoom": (0.5, 1.5)}, "zoom"),
        ({"leave_share": 1.5}, "leave_share"),
    ],
)
def test_impossible_settings_are_named(pictures, change, word):
    with pytest.raises(InputError, match=word):
        make_plan(*pictures, replace(PlanSettings(), **change), seed=0)


def test_no_pictures_is_an_error_that_says_which(pictures):
    with pytest.raises(InputError, match="cutouts"):
        make_plan(pictures[0], (), PlanSettings(), seed=0)


def test_real_rooms_mostly_stand():
    data = Path(__file__).parents[2] / "shared" / "data" / "rooms"
    if not data.is_dir():
        pytest.skip(f"no {data}")
    plates = open_library([data / "plates"], "plates").pictures[:12]
    cutouts = open_library([data / "cutouts"], "cutouts").pictures[:40]
    stock = Stock(plates, cutouts, side=96)
    floors = [stock.floor(picture.name) for picture in plates]
    assert sum(floor is not None for floor in floors) >= 10
    plan = make_plan(plates, cutouts, PlanSettings(free_share=0.0, empty_share=0.0), seed=0, scenes=120)
    modes = Counter(p.mode for i in range(120) for p in recipe(plan, i, stock).placements)
    assert modes["standing"] > 0.6 * modes.total()
