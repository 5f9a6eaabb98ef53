"""Several processes train as one with their batches together: same samples, same losses; continued bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cleanplate.network import checkpoint
from cleanplate.network.platenet import PlateNet
from cleanplate.network.synchronised import SynchronisedNorm, synchronised
from made_dataset import write_dataset, write_pictures

STEPS = 15
TRAIN = """
import json, os, sys
from pathlib import Path
from cleanplate.cli import main
from cleanplate.training.stored import WindowOrder

step, log = WindowOrder.step, Path(sys.argv[1] + f".order{os.environ.get('RANK', 0)}")

def logged(self, number):
    keys = step(self, number)
    with log.open("a") as file:
        file.write(json.dumps([number, keys]) + "\\n")
    return keys

WindowOrder.step = logged
sys.exit(main(["train", "--out", *sys.argv[1:]]))
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    write_pictures(folder)
    for number in (0, 2, 4):  # so that processes know the depth of unequally many pixels
        depth = np.array(Image.open(folder / "plates" / f"plate{number}_depth.png"))
        depth[:, : 30 * (number + 1)] = 0
        Image.fromarray(depth).save(folder / "plates" / f"plate{number}_depth.png")
    write_dataset(folder, 250)
    (folder / "script.py").write_text(TRAIN)
    return folder


def start(folder: Path, name: str, processes: int, batch: int) -> subprocess.Popen:
    """Train on the dataset with so many processes of so large a batch, into folder/name."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    flags = (
        f"--size 64 --samples {16 * STEPS} --batch {batch} --workers 0 --precision float32 --validation-scenes 8 "
        "--validate-every 5 --optimizer.name sgd --optimizer.learning-rate 0.0005 --optimizer.schedule constant"
    )
    arguments = [str(folder / "script.py"), str(folder / name), "--data", str(folder / "data"), *flags.split()]
    command = [sys.executable, *(launch if processes > 1 else []), *arguments]
    with (folder / f"{name}.said").open("ab") as said:
        return subprocess.Popen(command, env=ENVIRONMENT, stderr=said, start_new_session=True)


def finish(folder: Path, name: str, process: subprocess.Popen) -> None:
    assert process.wait(timeout=300) == 0, (folder / f"{name}.said").read_text()[-3000:]


def state(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict]:
    return checkpoint.read_tensors(folder / name / "state.safetensors")


def rows(folder: Path, name: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "samples_per_s")} for line in lines]


def order(folder: Path, name: str, rank: int = 0) -> dict[int, list[list[int]]]:
    return dict(json.loads(line) for line in (folder / f"{name}.order{rank}").read_text().splitlines())


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    """folder/one: one process, batches of 16. folder/two: two processes, batches of 8."""
    one = start(folder, "one", 1, 16)
    two = start(folder, "two", 2, 8)
    finish(folder, "one", one)
    finish(folder, "two", two)
    return folder


def test_two_processes_have_the_losses_of_one_with_the_doubled_batch(trained):
    one, two = rows(trained, "one"), rows(trained, "two")
    assert [(row["step"], row["kind"], row["samples"]) for row in one] == [
        (row["step"], row["kind"], row["samples"]) for row in two
    ]
    assert sum(row["kind"] == "train" for row in one) == STEPS
    for a, b in zip(one, two, strict=True):
        # a small rate: at a large one rounding alone, as of a batch in another order, grows to 1 % in so many steps
        assert b["loss"] == pytest.approx(a["loss"], rel=5e-4, abs=2e-6), a["step"]
        assert b["loss"]["total"] == pytest.approx(a["loss"]["total"], rel=1e-4), a["step"]
    losses = [row["loss"]["total"] for row in one if row["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5]), "it learns all the while"


def test_two_processes_share_the_samples_of_one(trained):
    whole = order(trained, "one")
    ranks = [order(trained, "two", rank) for rank in (0, 1)]
    seen = []
    for step in range(STEPS):
        shares = [rank[step] for rank in ranks]
        assert [key for pair in zip(*shares, strict=True) for key in pair] == whole[step]
        seen += [tuple(key) for key in whole[step]]
    assert len(set(seen)) == 16 * STEPS
    assert sorted(number for epoch, number in seen if epoch == 0) == list(range(200)), "none is lost, none comes twice"


def test_checkpoints_are_those_of_one_process(trained):
    (one, _), (two, _) = state(trained, "one"), state(trained, "two")
    assert one.keys() == two.keys()
    for name in filter(lambda name: name.startswith("network."), one):
        torch.testing.assert_close(two[name], one[name], rtol=2e-3, atol=2e-4, msg=name)
    network, _ = checkpoint.load(trained / "two" / "last.safetensors")
    assert isinstance(network, PlateNet)


def test_two_processes_killed_and_continued_are_as_if_never_stopped(trained):
    killed = start(trained, "cut", 2, 8)
    until = time.monotonic() + 120
    while not (trained / "cut" / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    stopped_at = state(trained, "cut")[1]["progress"]["step"]
    assert 0 < stopped_at < STEPS
    finish(trained, "cut", start(trained, "cut", 2, 8))
    (whole, _), (cut, _) = state(trained, "two"), state(trained, "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert rows(trained, "two") == rows(trained, "cut")


def test_norms_are_replaced_in_place_and_answer_alike_in_evaluation():
    torch.manual_seed(0)
    network = PlateNet()
    names, weights = list(network.state_dict()), [id(weight) for weight in network.parameters()]
    pictures = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = network.eval()(*pictures)
        shared = synchronised(network, torch.device("cpu"))
        after = shared.eval()(*pictures)
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert list(shared.state_dict()) == names
    assert [id(weight) for weight in shared.parameters()] == weights
    norms = [module for module in shared.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, SynchronisedNorm) for norm in norms)


NORMS = """
import torch
from torch import distributed, nn
from cleanplate.network.synchronised import synchronised

