"""The effects' sheet: a row per family, the clean composite and what the family alone does to it, mild to strong.

Contract: `draw_sheet` (`cleanplate inspect --effects`) is decided by the pictures and the seed. Each row has a
scene of its own in which one thing stands in plain view, if one is found, and shows what `train` would draw for it had
it only this family. Mild, middle and strong: of DRAWS draws, sorted by how much they change plate and frame, the one
that a tenth of them stay below, the one in the middle, and the one that a tenth exceed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape

from cleanplate.pictures.draw import sheet
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.library import Library
from cleanplate.pictures.split import Part
from cleanplate.scenes.camera import apply_effects
from cleanplate.scenes.dataset import LiveScenes
from cleanplate.scenes.inspect import chosen_part
from cleanplate.scenes.mixture import SHARES, draw_alone
from cleanplate.scenes.order import shuffled
from cleanplate.scenes.recipe import Recipe
from cleanplate.settings import EffectKind, PlanSettings
from cleanplate.types import Pixels, Scene

DRAWS = 30
RANKS = {"mild": 3, "middle": 15, "strong": 27}
"""Which of the sorted draws a column shows."""
TRIES = 60
"""Scenes looked at for a row."""
AREA = (0.05, 0.25)
"""Share of the picture that what stands there may cover."""


def draw_sheet(
    plates: Library, cutouts: Library, out: Path, *, part: Part, size: int, plan: PlanSettings, seed: int
) -> None:
    """Draw the sheet into the picture `out`, of scenes of this part of the split, size x size pixels each.

    Raises InputError when the part has no pictures, or `out` cannot be written.
    """
    chosen = chosen_part(plates, cutouts, part, seed)
    alone = replace(plan, objects=(1, 1), empty_share=0.0, free_share=0.0, leave_share=0.0)
    live = LiveScenes(*chosen, size=size, plan=alone, effects="none", seed=seed)
    rows = [_row(kind, scene, seed) for kind, scene in zip(SHARES, _scenes(live, seed), strict=False)]
    columns = ["clean composite: plate, frame", *RANKS]
    labels = [kind.replace("_", " ") for kind in SHARES]
    write_image(out, sheet(rows, labels, columns))
    Console().print(f"{len(rows)} families of effects: {escape(str(out))}", soft_wrap=True)


def _row(kind: EffectKind, scene: Scene, seed: int) -> list[Pixels]:
    clean = np.hstack([scene.plate, scene.frame])
    taken = [np.hstack(apply_effects(draw_alone(kind, seed, number), scene)) for number in range(DRAWS)]
    taken.sort(key=lambda pictures: float(cv2.norm(pictures, clean, cv2.NORM_L1)))
    return [clean, *(taken[rank] for rank in RANKS.values())]


def _scenes(live: LiveScenes, seed: int) -> Iterator[Scene]:
    """Scenes without end, each the first of TRIES in plain view, else the one that shows most."""
    places = count()
    while True:
        most, best = -1, None
        for place in islice(places, TRIES):
            epoch, rank = divmod(place, len(live))
            scene = live.scene(shuffled(rank, len(live), seed, epoch))
            shown = np.inf if _plain(scene) else cv2.countNonZero(scene.alpha)
            if shown > most:
                most, best = shown, scene
            if shown == np.inf:
                break
        if best is not None:
            yield best


def _plain(scene: Scene) -> bool:
    """Whether something upright stands on a floor, its foot and all of it to be seen, neither small nor large."""
    recipe = Recipe.from_json(scene.recipe)
    left, top, width, height = cv2.boundingRect(scene.alpha)
    rows, columns = scene.alpha.shape
    inside = left > 0 and top > 0 and left + width < columns and top + height < 0.93 * rows and height > 1.3 * width
    feet = [(placed.y - recipe.view.y) / recipe.view.height * rows for placed in recipe.placements]
    standing = recipe.up is not None and all(placed.mode == "standing" for placed in recipe.placements)
    low = max(feet, default=np.inf) < top + height + 2
    share = float(scene.alpha.mean()) / 255
    return standing and inside and bool(low) and AREA[0] <= share <= AREA[1]
