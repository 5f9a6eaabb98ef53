"""Labels: a teacher's answers become the depth of stored scenes, once, resumably, and the right way round."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from cleanplate.engine.engine import Engine
from cleanplate.labels.label import label
from cleanplate.labels.labels import Labels, decode, encode, to_depth
from cleanplate.labels.polarity import Agreement, agreement, rank_correlation, verdict
from cleanplate.scenes.recipe import Recipe
from cleanplate.settings import TeacherSettings
from cleanplate.shards.make import make_dataset
from cleanplate.shards.reading import Dataset, Row, StoredShard
from cleanplate.shards.verify import verify
from cleanplate.types import InputError, Scene
from made_dataset import PLAN, write_shards
from made_teachers import write_coded_pictures, write_decoder, write_hf, write_onnx

HERE = Engine(workers=0)
SIZE = 64


def coded(path: Path, output="depth", unit="m") -> TeacherSettings:
    return TeacherSettings(f"teacher=onnx:{path}", output, unit, teacher_range=255)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`made`/plates and cutouts in code, `made`/data composed of them, and the decoders."""
    folder = tmp_path_factory.mktemp("label")
    plates, cutouts = write_coded_pictures(folder)
    make_dataset(folder / "data", [plates], [cutouts], scenes=150, size=SIZE, plan=PLAN, engine=HERE, quiet=True)
    write_decoder(folder / "metres.onnx")
    write_decoder(folder / "disparity.onnx", inverse=True)
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A dataset of one's own."""
    return Path(shutil.copytree(made / "data", tmp_path / "data"))


def stored(dataset: Dataset, part: str = "train", count: int = 60) -> list[tuple[StoredShard, Row, Scene]]:
    opened = dataset.open(dataset.shards(part)[0])
    rows = [row for group in range(opened.groups) for row in opened.read(group)][:count]
    return [(opened, row, row.scene(opened)) for row in rows]


def labelled(labels: Labels, data: Path) -> list[tuple[Scene, Scene]]:
    """(scene as stored, scene as labelled)."""
    return [(scene, labels.apply(scene, opened, row)) for opened, row, scene in stored(Dataset(data))]


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("disparity", [False, True])
def test_scenes_get_what_the_teacher_says_of_each_frame(made: Path, data: Path, disparity: bool):
    before = content(data)
    given_ = coded(made / ("disparity.onnx" if disparity else "metres.onnx"), "disparity" if disparity else "depth")
    labels = label(data, given_, name="seen", engine=HERE, quiet=True)
    assert (labels.kind, labels.mode) == ("metric", "scenes")
    for scene, worn in labelled(labels, data):
        said = scene.frame[..., 1] / 40 + 1e-3
        said[said > 65] = 0
        np.testing.assert_allclose(worn.depth, said, atol=1e-3 + 1e-3 * said.max())
        outside = scene.alpha < 128
        np.testing.assert_array_equal(worn.plate_depth[outside], worn.depth[outside])
        behind = scene.plate[..., 1] / 40 + 1e-3
        np.testing.assert_allclose(worn.plate_depth[~outside], behind[~outside], atol=0.01)
        np.testing.assert_array_equal(worn.frame, scene.frame)
        assert np.abs(worn.plate_depth - scene.plate_depth)[scene.plate_depth > 0].mean() < 0.1, "and that is the truth"
    after = content(data)
    assert {name: after[name] for name in before} == before, "no frame was touched"
    assert verify(Dataset(data).store) == []


