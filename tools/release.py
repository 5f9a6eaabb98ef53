"""Put a run's best network into the package, as `--model released`, with a card of everything that is known about it.

    python tools/release.py RUN [--out src/cleanplate/released]

Beside it go plate.onnx and frame.onnx, which is what predicting without torch uses: exported (and proved) from the very
weights that are released, as `cleanplate export` does it.

Large kernels are stored in half precision. Small ones (the first and last layers, which all of the answer passes) and
vectors (batch norm's scales and statistics, whose range is wide) stay as they are: they are a thirtieth of the weights
and cause most of the error. A number too large for half precision, or an answer that moves by more than
`MOST_ALPHA` on the sample pairs, stops the release. The file tells of no folder and no picture's name: of the training
it keeps the settings and the pictures' fingerprints.

ATTRIBUTION.csv beside it names the authors of what the pictures show, as far as their folders do.

A picture's folder must be one of `SOURCES`, the pictures that weights may be made of. Every other folder is an error:
what was given for evaluation only is never in a released model.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from cleanplate.export.export import Precision, export
from cleanplate.inference.predictor import load
from cleanplate.network import checkpoint
from cleanplate.network.fingerprints import KNOWN_PARTS, pack
from cleanplate.network.summary import summarise
from cleanplate.pictures.library import prefixes, sample_folder
from cleanplate.pictures.pairs import open_pairs, read_pair
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

OUT = Path(__file__).parents[1] / "src" / "cleanplate" / "released"
MOST_ALPHA = 2e-3
MOST_BYTES = 4_000_000
HALVED = 4000
"""Kernels of more numbers than this are stored in half precision."""
PRECISION: Precision = "fp16"
"""Of the graphs: half the bytes to ship and to load in a browser, and no mask that anyone could tell from fp32's."""
COMPARED = 8
"""Pairs of the sample on which half and full precision are compared."""


@dataclass(frozen=True)
class Source:
    """Pictures that weights may be made of."""

    what: str
    licence: str
    origin: str


SOURCES = {
    "rooms": Source(
        "rendered rooms, people, animals, vehicles, furniture and things, with exact depth",
        "CC0 and CC BY 3.0; the models' authors are in ATTRIBUTION.csv beside the model",
        "rendered for this project from the free 3-D models of Debian's sweethome3d-furniture",
    ),
    "sample": Source(
        "a choice of the rendered rooms and things, as the package carries it",
        "as the rendered rooms",
        "src/cleanplate/pictures/sample",
    ),
    "stamps": Source(
        "photographed animals, fruit, tools, vehicles, cut out",
        "GPL-2 (the pictures are not part of the model)",
        "Debian's tuxpaint-stamps-default",
    ),
    "photos": Source(
        "photographs, mostly of nature",
        "per file, mostly GPL or CC BY-SA (the pictures are not part of the model)",
        "Debian's wallpaper packages",
    ),
}
"""By the folder that they lie in."""


def release(run: Path, out: Path = OUT, graphs: bool = True) -> dict[str, Any]:
    """Write model.safetensors and card.json into `out` and return the card. Raises InputError; `out` is then as it was.

    run: a run's folder (its best checkpoint), or a checkpoint. graphs: whether plate.onnx and frame.onnx are made too.
    """
    source = checkpoint.find(run)
    tensors, meta = checkpoint.read_tensors(source)
    data = sources_of(meta)
    small, rounding = halved(tensors)
    known = released_meta(meta)
    content = to_bytes(small, metadata={checkpoint.HEADER: json.dumps(known, sort_keys=True)})
    if len(content) > MOST_BYTES:
        raise InputError(f"the model would have {len(content):,} bytes, more than {MOST_BYTES:,}: train a smaller one")
    trial = out / "trial.safetensors"
    write_atomically(trial, content)
    try:
        agreement = compare(source, trial)
        if agreement["alpha"] > MOST_ALPHA:
            raise InputError(
                f"{source}: in half precision alpha moves by up to {agreement['alpha']:.2g}, more than {MOST_ALPHA}"
            )
        exported = export(trial, out, precision=PRECISION, part="video") if graphs else None
        trial.replace(out / "model.safetensors")
    finally:
        trial.unlink(missing_ok=True)
    card = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "precision": {
            "stored": "large kernels float16, all else float32",
            "rounding": rounding,
            "largest_change": agreement,
        },
        "graphs": exported,
        **facts(meta),
        "data": data,
        "licence": "Apache-2.0, as the package; the pictures' licences are with the data",
    }
    write_atomically(out / "card.json", (json.dumps(card, indent=1) + "\n").encode())
    write_atomically(out / "ATTRIBUTION.csv", attribution(meta).encode())
    return card


