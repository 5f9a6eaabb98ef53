"""Libraries: what is found, checked, trimmed, fingerprinted; and every way in which a file or a folder can be bad."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanplate.pictures.frames import write_depth, write_image
from cleanplate.pictures.library import Library, open_library, read_cutout, read_plate
from cleanplate.types import InputError


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def cutout(height: int = 40, width: int = 50) -> np.ndarray:
    """Visible in rows 5..34 and columns 10..29 only."""
    rgba = noise(height, width, 4)
    rgba[..., 3] = 0
    rgba[5:35, 10:30, 3] = 200
    rgba[5, 10:30, 3] = 1  # the faintest alpha still belongs to it
    return rgba


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    folder = tmp_path / "plates"
    for number, suffix in enumerate((".jpg", ".png", ".webp", ".tiff")):
        write_image(folder / f"{number}{suffix}", noise(24, 32, seed=number))
    return folder


def side_data(folder: Path, **content: object) -> None:
    (folder / "pictures.json").write_text(json.dumps(content))


def only(library: Library, name: str):
    return next(picture for picture in library.pictures if picture.name == name)


def reasons(library: Library) -> dict[str, str]:
    return dict(library.skipped)


def test_plates_of_every_kind(plates: Path) -> None:
    (plates / "notes.txt").write_text("not a picture")
    (plates / "sub").mkdir()
    library = open_library([plates], "plates", strict=True)
    assert [p.name for p in library.pictures] == ["0.jpg", "1.png", "2.webp", "3.tiff"]
    picture = library.pictures[1]
    assert (picture.height, picture.width, picture.group, picture.trim) == (24, 32, "1", (0, 0, 24, 32))
    assert picture.focal_px == pytest.approx(1.1 * 32)
    pixels, depth = read_plate(picture)
    assert np.array_equal(pixels, noise(24, 32, seed=1))
    assert depth is None


def test_side_data(plates: Path) -> None:
    write_depth(plates / "0_depth.png", np.full((24, 32), 2.5, np.float32))
    np.save(plates / "1_depth.npy", np.full((24, 32), 1.5))
    entry = {"focal_px": 50, "group": "kitchen", "height_m": 2, "models": ["unknown keys are ignored"]}
    side_data(plates, pictures={"0.jpg": entry, "absent.jpg": {}}, made_by="hand")
    library = open_library([plates], "plates", strict=True)
    picture = only(library, "0.jpg")
    assert (picture.focal_px, picture.group, picture.height_m, picture.depth_unit_m) == (50, "kitchen", 2, 0.001)
    assert only(library, "1.png").depth_unit_m == 1  # metres in npy
    for name, metres in (("0.jpg", 2.5), ("1.png", 1.5)):
        depth = read_plate(only(library, name))[1]
        assert depth is not None
        assert np.allclose(depth, metres)


def test_depth_in_tenths_of_a_millimetre_and_its_unknown_value(plates: Path) -> None:
    stored = np.full((24, 32), 8000, np.uint16)
    stored[0] = 9
    Image.fromarray(stored).save(plates / "0_depth.png")
    side_data(plates, depth_unit_m=0.0001, depth_unknown=9)
    depth = read_plate(only(open_library([plates], "plates", strict=True), "0.jpg"))[1]
    assert depth is not None
    assert (depth[0] == 0).all()
    assert np.allclose(depth[1:], 0.8)


def test_relative_depth_keeps_its_units(plates: Path) -> None:
    Image.fromarray(np.full((24, 32), 250, np.uint8)).save(plates / "0_depth.png")
    side_data(plates, depth_unit_m="relative")
    picture = only(open_library([plates], "plates", strict=True), "0.jpg")
    depth = read_plate(picture)[1]
    assert picture.depth_unit_m is None
    assert picture.depth_path is not None
    assert depth is not None
    assert (depth == 250).all()


def test_depth_of_a_rotated_plate_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(24, 40)).save(tmp_path / "a.jpg", exif=exif)
    upright = np.full((40, 24), 3, np.float32)
    write_depth(tmp_path / "a_depth.png", upright)
    picture = open_library([tmp_path], "plates", strict=True).pictures[0]
    assert (picture.height, picture.width) == (40, 24)
    pixels, depth = read_plate(picture)
    assert depth is not None
    assert pixels.shape[:2] == depth.shape
    write_depth(tmp_path / "a_depth.png", upright.T.copy())
    with pytest.raises(InputError, match=r"a_depth.png: 24 x 40 px .* but a.jpg is 40 x 24 px"):
        open_library([tmp_path], "plates", strict=True)


def test_cutouts_are_trimmed_together_with_their_relief(tmp_path: Path) -> None:
    rgba = cutout()
    relief = np.where(rgba[..., 3] > 0, np.linspace(2, 3, 50, dtype=np.float32), 0).astype(np.float32)
    write_image(tmp_path / "a.png", rgba)
    write_depth(tmp_path / "a_depth.png", relief)
    picture = open_library([tmp_path], "cutouts", strict=True).pictures[0]
    assert picture.trim == (5, 10, 35, 30)
    assert (picture.height, picture.width) == (30, 20)
    pixels, depth = read_cutout(picture)
    assert np.array_equal(pixels, rgba[5:35, 10:30])
    assert depth is not None
    assert np.allclose(depth, relief[5:35, 10:30], atol=0.0006)


def test_cutouts_as_rgb_with_a_mask(tmp_path: Path) -> None:
    rgba = cutout()
    write_image(tmp_path / "a.jpg", rgba[..., :3])
    write_image(tmp_path / "a_mask.png", rgba[..., 3])
    library = open_library([tmp_path], "cutouts", strict=True)
    assert [p.name for p in library.pictures] == ["a.jpg"]
    pixels, _ = read_cutout(library.pictures[0])
    assert np.array_equal(pixels[..., 3], rgba[5:35, 10:30, 3])
    assert library.pictures[0].mask_path == tmp_path / "a_mask.png"


def test_grey_and_palette_cutouts(tmp_path: Path) -> None:
    rgba = cutout()
    Image.fromarray(rgba[..., [0, 3]].copy(), "LA").save(tmp_path / "grey.png")
    palette = Image.fromarray(rgba[..., :3]).quantize(16)
    indices = np.array(palette)
    indices[(rgba[..., 3] == 0)], indices[(rgba[..., 3] > 0) & (indices == 0)] = 0, 1
    keyed = Image.fromarray(indices, "P")
    keyed.putpalette(palette.getpalette() or [])
    keyed.save(tmp_path / "palette.png", transparency=0)
    library = open_library([tmp_path], "cutouts", strict=True)
    assert [(p.name, p.trim) for p in library.pictures] == [(n, (5, 10, 35, 30)) for n in ("grey.png", "palette.png")]
    pixels, _ = read_cutout(library.pictures[0])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))


def make_bad_plates(folder: Path) -> dict[str, str]:
    """One file of each bad kind; name -> what its reason must say."""
    write_image(folder / "tiny.png", noise(1, 1))
    write_image(folder / "low.png", noise(15, 40))
    write_image(folder / "cutout.png", cutout())
    (folder / "text.jpg").write_text("hello")
    (folder / "bomb.png").write_bytes(png_of(30_000, 30_000))
    write_image(folder / "whole.jpg", noise(64, 64))
    (folder / "short.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "phone.heic").write_bytes(b"")
    write_depth(folder / "orphan_depth.png", np.ones((24, 32), np.float32))
    for name, depth in (("far", 9e6), ("blank", 0.0), ("size", 2.0)):
        write_image(folder / f"{name}.png", noise(24, 32))
        np.save(folder / f"{name}_depth.npy", np.full((24, 31 if name == "size" else 32), depth))
    write_image(folder / "colour.png", noise(24, 32))
    write_image(folder / "colour_depth.png", noise(24, 32))
    return {
        "tiny.png": "1 x 1 px; a plate has at least 16 px",
        "low.png": "15 x 40 px",
        "cutout.png": "transparent parts; a plate is opaque",
        "text.jpg": "not a picture",
        "bomb.png": "too large, possibly a decompression bomb",
        "short.jpg": "truncated or damaged",
        "phone.heic": ".heic is not read",
        "orphan_depth.png": "without its picture orphan.jpg",
        "far.png": "wrong unit: with 1 m per stored unit the median depth is 9e+06 m",
        "blank.png": "no pixel has a known depth",
        "size.png": "24 x 31 px (height x width), but size.png is 24 x 32 px",
        "colour.png": "depth is one channel",
    }


def test_each_bad_plate_is_named_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = make_bad_plates(tmp_path)
    with caplog.at_level(logging.WARNING, "cleanplate"):
        library = open_library([tmp_path], "plates")
    assert [p.name for p in library.pictures] == ["whole.jpg"]
    assert reasons(library).keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons(library)[name]
        assert any(f"skipped {name}: " in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("name", ["tiny.png", "text.jpg", "bomb.png", "short.jpg", "far.png", "size.png", "phone.heic"])
def test_strict_stops_at_a_bad_plate(tmp_path: Path, name: str) -> None:
    make_bad_plates(tmp_path / "all")
    for path in (tmp_path / "all").glob(f"{Path(name).stem}*"):
        path.rename(tmp_path / path.name)
    write_image(tmp_path / "good.png", noise(24, 32))
    with pytest.raises(InputError, match=name.split(".")[0]):
        open_library([tmp_path], "plates", strict=True)


def test_each_bad_cutout_is_named_and_skipped(tmp_path: Path) -> None:
    empty, small = cutout(), cutout()
    empty[..., 3] = 0
    small[..., 3] = 0
    small[3:9, 3:9, 3] = 255
    write_image(tmp_path / "plain.png", noise(30, 30))
    write_image(tmp_path / "empty.png", empty)
    write_image(tmp_path / "small.png", small)
    write_image(tmp_path / "masked.jpg", noise(30, 30))
    write_image(tmp_path / "masked_mask.png", noise(30, 29)[..., 0])
    write_image(tmp_path / "gas_mask.png", cutout())
    write_image(tmp_path / "good.png", cutout())
    library = open_library([tmp_path], "cutouts")
    assert [p.name for p in library.pictures] == ["good.png"]
    found = reasons(library)
    assert "no alpha channel and no plain_mask.png" in found["plain.png"]
    assert "alpha is empty" in found["empty.png"]
    assert "6 x 6 px (height x width) once trimmed" in found["small.png"]
    assert "30 x 29 px (height x width), but masked.jpg is 30 x 30 px" in found["masked.jpg"]
    assert "rename the file" in found["gas_mask.png"]


def test_folders_with_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="no usable plates; expected pictures of scenes with nothing in front"):
        open_library([tmp_path], "plates")
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_text("text")
    with pytest.raises(InputError, match=r"(?s)no usable cutouts; expected cut-out.*0.jpg: not a picture.*and 2 more"):
        open_library([tmp_path], "cutouts")
    with pytest.raises(InputError, match="no such folder"):
        open_library([tmp_path / "none"], "plates")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no valid JSON"),
        ("[]", "expected an object"),
        ('{"pictures": []}', "expected an object"),
        ('{"depth_unit_m": 0}', "depth_unit_m must be a number above 0"),
        ('{"depth_unit_m": -1}', "got -1"),
        ('{"depth_unit_m": "mm"}', "or \"relative\"; got 'mm'"),
        ('{"depth_unit_m": true}', "got True"),
        ('{"depth_unit_m": NaN}', "got nan"),
        ('{"depth_unknown": "none"}', "depth_unknown must be a number"),
    ],
)
def test_bad_side_data_of_a_folder_stops(plates: Path, text: str, words: str) -> None:
    (plates / "pictures.json").write_text(text)
    with pytest.raises(InputError) as caught:
        open_library([plates], "plates")
    assert words in str(caught.value)
    assert "pictures.json" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"height_m": "tall"}, "height_m must be a number above 0, in metres; got 'tall'"),
        ({"height_m": 0}, "got 0"),
        ({"focal_px": -3}, "focal_px must be a number above 0, in pixels; got -3"),
        ({"group": ["a"]}, "group must be a name"),
        ("kitchen", "expected an object"),
    ],
)
def test_bad_side_data_of_a_picture_skips_it(plates: Path, entry: object, words: str) -> None:
    side_data(plates, pictures={"1.png": entry})
    library = open_library([plates], "plates")
    assert words in reasons(library)["1.png"]
    assert len(library.pictures) == 3


def test_several_folders(tmp_path: Path) -> None:
    for folder in ("x/plates", "y/plates", "z"):
        write_image(tmp_path / folder / "a.png", noise(20, 20, seed=len(folder)))
    side_data(tmp_path / "z", pictures={"a.png": {"group": "kitchen"}})
    one = open_library([tmp_path / "x/plates", tmp_path / "z"], "plates", strict=True)
    assert [(p.name, p.group) for p in one.pictures] == [("plates/a.png", "plates/a"), ("z/a.png", "kitchen")]
    same = open_library([tmp_path / "x/plates", tmp_path / "y/plates"], "plates", strict=True)
    assert [p.name for p in same.pictures] == ["x/plates/a.png", "y/plates/a.png"]
    again = open_library([tmp_path / "z", tmp_path / "z"], "plates", strict=True)
    assert [p.name for p in again.pictures] == ["a.png"]
    with pytest.raises(InputError, match="the same folder twice"):
        open_library([tmp_path / "z", tmp_path / "x" / ".." / "z"], "plates")


def test_fingerprints_follow_every_byte_and_fact(plates: Path) -> None:
    seen = [open_library([plates], "plates").fingerprint]
    assert (
        only(open_library([plates], "plates"), "1.png").sha256
        == hashlib.sha256((plates / "1.png").read_bytes()).hexdigest()
    )

    def changed() -> bool:
        seen.append(open_library([plates], "plates").fingerprint)
        return seen[-1] not in seen[:-1]

    assert not changed()
    write_depth(plates / "0_depth.png", np.full((24, 32), 2, np.float32))
    assert changed()
    write_depth(plates / "0_depth.png", np.full((24, 32), 2.001, np.float32))
    assert changed()
    side_data(plates, pictures={"1.png": {"group": "kitchen"}})
    assert changed()
    write_image(plates / "1.png", noise(24, 32, seed=99))
    assert changed()


def test_fingerprint_does_not_depend_on_the_place(plates: Path, tmp_path: Path) -> None:
    before = open_library([plates], "plates").fingerprint
    assert open_library([plates.rename(tmp_path / "elsewhere")], "plates").fingerprint == before


def test_cutout_digest_covers_the_mask(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", noise(40, 40))
    digests = set()
    for level in (255, 254):
        write_image(tmp_path / "a_mask.png", np.full((40, 40), level, np.uint8))
        digests.add(open_library([tmp_path], "cutouts").pictures[0].sha256)
    assert len(digests) == 2


def test_opening_many_pictures_is_quick(tmp_path: Path) -> None:
    write_image(tmp_path / "0.jpg", noise(240, 320))
    data = (tmp_path / "0.jpg").read_bytes()
    for number in range(1, 300):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    started = time.process_time()
    assert len(open_library([tmp_path], "plates").pictures) == 300
    assert time.process_time() - started < 300 * 0.02  # 2 ms each is usual
