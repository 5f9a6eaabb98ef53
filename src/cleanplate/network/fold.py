"""Folding: at inference a convolution followed by batch norm is one convolution with other weights and a bias.

norm(conv(x)) = g (w * x - m) / sqrt(v + e) + b = (g w / sqrt(v + e)) * x + (b - g m / sqrt(v + e))
"""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that answers the same, up to rounding, without batch norms after convolutions."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            _fold(block)
    return network


def _fold(block: nn.Sequential) -> None:
    for i in range(len(block) - 1):
        conv, norm = block[i], block[i + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[i], block[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
