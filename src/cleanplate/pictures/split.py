"""The split: which pictures train, which choose the checkpoint, which judge; a picture that trains never judges.

A group is whatever must not be torn apart: a room, a person, a model (`pictures.json`), by default the file itself.
Groups are put in the order of sha256("{seed}:{group}") and cut by the shares: train first, then validation, then test.
The order of a group depends on nothing but the seed and its name, so another picture in the folder moves few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from cleanplate.pictures.library import Library, Picture

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def split(groups: Iterable[str], seed: int, shares: tuple[float, float, float] = SHARES) -> dict[str, Part]:
    """group -> its part; the same for the same set of groups and seed, in any order of `groups`.

    From three groups on every part with a share above 0 gets at least one group. Two groups: one trains, one tests;
    a single group trains. Raises ValueError unless the shares are >= 0, that of train > 0, and add up to 1.
    """
    if min(shares) < 0 or shares[0] == 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares of train (> 0), validation and test (>= 0) must add up to 1, got {shares}")
    ordered = sorted(set(groups), key=lambda group: (hashlib.sha256(f"{seed}:{group}".encode()).digest(), group))
    validation, test = _counts(len(ordered), shares)
    train = len(ordered) - validation - test
    names: list[Part] = ["train"] * train + ["validation"] * validation + ["test"] * test
    return dict(zip(ordered, names, strict=True))


def _counts(groups: int, shares: tuple[float, float, float]) -> tuple[int, int]:
    """How many groups validate and test; each at least one, and one must be left to train."""
    if groups < 3:
        return 0, int(groups == 2 and shares[2] > 0)
    validation, test = (max(round(groups * share), 1) if share > 0 else 0 for share in shares[1:])
    while validation + test >= groups:  # shares with little for training
        validation, test = (validation - 1, test) if validation >= test else (validation, test - 1)
    return validation, test


def part_of(library: Library, seed: int) -> dict[Part, tuple[Picture, ...]]:
    """The library's pictures by part, in the library's order; a part may be empty (see `split`)."""
    parts = split((picture.group for picture in library.pictures), seed)
    return {part: tuple(p for p in library.pictures if parts[p.group] == part) for part in PARTS}
