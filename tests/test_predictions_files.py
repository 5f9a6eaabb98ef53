"""Predictions as files: what is written, under which names, and what becomes of inputs that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import cleanplate
from cleanplate.inference.colours import decontaminate
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.pictures.frames import VideoReader, VideoWriter, read_image
from cleanplate.predictions import files as files_module
from cleanplate.predictions.files import name_inputs, predict_files
from cleanplate.types import InputError

SIZE = (36, 52)
META = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 16}


def pixels(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of random weights per kind of depth, and a plate."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    network = build("platenet")
    with torch.no_grad():
        dict(network.named_parameters())["head.weight"].mul_(30)
    for depth in ("metric", "relative", "none"):
        checkpoint.save(folder / depth / "best.safetensors", network, {**META, "depth": depth})
    Pillow.fromarray(pixels(0)).save(folder / "plate.png")
    return folder


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of three frames."""
    (tmp_path / "frames").mkdir()
    for i in range(3):
        Pillow.fromarray(pixels(i + 1)).save(tmp_path / "frames" / f"f{i}.png")
    return tmp_path / "frames"


def film(path: Path, count: int, size: tuple[int, int] = SIZE, fps: float = 12) -> Path:
    rng = np.random.default_rng(5)
    base = np.full((*size, 3), 90, np.uint8)
    with VideoWriter(path, size, fps) as writer:
        for i in range(count):
            frame = base + rng.integers(0, 40, base.shape, dtype=np.uint8)
            frame[4:20, i % 20 : i % 20 + 12] = 230
            writer.write(frame)
    return path


def listing(out: Path) -> dict:
    return json.loads((out / "predictions.json").read_text())


def test_an_image_becomes_five_pictures(runs: Path, frames: Path, tmp_path: Path) -> None:
    out, frame = tmp_path / "out", frames / "f0.png"
    predict_files(runs / "metric", runs / "plate.png", [frame], out)
    expected = cleanplate.load(runs / "metric").predict(runs / "plate.png", frame)
    mask = np.array(Pillow.open(out / "f0_mask.png"))
    assert mask.dtype == np.uint8
    assert mask.shape == SIZE
    np.testing.assert_allclose(mask / 255, expected.alpha, atol=0.5 / 255 + 1e-6)
    cutout = np.array(Pillow.open(out / "f0_cutout.png"))
    colours = decontaminate(read_image(frame), expected.alpha, read_image(runs / "plate.png"))
    np.testing.assert_array_equal(cutout, np.dstack((colours, mask)))
    depth = np.array(Pillow.open(out / "f0_depth.png"))
    assert depth.dtype == np.uint16
    np.testing.assert_allclose(depth / 1000, expected.depth, atol=0.0006)
    for name in ("f0_depth_colour.png", "f0_overlay.png"):
        assert read_image(out / name).shape == (*SIZE, 3)
    entry = listing(out)["inputs"][0]
    assert sorted(entry["files"].values()) == sorted(p.name for p in out.glob("f0_*"))
    assert entry["foreground"] == pytest.approx(expected.mask.mean())
    assert entry["depth"]["units_per_step"] == 0.001


def test_relative_depth_is_stored_with_its_scale(runs: Path, frames: Path, tmp_path: Path) -> None:
    predict_files(runs / "relative", runs / "plate.png", [frames / "f0.png"], tmp_path / "out")
    expected = cleanplate.load(runs / "relative").predict(runs / "plate.png", frames / "f0.png").depth
    note = listing(tmp_path / "out")["inputs"][0]["depth"]
    stored = np.array(Pillow.open(tmp_path / "out" / "f0_depth.png"))
    assert note["kind"] == "relative"
    assert stored.max() == 60_000
    np.testing.assert_allclose(stored * note["units_per_step"], expected, atol=note["units_per_step"])


