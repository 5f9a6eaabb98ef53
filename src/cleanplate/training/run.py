"""A run's folder: what it is (config.json), how far it is (state.safetensors), and what it has made so far.

    config.json            the resolved settings, the folders and the pictures' fingerprints: enough to repeat the run
    state.safetensors      weights, their average, optimizer and position in one file: a stopped run goes on from here
    best / last.safetensors  checkpoints (network/checkpoint.py); best is the best on validation
    metrics.jsonl, tensorboard/, panels/   what the run says while it goes (training/tracking.py)

Metrics and TensorBoard are appended to; every other file is written beside its name and then renamed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cleanplate.network import checkpoint
from cleanplate.network.checkpoint import RELEASED
from cleanplate.network.fingerprints import Pictures, joined
from cleanplate.pictures.writing import write_atomically
from cleanplate.settings import TrainSettings
from cleanplate.training.average import Average
from cleanplate.training.material import Material, StoredMaterial
from cleanplate.training.optimizer import optimizer_tensors, restore_optimizer
from cleanplate.types import InputError

STATE = "state.safetensors"


@dataclass
class Progress:
    """How far a run is. steps: the whole budget, None while a time budget is still being timed."""

    step: int = 0
    samples: int = 0
    steps: int | None = None
    seconds: float = 0.0
    best: float | None = None
    """Validation score of the best checkpoint so far; larger is better."""


class Run:
    """A run's folder, opened for training: new, or exactly the run that is there already."""

    def __init__(
        self, folder: Path, config: dict[str, Any], material: Material, fresh: bool, elder: Pictures | None = None
    ) -> None:
        """elder: the pictures that the first weights have seen."""
        self.folder, self.config, self.material, self.elder = folder, config, material, elder or {}
        if fresh and (folder / "config.json").is_file():
            shutil.rmtree(folder)
        whole = json.loads(json.dumps({"version": checkpoint.version(), **config, "pictures": material.pictures}))
        if (folder / "config.json").is_file():
            _same(folder, json.loads((folder / "config.json").read_text()), whole)
        else:
            write_atomically(folder / "config.json", json.dumps(whole, indent=1).encode())

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, average: Average) -> Progress:
        """Load the last state into network, optimizer and average; a new run's progress when there is none."""
        if not (self.folder / STATE).is_file():
            return Progress()
        tensors, meta = checkpoint.read_tensors(self.folder / STATE)
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        restore_optimizer(optimizer, tensors)
        average.restore(tensors)
        return Progress(**meta["progress"])

    def save_state(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, average: Average, progress: Progress
    ) -> None:
        """Everything that the next step depends on, in one file."""
        tensors = {f"network.{n}": t for n, t in network.state_dict().items()}
        tensors |= optimizer_tensors(optimizer) | average.tensors()
        checkpoint.write_tensors(self.folder / STATE, tensors, {"progress": asdict(progress)})

    def save_checkpoint(self, name: str, network: nn.Module, progress: Progress) -> None:
        """Write `name`.safetensors, for predict and evaluate."""
        meta = {
            "network": self.config["settings"]["network"],
            "config": self.config,
            "pictures": joined(self.material.pictures, self.elder),
            "depth": self.material.depth,
            "step": progress.step,
            "samples": progress.samples,
            "seconds": round(progress.seconds, 1),
            "version": checkpoint.version(),
        }
        checkpoint.save(self.folder / f"{name}.safetensors", network, meta)


def make_config(
    plates: tuple[Path, ...],
    cutouts: tuple[Path, ...],
    start: Path | None,
    settings: TrainSettings,
    material: Material,
    pairs: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """The resolved configuration as JSON-able values; folders are absolute, none = the packaged sample (or no pairs).

    Of a stored dataset: "data", the folders that it was composed of, and its plan.
    """
    data = {}
    if isinstance(material, StoredMaterial):
        data, (plates, cutouts) = {"data": material.data}, material.folders
        settings = replace(settings, plan=material.dataset.identity.plan)
    return {
        "plates": [str(f.resolve()) for f in plates],
        "cutouts": [str(f.resolve()) for f in cutouts],
        "pairs": [str(f.resolve()) for f in pairs],
        **data,
        "from": None if start is None else RELEASED if str(start) == RELEASED else str(start.resolve()),
        "settings": json.loads(json.dumps(asdict(settings))),
    }


def check(settings: TrainSettings) -> None:
    """Raise InputError where the settings contradict themselves."""
    s = settings
    budgets = [name for name in ("samples", "epochs", "minutes") if getattr(s, name) is not None]
    if len(budgets) != 1:
        given = " and ".join(f"--{b}" for b in budgets) or "none"
        raise InputError(f"one budget is needed, {given} given; say one of --samples N, --epochs N, --minutes N")
    if s.batch < 2:
        raise InputError(f"--batch must be at least 2 (batch norm compares samples), got {s.batch}")
    for name in (*budgets, "size"):
        if getattr(s, name) <= 0:
            raise InputError(f"--{name} must be above 0, got {getattr(s, name)}")
    if s.sizes and (s.size not in s.sizes or min(s.sizes) <= 0):
        sizes = " ".join(map(str, s.sizes))
        raise InputError(
            f"--sizes {sizes} must be above 0 and hold --size {s.size}, at which is validated; add it, or choose "
            "another --size"
        )
    if not 0 <= s.pairs_share < 1:
        raise InputError(f"--pairs-share must be at least 0 and below 1, got {s.pairs_share}")
    if not 0 <= s.optimizer.average < 1:
        raise InputError(f"--optimizer.average must be at least 0 and below 1 (0.999, say), got {s.optimizer.average}")


def _same(folder: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise InputError naming what differs between the run in the folder and the run that is asked for."""
    differ = _differences(there, asked)
    if differ:
        shown = "; ".join(differ[:5]) + (f"; and {len(differ) - 5} more" if len(differ) > 5 else "")
        raise InputError(
            f"{folder} holds another run: {shown}. Give another --out, or --fresh to delete that run and start anew"
        )


def _differences(there: Any, asked: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(asked, dict):
        keys = sorted(there.keys() | asked.keys())
        return [
            line
            for key in keys
            for line in _differences(there.get(key), asked.get(key), f"{name}.{key}".removeprefix("."))
        ]
    if there == asked:
        return []
    if name.startswith("pictures."):
        what = "is new" if there is None else "is gone" if asked is None else "has changed"
        return [f"{name.removeprefix('pictures.')} {what}"]
    return [f"{name.removeprefix('settings.')} is {there!r} there, {asked!r} now"]
