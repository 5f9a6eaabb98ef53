"""Images, depth maps and whole writing: every mode comes in right, bad files are named, nothing half-written stays."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.pictures import frames
from cleanplate.pictures.frames import VideoWriter, read_depth, read_image, write_atomically, write_depth, write_image
from cleanplate.types import InputError


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 90)], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_written_images_come_back(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", gradient())
    error = np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - gradient()).mean()
    assert error == 0 if suffix in (".png", ".tiff") else error < 4


def test_grey_and_transparent_images_can_be_written(tmp_path: Path) -> None:
    rgba = np.dstack([gradient(), gradient()[..., 0]])
    write_image(tmp_path / "a.png", rgba)
    write_image(tmp_path / "g.png", rgba[..., 3])
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.array(image), rgba)
    assert np.array_equal(frames.read_grey(tmp_path / "g.png"), rgba[..., 3])
    with pytest.raises(InputError, match="JPEG has no transparency"):
        write_image(tmp_path / "a.jpg", rgba)
    with pytest.raises(InputError, match="unknown kind of picture"):
        write_image(tmp_path / "a.xyz", rgba)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, kind: str) -> None:
    upright = gradient(32, 48)
    # The stored picture is the one that Pillow's own transposition turns upright.
    turn = Image.Transpose
    undo = (None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.ROTATE_90,
            turn.TRANSVERSE, turn.ROTATE_270)[orientation - 1]  # fmt: skip
    stored = Image.fromarray(upright)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{kind}", exif=exif, lossless=True)  # WebP's; the others ignore it
    read = read_image(tmp_path / f"a.{kind}")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < (4 if kind == "jpg" else 0.01)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 40 * 20).reshape(20, 40).astype(np.uint16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(values).save(tmp_path / name)
        read = read_image(tmp_path / name)
        assert np.array_equal(read[..., 0], np.round(values / 257).astype(np.uint8))
        assert read.shape == (20, 40, 3)


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0x0100) * 16
    path = tmp_path / "a.png"
    path.write_bytes(
        png_header(16, 16, bits=16, colour=2) + chunk(b"IDAT", zlib.compress(row * 16)) + chunk(b"IEND", b"")
    )
    assert read_image(path)[3, 3].tolist() == [255, 128, 1]


def test_float_grey_is_0_to_1(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert np.array_equal(read_image(tmp_path / "a.tiff")[..., 1], np.floor(values * 255 + 0.5).astype(np.uint8))
    Image.fromarray(values * 300).save(tmp_path / "b.tiff")
    with pytest.raises(InputError, match=r"b.tiff: grey values of 0..300, expected 0..1"):
        read_image(tmp_path / "b.tiff")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.full((20, 20), 255, np.uint8))
    source = grey if mode in ("I", "F", "1", "L", "LA") else grey.convert("RGB")
    image = source.convert(mode) if mode not in ("PA", "LAB") else source
    if mode in ("I", "F"):
        image = image.point(lambda v: v * (257 if mode == "I" else 1 / 255))
    image.save(tmp_path / "a.tiff") if mode != "PA" else image.convert("P").save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff").min() >= 254


def test_cmyk_colours_are_right(tmp_path: Path) -> None:
    red = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    red.save(tmp_path / "a.jpg", quality=95)
    red.save(tmp_path / "a.tiff")
    for name in ("a.jpg", "a.tiff"):
        assert np.abs(read_image(tmp_path / name)[10, 10].astype(int) - (255, 0, 0)).max() <= 6


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).quantize(8)
    image.info["transparency"] = bytes([0, 255, 128, 255, 255, 255, 255, 255])
    image.save(tmp_path / "a.png")
    decoded = frames.decode((tmp_path / "a.png").read_bytes(), tmp_path / "a.png")
    alpha = frames.alpha_of(decoded)
    assert alpha is not None
    assert set(np.unique(alpha)) == {0, 128, 255}
    assert read_image(tmp_path / "a.png").shape == (20, 30, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


@pytest.mark.parametrize("side", [30_000, 9_500])
def test_decompression_bomb_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side) + chunk(b"IDAT", zlib.compress(bytes(100))))
    with pytest.raises(InputError, match=r"bomb.png: too large, possibly a decompression bomb"):
        read_image(tmp_path / "bomb.png")


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.jpg", "empty.png"):
        with pytest.raises(InputError, match=f"{name}: not a picture"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match=r"none.png: cannot be read"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_truncated_pictures_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=f"a{suffix}: "):
            read_image(path)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6)
)
def test_damaged_bytes_never_raise_anything_else(kind: str, damage: list[tuple[float, int]]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for place, value in damage:
        data[int(place * len(data))] = value
    with suppress(InputError):
        assert frames.to_rgb(frames.decode(bytes(data), Path("x")), Path("x")).dtype == np.uint8


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 70, allow_nan=False, width=32), min_size=1, max_size=30))
def test_depth_round_trip_is_half_a_millimetre(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    depth = np.array([values], np.float32)
    path = tmp_path_factory.mktemp("depth") / "d.png"
    write_depth(path, depth)
    read = read_depth(path)
    within = (depth >= 0.0006) & (depth < 65.534)
    assert np.abs(read - depth)[within].max(initial=0) <= 0.000505
    assert (read[depth > 65.535] == 0).all()


def test_unknown_depth_is_written_as_zero(tmp_path: Path) -> None:
    write_depth(tmp_path / "d.png", np.array([[np.nan, np.inf, -1, 0, 1.5, 65.6, 1e9]], np.float32))
    with Image.open(tmp_path / "d.png") as image:
        assert np.array(image).dtype == np.uint16
        assert np.array(image).tolist() == [[0, 0, 0, 0, 1500, 0, 0]]


def test_depth_units_and_unknown_values(tmp_path: Path) -> None:
    stored = np.array([[0, 1000, 20000, 65535, 7]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "d.png")
    assert read_depth(tmp_path / "d.png", 0.0001, unknown=7).tolist() == [pytest.approx([0, 0.1, 2.0, 0, 0])]
    metres = np.array([[0.0, np.nan, 1.25, -3]])
    np.save(tmp_path / "d.npy", metres)
    assert read_depth(tmp_path / "d.npy").tolist() == [[0, 0, 1.25, 0]]
    Image.fromarray(metres[:, 2:3].astype(np.float32)).save(tmp_path / "d.tiff")
    assert read_depth(tmp_path / "d.tiff").tolist() == [[1.25]]
    assert read_depth(tmp_path / "d.tiff", 0.5).tolist() == [[0.625]]


def test_bad_depth_files_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "rgb.png", gradient())
    with pytest.raises(InputError, match=r"rgb.png: uint8 of shape \(20, 30, 3\); depth is one channel"):
        read_depth(tmp_path / "rgb.png")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects.npy: no numpy array"):
        read_depth(tmp_path / "objects.npy")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write_atomically(tmp_path / "a.txt", b"old")

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"disk full while writing .*a.txt"):
        write_atomically(tmp_path / "a.txt", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_full_disk_told_by_a_library_in_words(tmp_path: Path) -> None:
    def save(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(InputError, match="disk full"):
        write_atomically(tmp_path / "sub" / "a.bin", save)
    assert list((tmp_path / "sub").iterdir()) == []


def test_unwritable_places_are_named_and_other_errors_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "file" / "a.png", b"x")

    def broken(_: Path) -> None:
        raise KeyError("own mistake")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "a.png", broken)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="disk full"):
        write_image(small_disk / "a.png", noise)

    def film() -> None:
        with VideoWriter(small_disk / "a.mp4", (200, 300), 25) as video:
            for shift in range(40):
                video.write(np.roll(noise, 7 * shift, axis=1))

    with pytest.raises(InputError, match="disk full"):
        film()
    assert list(small_disk.iterdir()) == []


def test_list_images_is_sorted_and_leaves_hidden_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in frames.list_images(tmp_path)] == ["a.png", "b.JPG"]
    with pytest.raises(InputError, match="no such folder"):
        frames.list_images(tmp_path / "none")
