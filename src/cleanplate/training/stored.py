"""Stored scenes as training reads them, and an order that is both shuffled and quick to read.

Contract: `StoredScenes[(epoch, number)]` is a pure function of (dataset, seed, epoch, number) and gives what
`LiveScenes` gives: the number-th scene of a part, under camera effects drawn afresh for every epoch. A dataset is read
by row groups, so `WindowOrder` shuffles in two steps: an epoch permutes the row groups, takes `window` of them at a
time and permutes the scenes of these. Every scene comes exactly once per epoch; batches are full and go on across
epochs; any step is found without counting up to it; it does not matter how many processes read. A reader keeps the row
groups of about one window, so its memory does not grow with the dataset.

Smaller scenes than stored are made before any effect, so that lengths of effects are those of the canvas that the
network sees: pictures and alpha as the stock makes smaller pictures (halved, then bilinear), depth from the nearest
pixel.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from jaxtyping import Int64, UInt8
from torch.utils.data import Dataset as MapDataset

from cleanplate.labels.labels import Labels
from cleanplate.pictures.split import Part
from cleanplate.scenes.camera import EffectsName
from cleanplate.scenes.compose import whole_alpha, whole_depth
from cleanplate.scenes.dataset import Sample, taken
from cleanplate.scenes.order import Place, SampleOrder
from cleanplate.scenes.records import ORDER, generator
from cleanplate.settings import EffectKind
from cleanplate.shards.format import GROUP
from cleanplate.shards.identity import Shard
from cleanplate.shards.reading import Dataset, Row, StoredShard
from cleanplate.types import InputError, Layer, Pixels, Scene

WINDOW = 32
"""Row groups whose scenes are shuffled together."""
SPARE = 4
"""Row groups kept beyond a window: a batch may lie across two."""
VIEWS = 4
"""Views of plates in a row group; only an expectation, of which it depends how often a plate is made smaller."""

Kept = TypeVar("Kept")


class StoredScenes(MapDataset):
    """The scenes of one part of a stored dataset.

    size: side of the square scenes, pixels; None = as stored. scenes: use only so many, spread evenly. labels: depth
    that takes the place of the stored one. window: row groups kept in memory, and shuffled together by `order`. Others
    as `LiveScenes`. Raises InputError when the part has no scenes or larger ones are asked for than are stored; a
    missing shard is an InputError where it is read.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        *,
        size: int | None = None,
        effects: EffectsName,
        seed: int,
        scenes: int | None = None,
        greyscale: bool = False,
        prior_share: float = 0.5,
        labels: Labels | None = None,
        window: int = WINDOW,
        without: tuple[EffectKind, ...] = (),
    ) -> None:
        self.dataset, self.part, self.window = dataset, part, window
        place, identity = dataset.store.place, dataset.identity
        self.stored, self.size = identity.scenes[part], identity.size if size is None else size
        if not self.stored:
            raise InputError(
                f"{place} has no {part} scenes (it has {identity.scenes}); compose a dataset of more plates and "
                "cutouts, of more scenes, or without what leaves this part empty"
            )
        if not 1 <= self.size <= identity.size:
            raise InputError(
                f"{place} holds scenes of {identity.size} px, {self.size} px are asked for; give --size 1 to "
                f"{identity.size}, or compose a dataset with --size {self.size}"
            )
        if scenes is not None and scenes < 1:
            raise InputError(f"--scenes must be at least 1, got {scenes}")
        self._length = self.stored if scenes is None else min(scenes, self.stored)
        self.effects: EffectsName = effects
        self.seed, self.greyscale, self.prior_share, self.labels = seed, greyscale, prior_share, labels
        self.without = without
        self._forget()

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_shards", "_groups", "_plates")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def row(self, number: int) -> int:
        """Where the number-th scene lies in its part: with all scenes, there."""
        if not 0 <= number < len(self):
            raise IndexError(f"scene {number} of {len(self)}")
        return number * self.stored // len(self)

    def groups(self) -> Int64[np.ndarray, " groups"]:
        """How many of these scenes lie in each row group of the part, in order."""
        rows = self.dataset.identity.rows
        starts = np.arange(0, self.stored, rows)[:, None] + np.arange(0, rows, GROUP)
        edges = np.append(starts[starts < self.stored], self.stored)
        return np.diff(-(-edges * len(self) // self.stored))

    def scene(self, number: int) -> Scene:
        """The number-th scene before any camera effect. Its arrays may be shared: not to be written to."""
        return self._scenes(number)[1]

    def __getitem__(self, index: Place) -> Sample:
        epoch, number = index[:2]
        stored, scene = self._scenes(number)
        draw = self.seed, epoch, number
        return taken(stored, self.effects, draw, self.greyscale, self.prior_share, truth=scene, without=self.without)

    def _scenes(self, number: int) -> tuple[Scene, Scene]:
        """The scene with the depth it was composed in, where shadows fall; and with the label's, where there is one."""
        shard, row = self.stored_row(number)
        stored = row.scene(shard)
        scene = stored if self.labels is None else self.labels.apply(stored, shard, row)
        if self.size == self.dataset.identity.size:
            return stored, scene
        plate = self._plates.get((shard.shard, row.plate), lambda: smaller_picture(stored.plate, self.size))
        small = smaller(stored, plate)
        return small, small if scene is stored else smaller(scene, plate)

    def order(self, batch: int, seed: int, start_step: int = 0, rank: int = 0, world: int = 1) -> WindowOrder:
        """The order in which training asks for these scenes."""
        return WindowOrder(self.groups(), batch, seed, start_step, rank, world, self.window)

    def stored_row(self, number: int) -> tuple[StoredShard, Row]:
        """The number-th scene as it is stored, and the open shard that it lies in."""
        if self._process != os.getpid():
            self._forget()  # a forked process must not share open files with its parent
        shard_number, place = divmod(self.row(number), self.dataset.identity.rows)
        group, place = divmod(place, GROUP)
        shard = self._shards.get(shard_number, lambda: self.dataset.open(Shard(self.part, shard_number)))
        return shard, self._groups.get((shard_number, group), lambda: shard.read(group))[place]

    def _forget(self) -> None:
        self._process = os.getpid()
        self._shards: Recent[StoredShard] = Recent(self.window + SPARE)
        self._groups: Recent[list[Row]] = Recent(self.window + SPARE)
        self._plates: Recent[Pixels] = Recent(VIEWS * (self.window + SPARE))


class Recent(Generic[Kept]):
    """The `most` things that were used last, made when they are not there."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is kept under this key, made if need be; the longest unused is dropped for it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        self._kept[key] = made = make()
        return made


def smaller(scene: Scene, plate: Pixels) -> Scene:
    """The scene on a smaller square canvas, that of its plate as `smaller_picture` made it."""
    size = len(plate)
    layers = tuple(Layer(smaller_picture(layer.alpha, size), _nearest(layer.depth, size)) for layer in scene.layers)
    alpha, plate_depth = whole_alpha(layers, (size, size)), _nearest(scene.plate_depth, size)
    depth = whole_depth(layers, alpha, plate_depth)
    return Scene(plate, smaller_picture(scene.frame, size), alpha, plate_depth, depth, layers, scene.recipe)


def smaller_picture(pixels: UInt8[np.ndarray, "*shape"], size: int) -> UInt8[np.ndarray, "*smaller"]:
    """A square picture or alpha, size x size, without aliasing: below twice the size bilinear reads every pixel."""
    while len(pixels) >= 2 * size:
        pixels = _bilinear(pixels, -(-len(pixels) // 2))
    return _bilinear(pixels, size)


def _bilinear(pixels: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)


def _nearest(depth: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(depth, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


class WindowOrder(SampleOrder):
    """As `SampleOrder`, for scenes that are read by groups of neighbours.

    groups: scenes in each row group, in order. window: groups whose scenes are shuffled together. Memory: 32 bytes per
    row group.
    """

    def __init__(
        self,
        groups: Sequence[int] | Int64[np.ndarray, " groups"],
        batch: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        window: int = WINDOW,
    ) -> None:
        self._sizes = np.asarray(groups, np.int64)
        super().__init__(int(self._sizes.sum()), batch, seed, start_step, rank, world)
        self.window = window
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._epoch: tuple[int, np.ndarray, np.ndarray] | None = None
        self._scenes: tuple[tuple[int, int], np.ndarray] | None = None

    def scene_at(self, epoch: int, place: int) -> int:
        """The scene that comes at this place, 0 <= place < length, of the epoch."""
        order, ends = self._ordered(epoch)
        number = int(np.searchsorted(ends, place, side="right"))
        first = 0 if number == 0 else int(ends[number - 1])
        return int(self._shuffled(epoch, number, order)[place - first])

    def _ordered(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's permutation of the groups, and the place after each of its windows."""
        if self._epoch is None or self._epoch[0] != epoch:
            order = generator(ORDER, self.seed, epoch).permutation(len(self._sizes))
            ends = np.cumsum(self._sizes[order])
            self._epoch = epoch, order, np.append(ends[self.window - 1 : -1 : self.window], ends[-1])
        return self._epoch[1:]

    def _shuffled(self, epoch: int, number: int, order: np.ndarray) -> np.ndarray:
        """The scenes of one window, shuffled."""
        if self._scenes is None or self._scenes[0] != (epoch, number):
            chosen = order[number * self.window : (number + 1) * self.window]
            scenes = np.concatenate([np.arange(self._starts[g], self._starts[g] + self._sizes[g]) for g in chosen])
            self._scenes = (epoch, number), generator(ORDER, self.seed, epoch, number).permutation(scenes)
        return self._scenes[1]
