"""Bad inputs through the command line: exit code 2, a message that names the file, and nothing lost that was there."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanplate.cli import main
from cleanplate.network import checkpoint
from cleanplate.pictures.frames import VideoReader, VideoWriter, read_image
from cleanplate.training import loop
from cleanplate.training.run import Run
from made_models import write_scene
from made_scenes import HEIGHT, WIDTH, write_cutouts, write_plates

SMALL = (
    *("--size", "32", "--samples", "8", "--batch", "2", "--workers", "0", "--precision", "float32"),
    *("--validation-scenes", "2", "--validate-every", "1", "--plan.positions", "2"),
)
"""A training of four steps, with a checkpoint after each."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plates, cutouts, one captured scene, a video and a run trained on them."""
    folder = tmp_path_factory.mktemp("made")
    write_plates(folder / "plates", 4)
    write_cutouts(folder / "cutouts", 4)
    write_scene(folder / "pairs" / "scene", 3)
    plate = read_image(folder / "plates" / "plate0.png")
    with VideoWriter(folder / "film.mp4", plate.shape[:2], 25) as video:
        for shift in range(30):
            video.write(np.roll(plate, 5 * shift, axis=1))
    assert train(folder / "run", folder / "plates", folder / "cutouts") == 0
    return folder


def train(out: Path, plates: Path, cutouts: Path, *more: str) -> int:
    return main(["train", "--out", str(out), "--plates", str(plates), "--cutouts", str(cutouts), *SMALL, *more])


def predict(
    made: Path, out: Path, *inputs: Path, plate: Path | None = None, depth: Path | None = None, fit: bool = False
) -> int:
    flags = ["--model", str(made / "run"), "--plate", str(plate or made / "plates" / "plate0.png"), "--out", str(out)]
    more = [*(["--plate-depth", str(depth)] if depth else []), *(["--fit"] if fit else [])]
    return main(["predict", *flags, *more, *map(str, inputs)])


def evaluate(made: Path, out: Path, model: Path | None = None) -> int:
    flags = ["--model", str(model or made / "run"), "--pairs", str(made / "pairs"), "--json", str(out)]
    return main(["evaluate", *flags])


def huge_png(path: Path) -> Path:
    """A small file whose header promises 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def one_pixel(path: Path) -> Path:
    Image.new("RGB", (1, 1)).save(path)
    return path


def text(path: Path) -> Path:
    path.write_text("no picture")
    return path


def message(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said, without the breaks that a terminal's width puts in."""
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("notes.txt", text, "at least 16 px"),
        ("notes.png", text, "not a picture"),
        ("dot.png", one_pixel, "1 x 1 px"),
        ("huge.png", huge_png, "make the picture smaller"),
    ],
)
def test_plates_that_are_none(made, tmp_path, capsys, name, make, words) -> None:
    (tmp_path / "plates").mkdir()
    make(tmp_path / "plates" / name)
    assert train(tmp_path / "run", tmp_path / "plates", made / "cutouts") == 2
    said = message(capsys)
    assert str(tmp_path / "plates") in said
    assert "no usable plates; expected pictures of scenes with nothing in front" in said
    assert words in said
    assert not (tmp_path / "run").exists()


