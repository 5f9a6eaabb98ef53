"""Predictions as files: images, folders of images and videos in; masks, cutouts, depths and overlays out.

Contract: every input gets a name of its own (its stem; inputs of one stem are told apart by their folder's name, then
by a number), and everything made of it starts with that name:

    image   NAME_mask.png (8-bit alpha), NAME_cutout.png (RGBA, straight alpha), NAME_overlay.png, and from a model that
            predicts depth NAME_depth.png (uint16) and NAME_depth_colour.png
    video   NAME_overlay.mp4 and NAME_mask.mp4 (H.264), read and written frame by frame

and, where the plate was estimated from the clip (`--plate auto`), its NAME_plate.png. Within a video, the corrections
of plate care are steadied from frame to frame; pictures are taken one by one.

`predictions.json` lists which file came from which input, what plate care has corrected, and what one step of a depth
file is worth: 0.001 m where depth is metric; where it is relative, the farthest pixel is stored as 60000 and the
listing gives the model's units per step.

An input that cannot be read is named and left out, the rest is done, and the error comes at the end. A video that
breaks off keeps, as playable files, what could be decoded. Files are written beside and renamed: none is half there.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from rich.progress import Progress

from cleanplate.care.correct import Correction, Tally
from cleanplate.inference.plates import AUTO, Plates
from cleanplate.inference.predictor import Predictor, load, read_plate_depth
from cleanplate.inference.progress import progress_bar
from cleanplate.pictures.draw import colour_depth, grey, overlay
from cleanplate.pictures.frames import (
    VideoReader,
    VideoWriter,
    list_images,
    read_image,
    write_atomically,
    write_depth,
    write_image,
)
from cleanplate.pictures.video import VIDEO_SUFFIXES
from cleanplate.types import AlphaPixels, Depth, InputError, Pixels, Prediction

RELATIVE_FARTHEST = 60_000
"""What the farthest pixel of a relative depth is stored as, of 65,535."""


@dataclass(frozen=True)
class Entry:
    """One input's line in predictions.json.

    foreground: share of the pixels that stand in front, over all frames. depth: how to read the depth file.
    corrected: what plate care did (see `cleanplate.care.correct.Tally`); None without it.
    error: why the input was left out, or where a video broke off.
    """

    input: str
    name: str
    kind: Literal["image", "video"]
    frames: int = 0
    foreground: float | None = None
    files: dict[str, str] = field(default_factory=dict)
    depth: dict[str, Any] | None = None
    corrected: dict[str, Any] | None = None
    error: str | None = None


def predict_files(
    model: Path,
    plate: Path,
    inputs: Sequence[Path],
    out: Path,
    plate_depth: Path | None = None,
    fit: bool = False,
    care: bool = True,
) -> list[Entry]:
    """Predict every input into `out` (made if needed) and list it all in predictions.json.

    model: a run's folder or a checkpoint. plate: a picture, or AUTO to estimate it from each clip.
    inputs: images, folders (their images and videos), videos. fit: resize the plate where its size differs.
    care: bring each frame to its plate first. Returns the list of entries when all went well.
    Raises InputError at once for an unusable model, plate, depth or output folder, and when the disk is full; at the
    end for inputs left out.
    """
    predictor = load(model, care=care)
    plate_pixels = None if plate == AUTO else read_image(plate)
    depth = None if plate_depth is None else read_plate_depth(plate_depth, predictor.depth_kind)
    if depth is not None and plate_pixels is not None and depth.shape != plate_pixels.shape[:2] and not fit:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (depth.shape, plate_pixels.shape)]
        raise InputError(
            f"{plate_depth}: this depth is {sizes[0]} and the plate {plate} is {sizes[1]}: give a depth of the plate's "
            "own size, or stretch both to the frames with --fit"
        )
    files = _expand(inputs)
    _check_out(out, files)
    names = name_inputs(files)
    work = _Work(predictor, Plates(plate_pixels, files, names, out), depth, fit, out)
    with progress_bar() as progress:
        entries = [work.one(path, name, progress) for path, name in zip(files, names, strict=True)]
    listing = {
        "model": str(model),
        "plate": str(plate),
        "care": care,
        "plate_depth": None if plate_depth is None else str(plate_depth),
        "depth": predictor.depth_kind,
        "inputs": [asdict(entry) for entry in entries],
    }
    write_atomically(out / "predictions.json", (json.dumps(listing, indent=2) + "\n").encode())
    _tell(entries, out)
    return entries


def name_inputs(paths: Sequence[Path]) -> list[str]:
    """One name per input, no two alike (whatever the case): stem, FOLDER_stem where stems meet, then a number."""
    stems = Counter(path.stem.casefold() for path in paths)
    taken: set[str] = set()
    names = []
    for path in paths:
        alone = stems[path.stem.casefold()] == 1
        base = path.stem if alone else f"{path.absolute().parent.name}_{path.stem}".lstrip("_")
        name, number = base, 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


class _UnusableError(InputError):
    """The input is at fault, not the disk that results go to: it is left out, or cut short, and the rest goes on."""


@dataclass
class _Work:
    """What all inputs share. The range of the depth colours is set by the first picture, so that colours compare."""

    predictor: Predictor
    plates: Plates
    plate_depth: Float32[np.ndarray, "dh dw"] | None
    fit: bool
    out: Path
    colours: tuple[float, float] | None = None

    def one(self, path: Path, name: str, progress: Progress) -> Entry:
        """One input, whatever it is; what is wrong with it ends up in its entry."""
        video = path.suffix.lower() in VIDEO_SUFFIXES
        try:
            return self._video(path, name, progress) if video else self._image(path, name, progress)
        except _UnusableError as error:
            return Entry(str(path), name, "video" if video else "image", error=str(error))

    def _image(self, path: Path, name: str, progress: Progress) -> Entry:
        task = progress.add_task(path.name, total=1)
        tally = Tally()
        frame, prediction = next(self._predicted(path, lambda: [read_image(path)], tally))
        alpha = _alpha_pixels(prediction)
        pictures = {"mask": alpha, "cutout": np.dstack((frame, alpha)), "overlay": overlay(frame, prediction.alpha)}
        note = None
        if prediction.depth is not None:
            near, far = self._colour_range(prediction.depth)
            pictures["depth_colour"] = colour_depth(prediction.depth, near, far)
            stored, unit = _storable(prediction.depth, self.predictor.depth_kind)
            note = {"kind": self.predictor.depth_kind, "units_per_step": unit, "colours": [near, far]}
            write_depth(self.out / f"{name}_depth.png", stored)
        for what, picture in pictures.items():
            write_image(self.out / f"{name}_{what}.png", picture)
        progress.advance(task)
        written = {what: f"{name}_{what}.png" for what in (*pictures, *(["depth"] if note else []))}
        written |= self._estimated(path)
        return Entry(str(path), name, "image", 1, float(prediction.mask.mean()), written, note, tally.record())

    def _video(self, path: Path, name: str, progress: Progress) -> Entry:
        reader = self._opened(path)
        task = progress.add_task(path.name, total=reader.frames or None)
        written = {what: f"{name}_{what}.mp4" for what in ("overlay", "mask")}
        tally = Tally()
        pairs = self._predicted(path, lambda: reader, tally)
        # The first prediction comes before the files, so that a plate of another size leaves none behind.
        waiting = [next(pairs)]
        count, foreground, broken = 0, 0.0, None
        with ExitStack() as files:
            writers = [
                files.enter_context(VideoWriter(self.out / file, reader.size, reader.fps)) for file in written.values()
            ]
            try:
                for frame, prediction in chain(waiting, pairs):
                    writers[0].write(overlay(frame, prediction.alpha))
                    writers[1].write(grey(prediction.alpha))
                    count, foreground = count + 1, foreground + float(prediction.mask.mean())
                    progress.advance(task)
            except _UnusableError as error:
                # The frames so far are worth keeping: leaving the block without an error finishes the files.
                broken = str(error)
        written |= self._estimated(path)
        corrected = tally.record()
        return Entry(str(path), name, "video", count, foreground / count, written, corrected=corrected, error=broken)

    def _estimated(self, path: Path) -> dict[str, str]:
        """The file of an input's plate, if it was estimated."""
        _, file = self.plates.of(path)
        return {} if file is None else {"plate": file}

    def _predicted(
        self, path: Path, frames: Callable[[], Iterable[Pixels]], tally: Tally
    ) -> Iterator[tuple[Pixels, Prediction]]:
        """Each frame of a clip with its prediction; what fails here is the input's fault."""
        before: Correction | None = None
        try:
            plate, _ = self.plates.of(path)
            for frame in frames():
                if self.predictor.care:
                    before = self.predictor.correct(plate, frame, self.fit, before)
                    tally.add(before)
                yield frame, self.predictor.predict(plate, frame, self.plate_depth, self.fit, before)
        except InputError as error:
            raise _UnusableError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def _opened(self, path: Path) -> VideoReader:
        try:
            return VideoReader(path)
        except InputError as error:
            raise _UnusableError(str(error)) from error

    def _colour_range(self, depth: Depth) -> tuple[float, float]:
        if self.colours is None:
            near, far = np.percentile(depth, (1, 99))
            # Room for what comes nearer in later pictures.
            self.colours = (float(f"{near * 0.7:.4g}"), float(f"{far * 1.1:.4g}"))
        return self.colours


