"""The camera: what taking two real pictures does to a clean composite.

Contract: `draw_effects` draws an `Effects` record from a seed; `apply_effects(effects, scene)` is pure and gives the
plate and the frame as two real exposures would. The truth (alpha, depth) is the frame's and never changes. Order, as
light travels: what the background does (foliage, screens), the cutouts' looks, what they do to the ground (reflection,
bounce), shadows, light, movement, then the two exposures (`sensor`). Lengths are in pixels of a 128 px canvas and scale
with the canvas.

Three mixtures (`mixture`): `none` (bit for bit the composite), `standard` (fixed and moderate, for evaluation) and
`train` (wider; many scenes mild, some strong, some with nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from cleanplate.scenes.background import changed, planted
from cleanplate.scenes.effects import NONE, Effects
from cleanplate.scenes.ground import bounced, darken, mirror
from cleanplate.scenes.light import glowing, patched
from cleanplate.scenes.looks import blend, glaze, largest, lay, paint, tone
from cleanplate.scenes.mixture import draw_standard, draw_train
from cleanplate.scenes.motion import drifted, stirred, swayed
from cleanplate.scenes.outside import shade_outside
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.sensor import exposed, smeared
from cleanplate.scenes.shadow import Map, shade
from cleanplate.settings import EffectKind
from cleanplate.types import Pixels, Scene

EffectsName = Literal["train", "standard", "none"]
Tint = tuple[float, float, float]


def draw_effects(name: EffectsName, *key: int, without: Sequence[EffectKind] = ()) -> Effects:
    """The effects of one scene, drawn from the integers of the key (seed, epoch, index) alone.

    without: families that `train` leaves out; what the others draw stays the same.
    """
    if name == "none":
        return NONE
    return draw_standard(*key) if name == "standard" else draw_train(*key, without=without)


def apply_effects(effects: Effects, scene: Scene) -> tuple[Pixels, Pixels]:
    """(plate, frame) as the camera gives them; with no effects, the scene's own, bit for bit."""
    if effects == NONE:
        return scene.plate, scene.frame
    plate, under = _backgrounds(effects, scene)
    frame = scene.frame.copy()
    if under is not scene.plate:
        _replaced(frame, under, scene)
    if scene.alpha.any():
        _dressed(frame, effects, scene, under)
    frame = _lit(frame, effects, scene, under)
    for patch in effects.patches:
        if patch.plate:
            plate = patched(plate, patch)
    if effects.drift is not None:
        plate = drifted(plate, effects.drift)
    return exposed(plate, effects.plate), exposed(frame, effects.frame)


def _backgrounds(effects: Effects, scene: Scene) -> tuple[Pixels, Pixels]:
    """(the plate, what lies behind the frame's things), both before any light or camera."""
    plate = under = scene.plate
    if effects.foliage is not None:
        plate = under = planted(scene.plate, effects.foliage)
    if effects.sway is not None:
        plate = swayed(plate, effects.sway)
        if effects.sway.framed:
            under = stirred(under, effects.sway)
    if effects.screen is not None:
        under = changed(under, effects.screen)
    return plate, under


def _replaced(frame: Pixels, under: Pixels, scene: Scene) -> None:
    """Put another background behind the frame's things, in place: frame + (1 - alpha) (under - plate)."""
    if not scene.alpha.any():
        frame[:] = under
        return
    weight = cv2.cvtColor(255 - scene.alpha, cv2.COLOR_GRAY2RGB)
    change = cv2.subtract(under, scene.plate, dtype=cv2.CV_16S)
    frame[:] = cv2.add(frame, cv2.multiply(change, weight, scale=1 / 255, dtype=cv2.CV_16S), dtype=cv2.CV_8U)


def _dressed(frame: Pixels, effects: Effects, scene: Scene, under: Pixels) -> None:
    """What changes the cutouts' own looks, in place, and then what their looks do to the ground."""
    for own, layer in zip(effects.tones, scene.layers, strict=False):
        tone(frame, own, layer.alpha)
    if effects.plain is not None or effects.pane is not None:
        alpha = largest(scene.layers)
        if alpha is not None and effects.plain is not None:
            paint(frame, effects.plain, alpha)
        if alpha is not None and effects.pane is not None:
            glaze(frame, effects.pane, alpha, under)
    if effects.blend is not None:
        blend(frame, effects.blend, scene.alpha, under)
    if effects.reflection is not None:
        mirror(frame, effects.reflection, scene.layers, scene.alpha)
    if effects.bounce is not None:
        bounced(frame, effects.bounce, scene.layers, scene.alpha)


def _lit(frame: Pixels, effects: Effects, scene: Scene, under: Pixels) -> Pixels:
    """The frame in its shadows and its light."""
    losses = _losses(effects, scene)
    if losses:
        frame = _dimmed(frame, losses, scene, under)
    for patch in effects.patches:
        if not patch.plate:
            frame = patched(frame, patch)
    if effects.glow is not None:
        factor = glowing(effects.glow, *scene.alpha.shape)
        frame = cv2.multiply(frame, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    return frame if effects.dragged is None else _dragged(frame, *effects.dragged, scene)


def _losses(effects: Effects, scene: Scene) -> list[tuple[Map, Tint]]:
    """Shares of its light that the background loses to each kind of shadow, and how much of that each channel loses."""
    losses = []
    if effects.outside is not None or (effects.shadow is not None and scene.layers):
        recipe = Recipe.from_json(scene.recipe)
        lens = recipe.focal, recipe.aspect
        if effects.shadow is not None and scene.layers:
            placed = recipe.placements, scene.layers
            left = shade(effects.shadow, *placed, recipe.view, lens, recipe.up, scene.plate_depth)
            losses.append((1 - left, effects.shadow.tint))
        if effects.outside is not None:
            left = shade_outside(effects.outside, recipe.view, lens, recipe.up, scene.plate_depth)
            losses.append((1 - left, effects.outside.tint))
    if effects.contacts and scene.layers:
        left = np.full_like(scene.alpha, 255)
        for contact in effects.contacts:
            for layer in scene.layers:
                darken(left, contact, layer.alpha)
        losses.append(((255 - left) * np.float32(1 / 255), (1.0, 1.0, 1.0)))
    return losses


def _dimmed(frame: Pixels, losses: list[tuple[Map, Tint]], scene: Scene, under: Pixels) -> Pixels:
    """The frame less the light that its background loses: the cutouts' own part of each pixel stays."""
    (first, tint), others = losses[0], losses[1:]
    if others:
        channels = [np.float32(share) * first for share in tint]
        for lost, shares in others:
            channels = [one + np.float32(share) * lost * (1 - one) for one, share in zip(channels, shares, strict=True)]
        seen = (255 - scene.alpha) * np.float32(1 / 255)
        per_channel = cv2.merge([channel * seen for channel in channels])
    else:
        lost = first * (255 - scene.alpha) * np.float32(1 / 255)
        per_channel = cv2.merge([lost * np.float32(share) for share in tint])
    return cv2.subtract(frame, cv2.multiply(under, per_channel, dtype=cv2.CV_32F), dtype=cv2.CV_8U)


def _dragged(frame: Pixels, length: float, direction: float, scene: Scene) -> Pixels:
    """The frame with its things smeared: they moved while it was taken, the rest did not."""
    unit = min(scene.alpha.shape) / 128
    if length * unit < 2 or not scene.alpha.any():
        return frame
    around = smeared(cv2.dilate(scene.alpha, np.ones((3, 3), np.uint8)), length * unit, direction)
    return lay(frame, smeared(frame, length * unit, direction), around)
