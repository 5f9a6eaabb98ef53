"""Weights between those a run started from and those it ended with: `python tools/blend.py START END SHARE --out RUN`.

w = (1 - SHARE) start + SHARE end, for every weight and every statistic of a batch norm. What a network learns from more
data of one kind, and what it forgets of the others, lie along that line; between its ends it is often better at both
(Wortsman et al., Robust fine-tuning of zero-shot models, 2022). SHARE is chosen on pictures that validate.

RUN becomes a folder with the END run's configuration, header and best.safetensors, which says what was blended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cleanplate.network import checkpoint
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError


def blend(start: Path, end: Path, share: float, out: Path) -> None:
    """Raises InputError: a share outside 0..1, no such model, two different networks."""
    if not 0 <= share <= 1:
        raise InputError(f"the share is {share}: give one from 0 (the start) to 1 (the end)")
    paths = [checkpoint.find(path) for path in (start, end)]
    (one, _), (other, meta) = (checkpoint.read_tensors(path) for path in paths)
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in other.items()}:
        raise InputError(f"{paths[0]} and {paths[1]} hold two different networks: give a run and what it started from")
    tensors = {
        name: torch.lerp(one[name].float(), tensor.float(), share).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in other.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_tensors(out / "best.safetensors", tensors, meta | {"blend": share})
    write_atomically(out / "config.json", (paths[1].parent / "config.json").read_bytes())


def main() -> None:
    """Blend two checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("end", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    blend(given.start, given.end, given.share, given.out)


if __name__ == "__main__":
    main()
