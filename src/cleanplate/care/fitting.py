"""Fitting: the motion and the exposure between a plate and a frame on one level of a pyramid, step by step.

Contract: `Fit(level_of(grey), frame_grey, motion)` improves a motion, a 3x3 matrix from plate to frame in units of half
the longer side around the middle, so that it means the same on every level.

The robust estimation of a dominant motion (Odobez and Bouthemy, 1995). With plate P, frame F and H from plate to frame,
each Gauss-Newton step solves for a small warp W(d), a gain a and an offset b

    min sum_i w_i (a F(H x_i) + b - P(x_i) - J_i d)^2,   J = grad P . dW/dd at d = 0,   then   H <- H W(d)^-1

(inverse compositional, Baker and Matthews, 2004: J belongs to the plate and is computed once). The weights are those of
Geman and McClure, w = 1 / (1 + (r/c)^2)^2, so that whatever stands in front loses its vote; a and b take up exposure.
The points x_i are the pixels with the strongest gradients of each cell of a grid: no object, however textured, has more
votes than its area. Half of the points, called held out, judge and never vote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "3 3"]
Grey = Float[np.ndarray, "_ _"]

_GRID, _PER_CELL = 16, 10
_LEAST_GRADIENT = 0.012
_ENOUGH = 0.03
"""Steps of fewer pixels end a fit."""
SCALE = 0.04
"""Residual at which a point loses most of its vote, of 1: noise and compression lie below, foreground above."""


@dataclass(frozen=True)
class Level:
    """One size of the plate: its points in units of half the longer side, their grey and their Jacobian."""

    size: tuple[int, int]
    points: Float[np.ndarray, "3 n"]
    grey: Float[np.ndarray, " n"]
    jacobian: Float[np.ndarray, "n 8"]

    @property
    def to_pixels(self) -> Matrix:
        return unit_to_pixels(self.size)


class Fit:
    """A motion (plate -> frame, in units of half the longer side) that is being improved on one level."""

    def __init__(self, level: Level, grey: Grey, motion: Matrix, parameters: int = 4) -> None:
        self.level, self.motion, self.parameters = level, motion, parameters
        self._grey = grey
        self._target = level.grey
        self._photo = np.array([1.0, 0.0])
        self._sampled = self._sample()

    @property
    def cost(self) -> float:
        """Mean robust residual, 0 (all points fit) to 1 (none does)."""
        return float(self._rho().mean())

    @property
    def confidence(self) -> float:
        """Share of points that fit, less where the texture leaves the motion open by more than half a pixel."""
        share = float((np.abs(self._residual()) < SCALE).mean())
        return share / (1 + (self._doubt() / 0.5) ** 2)

    def held_out(self) -> np.ndarray:
        """The residual of the points that no step has used, each 0..1."""
        return self._rho()[1::2]

    def settle(self, steps: int = 3) -> Fit:
        """Fit gain and offset only."""
        for _ in range(steps):
            self._solve(0)
        return self

    def lit_like(self, other: Fit) -> Fit:
        """The same motion, with the exposure that another fit has found."""
        fit = Fit(self.level, self._grey, self.motion, self.parameters)
        fit._photo = other._photo
        return fit

    def step(self) -> float:
        """One Gauss-Newton step. Returns how far it moved, in pixels of the level."""
        before = self.motion
        warp = self._solve(self.parameters)
        self.motion = before @ np.linalg.inv(warp)
        self.motion = self.motion / self.motion[2, 2]
        self._sampled = self._sample()
        return corner_shift(warp, self.level.to_pixels)

    def run(self, steps: int) -> Fit:
        """Steps until they no longer matter. What runs away is stopped where it started."""
        start = self.motion
        self.settle(2)
        for _ in range(steps):
            with np.errstate(all="ignore"):  # a step that leads beyond the horizon is taken back below
                moved = self.step()
            if not (np.isfinite(self.motion).all() and moved < max(self.level.size)):
                self.motion = start
                self._sampled = self._sample()
                break
            if moved < _ENOUGH:
                break
        return self

    def _sample(self) -> tuple[np.ndarray, np.ndarray]:
        """The frame at H x for every point, and where it lies inside the frame and is not clipped."""
        at = self.level.to_pixels @ self.motion @ self.level.points
        x, y = (at[:2] / at[2]).astype(np.float32)
        height, width = self._grey.shape
        values = cv2.remap(self._grey, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1) & (values < 0.97)
        return values, inside

    def _residual(self) -> np.ndarray:
        values, inside = self._sampled
        residual = self._photo[0] * values + self._photo[1] - self._target
        # Outside the frame nothing is known: half a vote against, so that running away does not pay.
        return np.where(inside, residual, SCALE)

    def _rho(self) -> np.ndarray:
        squared = np.square(self._residual() / SCALE)
        return squared / (1 + squared)

    def _solve(self, parameters: int) -> Matrix:
        """Gain, offset and the first so many parameters of a small warp; the even points vote."""
        values, inside = (part[::2] for part in self._sampled)
        residual = self._residual()[::2]
        scale = max(SCALE, 1.5 * float(np.partition(np.abs(residual), middle := int(0.4 * len(residual)))[middle]))
        weights = inside / np.square(1 + np.square(residual / scale))
        design = np.column_stack((-self.level.jacobian[::2, :parameters], values, np.ones_like(values)))
        weighted = design * weights[:, None]
        # A little of what was before keeps an empty or flat picture solvable.
        prior = np.diag([*[1e-4] * parameters, 1e-2, 1e-2])
        before = np.array([*[0.0] * parameters, *self._photo])
        found = np.linalg.solve(weighted.T @ design + prior, weighted.T @ self._target[::2] + prior @ before)
        if 0.2 < found[-2] < 5:
            self._photo = found[-2:]
        return _warp(found[:parameters])

    def _doubt(self) -> float:
        """Standard deviation of the corners' place, in pixels, from the curvature of the weighted residual."""
        residual = self._residual()
        weights = self._sampled[1] / np.square(1 + np.square(residual / SCALE))
        jacobian = self.level.jacobian[:, :4]
        information = (jacobian * weights[:, None]).T @ jacobian + 1e-6 * np.eye(4)
        noise = math.sqrt(float((weights * residual**2).sum() / max(float(weights.sum()), 1e-6))) + 2e-3
        spread = np.sqrt(np.trace(np.linalg.inv(information)))
        return float(noise * spread * max(self.level.size) / 2)


