"""Export: graphs that answer as the network does, at any size and batch, or no graphs at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

import cleanplate
from cleanplate.cli import main
from cleanplate.export import export as exporting
from cleanplate.export import joining, precision, proving, tracing
from cleanplate.export.export import export
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.fold import folded
from cleanplate.network.output import EDGE, layered
from cleanplate.types import InputError

META = {
    "network": "platenet",
    "config": {"settings": {"size": 128}},
    "pictures": {},
    "depth": "metric",
    "version": "0.1.0",
}
pytestmark = pytest.mark.usefixtures("unchecked")
SIDE = 96
"""The working side: small, so that larger pictures are quick, too."""


def made(name: str = "platenet") -> torch.nn.Module:
    """A network of random weights whose answers differ from place to place."""
    torch.manual_seed(0)
    network = build(name).eval()
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key == "head.weight":
                parameter.mul_(30)
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder / "best.safetensors", made(), META)
    return folder


@pytest.fixture(scope="module")
def traced(unchecked: None) -> tuple[dict[str, ModelProto], dict[str, ModelProto]]:  # noqa: ARG001 (what it does is enough)
    """What tracing gives for `made()`: it takes half a minute, once."""
    return tracing.cores(folded(made()), greyscale=False, depth=True), tracing.parts(SIDE, True)


@pytest.fixture
def once(traced: tuple, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelProto]:
    """Exports of `run` use what is traced already. Returns the cores, for tests that spoil them."""
    cores = {name: _copied(core) for name, core in traced[0].items()}
    monkeypatch.setattr(tracing, "cores", lambda *_, **__: cores)
    monkeypatch.setattr(tracing, "parts", lambda *_: traced[1])
    return cores


def _copied(core: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(core)
    return copied


@pytest.fixture(scope="module")
def graphs(traced: tuple) -> dict[str, Any]:
    """Sessions of model.onnx, plate.onnx and frame.onnx."""
    return {name: proving.opened(file) for name, file in joining.assembled(*traced, floats=False).items()}


def pictures(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 33, 70), (3, 64, 96), (1, 7, 96)])
@pytest.mark.parametrize("known", [False, True])
def test_the_graphs_answer_as_the_network(graphs: dict[str, Any], size: tuple[int, int, int], known: bool) -> None:
    plate, frame = pictures(*size), pictures(*size, seed=1)
    depth = np.random.default_rng(2).uniform(0.5, 9, size).astype(np.float32) * known
    with torch.inference_mode():
        tensors = [torch.from_numpy(one).permute(0, 3, 1, 2).float() / 255 for one in (plate, frame)]
        output = made()(*tensors, torch.from_numpy(depth)[:, None] if known else None)
    whole = proving.run(graphs["model.onnx"], plate=plate, frame=frame, plate_depth=depth)
    np.testing.assert_allclose(whole["alpha"], output.mask_logits.sigmoid()[:, 0], atol=1e-5)
    np.testing.assert_allclose(np.log(whole["depth"]), output.log_depth[:, 0], atol=1e-4)
    np.testing.assert_allclose(whole["front"], output.layers[1][:, 0], atol=1e-4)
    one_plate = proving.run(graphs["plate.onnx"], plate=plate[:1], plate_depth=depth[:1])
    halves = proving.run(graphs["frame.onnx"], frame=frame[:1], **one_plate)
    for name in ("alpha", "depth", "behind", "front"):
        np.testing.assert_allclose(halves[name], whole[name][:1], rtol=1e-5, atol=1e-5)
    # A batch of frames may share one plate.
    many = proving.run(graphs["frame.onnx"], frame=frame, **one_plate)
    assert many["alpha"].shape == size
    np.testing.assert_allclose(many["alpha"][:1], halves["alpha"], atol=1e-5)


def test_larger_pictures_are_averaged_and_the_answer_enlarged(graphs: dict[str, Any], run: Path) -> None:
    """As the predictor does it, which rounds the averages to bytes and enlarges by another code."""
    plate, frame = pictures(1, 144, 240), pictures(1, 144, 240, seed=1)
    found = proving.run(graphs["model.onnx"], plate=plate, frame=frame, plate_depth=np.zeros((1, 144, 240), np.float32))
    assert found["alpha"].shape == found["depth"].shape == (1, 144, 240)
    assert found["behind"].shape == (1, 58, 96)
    model = cleanplate.inference.predictor.load(run, working_side=SIDE, care=False, upsample="bilinear")
    prediction = model.predict(plate[0], frame[0])
    assert np.abs(found["alpha"][0] - prediction.alpha).max() < 0.02
    assert np.abs(np.log(found["depth"][0] / prediction.depth)).max() < 0.05


@pytest.mark.usefixtures("once")
def test_an_export_says_what_was_measured(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["export", "--model", str(run), "--out", str(tmp_path / "out"), "--working-side", str(SIDE)]
    assert main(arguments) == 0
    assert "largest difference from the network over 4 pairs: alpha" in capsys.readouterr().out
    card = json.loads((tmp_path / "out" / "graphs.card.json").read_text())
    assert sorted(card["files"]) == ["frame.onnx", "model.onnx", "plate.onnx"]
    assert 0 < card["largest_difference"] < card["limit"] == 1e-4
    assert set(card["differences"]) == {"alpha", "ln_depth", "halves"}
    for name, part in exporting.PARTS.items():
        file = onnx.load(tmp_path / "out" / name)
        (said,) = [json.loads(one.value) for one in file.metadata_props if one.key == "cleanplate"]
        assert said["part"] == part
        assert said["largest_difference"] == card["largest_difference"]
        assert said["depth"] == "metric"
    whole = cleanplate.load(tmp_path / "out" / "model.onnx")
    assert (whole.runtime.name, whole.working_side, whole.depth_kind) == ("onnx", SIDE, "metric")


def test_what_answers_otherwise_is_not_written(run: Path, once: dict[str, ModelProto], tmp_path: Path) -> None:
    weight = next(one for one in once["frame"].graph.initializer if one.name == "network.head.weight")
    values = numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(InputError, match=r"answers otherwise than .*at most 0.0001"):
        export(run, tmp_path / "out", working_side=SIDE)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("numbers", ["fp16", "int8"])
def test_smaller_numbers_lose_little_or_are_refused(
    numbers: exporting.Precision, run: Path, traced: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights' masks are noise, so the limit is another one here; the released model is held to the real one."""
    monkeypatch.setattr(exporting, "MOST_LOSS", 0.2)
    monkeypatch.setattr(exporting, "JUDGED", 3)
    card = export(run, tmp_path / "out", precision=numbers, working_side=SIDE)
    assert card["precision"] == numbers
    assert card["rounded"]["alpha"] != card["differences"]["alpha"]
    before = joining.assembled(*traced, floats=False)["frame.onnx"].ByteSize()
    assert card["files"]["frame.onnx"]["bytes"] < before * {"fp16": 0.7, "int8": 0.5}[numbers]
    monkeypatch.setattr(exporting, "MOST_LOSS", -1.0)
    with pytest.raises(InputError, match=f"--precision {numbers}: the mask's IoU falls by"):
        export(run, tmp_path / "again", precision=numbers, working_side=SIDE)
    assert not (tmp_path / "again").exists()


