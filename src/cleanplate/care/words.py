"""Words: a diagnosis in plain sentences, each with what was found, whether it is corrected, and what to do.

Contract: `words(diagnosis)` gives at least one sentence; `consult` prints them, or the figures as JSON. The limits are
those from which a finding has a visible effect on masks; below them nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cleanplate.care.doctor import Diagnosis, examine_files
from cleanplate.pictures.writing import write_atomically

_GAIN, _BALANCE, _BLUR, _NOISE, _BLOCKS, _QUALITY = 0.03, 0.04, 0.6, 5.0, 1.2, 60
_LIGHT, _CLIPPED, _SHAKE, _MUCH, _UNLIKE = 0.2, 0.1, 1.5, 0.5, 0.75


def words(diagnosis: Diagnosis) -> list[str]:
    """What is wrong, what is corrected, what to do: one sentence or two each, the gravest first."""
    asked: tuple[Callable[[Diagnosis], str], ...] = (
        _other_scene, _sizes, _moved, _exposure, _light, _clipped, _soft, _noisy, _compressed, _crowded
    )  # fmt: skip
    found = [sentence for ask in asked if (sentence := ask(diagnosis))]
    return found or ["The plate fits the frames: nothing is wrong, and nothing is corrected."]


def consult(plate: Path, path: Path, to: Path | None = None) -> Diagnosis:
    """Examine a plate with a picture, a video or a folder of frames, and print what is found.

    to: write the figures and the sentences there as JSON; `-` prints that instead. Raises InputError.
    """
    diagnosis = examine_files(plate, path)
    sentences = words(diagnosis)
    text = json.dumps({**asdict(diagnosis), "words": sentences}, indent=2) + "\n"
    if to == Path("-"):
        print(text, end="")
        return diagnosis
    frames = "1 frame" if diagnosis.frames == 1 else f"{diagnosis.frames} frames"
    print(f"{plate} and {frames} of {path}:")
    for sentence in sentences:
        print(f"- {sentence}")
    if to is not None:
        write_atomically(to, text.encode())
    return diagnosis


def _other_scene(found: Diagnosis) -> str:
    if found.foreground < _UNLIKE:
        return ""
    return (
        f"{found.foreground:.0%} of the picture differs, and neither motion nor exposure explains it: the plate seems "
        "to show another scene, or the camera was turned. Not corrected. Take a new plate, or let --plate auto find it."
    )


def _sizes(found: Diagnosis) -> str:
    plate, frame = (f"{size[1]}x{size[0]}" for size in (found.plate_size, found.frame_size))
    if plate == frame:
        return ""
    shapes = [size[1] / size[0] for size in (found.plate_size, found.frame_size)]
    if abs(shapes[0] / shapes[1] - 1) > 0.02:
        return (
            f"The plate is {plate} and the frames are {frame}, which is another shape: stretching would bend the "
            "scene. Not corrected. Crop the plate to what the frames show, or take it with their camera and settings."
        )
    return f"The plate is {plate} and the frames are {frame}. Give --fit to predict, which resizes the plate."


def _moved(found: Diagnosis) -> str:
    right, down = found.shift_px
    if max(abs(right), abs(down)) < 0.05 and abs(found.turn_deg) < 0.05 and abs(found.zoom - 1) < 0.001:
        if found.shake_px < _SHAKE:
            return ""
        return f"The camera shakes: single frames lie up to {found.shake_px:.1f} px off. Corrected. Fix it firmly."
    said = f"The camera has moved: frames must go {right:+.1f} px right and {down:+.1f} px down to lie on the plate"
    if abs(found.turn_deg) >= 0.05:
        said += f", turn by {found.turn_deg:+.2f} degrees"
    if abs(found.zoom - 1) >= 0.001:
        said += f", zoom by {found.zoom:.3f}"
    said += f" (confidence {found.confidence:.2f}). Corrected."
    if found.shake_px >= _SHAKE:
        said += f" It shakes, too: single frames lie up to {found.shake_px:.1f} px from that. Fix it firmly."
    elif max(abs(right), abs(down)) > 0.03 * max(found.frame_size):
        said += " It has moved far: what has come into view has no plate. Take a new one."
    return said


def _exposure(found: Diagnosis) -> str:
    if max(abs(gain - 1) for gain in found.gain) < _GAIN:
        return ""
    gains = " ".join(f"{gain:.2f}" for gain in found.gain)
    balance = max(found.gain) / max(min(found.gain), 1e-3) - 1 > _BALANCE
    what = "Exposure and white balance differ" if balance else "Exposure differs"
    return (
        f"{what}: the frames' red, green and blue are multiplied by {gains}. Corrected. Lock the camera's "
        f"{'exposure and white balance' if balance else 'exposure'} if you can."
    )


def _light(found: Diagnosis) -> str:
    if found.light_change < _LIGHT:
        return ""
    return (
        f"The light falls differently: one corner has changed by {found.light_change:.0%} more than another. Not "
        "corrected. Take the plate at the same time of day and with the same lamps."
    )


def _clipped(found: Diagnosis) -> str:
    if found.clipped < _CLIPPED:
        return ""
    return (
        f"{found.clipped:.0%} of the frames' values are white: things in front of white places can't be told from them "
        "by brightness. Expose less."
    )


def _soft(found: Diagnosis) -> str:
    if found.softer is None or found.blur_px < _BLUR:
        return ""
    what, other = ("plate", "frames") if found.softer == "plate" else ("frames", "plate")
    return (
        f"The {what} {'is' if what == 'plate' else 'are'} softer than the {other}, as if blurred by "
        f"{found.blur_px:.1f} px. Not corrected. Use one focus, one lens setting and one resolution for both."
    )


def _noisy(found: Diagnosis) -> str:
    if max(found.plate_noise, found.frame_noise) < _NOISE:
        return ""
    advice = "More light helps the frames; " if found.frame_noise >= _NOISE else ""
    return (
        f"Noise: {found.plate_noise:.1f} in the plate, {found.frame_noise:.1f} in the frames (of 255). Not corrected. "
        f"{advice}a plate that is the mean of many frames (--plate auto) has hardly any."
    )


def _compressed(found: Diagnosis) -> str:
    said = []
    for what, blocks, quality in (
        ("plate", found.plate_blocks, found.plate_quality),
        ("frames", found.frame_blocks, found.frame_quality),
    ):
        if quality is not None and quality < _QUALITY:
            said.append(f"the {what} (JPEG quality {quality})")
        elif blocks > _BLOCKS:
            said.append(f"the {what} (steps at block borders {blocks:.1f} times the others)")
    if not said:
        return ""
    return f"Compression has left blocks in {' and '.join(said)}. Not corrected. Record at a higher quality."


def _crowded(found: Diagnosis) -> str:
    if not _MUCH <= found.foreground < _UNLIKE:
        return ""
    return (
        f"{found.foreground:.0%} of the picture differs from the plate: motion and exposure are less sure. If nothing "
        "so large stands in front, the scene has changed: take a new plate."
    )