def test_a_mask_model_writes_no_depth(runs: Path, frames: Path, tmp_path: Path) -> None:
    predict_files(runs / "none", runs / "plate.png", [frames / "f0.png"], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*depth*"))
    assert listing(tmp_path / "out")["inputs"][0]["depth"] is None


def test_a_folder_becomes_its_images_in_order(runs: Path, frames: Path, tmp_path: Path) -> None:
    entries = predict_files(runs / "metric", runs / "plate.png", [frames], tmp_path / "out")
    assert [entry.name for entry in entries] == ["f0", "f1", "f2"]
    colours = [entry["depth"]["colours"] for entry in listing(tmp_path / "out")["inputs"]]
    assert colours[0] == colours[1] == colours[2]


def test_the_plate_may_be_among_the_frames(runs: Path, tmp_path: Path) -> None:
    entries = predict_files(runs / "metric", runs / "plate.png", [runs / "plate.png"], tmp_path / "out")
    assert entries[0].frames == 1


@pytest.mark.parametrize("size", [SIZE, (35, 51)])
def test_a_video_keeps_its_frames(runs: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    movie = film(tmp_path / "walk.mp4", 15, size)
    predict_files(runs / "metric", runs / "plate.png", [movie], tmp_path / "out", fit=True)
    even = tuple(side + side % 2 for side in size)
    for name in ("walk_overlay.mp4", "walk_mask.mp4"):
        with av.open(str(tmp_path / "out" / name)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
        reader = VideoReader(tmp_path / "out" / name)
        assert reader.fps == pytest.approx(12)
        assert reader.size == even
        assert len(list(reader)) == 15
    model = cleanplate.load(runs / "metric")
    for frame, mask in zip(VideoReader(movie), VideoReader(tmp_path / "out" / "walk_mask.mp4"), strict=True):
        alpha = model.predict(runs / "plate.png", frame[: size[0], : size[1]], fit=True).alpha
        assert np.abs(mask[: size[0], : size[1], 0] / 255 - alpha).mean() < 0.05
    entry = listing(tmp_path / "out")["inputs"][0]
    assert entry["kind"] == "video"
    assert entry["frames"] == 15
    assert entry["error"] is None


def test_a_video_that_breaks_off_keeps_what_played(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = film(tmp_path / "whole.mkv", 60)
    data = whole.read_bytes()
    (tmp_path / "half.mp4").write_bytes(_streamable(whole, tmp_path)[: int(len(data) * 0.6)])
    with pytest.raises(InputError, match=r"half\.mp4.*truncated.*kept"):
        predict_files(runs / "metric", runs / "plate.png", [tmp_path / "half.mp4"], tmp_path / "out")
    frames = listing(tmp_path / "out")["inputs"][0]["frames"]
    assert 5 < frames < 60
    for name in ("half_overlay.mp4", "half_mask.mp4"):
        assert len(list(VideoReader(tmp_path / "out" / name))) == frames
    assert "1 of 1 inputs" in capsys.readouterr().out


def _streamable(movie: Path, folder: Path) -> bytes:
    """The same video as an MP4 whose index comes first, as a download that breaks off has it."""
    with VideoWriter(folder / "first.mp4", SIZE, 12) as writer:
        for frame in VideoReader(movie):
            writer.write(frame)
    return (folder / "first.mp4").read_bytes()


@pytest.mark.parametrize("source", ["rtsp://127.0.0.1/x", "/dev/null"])
def test_a_live_source_among_the_files_is_sent_to_its_option(source: str, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give it to --live"):
        predict_files(runs / "metric", runs / "plate.png", [Path(source)], tmp_path / "out")


def test_one_bad_input_among_many_is_named_and_left_out(runs: Path, frames: Path, tmp_path: Path) -> None:
    (frames / "f1.png").write_bytes((frames / "f1.png").read_bytes()[:200])
    (tmp_path / "broken.mp4").write_text("no video")
    small = tmp_path / "small.png"
    Pillow.fromarray(pixels(9, (10, 10))).save(small)
    given = [frames, tmp_path / "missing.jpg", tmp_path / "broken.mp4", small]
    with pytest.raises(InputError, match=r"small\.png.*10x10.*4 of 6 inputs.*everything else"):
        predict_files(runs / "metric", runs / "plate.png", given, tmp_path / "out")
    wrong = {Path(entry["input"]).name for entry in listing(tmp_path / "out")["inputs"] if entry["error"]}
    assert wrong == {"f1.png", "missing.jpg", "broken.mp4", "small.png"}
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert "f0_mask.png" in made
    assert "f2_mask.png" in made
    assert not [name for name in made if name.startswith((".", "f1", "broken", "small", "missing"))]


def test_inputs_of_one_stem_keep_apart(runs: Path, frames: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Pillow.fromarray(pixels(7)).save(tmp_path / folder / "f0.png")
    Pillow.fromarray(pixels(8)).save(tmp_path / "a" / "f0.jpg")
    entries = predict_files(
        runs / "metric", runs / "plate.png", [tmp_path / "a", tmp_path / "b", frames], tmp_path / "out"
    )
    assert [entry.name for entry in entries] == ["a_f0", "a_f0-2", "b_f0", "frames_f0", "f1", "f2"]
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 6


def test_names_never_meet() -> None:
    paths = [Path(p) for p in ("a/x.png", "b/x.png", "b/X.png", "c/a_x.png", "d/a_x-2.png", "/x.png", "/x.jpg")]
    names = name_inputs(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert names == name_inputs(paths)
    assert name_inputs([Path("a/one.png"), Path("b/two.mp4")]) == ["one", "two"]


def test_plate_depth_and_fit_reach_the_model(runs: Path, frames: Path, tmp_path: Path) -> None:
    Pillow.fromarray(np.full(SIZE, 2500, np.uint16)).save(tmp_path / "depth.png")
    masks = []
    for name, depth in (("with", tmp_path / "depth.png"), ("without", None)):
        predict_files(runs / "metric", runs / "plate.png", [frames / "f0.png"], tmp_path / name, depth)
        masks.append(np.array(Pillow.open(tmp_path / name / "f0_mask.png")).astype(int))
    assert np.abs(masks[0] - masks[1]).max() > 0
    Pillow.fromarray(pixels(1, (70, 100))).save(tmp_path / "large.png")
    predict_files(runs / "metric", runs / "plate.png", [tmp_path / "large.png"], tmp_path / "fit", fit=True)
    assert read_image(tmp_path / "fit" / "large_overlay.png").shape == (70, 100, 3)


def test_a_full_disk_stops_and_leaves_nothing_half_written(
    runs: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write_image(path: Path, _: np.ndarray) -> None:
        if len(written) == 6:
            raise InputError(f"disk full while writing {path}; free some space")
        written.append(path.name)

    monkeypatch.setattr(files_module, "write_image", write_image)
    with pytest.raises(InputError, match="disk full"):
        predict_files(runs / "metric", runs / "plate.png", [frames], tmp_path / "out")
    assert len(written) == 6  # the second frame's third picture failed, and no frame was tried after it


def test_the_inputs_folder_is_not_written_into(runs: Path, frames: Path) -> None:
    before = sorted(frames.iterdir())
    with pytest.raises(InputError, match=r"--out .* is the folder of an input"):
        predict_files(runs / "metric", runs / "plate.png", [frames], frames)
    assert sorted(frames.iterdir()) == before


def test_inputs_that_hold_nothing(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="no image and no video"):
        predict_files(runs / "metric", runs / "plate.png", [tmp_path / "texts"], tmp_path / "out")
    with pytest.raises(InputError, match="no input given"):
        predict_files(runs / "metric", runs / "plate.png", [], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        predict_files(runs / "metric", runs / "plate.png", [runs / "plate.png"], tmp_path / "file")
