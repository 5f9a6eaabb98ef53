"""Mixtures: `standard` never moves, `train` is made of families that know nothing of each other, and records replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import get_args

import numpy as np
import pytest

from cleanplate.scenes.effects import NONE, Effects
from cleanplate.scenes.families import FAMILY
from cleanplate.scenes.mixture import SHARES, UNTOUCHED, draw_alone, draw_standard, draw_train
from cleanplate.settings import EffectKind

FIRST_STANDARD = {
    "plate": {"gain": [1.0, 1.0, 1.0], "read": 1.4, "shot": 1.4, "noise_seed": 58201968, "jpeg": 81},
    "frame": {
        "gain": [1.053226560980106, 1.0659742002325194, 1.1387807643864225],
        "read": 1.4,
        "shot": 1.4,
        "noise_seed": 302283312,
        "jpeg": 95,
    },
    "shadow": {
        "lights": [
            {
                "azimuth": -2.1441532254141933,
                "elevation": 0.4005544820819198,
                "distance": 3.4436940293865925,
                "strength": 0.2302992131967014,
                "softness": 0.8174610240910104,
            }
        ],
        "contact": 0.20463532778504157,
        "spread": 0.36368962879627065,
        "tint": [0.9125970526407827, 0.9840705415757516, 0.877616751062231],
        "pitch": 0.5404055731404062,
        "wall": 1.2940264843337794,
    },
    "drift": {"x": -0.6183945150501875, "y": -0.33251556724425746, "turn": 0.0, "zoom": 1.0},
}
"""`standard` of the key (0, 0, 0), as it was when the first models were judged."""
THREE_HUNDRED = "000f0e699fd75807186d77bb87877b71c933f4411f1ae042c5ea92a794f1e415"
"""SHA-256 of `numbers` of `standard` of the keys (4, 1, 0..299), likewise."""
SHOT = ("gain", "gamma", "read", "shot", "grain", "noise_seed", "blur", "motion", "scale", "jpeg")

OWN: dict[EffectKind, set[str]] = {
    "photometric": {"gain", "gamma", "veil", "vignette"},
    "misalignment": {"drift"},
    "shadows": {"shadow", "outside"},
    "contact": {"contacts"},
    "bounce": {"bounce", "reflection"},
    "light": {"glow", "patches"},
    "noise": {"read", "shot", "grain", "noise_seed"},
    "blur": {"blur", "motion", "direction", "scale", "dragged"},
    "compression": {"jpeg", "video", "grid"},
    "median_plate": {"plate.read", "plate.shot", "plate.blur", "sway.faded"},
    "background_motion": {"sway", "sway.faded", "foliage", "screen"},
    "tone": {"look"},
    "camouflage": {"camouflage"},
    "blend": {"blend"},
    "plain": {"plain"},
    "transparent": {"pane"},
    "empty": set(),
}
"""Fields that a family decides."""


def fields(effects: Effects) -> dict[str, object]:
    """The record taken apart into what different families decide."""
    parts: dict[str, object] = {name: v for name, v in vars(effects).items() if name not in ("plate", "frame", "tones")}
    for side in ("plate", "frame"):
        parts |= {f"{side}.{name}": value for name, value in vars(getattr(effects, side)).items()}
    if effects.sway is not None:
        parts["sway"] = replace(effects.sway, faded=False)
    parts["sway.faded"] = effects.sway is not None and effects.sway.faded
    tones = effects.tones or ()
    parts["look"] = [(tone.gain, tone.offset) for tone in tones] or [((1.0, 1.0, 1.0), 0.0)] * 4
    parts["camouflage"] = [tone.camouflage for tone in tones] or [0.0] * 4
    return parts


def owned(name: str, kind: EffectKind) -> bool:
    return name in OWN[kind] or name.rpartition(".")[2] in OWN[kind]


def numbers(value: object) -> Iterator[str]:
    """Every number of nested records, in six decimals: no processor computes those differently."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from numbers(item)
    else:
        yield "-" if value is None else f"{value:.6f}"


def test_standard_is_what_it_always_was():
    expected, drawn = Effects.from_json(json.dumps(FIRST_STANDARD)), draw_standard(0, 0, 0)
    assert list(numbers(asdict(drawn))) == list(numbers(asdict(expected)))
    pinned = hashlib.sha256()
    for index in range(300):
        effects = asdict(draw_standard(4, 1, index))
        shots = [[effects[side][name] for name in SHOT] for side in ("plate", "frame")]
        drift = [effects["drift"][name] for name in ("x", "y", "turn", "zoom")]
        pinned.update(" ".join(numbers([*shots, effects["shadow"], drift])).encode())
    assert pinned.hexdigest() == THREE_HUNDRED


