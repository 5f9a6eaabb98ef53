"""The identity: which scenes lie where, and what is said when a dataset is not the one asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleanplate.pictures.library import open_library
from cleanplate.settings import PlanSettings
from cleanplate.shards.identity import (
    Identity,
    Shard,
    differences,
    make_identity,
    part_plan,
    plan_number,
    read_identity,
    sorted_parts,
)
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

PLAN = PlanSettings(positions=3, scenes_per_view=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pictures")
    write_plates(root / "plates", 6)
    write_cutouts(root / "cutouts", 5)
    return root / "plates", root / "cutouts"


def _identity(folders: tuple[Path, Path], **options: object) -> Identity:
    given: dict = {"size": 32, "quality": 80, "seed": 0, "plan": PLAN, "scenes": 60} | options
    return make_identity(open_library([folders[0]], "plates"), open_library([folders[1]], "cutouts"), **given)


@given(scenes=st.integers(1, 700), plates=st.integers(1, 23), run=st.integers(1, 30))
def test_rows_are_a_permutation_of_the_plan_in_runs_of_one_plate(scenes: int, plates: int, run: int) -> None:
    numbers = [plan_number(row, scenes, plates, run) for row in range(scenes)]
    assert sorted(numbers) == list(range(scenes))
    runs = Counter((number % plates, number // plates // run) for number in numbers)
    changes = sum(
        (a % plates, a // plates // run) != (b % plates, b // plates // run) for a, b in itertools.pairwise(numbers)
    )
    assert changes == len(runs) - 1, "the scenes that share a view are neighbours"


def test_identity_survives_json(folders: tuple[Path, Path]) -> None:
    identity = _identity(folders)
    again = read_identity(identity.to_json().encode(), "here")
    assert again == identity
    assert again.folders == identity.folders != {"plates": [], "cutouts": []}
    assert again.fingerprint == identity.fingerprint


def test_parts_never_share_a_picture(folders: tuple[Path, Path]) -> None:
    identity = _identity(folders, scenes=None)
    for kind in ("plates", "cutouts"):
        names = [name for part in identity.pictures[kind].values() for name in part]
        assert len(names) == len(set(names)) == {"plates": 6, "cutouts": 5}[kind]
    whole = {
        part: len(identity.pictures["plates"][part]) * len(identity.pictures["cutouts"][part]) * 6
        for part in ("train", "validation", "test")
    }
    assert identity.scenes == whole


def test_scenes_of_a_view_share_it_and_views_differ(folders: tuple[Path, Path]) -> None:
    from cleanplate.scenes.recipe import recipe
    from cleanplate.scenes.stock import Stock

    identity = _identity(folders)
    libraries = open_library([folders[0]], "plates"), open_library([folders[1]], "cutouts")
    plates, cutouts = sorted_parts(*libraries, 0)["train"]
    plan, stock = part_plan(identity, "train", plates, cutouts), Stock(plates, cutouts, 32)
    count = identity.scenes["train"]
    recipes = [recipe(plan, plan_number(row, count, len(plates), 5), stock) for row in range(count)]
    views = {(r.plate, r.view) for r in recipes}
    assert len({r.index for r in recipes}) == count
    assert len(views) == sum(-(-Counter(r.plate for r in recipes)[plate.name] // 5) for plate in plates)


def test_shards_cover_every_row_once(folders: tuple[Path, Path]) -> None:
    identity = replace(_identity(folders), rows=7)
    for part, count in identity.scenes.items():
        shards = identity.shards(part)
        assert [identity.first(s) for s in shards] == list(range(0, count, 7))
        assert sum(identity.rows_of(s) for s in shards) == count
    assert Shard("test", 3).scenes == "scenes/test-00003.parquet"


def test_differences_name_what_changed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    identity = _identity(folders)
    assert differences(identity, _identity(folders)) == []
    assert differences(identity, _identity(folders, size=48)) == ["size is 32 there, 48 now"]
    assert "plan.positions is 3 there, 4 now" in differences(
        identity, _identity(folders, plan=replace(PLAN, positions=4))
    )
    (tmp_path / "plates").mkdir()
    for file in folders[0].iterdir():
        (tmp_path / "plates" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "plates" / "plate0_depth.png").unlink()
    changed = differences(identity, _identity((tmp_path / "plates", folders[1])))
    assert "plates: plate0.png has changed" in changed


@pytest.mark.parametrize(
    ("options", "says"),
    [({"size": 0}, "--size must be 1 to 4096, got 0"), ({"quality": 101}, "--quality"), ({"scenes": 0}, "--scenes")],
)
def test_impossible_datasets_are_refused(folders: tuple[Path, Path], options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _identity(folders, **options)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"format": 9, "versions": {"cleanplate": "7"}}'])
def test_damaged_identity_is_an_input_error(text: bytes) -> None:
    with pytest.raises(InputError, match="there"):
        read_identity(text, "there")
