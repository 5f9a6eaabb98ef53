"""Exposure: the curve per channel that takes a frame's values to the plate's, whatever stands in front.

Contract: `match(plate, frame)` of two pictures that lie on each other returns an `Exposure`; it is the identity unless
a curve lowers the robust residual clearly. Three curves are tried, the plainest first, v being 0..1:

    gain     v -> g v                  shutter, aperture, white balance
    offset   v -> g v + o              haze, black level, a display's contrast
    gamma    v -> g v^y                gain of linear light seen through a tone curve

Maths: the start is the mode of ln(plate / frame), which no foreground can move as long as the background is the largest
group of equal ratios; then weighted least squares with the weights of Geman and McClure (see `align`). Channel values
that are clipped in either picture say nothing of the curve and have no vote.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cleanplate.care.align import Shrunk, shrink
from cleanplate.types import Pixels

SIDE = 96
"""Exposure is judged on pictures box-averaged to this: noise, compression and small misfits average out."""
DARKEST, BRIGHTEST = 6 / 255, 248 / 255
"""Values outside are clipped, or nearly."""
LEAST_GAIN = 0.15
"""The robust residual must fall by this share, or nothing is done."""
LEAST_CHANGE = 0.03
"""A curve that moves no value in the middle by more than this share is not worth applying."""
_RICHER = 0.25
_LEFT = 0.5
"""Offset and gamma must leave no more than this share of the residual: little differences are not theirs to explain."""
_GOOD = 0.03
"""A curve that leaves no more than this is good enough: nothing richer is tried."""
_SCALE = 0.03
_LEAST_PIXELS = 200
_STEPS = 6

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Exposure:
    """What takes a frame's values 0..1 to the plate's, per channel: v -> gain v^gamma + offset.

    fit: by what share the robust residual falls, 0..1.
    """

    gain: Triple = (1.0, 1.0, 1.0)
    offset: Triple = (0.0, 0.0, 0.0)
    gamma: Triple = (1.0, 1.0, 1.0)
    fit: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return (self.gain, self.offset, self.gamma) == ((1.0,) * 3, (0.0,) * 3, (1.0,) * 3)

    def table(self) -> Pixels:
        """The curve as a table, uint8 [1, 256, 3]."""
        values = np.arange(256, dtype=np.float64)[None, :, None] / 255
        curve = np.asarray(self.gain) * values ** np.asarray(self.gamma) + np.asarray(self.offset)
        return (np.clip(curve, 0, 1) * 255 + 0.5).astype(np.uint8)

    def at(self, value: float) -> Triple:
        """Where the curve takes one value 0..1, per channel, not clipped."""
        triples = zip(self.gain, self.offset, self.gamma, strict=True)
        red, green, blue = (float(gain * value**gamma + offset) for gain, offset, gamma in triples)
        return red, green, blue


def match(plate: Pixels, frame: Pixels, seen: Bool[np.ndarray, "h w"] | None = None) -> Exposure:
    """The exposure that takes `frame` to `plate`; both lie on each other and have one size.

    seen: where the frame shows anything at all. Returns the identity when no curve is clearly better than none.
    """
    target, values = (picture.reshape(-1, 3).astype(np.float64) / 255 for picture in (plate, frame))
    usable = (target > DARKEST) & (target < BRIGHTEST) & (values > DARKEST) & (values < BRIGHTEST)
    if seen is not None:
        usable &= seen.reshape(-1, 1)
    if usable.sum(axis=0).min() < min(_LEAST_PIXELS, len(target) // 8):
        return Exposure()
    channels = [_Channel(target[usable[:, c], c], values[usable[:, c], c]) for c in range(3)]
    still = float(np.mean([channel.cost((1.0, 0.0, 1.0)) for channel in channels]))
    best, least = Exposure(), still * (1 - LEAST_GAIN)
    for curve in (_Channel.gain, _Channel.offset, _Channel.gamma):
        curves = [curve(channel) for channel in channels]
        cost = float(np.mean([channel.cost(found) for channel, found in zip(channels, curves, strict=True)]))
        if cost < least:
            gain, offset, gamma = zip(*curves, strict=True)
            best = Exposure(gain, offset, gamma, 1 - cost / max(still, 1e-9))
        least = min(least, cost * (1 - _RICHER), still * _LEFT)
        if cost < _GOOD:
            break
    changed = max(abs(to / value - 1) for value in (0.25, 0.5, 0.75) for to in best.at(value))
    return best if changed > LEAST_CHANGE else Exposure()


def small(picture: Pixels) -> Shrunk:
    """A picture as `match` likes to see it."""
    return shrink(picture, SIDE)


Curve = tuple[float, float, float]
"""Gain, offset, gamma of one channel."""


class _Channel:
    """One channel's values that both pictures tell, target (plate) and value (frame), and the curves between them."""

    def __init__(self, target: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> None:
        self.target, self.values = target, values
        self._ratio = _ratio_mode(target, values)

    def cost(self, curve: Curve) -> float:
        """The mean robust residual of a curve, 0..1; 1 for a curve that no camera has."""
        gain, offset, gamma = curve
        if not (0.2 < gain < 5 and abs(offset) < 0.25 and 0.4 < gamma < 2.5):
            return 1.0
        powered = self.values if gamma == 1 else self.values**gamma
        squared = np.square((self.target - gain * powered - offset) / _SCALE)
        return float((squared / (1 + squared)).mean())

    def gain(self) -> Curve:
        """The best gain."""
        gain = self._ratio
        for _ in range(_STEPS):
            weights = _weights(self.target - gain * self.values)
            gain = float((weights * self.values * self.target).sum() / max((weights * self.values**2).sum(), 1e-9))
        return gain, 0.0, 1.0

    def offset(self) -> Curve:
        """The best gain and offset."""
        slope, intercept = 1.0, 0.0
        weights = _weights(self.target - self._ratio * self.values)
        for _ in range(_STEPS):
            slope, intercept = _line(self.values, self.target, weights)
            weights = _weights(self.target - slope * self.values - intercept)
        return slope, intercept, 1.0

    def gamma(self) -> Curve:
        """The best gain and gamma: a line through the logarithms."""
        slope, intercept = 1.0, 0.0
        x, y = np.log(self.values), np.log(self.target)
        weights = _weights(self.target - self._ratio * self.values)
        for _ in range(_STEPS):
            # An error in a logarithm counts by the value it belongs to, or the dark half would decide alone.
            slope, intercept = _line(x, y, weights * np.square(self.target))
            if not 0.2 < slope < 5:
                break
            weights = _weights(self.target - np.exp(slope * x + intercept))
        return float(np.exp(np.clip(intercept, -3, 3))), 0.0, slope


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the weighted regression of y on x."""
    total = max(float(weights.sum()), 1e-9)
    mean_x, mean_y = float(weights @ x) / total, float(weights @ y) / total
    away = weights * (x - mean_x)
    slope = float(away @ (y - mean_y)) / max(float(away @ (x - mean_x)), 1e-6)
    return slope, mean_y - slope * mean_x


def _ratio_mode(target: np.ndarray, values: np.ndarray) -> float:
    """The ratio target / values that most pixels share, by a smoothed histogram of its logarithm."""
    counts, edges = np.histogram(np.log(target / values), bins=160, range=(-1.6, 1.6), weights=np.sqrt(values))
    best = int(np.convolve(counts, (1, 2, 3, 2, 1), mode="same").argmax())
    return float(np.exp((edges[best] + edges[best + 1]) / 2))


def _weights(residual: np.ndarray) -> np.ndarray:
    lower = int(0.4 * len(residual))
    scale = max(_SCALE, 1.5 * float(np.partition(np.abs(residual), lower)[lower]))
    return 1 / np.square(1 + np.square(residual / scale))
