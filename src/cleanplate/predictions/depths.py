"""Depths on their way into files: what is stored, what one step is worth, and which colours they get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from cleanplate.types import Depth

RELATIVE_FARTHEST = 60_000
"""What the farthest pixel of a picture's relative depth is stored as, of 65,535."""
ROOM = 2.0
"""A clip's relative depth leaves room for things so many times as far as the first frame's farthest."""


@dataclass
class Colours:
    """The range of the depth colours, set by the first picture, so that colours compare."""

    range: tuple[float, float] | None = None

    def of(self, depth: Depth) -> tuple[float, float]:
        """(near, far), in the model's units."""
        if self.range is None:
            near, far = np.percentile(depth, (1, 99))
            # Room for what comes nearer in later pictures.
            self.range = (float(f"{near * 0.7:.4g}"), float(f"{far * 1.1:.4g}"))
        return self.range


def unit(depth: Depth, kind: str, room: float | int = 1) -> float:
    """What one stored step is worth: a millimetre, or what makes a relative depth's farthest RELATIVE_FARTHEST/room."""
    return 0.001 if kind == "metric" else float(depth.max()) * room / RELATIVE_FARTHEST


def stored(depth: Depth, step: float) -> UInt16[np.ndarray, "h w"]:
    """Depth as whole steps, 0 = unknown or farther than can be stored."""
    steps = depth * np.float32(1 / step) + np.float32(0.5)
    return np.where((steps >= 1) & (steps < 65535), steps, 0).astype(np.uint16)
