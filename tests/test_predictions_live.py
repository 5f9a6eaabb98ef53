"""Live sources: a real stream on loopback, learned from, recorded, dropped from rather than lagged behind."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.pictures.frames import VideoReader, read_image
from cleanplate.predictions.live import LiveReader, learn_plate
from cleanplate.types import InputError
from made_clips import scene, thing
from made_films import Broadcast

PLATE = scene(2, (64, 80))
FRAMES = [thing(PLATE, 5 * t, 10, 20, 40) for t in range(16)]


def test_a_stream_is_learned_from_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Broadcast(FRAMES, 20) as camera:
        command = ["predict", "--live", camera.address, "--plate", "auto", "--out", str(tmp_path / "out")]
        assert main([*command, "--learn", "1.5", "--seconds", "1.5", "--video", "mask"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "step out of the picture" in said
    assert "step in" in said
    [entry] = json.loads((tmp_path / "out" / "predictions.json").read_text())["inputs"]
    assert entry["kind"] == "live"
    assert np.abs(read_image(tmp_path / "out" / entry["files"]["plate"]).astype(int) - PLATE).mean() < 8
    reader = VideoReader(tmp_path / "out" / "live_mask.mp4")
    times = [timed.pts * reader.facts.time_base for timed in reader.timed()]
    assert len(times) == entry["frames"]
    assert times[0] == 0
    assert 0.7 < float(times[-1]) < 3  # at the speed at which it was shown


def test_who_is_slow_gets_the_newest_frame() -> None:
    with Broadcast(FRAMES, 40) as camera, LiveReader(camera.address, seconds=1.0) as reader:
        times, clock = [], []
        for timed in reader.timed():
            times.append(float(timed.pts * reader.facts.time_base))
            clock.append(time.monotonic())
            time.sleep(0.15)
    assert reader.dropped >= len(times)
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    # Not behind: frames are left out instead. What lay in buffers at the beginning may put it ahead.
    assert times[-1] > clock[-1] - clock[0] - 0.6


def test_the_end_of_a_stream_is_the_end() -> None:
    with Broadcast(FRAMES, 50, count=25) as camera, LiveReader(camera.address) as reader:
        assert 1 <= len(list(reader.timed())) <= 25


def test_what_is_no_live_source_is_named() -> None:
    for source, said in (
        ("clip.mp4", "give a camera"),
        ("file:///etc/passwd", "give a camera"),
        ("concat:a|b", "give a camera"),
        ("/dev/video97", "is it plugged in"),
        ("tcp://127.0.0.1:9", "does it send"),
    ):
        with pytest.raises(InputError, match=said):
            LiveReader(source)


def test_a_stop_ends_the_learning() -> None:
    with Broadcast(FRAMES, 30) as camera, LiveReader(camera.address) as reader:
        reader.stop.set()
        with pytest.raises(KeyboardInterrupt):
            learn_plate(reader, 5.0)
