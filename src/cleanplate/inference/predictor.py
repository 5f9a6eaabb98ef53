"""A predictor: a trained network that takes pictures of any kind and size, and answers at the frame's own size.

Contract: `predict(plate, frame)` gives alpha 0..1 and depth (metres where the training depth was metric) at exactly
the frame's size. The network works at the frame's size up to `working_side` pixels on the longer side; larger pictures
are box-averaged down to that (aspect kept), and what comes out is interpolated back: alpha and ln z bilinearly, so that
depth between two pixels is their geometric mean, as it was trained. A plate's depth is picked, not averaged, on the way
down: between near and far lies a distance at which nothing stands. Pictures with more pixels than the training scenes
had are looked at a second time at that size, for the depth (see `_depth_size`).

With `care`, which is the default, a frame whose camera has moved a little, or whose exposure differs, is brought to the
plate first (`cleanplate.care`), and the answer is brought back to the frame's own pixels.

The plate's features do not depend on the frame. A network that has `encode` and `decode` (ours) therefore looks at a
plate once; the next frames of the same plate cost one encoding instead of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cleanplate.care.correct import Care, Correction
from cleanplate.inference.sources import Source, eight_bits, pair, size_of, words
from cleanplate.network import checkpoint
from cleanplate.network.fold import folded
from cleanplate.network.output import Output, layered
from cleanplate.pictures.frames import read_depth
from cleanplate.pictures.side_data import read_folder
from cleanplate.types import Depth, InputError, Prediction

DepthSource = np.ndarray | PathLike[str] | str
"""A depth map: float metres [h, w], 0 = unknown, or the path of a file of it."""

SIZES_KEPT = 4
"""A plate's features are kept for so many sizes: one for the mask and one for the depth, per size of frames."""

WORKING_SIDE = 320
"""Longest side, in pixels, at which the network looks at a picture unless told otherwise."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey pictures that a model trained with `greyscale` sees (BT.601)."""


@dataclass(frozen=True)
class _Seen:
    """The plate of the last prediction (a copy of its pixels), and what is known of it at each size."""

    plate: np.ndarray
    features: dict[tuple[tuple[int, int], tuple[int, int]], Any]
    """By the size at which the network looks, and the frame's size, to which the plate was stretched."""
    cares: dict[tuple[int, int], Care] = field(default_factory=dict)
    """By the frame's size."""


