"""Latency of a network on one core beside a matrix product: `python benchmarks/latency.py [NETWORK] [--size 256]`.

A pair goes through ONNX Runtime on one thread; what it takes is told as a multiple of one 1024 x 1024 x 1024 float32
product of torch on one thread, timed in turn with it: processors differ, the ratio much less. Times are the thread's
own processor time, so that a busy machine is no slower.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.network.platenet import PlateNet

PRODUCT = 1024
OPSET = 17


@dataclass(frozen=True)
class Latency:
    """Medians, milliseconds: of a pair, and of the product."""

    pair: float
    product: float

    @property
    def ratio(self) -> float:
        return self.pair / self.product


class _Answers(nn.Module):
    """Plate and frame -> alpha and depth, as a prediction gives them."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, plate: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.network, PlateNet):
            known = self.network.remember(self.network.encode(plate))
            output = self.network.decode(known, self.network.encode(frame), (self.size, self.size))
        else:
            output = self.network(plate, frame, None)
        return output.mask_logits.sigmoid(), output.log_depth.exp()


def latency(network: nn.Module, size: int = 256, rounds: int = 30) -> Latency:
    """Time the network on pairs of size x size pixels."""
    session = _session(network, size)
    picture = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    given = {each.name: picture for each in session.get_inputs()}
    factor = torch.rand(PRODUCT, PRODUCT)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [(_seconds(lambda: session.run(None, given)), _seconds(lambda: factor @ factor)) for _ in range(rounds)]
    finally:
        torch.set_num_threads(threads)
    settled = times[rounds // 10 :]
    pair, product = (1000 * statistics.median(column) for column in zip(*settled, strict=True))
    return Latency(pair, product)


def _session(network: nn.Module, size: int) -> onnxruntime.InferenceSession:
    pictures = torch.rand(1, 3, size, size), torch.rand(1, 3, size, size)
    graph = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter tells that sizes become constants, which is meant
        answers = _Answers(folded(network), size).eval()
        torch.onnx.export(answers, pictures, graph, dynamo=False, opset_version=OPSET)  # ty: ignore[invalid-argument-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])


def _seconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", default="platenet")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    network = build(given.network)
    found = latency(network, given.size, given.rounds)
    count = sum(p.numel() for p in network.parameters())
    print(
        f"{given.network}: {count:,} parameters, {found.pair:.2f} ms per {given.size} px pair, {PRODUCT}^3 product "
        f"{found.product:.2f} ms: {found.ratio:.2f} x"
    )


if __name__ == "__main__":
    main()