def test_a_bad_plate_among_good_ones_is_named_and_left_out_or_stops(made, tmp_path, capsys, caplog) -> None:
    shutil.copytree(made / "plates", tmp_path / "plates")
    huge_png(tmp_path / "plates" / "huge.png")
    Image.new("I;16", (WIDTH // 2, HEIGHT)).save(tmp_path / "plates" / "plate3_depth.png")
    assert train(tmp_path / "run", tmp_path / "plates", made / "cutouts") == 0
    assert "huge.png" in caplog.text
    assert "plate3_depth.png: 120 x 80 px (height x width), but plate3.png is 120 x 160 px" in caplog.text
    listed = json.loads((tmp_path / "run" / "config.json").read_text())["pictures"]["plates"]
    assert sorted(name for part in listed.values() for name in part) == ["plate0.png", "plate1.png", "plate2.png"]
    capsys.readouterr()
    assert train(tmp_path / "strict", tmp_path / "plates", made / "cutouts", "--strict") == 2
    assert "--strict stops at bad plates" in message(capsys)


def test_cutouts_without_alpha(made, tmp_path, capsys) -> None:
    (tmp_path / "cutouts").mkdir()
    Image.new("RGB", (40, 60), (9, 99, 199)).save(tmp_path / "cutouts" / "solid.png")
    assert train(tmp_path / "run", made / "plates", tmp_path / "cutouts") == 2
    assert "solid.png: no alpha channel and no solid_mask.png; a cutout needs one of them" in message(capsys)


def test_cmyk_and_16_bit_pictures_work(made, tmp_path) -> None:
    pixels = read_image(made / "plates" / "plate0.png")
    plates = tmp_path / "plates"
    plates.mkdir()
    Image.fromarray(pixels).convert("CMYK").save(plates / "cmyk.jpg", quality=95)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(plates / "deep.png")
    Image.fromarray(pixels[..., 1].astype(np.uint16) * 257).save(plates / "deeper.tiff")
    assert train(tmp_path / "run", plates, made / "cutouts", "--samples", "2") == 0
    assert predict(made, tmp_path / "out", plates, plate=plates / "cmyk.jpg") == 0
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())["inputs"]
    assert [(entry["frames"], entry["error"]) for entry in entries] == [(1, None)] * 3


@pytest.mark.parametrize(
    ("make", "words"),
    [(text, "not a picture"), (huge_png, "make the picture smaller"), (one_pixel, "is 1x1 and the frame is 160x120")],
)
def test_predict_with_a_bad_plate(made, tmp_path, capsys, make, words) -> None:
    plate = make(tmp_path / "plate.png")
    assert predict(made, tmp_path / "out", made / "plates" / "plate1.png", plate=plate) == 2
    assert words in message(capsys)


def test_predict_names_bad_inputs_and_does_the_rest(made, tmp_path, capsys) -> None:
    bad = [text(tmp_path / "notes.png"), huge_png(tmp_path / "huge.png"), one_pixel(tmp_path / "dot.png")]
    assert predict(made, tmp_path / "out", *bad, made / "plates" / "plate1.png") == 2
    said = message(capsys)
    assert all(str(path) in said for path in bad)
    assert "3 of 4 inputs could not be used in full; everything else is in" in said
    assert read_image(tmp_path / "out" / "plate1_mask.png").shape[:2] == (HEIGHT, WIDTH)
    assert predict(made, tmp_path / "dot", bad[2], plate=bad[2]) == 0, "a pair of 1x1 pictures is a pair"


def test_predict_with_plate_depth_of_another_size(made, tmp_path, capsys) -> None:
    Image.fromarray(np.full((60, 80), 2000, np.uint16)).save(tmp_path / "depth.png")
    assert predict(made, tmp_path / "out", made / "plates" / "plate1.png", depth=tmp_path / "depth.png") == 2
    said = message(capsys)
    assert f"{tmp_path / 'depth.png'}: this depth is 80x60 and the plate" in said
    assert "--fit" in said
    assert not (tmp_path / "out").exists()
    frame = made / "plates" / "plate1.png"
    assert predict(made, tmp_path / "out", frame, depth=tmp_path / "depth.png", fit=True) == 0


def test_a_truncated_video_keeps_the_frames_before_the_break(made, tmp_path, capsys) -> None:
    whole = (made / "film.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    assert predict(made, tmp_path / "out", cut, made / "plates" / "plate1.png") == 2
    assert "cut.mp4: the video is truncated or damaged after" in (said := message(capsys))
    assert "copy or convert the file again" in said
    kept = len(list(VideoReader(tmp_path / "out" / "cut_overlay.mp4")))
    assert 0 < kept < 30
    assert (tmp_path / "out" / "plate1_mask.png").is_file()
    cut.write_bytes(whole[:300])
    assert predict(made, tmp_path / "none", cut) == 2
    assert "cut.mp4" in message(capsys)


def test_a_checkpoint_of_another_version(made, tmp_path, capsys) -> None:
    tensors, meta = checkpoint.read_tensors(made / "run" / "best.safetensors")
    other = tmp_path / "other.safetensors"
    checkpoint.write_tensors(other, tensors, {**meta, "format": 7, "version": "9.1"})
    frame, plate = (str(made / "plates" / f"plate{n}.png") for n in range(2))
    commands = (
        lambda: main(["predict", "--model", str(other), "--plate", plate, "--out", str(tmp_path / "out"), frame]),
        lambda: evaluate(made, tmp_path / "evaluation.json", model=other),
        lambda: train(tmp_path / "run", made / "plates", made / "cutouts", "--from", str(other)),
    )
    for command in commands:
        assert command() == 2
        said = message(capsys)
        assert "other.safetensors has checkpoint format 7, this release of cleanplate reads 1" in said
        assert "version 9.1: install that one, or train again" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.safetensors"]


class Disk:
    """A small file system of its own, with a file on it that can take up all its space."""

    def __init__(self, place: Path) -> None:
        self.place, self.ballast = place, place / "ballast"

    def fill(self) -> None:
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        self.ballast.unlink()

    def files(self) -> dict[str, bytes]:
        """Every file but the ballast."""
        return {
            path.relative_to(self.place).as_posix(): path.read_bytes()
            for path in sorted(self.place.rglob("*"))
            if path.is_file() and path != self.ballast
        }


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


# on a slow machine TensorBoard's own thread may meet the full disk, too
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("first", ["panels", "metrics"])
def test_a_training_that_fills_the_disk_goes_on_after_space_is_freed(made, disk, capsys, monkeypatch, first) -> None:
    """`first`: what finds the disk full, a file written whole or one that is appended to."""
    save_state, out = Run.save_state, disk.place / "run"

    def save_and_fill(run: Run, *state) -> None:
        save_state(run, *state)
        if first == "metrics":  # a line fits into the file's last page of memory unless that is full, too
            monkeypatch.setattr(loop, "LOG_EVERY", 1)
            with (out / "metrics.jsonl").open("a") as file:
                file.write(" " * (-file.tell() % 4096))
        disk.fill()

    monkeypatch.setattr(Run, "save_state", save_and_fill)
    assert train(out, made / "plates", made / "cutouts") == 2
    said = message(capsys)
    assert f"disk full while writing {out}{';' if first == 'metrics' else '/panels/'}" in said
    assert "free some space and run the same command again" in said
    monkeypatch.undo()
    assert checkpoint.read_tensors(out / "state.safetensors")[1]["progress"]["step"] == 1
    checkpoint.load(checkpoint.find(out))
    assert not list(out.rglob("*.partial*"))
    disk.free()
    assert train(out, made / "plates", made / "cutouts") == 0
    finished, _ = checkpoint.read_tensors(out / "state.safetensors")
    whole, _ = checkpoint.read_tensors(made / "run" / "state.safetensors")
    assert finished.keys() == whole.keys()
    assert all((finished[name] == whole[name]).all() for name in whole), "as if the disk had never been full"
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["plates/plate2.png", "film.mp4"])
def test_predictions_on_a_full_disk_leave_the_earlier_ones(made, disk, capsys, name) -> None:
    out = disk.place / "out"
    assert predict(made, out, made / "plates" / "plate1.png") == 0
    before = disk.files()
    disk.fill()
    assert predict(made, out, made / name) == 2
    assert f"disk full while writing {out}" in message(capsys)
    assert disk.files() == before
    disk.free()
    assert predict(made, out, made / name) == 0


def test_an_evaluation_on_a_full_disk_leaves_the_earlier_one_and_tells_its_scores(made, disk, capsys) -> None:
    out = disk.place / "evaluation.json"
    out.write_text("{}")
    disk.fill()
    assert evaluate(made, out) == 2
    told = capsys.readouterr()
    assert "disk full while writing" in told.err
    assert "captured pairs, mean of 1 scenes" in told.out
    assert disk.files() == {"evaluation.json": b"{}"}
    disk.free()
    assert evaluate(made, out) == 0
    assert "mean" in json.loads(out.read_text())
