"""The library: folders of plates or cutouts, every file checked once and fingerprinted, with what is known about it.

Contract. A library's pictures are its folders' JPEG, PNG, WebP and TIFF files (not those of sub-folders), sorted by
name. Opening decodes each one and its depth and mask, so that reading later does not surprise; a bad file is skipped
with a warning, or stops everything under `strict`. A picture's sha256 is that of its bytes, or of its bytes followed by
the digests of its depth and mask; a library's fingerprint covers the pictures and their side data.

Side data, all optional, in `pictures.json` of the folder (keys that are not named here are ignored):

    {"depth_unit_m": 0.001, "depth_unknown": 0, "pictures": {"a.jpg": {"height_m": 1.8, "focal_px": 90, "group": "me"}}}

depth_unit_m: metres per stored unit ("relative": no unit, larger = farther); by default millimetres for integers,
metres for floats. Depth of `a.jpg` is `a_depth.png|tiff|npy`, the mask of `a.png` is `a_mask.png`, both in the upright
frame; such files are never pictures. Cutouts are RGBA with straight alpha, or RGB with a mask; they are trimmed to
where alpha > 0, and so is their depth (relief: as their own camera saw it).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cleanplate.pictures import frames
from cleanplate.pictures.side_data import Folder, SideData, read_folder
from cleanplate.types import AlphaPixels, Depth, InputError, Pixels

Kind = Literal["plates", "cutouts"]
Rgba = UInt8[np.ndarray, "h w 4"]

MIN_SIDE = 16
"""Both sides of a plate, and the longer side of a trimmed cutout, have at least this many pixels."""
DEFAULT_FOCAL = 1.1
"""Focal length where none is given, times the picture's width."""
MEDIAN_DEPTH_M = (0.01, 1000.0)
"""A metric depth map whose median lies outside has the wrong unit."""
NEEDED = {
    "plates": "pictures of scenes with nothing in front (JPEG, PNG, WebP or TIFF, at least 16 px each side)",
    "cutouts": "cut-out foregrounds: RGBA pictures (PNG, WebP, TIFF), or RGB pictures with NAME_mask.png beside them",
}

log = logging.getLogger("cleanplate")


@dataclass(frozen=True)
class Picture:
    """One usable picture and what is known about it.

    name: unique in its library. sha256: of the bytes of the picture, its depth and its mask.
    height, width: of the upright picture; of cutouts, after trimming. trim: (top, left, bottom, right), upright pixels.
    group: never torn apart by a split. focal_px: in pixels of this picture. height_m: real height of what it shows.
    depth_unit_m: metres per stored unit of depth_path; None = relative depth, or no depth.
    depth_unknown: the stored value that means unknown, besides 0.
    """

    name: str
    path: Path
    sha256: str
    height: int
    width: int
    group: str
    focal_px: float
    height_m: float | None
    depth_path: Path | None
    depth_unit_m: float | None
    depth_unknown: float
    mask_path: Path | None
    trim: tuple[int, int, int, int]


