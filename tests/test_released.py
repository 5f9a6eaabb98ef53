"""The packaged model, and the tools that put it there and write its card."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cleanplate
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.pictures.pairs import read_pair
from cleanplate.types import InputError
from made_models import make_run

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    """Import one of the tools, as its own folder sees it."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A model of random weights, trained on "rooms" (says its header)."""
    made = make_run(tmp_path / "rooms")
    torch.manual_seed(0)
    settings = {"size": 48, "effects": "train"}
    config = {kind: [str(tmp_path / "rooms" / kind)] for kind in ("plates", "cutouts")} | {"settings": settings}
    known = {"network": "platenet", "version": "0.1.0", "step": 10, "samples": 320, "seconds": 36.0}
    network = build("platenet")
    with torch.no_grad():  # answers that differ from pixel to pixel, as those of a trained network do
        dict(network.named_parameters())["head.weight"].mul_(30)
    (tmp_path / "rooms" / "ATTRIBUTION.csv").write_text("name,creator,plates\nlamp,Ann,1\nlamp,Ann,2\n")
    checkpoint.save(tmp_path / "run" / "best.safetensors", network, {**made.meta, **known, "config": config})
    return tmp_path / "run"


def test_the_packaged_model_is_the_one_of_its_card() -> None:
    path = checkpoint.released()
    if not path.is_file():
        pytest.skip(f"{path} is not there: no model has been released yet (tools/release.py)")
    card = json.loads(path.with_name("card.json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert path.stat().st_size == card["bytes"] < 4_000_000
    model = cleanplate.load()
    assert model.depth_kind == card["depth"]
    assert sum(p.numel() for p in checkpoint.load(path)[0].parameters()) == card["network"]["parameters"]
    assert not model.meta["config"]["plates"], "no folder of ours"
    assert set(model.meta["pictures"]) >= {"plates", "cutouts"}
    assert "/" not in json.dumps([list(part) for parts in model.meta["pictures"].values() for part in parts.values()])
    plate = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    found = model.predict(plate, plate)
    assert found.alpha.shape == found.depth.shape == (40, 56)
    assert path.with_name("ATTRIBUTION.csv").stat().st_size > 0


def test_a_release_answers_as_its_run(tool: Any, run: Path, tmp_path: Path) -> None:
    card = tool("release").release(run, tmp_path / "out", graphs=False)
    path = tmp_path / "out" / "model.safetensors"
    assert sorted(p.name for p in path.parent.iterdir()) == ["ATTRIBUTION.csv", "card.json", path.name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert path.stat().st_size < 0.6 * (run / "best.safetensors").stat().st_size
    (before, _), (after, meta) = checkpoint.load(run / "best.safetensors"), checkpoint.load(path)
    assert all(p.dtype == torch.float32 for p in after.parameters())
    for (name, a), (_, b) in zip(before.state_dict().items(), after.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6, msg=name)
    assert 0 < card["precision"]["largest_change"]["alpha"] < 2e-3
    pair = read_pair(tool("release").open_pairs(tool("release").sample_folder() / "pairs")[0])
    answers = [cleanplate.load(p).predict(pair.plate, pair.frame).alpha for p in (run, path)]
    assert np.ptp(answers[0]) > 0.1
    assert np.abs(answers[0] - answers[1]).max() < 2e-3
    assert meta["depth"] == "metric"


def test_a_release_tells_of_no_folder_and_no_name(tool: Any, run: Path, tmp_path: Path) -> None:
    tool("release").release(run, tmp_path / "out", graphs=False)
    header = (tmp_path / "out" / "model.safetensors").read_bytes()[:100_000]
    told = header + (tmp_path / "out" / "card.json").read_bytes()
    for word in (str(tmp_path), "plate0", "cutout0"):
        assert word.encode() not in told
    assert (tmp_path / "out" / "ATTRIBUTION.csv").read_text() == "name,creator\nlamp,Ann\n"


def test_only_pictures_that_may_train_are_released(tool: Any, run: Path, tmp_path: Path) -> None:
    tensors, meta = checkpoint.read_tensors(run / "best.safetensors")
    meta["config"]["plates"] = ["/data/people/plates"]
    checkpoint.write_tensors(run / "best.safetensors", tensors, meta)
    with pytest.raises(InputError, match="/data/people/plates: not known"):
        tool("release").release(run, tmp_path / "out", graphs=False)
    assert not (tmp_path / "out").exists()


def test_pictures_of_the_run_that_came_before_are_released_too(tool: Any, run: Path, tmp_path: Path) -> None:
    tensors, meta = checkpoint.read_tensors(run / "best.safetensors")
    before = {**meta, "config": {**meta["config"], "plates": ["/data/people/plates"]}}
    checkpoint.write_tensors(tmp_path / "first.safetensors", tensors, before)
    meta["config"]["from"] = str(tmp_path / "first.safetensors")
    checkpoint.write_tensors(run / "best.safetensors", tensors, meta)
    with pytest.raises(InputError, match="people"):
        tool("release").release(run, tmp_path / "out", graphs=False)


def test_weights_beyond_half_precision_are_told(tool: Any) -> None:
    halved = tool("release").halved
    small, rounding = halved({"a": torch.full((100, 100), 0.1), "b": torch.full((4,), 1e-9), "n": torch.tensor(3)})
    assert [small[name].dtype for name in "abn"] == [torch.float16, torch.float32, torch.int64]
    assert rounding["lost"] == 0
    assert halved({"a": torch.full((100, 100), 1e-9)})[1]["lost"] == 1
    with pytest.raises(InputError, match="beyond half"):
        halved({"a": torch.full((100, 100), 1e5)})
    with pytest.raises(InputError, match="not numbers"):
        halved({"a": torch.full((2, 2), float("nan"))})


def test_the_card_shows_what_was_measured(tool: Any, run: Path, tmp_path: Path, monkeypatch) -> None:
    card = tool("model_card")
    tool("release").release(run, tmp_path / "out", graphs=False)
    monkeypatch.setattr(checkpoint, "released", lambda: tmp_path / "out" / "model.safetensors")
    mask = {"iou": 0.5, "f1": 0.6, "false_alarm": 0.001, "boundary_f": None}
    part = {"mask": mask, "depth": None, "intervals": {"iou": [0.4, 0.6]}}
    (tmp_path / "one.json").write_text(json.dumps({"mean": part, "baselines": {"mog2": {"mean": part}, "knn": {}}}))
    (tmp_path / "card.toml").write_text(
        "machine = 'one CPU'\nuses = ['a']\nnot_for = ['b']\nlimits = ['c']\n"
        "[failures]\npairs = 'sample'\ncount = 2\n"
        f"[[evaluation]]\ntitle = 'One'\nfile = '{tmp_path}/one.json'\narguments = '--pairs one'\npart = 'mean'\n"
        f"[[evaluation]]\ntitle = 'Two'\nfile = '{tmp_path}/two.json'\narguments = '--pairs two'\npart = 'mean'\n"
    )
    monkeypatch.setattr(card, "load", lambda _: cleanplate.load(run))
    card.write_card(tmp_path / "card.toml", tmp_path / "docs" / "model.md")
    page = (tmp_path / "docs" / "model.md").read_text()
    assert "| **released** | 0.500 (0.400-0.600) | 0.600 | 0.100 % |" in page
    assert "| mog2 |" in page
    assert "| knn |" not in page
    assert "| | IoU | F1 | false alarms |" in page, "what nobody has a value in is left out"
    assert page.count("Not measured yet.") == 1
    assert f"cleanplate evaluate --pairs two --json {tmp_path}/two.json" in page
    assert "3 + 1 plates" in page
    assert (tmp_path / "docs" / "images" / "failures.jpg").stat().st_size > 1000
    with pytest.raises(InputError, match="not known"):
        card.failures({"pairs": "/data/highway", "count": 1}, tmp_path / "f.jpg")
    with pytest.raises(InputError, match="not shown"):
        card.failures({"pairs": "/data/stamps", "count": 1}, tmp_path / "f.jpg")


def test_find_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "released", lambda: tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="no released model"):
        cleanplate.load()
    with pytest.raises(InputError, match="or released"):
        cleanplate.load(tmp_path / "nowhere")
