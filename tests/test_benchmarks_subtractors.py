"""The benchmark of background subtractors: its scores are the evaluation's, and pybgs may be there or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cleanplate.evaluation.evaluate import measure_pairs
from made_models import MadeModel, by_colour, write_scene

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "subtractors.py"

STAND_IN = '''
from pathlib import Path
import numpy as np

class SuBSENSE:
    """As noisy as the real one, on standard output and on the disk; finds the colour of made scenes (it sees BGR)."""

    def __init__(self):
        print("+SuBSENSE()", flush=True)
        Path("config/SuBSENSE.xml").write_text("<xml/>")

    def apply(self, frame):
        return ((frame == (240, 10, 250)).all(axis=2) * 255).astype(np.uint8)[..., None]

    def __del__(self):
        print("-SuBSENSE()", flush=True)
'''


def run(*arguments: object, path: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *map(str, arguments)]
    environment = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scene(tmp_path / "pairs" / "road", 12)
    write_scene(tmp_path / "pairs" / "short", 2)
    return tmp_path / "pairs"


def test_scores_are_those_of_an_evaluation(folder: Path) -> None:
    done = run(folder, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert "SuBSENSE left out" in done.stderr
    got = json.loads(done.stdout)["scenes"]
    assert list(got) == ["road"]
    evaluated = measure_pairs(MadeModel(by_colour, {}), folder)["baselines"]
    for name in ("mog2", "knn"):
        for metric, value in got["road"][name].items():
            assert value == pytest.approx(evaluated[name]["scenes"]["road"]["mask"][metric]), (name, metric)


def test_subsense_answers_where_pybgs_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pybgs.py").write_text(STAND_IN)
    (tmp_path / "empty").mkdir()
    done = run(folder, "--json", "-", "--times", "3", path=tmp_path, cwd=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)["scenes"]["road"]  # nothing else was printed there
    assert got["subsense"]["iou"] == 1
    assert got["subsense"]["false_alarm"] == 0
    assert not list((tmp_path / "empty").iterdir())
