"""The benchmarks of the stored dataset: each runs from its command line on a tiny input, and means what it says."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cleanplate.network.build import build
from cleanplate.network.checkpoint import save
from cleanplate.types import InputError
from made_dataset import write_dataset, write_pictures
from made_teachers import write_onnx

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    """Import one of the benchmarks, as its own folder sees it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Six plates with depth, six cutouts."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return [str(folder / "plates"), str(folder / "cutouts")]


def figures(name: str, *arguments: object) -> dict[str, dict[str, Any]]:
    """Run a benchmark with --json - and return its figures by name; standard output holds nothing else."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["machine"]["cores"] >= 1
    return {figure["name"]: figure for figure in content["figures"]}


def test_the_original_loop_is_measured(tmp_path: Path, folders: list[str]) -> None:
    found = figures("original_loop", *folders, "--scenes", 12, "--size", 64, "--rounds", 1, "--into", tmp_path)
    assert found["scenes per second and core, pictures prepared"]["value"] > 10
    assert found["scenes per second and core, pictures as given"]["value"] > 10
    assert 500 < found["bytes per scene"]["value"] < 20_000
    assert list(tmp_path.iterdir()) == []


def test_the_original_loop_makes_what_it_made(tmp_path: Path, benchmark: Any) -> None:
    loop = benchmark("original_loop")
    plates, cutouts = (library.pictures for library in write_pictures(tmp_path))
    files = loop.prepare(plates, cutouts, 64, tmp_path / "prepared")
    loop.original_loop(files, 72, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert len(archive.namelist()) == 144
        pairs = [[_picture(archive, f"{kind}/{i}.jpg") for kind in ("composites", "masks")] for i in range(72)]
    assert all(c.shape == (64, 64, 3) and m.shape == (64, 64) for c, m in pairs)
    # the mask lies where the composite shows the cutout's plain colour, on noise that is grey from afar
    colours = [np.random.default_rng(100 + n).integers(0, 256, 3) for n in range(6)]
    for number, (composite, mask) in enumerate(pairs):
        if (mask > 250).sum() > 100:
            assert np.abs(composite[mask > 250].mean(0) - colours[number % 6]).max() < 20
        assert np.abs(composite[mask < 5].mean(0) - 130).max() < 20
    places = {tuple(np.argwhere(mask > 128).mean(0).round().astype(int)) for _, mask in pairs}
    assert len(places) > 50


def _picture(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        image = Image.open(file)
        assert image.format == "JPEG"
        return np.asarray(image)


def test_the_loop_refuses_masks_in_second_files(tmp_path: Path, benchmark: Any) -> None:
    plates, cutouts = (library.pictures for library in write_pictures(tmp_path))
    other = type(cutouts[0])(**{**vars(cutouts[0]), "mask_path": tmp_path / "a_mask.png"})
    with pytest.raises(InputError, match="mask in a second file"):
        benchmark("original_loop").as_given(plates, [other], 64)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_the_dataset_is_measured_from_storing_to_reading(tmp_path: Path, folders: list[str]) -> None:
    tiny = ("--scenes", 40, "--few", 10, "--read", 30, "--rounds", 1, "--size", 64, "--no-ray")
    found = figures("dataset", *folders, *tiny, "--into", tmp_path)
    assert found["stored"]["target"] == 1500
    assert found["stored"]["value"] > 1
    assert 500 < found["on disk, per scene"]["value"] < 20_000
    assert found["on disk, per scene"]["reached"] is True
    for pictures in ("as given", "brought to size before"):
        assert found[f"per core, beside the loop of 2020, pictures {pictures}"]["target"] == 2.5
    for scenes in (20, 40):
        assert 0.05 < found[f"peak memory, {scenes} scenes, 2 workers"]["value"] < 2
    for size in (128, 224):
        assert found[f"read per core, stored at {size} px"]["value"] > 10
    assert list(tmp_path.iterdir()) == []


def test_a_failing_command_is_told(tmp_path: Path, benchmark: Any) -> None:
    storing = benchmark("storing")
    work = storing.Work((tmp_path / "nowhere", tmp_path / "nothing"), 64, 10, 20)
    with pytest.raises(InputError, match="nowhere"):
        storing.store(storing.compose_command(work, tmp_path / "out", 10), tmp_path / "out", 10)


def test_reading_takes_every_training_scene_once(tmp_path: Path, benchmark: Any) -> None:
    data = write_dataset(tmp_path, scenes=60)
    reading: ModuleType = benchmark("reading")
    measured = reading.read_epoch(tmp_path / "data", None, 0)
    assert measured.count == data.identity.scenes["train"]
    assert measured.seconds > 0
    found = figures("reading", tmp_path / "data", "--rounds", 2, "--samples", 20)
    assert len(found["read per core, stored at 64 px"]["rounds"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_memory_of_children_counts_and_of_shared_pages_once(benchmark: Any) -> None:
    peak_memory = benchmark("memory").peak_memory
    # pages taken before a fork are shared, pages taken after it are not
    fill = "block = bytearray(60_000_000); block[::4096] = b'1' * len(block[::4096])"
    shared = f"import os, time; {fill}; os.fork(); time.sleep(0.6)"
    apart = f"import os, time; os.fork(); {fill}; time.sleep(0.6)"
    once, twice = (peak_memory([sys.executable, "-c", program], every=0.05) for program in (shared, apart))
    assert once.processes == twice.processes == 2
    assert 60e6 < once.bytes < 100e6
    assert 120e6 < twice.bytes < 160e6


def test_the_start_is_told_from_the_work(benchmark: Any) -> None:
    figures_ = benchmark("figures")
    pace = figures_.Pace(figures_.Measured(100, 3.0, 4.0), figures_.Measured(1000, 12.0, 22.0))
    assert pace.rate == pytest.approx(100)
    assert pace.start == pytest.approx(2)
    assert pace.per_processor_second == pytest.approx(50)
    assert pace.minutes(400_000) == pytest.approx(4002 / 60)
    # two threads are no faster core
    assert figures_.Measured(100, 1.0, 2.0).per_core == 50


def test_a_figure_knows_which_side_of_its_target_is_good(benchmark: Any) -> None:
    figure = benchmark("figures").Figure
    assert [figure("a", v, "", 2.0).reached for v in (1.9, 2.0)] == [False, True]
    assert [figure("a", v, "", 2.0, "less").reached for v in (2.0, 2.1)] == [True, False]
    assert figure("a", 1.0, "").reached is None


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no memory that is a folder on this system")
def test_a_folder_in_memory_is_no_disk(benchmark: Any) -> None:
    dataset = benchmark("dataset")
    with pytest.raises(InputError, match="in memory"):
        dataset.file_system(Path("/dev/shm"))


def test_both_ways_of_labelling_are_compared(tmp_path: Path, folders: list[str]) -> None:
    write_onnx(tmp_path / "teacher.onnx")
    said = ("--depth", f"teacher=onnx:{tmp_path / 'teacher.onnx'}", "--teacher-output", "depth", "--teacher-unit")
    pictures = ("--plates", folders[0], "--cutouts", folders[1], "--into", tmp_path)
    found = figures("teachers", *said, "relative", *pictures, "--scenes", 40, "--size", 64, "--workers", 0)
    assert found["plates: pictures that the teacher saw"]["value"] == 12
    assert found["scenes: pictures that the teacher saw"]["value"] > 40
    for mode in ("scenes", "plates", "the two"):
        for part in ("frame", "foreground"):
            assert found[f"{mode}: abs_rel, {part}"]["value"] >= 0
            assert 0 <= found[f"{mode}: delta1, {part}"]["value"] <= 1


def test_a_run_becomes_a_teacher(tmp_path: Path) -> None:
    import onnxruntime

    torch.manual_seed(0)
    network = build("platenet").eval()
    save(tmp_path / "best.safetensors", network, {"network": "platenet", "config": {}, "depth": "metric"})
    # apart from this process, whose shape checks no tracing survives
    program = "import sys, pathlib, teachers; print(teachers.export_teacher(*map(pathlib.Path, sys.argv[1:])))"
    command = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "teacher.onnx")]
    settings = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True).stdout
    assert "teacher_output='depth', teacher_unit='m'" in settings
    session = onnxruntime.InferenceSession(tmp_path / "teacher.onnx")
    for shape in ((1, 3, 64, 64), (3, 3, 32, 96)):
        pictures = torch.rand(shape)
        with torch.inference_mode():
            depth = network(pictures, pictures, None).log_depth.exp()
        np.testing.assert_allclose(session.run(None, {"picture": pictures.numpy()})[0], depth.numpy(), rtol=1e-3)


def test_a_latency_is_told_beside_a_product(benchmark: Any) -> None:
    """Sixteen times the pixels take several times as long; the product's time doesn't change."""
    small, large = (benchmark("latency").latency(build("platenet"), size, 12) for size in (64, 256))
    assert 3 < large.pair / small.pair < 40
    assert 0.4 < large.product / small.product < 2.5
    assert small.ratio == small.pair / small.product


def test_architectures_are_compared(tmp_path: Path, folders: list[str]) -> None:
    command = [sys.executable, str(BENCHMARKS / "architectures.py"), *folders, "--samples", "32", "--size", "32"]
    command += ["--workers", "0", "--out", str(tmp_path), "--only", "half as wide", "no context"]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["half as wide #0", "no context #0"]
    assert all(0 <= result["iou"] <= 1 and result["ratio"] > 0 for result in results.values())
    assert results["half as wide #0"]["parameters"] < results["no context #0"]["parameters"]
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert again == first[first.index("| variant") :] == (tmp_path / "table.md").read_text()
