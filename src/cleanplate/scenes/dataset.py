"""The live dataset: scenes composed while the network trains, and the order in which they come.

Contract: `LiveScenes[(epoch, index)]` is a pure function of (pictures, plan, seed, epoch, index): an epoch shows the
same scenes (recipes) with fresh camera effects. `SampleOrder` is an infinite sequence of batches of such pairs: each
epoch is one seeded permutation, batches are always full (the next epoch completes the last), any step is reached
without counting up to it, and the ranks of a run share each batch without losing or repeating a sample. So a run that
goes on at step k sees exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import DataLoader, Dataset

from cleanplate.pictures.library import Picture
from cleanplate.scenes.camera import EffectsName, apply_effects, draw_effects
from cleanplate.scenes.compose import compose
from cleanplate.scenes.prior import corrupt_depth, draw_prior
from cleanplate.scenes.recipe import make_plan, recipe
from cleanplate.scenes.records import ORDER, generator
from cleanplate.scenes.stock import Stock
from cleanplate.settings import PlanSettings
from cleanplate.types import InputError, Pixels, Scene

STORED_ORDER = 10_000_000
"""Up to so many scenes an epoch's permutation is an array; beyond, it is computed per index."""


Sample = dict[str, np.ndarray]
"""One sample. plate, frame [3, h, w] and alpha [1, h, w]: uint8, 0..255. depth, plate_depth [1, h, w]: float32 metres,
0 = unknown; a plate_depth of zeros is withheld."""


class LiveScenes(Dataset):
    """Scenes made of these pictures, composed when asked for.

    size: side of the square canvas, or (height, width), pixels. scenes: only so many, spread evenly over the plan.
    greyscale: three equal channels. prior_share: share of samples that carry the plate's depth.
    """

    def __init__(
        self,
        plates: tuple[Picture, ...],
        cutouts: tuple[Picture, ...],
        *,
        size: int | tuple[int, int],
        plan: PlanSettings,
        effects: EffectsName,
        seed: int,
        scenes: int | None = None,
        greyscale: bool = False,
        prior_share: float = 0.5,
    ) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if min(self.height, self.width) < 1:
            raise InputError(f"scenes of {self.width} x {self.height} pixels; expected at least 1 x 1")
        self.plan = make_plan(plates, cutouts, plan, seed, scenes, aspect=self.width / self.height)
        self.stock = Stock(plates, cutouts, max(self.height, self.width))
        self.effects: EffectsName = effects
        self.greyscale, self.prior_share = greyscale, prior_share

    def __len__(self) -> int:
        return len(self.plan)

    def scene(self, index: int) -> Scene:
        """The index-th scene before any camera effect."""
        return compose(recipe(self.plan, index, self.stock), self.stock, self.height, self.width)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        epoch, number = index
        key = self.plan.seed, epoch, number
        return taken(self.scene(number), self.effects, key, self.greyscale, self.prior_share)

    def order(self, batch: int, seed: int, start_step: int = 0, rank: int = 0, world: int = 1) -> SampleOrder:
        """The order in which training asks for these scenes."""
        return SampleOrder(len(self), batch, seed, start_step, rank, world)


def taken(
    scene: Scene,
    effects: EffectsName,
    key: tuple[int, int, int],
    greyscale: bool = False,
    prior_share: float = 0.5,
    truth: Scene | None = None,
) -> Sample:
    """The sample that a camera takes of a scene; its effects and its prior are drawn from (seed, epoch, number).

    greyscale: three equal channels. prior_share: share of samples that carry the plate's depth. truth: the same scene
    with the depth to be learned, where that is not the one that the scene was composed in.
    """
    truth = scene if truth is None else truth
    plate, frame = apply_effects(draw_effects(effects, *key), scene)
    prior = corrupt_depth(draw_prior(prior_share, *key), truth.plate_depth)
    return {
        "plate": _planes(plate, greyscale),
        "frame": _planes(frame, greyscale),
        "alpha": scene.alpha[None],
        "depth": truth.depth[None],
        "plate_depth": prior[None],
    }


