"""The identity: what a stored dataset is, decided before its first shard is made.

Contract: a shard is a pure function of (identity, part, number, the pictures' content), so the identity, `dataset.json`
in the dataset's folder, is written first and never changes. It names the plan, the size, every picture with its
fingerprint and part of the split, and the versions of all code that reaches the disk. Making more of a dataset is
allowed only where the identity is the same; `differences` says what is not.

Order of the scenes. A part's scenes are numbered 0, 1, 2 ... as they lie in its shards. They come in runs of
`plan.scenes_per_view` scenes of one plate that share a view of it; the runs go round over all plates before a plate has
its second. So a shard needs few views, yet mixes many plates.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from cleanplate.pictures.library import Library, Picture, sample_folder
from cleanplate.pictures.split import PARTS, SHARES, Part, part_of
from cleanplate.scenes.recipe import Plan, make_plan
from cleanplate.scenes.records import from_json
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError

FORMAT = 1
DATASET, MANIFEST, CONTACT = "dataset.json", "manifest.json", "contact.png"
SHARD_ROWS = 1000
CODECS = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg")
"""Packages whose version may change a stored byte."""

Pictures = dict[str, dict[str, dict[str, dict[str, Any]]]]


@dataclass(frozen=True, order=True)
class Shard:
    """One shard: up to `Identity.rows` scenes of a part."""

    part: Part
    number: int

    @property
    def name(self) -> str:
        return f"{self.part}-{self.number:05d}"

    @property
    def scenes(self) -> str:
        """Where its scenes lie in the dataset."""
        return f"scenes/{self.name}.parquet"

    @property
    def plates(self) -> str:
        """Where its plates lie."""
        return f"plates/{self.name}.parquet"

    @property
    def zip(self) -> str:
        """Where its plain layout lies, zipped."""
        return f"zip/{self.name}.zip"


@dataclass(frozen=True)
class Identity:
    """What a dataset is. scenes: per part. pictures: {"plates" | "cutouts": {part: {name: sha256, group}}}.

    size: side of the square scenes, pixels. quality: of the JPEGs. rows: scenes per shard. fingerprints: of the two
    libraries with their side data. folders: where the pictures lay ([] = the sample); that decides nothing.
    """

    size: int
    quality: int
    seed: int
    rows: int
    scenes: dict[str, int]
    plan: PlanSettings
    depth: Literal["metric", "relative", "none"]
    fingerprints: dict[str, str]
    pictures: Pictures
    versions: dict[str, str]
    folders: dict[str, list[str]] = field(default_factory=dict, compare=False)
    format: int = FORMAT

    def to_json(self) -> str:
        """Readable JSON that `read_identity` reads back."""
        return json.dumps(asdict(self), indent=1)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything that decides the dataset's content."""
        deciding = {name: value for name, value in asdict(self).items() if name != "folders"}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def shards(self, part: str | None = None) -> tuple[Shard, ...]:
        """All shards, or those of one part, in order."""
        parts = [name for name in PARTS if part in (None, name)]
        return tuple(Shard(name, n) for name in parts for n in range(-(-self.scenes[name] // self.rows)))

    def rows_of(self, shard: Shard) -> int:
        """Scenes in this shard; only a part's last has fewer than `rows`."""
        return min(self.rows, self.scenes[shard.part] - shard.number * self.rows)

    def first(self, shard: Shard) -> int:
        """Number of the shard's first scene in its part."""
        return shard.number * self.rows

    def lines(self, shard: Shard) -> str:
        """Where the lines about the shard's plain files lie; the last of them to be written."""
        return f"files/{shard.part}/scenes/{self.first(shard):08d}.jsonl"


def read_identity(text: bytes, place: str) -> Identity:
    """The identity that `to_json` wrote. Raises InputError for anything else."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise InputError(
                f"{place} has dataset format {found['format']}, this version reads {FORMAT}; use the version that made "
                f"it ({found['versions']['cleanplate']}), or compose it anew"
            )
        identity = from_json(Identity, text.decode())
        if set(identity.scenes) != set(PARTS):
            raise KeyError(f"parts {', '.join(identity.scenes)}")
        return identity
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{place}: {DATASET} is damaged ({error}); restore it, or compose into another --out"
        ) from error


def make_identity(
    plates: Library,
    cutouts: Library,
    *,
    size: int,
    quality: int,
    seed: int,
    plan: PlanSettings,
    scenes: int | None,
    split: bool = True,
    rows: int = SHARD_ROWS,
) -> Identity:
    """The dataset of these pictures. scenes: over all parts, None = the whole plan. split: False puts all into train.

    Raises InputError for values that make no dataset.
    """
    for name, value, least, most in (
        ("size", size, 1, 4096),
        ("quality", quality, 1, 100),
        ("scenes", scenes, 1, None),
    ):
        if value is not None and (value < least or (most is not None and value > most)):
            allowed = f"at least {least}" if most is None else f"{least} to {most}"
            raise InputError(f"--{name} must be {allowed}, got {value}")
    parts = sorted_parts(plates, cutouts, seed, split)
    totals = {part: _total(*parts[part], plan, seed) for part in PARTS}
    return Identity(
        size=size,
        quality=quality,
        seed=seed,
        rows=rows,
        scenes=_shared_out(scenes, totals),
        plan=plan,
        depth=_depth(plates),
        fingerprints={library.kind: library.fingerprint for library in (plates, cutouts)},
        pictures={
            kind: {part: {p.name: {"sha256": p.sha256, "group": p.group} for p in parts[part][n]} for part in PARTS}
            for n, kind in enumerate(("plates", "cutouts"))
        },
        versions={"cleanplate": version("cleanplate")} | {name: version(name) for name in CODECS},
        folders={library.kind: _folders(library) for library in (plates, cutouts)},
    )


def sorted_parts(
    plates: Library, cutouts: Library, seed: int, split: bool = True
) -> dict[Part, tuple[tuple[Picture, ...], tuple[Picture, ...]]]:
    """(plates, cutouts) of each part; without a split, all of them train."""
    if not split:
        return {p: (plates.pictures, cutouts.pictures) if p == "train" else ((), ()) for p in PARTS}
    by_part = part_of(plates, seed), part_of(cutouts, seed)
    return {part: (by_part[0][part], by_part[1][part]) for part in PARTS}


def part_plan(identity: Identity, part: str, plates: tuple[Picture, ...], cutouts: tuple[Picture, ...]) -> Plan:
    """The plan of one part of the dataset; `plan_number` says which of its scenes a row is."""
    return make_plan(plates, cutouts, identity.plan, identity.seed + PARTS.index(part), identity.scenes[part])


def plan_number(row: int, scenes: int, plates: int, run: int) -> int:
    """Which scene of the plan (i of `Plan.scene`) is the row-th of its part.

    The plan's scene i is the (i div plates)-th of plate i mod plates. Rows go through (run, plate, place in the run)
    in that order, so that a run's scenes, which share a view, are neighbours: a bijection of 0..scenes-1.
    """
    full = scenes // (plates * run)  # runs that every plate has in full
    turn, rest = divmod(row, plates * run)
    if turn < full:
        plate, place = divmod(rest, run)
        return plate + plates * (turn * run + place)
    # the last turn: each plate has `short` more scenes, the first few of them one more
    short, longer = divmod(scenes - full * plates * run, plates)
    if rest < longer * (short + 1):
        plate, place = divmod(rest, short + 1)
    else:
        plate, place = divmod(rest - longer * (short + 1), short)
        plate += longer
    return plate + plates * (full * run + place)


def differences(there: Identity, asked: Identity) -> list[str]:
    """What differs, in words; empty if nothing does."""
    lines: list[str] = []
    for kind in ("plates", "cutouts"):
        lines += _changed_pictures(kind, _flat(there, kind), _flat(asked, kind))
        if not lines and there.fingerprints[kind] != asked.fingerprints[kind]:
            lines.append(f"the side data of the {kind} (pictures.json) has changed")
    old, new = asdict(there), asdict(asked)
    for name in ("size", "quality", "seed", "rows", "scenes", "plan", "versions"):
        if isinstance(old[name], dict):
            keys = sorted(old[name].keys() | new[name].keys())
            pairs = [(f"{name}.{key}", old[name].get(key), new[name].get(key)) for key in keys]
        else:
            pairs = [(name, old[name], new[name])]
        lines += [f"{label} is {a!r} there, {b!r} now" for label, a, b in pairs if a != b]
    return lines


def _folders(library: Library) -> list[str]:
    return [str(folder.resolve()) for folder in library.folders if folder != sample_folder() / library.kind]


def _flat(identity: Identity, kind: str) -> dict[str, tuple[str, str]]:
    return {name: (part, facts["sha256"]) for part, ps in identity.pictures[kind].items() for name, facts in ps.items()}


def _changed_pictures(kind: str, there: dict[str, tuple[str, str]], asked: dict[str, tuple[str, str]]) -> list[str]:
    lines = []
    for name in sorted(there.keys() | asked.keys()):
        old, new = there.get(name), asked.get(name)
        if old != new:
            what = "is new" if old is None else "is gone" if new is None else "has changed" if old[1] != new[1] else ""
            lines.append(f"{kind}: {name} {what or f'moved from {old[0]} to {new[0]}'}")  # ty: ignore[not-subscriptable]
    return lines


def _total(plates: tuple[Picture, ...], cutouts: tuple[Picture, ...], plan: PlanSettings, seed: int) -> int:
    return len(make_plan(plates, cutouts, plan, seed)) if plates and cutouts else 0


def _shared_out(scenes: int | None, totals: dict[Part, int]) -> dict[str, int]:
    """How many scenes each part gets: as the pictures are split, never more than its pictures make."""
    if scenes is None or scenes >= sum(totals.values()):
        return dict(totals)
    validation, test = (
        min(round(scenes * share), totals[part]) for part, share in zip(PARTS[1:], SHARES[1:], strict=True)
    )
    train = min(scenes - validation - test, totals["train"])
    return {"train": train, "validation": validation, "test": test}


def _depth(plates: Library) -> Literal["metric", "relative", "none"]:
    kinds = {"relative" if p.depth_unit_m is None else "metric" for p in plates.pictures if p.depth_path}
    if len(kinds) > 1:
        raise InputError(
            "some plates have depth in metres and some relative depth; compose one kind: leave out a folder, or state "
            "depth_unit_m in each folder's pictures.json"
        )
    if not kinds:
        return "none"
    return "metric" if kinds == {"metric"} else "relative"
