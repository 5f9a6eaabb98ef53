"""Verifying: every flipped byte, cut, missing or foreign file of every layout is found, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cleanplate.engine.engine import Engine
from cleanplate.settings import PlanSettings
from cleanplate.shards.identity import CONTACT, DATASET, MANIFEST
from cleanplate.shards.inspect import show_verify
from cleanplate.shards.make import make_dataset
from cleanplate.shards.manifest import seal, unseal
from cleanplate.shards.store import Store
from cleanplate.shards.verify import Problem, verify
from cleanplate.types import InputError
from made_scenes import write_cutouts, write_plates

LABEL = "labels/far"


def compose(folder: Path, out: str, layout: str = "parquet", seed: int = 0) -> Path:
    make_dataset(
        str(folder / out),
        [folder / "plates"],
        [folder / "cutouts"],
        scenes=30,
        size=32,
        seed=seed,
        plan=PlanSettings(scenes_per_view=5),
        format=layout,  # ty: ignore[invalid-argument-type]
        engine=Engine(workers=0),
        quiet=True,
    )
    return folder / out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    write_plates(folder / "plates", 6)
    write_cutouts(folder / "cutouts", 6)
    return folder


@pytest.fixture(scope="module", params=["parquet", "files", "zip"])
def whole(request, pictures) -> Path:
    """A finished dataset in each layout, with a label; only read, or damaged and mended."""
    out = compose(pictures, request.param, request.param)
    files = {"scenes-train-00000.parquet": b"of one shard", "label.json": b'{"name": "far"}'}
    manifest = {"format": 1, "dataset": unseal((out / MANIFEST).read_bytes())["dataset"], "files": {}}
    for name, data in files.items():
        Store(str(out)).write(f"{LABEL}/{name}", data)
        manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data), "rows": None, "content": None}
    Store(str(out)).write(f"{LABEL}/{MANIFEST}", seal(manifest))
    return out


@pytest.fixture
def copied(pictures, tmp_path) -> Path:
    """A finished dataset to damage."""
    out = pictures / "parquet"
    if not (out / MANIFEST).is_file():
        compose(pictures, "parquet")
    return Path(shutil.copytree(out, tmp_path / "data", ignore=shutil.ignore_patterns("labels")))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checked(folder: Path) -> list[Problem]:
    return verify(Store(str(folder)))


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_nothing_is_wrong_with_what_was_written(whole):
    assert checked(whole) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_byte_of_any_file_is_found(whole, data):
    name = data.draw(st.sampled_from(files_in(whole)))
    path = whole / name
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    bit = data.draw(st.integers(0, 7))
    try:
        path.write_bytes(before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :])
        assert name in {problem.file for problem in checked(whole)}
    finally:
        path.write_bytes(before)


def test_every_file_cut_short_or_missing_is_found_and_no_other(whole):
    by_folder = {str(Path(name).parent): name for name in files_in(whole)}
    for name in sorted({DATASET, MANIFEST, CONTACT, *by_folder.values()}):
        path = whole / name
        before = path.read_bytes()
        try:
            path.write_bytes(before[: len(before) // 2])
            assert {problem.file for problem in checked(whole)} == {name}
            path.unlink()
            (problem,) = checked(whole)
            assert problem.file == name
            assert f"delete {name} " not in problem.do
        finally:
            path.write_bytes(before)


@pytest.mark.parametrize(
    "name",
    ["stray.txt", "scenes/train-00007.parquet", "plates/copy.parquet", f"{LABEL}/stray", "labels/x", "zip/a.zip", ".x"],
)
def test_foreign_files_are_found(whole, name):
    path = whole / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"not ours")
    try:
        found = checked(whole)
    finally:
        path.unlink()
    assert [(problem.file, problem.wrong) for problem in found] == [(name, "is foreign: no manifest names it")]


def test_foreign_plain_files_are_found(pictures):
    out = pictures / "files"
    stray = out / "files" / "train" / "masks" / "99999999.png"
    shutil.copy(out / "files" / "train" / "masks" / "00000000.png", stray)
    try:
        assert [problem.file for problem in checked(out)] == ["files/train/masks/99999999.png"]
    finally:
        stray.unlink()


def test_a_shard_of_another_dataset_or_another_part_is_named_as_such(pictures, copied):
    other = compose(pictures, "other", seed=5)
    shutil.copy(other / "scenes" / "train-00000.parquet", copied / "scenes" / "train-00000.parquet")
    shutil.copy(copied / "scenes" / "test-00000.parquet", copied / "scenes" / "validation-00000.parquet")
    wrong = {problem.file: problem for problem in checked(copied)}
    assert "another dataset" in wrong["scenes/train-00000.parquet"].wrong
    assert "another shard (test-00000)" in wrong["scenes/validation-00000.parquet"].wrong
    assert wrong["scenes/train-00000.parquet"].do == (
        "delete scenes/train-00000.parquet and run the same `cleanplate compose` again"
    )
    (copied / MANIFEST).unlink()
    unfinished = {problem.file: problem.wrong for problem in checked(copied)}
    assert "another dataset" in unfinished["scenes/train-00000.parquet"]
    assert "another shard" in unfinished["scenes/validation-00000.parquet"]


def test_a_manifest_of_another_dataset_is_found(pictures, copied):
    other = compose(pictures, "other", seed=5)
    shutil.copy(other / MANIFEST, copied / MANIFEST)
    assert [(problem.file, problem.wrong) for problem in checked(copied)] == [(MANIFEST, "is of another dataset")]
    # and one that was sealed anew over fewer files
    manifest = unseal((pictures / "parquet" / MANIFEST).read_bytes())
    del manifest["files"]["scenes/train-00000.parquet"]
    (copied / MANIFEST).write_bytes(seal(manifest))
    assert [problem.file for problem in checked(copied)] == ["scenes/train-00000.parquet"]


def test_an_unfinished_dataset_says_what_is_missing_and_what_is_damaged(copied):
    (copied / MANIFEST).unlink()
    (copied / CONTACT).unlink()
    assert [problem.file for problem in checked(copied)] == [MANIFEST]
    (copied / "scenes" / "test-00000.parquet").unlink()
    found = {problem.file: problem for problem in checked(copied)}
    assert found.keys() == {MANIFEST, "scenes/test-00000.parquet"}
    assert "first of 1 missing shards, of 3" in found["scenes/test-00000.parquet"].wrong
    plates = copied / "plates" / "train-00000.parquet"
    plates.write_bytes(plates.read_bytes()[:-20])
    (copied / "scenes" / "train-00009.parquet").write_bytes(b"PAR1")
    found = {problem.file: problem for problem in checked(copied)}
    assert "no footer of a shard" in found["plates/train-00000.parquet"].wrong
    assert found["plates/train-00000.parquet"].do.startswith("delete scenes/train-00000.parquet")
    assert "foreign" in found["scenes/train-00009.parquet"].wrong


def test_pages_are_held_against_their_checksums_where_there_is_no_manifest(copied):
    path = copied / "scenes" / "train-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, write_page_checksum=True, compression="none")
    (copied / MANIFEST).unlink()
    assert [problem.file for problem in checked(copied)] == [MANIFEST]
    whole = path.read_bytes()
    frame = table["frame"][3].as_py()
    place = whole.index(frame) + len(frame) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    found = {problem.file: problem.wrong for problem in checked(copied)}
    assert found.keys() == {MANIFEST, "scenes/train-00000.parquet"}
    assert "is damaged" in found["scenes/train-00000.parquet"]


def test_what_a_problem_says_to_do_mends_it(pictures, copied):
    before = {name: (copied / name).read_bytes() for name in files_in(copied)}
    for name in ("plates/train-00000.parquet", "scenes/test-00000.parquet", CONTACT, DATASET, MANIFEST):
        data = before[name]
        (copied / name).write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
        (problem,) = checked(copied)
        assert problem.file == name
        (copied / problem.do.split()[1]).unlink()
        shutil.rmtree(pictures / "mended", ignore_errors=True)
        shutil.move(copied, pictures / "mended")
        shutil.move(compose(pictures, "mended"), copied)
        assert {name: (copied / name).read_bytes() for name in files_in(copied)} == before


def test_show_says_all_is_well_or_lists_what_is_not(copied, capsys):
    show_verify(Store(str(copied)))
    assert "every byte as it was written" in capsys.readouterr().out
    (copied / CONTACT).write_bytes(b"")
    for number in range(30):
        (copied / f"stray{number:02d}").touch()
    with pytest.raises(InputError, match=r"31 problems(?s:.*)contact.png: is cut short(?s:.*)and 11 more"):
        show_verify(Store(str(copied)))


def test_no_dataset_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is no dataset"):
        checked(tmp_path)


def test_only_what_was_sealed_is_unsealed():
    content = {"format": 1, "dataset": "d", "files": {"b": {"bytes": 1, "sha256": "é"}, "a": {"bytes": 2}}}
    sealed = seal(content)
    assert unseal(sealed) == content
    assert json.loads(sealed)["files"] == content["files"]
    for other in (sealed + b"\n", sealed.replace(b": ", b":", 1), b"", b"[]", b"null", sealed[:-3], b"\xff" + sealed):
        with pytest.raises(InputError, match="damaged"):
            unseal(other)
    with pytest.raises(ValueError, match="sealed"):
        seal(json.loads(sealed))
