"""What a run writes while it goes: metrics.jsonl (the truth), TensorBoard, and the five panels per validation.

The panels show the same scenes at every validation, with colour ranges fixed over the run, so that the two loss maps
darken as the network learns: mask_loss and depth_loss (per pixel), masks, depths (each beside its truth) and frames
(beside the frame recomposed from plate and predicted alpha).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cleanplate.measures import losses
from cleanplate.pictures import draw, frames
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import to_pixels

if TYPE_CHECKING:
    from cleanplate.network.output import Output
    from cleanplate.scenes.dataset import Batch

log = logging.getLogger("cleanplate")

MASK_LOSS_RANGE = (0.0, 2.0)
"""Binary cross-entropy in nats that the mask loss panel spans; ln 2 = 0.69 is a coin's."""
DEPTH_LOSS_RANGE = (0.0, 0.7)
"""|ln z - ln truth| that the depth loss panel spans; 0.69 is a factor of two."""


class Tracker:
    """Appends a run's metrics; opened at a step, it first drops every line after that step (a resumed run)."""

    def __init__(self, folder: Path, step: int, active: bool = True) -> None:
        self.folder = folder
        self.active = active
        if not active:
            return
        (folder / "panels").mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        self._truncate(step)
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def _truncate(self, step: int) -> None:
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the half-written last line of a killed run
                continue
            if step > 0 and row["step"] <= step:
                kept.append(line + "\n")
        write_atomically(self.path, "".join(kept).encode())

    def write(self, row: dict[str, Any]) -> None:
        """One line: "step", "kind" ("train" or "validation") and numbers, nested by at most one level."""
        if not self.active:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for group, value in row.items():
            for name, number in (value if isinstance(value, dict) else {"": value}).items():
                if isinstance(number, int | float) and group not in ("step", "kind"):
                    self.board.add_scalar("/".join(filter(None, (row["kind"], group, name))), number, row["step"])

    def panels(self, step: int, batch: Batch, output: Output) -> None:
        """Write the five panels of these scenes as PNG, and show them in TensorBoard."""
        if not self.active:
            return
        for name, rows in panel_rows(batch, output).items():
            picture = draw.sheet(list(rows.values()), row_labels=list(rows))
            frames.write_image(self.folder / "panels" / f"{step:07d}_{name}.png", picture)
            self.board.add_image(name, picture, step, dataformats="HWC")
        self.board.flush()

    def close(self) -> None:
        if self.active:
            self.board.close()


def panel_rows(batch: Batch, output: Output) -> dict[str, dict[str, list[np.ndarray]]]:
    """Five panels, each a row label -> one picture per scene."""
    alpha = output.mask_logits.sigmoid()
    frame = _arrays(batch.frame)
    recomposed = _arrays(batch.plate * (1 - alpha) + batch.frame * alpha)
    truth, depth = _arrays(batch.depth), _arrays(output.log_depth.exp())
    mask_loss = _arrays(losses.mask_map(output.mask_logits, batch.alpha))
    depth_loss = _arrays(losses.depth_map(output.log_depth, batch.depth))
    near, far = _depth_range(truth)
    return {
        "mask_loss": {
            "frame": [to_pixels(f) for f in frame],
            "mask loss": [draw.heat(m[0], *MASK_LOSS_RANGE) for m in mask_loss],
        },
        "depth_loss": {
            "frame": [to_pixels(f) for f in frame],
            "depth loss": [draw.heat(d[0], *DEPTH_LOSS_RANGE) for d in depth_loss],
        },
        "masks": {
            "truth": [draw.grey(a[0]) for a in _arrays(batch.alpha)],
            "predicted": [draw.grey(a[0]) for a in _arrays(alpha)],
        },
        "depths": {
            "truth": [draw.colour_depth(t[0], near, far) for t in truth],
            "predicted": [draw.colour_depth(d[0], near, far) for d in depth],
        },
        "frames": {
            "plate": [to_pixels(p) for p in _arrays(batch.plate)],
            "frame": [to_pixels(f) for f in frame],
            "recomposed": [to_pixels(r) for r in recomposed],
        },
    }


def _arrays(x: torch.Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()


def _depth_range(truth: np.ndarray) -> tuple[float, float]:
    """The panels' scenes are fixed, so the range of their true depths is fixed over the run as well."""
    known = truth[truth > 0]
    if not known.size:
        return 0.5, 20.0
    near, far = np.percentile(known, (1, 99))
    return float(near), float(max(far, near * 1.1))
