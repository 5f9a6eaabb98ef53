"""tools/blend.py: weights between two checkpoints."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.types import InputError


@pytest.fixture
def tool() -> Any:
    path = Path(__file__).parents[1] / "tools" / "blend.py"
    spec = importlib.util.spec_from_file_location("blend", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    for number, name in enumerate(("start", "end")):
        torch.manual_seed(number)
        meta = {"network": "original-small", "depth": "none", "step": number}
        checkpoint.save(tmp_path / name / "best.safetensors", build("original-small"), meta)
        (tmp_path / name / "config.json").write_text(f'{{"run": "{name}"}}')
    return tmp_path / "start", tmp_path / "end"


def test_the_weights_lie_between(tool: Any, runs: tuple[Path, Path], tmp_path: Path) -> None:
    start, end = (checkpoint.read_tensors(checkpoint.find(run))[0] for run in runs)
    for share in (0.0, 0.25, 1.0):
        tool.blend(*runs, share, tmp_path / "out")
        found, meta = checkpoint.read_tensors(checkpoint.find(tmp_path / "out"))
        assert (meta["blend"], meta["step"]) == (share, 1)
        for name, tensor in found.items():
            between = (1 - share) * start[name] + share * end[name]
            torch.testing.assert_close(tensor, between if tensor.is_floating_point() else end[name])
    assert (tmp_path / "out" / "config.json").read_text() == '{"run": "end"}'
    assert checkpoint.load(checkpoint.find(tmp_path / "out"))[1]["blend"] == 1.0


def test_what_cannot_be_blended_is_said(tool: Any, runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"share is 1\.5: give one from 0"):
        tool.blend(*runs, 1.5, tmp_path / "out")
    checkpoint.save(tmp_path / "other" / "best.safetensors", build("platenet"), {"network": "platenet"})
    with pytest.raises(InputError, match="two different networks"):
        tool.blend(runs[0], tmp_path / "other", 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
