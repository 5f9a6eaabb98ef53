"""The two graphs of a model for tests: the packaged ones, or where they are missing, made of the checkpoint.

They are made in a process of its own: while a graph is traced its sizes are symbols, which checked signatures refuse.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cleanplate.export import joining, tracing
from cleanplate.inference.opening import GRAPHS
from cleanplate.network import checkpoint
from cleanplate.network.fold import folded


def graphs_of(path: Path, folder: Path) -> Path:
    """The folder with plate.onnx and frame.onnx: that of the checkpoint, or else this one, once they are written."""
    if all((path.parent / name).is_file() for name in GRAPHS):
        return path.parent
    subprocess.run([sys.executable, __file__, str(path), str(folder)], check=True)
    return folder


def _make(path: Path, folder: Path) -> None:
    cores = tracing.cores(folded(checkpoint.load(path)[0]).eval(), greyscale=False, depth=True)
    made = joining.assembled(cores, tracing.parts(side=256, depth=True), floats=False)
    for name in GRAPHS:
        (folder / name).write_bytes(made[name].SerializeToString())


if __name__ == "__main__":
    _make(Path(sys.argv[1]), Path(sys.argv[2]))
