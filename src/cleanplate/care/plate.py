"""A plate from a clip in which something always stands in front: what was behind it, found over time and space.

Contract: `estimate_plate(frames)` gives the scene with nothing in front, as far as each of its places is bare in some
of the frames, and at the frames' own size. Memory is bounded whatever the clip's length: at most `MOST` frames are
kept, evenly spread, fewer of large ones. A camera that trembles and light that flickers are corrected first, towards
the middle of the clip.

A median would keep whatever stands still for more than half of the clip. Instead:

1. Every place starts with the look it has most often: the densest cluster of its colours over time, not their middle.
2. Whatever looked otherwise for a while is a rival, region by region: connected places that differ from the present
   plate at one time. Each rival is put in and judged by three kinds of evidence, the first of which decides most:
   - seams: a thing brings its outline with it, while the background goes on behind it. So the version with less
     gradient along the region's border is the background (the test by which left luggage is told from luggage
     removed, and the spatial continuity of Reddy, Sanderson and Lovell, 2011);
   - return: what is seen before and after the other version was behind it;
   - time: what is seen longer is likelier, which alone would be step 1.
   This is repeated until nothing changes: labels are times, as in Cohen, "Background estimation as a labeling problem",
   2005, and moves are regions.
3. Each pixel's colour is the mean of all frames that look like its label, so that noise averages out.

What stands in front in every frame stays: nothing in the clip says what is behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from cleanplate.care.align import shrink
from cleanplate.care.correct import Care
from cleanplate.pictures.frames import VideoReader, list_images, read_image
from cleanplate.pictures.video import VIDEO_SUFFIXES
from cleanplate.types import InputError, Pixels

MOST, FEWEST = 120, 24
"""At most so many frames are kept, and never fewer than these of a clip that has them."""
MOST_BYTES = 600_000_000
"""Frames are kept below this, between the two numbers above."""
TIMES = 24
"""So many of the frames, evenly spread, are what a place may be given as its look."""

_LEAST_AREA = 12
_LEAST_SHARE = 0.08
"""A rival must have been seen in this share of the frames."""
_SEAM, _RETURN, _TIME = 2.0, 1.0, 0.4
_SOFT = 1.5
"""Added to mean gradients before they are compared, of 255: noise has no outline."""
_TILE = 256

Stack = UInt8[np.ndarray, "t h w 3"]


def estimate_plate(frames: Iterable[Pixels]) -> Pixels:
    """The scene behind whatever moves or parks in these frames: uint8 [h, w, 3], all of one size, in order of time.

    Raises InputError for no frames, and for frames of different sizes.
    """
    kept = sample(frames)
    if len(kept) < 3:
        return kept[0]
    kept = _settled(kept)
    stack = np.stack([cv2.blur(shrink(frame), (3, 3)) for frame in kept])
    label = _labels(stack)
    return _rendered(kept, label, _radius(stack))


def sample(frames: Iterable[Pixels], most: int = MOST) -> list[Pixels]:
    """At most `most` of the frames, evenly spread over the clip, without knowing its length beforehand."""
    kept: list[Pixels] = []
    every = 1
    for index, frame in enumerate(frames):
        if kept and frame.shape != kept[0].shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (kept[0].shape, frame.shape)]
            raise InputError(
                f"frame {index} is {sizes[1]} and those before are {sizes[0]}: a plate is estimated from frames of one "
                "size, from one fixed camera; give those alone, or a --plate"
            )
        if index % every:
            continue
        kept.append(frame)
        if len(kept) > max(2, min(most, max(FEWEST, MOST_BYTES // frame.nbytes))):
            kept, every = kept[::2], every * 2
    if not kept:
        raise InputError("no frames to estimate a plate from: give a video or a folder of frames of a fixed camera")
    return kept


def frames_of(paths: Sequence[Path]) -> Iterator[Pixels]:
    """The frames of videos, folders of pictures and pictures, one after the other. Raises InputError."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from map(read_image, list_images(path))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield from VideoReader(path)
        else:
            yield read_image(path)


