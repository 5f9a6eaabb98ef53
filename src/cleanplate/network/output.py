"""What every network here answers: mask logits and the logarithm of depth, at the size of the pictures it was given."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Output(NamedTuple):
    """mask_logits: alpha = sigmoid(mask_logits). log_depth: ln z, z in metres where the training depth was metric."""

    mask_logits: Float[Tensor, "b 1 h w"]
    log_depth: Float[Tensor, "b 1 h w"]
