"""A run's folder: what it is (config.json), how far it is (state.safetensors), and what it has made so far.

    config.json            the resolved settings, the folders and the pictures' fingerprints: enough to repeat the run
    state.safetensors      weights, optimizer and position, written as one file: a stopped run goes on from here
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
from cleanplate.pictures.writing import write_atomically
from cleanplate.settings import TrainSettings
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

    def __init__(self, folder: Path, config: dict[str, Any], material: Material, fresh: bool) -> None:
        self.folder, self.config, self.material = folder, config, material
        if fresh and (folder / "config.json").is_file():
            shutil.rmtree(folder)
        whole = json.loads(json.dumps({"version": checkpoint.version(), **config, "pictures": material.pictures}))
        if (folder / "config.json").is_file():
            _same(folder, json.loads((folder / "config.json").read_text()), whole)
        else:
            write_atomically(folder / "config.json", json.dumps(whole, indent=1).encode())

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the last state into network and optimizer; a new run's progress when there is none."""
        if not (self.folder / STATE).is_file():
            return Progress()
        tensors, meta = checkpoint.read_tensors(self.folder / STATE)
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        restore_optimizer(optimizer, tensors)
        return Progress(**meta["progress"])

    def save_state(self, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Everything that the next step depends on, in one file."""
        tensors = {f"network.{n}": t for n, t in network.state_dict().items()}
        checkpoint.write_tensors(
            self.folder / STATE, tensors | optimizer_tensors(optimizer), {"progress": asdict(progress)}
        )

    def save_checkpoint(self, name: str, network: nn.Module, progress: Progress) -> None:
        """Write `name`.safetensors, for predict and evaluate."""
        meta = {
            "network": self.config["settings"]["network"],
            "config": self.config,
            "pictures": self.material.pictures,
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
) -> dict[str, Any]:
    """The resolved configuration as JSON-able values; folders are absolute, none = the packaged sample.

    Of a stored dataset: "data", the folders that it was composed of, and its plan.
    """
    data = {}
    if isinstance(material, StoredMaterial):
        data, (plates, cutouts) = {"data": material.data}, material.folders
        settings = replace(settings, plan=material.dataset.identity.plan)
    return {
        "plates": [str(f.resolve()) for f in plates],
        "cutouts": [str(f.resolve()) for f in cutouts],
        **data,
        "from": str(start.resolve()) if start else None,
        "settings": json.loads(json.dumps(asdict(settings))),
    }


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
