"""The families of `train`: what each of them draws, weak or strong.

Contract: `FAMILY[kind](rng, force)` gives the fields of `Effects` that the family decides; `force`, 0..1, scales them.
Which families have a part in a scene, and how often, `mixture` says; it also puts the fields together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cleanplate.scenes.background import Foliage, Screen
from cleanplate.scenes.ground import Bounce, Contact, Reflection
from cleanplate.scenes.light import Glow, Patch
from cleanplate.scenes.looks import Blend, Pane, Plain, Tone
from cleanplate.scenes.motion import Drift, Sway
from cleanplate.scenes.outside import Outside
from cleanplate.scenes.records import between, chance, draw_seed, log_between, normal
from cleanplate.scenes.sensor import draw_gains
from cleanplate.scenes.shadow import Light, Shadow
from cleanplate.settings import EffectKind

Draw = np.random.Generator
Parts = dict[str, Any]
"""Fields of `Effects` that a family has drawn; those of the two exposures are named plate.FIELD and frame.FIELD."""


def _photometric(rng: Draw, force: float) -> Parts:
    """Both pictures' look, and one picture's change of exposure, white balance, gamma, veil and vignette."""
    common = draw_gains(rng, float(np.exp(normal(rng, 0.25 * force))), 0.06 * force)
    gamma = float(np.exp(normal(rng, 0.15 * force)))
    parts: Parts = {"plate.gain": common, "frame.gain": common, "plate.gamma": gamma, "frame.gamma": gamma}
    side = "plate" if chance(rng, 0.4) else "frame"
    if chance(rng, 0.8):
        exposure = log_between(rng, 0.55, 1.8) if chance(rng, 0.12) else float(np.exp(normal(rng, 0.2 * force)))
        red, green, blue = draw_gains(rng, exposure, 0.1 * force)
        parts[f"{side}.gain"] = (common[0] * red, common[1] * green, common[2] * blue)
        parts[f"{side}.gamma"] = gamma * float(np.exp(normal(rng, 0.1 * force)))
    if chance(rng, 0.12):
        parts[f"{side}.veil"] = between(rng, -12, 25) * force
    if chance(rng, 0.25):
        parts["plate.vignette"] = parts["frame.vignette"] = between(rng, 0.05, 0.5) * force
        if chance(rng, 0.6):
            parts[f"{side}.vignette"] = 0.0
    return parts


def _misalignment(rng: Draw, force: float) -> Parts:
    """Mostly within a pixel and a half; in every eighth up to four."""
    wide = 2.0 if chance(rng, 0.12) else 0.75 * (0.3 + 0.7 * force)
    x, y = normal(rng, wide), normal(rng, wide)
    if chance(rng, 0.55):
        return {"drift": Drift(x, y, 0.0, 1.0)}
    turn, zoom = normal(rng, 0.0087 * force), float(np.exp(normal(rng, 0.006 * force)))
    tilt = (normal(rng, 0.005 * force), normal(rng, 0.005 * force)) if chance(rng, 0.3) else (0.0, 0.0)
    return {"drift": Drift(x, y, turn, zoom, tilt)}


def _shadows(rng: Draw, force: float) -> Parts:
    """Cast by what stands in the picture, three in ten strong; some by what stands beside it."""
    parts: Parts = {}
    if chance(rng, 0.9):
        strong = chance(rng, 0.3)
        low = chance(rng, 0.2)
        lights = tuple(
            Light(
                azimuth=between(rng, -np.pi, np.pi),
                elevation=log_between(rng, 0.1, 0.35) if low else between(rng, 0.35, 1.35),
                distance=30.0 if low else log_between(rng, 1.5, 30),
                strength=_strength(rng, force, strong) / (1 + 0.8 * number),
                softness=log_between(rng, 0.3, 6),
            )
            for number in range(2 if chance(rng, 0.25) else 1)
        )
        pitch, wall = between(rng, 0.1, 0.8), between(rng, 1.05, 2.5)
        parts["shadow"] = Shadow(lights, 0.0, 0.5, _tint(rng), pitch, wall)
    if chance(rng, 0.15):
        parts["outside"] = _outside(rng, force)
    return parts


def _outside(rng: Draw, force: float) -> Outside:
    rim, place = int(rng.integers(3)), between(rng, 0, 1)
    x, y, facing = ((0.02, 0.4 + 0.58 * place, 0.0), (0.98, 0.4 + 0.58 * place, np.pi), (place, 0.98, np.pi / 2))[rim]
    return Outside(
        kind=("figure", "pole", "house", "branch")[int(rng.integers(4))],
        seed=draw_seed(rng),
        x=x,
        y=y,
        angle=facing + between(rng, -0.9, 0.9),
        length=log_between(rng, 0.15, 1.5),
        width=log_between(rng, 0.1, 0.8),
        elevation=between(rng, 0.2, 1.3),
        strength=_strength(rng, force, chance(rng, 0.4)),
        softness=log_between(rng, 0.3, 4),
        tint=_tint(rng),
        pitch=between(rng, 0.1, 0.8),
        wall=between(rng, 1.05, 2.5),
    )


def _contact(rng: Draw, force: float) -> Parts:
    """Often narrow and almost black, as under shoes and cars; often with a wide and faint one around it."""
    contacts = []
    if chance(rng, 0.65):
        strength, across = between(rng, 0.6, 0.97), log_between(rng, 0.02, 0.6)
        contacts.append(Contact(strength, log_between(rng, 0.02, 0.12), across, log_between(rng, 0.7, 3.5)))
    if not contacts or chance(rng, 0.5):
        strength, across = between(rng, 0.15, 0.7) * (0.4 + 0.6 * force), between(rng, 0.2, 0.8)
        contacts.append(Contact(strength, between(rng, 0.05, 0.3), across, between(rng, 3, 9)))
    return {"contacts": tuple(contacts)}


def _bounce(rng: Draw, force: float) -> Parts:
    if chance(rng, 0.35):
        return {"reflection": Reflection(between(rng, 0.08, 0.5), between(rng, 0.3, 1.2), between(rng, 0, 2))}
    return {"bounce": Bounce(between(rng, 0.05, 0.35) * (0.4 + 0.6 * force), between(rng, 3, 14))}


def _light(rng: Draw, force: float) -> Parts:
    parts: Parts = {}
    if chance(rng, 0.8):
        spot = (between(rng, 0, 1), between(rng, 0, 1), between(rng, 0.15, 0.6))
        angle, slope = between(rng, -np.pi, np.pi), between(rng, 0, 0.35) * force
        parts["glow"] = Glow(angle, slope, spot, between(rng, -0.4, 0.5) * force)
    if chance(rng, 0.25):
        parts["patches"] = tuple(_patch(rng, force) for _ in range(int(rng.integers(1, 3))))
    return parts


def _patch(rng: Draw, force: float) -> Patch:
    lamp = chance(rng, 0.4)
    gain = between(rng, -0.45, 0.0) if chance(rng, 0.3) else log_between(rng, 0.15, 1.3)
    gain *= 0.4 + 0.6 * force
    across, down = log_between(rng, 0.04, 0.3), log_between(rng, 0.04, 0.35)
    return Patch(
        x=between(rng, 0, 1),
        y=between(rng, 0, 1),
        across=across,
        down=down,
        lean=between(rng, -1, 1),
        round=lamp,
        bar=chance(rng, 0.5),
        gain=(gain, gain * between(rng, 0.85, 1), gain * between(rng, 0.5, 1)),
        edge=log_between(rng, 2, 12) if lamp else log_between(rng, 0.3, 3),
        plate=chance(rng, 0.35),
    )


def _noise(rng: Draw, force: float) -> Parts:
    """Each picture its own; a plate is often the better picture."""
    parts: Parts = {}
    for side, share in (("plate", between(rng, 0.2, 1)), ("frame", 1.0)):
        parts[f"{side}.read"] = between(rng, 0.2, 6) * force * share
        parts[f"{side}.shot"] = between(rng, 0, 8) * force * share
        parts[f"{side}.grain"] = chance(rng, 0.4)
        parts[f"{side}.noise_seed"] = draw_seed(rng)
    return parts


def _blur(rng: Draw, force: float) -> Parts:
    """A soft lens, one picture out of focus, shaken, or of fewer pixels."""
    common = between(rng, 0, 0.9) if chance(rng, 0.4) else 0.0
    parts: Parts = {"plate.blur": common, "frame.blur": common}
    side = "plate" if chance(rng, 0.5) else "frame"
    which = between(rng, 0, 1)
    if which < 0.5:
        parts[f"{side}.blur"] = float(np.hypot(common, between(rng, 0.2, 1.4) * (0.3 + 0.7 * force)))
    elif which < 0.65:
        parts[f"{side}.motion"], parts[f"{side}.direction"] = between(rng, 2, 5), between(rng, 0, np.pi)
    elif which < 0.85:
        parts[f"{side}.scale"] = between(rng, 0.5, 0.9)
    if chance(rng, 0.12):
        parts["dragged"] = (between(rng, 2, 3.9), between(rng, 0, np.pi))
    return parts


def _compression(rng: Draw, force: float) -> Parts:
    """JPEG of both or of one; in every fourth a frame of a video at a low bit rate, half of them with such a plate."""
    best = 95 - round(45 * force)
    if chance(rng, 0.25):
        sides = ("plate", "frame") if chance(rng, 0.6) else ("frame",)
        parts: Parts = {}
        for side in sides:
            parts[f"{side}.video"] = int(rng.integers(14, 46))
            parts[f"{side}.grid"] = (int(rng.integers(8)), int(rng.integers(8)))
        return parts
    sides = ("plate", "frame") if chance(rng, 0.75) else (("plate",) if chance(rng, 0.4) else ("frame",))
    return {f"{side}.jpeg": int(rng.integers(best - 20, 97)) for side in sides}


def _median_plate(rng: Draw, _: float) -> Parts:
    return {"plate.faded": (between(rng, 0.1, 0.5), between(rng, 0.1, 0.6))}


def _background_motion(rng: Draw, force: float) -> Parts:
    """Foliage that sways, painted or whatever the plate shows; water; a screen that shows something else."""
    which = between(rng, 0, 1)
    if which < 0.1:
        return {"screen": _screen(rng)}
    amplitude = log_between(rng, 0.6, 5) * (0.5 + 0.5 * force)
    spots = tuple((between(rng, 0, 1), between(rng, 0, 0.9), log_between(rng, 0.12, 0.6)) for _ in range(3))
    spots = spots[: int(rng.integers(1, 4))]
    sway = Sway(
        seed=draw_seed(rng),
        cells=int(log_between(rng, 5, 40)),
        amplitude=amplitude,
        spot=spots[0],
        faded=chance(rng, 0.3),
        more=spots[1:],
        flicker=between(rng, 0, 0.2) * force if chance(rng, 0.5) else 0.0,
        framed=chance(rng, 0.35),
    )
    if which < 0.22:
        return {"sway": replace(sway, ripple=True, cells=min(sway.cells, 24))}
    if which > 0.6:
        return {"sway": sway}
    green, bright = between(rng, 0.3, 1), between(rng, 70, 230)
    colour = (bright * between(rng, 0.45, 1.05), bright, bright * between(rng, 0.2, 0.8) * green)
    leaf = Foliage(draw_seed(rng), spots[0], log_between(rng, 1.5, 7), colour, between(rng, 0.02, 0.5))
    return {"sway": sway, "foliage": leaf}


def _screen(rng: Draw) -> Screen:
    width, height = log_between(rng, 0.08, 0.4), log_between(rng, 0.08, 0.35)
    bright = between(rng, 60, 255)
    return Screen(
        seed=draw_seed(rng),
        x=between(rng, 0, 1 - width),
        y=between(rng, 0, 0.8 - height),
        width=width,
        height=height,
        cells=int(rng.integers(2, 9)),
        colour=(bright * between(rng, 0.6, 1), bright * between(rng, 0.6, 1), bright * between(rng, 0.6, 1)),
        share=between(rng, 0.4, 1),
    )


def _tone(rng: Draw, force: float) -> Parts:
    tones = []
    for _ in range(4):
        gain = draw_gains(rng, log_between(rng, 1 - 0.5 * force, 1 + 0.5 * force), 0.12 * force)
        tones.append(Tone(gain, normal(rng, 12 * force), 0.0))
    return {"tones": tuple(tones)}


def _camouflage(rng: Draw, _: float) -> Parts:
    shares = (between(rng, 0.3, 0.95) if chance(rng, 0.6) else 0.0 for _ in range(4))
    return {"tones": tuple(Tone((1.0, 1.0, 1.0), 0.0, share) for share in shares)}


def _blend(rng: Draw, _: float) -> Parts:
    kinds = ("soft", "dark", "bright", "eroded", "matched", "hard")
    kind = kinds[int(rng.integers(len(kinds)))]
    return {"blend": Blend(kind, between(rng, 0.2, 0.7) if kind == "matched" else between(rng, 0.2, 1))}


def _plain(rng: Draw, _: float) -> Parts:
    grey, colourful = between(rng, 10, 245), between(rng, 0, 0.6) if chance(rng, 0.6) else 0.0
    colour = tuple(grey * (1 - colourful * between(rng, 0, 1)) for _ in range(3))
    return {"plain": Plain((colour[0], colour[1], colour[2]), between(rng, -0.2, 0.6), between(rng, 0, 0.4))}


def _transparent(rng: Draw, _: float) -> Parts:
    width, height = between(rng, 0.25, 0.8), between(rng, 0.12, 0.4)
    x, y = between(rng, 0.05, 0.95 - width), between(rng, 0.03, 0.35)
    return {"pane": Pane(x, y, width, height, between(rng, 0.3, 0.6))}


FAMILY: dict[EffectKind, Callable[[Draw, float], Parts]] = {
    "photometric": _photometric,
    "misalignment": _misalignment,
    "shadows": _shadows,
    "contact": _contact,
    "bounce": _bounce,
    "light": _light,
    "noise": _noise,
    "blur": _blur,
    "compression": _compression,
    "median_plate": _median_plate,
    "background_motion": _background_motion,
    "tone": _tone,
    "camouflage": _camouflage,
    "blend": _blend,
    "plain": _plain,
    "transparent": _transparent,
}


def _strength(rng: Draw, force: float, strong: bool) -> float:
    return between(rng, 0.6, 0.95) if strong else between(rng, 0.1, 0.6) * (0.35 + 0.65 * force)


def _tint(rng: Draw) -> tuple[float, float, float]:
    """How much of the darkening each channel gets: under the open sky shadows stay a little blue."""
    return between(rng, 0.9, 1.0), between(rng, 0.85, 1.0), between(rng, 0.7, 1.0)