def _alpha_pixels(prediction: Prediction) -> AlphaPixels:
    return (prediction.alpha * 255 + 0.5).astype(np.uint8)


def _storable(depth: Depth, kind: str) -> tuple[Depth, float]:
    """Depth in the metres that `write_depth` stores as millimetres, and what one stored step is worth."""
    if kind == "metric":
        return depth, 0.001
    unit = float(depth.max()) / RELATIVE_FARTHEST
    return (depth / np.float32(unit * 1000)).astype(np.float32), unit


def _expand(inputs: Sequence[Path]) -> list[Path]:
    """Folders become their images and videos; every file once, in the order given."""
    files: list[Path] = []
    for path in inputs:
        if not path.is_dir():
            files.append(path)
            continue
        videos = [file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES]
        found = sorted([*list_images(path), *videos])
        if not found:
            raise InputError(f"{path} holds no image and no video: give a folder of frames (JPEG, PNG, ...) or videos")
        files.extend(found)
    if not files:
        raise InputError("no input given: name images, folders of images, or videos after the flags")
    return list(dict.fromkeys(files))


def _check_out(out: Path, files: Sequence[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: give a folder, which is made if it is not there")
    if out.resolve() in {file.resolve().parent for file in files}:
        raise InputError(
            f"--out {out} is the folder of an input: predictions could overwrite masks and depths that lie there, and "
            "would be taken for frames next time; give another folder"
        )


def _tell(entries: Sequence[Entry], out: Path) -> None:
    """What was done, on standard output; inputs left out or cut short are an error."""
    done = [entry for entry in entries if entry.frames]
    frames = sum(entry.frames for entry in done)
    print(f"{out}: {frames} {'frame' if frames == 1 else 'frames'} predicted, of {len(done)} of {len(entries)} inputs")
    wrong = [entry for entry in entries if entry.error]
    for entry in wrong[:-1]:
        print(f"cleanplate: {entry.error}", file=sys.stderr)
    if wrong:
        others = "" if len(wrong) == len(entries) else f"; everything else is in {out}"
        kept = [f"{entry.frames} frames of {Path(entry.input).name} are kept" for entry in wrong if entry.frames]
        raise InputError(
            f"{wrong[-1].error} ({len(wrong)} of {len(entries)} inputs could not be used in full"
            f"{others}{''.join(f'; {k}' for k in kept)})"
        )
