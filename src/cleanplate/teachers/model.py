"""What models of both kinds share: the pictures they take, the maps they give, how they are found and batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cleanplate.types import InputError

Values = Float32[np.ndarray, "h w"]
"""A teacher's map; see the module's text. nan = unknown."""
Map = Float32[np.ndarray, "_ _"]
"""The same, of a size of its own."""
Pictures = Sequence[UInt8[np.ndarray, "_ _ 3"]]
Maps = list[Map]
Runner = Callable[[Pictures], Maps]
"""Pictures, uint8 [h, w, 3], -> the raw output for each, float32 [H, W] of any size."""


@dataclass(frozen=True)
class Found:
    """Where a teacher lies on this machine. path: its folder or file. sha256: of its files."""

    kind: Literal["hf", "onnx"]
    source: str
    path: Path
    sha256: str


def batches(shapes: Sequence[tuple[int, ...]], batch: int) -> list[list[int]]:
    """The places of equal shapes, together, at most `batch` of them."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(place)
    return [places[i : i + batch] for places in by_shape.values() for i in range(0, len(places), batch)]


def needs(package: str, error: ImportError) -> InputError:
    """What to tell someone without the package."""
    return InputError(f"a depth teacher needs {package} ({error}): pip install 'cleanplate[teacher]'")


def first_line(error: Exception) -> str:
    """What fits into a message of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