distributed.init_process_group("gloo")
rank, world = distributed.get_rank(), distributed.get_world_size()
for dtype, close in ((torch.float64, 1e-10), (torch.float32, 2e-5), (torch.bfloat16, 0.05)):
    torch.manual_seed(0)
    plain, other = (nn.BatchNorm2d(3, momentum=0.3) for _ in range(2))
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.bias.uniform_(-1, 1)
    other.load_state_dict(plain.state_dict())
    shared = synchronised(nn.Sequential(other), torch.device("cpu"))
    if dtype == torch.float64:
        plain, shared = plain.double(), shared.double()
    for _ in range(2):
        x, slope = (100 + 3 * torch.randn(6, 3, 4, 5)).to(dtype), torch.randn(6, 3, 4, 5).to(dtype)
        mine = [slice(0, 2), slice(2, 6)][rank]  # not equally many each
        whole, share = x.clone().requires_grad_(), x[mine].clone().requires_grad_()
        wanted, given = plain(whole), shared(share)
        (wanted * slope).sum().backward()
        (given * slope[mine]).sum().backward()
        torch.testing.assert_close(given, wanted[mine], rtol=close, atol=close)
        torch.testing.assert_close(share.grad, whole.grad[mine], rtol=close, atol=close)
    for (name, a), b in zip(plain.named_buffers(), shared.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=close, atol=close, msg=name)
    for a, b in zip(plain.parameters(), shared.parameters(), strict=True):
        distributed.all_reduce(b.grad)
        torch.testing.assert_close(b.grad, a.grad, rtol=close, atol=20 * close)
distributed.destroy_process_group()
"""


def test_a_synchronised_norm_is_batch_norm_over_all_processes(tmp_path):
    """Answers, gradients and running statistics, also where one process has fewer samples, and in bfloat16."""
    (tmp_path / "norms.py").write_text(NORMS)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "norms.py")]
    done = subprocess.run([sys.executable, *launch], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
