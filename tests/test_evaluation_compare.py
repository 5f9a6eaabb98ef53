"""The verb `compare`: what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.evaluation.compare import compare_files
from cleanplate.pictures.frames import read_image, write_image


def write(path: Path, seed: int, shape: tuple[int, int] = (40, 56)) -> Path:
    write_image(path, np.random.default_rng(seed).integers(0, 255, (*shape, 3)).astype(np.uint8))
    return path


def test_prints_draws_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.png", 0), write(tmp_path / "b.png", 1)
    out, figures = tmp_path / "out.png", tmp_path / "figures.json"
    assert main(["compare", str(a), str(b), "--out", str(out), "--json", str(figures)]) == 0
    values = json.loads(figures.read_text())
    first, second = read_image(a) / 255, read_image(b) / 255
    assert values["mse"] == pytest.approx(((first - second) ** 2).mean(), rel=1e-5)
    assert -1 <= values["ssim"] < 0.3
    printed = capsys.readouterr().out
    assert f"{values['mse']:.6f}" in printed
    assert f"{values['ssim']:.4f}" in printed
    drawn = read_image(out)
    assert drawn.shape[1] > 4 * 56
    assert drawn.shape[0] > 40


def test_equal_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.png", 0)
    result = compare_files(a, a, json=Path("-"))
    assert (result.mse, result.ssim) == (0, 1)
    streams = capsys.readouterr()
    assert json.loads(streams.out) == {"mse": 0.0, "ssim": 1.0}  # the JSON alone; the table goes elsewhere
    assert "SSIM" in streams.err


def test_names_both_pictures_when_sizes_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.png", 0), write(tmp_path / "b.png", 1, (40, 60))
    assert main(["compare", str(a), str(b)]) == 2
    message = capsys.readouterr().err
    assert f"{a} is 56x40" in message
    assert f"{b} is 60x40" in message
