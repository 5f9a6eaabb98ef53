"""Baselines: what classical methods make of the same plates and frames.

Masks:

- difference: foreground where the largest channel difference |frame - plate| reaches 25 of 255, one threshold for all;
- difference_best: the same with the threshold of the best mean F1 on the very data that it is judged on: an upper
  bound for every fixed threshold;
- mog2, knn: OpenCV's background subtractors (Zivkovic, 2004; Zivkovic and van der Heijden, 2006) with their own
  settings, for captured scenes of at least 10 frames. They live on a pixel's variance, which a still plate does not
  have, so they are shown the plate 20 times, each time with fresh noise of a camera (normal, standard deviation 5 of
  255, seeded), then the frames in order. They go on learning from the frames, mog2 at a rate of 0.01 and knn at
  0.1, so that they follow the light; what stands still for about ten frames fades into their background. Pixels that
  they call shadow (127) count as background. Noise, times and rates were chosen in their favour, on a road with true
  masks. A rate of 0 would not freeze knn: OpenCV then takes its fastest one.

Depths:

- plate_depth: the plate's depth, copied: right wherever nothing stands;
- plate_depth_contact: the same, but each connected component of the model's mask has one depth, the median of the
  plate's along the component's lowest row of pixels: where its foot touches the floor;
- mean_depth: exp of the mean of ln z over up to 100 of the model's training plates, pixel by pixel: what a guesser
  knows who looks at neither picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from cleanplate.pictures.frames import read_depth
from cleanplate.pictures.library import Picture
from cleanplate.types import Alpha, Depth, Pixels

Difference = UInt8[np.ndarray, "h w"]

NAMES = ("difference", "difference_best", "mog2", "knn", "plate_depth", "plate_depth_contact", "mean_depth")
THRESHOLD = 25
LEAST_FRAMES = 10
PLATE_TIMES, PLATE_NOISE = 20, 5.0
RATES = {"mog2": 0.01, "knn": 0.1}
"""How fast each subtractor learns from the frames, 0..1."""
MEAN_PLATES, MEAN_SIDE = 100, 128


def difference(plate: Pixels, frame: Pixels) -> Difference:
    """The largest channel difference of each pixel, 0..255. Both pictures have the same size."""
    return cv2.absdiff(plate, frame).max(axis=2)


def threshold_mask(values: Difference, threshold: int) -> Alpha:
    """1 where the difference reaches the threshold, else 0."""
    return (values >= threshold).astype(np.float32)


class Histograms:
    """Counts of differences inside and outside the true masks, per scene: what every threshold would score there."""

    def __init__(self) -> None:
        self._counts: dict[str, Int64[np.ndarray, "2 256"]] = {}

    def add(
        self, scene: str, values: Difference, truth: Bool[np.ndarray, "h w"], judged: Bool[np.ndarray, "h w"]
    ) -> Int64[np.ndarray, "2 256"]:
        """Count a frame of this scene, and return its own counts; pixels that are not judged count nowhere."""
        inside = np.bincount(values[judged & truth], minlength=256)
        outside = np.bincount(values[judged & ~truth], minlength=256)
        counts = np.stack([inside, outside])
        self._counts[scene] = self._counts.get(scene, np.zeros((2, 256), np.int64)) + counts
        return counts

    def f1(self) -> Float64[np.ndarray, " 256"]:
        """Mean F1 of the scenes that have a foreground, for each threshold 0..255; zeros if there is none."""
        with_foreground = [counts for counts in self._counts.values() if counts[0].any()]
        if not with_foreground:
            return np.zeros(256)
        counts = np.stack(with_foreground).astype(np.float64)
        reached = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]
        hits, false = reached[:, 0], reached[:, 1]
        return (2 * hits / (counts[:, 0].sum(axis=-1, keepdims=True) + hits + false)).mean(axis=0)

    def best(self) -> int:
        """The lowest threshold with the best mean F1; THRESHOLD where no scene has a foreground."""
        f1 = self.f1()
        return int(f1.argmax()) if f1.any() else THRESHOLD


def subtractor_masks(
    name: Literal["mog2", "knn"],
    plate: Pixels,
    frames: Iterable[Pixels],
    times: int = PLATE_TIMES,
    noise: float = PLATE_NOISE,
) -> Iterator[Alpha]:
    """The mask of each frame of a sequence, in order, 0 or 1; the same for the same pictures."""
    create = {"mog2": cv2.createBackgroundSubtractorMOG2, "knn": cv2.createBackgroundSubtractorKNN}[name]
    subtractor = create(detectShadows=True)
    for noisy in noisy_plates(plate, times, noise):
        subtractor.apply(noisy)
    for frame in frames:
        yield (subtractor.apply(frame, learningRate=RATES[name]) == 255).astype(np.float32)


def noisy_plates(plate: Pixels, times: int, noise: float) -> Iterator[Pixels]:
    """The plate with fresh noise, several times, the same at every call. noise: deviation, of 255."""
    rng = np.random.default_rng(0)
    for _ in range(times):
        noisy = plate + rng.normal(0, noise, plate.shape)
        yield np.clip(noisy + 0.5, 0, 255).astype(np.uint8)


def contact_depth(mask: Bool[np.ndarray, "h w"], plate_depth: Depth) -> Depth:
    """The plate's depth, each component of the mask at that of its lowest row (unchanged where unknown there)."""
    depth = plate_depth.copy()
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        left, top, width, height = boxes[label, :4]
        box = np.s_[top : top + height, left : left + width]
        inside = labels[box] == label
        foot = plate_depth[box][-1][inside[-1]]
        if (foot > 0).any():
            depth[box][inside] = np.median(foot[foot > 0])
    return depth


class MeanDepth:
    """The mean ln depth of some plates on a small grid; call it with a size for a depth map of that size."""

    def __init__(self, plates: Sequence[Picture]) -> None:
        total, known = np.zeros((2, MEAN_SIDE, MEAN_SIDE))
        usable = [plate for plate in plates if plate.depth_path is not None]
        for plate in usable[:: max(1, -(-len(usable) // MEAN_PLATES))]:
            depth = read_depth(plate.depth_path, plate.depth_unit_m or 1.0, plate.depth_unknown)  # ty: ignore[invalid-argument-type]
            small = cv2.resize(depth, (MEAN_SIDE, MEAN_SIDE), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.float64)
            total += np.log(small, out=np.zeros_like(small), where=small > 0)
            known += small > 0
        self.empty: bool = not known.any()
        mean = total.sum() / max(known.sum(), 1)
        self._log = np.where(known > 0, total / np.maximum(known, 1), mean).astype(np.float32)

    def __call__(self, height: int, width: int) -> Depth:
        """Depth [height, width] in the plates' unit, everywhere > 0."""
        return np.exp(cv2.resize(self._log, (width, height), interpolation=cv2.INTER_LINEAR))
