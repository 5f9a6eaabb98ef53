"""What a long training adds: captured pairs among the scenes, several sizes, averaged weights, all resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from cleanplate.network import checkpoint
from cleanplate.pictures.pairs import Pair
from cleanplate.pictures.split import split
from cleanplate.settings import EffectKind, OptimizerSettings, PlanSettings, TrainSettings
from cleanplate.training import loop
from cleanplate.training.average import Average
from cleanplate.training.loop import train
from cleanplate.training.material import _sorted_pairs, find_material
from cleanplate.training.validation import score
from cleanplate.types import InputError
from made_pairs import write_pairs
from made_scenes import write_cutouts, write_plates

SMALL = TrainSettings(
    size=32,
    samples=48,
    batch=4,
    workers=0,
    precision="float32",
    validation_scenes=4,
    validate_every=6,
    plan=PlanSettings(positions=2),
)
ALL = replace(SMALL, sizes=(32, 48), pairs_share=0.5, optimizer=OptimizerSettings(average=0.9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_plates(folder / "plates", 5)
    write_cutouts(folder / "cutouts", 5)
    write_pairs(folder / "pairs", 6, frames=2)
    return folder


def run(out: Path, folder: Path, settings: TrainSettings, pairs: bool = True, **more) -> Path:
    given = {"pairs": (folder / "pairs",)} if pairs else {}
    return train(out, (folder / "plates",), (folder / "cutouts",), settings, **given, **more)


def rows(out: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "samples_per_s")} for r in lines if r["kind"] == kind]


class KilledError(Exception):
    """Stands for kill -9: nothing is saved after it."""


def test_stopped_and_continued_equals_uninterrupted_with_pairs_sizes_and_average(folder, tmp_path, monkeypatch) -> None:
    run(tmp_path / "whole", folder, ALL)
    step = loop.Training._step

    def until_nine(self, batch, bar) -> None:
        if self.progress.step == 9:
            raise KilledError
        step(self, batch, bar)

    monkeypatch.setattr(loop.Training, "_step", until_nine)
    with pytest.raises(KilledError):
        run(tmp_path / "cut", folder, ALL)
    monkeypatch.setattr(loop.Training, "_step", step)
    assert checkpoint.read_tensors(tmp_path / "cut" / "state.safetensors")[1]["progress"]["step"] == 6
    run(tmp_path / "cut", folder, ALL)
    for name in ("state", "best", "last"):
        whole, cut = (checkpoint.read_tensors(tmp_path / w / f"{name}.safetensors") for w in ("whole", "cut"))
        assert whole[0].keys() == cut[0].keys()
        assert all(torch.equal(whole[0][n], cut[0][n]) for n in whole[0]), name
    assert rows(tmp_path / "whole", "train") == rows(tmp_path / "cut", "train")
    assert rows(tmp_path / "whole", "validation") == rows(tmp_path / "cut", "validation")


def test_a_run_says_which_pairs_it_learned_from(folder, tmp_path, capsys) -> None:
    best = run(tmp_path, folder, replace(SMALL, samples=8))
    meta = checkpoint.load(best)[1]
    found = meta["pictures"]["pairs"]
    parts = split([f"room{n}" for n in range(6)], SMALL.seed)
    assert {name: part for part, scenes in found.items() for name in scenes} == parts
    assert {len(fact["sha256"]) for scenes in found.values() for fact in scenes.values()} == {64}
    assert {name: fact["group"] for name, fact in found["train"].items()} == {name: name for name in found["train"]}
    assert meta["config"]["pairs"] == [str(folder / "pairs")]
    assert json.loads((tmp_path / "config.json").read_text())["pairs"] == [str(folder / "pairs")]
    assert "pairs: 4 train, 1 validation, 1 test" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"holds another run: pairs is .*; pairs is gone"):
        run(tmp_path, folder, replace(SMALL, samples=8), pairs=False)


def test_a_folder_s_name_says_what_its_pairs_are_for() -> None:
    split_up = [f"room{n}" for n in range(6)]
    stated = {"train/a": "train", "more/test/b": "test", "validation/c": "validation", "d/train": "?"}
    pairs = tuple(Pair(scene, *(Path("x"),) * 5, 0) for scene in [*split_up, *stated])
    found = {pair.scene: part for part, some in _sorted_pairs(pairs, 0).items() for pair in some}
    expected = split([*split_up, "d/train"], 0)  # a scene called train is one like any other
    assert found == expected | {scene: part for scene, part in stated.items() if part != "?"}
    assert {scene: found[scene] for scene in split_up} != dict.fromkeys(split_up, "train")


def test_validation_measures_pairs_and_the_best_is_best_at_both(folder, tmp_path) -> None:
    run(tmp_path, folder, replace(SMALL, samples=24))
    measured = rows(tmp_path, "validation")
    assert all({"iou", "f1"} <= row["pairs_mask"].keys() and "delta1" in row["pairs_depth"] for row in measured)
    scores = [score({**row, "pairs": {"mask": row["pairs_mask"], "depth": row["pairs_depth"]}}) for row in measured]
    progress = checkpoint.read_tensors(tmp_path / "state.safetensors")[1]["progress"]
    assert progress["best"] == pytest.approx(max(scores))
    assert score({"mask": {"iou": 0.5}, "depth": {}, "pairs": {"mask": {"iou": 0.9}, "depth": {}}}) == pytest.approx(
        0.7
    )


def test_pairs_without_plate_depth_still_teach_depth(folder, tmp_path) -> None:
    write_plates(tmp_path / "plates", 4, depth=False)
    pictures = (tmp_path / "plates",), (folder / "cutouts",)
    best = train(tmp_path / "run", *pictures, replace(SMALL, samples=8), pairs=(folder / "pairs",))
    assert checkpoint.load(best)[1]["depth"] == "metric"


def test_sizes_take_turns_and_depth_is_learned_at_each(folder, tmp_path) -> None:
    settings = replace(SMALL, batch=8, samples=120, sizes=(32, 64))
    best = run(tmp_path, folder, settings, pairs=False)
    trained = rows(tmp_path, "train")
    assert {row["size"] for row in trained} == {32, 64}
    assert all(row["loss"]["depth"] > 0 for row in trained)
    counts = {32: 8, 64: 4}
    before = [0, *(row["samples"] for row in trained)]
    assert all(row["samples"] - earlier == counts[row["size"]] for row, earlier in zip(trained, before, strict=False))
    assert checkpoint.load(best)[1]["config"]["settings"]["size"] == 32
    assert trained[-1]["samples"] >= 120 > trained[-2]["samples"]


def test_families_of_effects_left_out_are_left_out_of_training_scenes_alone(folder) -> None:
    pictures = (folder / "plates",), (folder / "cutouts",)
    bare = replace(SMALL, without=get_args(EffectKind), plan=PlanSettings(positions=2, empty_share=1.0))
    material = find_material(*pictures, None, bare, pairs=(folder / "pairs",))
    training, validation = (material.scenes(bare, part) for part in ("train", "validation"))
    plain = material.scenes(replace(bare, effects="none"), "train")
    assert all((training[0, n][name] == plain[0, n][name]).all() for n in range(20) for name in plain[0, n])
    assert all(training[0, n]["alpha"].any() for n in range(20) if not chance_of_pair(training, n)), "none is empty"
    assert not any(validation[0, n]["alpha"].any() for n in range(4)), "validation keeps its plan and its effects"


def chance_of_pair(scenes, number: int) -> bool:
    return (scenes[0, number]["frame"] == scenes.captured[0, number]["frame"]).all()


def test_the_average_follows_the_weights() -> None:
    linear, norm = nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)
    network = nn.Sequential(linear, norm)
    average = Average(network, 0.5)
    start = float(linear.weight.detach())
    expected = start
    for step in range(1, 30):
        with torch.no_grad():
            linear.weight.fill_(float(step))
            norm.running_mean.fill_(float(step))
            norm.num_batches_tracked.fill_(step)
        average.follow(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.worn_by(network):
        assert float(linear.weight.detach()) == pytest.approx(expected, rel=1e-5)
        assert float(norm.running_mean) == pytest.approx(28.0, abs=0.1), "running statistics are averaged too"
        assert int(norm.num_batches_tracked) == 29
    assert float(linear.weight.detach()) == 29.0
    assert float(norm.running_mean) == 29.0


def test_checkpoints_hold_the_average_and_the_state_both(folder, tmp_path) -> None:
    run(tmp_path, folder, replace(SMALL, optimizer=OptimizerSettings(average=0.99)), pairs=False)
    state = checkpoint.read_tensors(tmp_path / "state.safetensors")[0]
    last = checkpoint.read_tensors(tmp_path / "last.safetensors")[0]
    assert all(torch.equal(last[name], state[f"average.{name}"]) for name in last)
    assert any(not torch.equal(last[name], state[f"network.{name}"]) for name in last)


def test_without_an_average_the_run_is_what_it_was(folder, tmp_path) -> None:
    run(tmp_path / "none", folder, replace(SMALL, samples=16), pairs=False)
    averaged = replace(SMALL, samples=16, optimizer=OptimizerSettings(average=0.9))
    run(tmp_path / "averaged", folder, averaged, pairs=False)
    plain, other = (checkpoint.read_tensors(tmp_path / n / "state.safetensors")[0] for n in ("none", "averaged"))
    assert not any(name.startswith("average.") for name in plain)
    assert all(torch.equal(plain[name], other[name]) for name in plain), "averaging changes no step"


def test_weights_stored_in_half_precision_start_a_run(folder, tmp_path) -> None:
    best = run(tmp_path / "first", folder, replace(SMALL, samples=8), pairs=False)
    tensors, meta = checkpoint.read_tensors(best)
    half = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    checkpoint.write_tensors(tmp_path / "half.safetensors", half, meta)
    network, _ = checkpoint.load(tmp_path / "half.safetensors")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    again = run(
        tmp_path / "second", folder, replace(SMALL, samples=8), pairs=False, start=tmp_path / "half.safetensors"
    )
    assert all(p.isfinite().all() for p in checkpoint.load(again)[0].parameters())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (replace(SMALL, sizes=(48, 64)), r"--sizes 48 64 must .* hold --size 32"),
        (replace(SMALL, sizes=(0, 32)), r"--sizes 0 32 must be above 0"),
        (replace(SMALL, pairs_share=1.0), "--pairs-share must be at least 0 and below 1, got 1"),
        (replace(SMALL, optimizer=OptimizerSettings(average=1.0)), "--optimizer.average must be"),
    ],
)
def test_settings_that_cannot_be(folder, tmp_path, settings, said) -> None:
    with pytest.raises(InputError, match=said):
        run(tmp_path, folder, settings)


def test_a_stored_dataset_has_neither_pairs_nor_sizes(folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"--data .* and --pairs and --sizes: a dataset's scenes are of one size"):
        train(tmp_path, (), (), ALL, data=folder, pairs=(folder / "pairs",))
    with pytest.raises(InputError, match="no such folder; expected pairs as"):
        train(tmp_path, (), (), SMALL, pairs=(folder / "nowhere",))
