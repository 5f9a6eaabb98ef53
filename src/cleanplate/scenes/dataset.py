"""The live dataset: scenes composed while the network trains, and how they become batches.

Contract: `LiveScenes[(epoch, index)]` is a pure function of (pictures, plan, seed, epoch, index): an epoch shows the
same scenes (recipes) with fresh camera effects. `order` says which come when (see `scenes/order.py`). So a run that
goes on at step k sees exactly what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import DataLoader, Dataset

from cleanplate.pictures.library import Picture
from cleanplate.scenes.camera import EffectsName, apply_effects, draw_effects
from cleanplate.scenes.compose import compose
from cleanplate.scenes.order import Place, SampleOrder, SizedOrder
from cleanplate.scenes.prior import corrupt_depth, draw_prior
from cleanplate.scenes.recipe import make_plan, recipe
from cleanplate.scenes.stock import Stock
from cleanplate.settings import EffectKind, PlanSettings
from cleanplate.types import InputError, Pixels, Scene

Sample = dict[str, np.ndarray]
"""One sample. plate, frame [3, h, w] and alpha [1, h, w]: uint8, 0..255. depth, plate_depth [1, h, w]: float32 metres,
0 = unknown; a plate_depth of zeros is withheld."""


class LiveScenes(Dataset):
    """Scenes made of these pictures, composed when asked for.

    size: side of the square canvas, or (height, width), pixels. scenes: only so many, spread evenly over the plan.
    greyscale: three equal channels. prior_share: share of samples that carry the plate's depth.
    sides: further sides that scenes may be asked for in, by (epoch, index, side); `order` then lets them take turns.
    without: families of effects that `train` leaves out.
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
        sides: tuple[int, ...] = (),
        without: tuple[EffectKind, ...] = (),
    ) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if min(self.height, self.width) < 1:
            raise InputError(f"scenes of {self.width} x {self.height} pixels; expected at least 1 x 1")
        self.plan = make_plan(plates, cutouts, plan, seed, scenes, aspect=self.width / self.height)
        self.stock = Stock(plates, cutouts, max(self.height, self.width, *sides))
        self.sides = sides
        self.effects: EffectsName = effects
        self.greyscale, self.prior_share, self.without = greyscale, prior_share, without

    def __len__(self) -> int:
        return len(self.plan)

    def scene(self, index: int) -> Scene:
        """The index-th scene before any camera effect."""
        return compose(recipe(self.plan, index, self.stock), self.stock, self.height, self.width)

    def __getitem__(self, index: Place) -> Sample:
        epoch, number, *sides = index
        key = self.plan.seed, epoch, number
        height, width = sides * 2 or (self.height, self.width)
        scene = compose(recipe(self.plan, number, self.stock), self.stock, height, width)
        return taken(scene, self.effects, key, self.greyscale, self.prior_share, without=self.without)

    def order(self, batch: int, seed: int, start_step: int = 0, rank: int = 0, world: int = 1) -> SampleOrder:
        """The order in which training asks for these scenes."""
        if self.sides:
            return SizedOrder(len(self), batch, seed, start_step, rank, world, size=self.height, sides=self.sides)
        return SampleOrder(len(self), batch, seed, start_step, rank, world)


def taken(
    scene: Scene,
    effects: EffectsName,
    key: tuple[int, int, int],
    greyscale: bool = False,
    prior_share: float = 0.5,
    truth: Scene | None = None,
    without: tuple[EffectKind, ...] = (),
) -> Sample:
    """The sample that a camera takes of a scene; its effects and its prior are drawn from (seed, epoch, number).

    greyscale: three equal channels. prior_share: share of samples that carry the plate's depth. truth: the same scene
    with the depth to be learned, where that is not the one that the scene was composed in. without: as of
    `draw_effects`.
    """
    truth = scene if truth is None else truth
    plate, frame = apply_effects(draw_effects(effects, *key, without=without), scene)
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
