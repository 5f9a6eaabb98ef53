"""High resolution: how well alpha of 320 px is brought to 1080p and 4K, against the truth in full size.

    python benchmarks/highres.py PLATES CUTOUTS [--model RUN] [--lines 1080 2160] [--part tune|report]

PLATES: photographs of at least 1920 px, better 3840. CUTOUTS: RGBA pictures; those under 400 px are left out. Pictures
of the part `tune` chose the method and its constants; figures come from `report`, other plates and other cutouts.

Each scene (`highres_scenes.py`) is enlarged from the truth box-averaged down to the working size, which judges the
enlarging alone, and with --model from what the model says of the pictures box-averaged down. Means over scenes:

    band     mean absolute error of alpha x 100, within 1.5 cells of where the truth is not flat
    outside  the same x 10,000 in all the rest
    SAD      sum of absolute errors / 1000
    grad     mean squared error of the gradient of alpha (Gaussian, 1.4 px) in the band x 1000
    F1       of the mask's boundary: pixels within 2 px of 1080 lines of the other's

`plate moved` is `plate` with a plate that lies 2 px of 1080 lines beside its frame. After the table: the milliseconds
of one core at 720p, 1080p and 4K, and the peak of memory beside the pictures, each in a process of its own (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from cleanplate.inference.colours import decontaminate
from cleanplate.inference.upsample import enlarge_alpha, enlarge_smooth
from cleanplate.pictures.draw import grey, over
from cleanplate.types import Alpha, Pixels
from highres_scenes import KINDS, HighScene, Stock, make, stock

WORKING = 320
FIGURES = ("band", "outside", "SAD", "grad", "F1")
Method = Callable[[Alpha, Pixels, Pixels], Alpha]


def beside(plate: Pixels) -> Pixels:
    """The plate from a camera that stood a little to the left: 2 px of 1080 lines."""
    return np.roll(plate, max(1, round(plate.shape[0] / 540)), axis=1)


METHODS: dict[str, Method] = {
    "bilinear": lambda alpha, frame, _: enlarge_smooth(alpha, frame.shape[:2]),
    "frame": lambda alpha, frame, _: enlarge_alpha(alpha, frame),
    "frame and plate": enlarge_alpha,
    "plate moved": lambda alpha, frame, plate: enlarge_alpha(alpha, frame, beside(plate)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plates", type=Path)
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("--model", help="a run, a checkpoint, or `released`: enlarge its answers, too")
    parser.add_argument("--lines", type=int, nargs="+", default=[1080, 2160], help="heights of the frames, 16:9")
    parser.add_argument("--part", choices=("tune", "report"), default="report")
    parser.add_argument("--seeds", type=int, default=4, help="scenes of each kind")
    parser.add_argument("--least", type=int, default=400, help="cutouts of fewer pixels, long side, are left out")
    parser.add_argument("--costs", type=int, nargs="*", default=[720, 1080, 2160], help="heights to time")
    parser.add_argument("--picture", type=Path, help="draw the most intricate spot of a scene of each kind, and stop")
    parser.add_argument("--cost", type=int, metavar="LINES", help="(used by itself)")
    options = parser.parse_args()
    if options.cost:
        print(*cost(options.cost))
        return
    look = None if options.model is None else looker(options.model)
    files = stock(options.plates, options.cutouts, options.part, options.least)
    if options.picture:
        size = options.lines[0], options.lines[0] * 16 // 9
        rows = [spot_of(make(files, kind, size, seed)) for seed, kind in enumerate(KINDS)]
        Pillow.fromarray(np.vstack(rows)).save(options.picture)
        return
    print(f"{options.part}: {len(files.plates)} plates, {len(files.cutouts)} cutouts; {options.seeds} scenes a kind")
    print("\n| lines | from | kind | method | " + " | ".join(FIGURES) + " |\n" + "|---" * (4 + len(FIGURES)) + "|")
    for lines in options.lines:
        judged = {kind: judge(files, kind, lines, options.seeds, look) for kind in KINDS}
        for source in ("truth", "model") if look else ("truth",):
            for kind in ("all", *KINDS):
                for method in METHODS:
                    kinds = KINDS if kind == "all" else (kind,)
                    means = np.mean([np.mean(judged[one][source, method], axis=0) for one in kinds], axis=0)
                    cells = " | ".join(f"{value:.3f}" for value in means)
                    print(f"| {lines} | {source} | {kind} | {method} | {cells} |", flush=True)
    print("\n| lines | guided, ms of one core | bilinear, ms | guided, MiB at its peak |\n|---|---|---|---|")
    for lines in options.costs:
        print(f"| {lines} | {' | '.join(measured(options, lines))} |", flush=True)


def looker(model: str) -> Callable[[Pixels, Pixels], Alpha]:
    """The model's alpha of a plate and a frame that have the working size."""
    from cleanplate.inference.predictor import load

    predictor = load(model, care=False)
    return lambda plate, frame: predictor.predict(plate, frame).alpha


