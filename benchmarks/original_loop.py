"""The dataset loop of 2020, written anew from what is known of it, to be measured beside ours.

    python benchmarks/original_loop.py [PLATES CUTOUTS ...] [--scenes 1000] [--size 224] [--json FILE]

For every scene: open the plate's file and the cutout's file again with Pillow, mirror the cutout half of the time,
paste it with its alpha at a random place, paste its mask on black at the same place, and add both pictures to one zip
as JPEG of quality 30 with optimize=True. One process, one cutout per scene, no depth, nothing to resume from.

In 2020 the plates lay on the disk as JPEG of the scenes' size and the cutouts as RGBA PNG of at most 148 of 224 pixels.
Pictures that are larger are brought to that once, before the clock starts (`prepared`), or for every scene (`as given`:
the very same files that ours reads).
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from cleanplate.pictures.library import Picture, read_cutout, read_plate
from cleanplate.types import InputError
from figures import Figure, Measured, add_arguments, middle, open_pictures, show

QUALITY = 30
LONGEST = 148 / 224
"""Longer side of the largest cutout, as a share of the scene's side."""


@dataclass(frozen=True)
class Files:
    """The picture files that the loop opens. size: side of its scenes, pixels."""

    plates: tuple[Path, ...]
    cutouts: tuple[Path, ...]
    size: int


def as_given(plates: Sequence[Picture], cutouts: Sequence[Picture], size: int) -> Files:
    """The library's own files. Cutouts whose mask is a file of its own are no RGBA pictures: InputError."""
    odd = [picture.name for picture in cutouts if picture.mask_path is not None]
    if odd:
        raise InputError(
            f"{odd[0]} has its mask in a second file; expected RGBA cutouts, as the loop of 2020 read them"
        )
    return Files(tuple(p.path for p in plates), tuple(p.path for p in cutouts), size)


def prepare(plates: Sequence[Picture], cutouts: Sequence[Picture], size: int, folder: Path) -> Files:
    """Write plates as size x size JPEG and cutouts as small RGBA PNG into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        tuple(folder / f"plate{number}.jpg" for number in range(len(plates))),
        tuple(folder / f"cutout{number}.png" for number in range(len(cutouts))),
        size,
    )
    for picture, path in zip(plates, files.plates, strict=True):
        Image.fromarray(read_plate(picture)[0]).resize((size, size)).save(path, quality=90)
    for picture, path in zip(cutouts, files.cutouts, strict=True):
        _at_most(Image.fromarray(read_cutout(picture)[0]), size).save(path)
    return files


def original_loop(files: Files, scenes: int, out: Path, seed: int = 0) -> None:
    """Make so many scenes, spread evenly over the pairs of plate and cutout, into the zip `out`."""
    rng = random.Random(seed)
    pairs = len(files.plates) * len(files.cutouts)
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(scenes):
            pair = number * pairs // scenes if scenes < pairs else number % pairs
            plate, cutout = divmod(pair, len(files.cutouts))
            composite, mask = _paste(files.plates[plate], files.cutouts[cutout], files.size, rng.random() < 0.5, rng)
            archive.writestr(f"composites/{number}.jpg", _jpeg(composite))
            archive.writestr(f"masks/{number}.jpg", _jpeg(mask))


def _paste(plate: Path, cutout: Path, size: int, mirror: bool, rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """A composite (RGB) and its mask (grey)."""
    with Image.open(plate) as file:
        composite = file.convert("RGB")
    if composite.size != (size, size):
        composite = composite.resize((size, size))
    with Image.open(cutout) as file:
        pasted = _at_most(file.convert("RGBA"), size)
    if mirror:
        pasted = pasted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = (rng.randrange(composite.width), rng.randrange(composite.height))
    corner = (place[0] - pasted.width // 2, place[1] - pasted.height // 2)
    alpha = pasted.getchannel("A")
    composite.paste(pasted, corner, alpha)
    mask = Image.new("L", composite.size)
    mask.paste(alpha, corner)
    return composite, mask


def _at_most(cutout: Image.Image, size: int) -> Image.Image:
    """The cutout, made smaller if its longer side is larger than it ever was in 2020."""
    longest = max(1, round(size * LONGEST))
    if max(cutout.size) > longest:
        cutout.thumbnail((longest, longest))
    return cutout


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def measure_loop(files: Files, scenes: int, folder: Path, seed: int = 0) -> Measured:
    """Run the loop once: wall and processor seconds, and the bytes of its zip (which is deleted)."""
    out = folder / f"original-{seed}.zip"
    wall, processor = time.perf_counter(), time.process_time()
    original_loop(files, scenes, out, seed)
    measured = Measured(scenes, time.perf_counter() - wall, time.process_time() - processor, out.stat().st_size)
    out.unlink()
    return measured


def measure_on_cores(files: Files, scenes: int, folder: Path, seed: int, cores: int) -> Measured:
    """The loop on so many cores at once, one process each: a core among busy ones is slower than one alone."""
    seeds = range(seed * cores, (seed + 1) * cores)
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(measure_loop, *zip(*((files, scenes, folder, each) for each in seeds), strict=True)))
    return Measured(*(sum(getattr(run, name) for run in runs) for name in ("count", "seconds", "processor", "bytes")))


def measure_loops(
    plates: Sequence[Picture], cutouts: Sequence[Picture], size: int, scenes: int, rounds: int, into: Path
) -> dict[str, list[Measured]]:
    """Both readings of the loop, in turn in every round."""
    with tempfile.TemporaryDirectory(dir=into) as folder:
        loops = {"prepared": prepare(plates, cutouts, size, Path(folder)), "as given": as_given(plates, cutouts, size)}
        taken: dict[str, list[Measured]] = {name: [] for name in loops}
        for seed in range(rounds):
            for name, files in loops.items():
                taken[name].append(measure_loop(files, scenes, Path(folder), seed))
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the loop alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    plates, cutouts = open_pictures(given.folders)
    taken = measure_loops(plates, cutouts, given.size, given.scenes, given.rounds, given.into)
    note = f"{given.scenes} scenes of {given.size} px, {len(plates)} plates, {len(cutouts)} cutouts"
    figures = [
        middle(f"scenes per second and core, pictures {name}", [m.per_core for m in rounds], "/s", note=note)
        for name, rounds in taken.items()
    ]
    size = taken["prepared"][0].bytes / given.scenes
    figures.append(Figure("bytes per scene", size, "B", note="composite and mask, no depth"))
    show("The loop of 2020", figures, given.json)


if __name__ == "__main__":
    main()
