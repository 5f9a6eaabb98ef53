"""Making a dataset: the same bytes whoever makes it, stopped and gone on with, two at once, on a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cleanplate.cli import main
from cleanplate.engine.engine import Engine
from cleanplate.pictures.writing import beside
from cleanplate.settings import PlanSettings
from cleanplate.shards.identity import MANIFEST, Shard
from cleanplate.shards.make import make_dataset
from cleanplate.shards.manifest import unseal
from cleanplate.shards.store import Store
from cleanplate.shards.verify import verify
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

PLAN = PlanSettings(positions=40, scenes_per_view=25)
COUNT = 2200


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pictures")
    write_plates(root / "plates", 8)
    write_cutouts(root / "cutouts", 8)
    return root / "plates", root / "cutouts"


def _make(out: Path | str, folders: tuple[Path, Path], workers: int = 0, **options: object):
    given: dict = {"scenes": COUNT, "size": 24, "plan": PLAN, "quiet": True} | options
    return make_dataset(out, [folders[0]], [folders[1]], engine=Engine(workers=workers), **given)


def _command(out: Path, folders: tuple[Path, Path]) -> list[str]:
    pictures = ["--plates", str(folders[0]), "--cutouts", str(folders[1]), "--plan.positions", "40"]
    return [*pictures, "--scenes", str(COUNT), "--size", "24", "--out", str(out), "--quiet", "--workers", "2"]


def _bytes(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in Store(out).names()}


@pytest.fixture(scope="module")
def whole(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "data"
    _make(out, folders)
    return _bytes(out)


def test_a_dataset_has_every_scene_once_and_verifies(folders: tuple[Path, Path], tmp_path: Path) -> None:
    dataset = _make(tmp_path / "data", folders)
    indices: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for shard in dataset.shards():
        opened = dataset.open(shard)
        assert opened.rows == dataset.identity.rows_of(shard)
        indices[shard.part] += [row.index for group in range(opened.groups) for row in opened.read(group)]
    assert {part: len(found) for part, found in indices.items()} == {"train": 2040, "validation": 80, "test": 80}
    assert all(found == list(range(len(found))) for found in indices.values())
    assert verify(dataset.store) == []
    manifest = unseal(dataset.store.read(MANIFEST))
    assert sum(facts["rows"] or 0 for facts in manifest["files"].values()) == COUNT


def test_bytes_do_not_depend_on_the_workers(folders, whole, tmp_path: Path) -> None:
    _make(tmp_path / "data", folders, workers=2)
    assert _bytes(tmp_path / "data") == whole


def test_a_killed_run_goes_on_where_it_was(folders, whole, tmp_path: Path) -> None:
    out = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "cleanplate", "compose", *_command(out, folders)], stderr=subprocess.DEVNULL
    )
    first = out / Shard("train", 0).scenes
    deadline = time.monotonic() + 60
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its workers go by themselves
    kept = {name: (out / name).stat().st_mtime_ns for name in Store(out).names("scenes")}
    assert kept
    orphan = beside(out / "scenes" / "train-00001.parquet")
    orphan = orphan.with_name(orphan.name.replace(f"-{os.getpid()}-", f"-{process.pid}-"))
    orphan.write_bytes(b"half")
    mine = beside(out / "scenes" / "train-00001.parquet")
    mine.write_bytes(b"another run's, at work")
    assert main(["compose", *_command(out, folders)]) == 0
    assert _bytes(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept, "what is there is not made again"
    assert not orphan.exists()
    assert mine.exists()


def test_two_runs_at_once_make_one_dataset(folders, whole, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cleanplate", "compose", *_command(tmp_path / "data", folders)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert _bytes(tmp_path / "data") == whole


def test_a_deleted_shard_is_made_again(folders, whole, tmp_path: Path) -> None:
    dataset = _make(tmp_path / "data", folders)
    dataset.store.delete(Shard("validation", 0).scenes)
    with pytest.raises(InputError, match="1 of 5 shards are missing, the first is validation-00000"):
        dataset.require_complete()
    _make(tmp_path / "data", folders)
    assert _bytes(tmp_path / "data") == whole


def test_damage_is_never_written_down_as_the_truth(folders, tmp_path: Path) -> None:
    dataset = _make(tmp_path / "data", folders, scenes=60)
    damaged, other = (
        dataset.store.local / "scenes/train-00000.parquet",
        dataset.store.local / "scenes/test-00000.parquet",
    )
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 16
    damaged.write_bytes(data)
    other.unlink()
    _make(tmp_path / "data", folders, scenes=60)
    assert [problem.file for problem in verify(dataset.store)] == ["scenes/train-00000.parquet"]
    other.unlink()
    dataset.store.delete(MANIFEST)
    with pytest.raises(InputError, match=r"delete scenes/train-00000.parquet and run the same command again"):
        _make(tmp_path / "data", folders, scenes=60)


def test_plain_files_are_added_to_a_finished_dataset(folders, tmp_path: Path) -> None:
    before = _make(tmp_path / "data", folders, scenes=60).store.read("scenes/train-00000.parquet")
    after = _make(tmp_path / "data", folders, scenes=60, format="zip").store
    assert after.names("zip") == [f"zip/{part}-00000.zip" for part in ("test", "train", "validation")]
    assert after.read("scenes/train-00000.parquet") == before
    assert verify(after) == []


def test_another_plan_or_other_pictures_are_named(folders, tmp_path: Path) -> None:
    out = tmp_path / "data"
    small = {"scenes": 40}
    before = _make(out, folders, **small).store.read(MANIFEST)
    with pytest.raises(InputError, match=r"holds another dataset: plan.positions is 40 there, 41 now"):
        _make(out, folders, plan=replace(PLAN, positions=41), **small)
    write_plates(tmp_path / "plates", 9)
    with pytest.raises(InputError, match=r"plates: plate8.png is new"):
        _make(out, (tmp_path / "plates", folders[1]), **small)
    assert Store(out).read(MANIFEST) == before


def test_a_full_disk_is_a_clean_error_and_goes_on(folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = Path.write_bytes, [5]

    def write_bytes(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            real(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(path, data)

    options = {"scenes": 60}
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(InputError, match=r"disk full .* run the same command again"):
            _make(tmp_path / "data", folders, **options)
    leftovers = [path for path in (tmp_path / "data").rglob("*") if "partial" in path.name]
    assert not leftovers
    _make(tmp_path / "data", folders, **options)
    _make(tmp_path / "other", folders, **options)
    assert _bytes(tmp_path / "data") == _bytes(tmp_path / "other")


def test_the_plain_layouts_hold_the_same_pictures(folders, tmp_path: Path) -> None:
    files = _make(tmp_path / "files", folders, scenes=60, format="files")
    zipped = _make(tmp_path / "zip", folders, scenes=60, format="zip")
    plain = {name.removeprefix("files/"): name for name in files.store.names("files")}
    assert len([name for name in plain if name.startswith("train/frames/")]) == files.identity.scenes["train"]
    inside: dict[str, bytes] = {}
    for name in zipped.store.names("zip"):
        with zipfile.ZipFile(tmp_path / "zip" / name) as archive:
            inside |= {entry: archive.read(entry) for entry in archive.namelist()}
    assert inside == {name: files.store.read(stored) for name, stored in plain.items()}
    assert files.store.read("scenes/train-00000.parquet") == zipped.store.read("scenes/train-00000.parquet")
    assert verify(files.store) == verify(zipped.store) == []


def test_without_a_split_all_pictures_train(folders, tmp_path: Path) -> None:
    dataset = _make(tmp_path / "data", folders, scenes=30, split=False)
    assert dataset.identity.scenes == {"train": 30, "validation": 0, "test": 0}
    assert len(dataset.identity.pictures["plates"]["train"]) == 8