def judge(
    files: Stock, kind: str, lines: int, seeds: int, look: Callable[[Pixels, Pixels], Alpha] | None
) -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """FIGURES of every scene of a kind, by what was enlarged and by method."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        scene = make(files, kind, (lines, lines * 16 // 9), seed)
        alphas = {"truth": small(scene.alpha)}
        if look:
            alphas["model"] = look(small(scene.plate), small(scene.frame))
        for source, alpha in alphas.items():
            for name, method in METHODS.items():
                scores = figures(method(alpha, scene.frame, scene.plate), scene.alpha)
                found.setdefault((source, name), []).append(scores)
    return found


def small(picture: np.ndarray) -> np.ndarray:
    """Box-averaged to the working size."""
    scale = WORKING / max(picture.shape[:2])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def figures(alpha: Alpha, truth: Alpha) -> tuple[float, ...]:
    """FIGURES of one answer."""
    cell = max(truth.shape) / WORKING
    masks = [(values >= 0.5).astype(np.uint8) for values in (alpha, truth)]
    edges = [mask - cv2.erode(mask, np.ones((3, 3), np.uint8)) for mask in masks]
    soft = ((truth > 0.02) & (truth < 0.98)).astype(np.uint8)
    band = cv2.dilate(soft | edges[1], disc(1.5 * cell)) > 0
    error = np.abs(alpha - truth)
    slope = (gradient(alpha) - gradient(truth)) ** 2
    near = disc(2 * truth.shape[0] / 1080)
    shares = [(edges[one] & cv2.dilate(edges[1 - one], near)).sum() / max(int(edges[one].sum()), 1) for one in (0, 1)]
    f1 = 2 * shares[0] * shares[1] / max(sum(shares), 1e-9)
    inside, outside = 100 * error[band].mean(), 1e4 * error[~band].mean()
    return float(inside), float(outside), float(error.sum() / 1e3), float(1e3 * slope[band].mean()), float(f1)


def disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def gradient(alpha: Alpha) -> np.ndarray:
    soft = cv2.GaussianBlur(alpha, (0, 0), 1.4)
    return cv2.magnitude(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)) / 8


def spot_of(scene: HighScene, side: int = 176) -> Pixels:
    """Side by side: plate, frame, truth, bilinear, guided; over green the frame's colours, and the decontaminated."""
    alpha = small(scene.alpha)
    guided = enlarge_alpha(alpha, scene.frame, scene.plate)
    soft = ((scene.alpha > 0.05) & (scene.alpha < 0.95)).astype(np.float32)
    inside = np.s_[side // 2 : -side // 2, side // 2 : -side // 2]
    # A spot of the outline that lies whole in the picture, with as much soft alpha as there is.
    top, left = np.unravel_index(cv2.blur(soft, (side, side))[inside].argmax(), soft[inside].shape)
    spot = slice(int(top), int(top) + side), slice(int(left), int(left) + side)
    own = decontaminate(scene.frame, guided, scene.plate)
    greys = [grey(values[spot]) for values in (scene.alpha, enlarge_smooth(alpha, guided.shape), guided)]
    green = np.full((side, side, 3), (70, 200, 90), np.uint8)
    laid = [over(np.ascontiguousarray(colours[spot]), green, guided[spot]) for colours in (scene.frame, own)]
    return np.hstack([scene.plate[spot], scene.frame[spot], *greys, *laid])


def measured(options: argparse.Namespace, lines: int) -> list[str]:
    """What `cost` finds in a process of its own."""
    command = [sys.executable, __file__, str(options.plates), str(options.cutouts), "--cost", str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [f"{float(word):.1f}" for word in done.stdout.split()]


def cost(lines: int) -> tuple[float, float, float]:
    """Milliseconds of a frame, of bilinear alone, and the MiB that enlarging takes at its peak, of a drawn scene."""
    cv2.setNumThreads(1)
    size = lines, lines * 16 // 9
    drawn = np.zeros(size, np.uint8)
    for column in range(1, 6):
        cv2.ellipse(drawn, (column * size[1] // 6, lines // 2), (size[1] // 16, lines // 3), 20, 0, 360, 255, -1)
    plate = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    frame = np.where(drawn[..., None] > 0, 255 - plate, plate)
    alpha, behind = small(drawn).astype(np.float32) / 255, small(plate)
    enlarge_alpha(alpha[:90, :160], frame[:360, :640], behind[:90, :160])  # what only a first call takes
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = memory("VmRSS")
    enlarge_alpha(alpha, frame, behind)
    peak = memory("VmHWM") - before
    whole = [timed(lambda: enlarge_alpha(alpha, frame, behind)) for _ in range(15)]
    bilinear = [timed(lambda: enlarge_smooth(alpha, size)) for _ in range(15)]
    return float(np.median(whole)), float(np.median(bilinear)), peak


def memory(field: str) -> float:
    """A line of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of the processor."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
