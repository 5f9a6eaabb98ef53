"""What plate care is worth: mean F1 of captured pairs whose plate is moved or whose frame's exposure is changed.

    python benchmarks/care.py PAIRS [--model RUN]

Every pair is judged as it is, then with each damage, without and with care. The answerer is a plain threshold of 25 on
the largest channel difference, which needs no network, or the model. Printed as a Markdown table, with the processor
time that care takes per frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cleanplate.care.correct import Care
from cleanplate.inference.predictor import load
from cleanplate.pictures.pairs import PairPixels, open_pairs, read_pair
from cleanplate.types import Pixels

Damage = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]


def moved(right: float, down: float, turn: float = 0.0, zoom: float = 1.0) -> Damage:
    """A plate from a camera that stood elsewhere; what comes into view is made by reflection."""

    def damage(plate: Pixels, frame: Pixels) -> tuple[Pixels, Pixels]:
        height, width = plate.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
        matrix[:, 2] += np.array((right, down))
        border = cv2.BORDER_REFLECT
        return cv2.warpAffine(plate, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=border), frame

    return damage


def exposed(gain: float) -> Damage:
    """A frame whose values are multiplied, and clipped."""
    return lambda plate, frame: (plate, np.clip(frame * gain + 0.5, 0, 255).astype(np.uint8))


def both(first: Damage, second: Damage) -> Damage:
    """One damage after the other."""
    return lambda plate, frame: second(*first(plate, frame))


DAMAGES: dict[str, Damage] = {
    "none": lambda plate, frame: (plate, frame),
    "plate shifted by 0.5 px": moved(0.5, 0),
    "plate shifted by 1 px": moved(1, 0),
    "plate shifted by 2 px": moved(0, 2),
    "plate shifted by 4 px": moved(4, 0),
    "plate shifted by 4 px, diagonally": moved(-2.83, 2.83),
    "plate shifted by 8 px": moved(8, 0),
    "plate turned by 1 degree": moved(0, 0, 1),
    "plate zoomed by 1 %": moved(0, 0, 0, 1.01),
    "frame's gain 0.7": exposed(0.7),
    "frame's gain 1.4": exposed(1.4),
    "4 px and gain 0.7": both(moved(4, 0), exposed(0.7)),
    "4 px and gain 1.4": both(moved(4, 0), exposed(1.4)),
}


def threshold(plate: Pixels, frame: Pixels) -> np.ndarray:
    """The plain answerer: 1 where the largest channel difference reaches 25."""
    return (cv2.absdiff(plate, frame).max(axis=2) >= 25).astype(np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", help="a run or checkpoint, or `released`; without it a plain threshold answers")
    options = parser.parse_args()
    answer = threshold
    if options.model:
        model = load(options.model, care=False)

        def answer(plate: Pixels, frame: Pixels) -> np.ndarray:
            return model.predict(plate, frame).alpha

    pairs = [read_pair(pair) for pair in open_pairs(options.pairs) if pair.mask_path]
    print("| damage | F1 without care | F1 with care | care, ms a frame |\n|---|---|---|---|")
    for name, damage in DAMAGES.items():
        rows = [_row(pair, damage, answer) for pair in pairs]
        without, with_care, seconds = np.nanmean([row for row in rows if row is not None], axis=0)
        print(f"| {name} | {without:.3f} | {with_care:.3f} | {seconds * 1000:.0f} |", flush=True)


def _row(pair: PairPixels, damage: Damage, answer: Callable[[Pixels, Pixels], np.ndarray]) -> list[float] | None:
    """F1 without and with care, and the seconds that care took; None of a pair without foreground."""
    judged = np.ones(pair.frame.shape[:2], bool) if pair.judged is None else pair.judged
    if pair.alpha is None or not (pair.alpha >= 0.5).any():
        return None
    truth = (pair.alpha >= 0.5) & judged
    plate, frame = damage(pair.plate, pair.frame)
    care = Care(plate)
    start = time.process_time()
    correction = care.correct(frame)
    fitted = correction.frame(frame, plate)
    seconds = time.process_time() - start
    answers = answer(plate, frame), correction.back(answer(plate, fitted))
    masks = [(alpha >= 0.5) & judged for alpha in answers]
    return [*(2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in masks), seconds]


if __name__ == "__main__":
    main()
