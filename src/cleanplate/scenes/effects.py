"""The effects of one scene: the record of everything that a camera, its light and its world do to a clean composite.

Contract: frozen, JSON-able, the default does nothing. `mixture` draws it, `camera` applies it; the parts of it are
described where they are applied. Lengths are in pixels of a 128 px canvas and scale with the canvas.
"""

from __future__ import annotations

from dataclasses import dataclass

from cleanplate.scenes.background import Foliage, Screen
from cleanplate.scenes.ground import Bounce, Contact, Reflection
from cleanplate.scenes.light import Glow, Patch
from cleanplate.scenes.looks import Blend, Pane, Plain, Tone
from cleanplate.scenes.motion import Drift, Sway
from cleanplate.scenes.outside import Outside
from cleanplate.scenes.records import from_json, to_json
from cleanplate.scenes.sensor import PERFECT, Shot
from cleanplate.scenes.shadow import Shadow


@dataclass(frozen=True)
class Effects:
    """Everything that is done to one scene. plate, frame: the two exposures.

    On the background of both: foliage. On the frame's alone: sway (and on the plate), screen, reflection, bounce,
    shadow, contacts, outside. On the cutouts: tones, plain, pane, blend. On the whole frame or plate: glow, patches,
    drift (the plate). dragged: length (px) and direction (radians) in which the cutouts moved during the exposure.
    """

    plate: Shot = PERFECT
    frame: Shot = PERFECT
    shadow: Shadow | None = None
    glow: Glow | None = None
    tones: tuple[Tone, ...] = ()
    drift: Drift | None = None
    sway: Sway | None = None
    foliage: Foliage | None = None
    screen: Screen | None = None
    contacts: tuple[Contact, ...] = ()
    outside: Outside | None = None
    reflection: Reflection | None = None
    bounce: Bounce | None = None
    patches: tuple[Patch, ...] = ()
    plain: Plain | None = None
    pane: Pane | None = None
    blend: Blend | None = None
    dragged: tuple[float, float] | None = None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back exactly."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Effects:
        """The effects that `to_json` wrote."""
        return from_json(Effects, text)


NONE = Effects()
