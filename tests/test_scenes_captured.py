"""Captured pairs as scenes: pure functions of their place, the same part of every picture, and their share of a run."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from cleanplate.pictures.pairs import open_teaching
from cleanplate.scenes import captured
from cleanplate.scenes.captured import CapturedPairs, MixedScenes
from cleanplate.scenes.dataset import LiveScenes
from cleanplate.settings import EffectKind, PlanSettings
from cleanplate.types import InputError
from made_pairs import BEHIND, FRONT, disc, write_pairs, write_scene
from made_scenes import write_cutouts, write_plates


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("captured"), 4, frames=2)


def pairs(folder: Path, effects="none", **more) -> CapturedPairs:
    return CapturedPairs(open_teaching((folder,)), **{"size": 48, "effects": effects, "seed": 3, **more})


def same(a, b) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("effects", ["none", "standard", "train"])
def test_a_sample_is_a_function_of_its_place(folder, effects) -> None:
    first, second = pairs(folder, effects), pairs(folder, effects)
    for place in ((0, 0), (0, 1), (1, 0), (5, 300)):
        assert same(first[place], second[place]), place
    assert not same(first[0, 0], first[1, 0]), "every epoch shows another part"
    assert not same(first[0, 0], pairs(folder, effects, seed=4)[0, 0])
    assert first[0, 0].keys() == {"plate", "frame", "alpha", "depth", "plate_depth"}
    assert first[0, 0]["frame"].shape == (3, 48, 48)


def test_all_pictures_of_a_sample_show_one_part_in_metres(folder) -> None:
    scenes, sides = pairs(folder, prior_share=1.0), set()
    for number in range(24):
        scene = scenes.scene((3, 0, number), 48)
        solid, empty = scene.alpha == 255, scene.alpha == 0
        assert set(np.unique(scene.depth)) <= {np.float32(FRONT), np.float32(BEHIND)}
        inner = cv2.erode(solid.astype(np.uint8), np.ones((3, 3))) > 0
        outer = cv2.erode(empty.astype(np.uint8), np.ones((3, 3))) > 0
        assert (scene.depth[inner] == np.float32(FRONT)).all()
        assert (scene.depth[outer] == np.float32(BEHIND)).all()
        assert (scene.frame[inner] == 230).all()
        assert (scene.plate[inner] < 200).all()
        lit = outer & (scene.frame.astype(int) == scene.plate).all(axis=2)
        assert lit.sum() > 0.5 * outer.sum(), "where nothing stands and no shadow falls, the frame is the plate"
        sides.add(round(float(solid.mean()), 2))
    assert len(sides) > 5, "the parts differ in size"


def test_whole_pairs_are_shown_as_they_are(folder) -> None:
    scene = pairs(folder, whole=True).scene((3, 0, 1), 60)
    shown = cv2.resize(disc(1).astype(np.uint8) * 255, (60, 60), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.array_equal(scene.alpha, shown)


def test_large_pairs_are_made_smaller_and_the_memory_stays_bounded(tmp_path, monkeypatch) -> None:
    write_pairs(tmp_path, 3)
    small, large = pairs(tmp_path, size=8), pairs(tmp_path)
    assert small[0, 0]["frame"].shape == (3, 8, 8)
    assert small._pair(0).plate.shape == (15, 20, 3)
    assert large._pair(0).plate.shape == (60, 80, 3)
    monkeypatch.setattr(captured, "BUDGET", 1)
    seen = [large[0, number] for number in (0, 1, 2, 0)]
    assert same(seen[0], seen[3])
    assert len(large._kept) == 1


def test_depth_is_known_at_every_size_but_not_without_a_file(folder, tmp_path) -> None:
    scenes = pairs(folder)
    assert (scenes[0, 0, 48]["depth"] > 0).all()
    assert scenes[0, 0, 32]["frame"].shape == (3, 32, 32)
    assert (scenes[0, 0, 32]["depth"] > 0).all()
    blind = pairs(write_pairs(tmp_path, 1, depth=False))
    assert (blind[0, 0]["depth"] == 0).all()
    assert (blind[0, 0]["plate_depth"] == 0).all()


def test_families_of_effects_can_be_left_out(folder) -> None:
    everything = get_args(EffectKind)
    plain, bare = pairs(folder), pairs(folder, "train", without=everything)
    some = pairs(folder, "train", without=("noise",))
    full = pairs(folder, "train")
    assert all(same(plain[0, n], bare[0, n]) for n in range(12))
    assert any(not same(full[0, n], some[0, n]) for n in range(12))


def test_a_seeded_share_of_places_shows_pairs(folder, tmp_path) -> None:
    write_plates(tmp_path / "p", 3)
    write_cutouts(tmp_path / "c", 3)
    pictures = write_plates(tmp_path / "p2", 3), write_cutouts(tmp_path / "c2", 3)
    live = LiveScenes(*pictures, size=48, plan=PlanSettings(), effects="none", seed=3)
    mixed = MixedScenes(live, pairs(folder), 0.25)
    assert len(mixed) == len(live)
    taken = [same(mixed[epoch, n], mixed.captured[epoch, n]) for epoch in (0, 1) for n in range(200)]
    composed = [same(mixed[epoch, n], live[epoch, n]) for epoch in (0, 1) for n in range(200)]
    assert [not t for t in taken] == composed
    assert 0.18 < np.mean(taken) < 0.32
    assert taken[:200] != taken[200:], "another epoch shows pairs in other places"


def test_several_folders_are_told_apart(tmp_path) -> None:
    for name in ("a/rooms", "b/rooms"):
        write_pairs(tmp_path / name, 1)
    found = open_teaching((tmp_path / "a/rooms", tmp_path / "b/rooms"))
    assert [pair.scene for pair in found] == ["a/rooms/room0", "b/rooms/room0"]
    with pytest.raises(InputError, match="the same folder twice"):
        open_teaching((tmp_path / "a/rooms", tmp_path / "a/rooms"))


def test_pairs_with_unjudged_pixels_or_no_mask_do_not_train(tmp_path, caplog) -> None:
    write_scene(tmp_path, "good")
    write_scene(tmp_path, "soft", middle=77)
    write_scene(tmp_path, "unjudged", middle=128)
    write_scene(tmp_path, "unmasked")
    (tmp_path / "unmasked/masks/0.png").unlink()
    assert [pair.scene for pair in open_teaching((tmp_path,))] == ["good", "soft"]
    assert "2 of 4 pairs have no mask, or pixels that it does not judge" in caplog.text
    write_scene(tmp_path / "other", "unjudged", middle=128)
    with pytest.raises(InputError, match=r"none of the 1 pairs .* can train: each needs a mask"):
        open_teaching((tmp_path / "other",))
