"""Pictures from strangers: what is fine comes out as from a file, what is not is refused by its reason."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cleanplate.pictures.frames import decode, to_rgb
from cleanplate.service.limits import RefusedError
from cleanplate.service.pictures import encode_png, read_depth, read_picture
from made_server import Client, differing, encoded, noise, png, serving

MOST = 1_000_000
SMOOTH = Image.fromarray(np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int = 8, colours: int = 2) -> bytes:
    """A PNG's beginning."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says it holds this many pixels."""
    return header(width, height) + chunk(b"IDAT", zlib.compress(bytes(3_000_000))) + chunk(b"IEND", b"")


def turned(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture, "JPEG", quality=95, exif=exif.tobytes())


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(noise(seed)) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


FINE: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(SMOOTH, "JPEG", quality=90),
    "progressive JPEG": lambda: encoded(SMOOTH, "JPEG", quality=90, progressive=True),
    "grey JPEG": lambda: encoded(SMOOTH.convert("L"), "JPEG"),
    "CMYK JPEG": lambda: encoded(SMOOTH.convert("CMYK"), "JPEG"),
    "JPEG on its side": lambda: turned(SMOOTH, 6),
    "JPEG upside down": lambda: turned(SMOOTH, 3),
    "PNG": lambda: encoded(SMOOTH, "PNG"),
    "PNG with alpha": lambda: encoded(SMOOTH.convert("RGBA"), "PNG"),
    "palette PNG": lambda: encoded(SMOOTH.convert("P"), "PNG"),
    "palette PNG with transparency": lambda: encoded(SMOOTH.convert("P"), "PNG", transparency=3),
    "1-bit PNG": lambda: encoded(SMOOTH.convert("1"), "PNG"),
    "16-bit grey PNG": lambda: png(np.linspace(0, 65535, 4800).reshape(60, 80).astype(np.uint16)),
    "16-bit colour PNG": lambda: cv2.imencode(".png", noise(0).astype(np.uint16) * 257)[1].tobytes(),
    "WebP": lambda: encoded(SMOOTH, "WEBP", lossless=True),
    "one pixel": lambda: png(noise(0, 1, 1)),
    "PNG with a script behind it": lambda: encoded(SMOOTH, "PNG") + b"<script>alert(1)</script>",
}

BAD: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "nothing": (lambda: b"", 422, "no bytes"),
    "zeros": (lambda: bytes(5000), 415, "JPEG"),
    "text": (lambda: b"hello", 415, "JPEG"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 415, "JPEG"),
    "HTML with a JPEG in it": (lambda: b"<html>" + encoded(SMOOTH, "JPEG"), 415, "JPEG"),
    "GIF": (lambda: encoded(SMOOTH.convert("P"), "GIF"), 415, "JPEG"),
    "TIFF": (lambda: encoded(SMOOTH, "TIFF"), 415, "JPEG"),
    "EPS": (lambda: encoded(SMOOTH, "EPS"), 415, "JPEG"),
    "ZIP": (lambda: b"PK\x03\x04" + bytes(100), 415, "JPEG"),
    "animated PNG": (lambda: animated("PNG"), 422, "animation"),
    "animated WebP": (lambda: animated("WEBP"), 422, "animation"),
    "bomb": (lambda: bomb(1200, 1000), 413, "1200x1000"),
    "larger bomb": (lambda: bomb(12_000, 12_000), 413, "at most 1 megapixels"),
    "largest bomb": (lambda: bomb(60_000, 60_000), 413, "megapixels"),
    "thin bomb": (lambda: bomb(20_000, 20), 413, "20000x20"),
    "no pixels": (lambda: bomb(0, 5), 415, "JPEG"),
    "truncated JPEG": (lambda: encoded(SMOOTH, "JPEG")[:-300], 422, "cannot be read"),
    "truncated PNG": (lambda: png(noise(0))[:-2000], 422, "cannot be read"),
    "truncated WebP": (lambda: encoded(Image.fromarray(noise(0)), "WEBP")[:-900], 422, "cannot be read"),
    "head of a JPEG": (lambda: encoded(SMOOTH, "JPEG")[:20], 415, "JPEG"),
    "damaged PNG": (lambda: header(60, 80) + chunk(b"IDAT", b"\x78\x9cnonsense") + chunk(b"IEND", b""), 422, "read"),
    "JPEG of 99 scans": (
        lambda: encoded(SMOOTH, "JPEG")[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 99,
        422,
        "scans",
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_a_picture_comes_in_as_from_a_file(name: str) -> None:
    data = FINE[name]()
    found = read_picture(data, "the frame", MOST)
    expected = to_rgb(decode(data, Path("x")), Path("x"))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_by_its_reason(name: str) -> None:
    made, status, said = BAD[name]
    start = time.perf_counter()
    with pytest.raises(RefusedError, match=said) as caught:
        read_picture(made(), "the frame", MOST)
    assert caught.value.status == status
    assert caught.value.message.startswith("the frame")
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("name", BAD)
def test_a_depth_is_judged_like_a_picture(name: str) -> None:
    with pytest.raises(RefusedError):
        read_depth(BAD[name][0](), "the plate's depth", MOST)


def test_a_depth_is_metres() -> None:
    stored = np.array([[0, 1, 1500], [65534, 65535, 20]], np.uint16)
    expected = np.array([[0, 0.001, 1.5], [65.534, 0, 0.02]], np.float32)
    np.testing.assert_allclose(read_depth(png(stored), "d", MOST), expected, rtol=1e-6)
    for picture in (noise(0), noise(0)[..., 0]):
        with pytest.raises(RefusedError, match="16-bit"):
            read_depth(png(picture), "d", MOST)


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (7, 9, 4)])
def test_an_encoded_picture_is_the_same(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


@pytest.fixture(scope="module")
def server() -> Generator[tuple[Client, str]]:
    with serving(differing()) as client:
        yield client, client.plate(png(noise(0)))


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(FINE)),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 40)), min_size=1, max_size=4),
)
def test_damaged_pictures_are_read_or_refused(name: str, cuts: list[tuple[float, bytes, int]]) -> None:
    """Bytes put in and taken out anywhere: a picture, or a reason; nothing else."""
    data = FINE[name]()
    for place, put, out in cuts:
        at = int(place * len(data))
        data = data[:at] + put + data[at + out :]
    with suppress(RefusedError):
        assert read_picture(data, "the frame", MOST).ndim == 3


@pytest.mark.parametrize("name", ["bomb", "truncated PNG", "SVG", "animated WebP", "nothing"])
def test_a_bad_picture_harms_nobody_else(server: tuple[Client, str], name: str) -> None:
    client, key = server
    data = BAD[name][0]()
    assert client.frame(key, data).status in (413, 415, 422)
    assert client("POST", "/plates", data, "image/png").status in (413, 415, 422)
    assert client.frame(key, png(noise(1))).status == 200