class Predictor:
    """A network in evaluation mode, with what its checkpoint says about it.

    network: plate, frame [1, 3, h, w] in 0..1 and plate depth [1, 1, h, w] or None -> mask logits and ln depth.
    meta: the checkpoint's; `depth` is "metric", "relative", "disparity" or "none".
    working_side: longest side at which the network looks, pixels.
    device: "cpu", "cuda", ...; by default the GPU where there is one.
    care: bring each frame to its plate before the network looks, where that is sure to help.
    """

    def __init__(
        self,
        network: nn.Module,
        meta: dict[str, Any],
        *,
        working_side: int = WORKING_SIDE,
        device: str | torch.device | None = None,
        care: bool = True,
    ) -> None:
        if working_side < 1:
            raise InputError(f"working_side is {working_side}: give at least 1 pixel, {WORKING_SIDE} for instance")
        self.meta = meta
        self.working_side = working_side
        self.care = care
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Channels last is 1.3 times as fast on the processors it was measured on, and answers the same.
        network = folded(network).to(self.device, torch.float32)
        self.network = network.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
        self._greyscale = bool(meta.get("config", {}).get("settings", {}).get("greyscale", False))
        self._seen: _Seen | None = None

    @property
    def depth_kind(self) -> str:
        """metric: metres; relative: right up to one unknown scale per picture; none: the model predicts no depth.

        disparity: relative, too; what the model learned from is 1/depth up to scale and shift.
        """
        return self.meta["depth"]

    def predict(
        self,
        plate: Source,
        frame: Source,
        plate_depth: DepthSource | None = None,
        fit: bool = False,
        correction: Correction | None = None,
    ) -> Prediction:
        """What stands in front of the plate in this frame, and how far away everything is.

        plate, frame: pictures of one size, or of any sizes with `fit`, which stretches the plate to the frame.
        plate_depth: the plate's depth in metres [h, w], 0 = unknown, or a file of it (see `read_plate_depth`).
        correction: how the frame is brought to the plate (see `correct`); without one, `care` decides.
        Raises InputError for a picture that cannot be read or used, and for sizes that differ without `fit`.
        """
        plate_pixels, frame_pixels = pair(plate, frame, fit)
        height, width = size_of(frame_pixels)
        if correction is None and self.care:
            correction = self.correct(plate_pixels, frame_pixels, fit)
        if correction is None or correction.is_identity:
            return self._predicted(plate_pixels, frame_pixels, plate_depth, fit)
        fitted = correction.frame(eight_bits(frame_pixels), self._cared(plate_pixels, (height, width)).plate)
        found = self._predicted(plate_pixels, fitted, plate_depth, fit)
        depth = None if found.depth is None else np.exp(correction.back(np.log(found.depth)))
        return Prediction(correction.back(found.alpha), depth)

    def correct(self, plate: Source, frame: Source, fit: bool = False, before: Correction | None = None) -> Correction:
        """How this frame is brought to the plate, whatever `care` says; the identity where nothing is sure to help.

        before: the correction of the clip's last frame, which steadies this one (see `cleanplate.care.correct`).
        """
        plate_pixels, frame_pixels = pair(plate, frame, fit)
        return self._cared(plate_pixels, size_of(frame_pixels)).correct(eight_bits(frame_pixels), before)

    def _cared(self, plate: np.ndarray, size: tuple[int, int]) -> Care:
        """The care of this plate, stretched to frames of this size."""
        cares = self._remembered(plate).cares
        if size not in cares:
            while len(cares) >= SIZES_KEPT:
                cares.pop(next(iter(cares)))
            pixels = eight_bits(plate)
            if pixels.shape[:2] != size:
                shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
                way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=way)
            cares[size] = Care(pixels)
        return cares[size]

    def _remembered(self, plate: np.ndarray) -> _Seen:
        """What is kept of this plate; another one takes its place."""
        if self._seen is None or not _same(self._seen.plate, plate):
            self._seen = _Seen(plate.copy(), {})
        return self._seen

    def _predicted(
        self, plate_pixels: np.ndarray, frame_pixels: np.ndarray, plate_depth: DepthSource | None, fit: bool
    ) -> Prediction:
        """The network's answer to a frame as it is."""
        height, width = size_of(frame_pixels)
        working = _working_size(height, width, self.working_side)
        prior = None if plate_depth is None else self._prior(plate_depth, size_of(plate_pixels), working, fit)
        with torch.inference_mode():
            output = self._look(plate_pixels, frame_pixels, working, prior)
            alpha = _enlarge(torch.sigmoid(output.mask_logits), (height, width))
            if self.depth_kind == "none":
                return Prediction(_array(alpha), None)
            scaled, coarse = self._depth_size(working), output
            if scaled != working:
                again = None if plate_depth is None else self._prior(plate_depth, size_of(plate_pixels), scaled, fit)
                coarse = self._look(plate_pixels, frame_pixels, scaled, again)
            log_depth = _joined(output, coarse, plate_depth is not None, (height, width))
        return Prediction(_array(alpha), _array(log_depth.exp()))

    def _depth_size(self, working: tuple[int, int]) -> tuple[int, int]:
        """Where the network judges depth: as many pixels as its training scenes had, or the working size if smaller.

        Edges are found better the more pixels there are, but how far things are is read off their size, which the
        network knows at the scale it was trained on.
        """
        trained = self.meta.get("config", {}).get("settings", {}).get("size")
        scale = min(1.0, trained / math.sqrt(working[0] * working[1])) if trained else 1.0
        return max(1, round(working[0] * scale)), max(1, round(working[1] * scale))

    def _look(self, plate: np.ndarray, frame: np.ndarray, working: tuple[int, int], prior: Tensor | None) -> Output:
        """The network's answer at the working size; the plate's features are kept if it can encode a picture alone."""
        features = self._remembered(plate).features
        encodes = hasattr(self.network, "encode")
        size = working, size_of(frame)
        if size not in features:
            tensor = self._tensor(plate, working, stretch=size_of(frame))
            while len(features) >= SIZES_KEPT:
                features.pop(next(iter(features)))
            # A network that only sees both pictures at once keeps the scaled plate itself.
            features[size] = self.network.encode(tensor) if encodes else tensor
        tensor = self._tensor(frame, working)
        if encodes:
            return self.network.decode(features[size], self.network.encode(tensor), prior, working)
        return self.network(features[size], tensor, prior)

    def _tensor(self, picture: np.ndarray, working: tuple[int, int], stretch: tuple[int, int] | None = None) -> Tensor:
        """A picture as [1, 3, h, w] in 0..1 at the working size, by way of the size it is stretched to."""
        if picture.dtype == np.uint8:
            tensor = torch.from_numpy(np.ascontiguousarray(picture)).to(self.device).permute(2, 0, 1).float() / 255
        else:
            tensor = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).to(self.device)
        tensor = tensor[None]
        if stretch is not None and tuple(tensor.shape[-2:]) != stretch:
            tensor = F.interpolate(tensor, stretch, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        if tuple(tensor.shape[-2:]) != working:
            tensor = F.interpolate(tensor, working, mode="area")
        if self._greyscale:
            tensor = (tensor * tensor.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).expand(-1, 3, -1, -1)
        return tensor.contiguous(memory_format=torch.channels_last)

    def _prior(self, depth: DepthSource, plate_size: tuple[int, int], working: tuple[int, int], fit: bool) -> Tensor:
        """The plate's depth as [1, 1, h, w] at the working size."""
        metres = depth if isinstance(depth, np.ndarray) else read_plate_depth(Path(depth), self.depth_kind)
        if metres.ndim != 2 or not np.issubdtype(metres.dtype, np.floating):
            raise InputError(
                f"the plate's depth is an array {list(metres.shape)} of {metres.dtype}: give metres as floats [h, w], "
                "0 = unknown (a file of uint16 millimetres is read by giving its path)"
            )
        if metres.shape != plate_size and not fit:
            raise InputError(
                f"the plate's depth is {words(metres.shape)} and the plate is {words(plate_size)}: give a depth of "
                "the plate's own size, or stretch both to the frame with --fit (from Python: fit=True)"
            )
        known = np.where(np.isfinite(metres) & (metres > 0), metres, 0).astype(np.float32)
        return F.interpolate(torch.from_numpy(known)[None, None].to(self.device), working, mode="nearest-exact")


def load(
    path: str | PathLike[str],
    *,
    working_side: int = WORKING_SIDE,
    device: str | torch.device | None = None,
    care: bool = True,
) -> Predictor:
    """Open a run's folder (its best checkpoint, else its last) or one `.safetensors` file.

    care: see `Predictor`. Raises InputError when there is no such file or folder, or when what is there is no
    checkpoint of this version.
    """
    network, meta = checkpoint.load(checkpoint.find(Path(path)))
    return Predictor(network, meta, working_side=working_side, device=device, care=care)


def read_plate_depth(path: Path, depth_kind: str = "metric") -> Depth:
    """A plate's depth for a model of this kind: metres, 0 = unknown. Reading it once serves a whole video.

    Integers are millimetres and floats metres, unless a `pictures.json` beside the file says otherwise.
    Raises InputError for a file that is no depth, and for relative depth where the model knows metres.
    """
    folder = read_folder(path.parent, "")
    if folder.relative and depth_kind == "metric":
        raise InputError(
            f"{path} is relative depth, as {path.parent / 'pictures.json'} says, and the model was trained on metres: "
            "give the plate's depth in metres, or none"
        )
    return read_depth(path, 1.0 if folder.relative else folder.depth_unit_m, folder.depth_unknown)


def _working_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """The size at which the network looks: the picture's own, or its longer side brought down to `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """By content, not identity: an array that its owner changed in place is another plate."""
    return a.dtype == b.dtype and np.array_equal(a, b)


def _enlarge(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(tensor.shape[-2:]) == size:
        return tensor
    return F.interpolate(tensor, size, mode="bilinear", align_corners=False)


def _joined(fine: Output, coarse: Output, given: bool, size: tuple[int, int]) -> Tensor:
    """ln z at this size: how far things are from the coarse look, where one ends from the fine one.

    given: the plate's depth was; then the fine look already has it, sharply, wherever nothing stands in front.
    """
    if fine.layers is None or coarse.layers is None:
        distance, alpha = _enlarge(coarse.log_depth, size), _enlarge(fine.mask_logits.sigmoid(), size)
        return torch.lerp(_enlarge(fine.log_depth, size), distance, alpha) if given else distance
    behind = fine.layers[0] if given else coarse.layers[0]
    return layered(_enlarge(fine.mask_logits, size), _enlarge(behind, size), _enlarge(coarse.layers[1], size))


def _array(tensor: Float[Tensor, "1 1 h w"]) -> np.ndarray:
    return np.ascontiguousarray(tensor[0, 0].cpu().numpy())