def test_standard_knows_nothing_of_the_families():
    for index in range(100):
        drawn = fields(draw_standard(1, 0, index))
        used = {name.rpartition(".")[2] for name, value in drawn.items() if value != fields(NONE)[name]}
        assert used <= {"gain", "read", "shot", "noise_seed", "jpeg", "shadow", "drift"}


def test_every_family_is_known_everywhere():
    assert set(SHARES) == set(FAMILY) == set(get_args(EffectKind)) - {"empty"}
    assert set(OWN) == set(get_args(EffectKind))


@pytest.mark.parametrize("kind", get_args(EffectKind))
def test_leaving_a_family_out_changes_nothing_about_the_others(kind):
    changed, nothing = 0, fields(NONE)
    for index in range(80):
        whole, rest = fields(draw_train(3, 0, index)), fields(draw_train(3, 0, index, without=(kind,)))
        for name, value in whole.items():
            if not owned(name, kind):
                assert rest[name] == value, name
            elif kind != "median_plate":
                assert rest[name] == nothing[name] or _is_faded(rest, name), name
        changed += whole != rest
    share = 0 if kind == "empty" else SHARES[kind]
    assert changed / 80 == pytest.approx(share, abs=0.2)
    assert bool(changed) == (kind != "empty")


def _is_faded(rest: dict[str, object], name: str) -> bool:
    """Whether a plate's blur is that of a mean of many frames, which is another family's."""
    return name == "plate.blur" and isinstance(rest[name], float) and 0.1 <= rest[name] <= 0.6


def test_without_any_family_nothing_is_done():
    for index in range(50):
        assert draw_train(0, 0, index, without=tuple(SHARES)) == NONE


@pytest.mark.parametrize("kind", SHARES)
def test_a_family_alone_is_what_train_draws_when_only_it_is_left(kind):
    others, nothing, met = [other for other in SHARES if other != kind], fields(NONE), 0
    for index in range(30):
        left, alone = draw_train(2, 0, index, without=others), draw_alone(kind, 2, 0, index)
        assert left in (alone, NONE)
        met += left == alone
        assert all(owned(name, kind) for name, value in fields(alone).items() if value != nothing[name])
    assert met


def test_each_family_has_its_share():
    # what a median plate does to a plate is told from the others' work elsewhere
    drawn = [draw_train(0, 0, index, without=("median_plate",)) for index in range(2000)]
    nothing, taken = fields(NONE), [fields(effects) for effects in drawn]
    assert np.mean([effects == NONE for effects in drawn]) == pytest.approx(UNTOUCHED, abs=0.015)
    # a family that has a part may still draw nothing: a lens in focus, no light that changed
    silent = {"shadows": 0.1 * 0.85, "light": 0.2 * 0.75, "blur": 0.6 * 0.15 * 0.88, "camouflage": 0.4**4}
    for kind in set(SHARES) - {"median_plate"}:
        names = [name for name in nothing if owned(name, kind)]
        found = np.mean([any(parts[name] != nothing[name] for name in names) for parts in taken])
        expected = (1 - UNTOUCHED) * SHARES[kind] * (1 - silent.get(kind, 0))
        assert found == pytest.approx(expected, abs=0.04), kind


def test_a_median_plate_is_calm_and_a_little_soft():
    seen = 0
    for index in range(150):
        with_it, without = draw_train(8, index), draw_train(8, index, without=("median_plate",))
        if with_it == without:
            continue
        seen += 1
        assert with_it.plate.read <= 0.5 * without.plate.read
        assert with_it.plate.shot <= 0.5 * without.plate.shot
        assert with_it.plate.blur > without.plate.blur
        assert with_it.frame == without.frame
        assert with_it.sway is None or with_it.sway.faded
    assert seen / 150 == pytest.approx(SHARES["median_plate"], abs=0.08)


def test_records_replay_from_json_and_belong_to_their_key():
    drawn = [draw_train(5, 2, index) for index in range(120)]
    assert [Effects.from_json(effects.to_json()) for effects in drawn] == drawn
    assert [draw_train(5, 2, index) for index in range(120)] == drawn
    assert len(set(drawn)) > 105
    assert draw_train(5, 2, 7) != draw_train(5, 3, 7) != draw_train(6, 3, 7)
