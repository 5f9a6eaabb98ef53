"""Videos: real H.264 files, made here, read back, turned, broken off."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from cleanplate.pictures.frames import VideoReader, VideoWriter
from cleanplate.types import InputError

SIZE = (61, 83)
COUNT = 50


def picture(number: int) -> np.ndarray:
    """Flat patches of strong colours, one of which moves."""
    pixels = np.full((*SIZE, 3), (40, 90, 200), np.uint8)
    pixels[:30, :40] = (220, 30, 30)
    pixels[35:55, number : number + 20] = (20, 210, 60)
    return pixels


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    with VideoWriter(path, SIZE, 30000 / 1001) as writer:
        for number in range(COUNT):
            writer.write(picture(number))
    return path


def test_round_trip_with_odd_sides(video: Path) -> None:
    reader = VideoReader(video)
    assert reader.size == (62, 84)  # one pixel repeated: yuv420p has even sides only
    assert reader.fps == pytest.approx(30000 / 1001)
    assert reader.frames == COUNT
    read = list(reader)
    assert len(read) == COUNT
    for number in (0, 20, COUNT - 1):
        error = np.abs(read[number][:61, :83].astype(int) - picture(number))
        assert np.median(error) <= 3
        assert error.mean() < 4.5
    assert np.abs(read[0][10, 10].astype(int) - (220, 30, 30)).max() <= 6  # the matrix written is the matrix read
    assert len(list(reader)) == COUNT  # and again from the start


def test_the_file_says_what_plays_everywhere(video: Path) -> None:
    with av.open(str(video)) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.name, context.pix_fmt, context.colorspace, context.color_range) == (
            "h264",
            "yuv420p",
            1,
            1,
        )
    assert [p.name for p in video.parent.iterdir()] == ["a.mp4"]
    assert video.read_bytes().index(b"moov") < video.read_bytes().index(b"mdat")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_honoured(video: Path, tmp_path: Path, degrees: int) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(video)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    plain, upright = next(iter(VideoReader(video))), next(iter(VideoReader(turned)))
    assert VideoReader(turned).size == ((84, 62) if degrees != 180 else (62, 84))
    assert np.array_equal(upright, np.rot90(plain, degrees // 90))


def test_a_truncated_video_yields_what_there_is_then_says_so(video: Path, tmp_path: Path) -> None:
    data = video.read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(data[: len(data) * 3 // 4])
    read = []
    with pytest.raises(InputError, match=r"short.mp4: the video is truncated or damaged after \d+ of 50 frames"):
        read.extend(VideoReader(short))  # keeps what came before the error
    assert 5 < len(read) < COUNT
    whole = list(VideoReader(video))
    assert np.array_equal(read[4], whole[4])


def test_files_without_video_are_named(video: Path, tmp_path: Path) -> None:
    (tmp_path / "header.mp4").write_bytes(video.read_bytes()[:100])
    (tmp_path / "index.mp4").write_bytes(video.read_bytes()[:900])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("header.mp4", "index.mp4", "text.mp4", "empty.mp4", "missing.mp4"):
        with pytest.raises(InputError, match=name):
            VideoReader(tmp_path / name)


def test_nothing_stays_of_a_video_that_was_not_finished(tmp_path: Path) -> None:
    def stopped() -> None:
        with VideoWriter(tmp_path / "a.mp4", SIZE, 25) as writer:
            writer.write(picture(0))
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stopped()
    with pytest.raises(InputError, match=r"a.xyz: no video can be written"):
        VideoWriter(tmp_path / "a.xyz", SIZE, 25)
    with pytest.raises(ValueError, match="a frame of"), VideoWriter(tmp_path / "b.mp4", SIZE, 25) as writer:
        writer.write(np.zeros((10, 10, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
