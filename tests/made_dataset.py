"""Small stored datasets for tests, of six plates and six cutouts."""

from __future__ import annotations

from pathlib import Path

from cleanplate.engine.engine import Engine
from cleanplate.pictures.library import Library, open_library
from cleanplate.settings import PlanSettings
from cleanplate.shards.identity import DATASET, make_identity, sorted_parts
from cleanplate.shards.make import Job, ShardMaker, make_dataset
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from made_scenes import write_cutouts, write_plates

PLAN = PlanSettings(positions=20, scenes_per_view=10)


def write_pictures(folder: Path, depth: bool = True) -> tuple[Library, Library]:
    """`folder`/plates and `folder`/cutouts; four of each train."""
    if not (folder / "plates").is_dir():
        write_plates(folder / "plates", 6, depth)
        write_cutouts(folder / "cutouts", 6)
    return open_library([folder / "plates"], "plates"), open_library([folder / "cutouts"], "cutouts")


def write_dataset(folder: Path, scenes: int = 250, size: int = 64, depth: bool = True) -> Dataset:
    """`folder`/data, finished as `cleanplate compose` finishes it."""
    write_pictures(folder, depth)
    pictures = (folder / "plates",), (folder / "cutouts",)
    options = {"plan": PLAN, "engine": Engine(workers=0), "quiet": True}
    return make_dataset(folder / "data", *pictures, scenes=scenes, size=size, **options)


def write_shards(folder: Path, scenes: int, size: int, rows: int) -> Dataset:
    """`folder`/data with shards of so many rows, and without a manifest."""
    libraries = write_pictures(folder)
    identity = make_identity(*libraries, size=size, quality=80, seed=0, plan=PLAN, scenes=scenes, rows=rows)
    store = Store(folder / "data")
    store.create(DATASET, identity.to_json().encode())
    make = ShardMaker(Job(store, identity, sorted_parts(*libraries, 0), "parquet"))
    for shard in identity.shards():
        make(shard)
    return Dataset(folder / "data")
