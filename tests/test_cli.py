"""The command line: quick to answer, clear about mistakes, and every verb a door that opens."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import tyro
from PIL import Image as Pillow

import cleanplate
from cleanplate import cli
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.types import InputError

VERBS = ("inspect", "train", "summary", "compare", "evaluate", "predict", "serve", "report", "bench")
HEAVY = ("torch", "cv2", "matplotlib", "av", "PIL", "kornia", "accelerate", "scipy")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cleanplate", *arguments], capture_output=True, text=True, timeout=60)


def picture(path: Path, seed: int) -> Path:
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with random weights."""
    torch.manual_seed(0)
    meta = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 1}
    checkpoint.save(tmp_path / "run" / "best.safetensors", build("platenet"), meta)
    return tmp_path / "run"


def test_help_names_every_verb() -> None:
    done = command("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert verb in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cleanplate.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.rstrip().endswith("LOADED []")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, cleanplate\nprint(sorted(set(sys.modules) & set({(*HEAVY, 'numpy')!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"cleanplate {cleanplate.__version__}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_its_flags(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([verb, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    kinds = (get_args(alternative) for alternative in get_args(cli.Verb))
    kind = next(kind for kind, subcommand in kinds if subcommand.name == verb)
    for field in fields(kind):
        # Positional arguments and groups of flags go by other names.
        if field.name not in ("settings", "videos") and "Positional" not in str(field.type):
            assert f"--{field.name.strip('_').replace('_', '-')}" in text, field.name


def test_a_typo_is_answered_with_the_flag_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["predict", "--modle", "runs/demo", "--plate", "p.png", "f.png"])
    assert exit_.value.code == 2
    assert "--model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "--model", "nowhere", "--plate", "p.png", "f.png"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["bench", "--rounds", "0"], "--rounds"),
        (["evaluate", "--model", "nowhere"], "nowhere"),
        (["compare", "nowhere.png", "elsewhere.png"], "nowhere.png"),
    ],
)
def test_a_mistake_is_one_message_and_code_2(arguments: list[str], named: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("cleanplate: error: ")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_verb_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: cli.Report) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Report, "run", interrupted)
    assert cli.main(["report", "x"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: cli.Report) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli.Report, "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["report", "x"])


def test_predict_and_report_from_the_command_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plate, frame = picture(tmp_path / "plate.png", 0), picture(tmp_path / "frame.png", 1)
    out = run / "predictions"
    arguments = ["predict", "--model", str(run), "--plate", str(plate), "--out", str(out)]
    assert cli.main([*arguments, str(frame)]) == 0
    assert "1 frame" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "predictions.json", *(f"frame_{kind}.png" for kind in ("mask", "cutout", "overlay", "depth", "depth_colour"))
    }  # fmt: skip
    assert cli.main([*arguments, str(frame), str(tmp_path / "missing.png")]) == 2
    assert "missing.png" in capsys.readouterr().err
    entries = json.loads((out / "predictions.json").read_text())["inputs"]
    assert [entry["error"] is None for entry in entries] == [True, False]
    (run / "config.json").write_text("{}")
    assert cli.main(["report", str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert "data:image/jpeg" in (run / "report.html").read_text()


def test_three_lines_of_python(run: Path, tmp_path: Path) -> None:
    plate, frame = picture(tmp_path / "plate.png", 0), picture(tmp_path / "frame.png", 1)
    model = cleanplate.load(run)
    prediction = model.predict(plate, frame)
    assert prediction.mask.shape == (24, 32)
    assert prediction.depth is not None
    with pytest.raises(InputError, match="plate"):
        model.predict(plate, np.zeros((9, 9, 3), np.uint8))


def documented_commands() -> list[str]:
    """Every command line that the README and the documentation show."""
    root = Path(__file__).parents[1]
    text = "\n".join(path.read_text() for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))))
    text = re.sub(r" *\\\n *", " ", text)  # a command that goes on in the next line
    verbs = "|".join(sorted(field.__name__.lower() for field in get_args_of_verbs()))
    return sorted(set(re.findall(rf"^(?: {{4}})?(?:\.venv/bin/)?cleanplate ((?:{verbs}) .*)$", text, re.MULTILINE)))


def get_args_of_verbs() -> list[type]:
    """The verbs' dataclasses."""
    return [get_args(annotated)[0] for annotated in get_args(cli.Verb)]


def test_documented_commands_are_understood() -> None:
    commands = documented_commands()
    assert len(commands) > 12
    for line in commands:
        verb = tyro.cli(cli.Verb, args=shlex.split(line, comments=True))
        assert type(verb).__name__.lower() == line.split()[0]
