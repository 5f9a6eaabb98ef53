"""Captured pairs as scenes: what two real (or rendered) pictures of one room teach, in place of a composed scene.

Contract: `CapturedPairs[(epoch, number)]` gives what `LiveScenes` gives and is as pure a function of (pairs, seed,
epoch, number): pair `number` modulo their count, a part of it drawn as a plate's view is, mirrored or not, under fresh
camera effects. A captured frame has its own shadows and light and no layers, so effects that act on a layer do nothing;
its recipe says what is shown, by a camera of usual focal length, and that nothing was placed there.
Metres stay metres whatever part is shown, as in composed scenes.

`MixedScenes` puts them in a seeded share of the places of an epoch of composed scenes; its length stays theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from torch.utils.data import Dataset

from cleanplate.pictures.library import DEFAULT_FOCAL
from cleanplate.pictures.pairs import Pair, read_pair
from cleanplate.scenes.camera import EffectsName
from cleanplate.scenes.dataset import LiveScenes, Sample, taken
from cleanplate.scenes.order import Place, SampleOrder
from cleanplate.scenes.placement import View, draw_view
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.records import CAPTURED, chance, generator, shortened
from cleanplate.scenes.stock import PLATE_SCALE, halved, rectangle, resized
from cleanplate.settings import EffectKind, PlanSettings
from cleanplate.types import Depth, Pixels, Scene

BUDGET = 512_000_000
"""Bytes that decoded pairs may take together in one process; beyond, the longest unused are read again."""
ZOOM = (0.5, 1.0)
"""Range of the part of a pair that a training scene shows, as a share of its side."""


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A pair's pictures. front: the frame and, as a fourth channel, alpha. Depths: metres, 0 = unknown."""

    plate: Pixels
    front: UInt8[np.ndarray, "h w 4"]
    depth: Depth
    plate_depth: Depth

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in (self.plate, self.front, self.depth, self.plate_depth))


class CapturedPairs(Dataset):
    """Scenes cut from these pairs, every one of which has a mask that judges all pixels.

    size: side of the square canvas, pixels. largest: the largest side that will be asked for (None = size).
    whole: show each pair as a whole and never mirrored, as validation does. Others as `LiveScenes`.
    """

    def __init__(
        self,
        pairs: tuple[Pair, ...],
        *,
        size: int,
        effects: EffectsName,
        seed: int,
        largest: int | None = None,
        whole: bool = False,
        greyscale: bool = False,
        prior_share: float = 0.5,
        without: tuple[EffectKind, ...] = (),
    ) -> None:
        self.pairs, self.size, self.seed, self.whole = pairs, size, seed, whole
        self.effects: EffectsName = effects
        self.greyscale, self.prior_share, self.without = greyscale, prior_share, without
        self._longest = round(PLATE_SCALE * (largest or size))
        self._kept: OrderedDict[int, _Decoded] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Place) -> Sample:
        epoch, number, *sides = index
        key = self.seed, epoch, number
        scene = self.scene(key, sides[0] if sides else self.size)
        return taken(scene, self.effects, key, self.greyscale, self.prior_share, without=self.without)

    def scene(self, key: tuple[int, int, int], side: int) -> Scene:
        """What (seed, epoch, number) shows of pair `number` before any camera effect, side x side pixels."""
        number = key[2] % len(self.pairs)
        pair = self._pair(number)
        rng = generator(CAPTURED, *key)
        aspect = pair.plate.shape[1] / pair.plate.shape[0]
        view = View() if self.whole else draw_view(rng, _ANY_PART, aspect, 1.0)
        part = rectangle(view.box, pair.plate.shape)
        front = fitted(pair.front[part], side, side)
        plate = fitted(pair.plate[part], side, side)
        depth, plate_depth = (_nearest(depth[part], side, side) for depth in (pair.depth, pair.plate_depth))
        arrays = plate, front[..., :3], front[..., 3], plate_depth, depth
        if not self.whole and chance(rng, 0.5):
            arrays = tuple(array[:, ::-1] for array in arrays)
            view = replace(view, x=shortened(1 - view.x - view.width))
        plate, frame, alpha, plate_depth, depth = map(np.ascontiguousarray, arrays)
        recipe = Recipe(number, self.pairs[number].scene, view, DEFAULT_FOCAL * aspect, aspect, None, ())
        return Scene(plate, frame, alpha, plate_depth, depth, (), recipe.to_json())

    def _pair(self, number: int) -> _Decoded:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        self._kept[number] = decoded = _decode(self.pairs[number], self._longest)
        self._bytes += decoded.bytes
        while self._bytes > BUDGET and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].bytes
        return decoded


_ANY_PART = PlanSettings(zoom=ZOOM)


class MixedScenes(Dataset):
    """Composed scenes, but in this share of places (seeded) captured pairs."""

    def __init__(self, composed: LiveScenes, captured: CapturedPairs, share: float) -> None:
        self.composed, self.captured, self.share = composed, captured, share

    def __len__(self) -> int:
        return len(self.composed)

    def __getitem__(self, index: Place) -> Sample:
        rng = generator(CAPTURED, self.captured.seed, *index[:2], 1)
        return (self.captured if chance(rng, self.share) else self.composed)[index]

    def order(self, batch: int, seed: int, start_step: int = 0, rank: int = 0, world: int = 1) -> SampleOrder:
        """The order in which training asks for these scenes."""
        return self.composed.order(batch, seed, start_step, rank, world)


def fitted(pixels: UInt8[np.ndarray, "_ _ c"], height: int, width: int) -> UInt8[np.ndarray, "_ _ c"]:
    """A picture at another size without aliasing: halved while it is twice as large, then bilinear."""
    while pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        pixels = halved(pixels)
    return resized(pixels, height, width)


def _nearest(depth: Float32[np.ndarray, "_ _"], height: int, width: int) -> Float32[np.ndarray, "_ _"]:
    return cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _decode(pair: Pair, longest: int) -> _Decoded:
    """Read a pair, at most `longest` pixels on its longer side."""
    read = read_pair(pair)
    assert read.alpha is not None  # open_teaching leaves out the others
    front = np.dstack([read.frame, (read.alpha * 255 + np.float32(0.5)).astype(np.uint8)])
    unknown = np.zeros(front.shape[:2], np.float32)
    scale = min(1.0, longest / max(front.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in front.shape[:2])
    depth, plate_depth = (
        _nearest(unknown if depth is None else depth, height, width) for depth in (read.depth, read.plate_depth)
    )
    return _Decoded(fitted(read.plate, height, width), fitted(front, height, width), depth, plate_depth)
