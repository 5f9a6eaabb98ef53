"""The benchmark of fine-tuning: equal budgets, equal scenes, and pictures that nobody trained on."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from pathlib import Path

import pytest
import torch

from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.settings import FINE_TUNING, FROM_SCRATCH
from made_scenes import write_cutouts, write_plates

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_fine_tuning_is_measured_beside_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    write_plates(tmp_path / "plates", 6, depth=False)
    cutouts = write_cutouts(tmp_path / "cutouts", 6, None)
    torch.manual_seed(0)
    seen = {"cutouts": {"train": {cutouts[0].name: {"sha256": cutouts[0].sha256, "group": "a"}}}}
    known = {"network": "platenet", "config": {}, "pictures": seen, "depth": "metric", "step": 1, "samples": 1}
    checkpoint.save(tmp_path / "first.safetensors", build("platenet"), known)
    tiny = shlex.split("--samples 8 --batch 4 --size 32 --workers 0 --validation-scenes 2 --scenes 4 --judged-at 32")
    folders = [str(tmp_path / kind) for kind in ("plates", "cutouts")]
    given = ["--plates", folders[0], "--cutouts", folders[1], "--from", str(tmp_path / "first.safetensors")]
    monkeypatch.setattr(
        sys, "argv", ["finetune.py", *given, *tiny, "--seeds", "1", "--json", str(tmp_path / "rows.json")]
    )
    importlib.import_module("finetune").main()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["way"] for row in rows] == ["as it is", f"fine-tuned, {FINE_TUNING:g}", f"scratch, {FROM_SCRATCH:g}"]
    assert [row["samples"] for row in rows] == [0, 8, 8]
    assert all(0 <= row["new IoU"] <= 1 for row in rows)
    assert "fine-tuned" in capsys.readouterr().out
    assert not list(tmp_path.glob("*/best.safetensors"))


def test_averages_say_nothing_of_what_a_seed_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    averaged = importlib.import_module("finetune").averaged
    rows = [
        {"way": "a", "seed": 0, "new IoU": 0.5, "new delta1": 0.9},
        {"way": "b", "seed": 0, "new IoU": 0.1},
        {"way": "a", "seed": 1, "new IoU": 0.7, "new delta1": None},
    ]
    assert averaged(rows)[0] == {"way": "a", "new IoU": 0.6, "new delta1": None}
    assert averaged(rows)[1] == {"way": "b", "new IoU": 0.1}
