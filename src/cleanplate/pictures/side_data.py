"""What a folder says about its pictures: `pictures.json`, and which files are depth maps and masks of which picture."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from cleanplate.pictures.frames import DEPTH_SUFFIXES, PICTURE_SUFFIXES, list_images
from cleanplate.types import InputError

_UNREADABLE = (".bmp", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".psd", ".svg")


@dataclass(frozen=True)
class SideData:
    """What is known about one picture. depth_unit_m: None = the default of its kind of file; relative: no unit."""

    depth_unit_m: float | None
    relative: bool
    depth_unknown: float
    height_m: float | None
    focal_px: float | None
    group: str | None


@dataclass(frozen=True)
class Folder:
    """One folder's files. pictures: sorted by name; unusable: (name, reason) of files that look like pictures only."""

    path: Path
    prefix: str
    pictures: tuple[Path, ...]
    unusable: tuple[tuple[str, str], ...]
    names: frozenset[str]
    depth_unit_m: float | None
    relative: bool
    depth_unknown: float
    entries: dict[str, object]

    def depth_of(self, picture: Path) -> Path | None:
        """The depth file of a picture, if there is one."""
        names = (f"{picture.stem}_depth{suffix}" for suffix in DEPTH_SUFFIXES)
        return next((self.path / name for name in names if name in self.names), None)

    def mask_of(self, picture: Path) -> Path | None:
        """The mask file of a picture, if there is one."""
        name = f"{picture.stem}_mask.png"
        return self.path / name if name in self.names else None

    def side_data(self, picture: Path) -> SideData:
        """What pictures.json says of a picture. Raises InputError for values of a wrong kind."""
        where = f"{self.path / 'pictures.json'}: {picture.name}"
        entry = self.entries.get(picture.name, {})
        if not isinstance(entry, dict):
            raise InputError(f'{where}: expected an object such as {{"height_m": 1.8}}, got {entry!r}')
        group = entry.get("group")
        if group is not None and (isinstance(group, bool) or not isinstance(group, (str, int)) or group == ""):
            raise InputError(f"{where}: group must be a name, got {group!r}")
        return SideData(
            depth_unit_m=self.depth_unit_m,
            relative=self.relative,
            depth_unknown=self.depth_unknown,
            height_m=_positive(entry.get("height_m"), f"{where}: height_m", "metres"),
            focal_px=_positive(entry.get("focal_px"), f"{where}: focal_px", "pixels"),
            group=None if group is None else str(group),
        )


def read_folder(path: Path, prefix: str) -> Folder:
    """List a folder and read its pictures.json. Raises InputError: no such folder, malformed side data."""
    images = list_images(path)
    names = frozenset(p.name for p in path.iterdir() if not p.name.startswith("."))
    pictures = tuple(p for p in images if not _side_file_of(p))
    stems = {p.stem for p in pictures}
    side = _read_json(path / "pictures.json")
    unit, relative = _unit(side.get("depth_unit_m"), path / "pictures.json")
    unknown = _number(side.get("depth_unknown", 0))
    if unknown is None:
        raise InputError(f"{path / 'pictures.json'}: depth_unknown must be a number, got {side['depth_unknown']!r}")
    return Folder(
        path=path,
        prefix=prefix,
        pictures=pictures,
        unusable=tuple(_unusable(path, prefix, names, stems)),
        names=names,
        depth_unit_m=unit,
        relative=relative,
        depth_unknown=unknown,
        entries=side.get("pictures", {}),
    )


def _side_file_of(path: Path) -> str | None:
    """The stem of the picture that a depth or mask file belongs to; None for a picture."""
    for ending, suffixes in (("_depth", DEPTH_SUFFIXES), ("_mask", (".png",))):
        if path.suffix.lower() in suffixes and path.stem.endswith(ending):
            return path.stem.removesuffix(ending)
    return None


def _unusable(path: Path, prefix: str, names: frozenset[str], stems: set[str]) -> list[tuple[str, str]]:
    """Depth maps and masks without their picture, and pictures of kinds that are not read."""
    found = []
    for name in sorted(names):
        file = path / name
        owner = _side_file_of(file)
        if owner is not None and owner not in stems:
            reason = f"a depth map or mask without its picture {owner}.jpg (or .png ...); add it, or rename the file"
        elif file.suffix.lower() in _UNREADABLE:
            reason = f"{file.suffix} is not read; save it as one of {' '.join(PICTURE_SUFFIXES)}"
        else:
            continue
        found.append((prefix + name, f"{file}: {reason}"))
    return found


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        side = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no valid JSON ({error}); correct or remove the file") from error
    if not isinstance(side, dict) or not isinstance(side.get("pictures", {}), dict):
        raise InputError(f'{path}: expected an object such as {{"pictures": {{"a.jpg": {{"height_m": 1.8}}}}}}')
    return side


def _unit(value: object, path: Path) -> tuple[float | None, bool]:
    """(metres per stored unit or None, whether depth is relative)."""
    if value == "relative":
        return None, True
    meaning = 'metres per stored unit (0.001 for millimetres), or "relative"'
    return _positive(value, f"{path}: depth_unit_m", meaning), False


def _positive(value: object, what: str, unit: str) -> float | None:
    if value is None:
        return None
    number = _number(value)
    if number is None or number <= 0:
        raise InputError(f"{what} must be a number above 0, in {unit}; got {value!r}")
    return number


def _number(value: object) -> float | None:
    """The value as a float if it is a finite number (true and false are none)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
