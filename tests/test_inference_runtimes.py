"""Runtimes: who calculates makes no difference, and predicting needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from packaging.requirements import Requirement

import cleanplate
from cleanplate.cli import main
from cleanplate.inference import onnx_runtime
from cleanplate.inference.opening import graphs_of
from cleanplate.inference.predictor import load
from cleanplate.network import checkpoint
from cleanplate.pictures.library import sample_folder
from cleanplate.types import InputError

ROOT = Path(__file__).parents[1]
SCENE = sample_folder() / "pairs" / "0003"
GIVEN = (SCENE / "plate.jpg", SCENE / "frames" / "0.jpg")
PACKAGED = graphs_of(Path("released"))
packaged = pytest.mark.skipif(PACKAGED is None, reason="no graphs have been released yet (tools/release.py)")
REFUSING = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
from cleanplate.cli import main
sys.exit(main(sys.argv[1:]))
"""
EXTRA = {"torch", "accelerate", "safetensors", "tensorboard", "matplotlib", "onnx", "onnxscript", "pyarrow", "fsspec"}


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    """A copy of the packaged graphs."""
    assert PACKAGED is not None
    for name in ("plate.onnx", "frame.onnx"):
        (tmp_path / name).write_bytes((PACKAGED / name).read_bytes())
    return tmp_path


@packaged
@pytest.mark.parametrize("known", [False, True])
def test_onnx_answers_as_torch(known: bool) -> None:
    depth = SCENE / "plate_depth.png" if known else None
    answers = [load("released", runtime=runtime).predict(*GIVEN, depth) for runtime in ("onnx", "torch")]
    assert np.abs(answers[0].alpha - answers[1].alpha).max() < 5e-3  # the packaged graphs are fp16
    assert np.abs(np.log(answers[0].depth / answers[1].depth)).mean() < 1e-3
    assert (answers[0].mask != answers[1].mask).mean() < 1e-4


@packaged
def test_openvino_answers_as_onnx() -> None:
    pytest.importorskip("openvino")
    answers = [load("released", runtime=runtime).predict(*GIVEN) for runtime in ("onnx", "openvino")]
    assert (answers[0].mask != answers[1].mask).mean() < 1e-3
    assert np.abs(answers[0].alpha - answers[1].alpha).mean() < 1e-3
    assert np.abs(np.log(answers[0].depth / answers[1].depth)).mean() < 0.02


@packaged
def test_the_packaged_graphs_are_those_of_the_packaged_weights() -> None:
    import hashlib

    tensors, meta = checkpoint.read_tensors(checkpoint.released())
    weights = hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()
    model = cleanplate.load()
    assert model.runtime.name == "onnx"
    assert model.meta["weights"] == weights, "run tools/release.py again"
    assert model.meta["largest_difference"] <= model.meta["limit"] == 1e-4
    assert model.meta["iou"][0] - model.meta["iou"][1] <= 0.005
    assert model.depth_kind == meta["depth"]
    assert model.meta["pictures"] == load("released", runtime="torch").meta["pictures"]


@packaged
def test_the_plates_graph_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cleanplate.load()
    seen = []
    plate = model.runtime.plate
    monkeypatch.setattr(model.runtime, "plate", lambda *given: seen.append(given) or plate(*given))
    for _ in range(3):
        model.predict(*GIVEN)
    assert len(seen) == 1


@packaged
def test_another_depth_of_the_plate_is_another_plate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cleanplate.load()
    seen = []
    plate = model.runtime.plate
    monkeypatch.setattr(model.runtime, "plate", lambda *given: seen.append(given[1]) or plate(*given))
    near, far = (np.full((240, 320), metres, np.float32) for metres in (2, 6))
    answers = [model.predict(*GIVEN, depth).depth.mean() for depth in (near, near.copy(), far, None, far)]
    assert [None if depth is None else float(depth.max()) for depth in seen] == [2, 6, None, 6]
    assert answers[0] == answers[1] < answers[2] == answers[4]


