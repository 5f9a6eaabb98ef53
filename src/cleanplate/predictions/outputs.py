"""Outputs: the videos that are made of one clip.

Contract: `Outputs.write(timed, prediction)` adds one frame to every video that is wanted, at its own time. The files
are opened with the first frame and appear when they are closed; what is discarded leaves nothing. By name:

    overlay     NAME_overlay.mp4         the frame, what stands in front tinted, with sound
    mask        NAME_mask.mp4            alpha as grey
    cutout      NAME_cutout.webm         what stands in front, VP9 with alpha, with sound
    prores      NAME_prores.mov          the same as ProRes 4444, with sound
    composite   NAME_composite.mp4       the same over another background, with sound
    depth       NAME_depth.mkv           uint16 steps, without loss (FFV1)
                NAME_depth_colour.mp4    their colours
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from cleanplate.pictures.draw import colour_depth, over, overlay
from cleanplate.pictures.encoding import FFV1_DEPTH, H264, PRORES_ALPHA, VP9_ALPHA, Codec, VideoWriter
from cleanplate.pictures.sound import Sound
from cleanplate.pictures.video import Facts, Timed
from cleanplate.predictions.depths import ROOM, Colours, stored, unit
from cleanplate.predictions.live import without_password
from cleanplate.settings import VideoKind, VideoSettings
from cleanplate.types import InputError, Pixels, Prediction

CODECS: dict[str, Codec] = {"cutout": VP9_ALPHA, "prores": PRORES_ALPHA, "depth": FFV1_DEPTH}
"""All others are H.264."""
CUT = frozenset({"cutout", "prores", "composite"})
"""What shows the foreground without its old background, in its own colours."""
SOUNDING = ("overlay", "cutout", "prores", "composite")


@dataclass
class Outputs:
    """The videos of one clip. kinds: which. sound: opens the clip's sound once per video, None = silence.

    background: uint8 [h, w, 3] of any size, for composites. colours: of all depths. depth_kind: the model's.
    `note` tells how to read the depth, once there is a frame.
    """

    folder: Path
    name: str
    kinds: Sequence[VideoKind]
    facts: Facts
    depth_kind: str
    colours: Colours
    sound: Callable[[], Sound | None] = lambda: None
    background: Pixels | None = None
    note: dict[str, Any] | None = None
    _writers: dict[str, VideoWriter] = field(default_factory=dict)
    _closed: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The names of the files that were closed, by what they show."""
        return self._closed

    @property
    def needs_colours(self) -> bool:
        """Whether the foreground's own colours are wanted (`colours`)."""
        return not CUT.isdisjoint(self.kinds)

    def write(self, timed: Timed, prediction: Prediction, colours: Pixels | None = None) -> None:
        """Add a frame and what was found in it. colours: the foreground's own; the frame's, if they are not told."""
        if not self._writers:
            self._open(prediction)
        front = timed.pixels if colours is None else colours
        for what, writer in self._writers.items():
            writer.write(self._picture(what, timed.pixels, front, prediction), timed.pts, timed.duration)

    def close(self, whole: bool) -> None:
        """Put all files in their places. whole: the clip was done to its end, so all of its sound belongs to them."""
        try:
            while self._writers:
                what = next(iter(self._writers))
                self._writers[what].close(whole)
                self._closed[what] = self._writers.pop(what).path.name
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing of what is not closed yet."""
        for writer in self._writers.values():
            writer.discard()
        self._writers.clear()

    def _open(self, prediction: Prediction) -> None:
        for what in self._what(prediction):
            codec = CODECS.get(what, H264)
            sound = self.sound() if what in SOUNDING else None
            path = self.folder / f"{self.name}_{what}{codec.suffix}"
            facts = self.facts
            self._writers[what] = VideoWriter(
                path, facts.size, facts.fps, codec=codec, time_base=facts.time_base, aspect=facts.aspect, sound=sound
            )
        if "depth" in self._writers and prediction.depth is not None:
            near, far = self.colours.of(prediction.depth)
            step = unit(prediction.depth, self.depth_kind, ROOM)
            self.note = {"kind": self.depth_kind, "units_per_step": step, "colours": [near, far]}
        if self.background is not None:
            self.background = covering(self.background, self.facts.size)

    def _what(self, prediction: Prediction) -> list[str]:
        known = [kind for kind in dict.fromkeys(self.kinds) if kind != "depth" or prediction.depth is not None]
        return [*known, *(["depth_colour"] if "depth" in known else [])]

    def _picture(self, what: str, frame: Pixels, front: Pixels, prediction: Prediction) -> np.ndarray:
        alpha = prediction.alpha
        if what == "overlay":
            return overlay(frame, alpha)
        if what == "composite" and self.background is not None:
            return over(front, self.background, alpha)
        if prediction.depth is not None and self.note is not None:
            if what == "depth":
                return stored(prediction.depth, self.note["units_per_step"])
            if what == "depth_colour":
                return colour_depth(prediction.depth, *self.note["colours"])
        level = cv2.convertScaleAbs(alpha, alpha=255)
        return level if what == "mask" else cv2.merge((*cv2.split(front), level))


def covering(picture: Pixels, size: tuple[int, int]) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """A picture scaled, its aspect kept, until it covers (height, width); its middle."""
    height, width = size
    scale = max(height / picture.shape[0], width / picture.shape[1])
    large = max(height, round(picture.shape[0] * scale)), max(width, round(picture.shape[1] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (large[1], large[0]), interpolation=way)
    top, left = (large[0] - height) // 2, (large[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def check_wishes(wishes: VideoSettings, inputs: Sequence[Path]) -> None:
    """Raises InputError for wishes that contradict each other."""
    if ("composite" in wishes.video) != (wishes.background is not None):
        raise InputError("--video composite and --background PICTURE go together: give both, or neither")
    if not wishes.video:
        raise InputError("--video without a kind: give at least one, such as --video overlay")
    if wishes.live is not None and inputs:
        live = without_password(wishes.live)
        raise InputError(f"--live {live} and inputs ({inputs[0]}): give the live source or files, not both")
    if wishes.live is None and wishes.seconds is not None:
        raise InputError("--seconds says how long a --live source is recorded: give that, too, or leave it out")
    for flag, seconds in (("--seconds", wishes.seconds), ("--learn", wishes.learn)):
        if seconds is not None and not seconds > 0:
            raise InputError(f"{flag} {seconds:g}: give a time above 0 seconds")
