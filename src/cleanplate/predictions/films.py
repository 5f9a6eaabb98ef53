"""Films: the videos among the inputs, or a live source, each with its plate, its files and its entry.

Contract: `Films.video` and `Films.live` make of one clip what `outputs` lists, by way of `clip`, and say what became of
it. A live source without a plate first shows one: whoever stands in the picture is told to step out, and when to step
in again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.progress import Progress

from cleanplate.inference.predictor import Predictor
from cleanplate.inference.sources import DepthSource
from cleanplate.pictures.frames import VideoReader, write_image
from cleanplate.pictures.sound import Sound
from cleanplate.pictures.video import Facts
from cleanplate.predictions.clip import Made, Source, predict_clip
from cleanplate.predictions.depths import Colours
from cleanplate.predictions.listing import Entry, blamed_on
from cleanplate.predictions.live import LiveReader, learn_plate
from cleanplate.predictions.outputs import Outputs
from cleanplate.predictions.plates import Plates
from cleanplate.predictions.progress import say
from cleanplate.settings import VideoSettings
from cleanplate.types import Pixels

LIVE = "live"
"""The name of what is made of a live source."""


@dataclass
class Films:
    """What all videos share. wishes: what is made of them. background: the picture behind composites."""

    predictor: Predictor
    plates: Plates
    plate_depth: DepthSource | None
    fit: bool
    out: Path
    wishes: VideoSettings
    colours: Colours
    background: Pixels | None = None

    def video(self, path: Path, name: str, progress: Progress) -> Entry:
        """A video's files. Raises UnusableError."""
        with blamed_on(str(path)):
            reader = VideoReader(path)
            plate, _ = self.plates.of(path)
        task = progress.add_task(path.name, total=reader.frames or None)
        outputs = self._outputs(name, reader.facts)
        outputs.sound = lambda: Sound.of(path, reader.facts.start_s)
        made = self._made(plate, reader, outputs, lambda: progress.advance(task))
        return _entry(str(path), name, "video", made, outputs, self.plates.written(path))

    def live(self, source: str, progress: Progress) -> Entry:
        """A live source's files. Raises InputError."""
        with LiveReader(source, self.wishes.seconds) as reader:
            written = {}
            plate = self.plates.given
            if plate is None:
                say(progress, f"step out of the picture: the plate is learned for {self.wishes.learn:g} seconds")
                plate = learn_plate(reader, self.wishes.learn)
                written = {"plate": f"{LIVE}_plate.png"}
                write_image(self.out / written["plate"], plate)
                say(progress, f"the plate is learned ({self.out / written['plate']}): step in")
            task = progress.add_task(reader.name, total=None)
            outputs = self._outputs(LIVE, reader.facts)
            made = self._made(plate, reader, outputs, lambda: progress.advance(task), reader.stop)
            return _entry(reader.name, LIVE, "live", made, outputs, written, reader.dropped)

    def _outputs(self, name: str, facts: Facts) -> Outputs:
        kinds = self.wishes.video
        return Outputs(
            self.out, name, kinds, facts, self.predictor.depth_kind, self.colours, background=self.background
        )

    def _made(
        self,
        plate: Pixels,
        source: Source,
        outputs: Outputs,
        advance: Callable[[], object],
        stop: threading.Event | None = None,
    ) -> Made:
        smooth = self.wishes.smooth
        return predict_clip(self.predictor, plate, source, outputs, self.plate_depth, self.fit, smooth, advance, stop)


def _entry(
    given: str,
    name: str,
    kind: Literal["video", "live"],
    made: Made,
    outputs: Outputs,
    written: dict[str, str],
    dropped: int | None = None,
) -> Entry:
    return Entry(
        given,
        name,
        kind,
        made.frames,
        made.foreground,
        outputs.files | written,
        outputs.note,
        made.tally.record(),
        made.broken,
        made.stopped,
        dropped,
        round(made.frames / made.seconds, 1),
    )
