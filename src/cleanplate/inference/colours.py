"""Colours: what stands in front without the light of what stood behind it, for cutouts laid over something else.

Contract: `decontaminate(frame, alpha, plate)` gives the foreground's own colour F for every pixel that a cutout shows.
Where alpha >= LEAST and F comes out as a colour at all, composing it over the same plate gives the frame back, to the
rounding of 8 bits; where alpha is 1 it is the frame. Solving I = alpha F + (1 - alpha) P,

    F = (I - (1 - alpha) P) / alpha,

multiplies every error by 1 / alpha. So where alpha is little, where there is no plate, and where F would lie so far
outside of 0..255 that frame, plate and alpha can't all be right, F is taken from the nearest sure pixel (`_filled`): a
colour of the thing itself, never of its old background. The fill goes on for REACH of the picture beyond the outline,
as what scales or blurs a cutout mixes those pixels in; farther out, where alpha is 0, all is black.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.care.correct import Correction
from cleanplate.types import Alpha, Pixels

LEAST, TRUSTED = 0.05, 0.1
"""Below LEAST the equation says nothing, from TRUSTED on it is taken at its word; between, both are mixed."""
SOLID = 0.95
"""Without a plate, colours from this alpha on are the foreground's own."""
SOURCE = 0.7
"""With one, sure colours from this alpha on are good enough to fill others with."""
WRONG = 6.0
"""An F whose part in the frame, alpha F, lies so many levels outside of what it could be is no colour."""
REACH = 0.01
"""Of the longer side, at least 4 px: how far beyond the outline colours go on."""


def decontaminate(frame: Pixels, alpha: Alpha, plate: Pixels | None = None) -> Pixels:
    """The foreground's own colours, uint8 [h, w, 3]; black far from it.

    frame, plate: uint8 [h, w, 3] of one size that lie on each other (see `fitted_plate`). alpha: 0..1 [h, w].
    """
    shown = np.flatnonzero(alpha.ravel() > 0)
    found = np.zeros_like(frame)
    if not len(shown):
        return found
    share = np.ascontiguousarray(alpha).ravel()[shown]
    colours, sure = _solved(frame, share, shown, plate)
    found.reshape(-1, 3)[shown] = colours
    known = alpha >= (SOLID if plate is None else SOURCE)
    known.ravel()[shown] &= sure >= 1
    filled = _filled(found, known, alpha)
    if filled is None:
        return np.where((alpha > 0)[..., None], frame, 0).astype(np.uint8)
    mixed = filled.reshape(-1, 3)[shown].astype(np.float32)
    mixed += sure[:, None] * (colours - mixed)
    filled.reshape(-1, 3)[shown] = np.round(mixed).astype(np.uint8)
    return filled


def fitted_plate(plate: Pixels, correction: Correction | None) -> Pixels:
    """The plate as the frame's camera would have seen it: plate care's correction of the frame, the other way round."""
    if correction is None or correction.is_identity:
        return plate
    if not correction.exposure.is_identity:
        plate = cv2.LUT(plate, _undone(correction))
    if correction.alignment.is_identity:
        return plate
    height, width = correction.size
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = correction.alignment.matrix
    return cv2.warpPerspective(plate, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _undone(correction: Correction) -> Pixels:
    """The exposure's table the other way round, uint8 [1, 256, 3]."""
    curve = correction.exposure
    values = np.arange(256)[:, None] / 255
    linear = np.maximum(values - np.asarray(curve.offset), 0) / np.asarray(curve.gain)
    back = linear ** (1 / np.asarray(curve.gamma))
    return (np.clip(back, 0, 1) * 255 + 0.5).astype(np.uint8)[None]


def _solved(
    frame: Pixels, share: Float32[np.ndarray, " n"], at: np.ndarray, plate: Pixels | None
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, " n"]]:
    """F by the equation, 0..255, and how sure it is, 0..1, of these pixels."""
    seen = frame.reshape(-1, 3)[at].astype(np.float32)
    if plate is None:
        return seen, np.clip((share - SOURCE) / (SOLID - SOURCE), 0, 1)
    part = seen - (1 - share)[:, None] * plate.reshape(-1, 3)[at]
    over = np.maximum(-part, part - 255 * share[:, None]).max(axis=1)
    sure = np.clip((share - LEAST) / (TRUSTED - LEAST), 0, 1) * np.clip(2 - over / WRONG, 0, 1)
    return np.clip(part / np.maximum(share, np.float32(1e-3))[:, None], 0, 255), sure.astype(np.float32)


def _filled(colours: Pixels, known: np.ndarray, alpha: Alpha) -> Pixels | None:
    """The known colours, and everywhere within reach of alpha > 0 that of the nearest known pixel; None of none."""
    if not known.any():
        return None
    reach = max(4, round(REACH * max(alpha.shape)))
    left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    spot = slice(max(0, top - reach), top + height + reach), slice(max(0, left - reach), left + width + reach)
    filled = np.zeros_like(colours)
    inner, sure = np.where(known[spot][..., None], colours[spot], 0).astype(np.uint8), known[spot]
    _, found = cv2.distanceTransformWithLabels((~sure).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = found.view(np.int32)
    nearest = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    nearest[labels[sure]] = inner[sure]
    spread = nearest.take(labels, axis=0)
    # Nearest pixels meet in hard edges halfway between two parts; only what is sure has edges of its own.
    soft = np.where(sure[..., None], spread, cv2.blur(spread, (reach | 1, reach | 1)))
    side = 2 * reach + 1
    near = cv2.dilate((alpha[spot] > 0).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    filled[spot] = soft * near[..., None]
    return filled
