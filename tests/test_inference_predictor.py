"""The predictor: any kind of picture, any size, the plate's features kept, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

import cleanplate
from cleanplate.inference.predictor import Predictor, of_network, read_plate_depth
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.output import Output
from cleanplate.types import InputError, to_image

META = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 16}


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with large shapes and some noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)).repeat(8, axis=0).repeat(8, axis=1)
    noisy = small[:height, :width] + rng.integers(-8, 8, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def lively(name: str = "platenet") -> torch.nn.Module:
    """A network with random weights that are large enough for its answers to differ from place to place."""
    torch.manual_seed(0)
    network = build(name).eval()
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if parameter_name == "head.weight":
                parameter.mul_(30)
    return network


@pytest.fixture(scope="module")
def model() -> Predictor:
    return of_network(lively(), META, "cpu")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "run" / "best.safetensors", lively(), META)
    return tmp_path / "run"


class Difference(torch.nn.Module):
    """Without `encode`, as the reference networks: alpha from the difference, depth from the given depth."""

    def forward(self, plate: torch.Tensor, frame: torch.Tensor, plate_depth: torch.Tensor | None) -> Output:
        logits = ((plate - frame).abs().sum(1, keepdim=True) - 0.3) * 40
        depth = torch.ones_like(logits) if plate_depth is None else plate_depth
        return Output(logits, depth.clamp(min=0.01).log())


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (33, 17), (1, 200), (500, 380)])
def test_answers_have_the_frames_size(model: Predictor, size: tuple[int, int]) -> None:
    prediction = model.predict(pixels(*size), pixels(*size, 1))
    assert prediction.alpha.shape == prediction.mask.shape == size
    assert prediction.alpha.dtype == np.float32
    assert 0 <= prediction.alpha.min() <= prediction.alpha.max() <= 1
    assert prediction.depth is not None
    assert prediction.depth.shape == size
    assert (prediction.depth > 0).all()


def test_every_kind_of_source_gives_the_same_answer(model: Predictor, tmp_path: Path) -> None:
    plate, frame = pixels(40, 56), pixels(40, 56, 1)
    for name, picture in (("plate", plate), ("frame", frame)):
        Pillow.fromarray(picture).save(tmp_path / f"{name}.png")
    expected = model.predict(plate, frame).alpha
    paths = [tmp_path / "plate.png", tmp_path / "frame.png"]
    for given in (
        paths,
        list(map(str, paths)),
        [Pillow.fromarray(plate), Pillow.fromarray(frame)],
        [to_image(plate), to_image(frame)],
        [to_image(plate).astype(np.float64), Pillow.fromarray(frame).convert("RGBA")],
    ):
        np.testing.assert_allclose(model.predict(*given).alpha, expected, atol=1e-5)


def test_kept_features_answer_as_fresh_ones(model: Predictor) -> None:
    plate, other, frame = pixels(48, 64), pixels(48, 64, 2), pixels(48, 64, 1)
    fresh = of_network(lively(), META, "cpu").predict(plate, frame)
    model.predict(plate, other)
    kept = model.predict(plate.copy(), frame)
    np.testing.assert_array_equal(kept.alpha, fresh.alpha)
    whole = model.runtime.network(*(torch.from_numpy(to_image(p))[None] for p in (plate, frame)), None)
    np.testing.assert_allclose(fresh.alpha, torch.sigmoid(whole.mask_logits)[0, 0].detach(), atol=1e-5)
    np.testing.assert_allclose(fresh.depth, whole.log_depth[0, 0].detach().exp(), rtol=1e-4)
    assert np.abs(model.predict(other, frame).alpha - fresh.alpha).max() > 1e-4


def test_a_plate_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = of_network(lively(), META, "cpu")
    seen = []
    encode = model.runtime.network.encode
    monkeypatch.setattr(model.runtime.network, "encode", lambda picture: seen.append(picture) or encode(picture))
    plate = pixels(32, 32)
    for i in range(3):
        model.predict(plate, pixels(32, 32, i))
    assert len(seen) == 1 + 3
    plate[:16] = 255  # changed in place: the same object, another plate
    model.predict(plate, pixels(32, 32))
    assert len(seen) == 4 + 2


class Sized(torch.nn.Module):
    """Says how large the pictures are that it is shown: ln depth is their height in pixels."""

    def forward(self, plate: torch.Tensor, frame: torch.Tensor, plate_depth: torch.Tensor | None) -> Output:
        logits = ((plate - frame).abs().sum(1, keepdim=True) - 0.3) * 40
        height = torch.full_like(logits, float(np.log(plate.shape[-2])))
        if plate_depth is not None:
            height = torch.where(plate_depth > 0, plate_depth.clamp(min=0.01).log(), height)
        return Output(logits, height)


def test_depth_is_judged_at_the_scale_of_the_training() -> None:
    """A 4:3 picture with more pixels than the training's 100 x 100 is looked at with as many, for its depth alone."""
    trained = META | {"config": {"settings": {"size": 100}}}
    model = of_network(Sized(), trained, "cpu")
    large, small = pixels(240, 320), pixels(60, 80)
    assert model.predict(large, large).depth == pytest.approx(87, rel=1e-4), "87 x 115 is 100 x 100 in 4:3"
    assert model.predict(small, small).depth == pytest.approx(60, rel=1e-4), "never enlarged"
    frame = large.copy()
    frame[100:140, 100:140] = 255 - frame[100:140, 100:140] // 2
    found = model.predict(large, frame)
    assert set(np.unique(found.alpha.round(3))) >= {0.0, 1.0}, "the mask is found at full size"
    # Given the plate's depth, the full look answers where nothing stands: 7 m is there, unknown (0) in the corner.
    prior = np.full((240, 320), 7, np.float32)
    prior[:60, :60] = 0
    answered = model.predict(large, large, prior).depth
    assert answered is not None
    assert answered[200, 200] == pytest.approx(7, rel=1e-3)
    assert answered[10, 10] == pytest.approx(240, rel=1e-2), "the fine look's own answer outside the foreground"


