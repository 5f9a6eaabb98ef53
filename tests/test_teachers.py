"""Teachers: what they are given is what was declared, and what they say arrives as they said it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from cleanplate.settings import TeacherSettings
from cleanplate.teachers.model import Found
from cleanplate.teachers.teacher import find_teacher, kind_of, open_teacher, parse_source, to_values
from cleanplate.types import InputError
from made_teachers import write_hf, write_onnx

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def settings(source: Path | str, **others) -> TeacherSettings:
    kind = "onnx" if str(source).endswith(".onnx") else "hf"
    given = {"teacher_output": "depth", "teacher_unit": "relative", **others}
    return TeacherSettings(depth=f"teacher={kind}:{source}", **given)


def picture(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def dpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hf(tmp_path_factory.mktemp("teachers") / "dpt")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_onnx_teacher_sees_normalised_pictures_and_its_answer_comes_back(tmp_path: Path, layout: str, flat: bool):
    path = write_onnx(tmp_path / "t.onnx", offset=5.0, factor=2.0, layout=layout, flat=flat)
    pictures = [picture(), picture(24, 16, 1), picture(20, 30, 2)]
    teacher = open_teacher(settings(path, teacher_layout=layout, teacher_batch=2), threads=1)
    for given, got in zip(pictures, teacher(pictures), strict=True):
        expected = 5 + 2 * (given[..., 1] / 255 - MEAN[1]) / STD[1]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, lambda p: (p[..., 0] / 255 - MEAN[0]) / STD[0]),
        ({"teacher_range": 255}, lambda p: p[..., 0]),
        ({"teacher_mean": (0.5, 0.4, 0.3), "teacher_std": (0.5, 0.5, 0.5)}, lambda p: (p[..., 0] / 255 - 0.5) / 0.5),
        ({"teacher_range": 255, "teacher_mean": (0.5, 0.0, 0.0)}, lambda p: p[..., 0] - 127.5),
        ({"teacher_channels": "bgr"}, lambda p: (p[..., 2] / 255 - MEAN[2]) / STD[2]),
        ({"teacher_channels": "bgr", "teacher_mean": (0.1, 0.0, 0.0)}, lambda p: (p[..., 2] / 255 - 0.1) / STD[2]),
    ],
)
def test_declared_preprocessing_reaches_the_first_channel(tmp_path: Path, declared: dict, expected):
    path = write_onnx(tmp_path / "t.onnx", offset=0.0, channel=0)
    got = open_teacher(settings(path, **declared), threads=1)([picture()])[0]
    np.testing.assert_allclose(got, expected(picture().astype(np.float64)), rtol=1e-4, atol=1e-4)


def test_sides_are_fixed_by_the_file_or_declared_or_the_pictures(tmp_path: Path):
    smooth = np.asarray(Image.fromarray(picture(4, 4)).resize((45, 40), Image.Resampling.BILINEAR))
    plain = {"teacher_range": 255}

    def seen(side: tuple[int, int]) -> np.ndarray:
        return np.asarray(Image.fromarray(smooth).resize(side[::-1], Image.Resampling.BICUBIC))[..., 1].astype(float)

    cases = [
        (("h", "w"), {}, (40, 45)),
        (("h", "w"), {"teacher_multiple": 14}, (42, 42)),
        (("h", "w"), {"teacher_size": (24, 36)}, (24, 36)),
        (("h", "w"), {"teacher_size": (20,), "teacher_multiple": 5}, (20, 20)),
        ((28, 32), {}, (28, 32)),
        ((28, "w"), {"teacher_multiple": 8}, (28, 48)),
    ]
    for number, (sides, declared, expected) in enumerate(cases):
        path = write_onnx(tmp_path / f"{number}.onnx", offset=0.0, sides=sides)
        teacher = open_teacher(settings(path, **plain, **declared), threads=1)
        raw = teacher._run([smooth])[0]
        assert raw.shape == expected, declared
        np.testing.assert_allclose(raw, seen(expected), atol=0.01)
        got = teacher([smooth])[0]
        assert got.shape == smooth.shape[:2]
        np.testing.assert_allclose(got.mean(), smooth[..., 1].mean(), rtol=0.03)


def test_a_fixed_batch_is_filled_up(tmp_path: Path):
    path = write_onnx(tmp_path / "t.onnx", batch=4, offset=0.0)
    pictures = [picture(seed=seed) for seed in range(6)]
    got = open_teacher(settings(path, teacher_range=255, teacher_batch=3), threads=1)(pictures)
    np.testing.assert_allclose(np.stack(got), np.stack(pictures)[..., 1], atol=1e-3)


def test_uint8_inputs_get_the_pixels(tmp_path: Path):
    path = write_onnx(tmp_path / "t.onnx", dtype=TensorProto.UINT8, layout="nhwc", offset=0.0)
    got = open_teacher(settings(path, teacher_layout="nhwc"), threads=1)([picture()])[0]
    np.testing.assert_array_equal(got, picture()[..., 1])
    with pytest.raises(InputError, match="uint8 pixels as they are"):
        open_teacher(settings(path, teacher_layout="nhwc", teacher_mean=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize(
    ("made", "declared", "message"),
    [
        ({"channels": 4}, {}, "expected 3 channels, chw after the batch; a teacher sees colour"),
        ({"layout": "nhwc"}, {}, "declare --teacher-layout nhwc"),
        ({"outputs": (0, 1, 2)}, {}, r"gives depth of shape \(1, 3, 20, 30\).*is it a depth model"),
        ({"offset": float("nan")}, {}, "gives NaN for picture 1 of 1"),
        ({"sides": (28, 28)}, {"teacher_size": (14, 14)}, "28 x 28 pixels .* only, --teacher-size says 14 x 14"),
        ({}, {"teacher_size": (0,)}, "at least 1 pixel"),
        ({}, {"teacher_size": (1, 2, 3)}, "one or two sides"),
        ({}, {"teacher_std": (1.0, 0.0, 1.0)}, "std above 0"),
        ({}, {"teacher_device": "cuda"}, "has no CUDA"),
    ],
)
def test_onnx_files_that_do_not_fit_say_why(tmp_path: Path, made: dict, declared: dict, message: str):
    path = write_onnx(tmp_path / "t.onnx", **made)
    with pytest.raises(InputError, match=message):
        open_teacher(settings(path, **declared), threads=1)([picture()])


def test_what_is_no_onnx_file_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        find_teacher(settings(tmp_path / "no.onnx"))
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(InputError, match="no ONNX file that onnxruntime can open"):
        open_teacher(settings(tmp_path / "text.onnx"))


def test_a_transformers_folder_answers_as_its_pipeline(dpt: Path):
    from transformers import AutoModelForDepthEstimation, DPTForDepthEstimation, pipeline
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    model = AutoModelForDepthEstimation.from_pretrained(dpt, local_files_only=True)
    assert isinstance(model, DPTForDepthEstimation)
    reference = pipeline("depth-estimation", model, image_processor=DPTImageProcessorPil.from_pretrained(dpt))
    pictures = [picture(40, 52), picture(33, 20, 1), picture(40, 52, 2)]
    teacher = open_teacher(settings(dpt, teacher_batch=2), threads=1)
    for given, got in zip(pictures, teacher(pictures), strict=True):
        expected = reference(Image.fromarray(given))["predicted_depth"].numpy()
        assert got.shape == given.shape[:2]
        assert expected.std() > 1e-3, "a flat answer would hide every mistake"
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_processors_that_keep_the_aspect_make_batches_of_equal_sizes(tmp_path: Path):
    folder = write_hf(tmp_path / "anything", "depth-anything")
    pictures = [picture(32, 64), picture(40, 40, 1), picture(32, 64, 2)]
    teacher = open_teacher(settings(folder), threads=1)
    together = teacher(pictures)
    for given, got in zip(pictures, together, strict=True):
        np.testing.assert_allclose(got, teacher([given])[0], rtol=1e-4, atol=1e-4)
    assert np.abs(together[0] - together[2]).max() > 1e-3


def test_a_local_folder_never_asks_the_network(dpt: Path):
    """Loading and labelling, in a process in which every connection is an error."""
    code = f"""
