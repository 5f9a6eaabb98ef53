"""Export: a trained network as ONNX files that have proved to answer as it does.

Contract: `export` writes model.onnx (pictures of any size in, alpha and depth out) or, into a folder, plate.onnx and
frame.onnx (for video: the plate's features once) beside it. Every output is compared with the torch network's on real
pairs first (proving.py): above `LIMIT` nothing is written. Smaller numbers (`--precision`) are offered only where the
mask loses at most `MOST_LOSS` of its IoU, on pairs that had no part in the calibration. What was measured is in each
file's header and in a card beside it.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnx import ModelProto, helper

from cleanplate.export import joining, proving, tracing
from cleanplate.export.precision import halved, quantised
from cleanplate.inference.predictor import WORKING_SIDE
from cleanplate.inference.runtimes import FORMAT, HEADER
from cleanplate.inference.torch_runtime import is_greyscale
from cleanplate.network import checkpoint
from cleanplate.network.fingerprints import pack
from cleanplate.network.fold import folded
from cleanplate.pictures.library import sample_folder
from cleanplate.pictures.pairs import PairPixels, open_pairs, read_pair
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

Precision = Literal["fp32", "fp16", "int8"]
Part = Literal["all", "whole", "video"]

LIMIT = 1e-4
"""Largest difference between network and graph: of alpha, and of ln depth."""
MOST_LOSS = 0.005
"""Most IoU that the mask may lose by smaller numbers."""
COMPARED, JUDGED, CALIBRATING = 4, 12, 12
"""Pairs on which graph and network are compared; on which precisions are judged; which show the ranges of INT8."""
PARTS = {"model.onnx": "whole", "plate.onnx": "plate", "frame.onnx": "frame"}


@dataclass
class Proof:
    """What was measured. differences: largest, by output, before numbers were made smaller; rounded: after that.

    iou: of the network's mask, and by smaller numbers.
    """

    pairs: str
    compared: int
    differences: dict[str, float]
    judged: int = 0
    iou: tuple[float, float] | None = None
    rounded: dict[str, float] | None = None


def export(
    model: Path,
    out: Path,
    pairs: Path | None = None,
    precision: Precision = "fp32",
    floats: bool = False,
    working_side: int = WORKING_SIDE,
    part: Part = "all",
) -> dict[str, Any]:
    """Write the graphs of a model and their card; return the card.

    model: a run's folder or a checkpoint. out: a name that ends in .onnx for the whole graph alone, a folder for all.
    pairs: captured pairs to prove it on; by default the packaged ones. floats: pictures are float32 in 0..1, not uint8.
    working_side: the longest side at which the whole graph looks, pixels. part: what a folder gets: model.onnx (whole)
    or the two halves (video).
    Raises InputError: no model, no pairs, another answer than the network's, too much lost; `out` is then as it was.
    """
    _check(out, part, working_side)
    source = checkpoint.find(model)
    tensors, _ = checkpoint.read_tensors(source)
    network, meta = checkpoint.load(source)
    weights = hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()
    compared, calibrating, judging = _pairs(pairs)
    greyscale, depth = is_greyscale(meta), meta["depth"] != "none"
    cores = tracing.cores(folded(network), greyscale=greyscale, depth=depth)
    parts = tracing.parts(working_side, depth)
    files = joining.assembled(cores, parts, floats)
    found = proving.largest_differences(files, network, compared, working_side, greyscale=greyscale)
    proof = Proof(str(pairs or "sample"), len(compared), found)
    if max(found.values()) > LIMIT:
        told = ", ".join(f"{name} by {value:.2g}" for name, value in found.items())
        raise InputError(f"the exported graph answers otherwise than {source}: {told}; at most {LIMIT} is allowed")
    if precision != "fp32":
        smaller = _smaller(cores, precision, calibrating)
        reduced = joining.assembled(smaller, parts, floats)
        _judge(proof, precision, [proving.predictor(one, meta, working_side) for one in (files, reduced)], judging)
        proof.rounded = proving.largest_differences(reduced, network, compared, working_side, greyscale=greyscale)
        files = reduced
    head = _head(meta, weights, precision, floats, working_side, proof)
    return _write(_wanted(files, out, part), out, head, proof, pack(meta.get("pictures", {})))


def _check(out: Path, part: Part, working_side: int) -> None:
    if working_side < 1:
        raise InputError(f"--working-side is {working_side}: give at least 1 pixel, {WORKING_SIDE} for instance")
    if out.suffix != ".onnx" and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: give a folder, or a name that ends in .onnx")
    if out.suffix == ".onnx" and part == "video":
        raise InputError(f"--part video is two files, and --out {out} is one: give a folder")
    if out.suffix == ".onnx" and out.is_dir():
        raise InputError(f"--out {out} is a folder whose name ends in .onnx: give a file, or a folder of another name")


def _wanted(files: dict[str, ModelProto], out: Path, part: Part) -> dict[str, ModelProto]:
    """The files that are asked for, by their names. Raises InputError for halves of a network that has none."""
    if part == "video" and "plate.onnx" not in files:
        raise InputError("--part video: this network only sees plate and frame together; export it whole")
    if out.suffix == ".onnx":
        return {"model.onnx": files["model.onnx"]}
    return {name: file for name, file in files.items() if part == "all" or (name == "model.onnx") is (part == "whole")}


def _pairs(folder: Path | None) -> tuple[list[PairPixels], list[PairPixels], list[PairPixels]]:
    """Pairs to compare by, to calibrate by and, others, to judge by; spread over all that there are."""
    opened = open_pairs(folder or sample_folder() / "pairs")
    # Scenes, not frames, are dealt out: frames of one scene are nearly the same picture.
    scenes = sorted({pair.scene for pair in opened})
    calibrates = set(scenes[::2])
    halves = [[pair for pair in opened if (pair.scene in calibrates) is half] for half in (True, False)]
    chosen = ((halves[0], COMPARED), (halves[0], CALIBRATING), (halves[1], JUDGED))
    compared, calibrating, judging = ([read_pair(pair) for pair in _spread(some, most)] for some, most in chosen)
    return compared, calibrating, judging


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spread."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _smaller(
    cores: Mapping[str, ModelProto], wanted: Precision, calibrating: Sequence[PairPixels]
) -> dict[str, ModelProto]:
    if wanted == "fp16":
        return {name: halved(core) for name, core in cores.items()}
    feeds = proving.feeds(cores, calibrating)
    return {name: quantised(core, feeds[name]) for name, core in cores.items()}


def _judge(proof: Proof, wanted: Precision, models: Sequence[Any], judging: Sequence[PairPixels]) -> None:
    if not judging:
        raise InputError(
            f"--precision {wanted} is judged on scenes that do not calibrate it: give --pairs of two or more"
        )
    proof.iou, proof.judged = proving.mask_loss(models[0], models[1], judging), len(judging)
    loss = proof.iou[0] - proof.iou[1]
    if loss > MOST_LOSS:
        raise InputError(
            f"--precision {wanted}: the mask's IoU falls by {loss:.4f} (from {proof.iou[0]:.4f}), and at most "
            f"{MOST_LOSS} may be lost; leave --precision out, or try another one"
        )


def _head(
    meta: Mapping[str, Any], weights: str, wanted: Precision, floats: bool, working_side: int, proof: Proof
) -> dict[str, Any]:
    """What is in the header of every graph, its part aside: what predicting needs, and what was measured."""
    settings = meta.get("config", {}).get("settings", {})
    kept = {key: settings[key] for key in ("size", "sizes", "greyscale") if key in settings}
    told = {key: meta[key] for key in ("network", "depth", "step", "samples", "version", "name") if key in meta}
    return {
        "format": FORMAT,
        **told,
        # No folder to look into, so an evaluation opens those that it is given, or the sample.
        "config": {"plates": [], "cutouts": [], "from": None, "settings": kept},
        "weights": weights,
        "precision": wanted,
        "input": "float32" if floats else "uint8",
        "working_side": working_side,
        "largest_difference": max(proof.differences.values()),
        "limit": LIMIT,
        "differences": proof.differences,
        "rounded": proof.rounded,
        "pairs": {"compared": proof.compared, "judged": proof.judged},
        "iou": proof.iou,
    }


def _write(
    files: Mapping[str, ModelProto], out: Path, head: dict[str, Any], proof: Proof, pictures: dict[str, Any]
) -> dict[str, Any]:
    """Write the files, then the card. When one fails, those that were not there before go again.

    pictures: the packed fingerprints (network/fingerprints.py), so that an evaluation knows what the network has seen.
    """
    alone = out.suffix == ".onnx"
    places = {name: out if alone else out / name for name in files}
    card: dict[str, Any] = {**head, "pairs": {"from": proof.pairs, **head["pairs"]}, "machine": platform.machine()}
    card["files"] = {}
    new = [path for path in places.values() if not path.exists()]
    try:
        for name, path in places.items():
            said = {**head, "part": PARTS[name], **({} if name == "frame.onnx" else {"pictures": pictures})}
            helper.set_model_props(files[name], {HEADER: json.dumps(said, sort_keys=True)})
            content = files[name].SerializeToString()
            write_atomically(path, content)
            card["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        place = out.with_suffix(".card.json") if alone else out / "graphs.card.json"
        write_atomically(place, (json.dumps(card, indent=1) + "\n").encode())
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    return card


def export_files(
    model: Path, out: Path, pairs: Path | None, precision: Precision, floats: bool, working_side: int, part: Part
) -> None:
    """`export`, and a line per file and measurement on standard output."""
    card = export(model, out, pairs, precision, floats, working_side, part)
    folder = out.parent if out.suffix == ".onnx" else out
    for name, file in card["files"].items():
        print(f"{folder / name}: {file['bytes']:,} bytes, {precision}")
    told = ", ".join(f"{name} {value:.2g}" for name, value in card["differences"].items())
    print(f"largest difference from the network over {card['pairs']['compared']} pairs: {told} (at most {LIMIT})")
    if card["iou"] is not None:
        before, after = card["iou"]
        print(f"mask IoU over {card['pairs']['judged']} other pairs: {before:.4f}, in {precision} {after:.4f}")
        print(f"{precision} moves " + ", ".join(f"{name} by {value:.2g}" for name, value in card["rounded"].items()))
