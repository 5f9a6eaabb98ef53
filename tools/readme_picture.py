"""The README's picture: held-out pairs of the sample as a run sees them.

python tools/readme_picture.py RUN PICTURE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import cleanplate
from cleanplate.pictures.draw import colour_depth, grey, sheet
from cleanplate.pictures.frames import read_image, write_image
from cleanplate.pictures.library import sample_folder

SCENES = ("0003", "0014", "0029", "0047", "0069")


def main(run: str, out: str) -> None:
    """Predict each scene without its plate's depth, and draw plate, frame, mask, cutout and depth in columns."""
    model = cleanplate.load(run)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("plate", "frame", "mask", "cut out", "depth")}
    for scene in SCENES:
        folder = sample_folder() / "pairs" / scene
        plate, frame = read_image(folder / "plate.jpg"), read_image(folder / "frames" / "0.jpg")
        found = model.predict(plate, frame)
        depth = found.depth if found.depth is not None else np.zeros_like(found.alpha)
        cut = frame * found.alpha[..., None] + 255 * (1 - found.alpha[..., None])
        pictures = (plate, frame, grey(found.alpha), cut.astype(np.uint8), colour_depth(depth, 1.0, 8.0))
        for row, picture in zip(rows.values(), pictures, strict=True):
            row.append(picture)
    write_image(Path(out), sheet(list(rows.values()), row_labels=list(rows)))


if __name__ == "__main__":
    main(*sys.argv[1:])
