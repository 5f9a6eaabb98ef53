"""The verb `inspect`: what folders of pictures hold, what is wrong with them, and a batch as the network gets it.

Contract: `show` prints a table per kind of picture and each skipped file with its reason; `draw_batch` (`--batch`)
writes a sheet of scenes of one part of the split. The sheet is drawn from the tensors of a `LiveScenes` batch after
`to_float`, so what is wrong with them can be seen in it. `--effects` draws another sheet (`scenes/sheet.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cleanplate.pictures.draw import colour_depth, grey, sheet
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.library import Library, Picture, open_library
from cleanplate.pictures.split import PARTS, Part, part_of
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError, Pixels, to_pixels

if TYPE_CHECKING:
    from cleanplate.scenes.dataset import Batch

ROWS = ("plate", "frame", "mask", "depth", "plate depth")


def show(plates: Sequence[Path], cutouts: Sequence[Path], seed: int, strict: bool = False) -> tuple[Library, Library]:
    """Print what the folders hold, and what was skipped and why; return both libraries.

    No folders = the sample. seed: of the split. Raises InputError for folders with nothing usable, and under `strict`
    for the first bad picture.
    """
    console = Console()
    libraries = open_library(plates, "plates", strict), open_library(cutouts, "cutouts", strict)
    for library in libraries:
        console.print(table(library, seed))
        for name, reason in library.skipped:
            console.print(f"  skipped {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    return libraries


def table(library: Library, seed: int) -> Table:
    """One line per fact that decides whether a library trains well."""
    pictures = library.pictures
    facts = Table(title=f"{library.kind}: {', '.join(str(folder) for folder in library.folders)}", show_header=False)
    smallest = min(pictures, key=lambda picture: picture.height * picture.width)
    largest = max(pictures, key=lambda picture: picture.height * picture.width)
    facts.add_row("usable", str(len(pictures)))
    facts.add_row("skipped", str(len(library.skipped)))
    facts.add_row("sizes", f"{smallest.width} x {smallest.height} to {largest.width} x {largest.height}")
    deep = [picture for picture in pictures if picture.depth_path is not None]
    metric = sum(picture.depth_unit_m is not None for picture in deep)
    facts.add_row("with depth in metres", str(metric))
    facts.add_row("with relative depth", str(len(deep) - metric))
    if library.kind == "cutouts":
        facts.add_row("with a height", str(sum(picture.height_m is not None for picture in pictures)))
    folders = Counter(picture.path.parent for picture in pictures)
    if len(folders) > 1:
        facts.add_row("folders", ", ".join(f"{folder}: {count}" for folder, count in sorted(folders.items())))
    facts.add_row("groups", str(len({picture.group for picture in pictures})))
    parts = part_of(library, seed)
    facts.add_row("split", ", ".join(f"{part} {len(parts[part])}" for part in PARTS))
    facts.add_row("fingerprint", library.fingerprint[:16])
    return facts


def draw_batch(
    plates: Library,
    cutouts: Library,
    out: Path,
    *,
    count: int,
    part: Part,
    size: int,
    plan: PlanSettings,
    effects: Literal["train", "standard", "none"],
    seed: int,
    scenes: int | None,
    greyscale: bool,
) -> None:
    """Draw `count` scenes of this part of the split into the picture `out`, exactly as the network gets them.

    The rest as in `LiveScenes`. Raises InputError when the part has no pictures, or `out` cannot be written.
    """
    from cleanplate.scenes.dataset import LiveScenes, SampleOrder, loader, to_float

    if count < 1:
        raise InputError(f"--count must be at least 1, got {count}")
    chosen = chosen_part(plates, cutouts, part, seed)
    live = LiveScenes(*chosen, size=size, plan=plan, effects=effects, seed=seed, scenes=scenes, greyscale=greyscale)
    batch = next(iter(loader(live, SampleOrder(len(live), count, seed), workers=0)))
    write_image(out, batch_sheet(to_float(batch, "cpu")))
    Console().print(f"{count} {part} scenes: {escape(str(out))}", soft_wrap=True)


def chosen_part(
    plates: Library, cutouts: Library, part: Part, seed: int
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """The plates and the cutouts of one part of the split. Raises InputError when it has none of either."""
    chosen = part_of(plates, seed)[part], part_of(cutouts, seed)[part]
    if not all(chosen):
        raise InputError(
            f"the {part} part has {len(chosen[0])} plates and {len(chosen[1])} cutouts; a part needs at least one "
            "of each: give folders with at least three groups, or inspect --part train"
        )
    return chosen


def batch_sheet(batch: Batch, columns: int = 8) -> Pixels:
    """Rows of plate, frame, mask, depth and plate depth (grey = unknown or withheld), `columns` samples wide."""
    arrays = {
        "plate": [to_pixels(image) for image in batch.plate.numpy()],
        "frame": [to_pixels(image) for image in batch.frame.numpy()],
        "mask": [grey(alpha[0]) for alpha in batch.alpha.numpy()],
        "depth": [colour_depth(depth[0], 0.3, 30.0) for depth in batch.depth.numpy()],
        "plate depth": [colour_depth(depth[0], 0.3, 30.0) for depth in batch.plate_depth.numpy()],
    }
    count = len(arrays["plate"])
    rows: list[list[Pixels | None]] = []
    for first in range(0, count, columns):
        for name in ROWS:
            part: list[Pixels | None] = list(arrays[name][first : first + columns])
            rows.append(part + [None] * (min(columns, count) - len(part)))
    side = max(np.shape(arrays["plate"][0])[:2])
    return sheet(rows, ROWS * (len(rows) // len(ROWS)), tile=max(side, 112))
