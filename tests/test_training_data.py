"""Training on a stored dataset: the same run as on live pictures, continued bit for bit, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from cleanplate.engine.engine import Engine
from cleanplate.labels.label import label
from cleanplate.network import checkpoint
from cleanplate.settings import PlanSettings, TeacherSettings, TrainSettings
from cleanplate.shards.identity import MANIFEST
from cleanplate.shards.make import make_dataset
from cleanplate.training.loop import train
from cleanplate.training.stored import StoredScenes
from cleanplate.types import InputError
from made_dataset import PLAN, write_dataset
from made_teachers import write_coded_pictures, write_decoder

SMALL = TrainSettings(
    size=32, samples=24, batch=4, workers=0, precision="float32", validation_scenes=4, validate_every=1000
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training_data")
    write_dataset(folder, 250)
    return folder


def run(out: Path, data: Path, settings: TrainSettings = SMALL, **more) -> Path:
    return train(out, (), (), settings, data=data, **more)


def rows(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "samples_per_s")} for line in lines]


def command(out: Path, data: Path) -> list[str]:
    flags = "--size 32 --samples 96 --batch 4 --workers 1 --precision float32 --validation-scenes 4 --validate-every 6"
    return [sys.executable, "-m", "cleanplate", "train", "--out", str(out), "--data", str(data), *flags.split()]


def test_a_run_says_what_it_learned_from_and_learns(folder, tmp_path, capsys):
    data = folder / "data"
    best = run(tmp_path / "run", data, replace(SMALL, samples=160))
    identity = json.loads((data / "dataset.json").read_text())
    _, meta = checkpoint.load(best)
    assert meta["depth"] == "metric"
    assert meta["pictures"] == identity["pictures"]
    assert {name: len(part) for name, part in meta["pictures"]["plates"].items()} == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"].keys() == {"place", "fingerprint", "manifest"}
    assert config["data"]["place"] == str(data)
    assert config["plates"] == [str(folder / "plates")], "evaluate composes new scenes of these"
    assert (
        PlanSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["settings"]["plan"].items()})
        == PLAN
    )
    losses = [row["loss"]["total"] for row in rows(tmp_path / "run") if row["kind"] == "train"]
    assert len(losses) == 40, "a short run has a line per step"
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    said = capsys.readouterr().err
    assert "plates: 4 train, 1 validation, 1 test" in said
    assert "200 per epoch" in said
    assert "sample" not in said.replace("samples/s", "")


def test_stored_scenes_teach_what_live_scenes_teach(folder, tmp_path):
    """The same pictures, live and stored: validation losses after the same steps lie close together."""
    settings = replace(SMALL, samples=160, validation_scenes=20)
    run(tmp_path / "stored", folder / "data", settings)
    pictures = (folder / "plates",), (folder / "cutouts",)
    train(tmp_path / "live", *pictures, replace(settings, plan=PLAN, scenes=200))
    stored, live = (rows(tmp_path / name)[-1]["loss"]["total"] for name in ("stored", "live"))
    assert stored == pytest.approx(live, rel=0.25)


def test_killed_and_continued_equals_uninterrupted_bit_for_bit(folder, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = subprocess.Popen(command(tmp_path / "whole", folder / "data"), env=environment, stderr=subprocess.DEVNULL)
    killed = subprocess.Popen(command(tmp_path / "cut", folder / "data"), env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "cut" / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    stopped_at = checkpoint.read_tensors(tmp_path / "cut" / "state.safetensors")[1]["progress"]["step"]
    assert 0 < stopped_at < 24
    subprocess.run(command(tmp_path / "cut", folder / "data"), check=True, env=environment, capture_output=True)
    assert whole.wait(timeout=120) == 0
    states = [checkpoint.read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("whole", "cut")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_dataset_takes_the_place_of_pictures(folder, tmp_path):
    with pytest.raises(InputError, match=r"--data .* and --plates are given.*either"):
        train(tmp_path, (folder / "plates",), (), SMALL, data=folder / "data")
    with pytest.raises(InputError, match=r"--plan flags.*the plan is the dataset's"):
        run(tmp_path, folder / "data", replace(SMALL, plan=PlanSettings(positions=3)))
    with pytest.raises(InputError, match=r"--labels teacher belong to a stored dataset.*--data"):
        train(tmp_path, (), (), replace(SMALL, labels="teacher"))
    with pytest.raises(InputError, match="has no label 'teacher'"):
        run(tmp_path, folder / "data", replace(SMALL, labels="teacher"))
    with pytest.raises(InputError, match="96 px are asked for; give --size 1 to 64"):
        run(tmp_path, folder / "data", replace(SMALL, size=96))
    with pytest.raises(InputError, match="is no dataset"):
        run(tmp_path, folder)


def test_an_unfinished_dataset_is_refused_with_what_is_missing(tmp_path):
    data = write_dataset(tmp_path, 60, 32)
    (tmp_path / "data" / MANIFEST).unlink()
    with pytest.raises(InputError, match=rf"has no {MANIFEST}.*cleanplate compose"):
        run(tmp_path / "run", tmp_path / "data")
    data.store.delete(data.shards("test")[0].scenes)
    with pytest.raises(InputError, match=r"1 of 3 shards are missing, the first is test-00000.*cleanplate compose"):
        run(tmp_path / "run", tmp_path / "data")


def test_a_dataset_that_cannot_validate_is_refused(tmp_path):
    write_dataset(tmp_path, 3, 32)
    with pytest.raises(InputError, match=r"no validation scenes \(3 train, 0 validation.*at least 3 plates"):
        run(tmp_path / "run", tmp_path / "data")


def test_another_dataset_is_another_run(folder, tmp_path):
    run(tmp_path / "run", folder / "data")
    write_dataset(tmp_path, 200, 32)
    with pytest.raises(InputError, match=r"holds another run: .*data\.fingerprint is .*--fresh"):
        run(tmp_path / "run", tmp_path / "data")


def test_labels_take_the_place_of_the_depth(tmp_path):
    plates, cutouts = write_coded_pictures(tmp_path)
    here = Engine(workers=0)
    dataset = make_dataset(
        tmp_path / "data", [plates], [cutouts], scenes=80, size=32, plan=PLAN, engine=here, quiet=True
    )
    write_decoder(tmp_path / "teacher.onnx", inverse=True)
    given = TeacherSettings(f"teacher=onnx:{tmp_path / 'teacher.onnx'}", "disparity", "relative", teacher_range=255)
    labels = label(tmp_path / "data", given, name="seen", engine=here, quiet=True)
    options = {"effects": "none", "seed": 0}
    plain, worn = (StoredScenes(dataset, "train", labels=used, **options) for used in (None, labels))
    small = StoredScenes(dataset, "train", size=20, labels=labels, **options)
    for number in (0, 13, 40):
        sample, other = worn[0, number], plain[0, number]
        assert (sample["alpha"] == other["alpha"]).all()
        assert not (sample["depth"] == other["depth"]).all()
        shard, row = worn.stored_row(number)
        assert (sample["depth"][0] == labels.apply(row.scene(shard), shard, row).depth).all()
        nearest = cv2.resize(worn.scene(number).plate_depth, (20, 20), interpolation=cv2.INTER_NEAREST_EXACT)
        assert (small.scene(number).plate_depth == nearest).all()
    best = run(tmp_path / "run", tmp_path / "data", replace(SMALL, labels="seen"))
    meta = checkpoint.load(best)[1]
    assert meta["depth"] == "disparity"
    assert meta["config"]["data"]["labels"]["teacher"]
    assert meta["config"]["settings"]["labels"] == "seen"
    with pytest.raises(InputError, match=r"labels is 'seen' there"):
        run(tmp_path / "run", tmp_path / "data")
    dataset.store.delete("labels/seen/scenes-test-00000.parquet")
    with pytest.raises(InputError, match=r"the label 'seen' is not finished.*cleanplate label"):
        run(tmp_path / "other", tmp_path / "data", replace(SMALL, labels="seen"))
