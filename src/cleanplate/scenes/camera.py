"""The camera: what taking two real pictures does to a clean composite.

Contract: `draw_effects` draws an `Effects` record from a seed; `apply_effects(effects, scene)` is pure and gives the
plate and the frame as two real exposures would: a shadow, another light, another exposure, white balance and gamma, a
plate that is a little off or whose foliage has moved, blur, noise, JPEG. The truth (alpha, depth) is the frame's and
never changes. Order, as light travels: cutout's tone -> shadow -> light -> lens (blur) -> sensor (gain, gamma, noise)
-> resolution -> JPEG. Lengths are in pixels of a 128 px canvas and scale with the canvas.

Three mixtures: `none` (bit for bit the composite), `standard` (fixed and moderate, for evaluation) and `train` (wider;
many scenes mild, some strong, some with nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.compose import shared
from cleanplate.scenes.motion import Drift, Sway, drifted, swayed
from cleanplate.scenes.recipe import Recipe
from cleanplate.scenes.records import SHOTS, between, chance, from_json, generator, log_between, normal, to_json
from cleanplate.scenes.sensor import PERFECT, Shot, exposed
from cleanplate.scenes.shadow import Shadow, draw_shadow, shade
from cleanplate.types import AlphaPixels, Pixels, Scene

EffectsName = Literal["train", "standard", "none"]


@dataclass(frozen=True)
class Glow:
    """A smooth change of light over the frame: 1 + slope along an angle (radians) + a round spot."""

    angle: float
    slope: float
    spot: tuple[float, float, float]
    """x, y (0..1) and radius (of the picture's side)."""
    gain: float


@dataclass(frozen=True)
class Tone:
    """One cutout's own look: gain per channel, offset (of 255), how far its mean moves to its surroundings' (0..1)."""

    gain: tuple[float, float, float]
    offset: float
    camouflage: float


@dataclass(frozen=True)
class Effects:
    """Everything that the camera does to one scene. The default does nothing."""

    plate: Shot = PERFECT
    frame: Shot = PERFECT
    shadow: Shadow | None = None
    glow: Glow | None = None
    tones: tuple[Tone, ...] = ()
    drift: Drift | None = None
    sway: Sway | None = None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back exactly."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Effects:
        """The effects that `to_json` wrote."""
        return from_json(Effects, text)


NONE = Effects()


def draw_effects(name: EffectsName, *key: int) -> Effects:
    """The effects of one scene, drawn from the integers of the key (seed, epoch, index) alone."""
    if name == "none":
        return NONE
    rng = generator(SHOTS, *key)
    return _standard(rng) if name == "standard" else _train(rng)


def _standard(rng: np.random.Generator) -> Effects:
    compressed = chance(rng, 0.5)
    plate, frame = (
        Shot(
            gain=_gains(
                rng, 1.0 if side == "plate" else float(np.exp(normal(rng, 0.06))), 0.0 if side == "plate" else 0.03
            ),
            read=1.4,
            shot=1.4,
            noise_seed=_seed(rng),
            jpeg=int(rng.integers(70, 96)) if compressed else None,
        )
        for side in ("plate", "frame")
    )
    shadow = draw_shadow(rng, 0.5) if chance(rng, 0.6) else None
    drift = Drift(between(rng, -1, 1), between(rng, -1, 1), 0.0, 1.0)
    return Effects(plate, frame, shadow, drift=drift)


def _train(rng: np.random.Generator) -> Effects:
    """A few clean (6 %); then half mild, half up to strong: `force` scales whatever is drawn."""
    if chance(rng, 0.06):
        return NONE
    force = between(rng, 0.1, 0.5) if chance(rng, 0.5) else between(rng, 0.4, 1.0)
    common = float(np.exp(normal(rng, 0.25 * force)))
    colour = _gains(rng, common, 0.06 * force)
    gamma = float(np.exp(normal(rng, 0.15 * force)))
    change = float(np.exp(normal(rng, 0.22 * force))) if chance(rng, 0.6) else 1.0
    changed = _gains(rng, change, 0.07 * force)
    gain = (colour[0] * changed[0], colour[1] * changed[1], colour[2] * changed[2])
    compressed = chance(rng, 0.5)
    blur = between(rng, 0, 0.9) if chance(rng, 0.2) else 0.0
    plate = _shot(rng, force * between(rng, 0.2, 1), colour, gamma, blur, compressed)
    gamma *= float(np.exp(normal(rng, 0.08 * force)))
    frame = _shot(rng, force, gain, gamma, blur, compressed)
    tones = tuple(_tone(rng, force) for _ in range(4)) if chance(rng, 0.5) else ()
    return Effects(
        plate,
        frame,
        shadow=draw_shadow(rng, 0.25 + 0.5 * force) if chance(rng, 0.7) else None,
        glow=_glow(rng, force) if chance(rng, 0.35) else None,
        tones=tones,
        drift=_drift(rng, force) if chance(rng, 0.4) else None,
        sway=_sway(rng, force) if chance(rng, 0.15) else None,
    )


def _shot(
    rng: np.random.Generator,
    force: float,
    gain: tuple[float, float, float],
    gamma: float,
    blur: float,
    compressed: bool,
) -> Shot:
    return Shot(
        gain=gain,
        gamma=gamma,
        read=between(rng, 0.2, 6) * force,
        shot=between(rng, 0, 8) * force,
        grain=chance(rng, 0.4),
        noise_seed=_seed(rng),
        blur=blur + (between(rng, 0, 0.8) * force if chance(rng, 0.25) else 0.0),
        motion=between(rng, 1, 5) * force if chance(rng, 0.04) else 0.0,
        scale=between(rng, 0.5, 0.9) if chance(rng, 0.1) else 1.0,
        jpeg=int(rng.integers(30, 96)) if compressed else None,
    )


def _gains(rng: np.random.Generator, exposure: float, balance: float) -> tuple[float, float, float]:
    red, blue = float(np.exp(normal(rng, balance))), float(np.exp(normal(rng, balance)))
    return exposure * red, exposure * float(np.exp(normal(rng, balance / 2))), exposure * blue


def _tone(rng: np.random.Generator, force: float) -> Tone:
    gain = _gains(rng, log_between(rng, 1 - 0.45 * force, 1 + 0.45 * force), 0.12 * force)
    camouflage = between(rng, 0.3, 0.95) if chance(rng, 0.25) else 0.0
    return Tone(gain, normal(rng, 12 * force), camouflage)


def _glow(rng: np.random.Generator, force: float) -> Glow:
    spot = (between(rng, 0, 1), between(rng, 0, 1), between(rng, 0.15, 0.6))
    return Glow(between(rng, -np.pi, np.pi), between(rng, 0, 0.3) * force, spot, between(rng, -0.35, 0.45) * force)


def _drift(rng: np.random.Generator, force: float) -> Drift:
    wide = 1.2 * force
    x, y = normal(rng, wide), normal(rng, wide)
    if chance(rng, 0.6):
        return Drift(x, y, 0.0, 1.0)
    return Drift(x, y, normal(rng, 0.008 * force), float(np.exp(normal(rng, 0.008 * force))))


def _sway(rng: np.random.Generator, force: float) -> Sway:
    spot = (between(rng, 0, 1), between(rng, 0, 1), between(rng, 0.2, 0.9))
    return Sway(
        _seed(rng), int(rng.integers(4, 20)), between(rng, 0.5, 3.5) * (0.4 + 0.6 * force), spot, chance(rng, 0.4)
    )


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def apply_effects(effects: Effects, scene: Scene) -> tuple[Pixels, Pixels]:
    """(plate, frame) as the camera gives them; with no effects, the scene's own, bit for bit."""
    if effects == NONE:
        return scene.plate, scene.frame
    plate = scene.plate
    if effects.drift is not None:
        plate = drifted(plate, effects.drift)
    if effects.sway is not None:
        plate = swayed(plate, effects.sway)
    frame = scene.frame
    if effects.shadow is not None or effects.glow is not None or effects.tones:
        frame = _lit(effects, scene)
    return exposed(plate, effects.plate), exposed(frame, effects.frame)


def _lit(effects: Effects, scene: Scene) -> Pixels:
    frame = scene.frame.copy()
    if effects.shadow is not None and scene.layers:
        frame = _shadowed(frame, effects.shadow, scene)
    for tone, layer in zip(effects.tones, scene.layers, strict=False):
        _toned(frame, tone, layer.alpha)
    if effects.glow is not None:
        factor = _glowing(effects.glow, *scene.alpha.shape)
        frame = cv2.multiply(frame, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    return frame


def _shadowed(frame: Pixels, shadow: Shadow, scene: Scene) -> Pixels:
    """The frame less the light that its background loses: the cutouts' own part of each pixel stays."""
    recipe = Recipe.from_json(scene.recipe)
    lens = recipe.focal, recipe.aspect
    left = shade(shadow, recipe.placements, scene.layers, recipe.view, lens, recipe.up, scene.plate_depth)
    lost = (1 - left) * (255 - scene.alpha) * np.float32(1 / 255)
    per_channel = cv2.merge([lost * np.float32(tint) for tint in shadow.tint])
    return cv2.subtract(frame, cv2.multiply(scene.plate, per_channel, dtype=cv2.CV_32F), dtype=cv2.CV_8U)


def _toned(frame: Pixels, tone: Tone, alpha: AlphaPixels) -> None:
    """Recolour one layer in place, as much as its alpha shows of it: colour -> gain x colour + offset."""
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        return
    spot = slice(top, top + height), slice(left, left + width)
    part, share = frame[spot], alpha[spot]
    gain, offset = np.array(tone.gain), np.full(3, tone.offset)
    if tone.camouflage and (share < 255).any():
        own, around = (np.array(cv2.mean(part, where)[:3]) for where in (share, 255 - share))
        offset = (1 - tone.camouflage) * offset + tone.camouflage * (around - own)
        gain = 1 + (gain - 1) * (1 - tone.camouflage)
    levels = np.arange(256)[:, None, None] * gain + offset
    toned = cv2.LUT(part, np.clip(levels + 0.5, 0, 255).astype(np.uint8))
    weight = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)
    frame[spot] = shared(weight, toned) + shared(255 - weight, part)


def _glowing(glow: Glow, height: int, width: int) -> Float32[np.ndarray, "h w"]:
    """The factor of a change of light, drawn on 16 x 16 points: it is smooth."""
    at = (np.arange(16, dtype=np.float32) + 0.5) / 16
    x, y = at[None], at[:, None]
    slope = np.float32(2 * glow.slope) * (
        (x - 0.5) * np.float32(np.cos(glow.angle)) + (y - 0.5) * np.float32(np.sin(glow.angle))
    )
    across, down, radius = glow.spot
    spot = np.exp(((x - np.float32(across)) ** 2 + (y - np.float32(down)) ** 2) * np.float32(-0.5 / radius**2))
    small = np.maximum(1 + slope + np.float32(glow.gain) * spot, np.float32(0.2))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