def _planes(pixels: Pixels, greyscale: bool) -> UInt8[np.ndarray, "3 h w"]:
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    if greyscale:
        planes[:] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    else:
        cv2.split(pixels, list(planes))  # four times faster than a transposed copy
    return planes


class SampleOrder:
    """An infinite batch sampler: iterating gives lists of (epoch, index), one list per step from `start_step` on.

    length: scenes per epoch. batch: samples per step over all ranks. Of each step's batch, rank r of `world` gets the
    samples r, r + world, ...
    """

    def __init__(self, length: int, batch: int, seed: int, start_step: int = 0, rank: int = 0, world: int = 1) -> None:
        if length < 1 or batch < 1 or not 0 <= rank < world or batch % world:
            raise InputError(
                f"{length} scenes in batches of {batch} over {world} processes; expected at least one scene and a "
                f"batch that the processes can share evenly: choose a multiple of {world}"
            )
        self.length, self.batch, self.seed, self.start_step = length, batch, seed, start_step
        self.rank, self.world = rank, world

    def step(self, number: int) -> list[tuple[int, int]]:
        """The (epoch, index) pairs that this rank trains on in the given step."""
        first = number * self.batch
        mine = range(first + self.rank, first + self.batch, self.world)
        places = (divmod(place, self.length) for place in mine)
        return [(epoch, self.scene_at(epoch, place)) for epoch, place in places]

    def scene_at(self, epoch: int, place: int) -> int:
        """The scene that comes at this place, 0 <= place < length, of the epoch."""
        return shuffled(place, self.length, self.seed, epoch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        number = self.start_step
        while True:
            yield self.step(number)
            number += 1


def shuffled(place: int, length: int, seed: int, epoch: int) -> int:
    """The scene at this place of the epoch's permutation of 0..length-1."""
    if length <= STORED_ORDER:
        return int(_permutation(length, seed, epoch)[place])
    return _feistel(place, length, seed, epoch)


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return generator(ORDER, seed, epoch).permutation(length)


def _feistel(place: int, length: int, seed: int, epoch: int) -> int:
    """A permutation computed per element: a four-round Feistel network on 2k bits, walked until it lands below length.

    (Black and Rogaway, Ciphers with arbitrary finite domains, 2002.) Fewer than four steps on average.
    """
    half = (max(length - 1, 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    keys = _round_keys(seed, epoch)
    while True:
        left, right = place >> half, place & mask
        for key in keys:
            mixed = (right * 0x9E3779B97F4A7C15 + key) & 0xFFFFFFFFFFFFFFFF
            mixed = ((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ ((mixed >> 32) & mask)
        place = left << half | right
        if place < length:
            return place


@lru_cache(maxsize=2)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(int(key) for key in generator(ORDER, seed, epoch).integers(0, 1 << 63, 4))


def loader(dataset: Dataset, order: SampleOrder, workers: int) -> DataLoader:
    """Batches of the order's samples as tensors, made by this many processes (0: by this one)."""
    if workers == 0:
        return DataLoader(dataset, batch_sampler=order, collate_fn=collate)
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=4,
        worker_init_fn=_start_worker,
    )


def _start_worker(_: int) -> None:
    # a worker is one core's work: threads of its libraries would only fight the network for the others
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Stack samples into tensors [b, c, h, w], types kept."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}


@dataclass(frozen=True)
class Batch:
    """Samples on a device. plate, frame, alpha: 0..1. depth, plate_depth: metres, 0 = unknown."""

    plate: Float[torch.Tensor, "b 3 h w"]
    frame: Float[torch.Tensor, "b 3 h w"]
    alpha: Float[torch.Tensor, "b 1 h w"]
    depth: Float[torch.Tensor, "b 1 h w"]
    plate_depth: Float[torch.Tensor, "b 1 h w"]


def to_float(batch: dict[str, torch.Tensor], device: torch.device | str) -> Batch:
    """A collated batch on the device, pictures and alpha as float 0..1 (moved as bytes, converted there)."""
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    unit = {name: moved[name].float() / 255 for name in ("plate", "frame", "alpha")}
    return Batch(**unit, depth=moved["depth"], plate_depth=moved["plate_depth"])
