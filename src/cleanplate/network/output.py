"""What every network gives: the mask's logits and ln depth, at the size of the pictures."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

EDGE = 4.0
"""How much steeper than alpha the step from one layer of depth to the other is: depths don't mix at a soft edge."""


class Output(NamedTuple):
    """mask_logits: alpha = sigmoid(mask_logits). log_depth: ln z, z in metres where the training depth was metric.

    layers: ln z of the plate and of what stands in front, which `layered` makes log_depth of; None = not told apart.
    """

    mask_logits: Float[Tensor, "b 1 h w"]
    log_depth: Float[Tensor, "b 1 h w"]
    layers: tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]] | None = None


def layered(
    mask_logits: Float[Tensor, "b 1 h w"], behind: Float[Tensor, "b 1 h w"], front: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """The layer behind, or where the mask says so the one in front; no gradient reaches the mask."""
    share = (EDGE * mask_logits.detach()).sigmoid()
    return behind + share * (front - behind)