@dataclass(frozen=True)
class Library:
    """Plates or cutouts of one or several folders, sorted. skipped: (file, reason) of every file left out."""

    kind: Kind
    folders: tuple[Path, ...]
    pictures: tuple[Picture, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over names, contents and side data; where the folders lie does not enter."""
        facts = [
            (p.name, p.sha256, p.group, p.focal_px, p.height_m, p.depth_unit_m, p.depth_unknown, p.trim)
            for p in self.pictures
        ]
        return hashlib.sha256(repr((self.kind, facts)).encode()).hexdigest()


def sample_folder() -> Path:
    """The packaged sample: plates, cutouts and pairs, with their attribution."""
    return Path(__file__).parent / "sample"


def open_library(folders: Sequence[Path], kind: Kind, strict: bool = False) -> Library:
    """Check and fingerprint every picture of the folders; no folders = the packaged sample.

    Raises InputError: a folder that is missing or holds nothing usable, a malformed pictures.json, and under
    `strict` the first bad file.
    """
    paths = tuple(dict.fromkeys(Path(f) for f in folders)) or (sample_folder() / kind,)
    opened = [read_folder(path, prefix) for path, prefix in zip(paths, prefixes(paths), strict=True)]
    jobs = [(folder, path) for folder in opened for path in folder.pictures]
    skipped = [orphan for folder in opened for orphan in folder.unusable]
    pictures: list[Picture] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow and hashlib leave the interpreter's lock
        for (folder, path), result in zip(jobs, pool.map(lambda job: _checked(*job, kind), jobs), strict=True):
            if isinstance(result, Picture):
                pictures.append(result)
            else:
                skipped.append((folder.prefix + path.name, result))
    _report(skipped, kind, strict)
    if not pictures:
        raise InputError(_nothing_usable(paths, kind, skipped))
    return Library(kind, paths, tuple(sorted(pictures, key=lambda p: p.name)), tuple(skipped))


def prefixes(paths: tuple[Path, ...]) -> Iterator[str]:
    """What to put before names: nothing for one folder, else as much of each folder's end as tells them apart."""
    if len(paths) == 1:
        return iter([""])
    whole = [path.resolve().parts for path in paths]
    if len(set(whole)) < len(whole):
        raise InputError(f"the same folder twice among {', '.join(map(str, paths))}; name each folder once")
    length = next(n for n in range(1, 1 + max(map(len, whole))) if len({parts[-n:] for parts in whole}) == len(whole))
    return iter(["/".join(parts[-length:]).lstrip("/") + "/" for parts in whole])


def _report(skipped: list[tuple[str, str]], kind: Kind, strict: bool) -> None:
    """Warn of each skipped file, or stop at the first."""
    for name, reason in skipped:
        if strict:
            raise InputError(f"{reason} [--strict stops at bad {kind}; without it they are skipped]")
        log.warning("skipped %s: %s", name, reason)


def _nothing_usable(paths: tuple[Path, ...], kind: Kind, skipped: list[tuple[str, str]]) -> str:
    where = ", ".join(map(str, paths))
    reasons = "".join(f"\n  {reason}" for _, reason in skipped[:5])
    more = f"\n  and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"{where}: no usable {kind}; expected {NEEDED[kind]}{':' if reasons else ''}{reasons}{more}"


def _checked(folder: Folder, path: Path, kind: Kind) -> Picture | str:
    """One file, decoded and measured, or the reason why it cannot be used."""
    try:
        return _measure(folder, path, kind)
    except InputError as error:
        return str(error)


def _measure(folder: Folder, path: Path, kind: Kind) -> Picture:
    side = folder.side_data(path)
    mask_path = folder.mask_of(path) if kind == "cutouts" else None
    depth_path = folder.depth_of(path)
    data, mask, depth = (frames.read_bytes(p) if p else None for p in (path, mask_path, depth_path))
    image = frames.decode(data or b"", path)
    if kind == "plates":
        _check_plate(image, path)
        trim = (0, 0, image.height, image.width)
    else:
        trim = _trim(_alpha(image, path, mask, mask_path), path)
    unit = None
    if depth is not None and depth_path is not None:
        unit = _check_depth(depth, depth_path, image, path, side)
    return Picture(
        name=folder.prefix + path.name,
        path=path,
        sha256=_digest(data or b"", depth, mask),
        height=trim[2] - trim[0],
        width=trim[3] - trim[1],
        group=side.group or folder.prefix + path.stem,
        focal_px=side.focal_px or DEFAULT_FOCAL * image.width,
        height_m=side.height_m,
        depth_path=depth_path,
        depth_unit_m=unit,
        depth_unknown=side.depth_unknown,
        mask_path=mask_path,
        trim=trim,
    )


def _digest(picture: bytes, depth: bytes | None, mask: bytes | None) -> str:
    """SHA-256 of the picture's bytes, as `sha256sum` gives it; depth and mask enter by their own digests behind it."""
    digest = hashlib.sha256(picture)
    for name, data in ((b"depth", depth), (b"mask", mask)):
        if data is not None:
            digest.update(name + hashlib.sha256(data).digest())
    return digest.hexdigest()


def _check_plate(image: Image.Image, path: Path) -> None:
    if min(image.size) < MIN_SIDE:
        raise InputError(f"{path}: {image.height} x {image.width} px; a plate has at least {MIN_SIDE} px each side")
    alpha = frames.alpha_of(image)
    if alpha is not None and alpha.min() < 128:
        raise InputError(f"{path}: has transparent parts; a plate is opaque (is it a cutout?)")
    frames.to_rgb(image, path)


def _alpha(image: Image.Image, path: Path, mask: bytes | None, mask_path: Path | None) -> AlphaPixels:
    """A cutout's alpha at its picture's size: from the mask file if there is one, else from the picture."""
    if mask is not None and mask_path is not None:
        alpha = frames.grey_of(frames.decode(mask, mask_path), mask_path)
        if alpha.shape != (image.height, image.width):
            raise InputError(_other_size(mask_path, alpha.shape, path, image))
        return alpha
    alpha = frames.alpha_of(image)
    if alpha is None:
        raise InputError(f"{path}: no alpha channel and no {path.stem}_mask.png; a cutout needs one of them")
    return alpha


def _trim(alpha: AlphaPixels, path: Path) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of where alpha > 0."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if rows.size == 0:
        raise InputError(f"{path}: its alpha is empty: nothing is visible")
    trim = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    size = (trim[2] - trim[0], trim[3] - trim[1])
    if max(size) < MIN_SIDE:
        raise InputError(f"{path}: {_size(size)} once trimmed to its alpha; at least {MIN_SIDE} px are needed")
    return trim


def _check_depth(data: bytes, depth_path: Path, image: Image.Image, path: Path, side: SideData) -> float | None:
    """Size and unit of a depth map. Returns metres per stored unit, None for relative depth."""
    stored = frames.decode_depth(data, depth_path)
    if stored.shape != (image.height, image.width):
        raise InputError(_other_size(depth_path, stored.shape, path, image))
    unit = None if side.relative else side.depth_unit_m or (1.0 if stored.dtype.kind == "f" else 0.001)
    depth = frames.to_metres(stored, 1.0 if unit is None else unit, side.depth_unknown)
    known = depth[depth > 0]
    if known.size == 0:
        raise InputError(f"{depth_path}: no pixel has a known depth; correct or remove the file")
    median = float(np.median(known))
    if unit is not None and not MEDIAN_DEPTH_M[0] <= median <= MEDIAN_DEPTH_M[1]:
        what = f"with {unit:g} m per stored unit the median depth is {median:g} m"
        advice = f"state depth_unit_m (or 'relative') in {depth_path.parent / 'pictures.json'}"
        raise InputError(f"{depth_path}: wrong unit: {what}; {advice}")
    return unit


def _other_size(side: Path, shape: tuple[int, ...], path: Path, image: Image.Image) -> str:
    size = _size((image.height, image.width))
    return f"{side}: {_size(shape)}, but {path.name} is {size}; both need the size of the upright picture"


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} px (height x width)"