def test_no_scene_both_calibrates_and_judges() -> None:
    _, calibrating, judging = exporting._pairs(None)
    assert len(calibrating) == len(judging) == 12
    assert not any(np.array_equal(a.plate, b.plate) for a in calibrating for b in judging)


def test_first_and_last_layers_stay_in_floats(traced: tuple) -> None:
    chosen = precision.inner(traced[0]["frame"])
    convolutions = [node for node in traced[0]["frame"].graph.node if node.op_type == "Conv"]
    assert convolutions[0].name not in chosen
    assert convolutions[-1].name not in chosen
    assert sum(node.name in chosen for node in convolutions) > len(convolutions) / 2


def test_networks_that_see_only_pairs_are_exported_whole(tmp_path: Path) -> None:
    network = made("original-small")
    meta = {**META, "network": "original-small", "depth": "none"}
    checkpoint.save(tmp_path / "small.safetensors", network, meta)
    with pytest.raises(InputError, match="only sees plate and frame together"):
        export(tmp_path / "small.safetensors", tmp_path / "halves", working_side=SIDE, part="video")
    export(tmp_path / "small.safetensors", tmp_path / "out.onnx", working_side=SIDE, floats=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.card.json", "out.onnx", "small.safetensors"]
    plate, frame = pictures(1, 40, 60)[0], pictures(1, 40, 60, seed=1)[0]
    answers = [cleanplate.load(tmp_path / name).predict(plate, frame) for name in ("small.safetensors", "out.onnx")]
    np.testing.assert_allclose(answers[0].alpha, answers[1].alpha, atol=1e-5)
    assert answers[1].depth is None


def test_grey_models_see_grey_in_the_graph_too(traced: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "parts", lambda *_: traced[1])
    meta = {**META, "network": "original-small", "config": {"settings": {"greyscale": True}}}
    checkpoint.save(tmp_path / "grey.safetensors", made("original-small"), meta)
    export(tmp_path / "grey.safetensors", tmp_path / "grey.onnx", working_side=SIDE)
    plate, frame = pictures(1, 40, 60)[0], pictures(1, 40, 60, seed=1)[0]
    answers = [cleanplate.load(tmp_path / name).predict(plate, frame) for name in ("grey.safetensors", "grey.onnx")]
    np.testing.assert_allclose(answers[0].alpha, answers[1].alpha, atol=1e-5)
    np.testing.assert_allclose(answers[0].depth, answers[1].depth, rtol=1e-4)


@pytest.mark.usefixtures("once")
def test_a_write_that_fails_leaves_nothing_new(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[..., None] = exporting.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.name == "frame.onnx":
            raise InputError("disk full")
        write(path, content)

    monkeypatch.setattr(exporting, "write_atomically", full)
    with pytest.raises(InputError, match="disk full"):
        export(run, tmp_path / "out", working_side=SIDE)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "{tmp}/file"], "is a file"),
        (["--out", "{tmp}/one.onnx", "--part", "video"], "two files"),
        (["--out", "{tmp}/out", "--working-side", "0"], "at least 1 pixel"),
        (["--out", "{tmp}/out", "--model", "{tmp}/nowhere"], "no model"),
        (["--out", "{tmp}/out", "--pairs", "{tmp}/nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_exported_says_so(
    arguments: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    given = ["export", *(argument.format(tmp=tmp_path) for argument in arguments)]
    assert main(given if "--model" in given else [*given, "--model", str(run)]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_depth_is_layered_alike_everywhere() -> None:
    from cleanplate.inference import runtimes

    assert runtimes.EDGE == EDGE
    logits, behind, front = (torch.randn(1, 1, 5, 7) * 3 for _ in range(3))
    expected = layered(logits, behind, front)[0, 0].numpy()
    found = runtimes.layered(logits.sigmoid()[0, 0].numpy(), behind[0, 0].numpy(), front[0, 0].numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
