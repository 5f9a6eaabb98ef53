"""Plates: which plate an input is compared with, the one that was given or one estimated from the input's own clip.

Contract: `Plates.of(path)` gives the plate of one input. With `--plate auto` a video is a clip, and so are all pictures
of one folder among the inputs, in the order of their names; each clip's plate is estimated when it is first needed
(`cleanplate.care.plate`) and written as NAME_plate.png beside the results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cleanplate.care.plate import estimate_plate, frames_of
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.video import VIDEO_SUFFIXES
from cleanplate.types import InputError, Pixels

AUTO = Path("auto")
"""What `--plate` is told when there is none."""
LEAST_FRAMES = 8
"""Fewer pictures than this show too little of what is behind things."""


@dataclass
class Plates:
    """The plates of all inputs of one prediction.

    given: the plate, or None to estimate each clip's. files: all inputs; out: where estimated plates are written.
    """

    given: Pixels | None
    files: Sequence[Path]
    names: Sequence[str]
    out: Path
    _kept: dict[Path, tuple[Pixels, str]] = field(default_factory=dict)

    def of(self, path: Path) -> tuple[Pixels, str | None]:
        """An input's plate, and the name of the file it was written to if it was estimated.

        Raises InputError for a clip that no plate can be estimated from.
        """
        if self.given is not None:
            return self.given, None
        clip = path if _is_video(path) else path.absolute().parent
        if clip not in self._kept:
            # One clip's plate at a time is kept in memory: inputs of one clip follow each other, as a rule.
            self._kept.clear()
            plate = self._estimated(path, clip)
            name = f"{self._name(path, clip)}_plate.png"
            write_image(self.out / name, plate)
            self._kept[clip] = plate, name
        return self._kept[clip]

    def written(self, path: Path) -> dict[str, str]:
        """The file of an input's plate by its name in the listing, if it was estimated."""
        _, file = self.of(path)
        return {} if file is None else {"plate": file}

    def _estimated(self, path: Path, clip: Path) -> Pixels:
        if _is_video(path):
            return estimate_plate(_decodable(path))
        frames = [file for file in self.files if not _is_video(file) and file.absolute().parent == clip]
        if len(frames) < LEAST_FRAMES:
            raise InputError(
                f"{path}: --plate auto estimates the plate from a clip, and the inputs hold only {len(frames)} of the "
                f"pictures of {clip}: give a video, at least {LEAST_FRAMES} frames of one camera, or the plate itself"
            )
        return estimate_plate(frames_of(frames))

    def _name(self, path: Path, clip: Path) -> str:
        """The video's own name, or the folder's, told apart from the inputs' names and from other folders'."""
        if _is_video(path):
            return self.names[list(self.files).index(path)]
        folders = sorted({file.absolute().parent for file in self.files if not _is_video(file)})
        number = Counter(folder.name for folder in folders[: folders.index(clip)])[clip.name]
        name = clip.name if not number else f"{clip.name}-{number + 1}"
        return f"{name}-frames" if name in self.names else name


def _decodable(path: Path) -> Iterator[Pixels]:
    """A video's frames as far as they can be decoded: what breaks off is told when they are predicted."""
    some = False
    try:
        for frame in frames_of([path]):
            some = True
            yield frame
    except InputError:
        if not some:
            raise


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES
