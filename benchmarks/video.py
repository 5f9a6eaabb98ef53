"""Video end to end: `python benchmarks/video.py CLIP PLATE [--frames 250] [--smoothing]`.

CLIP is a video or a folder of frames, PLATE its plate. A 720p H.264 clip with sound is made of it, and `predict_clip`
(decode, plate care, network at the working side, guided upsampling, drawing, x264 veryfast) is timed on it: frames per
second for each choice of outputs, medians of --rounds, in turn, and each stage's milliseconds per frame. The plain loop
of the same parts stands beside it. `cpu` is processor time per frame over all threads, which a busy machine changes
little; two cores can do 2000 / cpu frames a second at best.

--smoothing measures what smoothing is worth instead, on scenes with a truth that are made of the sample pictures (or of
--plates and --cutouts): a cutout stands still or moves over a plate, under noise and H.264. Flicker: mean change of
alpha, and of ln z, from frame to frame where the truth does not change, times 1000. IoU with the truth of the frame
itself and of 1 and 2 frames before: what lags would agree with those better.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from cleanplate.care.plate import frames_of
from cleanplate.inference.predictor import Look, Predictor, load
from cleanplate.pictures.frames import VideoReader, VideoWriter, list_images, read_image
from cleanplate.pictures.sound import Sound
from cleanplate.pictures.video import Timed
from cleanplate.predictions import smoothing
from cleanplate.predictions.clip import STAGES, Lookout, predict_clip
from cleanplate.predictions.depths import Colours
from cleanplate.predictions.outputs import Outputs
from cleanplate.predictions.smoothing import Smoothing
from cleanplate.settings import VideoKind
from cleanplate.types import Pixels

SIZE, FPS = (720, 1280), 25
SAMPLE = Path(smoothing.__file__).parents[1] / "pictures" / "sample"


def clip_of(source: Path, count: int, path: Path) -> Path:
    """A 720p H.264 film of so many frames of the source, forwards and backwards in turn, with a tone."""
    frames = [_large(frame) for frame in islice(frames_of([source]), 100)]
    there_and_back = islice(cycle([*frames, *frames[-2:0:-1]]), count)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "20"}
        audio = container.add_stream("aac", rate=48_000)
        audio.codec_context.layout = "mono"
        for pixels in there_and_back:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        for number in range(count * 48_000 // FPS // 1024):
            tone = np.sin(np.arange(number * 1024, number * 1024 + 1024) * 0.06).astype(np.float32)[None] * 0.2
            piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 48_000, number * 1024, Fraction(1, 48_000)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


def _large(frame: Pixels) -> Pixels:
    return cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def outputs_of(reader: VideoReader, kinds: Sequence[VideoKind], folder: Path) -> Outputs:
    """As `cleanplate predict` opens them."""
    sound = lambda: Sound.of(reader.path, reader.facts.start_s)  # noqa: E731
    return Outputs(folder, "clip", kinds, reader.facts, "metric", Colours(), sound)


def piped(predictor: Predictor, plate: Pixels, clip: Path, kinds: Sequence[VideoKind], folder: Path) -> list[float]:
    """Frames per second, milliseconds of each stage per frame."""
    reader = VideoReader(clip)
    made = predict_clip(predictor, plate, reader, outputs_of(reader, kinds, folder))
    return [made.frames / made.seconds, *(1000 * clock.seconds / max(1, clock.items) for clock in made.clocks)]


def plain(predictor: Predictor, plate: Pixels, clip: Path, kinds: Sequence[VideoKind], folder: Path) -> list[float]:
    """The same in one thread."""
    reader = VideoReader(clip)
    outputs = outputs_of(reader, kinds, folder)
    lookout = Lookout(predictor, plate, None, False, Smoothing())
    begin, stages, count = time.perf_counter(), [0.0] * len(STAGES), 0
    frames: Iterator[Timed] = reader.timed()
    while True:
        times = [time.perf_counter()]
        timed = next(frames, None)
        if timed is None:
            break
        times.append(time.perf_counter())
        look = lookout.look(timed)
        times.append(time.perf_counter())
        found = predictor.finish(look, depth="depth" in kinds)
        times.append(time.perf_counter())
        outputs.write(timed, found)
        times.append(time.perf_counter())
        stages = [total + b - a for total, a, b in zip(stages, times, times[1:], strict=False)]
        count += 1
    outputs.close(whole=True)
    return [count / (time.perf_counter() - begin), *(1000 * stage / count for stage in stages)]


def speed(predictor: Predictor, plate: Pixels, clip: Path, frames: int, rounds: int) -> None:
    """Print the table of frames per second."""
    ways: list[tuple[str, Callable[..., list[float]], tuple[VideoKind, ...]]] = [
        ("pipeline: overlay", piped, ("overlay",)),
        ("pipeline: mask", piped, ("mask",)),
        ("pipeline: overlay and mask", piped, ("overlay", "mask")),
        ("pipeline: cutout (VP9 with alpha)", piped, ("cutout",)),
        ("pipeline: depth", piped, ("depth",)),
        ("plain loop: overlay", plain, ("overlay",)),
    ]
    found: dict[str, list[list[float]]] = {name: [] for name, _, _ in ways}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, way, kinds in ways:
                begin = time.process_time()
                figures = way(predictor, plate, clip, kinds, Path(folder))
                found[name].append([*figures, 1000 * (time.process_time() - begin) / frames])
    print(f"{'':36}frames/s  {'  '.join(f'{stage:>6}' for stage in STAGES)}     cpu   (ms per frame)")
    for name, rows in found.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print(f"{name:36}{medians[0]:8.1f}  {'  '.join(f'{value:6.1f}' for value in medians[1:])}")


def flickering(predictor: Predictor, plates: Path, cutouts: Path, scenes: int) -> None:
    """Print the table of flicker and lag."""
    ways: dict[str, Callable[[], Callable[[Look], Look]]] = {
        "none": lambda: lambda look: look,
        "smoothing": Smoothing,
        "plain average": _PlainAverage,
    }
    found: dict[tuple[str, int], list[list[float]]] = {}
    rng = np.random.default_rng(0)
    things = [path for path in list_images(cutouts) if not path.stem.endswith("_depth")]
    rooms = [path for path in list_images(plates) if not path.stem.endswith("_depth")]
    for number in range(scenes):
        plate = read_image(rooms[number * 7 % len(rooms)])
        thing = np.array(Image.open(things[number * 13 % len(things)]).convert("RGBA"))
        for px in (0, 1, 3, 8):
            frames, truth = _film(plate, thing, px, rng)
            shown = _noisy(plate.astype(np.float32), 1.5, rng)
            lookout = Lookout(predictor, shown, None, False, None)
            looks = [lookout.look(Timed(frame, 0)) for frame in frames]
            for name, way in ways.items():
                found.setdefault((name, px), []).append(_judged(predictor, looks, way(), truth))
    print(f"{'':16}px/frame  flicker: alpha    ln z    IoU with this frame, 1 before, 2 before")
    for (name, px), rows in sorted(found.items(), key=lambda item: (item[0][1], list(ways).index(item[0][0]))):
        mean = np.mean(rows, axis=0)
        print(f"{name:16}{px:8}  {mean[0]:14.3f}  {mean[1]:6.2f}    {'  '.join(f'{value:.4f}' for value in mean[2:])}")


class _PlainAverage:
    """What smoothing would be without the frame's say: the same weight everywhere."""

    def __init__(self) -> None:
        self._before: list[np.ndarray] | None = None

    def __call__(self, look: Look) -> Look:
        answer = look.answer
        assert answer.behind is not None
        assert answer.front is not None
        now = [answer.alpha, answer.behind, answer.front]
        if self._before is not None:
            now = [old + smoothing.REST * (new - old) for old, new in zip(self._before, now, strict=True)]
        self._before = now
        return replace(look, answer=replace(answer, alpha=now[0], behind=now[1], front=now[2]))


