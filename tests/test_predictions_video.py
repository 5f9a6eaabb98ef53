"""Predictions of videos: the pipeline beside a plain loop, sound, times, outputs, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import cleanplate
from cleanplate.cli import main
from cleanplate.inference.colours import decontaminate
from cleanplate.inference.predictor import Predictor
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.pictures.frames import VideoReader, write_image
from cleanplate.pictures.writing import beside
from cleanplate.predictions.depths import Colours
from cleanplate.predictions.files import predict_files
from cleanplate.predictions.outputs import Outputs, covering
from cleanplate.predictions.smoothing import Smoothing
from cleanplate.settings import VideoSettings
from cleanplate.types import InputError
from made_clips import noisy, scene, thing
from made_films import film, packets

SIZE = (64, 80)
PLATE = scene(2, SIZE)
FRAMES = [noisy(thing(PLATE, 3 * t, 10, 20, 40), 2, t) for t in range(12)]
PTS = [0, 300, 1200, 1700, 1800, 3000, 3500, 4100, 6000, 6400, 7000, 7200]
META = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 16}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights, a plate, a film of variable frame rate with sound."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    network = build("platenet")
    with torch.no_grad():
        dict(network.named_parameters())["head.weight"].mul_(30)
    checkpoint.save(folder / "run" / "best.safetensors", network, META)
    write_image(folder / "plate.png", PLATE)
    film(folder / "walk.mp4", FRAMES, PTS, "aac", Fraction(4, 3))
    return folder


@pytest.fixture(scope="module")
def model(made: Path) -> Predictor:
    return cleanplate.load(made / "run")


def test_the_pipeline_gives_what_a_plain_loop_gives(made: Path, model: Predictor, tmp_path: Path) -> None:
    reader = VideoReader(made / "walk.mp4")
    outputs = Outputs(tmp_path / "plain", "walk", ("mask", "depth"), reader.facts, "metric", Colours())
    smoothing, before = Smoothing(), None
    for timed in reader.timed():
        before = model.correct(PLATE, timed.pixels, False, before)
        outputs.write(timed, model.finish(smoothing(model.look(PLATE, timed.pixels, None, False, before))))
    outputs.close(whole=True)
    wishes = VideoSettings(video=("mask", "depth"))
    predict_files(made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out", videos=wishes)
    plain, piped = (packets(tmp_path / folder / "walk_depth.mkv", "video") for folder in ("plain", "out"))
    assert len(plain) == len(FRAMES)
    assert piped == plain  # without loss, and depth follows alpha
    masks = (VideoReader(tmp_path / folder / "walk_mask.mp4") for folder in ("plain", "out"))
    for one, other in zip(*masks, strict=True):  # x264 is not the same to the bit from run to run
        apart = np.abs(one.astype(int) - other)
        assert apart.mean() < 1
        assert apart.max() <= 32
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == sorted(
        p.name for p in (tmp_path / "out").iterdir() if p.name != "predictions.json"
    )


def test_times_sound_and_aspect_are_the_source_s(made: Path, tmp_path: Path) -> None:
    predict_files(made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out")
    source = made / "walk.mp4"
    for name in ("walk_overlay.mp4", "walk_mask.mp4"):
        target = tmp_path / "out" / name
        assert sorted(t for t, _ in packets(target, "video")) == [Fraction(pts, 12_800) for pts in PTS]
        assert VideoReader(target).facts.aspect == Fraction(4, 3)
    assert packets(tmp_path / "out" / "walk_overlay.mp4", "audio") == packets(source, "audio")
    with av.open(str(tmp_path / "out" / "walk_mask.mp4")) as container:
        assert not container.streams.audio


def test_turned_videos_stay_upright(made: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(made / "walk.mp4")) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    write_image(tmp_path / "plate.png", np.rot90(PLATE).copy())
    predict_files(made / "run", tmp_path / "plate.png", [turned], tmp_path / "out")
    reader = VideoReader(tmp_path / "out" / "turned_overlay.mp4")
    assert reader.size == SIZE[::-1]
    assert reader.facts.aspect == Fraction(3, 4)


def test_cutouts_carry_alpha_and_sound(made: Path, tmp_path: Path) -> None:
    wishes = VideoSettings(video=("cutout", "prores"), smooth=False)
    predict_files(made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out", care=False, videos=wishes)
    first = next(iter(VideoReader(made / "walk.mp4")))
    expected = cleanplate.load(made / "run", care=False).predict(PLATE, first).alpha
    for name, decoder in (("walk_cutout.webm", "libvpx-vp9"), ("walk_prores.mov", "prores")):
        with av.open(str(tmp_path / "out" / name)) as container:
            assert container.streams.audio[0].codec_context.name == ("opus" if name.endswith("webm") else "aac")
            context = av.CodecContext.create(decoder, "r")
            stream = container.streams.video[0]
            context.width, context.height = stream.width, stream.height
            context.codec_tag, context.extradata = stream.codec_context.codec_tag, stream.codec_context.extradata
            frames = [frame for packet in container.demux(stream) for frame in context.decode(packet)]
        assert len(frames) == len(FRAMES)
        assert "yuva" in frames[0].format.name
        shown = frames[0].to_ndarray(format="rgba")
        assert np.abs(shown[..., 3] / 255 - expected).mean() < 0.03
        own, seen = decontaminate(first, expected, PLATE), expected > 0.3
        assert np.abs(shown[..., :3][seen].astype(int) - own[seen]).mean() < 14


def test_depth_is_stored_without_loss_and_composites_cover(made: Path, tmp_path: Path) -> None:
    behind = scene(9, (40, 90))
    write_image(tmp_path / "beach.png", behind)
    wishes = VideoSettings(video=("depth", "composite"), background=tmp_path / "beach.png", smooth=False)
    [entry] = predict_files(
        made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out", care=False, videos=wishes
    )
    frames = list(VideoReader(made / "walk.mp4"))
    predictor = cleanplate.load(made / "run", care=False)
    with av.open(str(tmp_path / "out" / "walk_depth.mkv")) as container:
        stored = [frame.to_ndarray() for frame in container.decode(video=0)]
    composites = list(VideoReader(tmp_path / "out" / "walk_composite.mp4"))
    assert stored[0].dtype == np.uint16
    for number in (0, 11):
        expected = predictor.predict(PLATE, frames[number])
        near = expected.depth < 65
        np.testing.assert_allclose(stored[number][near] / 1000, expected.depth[near], atol=0.00051, rtol=1e-5)
        assert (stored[number][expected.depth > 65.6] == 0).all()
        share, own = expected.alpha[..., None], decontaminate(frames[number], expected.alpha, PLATE)
        mixed = share * own + (1 - share) * covering(behind, SIZE)
        assert np.abs(composites[number] - mixed).mean() < 6
    assert entry.depth["units_per_step"] == 0.001
    assert set(entry.files) == {"depth", "depth_colour", "composite"}


def test_wishes_that_contradict_each_other(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", str(made / "walk.mp4"), "--model", str(made / "run"), "--plate", str(made / "plate.png")]
    for flags, said in (
        (["--video", "composite"], "--background PICTURE go together"),
        (["--background", str(made / "plate.png")], "go together"),
        (["--seconds", "3"], "--live source"),
        (["--live", "/dev/video0"], "not both"),
    ):
        assert main([*command, "--out", str(tmp_path / "out"), *flags]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_killed_process_left_is_swept_away(made: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = beside(tmp_path / "out" / "walk_mask.mp4")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    left.parent.mkdir()
    left.write_bytes(b"half")
    predict_files(made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out")
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_ctrl_c_leaves_playable_files(made: Path, tmp_path: Path) -> None:
    frames = [FRAMES[t % 12] for t in range(1500)]
    movie = film(tmp_path / "long.mp4", frames, [512 * t for t in range(1500)], "aac")
    command = [sys.executable, "-m", "cleanplate.cli", "predict", str(movie), str(made / "walk.mp4")]
    command += ["--model", str(made / "run"), "--plate", str(made / "plate.png"), "--out", str(tmp_path / "out")]
    working = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".long_mask*")):
        assert working.poll() is None, working.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.3)
    working.send_signal(signal.SIGINT)
    out, err = working.communicate(timeout=120)
    assert working.returncode == 130, (out, err)
    assert "as whole files" in err
    assert "the same command makes them anew" in out
    [entry] = json.loads((tmp_path / "out" / "predictions.json").read_text())["inputs"]
    assert entry["stopped"] is True
    assert 0 < entry["frames"] < 1500
    for name in ("long_overlay.mp4", "long_mask.mp4"):
        assert len(list(VideoReader(tmp_path / "out" / name))) == entry["frames"]
    sound = packets(tmp_path / "out" / "long_overlay.mp4", "audio")
    assert float(sound[-1][0]) == pytest.approx(entry["frames"] * 0.04, abs=0.1)  # and no sound without pictures
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith((".", "walk"))]


def test_a_full_disk_leaves_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    write = Outputs.write

    def full(self: Outputs, *item: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise InputError("disk full while writing")
        write(self, *item)

    monkeypatch.setattr(Outputs, "write", full)
    with pytest.raises(InputError, match="disk full"):
        predict_files(made / "run", made / "plate.png", [made / "walk.mp4"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
