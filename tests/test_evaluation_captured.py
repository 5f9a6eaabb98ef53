"""Which captured scenes may judge a model: known again by their plate, wherever they lie."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from cleanplate.cli import main
from cleanplate.evaluation.captured import open_scenes
from cleanplate.evaluation.evaluate import Judging, measure_pairs
from cleanplate.types import InputError
from made_models import MadeModel, MadeRun, by_colour, make_run, write_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes a, b, c, d of two frames."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate("abcd"):
        write_scene(folder / name, 2, seed)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("run"))


def trained_on(folder: Path, **parts: str) -> dict[str, Any]:
    """Checkpoint metadata: train="ab" and so on."""

    def fact(scene: str) -> dict[str, str]:
        return {"sha256": hashlib.sha256((folder / scene / "plate.png").read_bytes()).hexdigest(), "group": scene}

    return {"pictures": {"pairs": {part: {f"x/{s}": fact(s) for s in scenes} for part, scenes in parts.items()}}}


def test_what_trained_or_validated_is_left_out(folder: Path, tmp_path: Path) -> None:
    meta = trained_on(folder, train="a", validation="b", test="c")
    scenes, left_out = open_scenes(folder, [meta])
    assert (list(scenes), left_out) == (["c", "d"], 2)
    assert [len(pairs) for pairs in scenes.values()] == [2, 2]
    scenes, left_out = open_scenes(folder, [meta], "validation")
    assert (list(scenes), left_out) == (["b"], 3)
    scenes, left_out = open_scenes(folder, [meta, trained_on(folder, train="d")])
    assert (list(scenes), left_out) == (["c"], 3)
    shutil.copytree(folder / "a", tmp_path / "elsewhere" / "renamed")
    with pytest.raises(InputError, match="all 1 scenes trained or validated"):
        open_scenes(tmp_path, [meta])
    with pytest.raises(InputError, match="take --part test"):
        open_scenes(folder, [{}], "validation")


def test_the_table_and_the_json_say_so(
    folder: Path, run: MadeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = {**run.meta, "pictures": run.meta["pictures"] | trained_on(folder, train="ab", validation="c")["pictures"]}
    model = MadeModel(by_colour, meta)
    got = measure_pairs(model, folder, Judging(baselines=False))
    assert (got["left_out"], list(got["scenes"])) == (3, ["d"])
    monkeypatch.setattr("cleanplate.inference.predictor.load", lambda *_, **__: model)
    assert main(["evaluate", "--model", "m", "--pairs", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "mean of 1 scenes" in out
    assert "3 scenes left out" in out
    assert main(["evaluate", "--model", "m", "--pairs", str(folder), "--part", "validation"]) == 0
    assert "mean of 1 scenes that validated" in capsys.readouterr().out
