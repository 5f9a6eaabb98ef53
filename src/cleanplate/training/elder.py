"""The elder: the trained network that a run starts from (`--from`), and what of it must not be lost.

Its weights are the run's first ones. The pictures it has seen count as seen by the run (`joined`). And where the run's
own pictures have no depth, the elder's depth stays: the loss of the mask alone would move the layers that both answers
share, and depth would rot. So the elder's answer for each scene is what the depth learns, as if it were the truth
(Li and Hoiem, "Learning without Forgetting", 2016), and the run's depth remains of the elder's kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cleanplate.network import checkpoint
from cleanplate.network.fingerprints import Pictures
from cleanplate.scenes.dataset import Batch
from cleanplate.training.material import Material
from cleanplate.types import InputError


@dataclass(frozen=True)
class Elder:
    """A network in evaluation mode; the pictures it has seen; its kind of depth, "none" where it knows none."""

    network: nn.Module
    pictures: Pictures
    depth: str

    def to(self, device: torch.device) -> Elder:
        """The same, on a device."""
        return replace(self, network=self.network.to(device))

    def label(self, batch: Batch) -> Batch:
        """The batch with the elder's depth as truth."""
        with torch.inference_mode():
            log_depth = self.network(batch.plate, batch.frame, None).log_depth
        return replace(batch, depth=log_depth.float().exp().clone())


def find_elder(start: Path, network: str) -> Elder:
    """The network of another run or checkpoint, which must be of the same name. Raises InputError."""
    source, meta = checkpoint.load(checkpoint.find(start))
    if meta["network"] != network:
        raise InputError(
            f"{start} holds a {meta['network']!r} network, not {network!r}; add --network {meta['network']}"
        )
    return Elder(source, meta["pictures"], meta["depth"])


def taught(material: Material, elder: Elder | None) -> tuple[Material, Elder | None]:
    """The material, and who says what its depth is: the elder where the pictures have none, and then of its kind."""
    if elder is None or elder.depth == "none" or material.depth != "none":
        return material, None
    return replace(material, depth=elder.depth), elder