def _film(plate: Pixels, thing: np.ndarray, px: int, rng: np.random.Generator) -> tuple[list[Pixels], np.ndarray]:
    """A cutout on its way over a plate, px per frame, as a camera and H.264 leave it; its alpha."""
    height, width = plate.shape[:2]
    scale = 0.6 * height / max(thing.shape[:2])
    small = cv2.resize(thing, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frames, truth = [], []
    for number in range(24):
        place = np.array([[1, 0, width * 0.1 + px * number], [0, 1, height * 0.3]], np.float32)
        moved = cv2.warpAffine(small.astype(np.float32), place, (width, height))
        alpha = moved[..., 3:] / 255
        frames.append(_noisy(plate * (1 - alpha) + moved[..., :3] * alpha, 5, rng))
        truth.append(alpha[..., 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with VideoWriter(path, (height, width), FPS, crf=26) as writer:
            for frame in frames:
                writer.write(frame)
        return [frame[:height, :width] for frame in VideoReader(path)], np.stack(truth)


def _noisy(picture: np.ndarray, sigma: float, rng: np.random.Generator) -> Pixels:
    return np.clip(picture + rng.normal(0, sigma, picture.shape) + 0.5, 0, 255).astype(np.uint8)


def _judged(predictor: Predictor, looks: Sequence[Look], way: Any, truth: np.ndarray) -> list[float]:
    """Flicker of alpha and ln z, IoU with the truth of this frame, of 1 before, of 2 before."""
    done = [predictor.finish(way(look)) for look in looks]
    alpha = np.stack([one.alpha for one in done])
    depth = np.log(np.stack([one.depth for one in done if one.depth is not None]))
    still = np.abs(np.diff(truth, axis=0)) < 0.02
    flicker = [1000 * float(np.abs(np.diff(maps, axis=0))[still].mean()) for maps in (alpha, depth)]
    mask, true = alpha >= 0.5, truth >= 0.5
    lags = [[_iou(mask[t], true[t - lag]) for t in range(4, len(mask))] for lag in (0, 1, 2)]
    return [*flicker, *(float(np.mean(lag)) for lag in lags)]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("plate", type=Path, nargs="?")
    parser.add_argument("--model", default="released")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the network")
    parser.add_argument("--smoothing", action="store_true")
    parser.add_argument("--plates", type=Path, default=SAMPLE / "plates")
    parser.add_argument("--cutouts", type=Path, default=SAMPLE / "cutouts")
    parser.add_argument("--scenes", type=int, default=5)
    given = parser.parse_args()
    predictor = load(given.model, runtime=given.runtime, threads=given.threads)
    if given.smoothing:
        flickering(predictor, given.plates, given.cutouts, given.scenes)
        return
    if given.clip is None or given.plate is None:
        parser.error("give CLIP and PLATE, or --smoothing")
    plate = _large(read_image(given.plate))
    with tempfile.TemporaryDirectory() as folder:
        clip = clip_of(given.clip, given.frames, Path(folder) / "clip.mp4")
        speed(predictor, plate, clip, given.frames, given.rounds)


if __name__ == "__main__":
    main()
