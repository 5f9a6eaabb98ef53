"""Which pictures fill which cell, and that a cell's scenes are what they claim to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cleanplate.evaluation.cells import CellScenes, find_cells, training_pictures
from cleanplate.pictures.library import Library, Picture
from cleanplate.scenes.recipe import recipe
from cleanplate.types import InputError
from made_models import MadeRun, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("run"))


def picture(name: str, group: str | None = None, sha256: str | None = None) -> Picture:
    group = name.rsplit(".", 1)[0] if group is None else group
    return Picture(
        name, Path(name), sha256 or f"sha of {name}", 20, 30, group, 33.0, None, None, None, 0.0, None, (0, 0, 20, 30)
    )


def library(kind: Any, *pictures: Picture) -> Library:
    return Library(kind, (Path(kind),), pictures, ())


def meta(**parts: list[Picture]) -> dict[str, Any]:
    """Plates by part; the same for cutouts, of other content."""

    def listing(prefix: str) -> dict[str, Any]:
        return {
            part: {p.name: {"sha256": prefix + p.sha256, "group": p.group} for p in ps} for part, ps in parts.items()
        }

    return {"pictures": {"plates": listing(""), "cutouts": listing("cutout ")}}


CUTOUTS = library("cutouts", picture("c.png", "never seen"))


def names(cells: tuple[Any, ...]) -> dict[str, list[str]]:
    return {cell.name: [plate.name for plate in cell.plates] for cell in cells}


def test_parts_and_groups_decide() -> None:
    run = meta(
        train=[picture("a.jpg", "kitchen")], validation=[picture("b.jpg", "hall")], test=[picture("t.jpg", "shed")]
    )
    plates = library(
        "plates",
        picture("a.jpg", "kitchen"),
        picture("a2.jpg", "kitchen"),  # another view of a room that trained
        picture("b.jpg", "hall"),
        picture("b2.jpg", "hall"),  # its room chose the checkpoint
        picture("t.jpg", "shed"),
        picture("new.jpg", "loft"),
    )
    found = names(find_cells([run], plates, CUTOUTS))
    assert found == {"seen_unseen": ["a.jpg", "a2.jpg"], "unseen_unseen": ["t.jpg", "new.jpg"]}
    assert [p.name for p in training_pictures(run, plates)] == ["a.jpg"]


def test_content_is_known_again_under_another_name() -> None:
    run = meta(train=[picture("a.jpg")])
    plates = library("plates", picture("copy.jpg", sha256="sha of a.jpg"), picture("new.jpg"))
    assert names(find_cells([run], plates, CUTOUTS)) == {"seen_unseen": ["copy.jpg"], "unseen_unseen": ["new.jpg"]}


def test_equal_file_names_tie_nothing_together() -> None:
    run = meta(train=[picture("0001.jpg")])
    plates = library("plates", picture("0001.jpg", sha256="another picture"))
    assert names(find_cells([run], plates, CUTOUTS)) == {"unseen_unseen": ["0001.jpg"]}


def test_no_unseen_pictures_is_an_error() -> None:
    run = meta(train=[picture("a.jpg", "kitchen")], validation=[picture("b.jpg", "hall")])
    with pytest.raises(InputError, match="--plates"):
        find_cells([run], library("plates", picture("a.jpg", "kitchen"), picture("b.jpg", "hall")), CUTOUTS)
    with pytest.raises(InputError, match="--cutouts"):
        find_cells([run], library("plates", picture("new.jpg")), library("cutouts", picture("a2.png", "kitchen")))


def test_scenes_are_fixed_balanced_and_partly_empty(run: MadeRun) -> None:
    cells = {cell.name: cell for cell in find_cells([run.meta], run.plates, run.cutouts)}
    assert set(cells) == {"seen_seen", "seen_unseen", "unseen_seen", "unseen_unseen"}
    cell = cells["unseen_unseen"]
    scenes, again = (CellScenes(cell, "standard", 40, 48, 7) for _ in range(2))
    plates, cutouts = scenes.pictures()
    assert len(scenes) == 40
    assert list(np.bincount(plates)) == [20, 20]
    assert 0 < (cutouts == -1).sum() < 15
    for i in (3, 11):
        for name in ("plate", "frame", "alpha", "depth"):
            np.testing.assert_array_equal(getattr(scenes[i], name), getattr(again[i], name))
        made = recipe(scenes.plan, i, scenes._stock)
        assert made.plate == cell.plates[plates[i]].name
        expected = [cell.cutouts[cutouts[i]].name] if cutouts[i] >= 0 else []
        assert [placed.cutout for placed in made.placements] == expected
    empty = int(np.flatnonzero(cutouts == -1)[0])
    assert not np.any(scenes[empty].alpha)


def test_effects_change_the_pictures_and_not_the_truth(run: MadeRun) -> None:
    cell = find_cells([run.meta], run.plates, run.cutouts)[-1]
    standard, none = (CellScenes(cell, effects, 6, 48, 0) for effects in ("standard", "none"))
    for a, b in zip((standard[i] for i in range(6)), (none[i] for i in range(6)), strict=True):
        np.testing.assert_array_equal(a.alpha, b.alpha)
        outside = b.alpha == 0
        np.testing.assert_array_equal(b.frame[outside], b.plate[outside])
        assert (a.frame[outside] != a.plate[outside]).any()


def test_the_validation_part_is_what_validated() -> None:
    run = meta(train=[picture("a.jpg", "kitchen")], validation=[picture("b.jpg", "hall")])
    plates = library("plates", picture("a.jpg", "kitchen"), picture("b2.jpg", "hall"), picture("new.jpg"))
    cutouts = library("cutouts", picture("b.png", "hall"), picture("c.png", "never seen"))
    found = find_cells([run], plates, cutouts, "validation")
    assert names(found) == {"seen_unseen": ["a.jpg"], "unseen_unseen": ["b2.jpg"]}
    assert [p.name for p in found[0].cutouts] == ["b.png"]
    with pytest.raises(InputError, match="take --part test"):
        find_cells([run], library("plates", picture("new.jpg")), cutouts, "validation")


def test_what_any_of_several_models_saw_is_seen() -> None:
    first, second = meta(train=[picture("a.jpg")]), meta(train=[picture("b.jpg")], validation=[picture("c.jpg")])
    plates = library("plates", *(picture(f"{name}.jpg") for name in "abcd"))
    assert names(find_cells([first, second], plates, CUTOUTS)) == {
        "seen_unseen": ["a.jpg", "b.jpg"],
        "unseen_unseen": ["d.jpg"],
    }