def _settled(frames: list[Pixels]) -> list[Pixels]:
    """The frames, moved and exposed alike: each brought to the median of all, which need not be a good plate."""
    rough = _median(frames[:: max(1, len(frames) // 15)])
    care = Care(rough)
    return [care.correct(frame).frame(frame, rough) for frame in frames]


def _median(frames: Sequence[Pixels]) -> Pixels:
    """The median of each pixel over time, strip by strip, so that no second copy of all frames is made."""
    rows = range(0, frames[0].shape[0], _TILE)
    strips = [np.median(np.stack([frame[row : row + _TILE] for frame in frames]), axis=0) for row in rows]
    return np.concatenate(strips).astype(np.uint8)


def _radius(stack: Stack) -> int:
    """How much one look differs from time to time, of 255: from the noise between frames that follow each other."""
    steps = [cv2.absdiff(a, b).max(axis=2) for a, b in pairwise(stack)]
    typical = float(np.median(np.stack(steps[:: max(1, len(steps) // 10)])))
    return int(np.clip(3 * typical, 9, 30))


@dataclass
class _State:
    """The plate so far: which time each place looks like, its colours there, and how often they are seen."""

    label: Int64[np.ndarray, "h w"]
    plate: Pixels
    seen: Float32[np.ndarray, "h w"]


def _labels(stack: Stack) -> Int64[np.ndarray, "h w"]:
    """For each place of the small frames, the index of a frame that shows its background."""
    times = np.unique(np.linspace(0, len(stack) - 1, min(TIMES, len(stack))).round().astype(int))
    radius = _radius(stack)
    seen = np.stack([_share(stack, stack[time], radius) for time in times])
    most = seen.argmax(axis=0)
    label = times[most]
    rows, columns = np.indices(label.shape)
    state = _State(label, stack[label, rows, columns], seen[most, rows, columns])
    for _ in range(4):
        changes = [_rivals(state, stack, int(time), share, radius) for time, share in zip(times, seen, strict=True)]
        if not any(changes):
            break
    return state.label


def _share(stack: Stack, look: Pixels, radius: int) -> Float32[np.ndarray, "h w"]:
    """The share of frames in which each place looks as in `look`; a place counts with its neighbours."""
    count = np.zeros(look.shape[:2], np.float32)
    for frame in stack:
        count += cv2.absdiff(frame, look).max(axis=2) <= radius
    return cv2.blur(count, (3, 3)) / np.float32(len(stack))


def _rivals(state: _State, stack: Stack, time: int, share: Float32[np.ndarray, "h w"], radius: int) -> bool:
    """Try the regions in which the frame at `time` differs from the plate; those that win become the plate."""
    look = stack[time]
    differs = (cv2.absdiff(look, state.plate).max(axis=2) > max(2 * radius, 20)) & (share >= _LEAST_SHARE)
    count, regions, boxes, _ = cv2.connectedComponentsWithStats(differs.astype(np.uint8), connectivity=8)
    changed = False
    for region in range(1, count):
        left, top, width, height, area = boxes[region]
        if area < _LEAST_AREA:
            continue
        box = np.s_[max(0, top - 4) : top + height + 4, max(0, left - 4) : left + width + 4]
        difference = cv2.absdiff(look[box], state.plate[box]).max(axis=2)
        # What is judged ends at the outline; what is then changed takes the outline's soft rim with it.
        inside = _grown(regions[box] == region, difference > radius, 5)
        if _odds(state, stack, look, share, box, inside, radius) > 0:
            inside = _grown(inside, difference > radius // 2, 5)
            state.label[box][inside] = time
            state.plate[box][inside] = look[box][inside]
            state.seen[box][inside] = share[box][inside]
            changed = True
    return changed


def _grown(region: Bool[np.ndarray, "h w"], differs: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "h w"]:
    """The region and what differs around it, as far as a square of this side reaches."""
    around = cv2.dilate(region.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    return region | (around & differs)


def _odds(
    state: _State,
    stack: Stack,
    look: Pixels,
    share: Float32[np.ndarray, "h w"],
    box: tuple[slice, slice],
    inside: Bool[np.ndarray, "box_h box_w"],
    radius: int,
) -> float:
    """Log-odds, up to the choice of weights, that `look` is what lies behind in this region, and not the plate so far.

    box: the region and a margin; inside: the region's places in it.
    """
    old = state.plate[box]
    new = np.where(inside[..., None], look[box], old)
    seams = [_seam(picture, inside) + _SOFT for picture in (old, new)]
    shares = [float(values[box][inside].mean()) for values in (state.seen, share)]
    shown = [_shown(stack[(slice(None), *box)], picture, inside, radius) for picture in (old, new)]
    returns = int(_surrounds(shown[1], shown[0])) - int(_surrounds(shown[0], shown[1]))
    odds = _SEAM * np.log(seams[0] / seams[1]) + _TIME * np.log(max(shares[1], 1e-3) / max(shares[0], 1e-3))
    return float(odds + _RETURN * returns)


def _seam(picture: Pixels, inside: Bool[np.ndarray, "h w"]) -> float:
    """The mean gradient along the border of a region, of 255 per pixel. The picture's own edge is no border."""
    kernel = np.ones((3, 3), np.uint8)
    mask = inside.astype(np.uint8)
    border = (cv2.dilate(mask, kernel) - cv2.erode(mask, kernel, borderValue=1)) > 0
    values = picture.astype(np.float32)
    dx, dy = cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)
    strength = np.sqrt(np.square(dx) + np.square(dy)).max(axis=2)
    return float(strength[border].mean()) if border.any() else 0.0


def _shown(stack: Stack, look: Pixels, inside: Bool[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, " t"]:
    """In which frames most of the region looks like this."""
    spots = np.flatnonzero(inside)
    spots = spots[:: max(1, len(spots) // 400)]
    values = stack.reshape(len(stack), -1, 3)[:, spots].astype(np.int16)
    same = np.abs(values - look.reshape(-1, 3)[spots].astype(np.int16)).max(axis=2) <= radius
    return same.mean(axis=1) >= 0.6


def _surrounds(shown: Bool[np.ndarray, " t"], other: Bool[np.ndarray, " t"]) -> bool:
    """Whether this version is seen both before the other's first and after its last time."""
    first, second = np.flatnonzero(shown), np.flatnonzero(other)
    return bool(len(first) and len(second) and first[0] < second[0] and first[-1] > second[-1])


def _rendered(frames: list[Pixels], label: Int64[np.ndarray, "small_h small_w"], radius: int) -> Pixels:
    """The plate at full size, tile by tile: the mean of the frames that look like each pixel's label."""
    height, width = frames[0].shape[:2]
    large = cv2.resize(label.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    plate = np.empty_like(frames[0])
    # Full size has the noise that the small frames' averaging took away.
    wide = min(45, round(1.6 * radius))
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            box = np.s_[top : top + _TILE, left : left + _TILE]
            tiles = np.stack([frame[box] for frame in frames])
            look = np.take_along_axis(tiles, large[box].astype(np.intp)[None, ..., None], axis=0)[0]
            for _ in range(2):
                look = _mean_like(tiles, look, wide)
            plate[box] = look
    return plate


def _mean_like(tiles: Stack, look: Pixels, radius: int) -> Pixels:
    """The mean over time of what looks like `look`."""
    total, count = np.zeros(look.shape, np.float32), np.zeros(look.shape[:2], np.float32)
    for tile in tiles:
        like = cv2.absdiff(tile, look).max(axis=2) <= radius
        total += np.where(like[..., None], tile, 0)
        count += like
    return np.where(count[..., None] > 0, total / np.maximum(count, 1)[..., None] + 0.5, look).astype(np.uint8)
