"""Background subtractors on captured sequences: OpenCV's MOG2 and KNN, and SuBSENSE where pybgs is installed.

    python benchmarks/subtractors.py PAIRS_DIR [--times 20] [--noise 5] [--json FILE]

Only scenes of at least 10 frames are sequences. Where these methods are compared (CDnet 2014), they see the frames
before those that are judged; captured pairs have none, so each is shown the plate `--times` times, with a camera's
fresh noise (normal, deviation `--noise` of 255, seeded), then the frames in order, from which it goes on learning:
MOG2 and KNN as `cleanplate evaluate` has them, SuBSENSE (St-Charles et al., 2015) with its own settings. Scores are
those of `cleanplate evaluate`: a scene's frames pooled, 128 in a mask not judged, false alarms over empty frames alone.
SuBSENSE draws from a generator that nobody can seed: its third digit varies.

pybgs (bgslibrary, MIT) is no dependency of cleanplate: it is compiled from source, beside OpenCV's headers, and
kept apart from everything else:

    apt-get install libopencv-dev cmake g++
    pip install setuptools wheel numpy && pip install --no-deps --no-build-isolation --target pybgs pybgs
    PYTHONPATH=pybgs python benchmarks/subtractors.py PAIRS_DIR
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from cleanplate.evaluation.baselines import LEAST_FRAMES, PLATE_NOISE, PLATE_TIMES, noisy_plates, subtractor_masks
from cleanplate.measures.metrics import MaskCounts, mask_counts, mask_scores
from cleanplate.pictures.pairs import Pair, open_pairs, read_pair
from cleanplate.types import Alpha, InputError, Pixels

METRICS = ("f1", "iou", "precision", "recall", "boundary_f", "false_alarm")


@dataclass(frozen=True)
class Options:
    """Scores of MOG2, KNN and SuBSENSE on captured sequences."""

    pairs: tyro.conf.Positional[Path]
    """A folder of captured pairs; scenes of at least 10 frames count."""
    times: int = PLATE_TIMES
    """How often each is shown the plate before the frames."""
    noise: float = PLATE_NOISE
    """Deviation of the noise on the plates that are shown, of 255."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the scores here as JSON; - prints them."""


def subsense_masks(plates: Iterable[Pixels], frames: Iterable[Pixels]) -> list[Alpha]:
    """The mask of each frame of a sequence, in order, 0 or 1."""
    import pybgs  # ty: ignore[import-not-found]

    # It reads and writes ./config/SuBSENSE.xml wherever it is started, and tells of its birth and death.
    with tempfile.TemporaryDirectory() as folder, chdir(folder), _silence():
        Path("config").mkdir()
        subtractor = pybgs.SuBSENSE()
        for plate in plates:
            subtractor.apply(np.ascontiguousarray(plate[..., ::-1]))
        masks = [subtractor.apply(np.ascontiguousarray(frame[..., ::-1])) for frame in frames]
        del subtractor
    return [(mask.reshape(mask.shape[:2]) > 127).astype(np.float32) for mask in masks]


class _silence:  # noqa: N801 (used as a function)
    """Standard output of the process, C++ included, goes nowhere."""

    def __enter__(self) -> None:
        self._kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 1)
        os.close(self._kept)


def measure(pairs: Sequence[Pair], options: Options) -> dict[str, dict[str, float | None]]:
    """Scores of each method on one scene, by the method's name."""
    known = [read_pair(pair) for pair in pairs]
    plate, frames = known[0].plate, [pair.frame for pair in known]
    methods: dict[str, Iterable[Alpha]] = {
        name: subtractor_masks(name, plate, frames, options.times, options.noise) for name in ("mog2", "knn")
    }
    if find_spec("pybgs"):
        methods["subsense"] = subsense_masks(noisy_plates(plate, options.times, options.noise), frames)
    found = {}
    for name, masks in methods.items():
        answers = zip(list(masks), known, strict=True)
        counts = [mask_counts(mask, pair.alpha, pair.judged) for mask, pair in answers if pair.alpha is not None]
        scores = mask_scores(sum(counts, MaskCounts()))
        found[name] = {metric: None if np.isnan(scores[metric]) else float(scores[metric]) for metric in METRICS}
    return found


def main(options: Options) -> None:
    """Measure every sequence below the folder."""
    folder = options.pairs.resolve()
    scenes: dict[str, list[Pair]] = {}
    for pair in open_pairs(folder):
        scenes.setdefault(folder.name if pair.scene == "." else pair.scene, []).append(pair)
    scenes = {name: pairs for name, pairs in scenes.items() if len(pairs) >= LEAST_FRAMES}
    if not scenes:
        raise InputError(f"{options.pairs}: no scene has {LEAST_FRAMES} frames or more, so none is a sequence")
    console = Console(stderr=str(options.json) == "-")
    found = {name: measure(pairs, options) for name, pairs in scenes.items()}
    for scene, methods in found.items():
        table = Table(
            "", *(metric.replace("_", " ") for metric in METRICS), title=f"{scene}, {len(scenes[scene])} frames"
        )
        for name, scores in methods.items():
            table.add_row(name, *("" if value is None else f"{value:.3f}" for value in scores.values()))
        console.print(table)
    if not find_spec("pybgs"):
        console.print("SuBSENSE left out: pybgs is not installed (this file's first lines say how)")
    content = json.dumps({"times": options.times, "noise": options.noise, "scenes": found}, indent=1) + "\n"
    if str(options.json) == "-":
        print(content, end="")
    elif options.json is not None:
        options.json.write_text(content)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