def test_plates_and_cutouts_seen_once_are_layered_as_the_scenes_were(made: Path, data: Path):
    labels = label(
        data,
        coded(made / "metres.onnx"),
        mode="plates",
        name="layered",
        plates=[made / "plates"],
        cutouts=[made / "cutouts"],
        engine=HERE,
        quiet=True,
    )
    files = sorted((data / "labels" / "layered").glob("pictures-*.parquet"))
    assert sum(pq.read_metadata(file).num_rows for file in files) == 12, "six plates and six cutouts, each once"
    modes = set()
    for scene, worn in labelled(labels, data):
        np.testing.assert_allclose(worn.plate_depth, scene.plate_depth, atol=0.1)
        placements = Recipe.from_json(scene.recipe).placements
        for placement, layer, exact in zip(placements, worn.layers, scene.layers, strict=True):
            seen = exact.alpha >= 128
            if not seen.any():
                continue
            modes.add(placement.mode)
            # the cutouts' colour says nothing here: flat reliefs, at the depth that the plate's label has beneath
            np.testing.assert_allclose(layer.depth[seen], exact.depth[seen], rtol=0.05)
            if placement.mode == "free":
                assert (layer.depth[seen] <= worn.plate_depth[seen] * 0.981).all()
        np.testing.assert_allclose(worn.depth, scene.depth, atol=0.25)
    assert modes == {"standing", "free"}
    assert verify(Dataset(data).store) == []


@pytest.mark.parametrize("mode", ["scenes", "plates"])
@pytest.mark.parametrize("output", ["depth", "disparity"])
def test_relative_labels_keep_the_order_of_depth(made: Path, data: Path, output, mode):
    teacher = coded(made / ("disparity.onnx" if output == "disparity" else "metres.onnx"), output, "relative")
    pictures = {"plates": [made / "plates"], "cutouts": [made / "cutouts"]} if mode == "plates" else {}
    labels = label(data, teacher, mode=mode, engine=HERE, quiet=True, **pictures)
    assert labels.kind == ("disparity" if output == "disparity" else "relative")
    assert labels.name == ("disparity" if output == "disparity" else "metres")
    for scene, worn in labelled(labels, data):
        known = scene.plate_depth > 0
        correlation = rank_correlation(worn.plate_depth[known], scene.plate_depth[known])
        assert correlation is not None
        assert correlation > (0.97 if mode == "plates" else 0.7), "JPEG mixes up the ranks of a wall"
        assert worn.depth.min() >= 1 - 1e-4
        assert worn.depth.max() <= 100 + 1e-2
        outside = scene.alpha < 128
        np.testing.assert_array_equal(worn.plate_depth[outside], worn.depth[outside])
        for placement, layer in zip(Recipe.from_json(scene.recipe).placements, worn.layers, strict=True):
            seen = layer.alpha >= 128
            if mode == "plates" and placement.mode == "free" and seen.any():
                assert layer.depth[seen].max() <= worn.plate_depth[seen].min() * 1.001
        # what is affine in the teacher's output stays so: z, or 1/z
        seen = scene.frame if mode == "scenes" else scene.plate
        expected, got = seen[..., 1] / 40 + 1e-3, worn.plate_depth
        if output == "disparity":
            expected, got = 1 / expected, 1 / got
        assert np.corrcoef(expected[outside], got[outside])[0, 1] > 0.99


