"""The plain layout: what is unzipped is the scene, names are the scenes' numbers, the same files give the same zip."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.pictures.frames import decode_depth, to_metres
from cleanplate.scenes.compose import compose
from cleanplate.scenes.recipe import make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.shards.plain import grey_png, listed, plain_files, to_steps, zipped
from cleanplate.types import Scene
from made_scenes import write_cutouts, write_plates

SIDE, COUNT, START = 64, 12, 2000


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()


def made(folder, depth: bool = True) -> list[Scene]:
    pictures = write_plates(folder / "plates", 3, depth), write_cutouts(folder / "cutouts", 2)
    stock = Stock(*pictures, SIDE)
    plan = make_plan(*pictures, PlanSettings(positions=3, zoom=(1.0, 1.0)), seed=1, scenes=COUNT)
    return [compose(recipe(plan, i, stock), stock, SIDE, SIDE) for i in range(COUNT)]


def files_of(scenes: list[Scene], start: int = START, metric: bool = True) -> list[tuple[str, bytes]]:
    indices = range(start, start + len(scenes))
    frames, plates = [jpeg(scene.frame) for scene in scenes], [jpeg(scene.plate) for scene in scenes]
    return list(plain_files("train", indices, scenes, frames, plates, metric))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[Scene]:
    return made(tmp_path_factory.mktemp("plain"))


def test_unzipped_files_are_the_scenes(scenes, tmp_path):
    with zipfile.ZipFile(io.BytesIO(zipped(files_of(scenes)))) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    for number, scene in enumerate(scenes, START):
        frame = (tmp_path / f"train/frames/{number:08d}.jpg").read_bytes()
        assert frame == jpeg(scene.frame)
        mask = np.array(Image.open(tmp_path / f"train/masks/{number:08d}.png"))
        np.testing.assert_array_equal(mask, scene.alpha)
        path = tmp_path / f"train/depths/{number:08d}.png"
        stored = np.array(Image.open(path))
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, np.rint(scene.depth.astype(np.float64) * 1000))
        metres = to_metres(decode_depth(path.read_bytes(), path), 0.001, 0)
        np.testing.assert_allclose(metres, scene.depth, atol=0.0005 + 1e-6)
    assert any(scene.alpha.any() for scene in scenes)


def test_names_are_the_scenes_numbers_and_lines_name_their_files(scenes):
    files = dict(files_of(scenes))
    numbers = [f"{number:08d}" for number in range(START, START + COUNT)]
    for kind in ("frames", "masks", "depths"):
        assert sorted(name.split("/")[2][:8] for name in files if f"/{kind}/" in name) == numbers
    lines = [json.loads(line) for line in files[f"train/scenes/{numbers[0]}.jsonl"].splitlines()]
    assert [line["index"] for line in lines] == list(range(START, START + COUNT))
    for line, scene in zip(lines, scenes, strict=True):
        assert files[f"train/{line['frame']}"] == jpeg(scene.frame)
        assert files[f"train/{line['plate']}"] == jpeg(scene.plate)
        np.testing.assert_array_equal(
            np.array(Image.open(io.BytesIO(files[f"train/{line['plate_depth']}"]))),
            np.rint(scene.plate_depth.astype(np.float64) * 1000),
        )
        drawn = json.loads(scene.recipe)
        assert line["plate_picture"] == drawn["plate"]
        assert line["cutout_pictures"] == [placed["cutout"] for placed in drawn["placements"]]


def test_each_view_of_a_plate_is_written_once_and_no_two_shards_share_a_name(scenes):
    names = [name for name, _ in files_of(scenes)]
    assert len(names) == len(set(names))
    assert sum("/plates/" in name for name in names) == len({scene.plate.tobytes() for scene in scenes}) == 3
    assert not set(names) & {name for name, _ in files_of(scenes, START + COUNT)}


def test_the_lines_vouch_for_every_other_file(scenes):
    files = dict(files_of(scenes))
    lines = files.pop(f"train/scenes/{START:08d}.jsonl")
    assert listed("train", lines) == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_a_zip_is_the_same_every_time_in_any_order_and_never_holds_a_name_twice(scenes):
    files = files_of(scenes)
    content = zipped(files)
    assert content == zipped(reversed(files_of(scenes)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(name for name, _ in files)
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    with pytest.raises(ValueError, match="train/frames/00002000"):
        zipped([*files, files[0]])


def test_relative_depth_says_what_a_step_is(scenes):
    relative = [
        Scene(s.plate, s.frame, s.alpha, s.plate_depth / 7000, s.plate_depth / 7000, s.layers, s.recipe) for s in scenes
    ]
    files = dict(files_of(relative, metric=False))
    for line in map(json.loads, files[f"train/scenes/{START:08d}.jsonl"].splitlines()):
        scene = relative[line["index"] - START]
        stored = np.array(Image.open(io.BytesIO(files[f"train/{line['depth']}"])))
        assert stored.max() == 65534
        np.testing.assert_allclose(stored * line["depth_unit"], scene.depth, atol=line["depth_unit"])


def test_without_depth_all_is_unknown(tmp_path):
    scenes = made(tmp_path, depth=False)
    files = dict(files_of(scenes, metric=False))
    assert not any("plate_depths" in name for name in files)
    for line in map(json.loads, files[f"train/scenes/{START:08d}.jsonl"].splitlines()):
        assert line["plate_depth"] is None
        assert line["depth_unit"] is None
        assert not np.array(Image.open(io.BytesIO(files[f"train/{line['depth']}"]))).any()


def test_unequal_numbers_are_an_error(scenes):
    frames = [jpeg(scene.frame) for scene in scenes]
    with pytest.raises(ValueError, match="zip"):
        list(plain_files("train", range(COUNT - 1), scenes, frames, frames))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1))
def test_png_is_lossless_at_any_size(height, width, kind, seed):
    values = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (height, width), kind, endpoint=True)
    read = np.array(Image.open(io.BytesIO(grey_png(values))))
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(grey_png(values), np.uint8), -1), values)


def test_every_millimetre_survives_and_what_is_too_far_is_unknown():
    stored = np.arange(65535, dtype=np.uint16).reshape(255, 257)
    np.testing.assert_array_equal(to_steps((stored / 1000).astype(np.float32), 0.001), stored)
    far = np.array([[65.5345, 65.536, 1e6, np.inf, 0.0004, 0.0]], np.float32)
    np.testing.assert_array_equal(to_steps(far, 0.001), [[65534, 0, 0, 0, 0, 0]])
