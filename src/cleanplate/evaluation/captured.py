"""Captured pairs to judge by: which scenes a model may be judged on, and their frames as sequences.

A scene that trained the model says nothing about new ones, and one that validated chose the checkpoint. They are known
by their plate's file (its SHA-256), wherever it lies and whatever it is called, and left out. For choosing between
models, so that what is left stays unused, the part `validation` is the other way round: nothing but what validated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cleanplate.evaluation.baselines import LEAST_FRAMES, subtractor_masks
from cleanplate.evaluation.parts import FrameSums
from cleanplate.measures.metrics import mask_counts
from cleanplate.pictures.pairs import Pair, PairPixels, open_pairs, read_pair
from cleanplate.types import InputError

Judges = Literal["test", "validation"]
"""The pictures that judge: of the test part (or never seen), or, to choose between models, of the validation part."""
Scenes = dict[str, tuple[Pair, ...]]
"""Pairs by the name of their scene, in order."""


class Captured:
    """Pairs on disk, read when asked for."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = tuple(pairs)
        self.scenes = [pair.scene for pair in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> PairPixels:
        return read_pair(self.pairs[i])


def open_scenes(folder: Path, metas: Iterable[Mapping[str, Any]], part: Judges = "test") -> tuple[Scenes, int]:
    """The scenes below a folder that may judge the models of these checkpoints, and how many were left out.

    Raises InputError when there are no pairs, none may judge, or one of those that may has no mask at all.
    """
    scenes: dict[str, list[Pair]] = {}
    for pair in open_pairs(folder):
        scenes.setdefault(pair.scene, []).append(pair)
    known = [meta.get("pictures", {}).get("pairs", {}) for meta in metas]
    kept = {name: tuple(pairs) for name, pairs in scenes.items() if _may_judge(pairs[0], known, part)}
    if not kept:
        raise InputError(
            f"{folder}: all {len(scenes)} scenes trained or validated the model, so none can judge it; give --pairs a "
            "folder with scenes that it never saw"
            if part == "test"
            else f"{folder}: none of its {len(scenes)} scenes validated the model; give --pairs a folder of those that "
            "`cleanplate train --pairs` was given, or take --part test"
        )
    for name, pairs in kept.items():
        if not any(pair.mask_path for pair in pairs):
            raise InputError(
                f"{folder / name}: none of its {len(pairs)} frames has a mask, so there is nothing to judge by; "
                "give masks/NAME.png (0 = background, 255 = foreground, 128 = not judged) for frames/NAME.png"
            )
    return kept, len(scenes) - len(kept)


def _may_judge(pair: Pair, known: Sequence[Mapping[str, Mapping[str, Mapping[str, str]]]], part: Judges) -> bool:
    digest = hashlib.sha256(pair.plate_path.read_bytes()).hexdigest()

    def took_part(name: str) -> bool:
        return any(digest == fact["sha256"] for parts in known for fact in parts.get(name, {}).values())

    return not took_part("train") and took_part("validation") == (part == "validation")


def sequences(scenes: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, list[FrameSums]]]:
    """The subtractors' sums, by method and scene, for the scenes long enough to be a sequence."""
    found: dict[str, dict[str, list[FrameSums]]] = {}
    for name in ("mog2", "knn"):
        for scene, pairs in scenes.items():
            if len(pairs) < LEAST_FRAMES:
                continue
            plate = read_pair(pairs[0]).plate
            masks = subtractor_masks(name, plate, (read_pair(pair).frame for pair in pairs))
            truths = (read_pair(pair) for pair in pairs)
            found.setdefault(name, {})[scene] = [
                FrameSums() if given.alpha is None else FrameSums(mask_counts(mask, given.alpha, given.judged))
                for mask, given in zip(masks, truths, strict=True)
            ]
    return found
