"""The moving average of a network's weights, which is usually better than where the last step happened to end.

Contract: after step t (from 1) every weight's average a moves towards the weight w,

    a <- d a + (1 - d) w,    d = min(decay, (1 + t) / (10 + t)),

so that an average that starts early soon forgets the first weights. Batch norm's running statistics are averaged in the
same way: they then fit the averaged weights better than those of the last few batches; counters are the network's own.
(Polyak and Juditsky, 1992; the warm-up is TensorFlow's ExponentialMovingAverage.)
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

PREFIX = "average."


class Average:
    """The average of a network's weights. decay: 0..1; 0 = there is none, and everything here does nothing."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._values = _copied(network) if decay > 0 else {}

    def follow(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        if not self.decay:
            return
        state = network.state_dict()
        moving = [name for name, value in self._values.items() if value.is_floating_point()]
        move = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        with torch.no_grad():
            move([self._values[name] for name in moving], [state[name] for name in moving], None)
        for name in self._values.keys() - set(moving):
            self._values[name].copy_(state[name])

    @contextmanager
    def worn_by(self, network: nn.Module) -> Generator[None]:
        """Inside, the network has the averaged weights; afterwards its own again, bit for bit."""
        own = _copied(network) if self.decay else {}
        _write(self._values, network)
        try:
            yield
        finally:
            _write(own, network)

    def as_in(self, network: nn.Module) -> Average:
        """Itself, on the device and in the layout of the network's weights."""
        state = network.state_dict()
        self._values = {name: torch.empty_like(state[name]).copy_(value) for name, value in self._values.items()}
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The average as named tensors, to be stored."""
        return {PREFIX + name: value for name, value in self._values.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo `tensors`; others among them are ignored."""
        for name, value in self._values.items():
            value.copy_(tensors[PREFIX + name])


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _write(values: dict[str, Tensor], network: nn.Module) -> None:
    state = network.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            state[name].copy_(value)