def halved(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Large kernels as float16, all else as it is; and what that did to them.

    relative: the largest change of a kernel, as the norm of the change over its norm. lost: the share of weights that
    became 0. Raises InputError for a weight that is not finite, or beyond half precision.
    """
    small, relative, lost, count = {}, 0.0, 0, 0
    for name, tensor in tensors.items():
        small[name] = tensor.contiguous()
        if not tensor.is_floating_point():
            continue
        if not tensor.isfinite().all():
            raise InputError(f"{name} has values that are not numbers")
        if tensor.ndim < 2 or tensor.numel() <= HALVED:
            continue
        half = tensor.half()
        if not half.isfinite().all():
            raise InputError(f"{name} reaches {float(tensor.abs().max()):.3g}, beyond half precision (65,504)")
        change = float((half.float() - tensor.float()).norm() / tensor.float().norm().clamp(min=1e-12))
        relative, lost = max(relative, change), lost + int(((half == 0) & (tensor != 0)).sum())
        count += tensor.numel()
        small[name] = half.contiguous()
    return small, {"relative": relative, "lost": lost / max(count, 1)}


def released_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's header without folders and names: what predicting, evaluating and fine-tuning need."""
    kept = {key: meta[key] for key in ("format", "network", "depth", "step", "samples", "seconds", "version")}
    # No folder to look into, so an evaluation opens those that it is given, or the sample.
    config = {"plates": [], "cutouts": [], "from": None, "settings": meta["config"]["settings"]}
    return {**kept, "name": checkpoint.RELEASED, "config": config, "pictures": pack(meta["pictures"])}


def facts(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The card's figures of the network and its training."""
    settings = meta["config"]["settings"]
    found = summarise(meta["network"], 256)
    return {
        "network": {"name": meta["network"], "parameters": found.parameters, "gflop_256": round(found.flops / 1e9, 3)},
        "depth": meta["depth"],
        "training": {
            "size": settings["size"],
            "samples": meta["samples"],
            "steps": meta["step"],
            "hours": round(meta["seconds"] / 3600, 2),
            "version": meta["version"],
            "settings": settings,
        },
    }


def folders_of(meta: Mapping[str, Any], kind: str) -> tuple[Path, ...]:
    """Where the pictures of a kind lay; the sample's where none were given."""
    return tuple(Path(folder) for folder in meta["config"].get(kind) or ()) or (sample_folder() / kind,)


def attribution(meta: Mapping[str, Any]) -> str:
    """The rows of every ATTRIBUTION.csv above the pictures' folders, each once, without the counts of its pictures."""
    files = sorted({f.parent / "ATTRIBUTION.csv" for kind in meta["pictures"] for f in folders_of(meta, kind)})
    rows = [row for path in files if path.is_file() for row in csv.DictReader(path.read_text("utf-8").splitlines())]
    columns = [name for name in (rows[0] if rows else ()) if name not in meta["pictures"] and name != "pairs"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({tuple(row.get(name, "") for name in columns): row for row in rows}.values())
    return text.getvalue()


def sources_of(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the pictures are, how many of each kind took which part. Raises InputError for a folder of no source.

    Of a run that started from another's weights: its own pictures, and the most that any run before it saw.
    """
    found: dict[str, dict[str, dict[str, int]]] = {}
    for kind, parts in meta["pictures"].items():
        folders = folders_of(meta, kind)
        for folder, prefix in zip(folders, prefixes(folders), strict=True):
            name = source_name(folder)
            counts = found.setdefault(name, {}).setdefault(kind, dict.fromkeys(KNOWN_PARTS, 0))
            for part in KNOWN_PARTS:
                counts[part] += sum(name_of_own(picture, prefix) for picture in parts.get(part, {}))
    for source in sources_before(meta):
        for kind, parts in source["pictures"].items():
            counts = found.setdefault(source["name"], {}).setdefault(kind, dict.fromkeys(KNOWN_PARTS, 0))
            counts |= {part: max(counts[part], number) for part, number in parts.items()}
    return [{"name": name, **asdict(SOURCES[name]), "pictures": counts} for name, counts in found.items()]


def name_of_own(picture: str, prefix: str) -> bool:
    """Whether a picture lay in the folder of this prefix; those of a run before bear only their digest's name."""
    return picture.startswith(prefix) and re.fullmatch(r"[0-9a-f]{16}-\d+", picture) is None


def sources_before(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sources of the run whose weights were the first ones. Raises InputError where that is not there any more."""
    start = meta["config"].get("from")
    if start is None:
        return []
    path = checkpoint.find(Path(start))
    if start == checkpoint.RELEASED:
        return json.loads(path.with_name("card.json").read_text())["data"]
    return sources_of(checkpoint.read_tensors(path)[1])


def source_name(folder: Path) -> str:
    """The source that a folder belongs to: the nearest of its names that is one. Raises InputError when none is."""
    for part in reversed(folder.parts):
        if part in SOURCES:
            return part
    raise InputError(
        f"{folder}: not known to be pictures that a released model may be made of; those lie in folders called "
        f"{', '.join(SOURCES)}"
    )


def compare(before: Path, after: Path) -> dict[str, float]:
    """The largest change of alpha, and of ln z where the model knows depth, on pairs of the sample."""
    one, other = load(before, device="cpu"), load(after, device="cpu")
    alpha = depth = 0.0
    with torch.inference_mode():
        for pair in open_pairs(sample_folder() / "pairs")[:COMPARED]:
            given = read_pair(pair)
            a, b = (model.predict(given.plate, given.frame) for model in (one, other))
            alpha = max(alpha, float(np.abs(a.alpha - b.alpha).max()))
            if a.depth is not None and b.depth is not None:
                depth = max(depth, float(np.abs(np.log(a.depth / b.depth)).max()))
    return {"alpha": alpha, "ln_depth": depth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the packaged model")
    given = parser.parse_args()
    card = release(given.run, given.out)
    change, rounding = card["precision"]["largest_change"], card["precision"]["rounding"]
    print(f"{given.out}: {card['bytes']:,} bytes, sha256 {card['sha256'][:16]}")
    if card["graphs"] is not None:
        graphs = {name: file["bytes"] for name, file in card["graphs"]["files"].items()}
        print(f"{PRECISION}: " + ", ".join(f"{name} {size:,} bytes" for name, size in graphs.items()))
    print(f"half precision: alpha moves by at most {change['alpha']:.2g}, ln depth by {change['ln_depth']:.2g}")
    print(
        f"kernels change by at most {rounding['relative']:.2g} of their norm; {rounding['lost']:.2g} of them became 0"
    )


if __name__ == "__main__":
    main()
