"""A checkpoint: one safetensors file with the weights and, in its header, a JSON text that says what they are.

    {"format": 1, "network": "platenet", "config": {...}, "pictures": {...},
     "depth": "metric" | "relative" | "disparity" | "none", "step": 1200, "samples": 19200, "version": "0.1.0"}

`pictures` holds the name, SHA-256 and group of every plate and cutout by the part of the split it was in, so that an
evaluation knows what the network has seen. It may be packed (network/fingerprints.py): then names are forgotten.
Weights may be stored in half precision; a loaded network always calculates in float32. Nothing is pickled; a file is
written beside its name and then renamed.

One model comes with the package, under the name `released`.
"""

from __future__ import annotations

import json
import logging
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanplate.network.fingerprints import unpack
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
"""Raised when a file of an older release can no longer be read."""

HEADER = "cleanplate"

RELEASED = "released"
"""The name of the packaged model."""

NAMES = ("best.safetensors", "last.safetensors")
"""The checkpoints of a run's folder, in the order in which they are preferred."""

log = logging.getLogger("cleanplate")


def version() -> str:
    """The installed release, as checkpoints and runs name it."""
    return metadata.version("cleanplate")


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and a JSON-able `meta` into one safetensors file, all or nothing."""
    from safetensors.torch import save as to_bytes

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, to_bytes(whole, metadata={HEADER: json.dumps(meta, sort_keys=True)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and meta of a file of `write_tensors`. Raises InputError when it is none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a checkpoint (.safetensors) that cleanplate wrote")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as a checkpoint ({error}); is the file whole? train again") from error
    if header is None:
        raise InputError(f"{path} is a safetensors file, but not one of cleanplate's; give a run's folder")
    return tensors, json.loads(header)


def save(path: Path, network: nn.Module, meta: dict[str, Any]) -> None:
    """Write a network's weights and buffers. `meta` is the header without "format"; it must name the "network"."""
    write_tensors(path, dict(network.state_dict()), {"format": FORMAT, **meta})


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network (on the CPU, float32, in evaluation mode) and its header. Raises InputError."""
    tensors, meta = read_tensors(path)
    if meta.get("format") != FORMAT:
        raise InputError(
            f"{path} has checkpoint format {meta.get('format')!r}, this release of cleanplate reads {FORMAT}; "
            f"it was written by version {meta.get('version', 'unknown')}: install that one, or train again"
        )
    from cleanplate.network.build import build

    network = build(str(meta.get("network")))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"the weights in {path} do not fit {meta['network']!r} ({first}); train again") from error
    return network.eval(), {**meta, "pictures": unpack(meta.get("pictures", {}))}


def released() -> Path:
    """Where the packaged model lies; its card, `card.json`, lies beside it."""
    return Path(str(resources.files("cleanplate") / "released" / "model.safetensors"))


def find(model: Path) -> Path:
    """The checkpoint that `model` means: itself, or the best (else the last) of a run's folder. Raises InputError.

    `released` always means the packaged model: a folder of that name is reached by its checkpoint.
    """
    if str(model) == RELEASED:
        return _find_released()
    if model.is_file():
        return model
    for name in NAMES:
        if (model / name).is_file():
            return model / name
    what = "a folder without best.safetensors or last.safetensors" if model.is_dir() else "not there"
    raise InputError(
        f"no model: {model} is {what}; give a run's folder (cleanplate train --out RUN), a checkpoint, or {RELEASED}"
    )


def _find_released() -> Path:
    path = released()
    if not path.is_file():
        raise InputError(f"this installation of cleanplate has no released model ({path} is missing); install it again")
    if any((Path(RELEASED) / name).is_file() for name in NAMES):
        log.warning("released means the packaged model; the folder here is reached by released/best.safetensors")
    return path
