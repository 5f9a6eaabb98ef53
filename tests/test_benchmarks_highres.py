"""The benchmark of high resolution: its scenes are what they say, and guided upsampling wins on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four plates and four round cutouts."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("large")
    plates, cutouts = folder / "plates", folder / "cutouts"
    for path in (plates, cutouts):
        path.mkdir()
    for i in range(4):
        plate = cv2.resize(rng.integers(0, 90, (9, 16, 3), dtype=np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
        Pillow.fromarray(plate).save(plates / f"{i}.png")
        cutout = np.full((160, 120, 4), 200 + 10 * i, np.uint8)
        cutout[..., 3] = 0
        cutout[..., 3] = cv2.ellipse(
            np.zeros((160, 120), np.uint8), (60, 80), (50, 70), 0, 0, 360, 255, -1, cv2.LINE_AA
        )
        Pillow.fromarray(cutout).save(cutouts / f"{i}.png")
    return plates, cutouts


def test_it_runs_and_guided_wins(folders: tuple[Path, Path]) -> None:
    flags = ["--lines", "360", "--seeds", "1", "--least", "100", "--costs"]
    command = [sys.executable, str(BENCHMARKS / "highres.py"), *map(str, folders), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| 360 | truth | all")]
    band = {row[3]: float(row[4]) for row in rows}
    assert band["frame and plate"] < 0.85 * band["bilinear"]


@pytest.mark.parametrize("kind", ["plain", "hair", "thin", "moving", "shadow"])
def test_scenes_have_exact_truth(kind: str, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import highres_scenes as scenes

    parts = [scenes.stock(*folders, part, 100) for part in ("tune", "report")]
    assert not set(parts[0].plates) & set(parts[1].plates)
    scene = scenes.make(parts[0], kind, (270, 480), 3)
    again = scenes.make(parts[0], kind, (270, 480), 3)
    np.testing.assert_array_equal(scene.frame, again.frame)
    assert scene.alpha.max() == 1
    shadow = kind == "shadow"
    apart = np.abs(scene.frame.astype(int) - scene.plate).mean(axis=2)
    behind = scene.alpha == 0
    assert apart[behind].mean() < (30 if shadow else 5)
    assert apart[scene.alpha == 1].mean() > 60
