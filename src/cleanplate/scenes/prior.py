"""The plate's depth as the network gets it: withheld, or as a sensor or a teacher would give it.

Contract: outside the mask the plate's depth equals the answer, so a network that could trust it would learn to copy.
`draw_prior` draws a `Prior` record; `corrupt_depth` applies it: holes, noise, a shift, a wrong scale, edges that bleed,
a coarser grid. 0 = unknown stays 0; a withheld prior is all 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cleanplate.scenes.records import PRIORS, between, chance, generator, normal
from cleanplate.types import Depth


@dataclass(frozen=True)
class Prior:
    """seed: which holes and noise. given: False = withheld. holes: share unknown. noise: relative deviation.

    x, y: shift in px of a 128 px canvas. scale: factor. bleed: px; > 0 the far side grows over edges, < 0 the near one.
    grid: coarser by this factor.
    """

    seed: int
    given: bool
    holes: float = 0.0
    noise: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    bleed: int = 0
    grid: int = 1


def draw_prior(share: float, *key: int) -> Prior:
    """The prior of one sample, from the integers of the key alone; given in this share of samples."""
    rng = generator(PRIORS, *key)
    seed = int(rng.integers(1 << 31))
    if not chance(rng, share):
        return Prior(seed, given=False)
    return Prior(
        seed,
        given=True,
        holes=between(rng, 0, 0.4) if chance(rng, 0.5) else 0.0,
        noise=between(rng, 0, 0.03) if chance(rng, 0.6) else 0.0,
        x=normal(rng, 1.0) if chance(rng, 0.5) else 0.0,
        y=normal(rng, 1.0) if chance(rng, 0.5) else 0.0,
        scale=between(rng, 0.95, 1.05) if chance(rng, 0.5) else 1.0,
        bleed=int(rng.integers(-2, 3)) if chance(rng, 0.4) else 0,
        grid=int(rng.integers(2, 5)) if chance(rng, 0.25) else 1,
    )


def corrupt_depth(prior: Prior, plate_depth: Depth) -> Depth:
    """The plate's depth (metres, 0 = unknown) as the record has it; noise and scale make nothing known."""
    if not prior.given:
        return np.zeros_like(plate_depth)
    height, width = plate_depth.shape
    depth = plate_depth
    if prior.grid > 1:
        small = max(1, width // prior.grid), max(1, height // prior.grid)
        depth = cv2.resize(depth, small, interpolation=cv2.INTER_NEAREST)
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
    if prior.bleed:
        grow = cv2.dilate if prior.bleed > 0 else cv2.erode
        side = 2 * abs(prior.bleed) + 1
        depth = np.where(depth > 0, grow(depth, np.ones((side, side), np.uint8)), np.float32(0))
    unit = min(height, width) / 128
    if prior.x or prior.y:
        matrix = np.array([[1, 0, round(prior.x * unit)], [0, 1, round(prior.y * unit)]], np.float64)
        depth = cv2.warpAffine(depth, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    rng = generator(PRIORS, prior.seed)
    factor = np.float32(prior.scale)
    if prior.noise:
        # a sensor's noise comes in spots; 2 x 2 of them also cost a quarter
        spots = rng.standard_normal(((height + 1) // 2, (width + 1) // 2), dtype=np.float32)
        noise = cv2.resize(np.clip(spots, -3, 3), (width, height), interpolation=cv2.INTER_NEAREST)
        factor = factor * (1 + np.float32(prior.noise) * noise)
    depth = depth * factor
    if prior.holes:
        blobs = cv2.resize(rng.random((9, 9), dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        depth[blobs < np.quantile(blobs[::4, ::4], prior.holes)] = 0
    return np.ascontiguousarray(depth, dtype=np.float32)
