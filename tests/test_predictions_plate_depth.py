"""The plate's depth: by a teacher, once per camera; and from a sensor with a unit of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

import cleanplate
from cleanplate.cli import main
from cleanplate.inference.predictor import of_network, read_plate_depth
from cleanplate.network import checkpoint
from cleanplate.network.build import build
from cleanplate.network.output import Output
from cleanplate.predictions.plate_depth import aligned, teach_plate_depth
from cleanplate.settings import TeacherSettings
from cleanplate.types import InputError
from made_scenes import room_depth
from made_teachers import CODE, write_coded_pictures, write_decoder, write_onnx

META = {"network": "platenet", "config": {}, "pictures": {}, "depth": "metric", "step": 1, "samples": 16}
DISPARITY = {"teacher_output": "disparity", "teacher_unit": "relative", "teacher_range": 255}


class Knowing(nn.Module):
    """Reads the depth that pictures code in their green channel, and multiplies it."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, plate: Tensor, frame: Tensor, plate_depth: Tensor | None = None) -> Output:  # noqa: ARG002
        return Output(torch.zeros_like(frame[:, :1]), (frame[:, 1:2] * 255 / CODE * self.factor).clamp(min=0.1).log())


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plate that codes its depth."""
    return write_coded_pictures(tmp_path_factory.mktemp("coded"), 1, depth=False)[0] / "plate0.png"


def truth(plate: Path) -> np.ndarray:
    return np.asarray(Pillow.open(plate))[..., 1] / np.float32(CODE)


@pytest.mark.parametrize("disparity", [False, True])
def test_a_fit_finds_scale_and_shift_beside_what_disagrees(disparity: bool) -> None:
    own, rng = room_depth(), np.random.default_rng(0)
    values = ((1 / own if disparity else own) * 7 - 1).astype(np.float32)
    values[:5] = np.nan
    noisy = own * rng.normal(1, 0.03, own.shape).astype(np.float32)
    noisy[40:70, 50:90] = 1.0  # here the model sees something else than the teacher
    found = aligned(values, noisy, disparity=disparity)
    assert (found[:5] == 0).all()
    np.testing.assert_allclose(found[5:], own[5:], rtol=0.02)


def test_what_no_fit_can_mend() -> None:
    own = room_depth()
    with pytest.raises(InputError, match="is its output disparity"):
        aligned(1 / own, own)
    with pytest.raises(InputError, match="go together by"):
        aligned(np.random.default_rng(0).random(own.shape, np.float32), own)
    with pytest.raises(InputError, match="one depth"):
        aligned(np.ones_like(own), own)


def test_a_teacher_of_metres_is_taken_at_its_word(plate: Path, tmp_path: Path) -> None:
    teacher = write_decoder(tmp_path / "metres.onnx")
    settings = TeacherSettings(f"teacher=onnx:{teacher}", "depth", "m", teacher_range=255)
    path = teach_plate_depth(of_network(Knowing(2.0), META), plate, settings, tmp_path / "out")
    assert path == tmp_path / "out" / "plate-depth.png"
    np.testing.assert_allclose(read_plate_depth(path), truth(plate), atol=0.003)


@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_other_teachers_are_fitted_to_the_models_own_answer(plate: Path, tmp_path: Path, kind: str) -> None:
    teacher = write_onnx(tmp_path / "one.onnx", offset=1e-3, factor=1 / (20 * CODE), inverse=True)
    settings = TeacherSettings(f"teacher=onnx:{teacher}", **DISPARITY)
    path = teach_plate_depth(of_network(Knowing(2.0), {**META, "depth": kind}), plate, settings, tmp_path)
    assert path.suffix == (".png" if kind == "metric" else ".npy")
    np.testing.assert_allclose(read_plate_depth(path, kind), 2 * truth(plate), rtol=0.01)


def test_a_declaration_that_is_upside_down_is_told(plate: Path, tmp_path: Path) -> None:
    teacher = write_decoder(tmp_path / "metres.onnx")
    settings = TeacherSettings(f"teacher=onnx:{teacher}", **DISPARITY)
    with pytest.raises(InputError, match="is its output depth"):
        teach_plate_depth(of_network(Knowing(), META), plate, settings, tmp_path)
    with pytest.raises(InputError, match="predicts no depth"):
        teach_plate_depth(of_network(Knowing(), {**META, "depth": "none"}), plate, settings, tmp_path)
    assert not list(tmp_path.glob("plate-depth*"))


def test_predict_asks_the_teacher_once(plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "model.safetensors", build("platenet"), META)
    teacher = write_decoder(tmp_path / "metres.onnx")
    asked = ["--plate-depth-teacher", f"onnx:{teacher}", "--teacher-output", "depth", "--teacher-unit", "m"]
    common = ["predict", "--model", str(tmp_path / "model.safetensors"), "--plate", str(plate), str(plate)]
    assert main([*common, "--out", str(tmp_path / "one"), *asked, "--teacher-range", "255"]) == 0
    written = tmp_path / "one" / "plate-depth.png"
    assert str(written) in capsys.readouterr().out.replace("\n", "")
    assert json.loads((tmp_path / "one" / "predictions.json").read_text())["plate_depth"] == str(written)
    assert main([*common, "--out", str(tmp_path / "two"), "--plate-depth", str(written)]) == 0
    names = ("plate0_depth.png", "plate0_mask.png")
    assert [(tmp_path / "one" / n).read_bytes() for n in names] == [(tmp_path / "two" / n).read_bytes() for n in names]
    assert main([*common, "--out", str(tmp_path / "three"), "--plate-depth", str(written), *asked]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["predict", "--plate", "auto", str(plate), "--out", str(tmp_path / "four"), *asked]) == 2
    assert "looks at one plate" in capsys.readouterr().err


def test_a_sensors_own_unit_is_honoured(tmp_path: Path) -> None:
    """Tenths of a millimetre, as some depth cameras store them: ten times too far if taken for millimetres."""
    metres = room_depth(48, 64)
    Pillow.fromarray(np.rint(metres * 10_000).astype(np.uint16)).save(tmp_path / "background.depth.png")
    (tmp_path / "pictures.json").write_text(json.dumps({"depth_unit_m": 0.0001, "depth_unknown": 65535}))
    np.testing.assert_allclose(read_plate_depth(tmp_path / "background.depth.png"), metres, atol=1e-4)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "model.safetensors", build("platenet"), META)
    model = cleanplate.load(tmp_path / "model.safetensors")
    by_file = model.predict(pixels, pixels, tmp_path / "background.depth.png").depth
    by_array = model.predict(pixels, pixels, metres).depth
    ten_times = model.predict(pixels, pixels, metres * 10).depth
    np.testing.assert_allclose(by_file, by_array, rtol=1e-3)
    assert np.abs(np.log(ten_times / by_array)).mean() > 0.5