def test_large_pictures_are_averaged_down_and_come_back_in_place() -> None:
    model = of_network(Difference(), META, "cpu", working_side=100)
    plate = pixels(300, 400)
    frame = plate.copy()
    frame[80:200, 120:280] = 255 - frame[80:200, 120:280] // 2
    truth = np.abs(plate.astype(int) - frame).sum(2) > 0
    mask = model.predict(plate, frame).mask
    assert mask.shape == (300, 400)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_sizes_that_differ(model: Predictor) -> None:
    with pytest.raises(InputError, match=r"plate is 64x48 .*frame is 50x30.*--fit"):
        model.predict(pixels(48, 64), pixels(30, 50))
    prediction = model.predict(pixels(48, 64), pixels(30, 50), np.full((48, 64), 3, np.float32), fit=True)
    assert prediction.alpha.shape == (30, 50)
    scene = np.array(Pillow.fromarray(pixels(60, 80)).resize((40, 30), Pillow.Resampling.BOX))
    stretched = of_network(Difference(), META, "cpu").predict(pixels(60, 80), scene, fit=True)
    assert stretched.mask.mean() < 0.02  # the same scene at half the size: nothing stands in front


def test_the_plates_depth_reaches_the_network(model: Predictor, tmp_path: Path) -> None:
    plate = pixels(24, 40)
    metres = np.linspace(1, 5, 24 * 40, dtype=np.float32).reshape(24, 40).round(3)
    Pillow.fromarray((metres * 1000).round().astype(np.uint16)).save(tmp_path / "depth.png")
    echo = of_network(Difference(), META, "cpu")
    for given in (metres, tmp_path / "depth.png", str(tmp_path / "depth.png")):
        np.testing.assert_allclose(echo.predict(plate, plate, given).depth, metres, rtol=1e-4)
    assert np.abs(model.predict(plate, plate, metres).alpha - model.predict(plate, plate).alpha).max() > 1e-5
    metres[3, 4] = np.nan
    assert np.isfinite(model.predict(plate, plate, metres).alpha).all()
    with pytest.raises(InputError, match=r"depth is 40x12 and the plate is 40x24"):
        model.predict(plate, plate, metres[:12])
    with pytest.raises(InputError, match=r"depth is an array .* of uint16"):
        model.predict(plate, plate, np.ones((24, 40), np.uint16))