def test_a_transformers_model_labels_both_ways(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cleanplate.labels.label.cores", lambda: 1)  # two threads would wait for each other, spinning
    data, folder = tmp_path / "data", write_hf(tmp_path / "tiny-dpt")
    options = {"scenes": 10, "size": SIZE, "plan": PLAN, "engine": HERE, "quiet": True}
    make_dataset(data, [made / "plates"], [made / "cutouts"], **options)
    teacher = TeacherSettings(f"teacher=hf:{folder}", "disparity", "relative")
    pictures = {"plates": [made / "plates"], "cutouts": [made / "cutouts"]}
    for mode, others in (("scenes", {}), ("plates", pictures)):
        labels = label(data, teacher, mode=mode, name=mode, engine=HERE, quiet=True, **others)
        depths = np.stack([worn.depth for _, worn in labelled(labels, data)])
        assert np.isfinite(depths).all()
        assert depths.std() > 0.1
    assert json.loads((data / "labels/scenes/label.json").read_text())["teacher"]["source"] == f"hf:{folder}"


def test_workers_write_the_same_files(made: Path, data: Path):
    for name, engine in (("one", HERE), ("two", Engine(workers=2))):
        label(data, coded(made / "metres.onnx"), name=name, engine=engine, quiet=True)
    one, two = (content(data / "labels" / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    tables = [name for name in one if name.endswith(".parquet")]
    assert len(tables) == 6
    assert [one[name] for name in tables] == [two[name] for name in tables]


def test_a_killed_labelling_goes_on_where_it_was(made: Path, tmp_path: Path):
    dataset = write_shards(tmp_path, scenes=240, size=48, rows=20)
    folder = Path(dataset.store.place)
    code = f"""
import sys
from cleanplate.settings import TeacherSettings
from cleanplate.engine.engine import Engine
from cleanplate.labels.label import label
settings = TeacherSettings("teacher=onnx:{made / "metres.onnx"}", "depth", "m", teacher_range=255)
label({str(folder)!r}, settings, name=sys.argv[1], engine=Engine(workers=0), quiet=True)
"""
    killed = subprocess.Popen([sys.executable, "-c", code, "killed"], stderr=subprocess.DEVNULL)
    there = folder / "labels" / "killed"
    deadline = time.monotonic() + 60
    while len(list(there.glob("scenes-*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    first = {path.name: path.stat().st_mtime_ns for path in there.glob("scenes-*.parquet")}
    assert 2 <= len(first) < len(dataset.shards())
    with pytest.raises(InputError, match="is not finished"):
        Labels(dataset, "killed").require_complete()
    for name in ("killed", "whole"):
        label(folder, coded(made / "metres.onnx"), name=name, engine=HERE, quiet=True).require_complete()
    assert {name: (there / name).stat().st_mtime_ns for name in first} == first, "what was there was not made again"
    tables = [name for name in content(there) if name.endswith(".parquet")]
    assert [content(there)[name] for name in tables] == [content(there.parent / "whole")[name] for name in tables]
    agreed = [json.loads((there.parent / name / "manifest.json").read_text()) for name in ("killed", "whole")]
    assert agreed[0]["agreement"] == pytest.approx(agreed[1]["agreement"])
    assert agreed[0]["agreement"]["scenes"] == 240


def test_another_teacher_under_the_same_name_is_an_error(made: Path, data: Path, tmp_path: Path):
    teacher = coded(made / "metres.onnx")
    label(data, teacher, name="mine", engine=HERE, quiet=True)
    before = content(data / "labels")
    moved = shutil.copy(made / "metres.onnx", tmp_path / "moved.onnx")
    label(data, coded(moved), name="mine", engine=HERE, quiet=True)  # the same file elsewhere
    changes = [
        (coded(made / "disparity.onnx"), "teacher is '.*' there, '.*' now"),
        (coded(made / "metres.onnx", "disparity"), "output is 'depth' there, 'disparity' now"),
        (coded(made / "metres.onnx", "depth", "relative"), "kind is 'metric' there, 'relative' now; .*unit is"),
        (replace(teacher, teacher_mean=(0.5, 0.5, 0.5)), r"preprocessing is .*'mean': None.*'mean': \(0.5"),
    ]
    for other, message in changes:
        with pytest.raises(InputError, match=message):
            label(data, other, name="mine", engine=HERE, quiet=True)
    with pytest.raises(InputError, match="mode is 'scenes' there, 'plates' now"):
        label(
            data,
            teacher,
            mode="plates",
            name="mine",
            plates=[made / "plates"],
            cutouts=[made / "cutouts"],
            engine=HERE,
            quiet=True,
        )
    assert content(data / "labels") == before


def test_other_pictures_than_the_datasets_are_an_error(made: Path, data: Path, tmp_path: Path):
    others = write_coded_pictures(tmp_path / "others", 5)
    teacher = coded(made / "metres.onnx")

    def layered(plates: Path, cutouts: Path):
        label(data, teacher, mode="plates", plates=[plates], cutouts=[cutouts], engine=HERE, quiet=True)

    with pytest.raises(InputError, match=r"composed of other plates than .*plate5.png is not there.*--label scenes"):
        layered(others[0], others[1])
    Image.fromarray(np.full((60, 40, 4), 200, np.uint8)).save(others[1] / "cutout5.png")
    with pytest.raises(InputError, match=r"composed of other cutouts than .*cutout5.png is another, and 0 more of 6"):
        layered(made / "plates", others[1])
    with pytest.raises(InputError, match=r"sees the pictures that .* was composed of: give their folders"):
        layered(tmp_path / "gone", made / "cutouts")
    assert not (data / "labels").exists()


@pytest.mark.parametrize("declared", ["depth", "disparity"])
@pytest.mark.parametrize("depth", [True, False], ids=["with-depth", "without-depth"])
def test_a_wrong_polarity_is_said_and_seen(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, declared, depth: bool
):
    plates, cutouts = write_coded_pictures(tmp_path, depth=depth)
    options = {"scenes": 40, "size": SIZE, "plan": PLAN, "engine": HERE, "quiet": True}
    make_dataset(tmp_path / "data", [plates], [cutouts], **options)
    with caplog.at_level(logging.WARNING, "cleanplate"):
        label(
            tmp_path / "data",
            coded(made / "metres.onnx", declared, "relative"),
            name="it",
            engine=HERE,
            quiet=True,
            preview=tmp_path / "seen.png",
        )
    warned = [record.getMessage() for record in caplog.records]
    if declared == "depth":
        assert warned == []
    else:
        assert len(warned) == 2, "at once, and at the end"
        assert warned[0].startswith("the teacher's output looks like depth, not disparity: rank correlation -")
        assert ("the dataset's own depth" if depth else "the height in the picture") in warned[0]
        assert "pass --teacher-output depth" in warned[0]
    drawn = np.asarray(Image.open(tmp_path / "seen.png"))
    np.testing.assert_array_equal(drawn, np.asarray(Image.open(tmp_path / "data/labels/it/preview.png")))
    tiles = 3 if depth else 2
    assert drawn.shape[0] > tiles * 160
    # the floor's lower part, of the first tile of the labels: near is red, far is blue
    top = drawn[6 + 166 + 130 : 6 + 166 + 160, 300:330].reshape(-1, 3).mean(axis=0)
    assert (top[0] > top[2]) == (declared == "depth")


def test_a_teacher_in_other_units_is_suspected():
    settings = TeacherSettings("", "depth", "m")
    assert verdict(Agreement(10, 10, 9.0, 10, 9.0, 9.5), settings) == (
        "the teacher agrees: rank correlation +0.90 with the dataset's own depth over 10 scenes",
        False,
    )
    text, warns = verdict(Agreement(10, 10, 9.0, 10, 9.0, 3.0), settings)
    assert warns
    assert text.startswith("only 30% of the label lies in 0..65.5 m")
    text, warns = verdict(Agreement(10, 10, 0.2, 10, 9.0, 9.5), settings)
    assert warns
    assert "hardly agrees" in text
    assert not verdict(Agreement(3, 0, 0.0, 0, 0.0, 3.0), settings)[1]
    assert Agreement(1, 1, 0.5, 1, 0.25, 1.0) + Agreement(1, 0, 0.0, 1, 0.5, 0.5) == Agreement(2, 1, 0.5, 2, 0.75, 1.5)


def test_agreement_is_spearmans_where_both_are_known():
    rng = np.random.default_rng(0)
    exact = rng.uniform(1, 5, (40, 50)).astype(np.float32)
    exact[:, :10] = 0
    found = agreement((exact**3).astype(np.float32), exact)
    assert found.depth == pytest.approx(1)
    assert found.known == pytest.approx(0.8)
    assert agreement(np.where(exact > 0, 1 / np.maximum(exact, 1), 0).astype(np.float32), exact).depth == -1
    ramp = np.repeat(np.linspace(9, 1, 40, dtype=np.float32)[:, None], 50, axis=1)
    found = agreement(ramp, np.zeros_like(ramp))
    assert (found.with_depth, found.with_height, found.height) == (0, 1, pytest.approx(1.0))
    assert rank_correlation(np.ones(20), np.arange(20.0)) is None
    assert rank_correlation(np.arange(5.0), np.arange(5.0)) is None


def test_labels_that_are_not_there_or_of_another_dataset_are_errors(made: Path, data: Path):
    dataset = Dataset(data)
    with pytest.raises(InputError, match="has no label 'x'; it has none"):
        Labels(dataset, "x")
    label(data, coded(made / "metres.onnx"), name="mine", engine=HERE, quiet=True)
    with pytest.raises(InputError, match="it has mine"):
        Labels(dataset, "x")
    path = data / "labels/mine/label.json"
    path.write_text(path.read_text().replace(dataset.identity.fingerprint, "0" * 64))
    with pytest.raises(InputError, match="made for another dataset"):
        Labels(dataset, "mine")
    for wrong in ("", "../x", "a/b", ".hidden"):
        if wrong:
            with pytest.raises(InputError, match="--name"):
                label(data, coded(made / "metres.onnx"), name=wrong, engine=HERE, quiet=True)


def test_labels_survive_pickling_and_notice_swapped_files(made: Path, data: Path):
    labels = label(data, coded(made / "metres.onnx"), name="mine", engine=HERE, quiet=True)
    opened, row, scene = stored(Dataset(data))[3]
    again = pickle.loads(pickle.dumps(labels))
    np.testing.assert_array_equal(again.apply(scene, opened, row).depth, labels.apply(scene, opened, row).depth)
    table = pq.read_table(data / "labels/mine/scenes-train-00000.parquet")
    pq.write_table(table.slice(1), data / "labels/mine/scenes-train-00000.parquet", row_group_size=100)
    with pytest.raises(InputError, match="has scene 4 where the shard has 3"):
        pickle.loads(pickle.dumps(labels)).apply(scene, opened, row)


def test_an_unfinished_dataset_is_not_labelled(made: Path, data: Path):
    (data / "scenes/train-00000.parquet").unlink()
    with pytest.raises(InputError, match="not finished"):
        label(data, coded(made / "metres.onnx"), engine=HERE, quiet=True)


def test_a_teacher_that_fails_leaves_what_can_go_on(made: Path, data: Path, tmp_path: Path):
    with pytest.raises(InputError, match="gives NaN"):
        label(data, coded(write_onnx(tmp_path / "nan.onnx", offset=float("nan"))), name="nan", engine=HERE, quiet=True)
    with pytest.raises(InputError, match="must be said"):
        label(data, TeacherSettings(f"teacher=onnx:{made / 'metres.onnx'}"), engine=HERE, quiet=True)
    assert list(content(data / "labels")) == ["nan/label.json"]


def test_every_line_of_a_quiet_run_is_a_shard(made: Path, data: Path, capfd: pytest.CaptureFixture[str]):
    label(data, coded(made / "metres.onnx"), engine=HERE, quiet=True)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "the teacher agrees",
        "train-00000",
        "validation-00000",
        "test-00000",
        "the teacher agrees",
    ]


@examples(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 50), st.floats(-60, 60), st.booleans())
def test_stored_values_come_back(seed: int, scale: float, shift: float, metric: bool):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.01, 65 if metric else 1, (7, 9)).astype(np.float32)
    values = values if metric else (values * scale + shift).astype(np.float32)
    values[0, :3] = np.nan
    other = values[:2, :4] * np.float32(0.5 if metric else 1)
    (data, smaller), low, step = encode([values, other], metric)
    error = 0.00051 if metric else np.ptp(values[np.isfinite(values)]) / 8190 * 1.01 + 1e-5 * abs(shift)
    for stored_, given_ in ((data, values), (smaller, other)):
        got = decode(stored_, given_.shape, low, step)
        assert (np.isnan(got) == np.isnan(given_)).all()
        np.testing.assert_allclose(got, given_, atol=error)
    assert len(data) == 2 * values.size
    levels = np.frombuffer(data, "<u2")
    assert metric or ((levels[levels > 0] - 1) % 16 == 0).all()


def test_a_flat_or_unknown_map_is_stored_and_worn():
    for fill in (3.0, np.nan):
        values = np.full((4, 5), fill, np.float32)
        (data,), low, step = encode([values], metric=False)
        np.testing.assert_allclose(decode(data, (4, 5), low, step), values)
        for kind in ("relative", "disparity", "metric"):
            depth = to_depth(values, kind, 3.0, 3.0)
            assert np.isfinite(depth).all()
            assert (depth > 0).all() == (fill == 3.0)