import socket
def refuse(*a, **k): raise RuntimeError("the network was asked")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from cleanplate.settings import TeacherSettings
from cleanplate.teachers.teacher import open_teacher
import threading
threads = set(threading.enumerate())
teacher = open_teacher(TeacherSettings("teacher=hf:{dpt}", "disparity", "relative"), threads=1)
print(teacher([np.zeros((20, 30, 3), np.uint8)])[0].shape, set(threading.enumerate()) == threads)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(20, 30) True", done.stderr
    assert "network" not in done.stderr


def test_a_name_on_the_hub_is_served_from_its_cache(dpt: Path, tmp_path: Path):
    """The layout of huggingface_hub's cache, without network."""
    cache = tmp_path / "hub" / "models--made--dpt"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("a" * 40)
    shutil.copytree(dpt, cache / "snapshots" / ("a" * 40))
    code = """
import sys
from cleanplate.settings import TeacherSettings
from cleanplate.teachers.teacher import find_teacher
try:
    found = find_teacher(TeacherSettings("teacher=hf:" + sys.argv[1], "depth", "m"))
    print(found.source, found.sha256)
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}

    def asked(name: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, timeout=120, env=environment
        )
        return done.stdout.strip() + done.stderr

    assert asked("made/dpt") == f"hf:made/dpt {find_teacher(settings(dpt)).sha256}"
    assert asked("made/other").startswith(
        "InputError made/other is neither a folder here nor a model that the hub gives"
    )


def test_folders_that_are_no_depth_model_say_why(dpt: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        find_teacher(settings(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected config.json and \*.safetensors"):
        find_teacher(settings(tmp_path / "empty"))
    classifier = tmp_path / "classifier"
    shutil.copytree(dpt, classifier)
    config = (classifier / "config.json").read_text().replace('"dpt"', '"vit"')
    (classifier / "config.json").write_text(config)
    with pytest.raises(InputError, match="cannot be opened as a depth-estimation model"):
        open_teacher(settings(classifier), threads=1)
    (classifier / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="cannot be opened as a depth-estimation model"):
        open_teacher(settings(classifier), threads=1)


def test_a_backbone_without_its_head_is_no_teacher(dpt: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "headless"
    shutil.copytree(dpt, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("head")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="a backbone without the head"):
        open_teacher(settings(folder), threads=1)


@pytest.mark.parametrize("device", ["cuda", "abacus"])
def test_devices_that_are_not_there_are_errors(dpt: Path, device: str):
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match=f"--teacher-device {device}: .*expected cpu, cuda"):
        open_teacher(settings(dpt, teacher_device=device), threads=1)


@pytest.mark.parametrize("package", ["transformers", "onnxruntime"])
def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    found = Found("onnx" if package == "onnxruntime" else "hf", "made", tmp_path, "")
    with pytest.raises(InputError, match=rf"needs {package} .*pip install 'cleanplate\[teacher\]'"):
        open_teacher(settings("a/b" if package == "transformers" else "a.onnx"), found)


def test_the_fingerprint_is_that_of_the_files(dpt: Path, tmp_path: Path):
    path = write_onnx(tmp_path / "t.onnx")
    alone = find_teacher(settings(path)).sha256
    assert alone == hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("t.onnx.data").write_bytes(b"large weights lie beside it")
    assert find_teacher(settings(path)).sha256 != alone
    same, other = tmp_path / "same", tmp_path / "other"
    shutil.copytree(dpt, same)
    (same / "README.md").write_text("says nothing of the output")
    assert find_teacher(settings(same)).sha256 == find_teacher(settings(dpt)).sha256
    shutil.copytree(dpt, other)
    preprocessor = other / "preprocessor_config.json"
    preprocessor.write_text(preprocessor.read_text().replace("32", "40"))
    assert find_teacher(settings(other)).sha256 != find_teacher(settings(dpt)).sha256


@pytest.mark.parametrize("depth", ["", "hf:x", "teacher=", "teacher=torch:x", "teacher=hf", "teacher=onnx:", "layered"])
def test_sources_that_cannot_be_read_show_what_can(depth: str):
    with pytest.raises(InputError, match=r"expected teacher=hf:MODEL_OR_DIR or teacher=onnx:FILE"):
        parse_source(depth)


def test_the_meaning_of_the_output_must_be_said():
    with pytest.raises(InputError, match="--teacher-output and --teacher-unit must be said"):
        kind_of(TeacherSettings("teacher=hf:x"))
    with pytest.raises(InputError, match=r"^--teacher-unit must be said"):
        find_teacher(TeacherSettings("teacher=hf:x", "depth"))
    kinds = {
        (output, unit): kind_of(TeacherSettings("", output, unit))  # ty: ignore[invalid-argument-type]
        for output in ("disparity", "depth")
        for unit in ("m", "relative")
    }
    assert kinds == {
        ("disparity", "m"): "metric",
        ("depth", "m"): "metric",
        ("disparity", "relative"): "disparity",
        ("depth", "relative"): "relative",
    }


def test_values_are_metres_or_the_teachers_own():
    output = np.array([[0.5, 2.0, 0.0, -1.0, np.inf, 80.0]], np.float32)
    nan = np.nan

    def values(output_is, unit):
        return to_values(output, TeacherSettings("", output_is, unit))

    np.testing.assert_array_equal(values("depth", "m"), np.array([[0.5, 2, nan, nan, nan, nan]], np.float32))
    np.testing.assert_array_equal(values("disparity", "m"), np.array([[2, 0.5, nan, nan, nan, 0.0125]], np.float32))
    for kind in ("depth", "disparity"):
        np.testing.assert_array_equal(values(kind, "relative"), np.array([[0.5, 2, 0, -1, nan, 80]], np.float32))
