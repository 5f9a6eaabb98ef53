"""Verbs about the plate: doctor. A door to one function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Doctor:
    """What is wrong between a plate and its frames, what is corrected when predicting, and what to do."""

    input: tyro.conf.Positional[Path]
    """A frame, a folder of frames or a video."""
    plate: Path
    """The scene with nothing in front."""
    json: Path | None = None
    """Write the figures here as JSON; - prints them."""

    def run(self) -> None:
        from cleanplate.care.words import consult

        consult(self.plate, self.input, self.json)