def level_of(grey: Grey) -> Level:
    height, width = grey.shape
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    strength = dx**2 + dy**2
    border = 2
    strength[:border], strength[-border:], strength[:, :border], strength[:, -border:] = 0, 0, 0, 0
    picked = _strongest(strength)
    rows, columns = picked // width, picked % width
    half = max(height, width) / 2
    x, y = (columns - (width - 1) / 2) / half, (rows - (height - 1) / 2) / half
    gx, gy = dx.flat[picked].astype(np.float64) * half, dy.flat[picked].astype(np.float64) * half
    along = gx * x + gy * y
    columns_of = (gx, gy, gy * x - gx * y, along, gx * x - gy * y, gx * y + gy * x, -x * along, -y * along)
    points = np.stack((x, y, np.ones_like(x)))
    return Level((height, width), points, grey.flat[picked].astype(np.float64), np.stack(columns_of, axis=1))


def _strongest(strength: Grey) -> np.ndarray:
    """Flat indices of the strongest gradients of each cell of a grid, in the picture's order within no cell."""
    height, width = strength.shape
    flat = np.arange(height * width).reshape(height, width)
    picked = []
    for rows in np.array_split(np.arange(height), min(_GRID, height // 4)):
        for columns in np.array_split(np.arange(width), min(_GRID, width // 4)):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            cell = strength[box].ravel()
            best = np.argsort(-cell, kind="stable")[:_PER_CELL]
            picked.append(flat[box].ravel()[best[cell[best] > _LEAST_GRADIENT**2]])
    return np.concatenate(picked)


def _warp(parameters: Float[np.ndarray, " k"]) -> Matrix:
    """The small warp of these parameters: shift right, down, turn, zoom, two shears, two perspectives."""
    right, down, turn, zoom, stretch, shear, tilt_x, tilt_y = [*parameters, *[0.0] * (8 - len(parameters))]
    return np.array(
        [
            [1 + zoom + stretch, shear - turn, right],
            [shear + turn, 1 + zoom - stretch, down],
            [tilt_x, tilt_y, 1.0],
        ]
    )


def unit_to_pixels(size: tuple[int, int]) -> Matrix:
    """From units of half the longer side around the middle to pixels of a picture of this (height, width)."""
    half = max(size) / 2
    return np.array([[half, 0, (size[1] - 1) / 2], [0, half, (size[0] - 1) / 2], [0, 0, 1.0]])


def corner_shift(motion: Matrix, unit: Matrix) -> float:
    """How far the farthest corner of a picture moves, in the pixels of `unit`."""
    half = unit[0, 0]
    x, y = (unit[0, 2] + 0.5) / half, (unit[1, 2] + 0.5) / half
    corners = np.array([[-x, x, x, -x], [-y, -y, y, y], [1, 1, 1, 1]])
    moved = motion @ corners
    return float(half * np.sqrt(np.square(moved[:2] / moved[2] - corners[:2]).sum(axis=0)).max())