def read_plate(picture: Picture) -> tuple[Pixels, Depth | None]:
    """The plate, uint8 [h, w, 3], and its depth: metres (or relative units), 0 = unknown. Raises InputError."""
    return frames.read_image(picture.path), _depth(picture)


def read_cutout(picture: Picture) -> tuple[Rgba, Depth | None]:
    """The trimmed cutout, uint8 [h, w, 4], and its relief depth, 0 = unknown. Raises InputError.

    Alpha is straight: the colours where it is 0 mean nothing, so multiply by alpha before resizing.
    """
    image = frames.decode(frames.read_bytes(picture.path), picture.path)
    mask = frames.read_bytes(picture.mask_path) if picture.mask_path else None
    alpha = _alpha(image, picture.path, mask, picture.mask_path)
    rgba = np.dstack([frames.to_rgb(image, picture.path), alpha])
    top, left, bottom, right = picture.trim
    depth = _depth(picture)
    return np.ascontiguousarray(rgba[top:bottom, left:right]), None if depth is None else depth[top:bottom, left:right]


def _depth(picture: Picture) -> Depth | None:
    if picture.depth_path is None:
        return None
    unit = 1.0 if picture.depth_unit_m is None else picture.depth_unit_m
    return frames.read_depth(picture.depth_path, unit, picture.depth_unknown)
