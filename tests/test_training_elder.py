"""Training that starts from a trained model: its rate, its depth, and what it has seen."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cleanplate.network import checkpoint
from cleanplate.scenes.dataset import Batch
from cleanplate.settings import FINE_TUNING, FROM_SCRATCH, OptimizerSettings, PlanSettings, TrainSettings, with_rate
from cleanplate.training.elder import find_elder, taught
from cleanplate.training.loop import train
from cleanplate.training.material import LiveMaterial
from made_scenes import write_cutouts, write_plates

SMALL = TrainSettings(
    size=32, samples=16, batch=4, workers=0, precision="float32", validation_scenes=4, plan=PlanSettings(positions=2)
)


@pytest.fixture(scope="module")
def elder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned depth."""
    folder = tmp_path_factory.mktemp("elder")
    write_plates(folder / "plates", 4)
    write_cutouts(folder / "cutouts", 4)
    return train(folder / "run", (folder / "plates",), (folder / "cutouts",), SMALL)


def pictures(folder: Path) -> tuple[tuple[Path], tuple[Path]]:
    """Pictures without depth."""
    write_plates(folder / "plates", 5, depth=False)
    write_cutouts(folder / "cutouts", 5, None)
    return (folder / "plates",), (folder / "cutouts",)


def test_fine_tuning_keeps_depth_and_what_was_seen(
    elder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "released", lambda: elder)
    given = pictures(tmp_path)
    best = train(tmp_path / "run", *given, SMALL, start=Path("released"))
    assert "says what depth is" in capsys.readouterr().err.replace("\n", " ")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["from"] == "released", "not a folder of this name"
    assert config["settings"]["optimizer"]["learning_rate"] == FINE_TUNING
    meta = checkpoint.load(best)[1]
    assert meta["depth"] == "metric"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss"]["depth"] > 0 for row in rows if row["kind"] == "train")
    assert digests(checkpoint.load(elder)[1]) < digests(meta)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    train(tmp_path / "run", *given, SMALL, start=Path("released"))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before, "the same command goes on"


def digests(meta: dict) -> set[str]:
    """Of the plates that trained."""
    return {fact["sha256"] for fact in meta["pictures"]["plates"]["train"].values()}


def test_from_scratch_there_is_no_depth_to_keep(tmp_path: Path) -> None:
    best = train(tmp_path / "run", *pictures(tmp_path), SMALL)
    assert checkpoint.load(best)[1]["depth"] == "none"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["optimizer"]["learning_rate"] == FROM_SCRATCH > FINE_TUNING


def test_a_rate_that_is_said_stays() -> None:
    said = replace(SMALL, optimizer=OptimizerSettings(learning_rate=0.01))
    assert with_rate(said, fine_tuning=True) == said


def test_depth_of_ones_own_is_not_replaced(elder: Path) -> None:
    found, nothing = find_elder(elder, "platenet"), LiveMaterial({}, {}, "none")
    assert taught(nothing, found) == (replace(nothing, depth="metric"), found)
    assert taught(nothing, None) == (nothing, None)
    assert taught(nothing, replace(found, depth="none")) == (nothing, None)
    relative = replace(nothing, depth="relative")
    assert taught(relative, found) == (relative, None)


def test_labels_are_the_elders_own_answer(elder: Path) -> None:
    found = find_elder(elder, "platenet")
    pictures = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(2, 1, 32, 32)
    batch = Batch(pictures[0], pictures[1], nothing, nothing, nothing)
    labelled = found.label(batch)
    with torch.inference_mode():
        expected = checkpoint.load(elder)[0](batch.plate, batch.frame).log_depth.exp()
    torch.testing.assert_close(labelled.depth, expected)
    assert labelled.alpha is batch.alpha


def test_released_is_never_a_folder(elder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(checkpoint, "released", lambda: elder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / "best.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "cleanplate"):
        assert checkpoint.find(Path("released")) == elder
    assert "released/best.safetensors" in caplog.text
