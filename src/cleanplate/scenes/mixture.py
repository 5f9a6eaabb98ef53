"""The mixtures: how often and how strongly each effect is drawn.

Contract: `draw_standard` and `draw_train` are pure functions of a key of integers. `standard` is fixed for ever: it is
what models are judged under. `train` is wide. It is made of `families`: one generator decides which of them a scene has
(`SHARES`) and how strong all of it is (`force`), and each family draws from a generator of its own. So leaving one out
changes nothing about what the others draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from cleanplate.scenes.effects import NONE, Effects
from cleanplate.scenes.families import FAMILY, Parts
from cleanplate.scenes.motion import Drift
from cleanplate.scenes.records import FAMILIES, SHOTS, between, chance, draw_seed, generator, normal
from cleanplate.scenes.sensor import Shot, draw_gains
from cleanplate.scenes.shadow import draw_shadow
from cleanplate.settings import EffectKind

UNTOUCHED = 0.04
"""Share of training scenes that stay bit for bit the composite."""

SHARES: dict[EffectKind, float] = {
    "photometric": 0.95,
    "misalignment": 0.5,
    "shadows": 0.45,
    "contact": 0.6,
    "bounce": 0.18,
    "light": 0.4,
    "noise": 0.92,
    "blur": 0.4,
    "compression": 0.55,
    "median_plate": 0.3,
    "background_motion": 0.27,
    "tone": 0.4,
    "camouflage": 0.15,
    "blend": 0.3,
    "plain": 0.1,
    "transparent": 0.05,
}
"""Share of the other training scenes in which a family has a part. `empty` is the plan's matter.

The order numbers the families' generators: a new one goes to the end.
"""

_NUMBER = {kind: number for number, kind in enumerate(SHARES)}


def draw_standard(*key: int) -> Effects:
    """The fixed, moderate effects of evaluation."""
    rng = generator(SHOTS, *key)
    compressed = chance(rng, 0.5)
    plate, frame = (
        Shot(
            gain=draw_gains(
                rng, 1.0 if side == "plate" else float(np.exp(normal(rng, 0.06))), 0.0 if side == "plate" else 0.03
            ),
            read=1.4,
            shot=1.4,
            noise_seed=draw_seed(rng),
            jpeg=int(rng.integers(70, 96)) if compressed else None,
        )
        for side in ("plate", "frame")
    )
    shadow = draw_shadow(rng, 0.5) if chance(rng, 0.6) else None
    drift = Drift(between(rng, -1, 1), between(rng, -1, 1), 0.0, 1.0)
    return Effects(plate, frame, shadow, drift=drift)


def draw_train(*key: int, without: Sequence[EffectKind] = ()) -> Effects:
    """The wide effects of training: half of them mild, half up to strong; without the named families."""
    gates = _gates(*key)
    if gates[0] < UNTOUCHED:
        return NONE
    force = _force(gates)
    parts: Parts = {}
    for number, (kind, share) in enumerate(SHARES.items()):
        if gates[3 + number] < share and kind not in without:
            parts = _joined(parts, _drawn(kind, force, *key))
    return _assembled(parts)


def draw_alone(kind: EffectKind, *key: int) -> Effects:
    """What `train` draws for this key if nothing but this family (of SHARES) had a part in it."""
    return _assembled(_drawn(kind, _force(_gates(*key)), *key))


def _gates(*key: int) -> Float64[np.ndarray, " n"]:
    """What decides whether anything is done, how strongly (two), and which families have a part."""
    return generator(FAMILIES, 0, *key).random(3 + len(SHARES))


def _force(gates: Float64[np.ndarray, " n"]) -> float:
    return float(0.1 + 0.4 * gates[2] if gates[1] < 0.5 else 0.4 + 0.6 * gates[2])


def _drawn(kind: EffectKind, force: float, *key: int) -> Parts:
    return FAMILY[kind](generator(FAMILIES, 1 + _NUMBER[kind], *key), force)


def _joined(parts: Parts, drawn: Parts) -> Parts:
    """Two families' parts; where both have tones, each adds its own to them."""
    if "tones" in parts and "tones" in drawn:
        pairs = zip(parts["tones"], drawn["tones"], strict=True)
        drawn = drawn | {"tones": tuple(replace(one, camouflage=other.camouflage) for one, other in pairs)}
    return parts | drawn


def _assembled(parts: Parts) -> Effects:
    others = {name: value for name, value in parts.items() if "." not in name}
    sway = others.get("sway")
    if sway is not None and "plate.faded" in parts:
        others["sway"] = replace(sway, faded=True)
    return Effects(_shot("plate.", parts), _shot("frame.", parts), **others)


def _shot(side: str, parts: Parts) -> Shot:
    mine = {name.removeprefix(side): value for name, value in parts.items() if name.startswith(side)}
    faded = mine.pop("faded", None)
    if faded is not None:
        # a mean of many frames: little noise, but every frame a little elsewhere
        noise, blur = faded
        mine["read"], mine["shot"] = (noise * mine.get(name, 0.0) for name in ("read", "shot"))
        mine["blur"] = float(np.hypot(mine.get("blur", 0.0), blur))
    return Shot(**mine)
