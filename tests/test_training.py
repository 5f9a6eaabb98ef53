"""Training: a stopped run is the same run, budgets, what a run leaves behind, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cleanplate.network import checkpoint
from cleanplate.network.platenet import PlateNet
from cleanplate.pictures.frames import read_image
from cleanplate.settings import OptimizerSettings, PlanSettings, TrainSettings, with_preset
from cleanplate.training import loop
from cleanplate.training.loop import train
from cleanplate.training.optimizer import lay_out, make_optimizer, optimizer_tensors, rate, restore_optimizer
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

PANELS = ("mask_loss", "depth_loss", "masks", "depths", "frames")
SMALL = TrainSettings(
    size=32,
    samples=24,
    batch=4,
    workers=0,
    precision="float32",
    validation_scenes=4,
    validate_every=1000,
    plan=PlanSettings(positions=2),
)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> tuple[Path, Path]:
    """Six plates with depth and six cutouts."""
    folder = tmp_path_factory.mktemp("pictures")
    write_plates(folder / "plates", 6)
    write_cutouts(folder / "cutouts", 6)
    return folder / "plates", folder / "cutouts"


def run(out: Path, pictures: tuple[Path, Path], settings: TrainSettings = SMALL, **more) -> Path:
    return train(out, (pictures[0],), (pictures[1],), settings, **more)


def rows(out: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def command(out: Path, pictures: tuple[Path, Path]) -> list[str]:
    flags = "--size 32 --samples 96 --batch 4 --workers 1 --precision float32 --validation-scenes 4 --validate-every 6"
    where = ["--out", str(out), "--plates", str(pictures[0]), "--cutouts", str(pictures[1])]
    return [sys.executable, "-m", "cleanplate", "train", *where, *flags.split()]


def test_killed_and_continued_equals_uninterrupted_bit_for_bit(pictures, tmp_path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path / "whole", pictures), check=True, env=environment, capture_output=True)
    killed = subprocess.Popen(command(tmp_path / "cut", pictures), env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "cut" / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    stopped_at = checkpoint.read_tensors(tmp_path / "cut" / "state.safetensors")[1]["progress"]["step"]
    assert 0 < stopped_at < 24
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 23, "kind": "train", "lo')  # a line cut by the kill, after the last state
    subprocess.run(command(tmp_path / "cut", pictures), check=True, env=environment, capture_output=True)
    whole, _ = checkpoint.read_tensors(tmp_path / "whole" / "state.safetensors")
    cut, _ = checkpoint.read_tensors(tmp_path / "cut" / "state.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    for kind in ("train", "validation"):
        strip = [
            {k: v for k, v in r.items() if k not in ("seconds", "samples_per_s")}
            for r in rows(tmp_path / "whole", kind)
        ]
        again = [
            {k: v for k, v in r.items() if k not in ("seconds", "samples_per_s")} for r in rows(tmp_path / "cut", kind)
        ]
        assert strip == again


def test_a_run_leaves_checkpoints_metrics_panels_and_tensorboard(pictures, tmp_path) -> None:
    best = run(tmp_path, pictures)
    network, meta = checkpoint.load(best)
    assert meta["depth"] == "metric"
    assert isinstance(network, PlateNet)
    trained = set(meta["pictures"]["plates"]["train"])
    assert trained
    assert not trained & set(meta["pictures"]["plates"]["test"])
    assert {p["sha256"] for p in meta["pictures"]["plates"]["train"].values()}
    assert rows(tmp_path, "validation")[-1]["step"] == 6
    steps = {int(path.name.split("_")[0]) for path in (tmp_path / "panels").iterdir()}
    assert {0, 6} <= steps
    for name in PANELS:
        assert read_image(tmp_path / "panels" / f"0000006_{name}.png").std() > 1, name
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "validation/loss/total" in board.Tags()["scalars"]
    assert set(PANELS) <= set(board.Tags()["images"])


def test_training_learns(tmp_path) -> None:
    """Seconds of the packaged sample: most of what stands in front of rooms that never trained is found."""
    flags = "--size 64 --samples 3200 --batch 16 --validation-scenes 32 --validate-every 1000"
    command = [sys.executable, "-m", "cleanplate", "train", "--out", str(tmp_path), *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "the packaged sample" in done.stderr
    first, last = rows(tmp_path, "validation")
    assert last["mask"]["iou"] > 0.35 > first["mask"]["iou"]
    assert last["loss"]["depth"] < 0.9 * first["loss"]["depth"]


def test_loss_maps_darken_on_one_scale() -> None:
    batch = loop.Batch(
        *(torch.zeros(1, c, 32, 32) for c in (3, 3, 1)), torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    )
    from cleanplate.network.output import Output
    from cleanplate.training.tracking import panel_rows

    def brightness(logit: float, log_depth: float) -> tuple[float, float]:
        maps = panel_rows(batch, Output(torch.full((1, 1, 32, 32), logit), torch.full((1, 1, 32, 32), log_depth)))
        return tuple(float(np.mean(maps[n][n.replace("_", " ")][0])) for n in ("mask_loss", "depth_loss"))  # ty: ignore

    bad, better, good = brightness(2.0, 0.6), brightness(-1.0, 0.3), brightness(-9.0, 0.0)
    assert bad[0] > better[0] > good[0]
    assert bad[1] > better[1] > good[1]


def test_the_finished_run_does_nothing_and_another_run_is_refused(pictures, tmp_path) -> None:
    run(tmp_path, pictures)
    before = (tmp_path / "state.safetensors").read_bytes()
    run(tmp_path, pictures)
    assert (tmp_path / "state.safetensors").read_bytes() == before
    with pytest.raises(InputError, match=r"batch is 4 there, 8 now.*--fresh"):
        run(tmp_path, pictures, replace(SMALL, batch=8))
    run(tmp_path, pictures, replace(SMALL, batch=8), fresh=True)
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["batch"] == 8


def test_changed_pictures_are_named(tmp_path) -> None:
    write_plates(tmp_path / "p", 4)
    write_cutouts(tmp_path / "c", 4)
    run(tmp_path / "run", (tmp_path / "p", tmp_path / "c"))
    changed = np.zeros((120, 160, 3), np.uint8)
    from PIL import Image

    Image.fromarray(changed).save(tmp_path / "p" / "plate1.png")
    with pytest.raises(InputError, match=r"plate1\.png.* (changed|there)"):
        run(tmp_path / "run", (tmp_path / "p", tmp_path / "c"))


def test_plates_without_depth_train_the_mask_alone(tmp_path, capsys) -> None:
    write_plates(tmp_path / "p", 4, depth=False)
    write_cutouts(tmp_path / "c", 4)
    best = run(tmp_path / "run", (tmp_path / "p", tmp_path / "c"))
    assert checkpoint.load(best)[1]["depth"] == "none"
    assert "mask alone" in capsys.readouterr().err
    assert all(row["loss"]["depth"] == 0 for row in rows(tmp_path / "run", "validation"))


def test_a_diverging_loss_stops_and_keeps_the_last_good_checkpoint(pictures, tmp_path) -> None:
    wild = replace(
        SMALL, samples=400, optimizer=OptimizerSettings(name="sgd", learning_rate=1e12, schedule="constant", clip=0.0)
    )
    with pytest.raises(InputError, match=r"diverges.*learning-rate"):
        run(tmp_path, pictures, wild)
    network, _ = checkpoint.load(checkpoint.find(tmp_path))
    assert all(p.isfinite().all() for p in network.parameters())


def test_minutes_freeze_the_number_of_steps(pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "TIMED_STEPS", 4)
    monkeypatch.setattr(loop, "SETTLING_STEPS", 1)
    run(tmp_path, pictures, replace(SMALL, samples=None, minutes=0.05))
    progress = checkpoint.read_tensors(tmp_path / "state.safetensors")[1]["progress"]
    assert progress["step"] == progress["steps"] > 4
    assert progress["seconds"] < 30


@pytest.mark.parametrize("budget", [{"samples": None}, {"epochs": 1.0}, {"samples": 0}])
def test_one_budget_above_zero_is_needed(pictures, tmp_path, budget) -> None:
    with pytest.raises(InputError, match=r"--(samples|epochs)"):
        run(tmp_path, pictures, replace(SMALL, **budget))


def test_the_original_network_and_preset_train_by_the_same_command(pictures, tmp_path) -> None:
    best = run(tmp_path, pictures, replace(SMALL, network="original-small", samples=8), preset="original")
    assert checkpoint.load(best)[1]["network"] == "original-small"
    config = json.loads((tmp_path / "config.json").read_text())["settings"]
    assert config["optimizer"]["name"] == "sgd"
    assert config["loss"]["depth_ssim3"] == 1.0
    with pytest.raises(InputError, match="original-small"):
        run(tmp_path / "other", pictures, start=tmp_path)


def test_from_starts_with_other_weights(pictures, tmp_path) -> None:
    first = run(tmp_path / "a", pictures)
    frozen = replace(SMALL, samples=4, optimizer=OptimizerSettings(name="sgd", learning_rate=0.0, schedule="constant"))
    run(tmp_path / "b", pictures, frozen, start=tmp_path / "a")
    there, here = checkpoint.load(first)[0], checkpoint.load(tmp_path / "b" / "last.safetensors")[0]
    for (name, a), (_, b) in zip(there.named_parameters(), here.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_too_few_groups_are_refused(tmp_path) -> None:
    write_plates(tmp_path / "p", 2)
    write_cutouts(tmp_path / "c", 4)
    with pytest.raises(InputError, match="at least 3 plates"):
        run(tmp_path / "run", (tmp_path / "p", tmp_path / "c"))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizer_round_trip(name) -> None:
    def steps(network: PlateNet, optimizer: torch.optim.Optimizer, count: int) -> None:
        for i in range(count):
            torch.manual_seed(i)
            optimizer.zero_grad()
            network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)).mask_logits.mean().backward()
            optimizer.step()

    settings = OptimizerSettings(name=name, learning_rate=0.01)
    a, b = PlateNet(), PlateNet()
    first, second = make_optimizer(a, settings), make_optimizer(b, settings)
    steps(a, first, 2)
    b.load_state_dict(a.state_dict())
    restore_optimizer(second, {k: v.clone() for k, v in optimizer_tensors(first).items()})
    steps(a, first, 2)
    steps(b, second, 2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_moments_lie_as_their_weights_do() -> None:
    """Weights that went to channels last after their moments were read take the step that they would have taken."""

    def step(layer: nn.Conv2d, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        torch.manual_seed(1)
        layer(torch.rand(2, 6, 8, 8)).square().mean().backward()
        optimizer.step()
        return layer.weight.detach().clone()

    layer = nn.Conv2d(6, 8, 3).to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    optimizer = make_optimizer(layer, OptimizerSettings(learning_rate=0.1))
    step(layer, optimizer)
    weights = {name: value.clone() for name, value in layer.state_dict().items()}
    moments = {name: value.clone().contiguous() for name, value in optimizer_tensors(optimizer).items()}
    optimizer.zero_grad()
    uninterrupted = step(layer, optimizer)

    def continued(laid_out: bool) -> torch.Tensor:
        again = nn.Conv2d(6, 8, 3)
        again.load_state_dict(weights)
        other = make_optimizer(again, OptimizerSettings(learning_rate=0.1))
        restore_optimizer(other, {name: value.clone() for name, value in moments.items()})
        again.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
        if laid_out:
            lay_out(other)
        return step(again, other)

    assert torch.equal(continued(laid_out=True), uninterrupted)
    assert not torch.equal(continued(laid_out=False), uninterrupted), "or this test tests nothing"


def test_rates() -> None:
    one, steps = OptimizerSettings(learning_rate=1.0), 10_000
    rates = [rate(step, steps, one) for step in range(steps)]
    assert max(rates) == rates[249] == 1.0
    assert max(rates[0], rates[-1]) < 0.01
    assert all(a >= b for a, b in pairwise(rates[250:]))
    assert rate(40, None, one) == rate(40, steps, one), "a budget not yet timed warms up as a known one does"
    stepped = OptimizerSettings(learning_rate=1.0, schedule="step")
    assert [rate(s, 100, stepped) for s in (0, 49, 50, 74, 75, 99)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert with_preset(SMALL, "original").optimizer.momentum == 0.9


def test_two_processes_share_one_training(pictures, tmp_path) -> None:
    """torchrun with two gloo processes: both finish, one writes, and the gradient is shared."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29511"]
    flags = command(tmp_path / "run", pictures)[1:]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *flags], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    progress = checkpoint.read_tensors(tmp_path / "run" / "state.safetensors")[1]["progress"]
    assert progress["step"] == 12, "96 samples in steps of 2 x 4"
    assert [row["samples"] for row in rows(tmp_path / "run", "validation")] == [0, 48, 96]