@packaged
def test_graphs_are_opened_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few sizes are kept; who comes back after more than these gets the same answer from a graph opened anew."""
    opened = []
    session = onnx_runtime._session
    monkeypatch.setattr(onnx_runtime, "_session", lambda *given, **how: opened.append(given) or session(*given, **how))
    graph = onnx_runtime.Graph.open(PACKAGED / "plate.onnx", 1)

    def answer(side: int) -> np.ndarray:
        picture = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        return graph.run({"plate": picture, "plate_depth": np.zeros((1, side, side), np.float32)})["m16"]

    sides = [32 * n for n in range(1, onnx_runtime.KEPT + 2)]
    first = [answer(side) for side in sides]
    assert len(opened) == 1 + len(sides)  # one to read the header
    again = [answer(side) for side in reversed(sides)]
    assert len(opened) == 1 + len(sides) + 1
    for one, other in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(one, other)


@packaged
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (500, 380)])
def test_any_size_goes(size: tuple[int, int]) -> None:
    pictures = [np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8) for i in range(2)]
    found = load("released", runtime="onnx", threads=1).predict(*pictures)
    assert found.alpha.shape == found.depth.shape == size
    assert (found.depth > 0).all()


def change(path: Path, **changes: object) -> None:
    """Change what a graph says of itself."""
    file = onnx.load(path)
    (said,) = [json.loads(one.value) for one in file.metadata_props if one.key == "cleanplate"]
    helper.set_model_props(file, {"cleanplate": json.dumps({**said, **changes})})
    onnx.save(file, path)


@packaged
def test_graphs_that_do_not_belong_together_are_named(graphs: Path) -> None:
    change(graphs / "frame.onnx", weights="other")
    with pytest.raises(InputError, match="two different networks"):
        cleanplate.load(graphs)
    change(graphs / "frame.onnx", format=7)
    with pytest.raises(InputError, match=r"graph format 7.* reads 2"):
        cleanplate.load(graphs)
    with pytest.raises(InputError, match=r"plate.onnx is the plate graph, expected the whole graph"):
        cleanplate.load(graphs / "plate.onnx")
    (graphs / "frame.onnx").write_text("hello")
    with pytest.raises(InputError, match=r"frame\.onnx is no ONNX file"):
        cleanplate.load(graphs)
    (graphs / "frame.onnx").unlink()
    with pytest.raises(InputError, match="no model"):
        cleanplate.load(graphs)


def test_other_peoples_graphs_are_not_ours(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [other])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="not one of cleanplate's"):
        cleanplate.load(tmp_path / "m.onnx")


@packaged
def test_a_runtime_that_does_not_fit_the_file_says_so(graphs: Path) -> None:
    with pytest.raises(InputError, match=r"holds graphs .* not for torch"):
        load(graphs, runtime="torch")
    weights = checkpoint.released()
    with pytest.raises(InputError, match=r"is a checkpoint, which --runtime onnx cannot open: export it"):
        load(weights, runtime="onnx")
    with pytest.raises(InputError, match="no model"):
        load(graphs / "nowhere", runtime="openvino")


def without(missing: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a Python that refuses to import these."""
    code = REFUSING.format(missing=sorted(missing))
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@packaged
def test_predicting_imports_no_torch(tmp_path: Path) -> None:
    arguments = ["--plate", str(GIVEN[0]), str(GIVEN[1])]
    found = without(EXTRA, "predict", "--out", str(tmp_path / "one"), *arguments)
    assert found.returncode == 0, found.stderr
    assert main(["predict", "--out", str(tmp_path / "two"), *arguments]) == 0
    for name in ("0_mask.png", "0_depth.png", "0_cutout.png", "0_depth_colour.png"):
        np.testing.assert_array_equal(*(cv2.imread(str(tmp_path / at / name), -1) for at in ("one", "two")))


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("torch", ["train", "--out", "run", "--samples", "1"]),
        ("torch", ["predict", "--runtime", "torch", "--plate", str(GIVEN[0]), str(GIVEN[1])]),
        ("onnxscript", ["export", "--out", "graphs"]),
        ("openvino", ["predict", "--runtime", "openvino", "--plate", str(GIVEN[0]), str(GIVEN[1])]),
    ],
)
def test_a_missing_library_says_what_brings_it(missing: str, arguments: list[str]) -> None:
    if missing == "openvino" and PACKAGED is None:
        pytest.skip("no graphs have been released yet (tools/release.py)")
    found = without({missing, "torch", "openvino", "onnx"}, *arguments)
    assert found.returncode == 2, found.stderr
    extra = "openvino" if missing == "openvino" else "train"
    assert f'pip install "cleanplate[{extra}]"' in found.stderr


def base_installation(folder: Path) -> Path:
    """The Python of an environment that holds what `pip install cleanplate` brings, and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    wanted = [
        Requirement(one) for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    placed: set[str] = set()
    while wanted:
        one = wanted.pop()
        if one.name in placed or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        placed.add(one.name)
        found = metadata.distribution(one.name)
        wanted += [Requirement(text) for text in found.requires or ()]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    (site / "cleanplate.pth").write_text(str(ROOT / "src"))
    return folder / "bin" / "python"


@packaged
@pytest.mark.skipif(sys.platform == "win32", reason="links files")
def test_the_base_installation_predicts(tmp_path: Path) -> None:
    python = base_installation(tmp_path / "venv")
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
    assert subprocess.run([python, "-I", "-c", code], check=False).returncode == 0, "torch came along"
    arguments = ["predict", "--plate", GIVEN[0], "--out", tmp_path / "out", GIVEN[1]]
    found = subprocess.run([python, "-I", "-m", "cleanplate", *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "out" / "0_mask.png").is_file()
    found = subprocess.run([python, "-I", "-m", "cleanplate", "doctor", "--help"], capture_output=True, check=False)
    assert found.returncode == 0
