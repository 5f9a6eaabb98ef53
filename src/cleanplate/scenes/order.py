"""The order in which a run asks for scenes.

Contract: an order is an infinite sequence of batches of (epoch, index): each epoch is one seeded permutation, batches
are always full (the next epoch completes the last), any step is reached without counting up to it, and the ranks of a
run share each batch without losing or repeating a sample.

`SizedOrder` adds the side of the scenes. With n sides, every n steps are one block, in which each side comes once, in
an order that the seed and the block's number decide; so the side of a step, and how many samples came before it, are
found at once. A side s has batch x (size / s)^2 samples per step and process, at least `LEAST`: every step shows the
network about as many pixels, and takes about as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from cleanplate.scenes.records import ORDER, SIZES, generator
from cleanplate.types import InputError

STORED_ORDER = 10_000_000
"""Up to so many scenes an epoch's permutation is an array; beyond, it is computed per index."""
LEAST = 4
"""Samples per step and process; fewer would leave batch norm too little to compare."""

Place = tuple[int, ...]
"""What a sample is asked for by: (epoch, index), or (epoch, index, side) where scenes of several sides take turns."""


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

    def span(self, number: int) -> tuple[int, int]:
        """How many samples came before this step, and how many have when it is done, over all ranks."""
        return number * self.batch, (number + 1) * self.batch

    def steps_of(self, samples: int) -> int:
        """The fewest steps that hold so many samples."""
        return -(-samples // self.batch)

    def step(self, number: int) -> list[Place]:
        """The (epoch, index) pairs that this rank trains on in the given step."""
        first, last = self.span(number)
        mine = range(first + self.rank, last, self.world)
        places = (divmod(place, self.length) for place in mine)
        return [(epoch, self.scene_at(epoch, place)) for epoch, place in places]

    def scene_at(self, epoch: int, place: int) -> int:
        """The scene that comes at this place, 0 <= place < length, of the epoch."""
        return shuffled(place, self.length, self.seed, epoch)

    def __iter__(self) -> Iterator[list[Place]]:
        number = self.start_step
        while True:
            yield self.step(number)
            number += 1


class SizedOrder(SampleOrder):
    """As `SampleOrder`, but of (epoch, index, side). batch: samples per step of scenes of `size`, over all ranks.

    sides: the sides that take turns, pixels; one named twice comes twice per block.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        *,
        size: int,
        sides: tuple[int, ...],
    ) -> None:
        super().__init__(length, batch, seed, start_step, rank, world)
        self.sides = sides
        own = batch // world
        counts = [world * max(min(LEAST, own), round(own * (size / side) ** 2)) for side in sides]
        self._counts = np.array(counts, np.int64)

    def side(self, number: int) -> int:
        """The side of the scenes of this step, pixels."""
        block, place = divmod(number, len(self.sides))
        return self.sides[self._turns(block)[place]]

    def span(self, number: int) -> tuple[int, int]:
        block, place = divmod(number, len(self.sides))
        counts = self._counts[self._turns(block)]
        first = block * int(counts.sum()) + int(counts[:place].sum())
        return first, first + int(counts[place])

    def steps_of(self, samples: int) -> int:
        step = samples // int(self._counts.sum()) * len(self.sides)
        while self.span(step)[0] < samples:
            step += 1
        return step

    def step(self, number: int) -> list[Place]:
        side = self.side(number)
        return [(*place, side) for place in super().step(number)]

    def _turns(self, block: int) -> np.ndarray:
        """The order in which the sides come in this block."""
        return generator(SIZES, self.seed, block).permutation(len(self.sides))


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
