"""Depth of a scene: where a plate's floor is, and how deep a cutout that stands on it is.

Contract: metres along the optical axis, 0 = unknown, and what is unknown stays unknown. `fit_floor` finds the plane on
which things stand, `layered` gives a placed cutout its depth, `given` takes somebody else's depth for a whole frame.

Maths: a pinhole camera with focal length f sees the point X = z (u/f, v/f, 1) at (u, v), measured from the picture's
centre (u to the right, v down; here in plate heights). On a plane n.X = d, so

    1/z = (n_x / (d f)) u + (n_y / (d f)) v + n_z / d = b u + a v + c:

inverse depth is affine in the picture for every plane, and (f b, f a, c) = n/d gives the camera's height above it, d =
1/|n/d|, and the direction up = -n. The floor is the plane seen from above (its up within 35 degrees of the picture's)
that supports the scene: many pixels on it, almost none below it. A table has the floor below it; a ceiling faces down.
Consensus: Fischler and Bolles, Random sample consensus, CACM 24 (1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from cleanplate.scenes.records import PLACES, generator, shortened
from cleanplate.types import Depth

TRIALS = 2000
FINALISTS = 48
NEIGHBOURHOOD = 0.35
"""A trial's three points lie within this part of the picture's height: a floor that is a tenth of it is then found."""
STEEPEST = float(np.cos(np.radians(35)))
LEAST_SUPPORT, MOST_BELOW = 0.06, 0.04
BEYOND = 0.7
"""How far below the picture, in plate heights, the floor is continued: people whose feet are out of the picture."""


@dataclass(frozen=True, eq=False)
class Floor:
    """The plane that things stand on in a plate.

    up: unit vector away from the floor, in the camera's axes (right, down, forward).
    camera_height: metres from the floor to the camera.
    mask: the plate's pixels that lie on it.
    points: x, y (shares of the plate's width and height) and z (metres) of an even sample of the floor's pixels.
    beyond: the same for the floor's continuation below the picture (y > 1).
    """

    up: tuple[float, float, float]
    camera_height: float
    mask: Bool[np.ndarray, "h w"]
    points: Float32[np.ndarray, "n 3"]
    beyond: Float32[np.ndarray, "m 3"]


def rays(
    height: int, width: int, aspect: float, focal: float
) -> tuple[Float32[np.ndarray, " w"], Float32[np.ndarray, " h"]]:
    """(X/z per column, Y/z per row) of a whole plate at this size. focal: in plate heights; aspect: width / height."""
    columns = ((np.arange(width) + 0.5) / width - 0.5) * aspect / focal
    rows = ((np.arange(height) + 0.5) / height - 0.5) / focal
    return columns.astype(np.float32), rows.astype(np.float32)


def fit_floor(depth: Depth, focal: float, seed: int = 0) -> Floor | None:
    """The floor of a plate with metric depth; None when nothing supports the scene.

    depth: metres, 0 = unknown. focal: in plate heights. Deterministic: the trials are drawn from the seed.
    """
    height, width = depth.shape
    across, down = rays(height, width, width / height, focal)
    step = max(1, round((height * width / 2400) ** 0.5))
    z = depth[step // 2 :: step, step // 2 :: step]
    x, y = np.meshgrid(across[step // 2 :: step], down[step // 2 :: step])
    known = z > 0
    if known.sum() < 50:
        return None
    directions = np.stack([x[known], y[known], np.ones(known.sum())], axis=1).astype(np.float64)
    plane = _support(directions, z[known].astype(np.float64), seed)
    # rounded, so that the same floor is found whichever way a processor's least squares rounds its last bits
    return None if plane is None else _floor(np.round(plane, 7), depth, across, down, focal)


def _support(
    directions: Float64[np.ndarray, "n 3"], z: Float64[np.ndarray, " n"], seed: int
) -> Float64[np.ndarray, " 3"] | None:
    """n/d of the supporting plane by seeded consensus, refined by least squares on its inliers."""
    picks = _triples(directions, seed)
    systems = directions[picks]
    solvable = np.abs(np.linalg.det(systems)) > 1e-6
    planes = np.linalg.solve(systems[solvable], 1 / z[picks[solvable]][..., None])[..., 0]
    planes = planes[planes[:, 1] > STEEPEST * np.linalg.norm(planes, axis=1)]
    if not len(planes):
        return None
    # a rough score on every sixth point leaves few planes to score on all
    rough = _score(planes, directions[::6], z[::6])
    planes = planes[np.argsort(-rough, kind="stable")[:FINALISTS]]
    score = _score(planes, directions, z)
    best = planes[score.argmax()]
    if score.max() < LEAST_SUPPORT:
        return None
    on = _sides(best[None], directions, z)[0][0]
    for _ in range(6):
        # weighting by z makes the residual of 1/z a share of the distance, as the noise of most depth is
        points = directions[on] * z[on][:, None]
        best = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)[0]
        residual = np.abs(points @ best - 1)
        # walls and furniture meet the floor inside the tolerance: keep what the floor's own noise explains
        keep = residual <= max(2.5 * float(np.median(residual)), 1e-4)
        on[np.flatnonzero(on)[~keep]] = False
    upright = best[1] > STEEPEST * np.linalg.norm(best)
    return best if upright else None


def _triples(directions: Float64[np.ndarray, "n 3"], seed: int) -> Int64[np.ndarray, "k 3"]:
    """Neighbouring points, three by three: a point, one beside it, and one above or below."""
    rng = generator(PLACES, seed)
    across, down = directions[:, 0], directions[:, 1]
    reach = NEIGHBOURHOOD * (down.max() - down.min())
    picks = rng.integers(0, len(down), (TRIALS, 12))
    first = picks[:, :1]
    apart = np.hypot(across[picks] - across[first], down[picks] - down[first])
    # of a dozen points anywhere, the first two that are near, but not so near that noise tilts the plane
    near = (apart < reach) & (apart > 0.2 * reach)
    enough = near.sum(axis=1) >= 2
    chosen = np.argsort(~near[enough], axis=1, kind="stable")[:, :2]
    return np.concatenate([first[enough], np.take_along_axis(picks[enough], chosen, axis=1)], axis=1)


def _score(
    planes: Float64[np.ndarray, "k 3"], directions: Float64[np.ndarray, "n 3"], z: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " k"]:
    """Share of the points on each plane; 0 for a plane with too much below it to be a floor."""
    on, below = _sides(planes, directions, z)
    return np.where(below.mean(axis=1) < MOST_BELOW, on.mean(axis=1), 0)


def _sides(planes: Float64[np.ndarray, "k 3"], directions: Float64[np.ndarray, "n 3"], z: Float64[np.ndarray, " n"]):
    """For each plane and point: is it on the plane, is it below."""
    norm = np.linalg.norm(planes, axis=1)[:, None]
    beneath = ((planes @ directions.T) * z - 1) / norm
    tolerance = np.minimum(0.02 / norm, 0.05) + 0.008 * z
    return np.abs(beneath) < tolerance, beneath > 2 * tolerance


def _floor(plane: np.ndarray, depth: Depth, across: np.ndarray, down: np.ndarray, focal: float) -> Floor:
    height, width = depth.shape
    camera_height = float(1 / np.linalg.norm(plane))
    normal = plane * camera_height
    beneath = (normal[0] * across[None] + normal[1] * down[:, None] + normal[2]) * depth - camera_height
    mask = (depth > 0) & (np.abs(beneath) < min(0.02 * camera_height, 0.05) + 0.008 * depth)
    rows, columns = np.nonzero(mask)
    keep = np.linspace(0, len(rows) - 1, min(len(rows), 4000)).astype(int)
    rows, columns = rows[keep], columns[keep]
    points = np.stack([(columns + 0.5) / width, (rows + 0.5) / height, depth[rows, columns]], axis=1)
    x, y = np.meshgrid(np.linspace(0.02, 0.98, 40), np.linspace(1, 1 + BEYOND, 30))
    inverse = plane[0] * (x - 0.5) * width / height / focal + plane[1] * (y - 0.5) / focal + plane[2]
    near = inverse > 1e-3
    beyond = np.stack([x[near], y[near], 1 / inverse[near]], axis=1)
    up = (shortened(-normal[0]), shortened(-normal[1]), shortened(-normal[2]))
    # by columns in memory: placing works on x, y and z apart
    columns = (np.asfortranarray(array, dtype=np.float32) for array in (points, beyond))
    return Floor(up, camera_height, mask, *columns)


def layered(distance: float | None, relief: Depth | None, base: float, metric: bool, shape: tuple[int, int]) -> Depth:
    """Depth of one placed cutout.

    distance: metres to its contact (standing) or to it as a whole (free); None = unknown, and so is the result (0).
    relief: its depth as its own camera saw it, resized to the placed size; None = flat.
    base: the relief's value where it touches the ground. metric: add the relief in metres (standing); otherwise in
    proportion to the distance, because a free cutout's size says nothing of its distance.
    """
    if distance is None:
        return np.zeros(shape, np.float32)
    if relief is None or base <= 0:
        return np.full(shape, distance, np.float32)
    depth = relief + np.float32(distance - base) if metric else relief * np.float32(distance / base)
    return np.maximum(depth, np.float32(0.05))


def given(depth: Float32[np.ndarray, "_ _"], shape: tuple[int, int]) -> Depth:
    """A frame's depth from elsewhere (a sensor, a teacher), at the scene's (height, width); unknown stays 0.

    Nearest neighbour: the mean of a near and a far pixel is a distance at which nothing is.
    """
    height, width = shape
    rows = (np.arange(height) + 0.5) * depth.shape[0] / height
    columns = (np.arange(width) + 0.5) * depth.shape[1] / width
    return np.ascontiguousarray(depth[rows.astype(int)[:, None], columns.astype(int)], dtype=np.float32)
