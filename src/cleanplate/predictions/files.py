"""Predictions as files: images, folders of images and videos in; masks, cutouts, depths and overlays out.

Contract: every input gets a name of its own (its stem; inputs of one stem are told apart by their folder's name, then
by a number), and everything made of it starts with that name:

    image   NAME_mask.png (8-bit alpha), NAME_cutout.png (RGBA, straight alpha, the foreground's own colours:
            `colours`), NAME_overlay.png, and from a model that predicts depth NAME_depth.png (uint16) and
            NAME_depth_colour.png
    video   NAME_overlay.mp4, NAME_mask.mp4 and whatever else is wanted (`outputs`), read and written frame by frame

and, where the plate was estimated from the clip (`--plate auto`), its NAME_plate.png. Within a video, the corrections
of plate care and the answers (`smoothing`) are steadied from frame to frame; pictures are taken one by one.

`predictions.json` lists which file came from which input, what plate care has corrected, and what one step of a depth
file is worth: 0.001 m where depth is metric; where it is relative, the farthest pixel is stored as 60000 and the
listing gives the model's units per step.

An input that cannot be read is named and left out, the rest is done, and the error comes at the end. A video that
breaks off keeps, as playable files, what could be decoded. Files are written beside and renamed: none is half there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from rich.progress import Progress

from cleanplate.care.correct import Tally
from cleanplate.inference.colours import decontaminate, fitted_plate
from cleanplate.inference.predictor import Predictor, Upsample, load, read_plate_depth
from cleanplate.inference.runtimes import RuntimeName
from cleanplate.inference.sources import stretched
from cleanplate.pictures.draw import colour_depth, overlay
from cleanplate.pictures.frames import (
    list_images,
    read_image,
    write_atomically,
    write_depth,
    write_image,
)
from cleanplate.pictures.video import VIDEO_SUFFIXES
from cleanplate.pictures.writing import sweep
from cleanplate.predictions.depths import Colours, unit
from cleanplate.predictions.films import Films
from cleanplate.predictions.listing import Entry, UnusableError, blamed_on, tell
from cleanplate.predictions.outputs import check_wishes
from cleanplate.predictions.plates import AUTO, Plates
from cleanplate.predictions.progress import progress_bar
from cleanplate.settings import VideoSettings
from cleanplate.types import AlphaPixels, InputError, Pixels, Prediction


def predict_files(
    model: Path,
    plate: Path,
    inputs: Sequence[Path],
    out: Path,
    plate_depth: Path | None = None,
    fit: bool = False,
    care: bool = True,
    videos: VideoSettings | None = None,
    runtime: RuntimeName = "auto",
    upsample: Upsample = "guided",
) -> list[Entry]:
    """Predict every input into `out` (made if needed) and list it all in predictions.json.

    model: a run's folder or a checkpoint. plate: a picture, or AUTO to estimate it from each clip.
    inputs: images, folders (their images and videos), videos. fit: resize the plate where its size differs.
    care: bring each frame to its plate first. videos: what is made of them, or a live source in place of inputs.
    runtime, upsample: see `load`. Returns the list of entries when all went well.
    Raises InputError at once for an unusable model, plate, depth or output folder, and when the disk is full; at the
    end for inputs left out. KeyboardInterrupt at the end when Ctrl-C stopped a video: it and the listing are whole.
    """
    videos = videos or VideoSettings()
    predictor = load(model, care=care, runtime=runtime, upsample=upsample)
    plate_pixels = None if plate == AUTO else read_image(plate)
    depth = None if plate_depth is None else read_plate_depth(plate_depth, predictor.depth_kind)
    if depth is not None and plate_pixels is not None and depth.shape != plate_pixels.shape[:2] and not fit:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (depth.shape, plate_pixels.shape)]
        raise InputError(
            f"{plate_depth}: this depth is {sizes[0]} and the plate {plate} is {sizes[1]}: give a depth of the plate's "
            "own size, or stretch both to the frames with --fit"
        )
    check_wishes(videos, inputs)
    files = [] if videos.live else _expand(inputs)
    _check_out(out, files)
    names = name_inputs(files)
    background = None if videos.background is None else read_image(videos.background)
    if out.is_dir():
        sweep(out)  # what a killed process left
    plates, colours = Plates(plate_pixels, files, names, out), Colours()
    films = Films(predictor, plates, depth, fit, out, videos, colours, background)
    with progress_bar() as progress:
        if videos.live is not None:
            entries = [films.live(videos.live, progress)]
        else:
            entries = _Work(predictor, plates, depth, fit, out, colours, films).all(files, names, progress)
    listing = {
        "model": str(model),
        "plate": str(plate),
        "care": care,
        "plate_depth": None if plate_depth is None else str(plate_depth),
        "depth": predictor.depth_kind,
        "inputs": [asdict(entry) for entry in entries],
    }
    write_atomically(out / "predictions.json", (json.dumps(listing, indent=2) + "\n").encode())
    tell(entries, len(files) or 1, out)
    if any(entry.stopped and entry.kind == "video" for entry in entries):
        raise KeyboardInterrupt(f"stopped; the frames so far are in {out}, as whole files")
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


@dataclass
class _Work:
    """What all pictures share. films: does the videos."""

    predictor: Predictor
    plates: Plates
    plate_depth: Float32[np.ndarray, "dh dw"] | None
    fit: bool
    out: Path
    colours: Colours
    films: Films

    def all(self, files: Sequence[Path], names: Sequence[str], progress: Progress) -> list[Entry]:
        """Every input's entry; those after one that Ctrl-C stopped are not done."""
        entries: list[Entry] = []
        for path, name in zip(files, names, strict=True):
            entries.append(self.one(path, name, progress))
            if entries[-1].stopped:
                break
        return entries

    def one(self, path: Path, name: str, progress: Progress) -> Entry:
        """One input, whatever it is; what is wrong with it ends up in its entry."""
        video = path.suffix.lower() in VIDEO_SUFFIXES
        try:
            return self.films.video(path, name, progress) if video else self._image(path, name, progress)
        except UnusableError as error:
            return Entry(str(path), name, "video" if video else "image", error=str(error))

    def _image(self, path: Path, name: str, progress: Progress) -> Entry:
        task = progress.add_task(path.name, total=1)
        tally = Tally()
        frame, plate, prediction = self._predicted(path, tally)
        alpha = _alpha_pixels(prediction)
        cutout = np.dstack((decontaminate(frame, prediction.alpha, plate), alpha))
        pictures = {"mask": alpha, "cutout": cutout, "overlay": overlay(frame, prediction.alpha)}
        note = None
        if prediction.depth is not None:
            near, far = self.colours.of(prediction.depth)
            pictures["depth_colour"] = colour_depth(prediction.depth, near, far)
            step = unit(prediction.depth, self.predictor.depth_kind)
            note = {"kind": self.predictor.depth_kind, "units_per_step": step, "colours": [near, far]}
            write_depth(self.out / f"{name}_depth.png", prediction.depth * np.float32(0.001 / step))
        for what, picture in pictures.items():
            write_image(self.out / f"{name}_{what}.png", picture)
        progress.advance(task)
        written = {what: f"{name}_{what}.png" for what in (*pictures, *(["depth"] if note else []))}
        written |= self.plates.written(path)
        return Entry(str(path), name, "image", 1, float(prediction.mask.mean()), written, note, tally.record())

    def _predicted(self, path: Path, tally: Tally) -> tuple[Pixels, Pixels, Prediction]:
        """A picture, the plate as its camera saw it, and its prediction; what fails here is the input's fault."""
        with blamed_on(str(path)):
            plate, _ = self.plates.of(path)
            frame = read_image(path)
            correction = self.predictor.correct(plate, frame, self.fit) if self.predictor.care else None
            if correction is not None:
                tally.add(correction)
            prediction = self.predictor.predict(plate, frame, self.plate_depth, self.fit, correction)
            return frame, fitted_plate(stretched(plate, frame.shape[:2]), correction), prediction


def _alpha_pixels(prediction: Prediction) -> AlphaPixels:
    return (prediction.alpha * 255 + 0.5).astype(np.uint8)


def _expand(inputs: Sequence[Path]) -> list[Path]:
    """Folders become their images and videos; every file once, in the order given."""
    files: list[Path] = []
    for path in inputs:
        if path.is_char_device() or re.match(r"[a-z]{3,5}:/", str(path)):
            raise InputError(f"{path} is a camera or a stream, not a file: give it to --live")
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