def test_depth_is_read_in_the_unit_that_the_folder_states(tmp_path: Path) -> None:
    Pillow.fromarray(np.full((20, 20), 15_000, np.uint16)).save(tmp_path / "depth.png")
    assert read_plate_depth(tmp_path / "depth.png").max() == pytest.approx(15)
    (tmp_path / "pictures.json").write_text(json.dumps({"depth_unit_m": 0.0001}))
    assert read_plate_depth(tmp_path / "depth.png").max() == pytest.approx(1.5)
    (tmp_path / "pictures.json").write_text(json.dumps({"depth_unit_m": "relative"}))
    assert read_plate_depth(tmp_path / "depth.png", "relative").max() == 15_000
    with pytest.raises(InputError, match="relative depth"):
        read_plate_depth(tmp_path / "depth.png")


def test_a_mask_model_predicts_no_depth() -> None:
    model = of_network(lively("original-small"), {**META, "depth": "none"}, "cpu")
    assert model.depth_kind == "none"
    assert model.predict(pixels(16, 16), pixels(16, 16, 1)).depth is None


def test_greyscale_models_see_grey() -> None:
    frame = pixels(32, 32, 1)
    grey = np.array(Pillow.fromarray(frame).convert("L"))[:, :, None].repeat(3, axis=2)
    model = of_network(lively(), {**META, "config": {"settings": {"greyscale": True}}}, "cpu")
    coloured = of_network(lively(), META, "cpu")
    answer = model.predict(pixels(32, 32), frame).alpha
    np.testing.assert_allclose(answer, model.predict(pixels(32, 32), grey).alpha, atol=4e-3)
    assert np.abs(answer - coloured.predict(pixels(32, 32), frame).alpha).max() > 1e-2


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.full((3, 8, 8), 200, np.float32),
        np.full((3, 8, 8), np.nan, np.float32),
        np.zeros((8, 8, 3), np.int64),
    ],
)
def test_arrays_that_are_no_pictures_are_named(model: Predictor, picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"the frame is .*give uint8 \[h, w, 3\]"):
        model.predict(pixels(8, 8), picture)


def test_three_lines(run: Path, tmp_path: Path) -> None:
    Pillow.fromarray(pixels(30, 40)).save(tmp_path / "plate.png")
    Pillow.fromarray(pixels(30, 40, 1)).save(tmp_path / "frame.jpg")
    model = cleanplate.load(run)
    prediction = model.predict(tmp_path / "plate.png", tmp_path / "frame.jpg")
    assert prediction.alpha.shape == prediction.mask.shape == (30, 40)
    assert model.depth_kind == "metric"
    assert cleanplate.load(str(run / "best.safetensors")).meta["samples"] == 16


def test_the_best_checkpoint_comes_before_the_last(run: Path) -> None:
    checkpoint.save(run / "last.safetensors", lively(), {**META, "step": 99})
    assert cleanplate.load(run).meta["step"] == 1
    (run / "best.safetensors").unlink()
    assert cleanplate.load(run).meta["step"] == 99


def test_what_is_no_model_says_so(run: Path, tmp_path: Path) -> None:
    best = run / "best.safetensors"
    with pytest.raises(InputError, match="nowhere"):
        cleanplate.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"best\.safetensors"):
        cleanplate.load(tmp_path)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match=r"text\.safetensors"):
        cleanplate.load(tmp_path / "text.safetensors")
    save_file(load_file(best), tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=r"foreign\.safetensors"):
        cleanplate.load(tmp_path / "foreign.safetensors")
    best.write_bytes(best.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"best\.safetensors"):
        cleanplate.load(run)


def test_a_checkpoint_of_another_format_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 7)
    checkpoint.save(tmp_path / "new.safetensors", lively(), META)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"format 7.* 1"):
        cleanplate.load(tmp_path / "new.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_answers_as_the_processor(model: Predictor) -> None:
    gpu = of_network(lively(), META, "cuda")
    plate, frame = pixels(64, 64), pixels(64, 64, 1)
    np.testing.assert_allclose(gpu.predict(plate, frame).alpha, model.predict(plate, frame).alpha, atol=2e-2)
