"""The plate's depth by a teacher: once per camera, a file that serves every later prediction as its third input.

Contract: `teach_plate_depth` asks a depth teacher (teachers/) about the plate, brings its answer to what the model
calculates with, writes `plate-depth.png` (uint16 millimetres; .npy in the model's own units where it knows no metres)
and returns its path.

A teacher in metres needs nothing more for a model in metres. Any other teacher's answer t is right up to scale and
shift, in depth or, if it gives disparity, in 1/depth, so it is fitted to the model's own answer z for the plate, seen
without any prior: with y = z or y = 1/z,

    min over a, b of  sum w ((a t + b) / y - 1)^2,

the relative error, least squares, with w = 1 / (1 + (r / 0.1)^2)^2 (Geman and McClure) so that places where model and
teacher disagree lose their vote. The teacher knows edges and order well, the model the scale. Where a t + b is not in
what the model was made for (`NEAR_M` to `FAR_M`) depth is unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cleanplate.inference.predictor import Predictor
from cleanplate.pictures.frames import read_image, write_depth
from cleanplate.pictures.writing import write_atomically
from cleanplate.settings import TeacherSettings
from cleanplate.teachers.teacher import kind_of, open_teacher, to_values
from cleanplate.types import FAR_M, NEAR_M, Depth, InputError

NAME = "plate-depth"
"""No input's results bear it: theirs are joined by an underscore."""

_ROUNDS = 12
_LOSES_VOTE = 0.1
"""Relative error at which a place has lost three quarters of its vote."""
_LEAST_LIKENESS = 0.3
"""Correlation of the ranks of teacher and model below which the fit means nothing."""


def teach_plate_depth(predictor: Predictor, plate: Path, settings: TeacherSettings, out: Path) -> Path:
    """Write the plate's depth into the folder `out` and return the file.

    Raises InputError: no such plate or teacher, a model that knows no depth, a teacher whose answer has nothing to do
    with the model's (its polarity, most likely, is declared wrongly).
    """
    if predictor.depth_kind == "none":
        raise InputError("the model predicts no depth, so the plate's depth is of no use to it; give another --model")
    kind = kind_of(settings)
    pixels = read_image(plate)
    (output,) = open_teacher(settings)([pixels])
    values = to_values(output, settings)
    if kind == predictor.depth_kind == "metric":
        depth = np.nan_to_num(values, nan=0.0)
    else:
        own = predictor.predict(pixels, pixels).depth
        assert own is not None  # its kind is not "none"
        depth = aligned(values, own, disparity=kind == "disparity")
    if not (depth > 0).any():
        raise InputError(f"the teacher {settings.depth} knows the depth of no pixel of {plate}; see --teacher-unit")
    return _write(depth.astype(np.float32), predictor.depth_kind, out)


def aligned(values: Float[np.ndarray, "h w"], own: Depth, *, disparity: bool = False) -> Depth:
    """A teacher's values, right up to scale and shift in depth (or disparity), as depth in the units of `own`.

    values: nan = unknown. own: > 0. Returns 0 where unknown. Raises InputError when the two have nothing in common.
    """
    target = 1 / own.astype(np.float64) if disparity else own.astype(np.float64)
    known = np.isfinite(values)
    t, y = values[known].astype(np.float64), target[known]
    if t.size < 2 or t.std() == 0:
        raise InputError("the teacher gives the whole plate one depth; its preprocessing is declared wrongly, perhaps")
    likeness = float(np.corrcoef(_ranks(t), _ranks(y))[0, 1])
    scale, shift = _fit(t, y)
    if scale <= 0 or likeness < _LEAST_LIKENESS:
        opposite = "depth" if disparity else "disparity"
        raise InputError(
            f"the teacher's answer for the plate and the model's own go together by {likeness:.2f} (1 = perfectly), at "
            f"least {_LEAST_LIKENESS} is needed: is its output {opposite} (--teacher-output)? Give --plate-depth FILE "
            "otherwise, or leave the plate's depth out"
        )
    fitted = np.where(known, scale * np.nan_to_num(values) + shift, 0.0)
    depth = np.divide(1.0, fitted, out=np.zeros_like(fitted), where=fitted > 0) if disparity else fitted
    return np.where((depth >= NEAR_M) & (depth <= FAR_M), depth, 0).astype(np.float32)


def _fit(t: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Scale and shift of the smallest robust relative error, from where the middle halves of both would meet."""
    rows = np.stack((t / y, 1 / y), axis=1)
    (low, middle, high), (near, centre, far) = np.percentile(t, (25, 50, 75)), np.percentile(y, (25, 50, 75))
    scale = (far - near) / max(high - low, 1e-9)
    found = np.array((scale, centre - scale * middle))
    for number in range(_ROUNDS):
        loses_vote = max(_LOSES_VOTE, 0.5 * 0.7**number)
        root = 1 / (1 + ((rows @ found - 1) / loses_vote) ** 2)  # of the weight
        found = np.linalg.lstsq(rows * root[:, None], root, rcond=None)[0]
    return float(found[0]), float(found[1])


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Their places in order: what correlates ranks (Spearman) asks for no straight line, and few outliers harm it."""
    ranks = np.empty(values.size)
    ranks[np.argsort(values, kind="stable")] = np.arange(values.size)
    return ranks


def _write(depth: Depth, kind: str, out: Path) -> Path:
    if kind == "metric":
        write_depth(out / f"{NAME}.png", depth)
        return out / f"{NAME}.png"
    path = out / f"{NAME}.npy"
    write_atomically(path, lambda partial: np.save(partial, depth))
    return path
