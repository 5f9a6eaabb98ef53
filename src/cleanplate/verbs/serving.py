"""Verbs about a model in use: export, serve. Each is a door to one function."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cleanplate.service.limits import Limits


@dataclass(frozen=True)
class Export:
    """Write a model as ONNX files, which need no torch, after proving on real pairs that they answer as it does."""

    out: Path
    """A file that ends in .onnx: the whole graph; a folder: that, and plate.onnx and frame.onnx for video."""
    part: Literal["all", "whole", "video"] = "all"
    """What a folder gets: model.onnx (whole), plate.onnx and frame.onnx (video), or all three."""
    model: Path = Path("released")
    """A run's folder or a checkpoint; released = the packaged model."""
    pairs: Path | None = None
    """Captured pairs to prove it on (DIR/**/SCENE/plate.png, frames/, masks/, ...); by default the packaged ones."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """fp16: weights of half the size; int8: integer arithmetic. Each only if the mask's IoU falls by at most 0.005."""
    input: Literal["uint8", "float"] = "uint8"
    """What pictures the graphs take: bytes, or float32 in 0..1; [n, h, w, 3] both."""
    working_side: int = 320
    """The longest side at which the whole graph looks at larger pictures, pixels."""

    def run(self) -> None:
        from cleanplate.export.export import export_files

        floats = self.input == "float"
        export_files(self.model, self.out, self.pairs, self.precision, floats, self.working_side, self.part)


@dataclass(frozen=True)
class Serve:
    """Serve a model: a page that runs it in the browser, and an HTTP service, on one port."""

    model: Path = Path("released")
    """A run's folder, a checkpoint or a folder of exported graphs; released = the packaged model."""
    host: str = "127.0.0.1"
    """Where to listen; by default only this machine can reach it."""
    port: int = 8000
    """0 = any that is free."""
    open: bool = True
    """Show the page in a browser, where there is a screen."""
    names: tuple[str, ...] = ()
    """Host names that requests may carry, beside localhost: those that a proxy or another machine calls it by."""
    workers: int | None = None
    """Threads that calculate; by default one per processor."""
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto"
    """Who calculates."""
    limits: Limits = field(default_factory=Limits)

    def run(self) -> None:
        from cleanplate.service.serve import serve

        serve(self.model, self.host, self.port, self.open, self.names, self.workers, self.runtime, self.limits)
