"""The log of evaluations on captured pairs: one whole line each, whatever was killed before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cleanplate.cli import main
from cleanplate.evaluation.log import NAME, log_file
from made_models import MadeModel, by_colour, make_run, write_scene


def test_every_evaluation_with_pairs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MadeModel(by_colour, make_run(tmp_path / "pictures").meta)
    monkeypatch.setattr("cleanplate.inference.predictor.load", lambda *_, **__: model)
    write_scene(tmp_path / "pairs" / "a", 3)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / NAME).write_text('{"time": "a line that was cut sh')
    command = ["evaluate", "--model", str(run / "best.safetensors"), "--pairs", str(tmp_path / "pairs")]
    assert main([*command, "--no-baselines"]) == 0
    assert main([*command, "--no-baselines", "--no-care", "--plate-depth"]) == 0
    broken, *lines = (run / NAME).read_text().splitlines()
    assert broken == '{"time": "a line that was cut sh'
    first, second = map(json.loads, lines)
    assert (first["scenes"], first["left_out"], first["pairs"]) == (1, 0, str(tmp_path / "pairs"))
    assert first["mask"]["iou"] == 1
    assert first["depth"]["metric"]["delta1"] == 1
    assert first["options"] == {"care": True, "part": "test", "plate_depth": False, "seed": 0}
    assert second["options"] == {"care": False, "part": "test", "plate_depth": True, "seed": 0}
    assert main([*command, "--no-baselines", "--log", str(tmp_path / "other.jsonl")]) == 0
    assert len((run / NAME).read_text().splitlines()) == 3
    assert json.loads((tmp_path / "other.jsonl").read_text())["mask"]["iou"] == 1


def test_only_runs_have_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert log_file(Path("released")) is None
    assert log_file(tmp_path) == tmp_path / NAME
    assert log_file(tmp_path / "best.safetensors") == tmp_path / NAME
    assert log_file(tmp_path / "elsewhere" / "best.safetensors") is None
