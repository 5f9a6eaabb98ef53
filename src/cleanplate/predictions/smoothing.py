"""Smoothing: one clip's answers, steadied over time where the picture itself stands still.

Contract: `Smoothing()` is told every look of one clip, in order, and gives each back with its alpha and its layers of
ln z averaged over time, at the working size. Where the frame has changed, the answer stays as it came: nothing drags
behind what moves. Enlarging comes later and follows the edges of the frame itself.

A motion-adaptive recursive filter (Dennis, "Nonlinear temporal filter for television picture noise reduction", 1980;
Dubois and Sabri, "Noise reduction in image sequences using motion-compensated temporal filtering", 1984), led by the
frame and applied to the answer. Per pixel, with x the answer, s its average, I the frame (box-blurred, 3 x 3) and R
the frame's own average, made with the same k:

    d = max over channels, and over 5 x 5 pixels, of |I - R|       how much has changed here
    k = REST + (1 - REST) smoothstep(CALM, MOVED, d / n)           n: the median of |I - R| over the picture, its noise
    s <- s + k (x - s),    R <- R + k (I - R)

Since I is compared with R, not with the last frame, what creeps adds up until it counts as moved. A pixel whose answer
itself turns over while it looks the same (something of the wall's own colour) is believed after 1 / REST frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.inference.predictor import Look
from cleanplate.types import Pixels

REST = 0.2
"""What a new answer counts where nothing moves: answers are then averaged over about 2 / REST - 1 = 9 frames."""
CALM, MOVED = 2.5, 6.0
"""Changes up to and from so many times the picture's noise count as none, and as movement."""
LEAST_NOISE = 0.7
"""Of 255. Compressed clips repeat blocks bit for bit; what is between two such repeats is no movement either."""
_AROUND = 5

Maps = Float32[np.ndarray, "h w n"]


@dataclass(frozen=True)
class _Memory:
    """The averages so far, at the working size: of the answer's maps and of the frame."""

    maps: Maps
    frame: Float32[np.ndarray, "h w 3"]


class Smoothing:
    """The filter of one clip. rest: what a new answer counts where nothing moves, 0 to 1; 1 = no smoothing."""

    def __init__(self, rest: float = REST) -> None:
        self.rest = rest
        self._memory: _Memory | None = None

    def __call__(self, look: Look) -> Look:
        """The look with its answer steadied."""
        answer = look.answer
        given = [one for one in (answer.alpha, answer.behind, answer.front) if one is not None]
        now = _Memory(np.dstack(given), _calmed(look.frame, answer.alpha.shape))
        if self._memory is not None and self._memory.maps.shape == now.maps.shape:
            keep = weight(self._memory.frame, now.frame, self.rest)[..., None]
            before = self._memory
            now = _Memory(
                before.maps + keep * (now.maps - before.maps), before.frame + keep * (now.frame - before.frame)
            )
        self._memory = now
        maps = [np.ascontiguousarray(now.maps[..., index]) for index in range(len(given))]
        layers = {} if len(maps) == 1 else {"behind": maps[1], "front": maps[2]}
        return replace(look, answer=replace(answer, alpha=maps[0], **layers))


def weight(
    before: Float32[np.ndarray, "h w 3"], now: Float32[np.ndarray, "h w 3"], rest: float = REST
) -> Float32[np.ndarray, "h w"]:
    """What the answer to a frame counts, `rest` to 1, after frames that were `before` on average; both of 0..255."""
    red, green, blue = cv2.split(cv2.absdiff(now, before))
    change = cv2.max(cv2.max(red, green), blue)
    noise = max(float(np.median(change)), LEAST_NOISE)
    change = cv2.dilate(change, np.ones((_AROUND, _AROUND), np.uint8))
    share = np.clip((change / np.float32(noise) - CALM) / (MOVED - CALM), 0, 1)
    return np.float32(rest) + np.float32(1 - rest) * (share * share * (3 - 2 * share))


def _calmed(frame: Pixels, size: tuple[int, ...]) -> Float32[np.ndarray, "small_h small_w 3"]:
    """The frame at the answer's size, with less noise."""
    small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return cv2.blur(small.astype(np.float32), (3, 3))
