"""`cleanplate inspect`: the table, skipped files by name, and the batch as the network gets it."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.pictures.draw import GAP
from cleanplate.pictures.frames import read_image
from cleanplate.scenes.mixture import SHARES
from made_scenes import write_cutouts, write_plates


@pytest.fixture
def folders(tmp_path):
    write_plates(tmp_path / "plates", 4)
    write_cutouts(tmp_path / "cutouts", 4)
    return ["--plates", str(tmp_path / "plates"), "--cutouts", str(tmp_path / "cutouts")]


def test_the_table_counts_and_names_what_is_skipped(folders, tmp_path, capsys):
    (tmp_path / "cutouts" / "broken.png").write_bytes(b"not a picture")
    assert main(["inspect", *folders]) == 0
    printed = capsys.readouterr().out
    assert "broken.png" in printed
    assert "160 x 120" in printed
    assert "40 x 60" in printed
    assert "with a height" in printed
    assert "validation 1" in printed
    assert main(["inspect", *folders, "--strict"]) == 2
    assert "broken.png" in capsys.readouterr().err


def test_the_batch_is_drawn(folders, tmp_path):
    out = tmp_path / "sheet.png"
    assert main(["inspect", *folders, "--batch", "--count", "3", "--size", "112", "--out", str(out)]) == 0
    sheet = read_image(out)
    assert sheet.shape[0] > 5 * 112
    assert sheet.shape[1] > 3 * 112
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 500


def test_the_effects_are_drawn_family_by_family(folders, tmp_path):
    sheets = []
    for name, seed in (("one", "0"), ("again", "0"), ("other", "1")):
        out = tmp_path / f"{name}.png"
        assert main(["inspect", *folders, "--effects", "--size", "64", "--seed", seed, "--out", str(out)]) == 0
        sheets.append(read_image(out))
    one, again, other = sheets
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or (one != other).any()
    rows, columns = len(SHARES), 4
    left, top = (one.shape[1] - columns * (128 + GAP)), (one.shape[0] - rows * (64 + GAP))
    tiles = one[top:, left:].reshape(rows, 64 + GAP, columns, 128 + GAP, 3)[:, :64, :, :128].astype(int)
    for row, kind in zip(tiles, SHARES, strict=True):
        clean, plates = row[:, 0], row[:, 1:, :64]
        assert (clean[:, :64] != clean[:, 64:]).any(), kind  # something stands there
        changes = [np.abs(row[:, column] - clean).sum() for column in (1, 2, 3)]
        assert changes == sorted(changes), kind
        assert changes[2] > 0 or kind == "median_plate", kind  # whose blur is below a pixel at this size
        if kind in ("shadows", "contact", "bounce", "tone", "camouflage", "blend", "plain", "transparent"):
            assert (plates == clean[:, None, :64]).all(), kind


def test_the_batch_and_the_effects_are_two_pictures_of_folders(folders, tmp_path, capsys):
    assert main(["inspect", *folders, "--batch", "--effects", "--out", str(tmp_path / "x.png")]) == 2
    assert "--batch and --effects" in capsys.readouterr().err
    assert main(["inspect", *folders, "--batch", "--effects", "none"]) == 2
    assert "--mixture" in capsys.readouterr().err
    out = ["--count", "2", "--size", "64", "--out", str(tmp_path / "none.png")]
    assert main(["inspect", *folders, "--batch", "--mixture", "none", *out]) == 0


def test_a_part_without_pictures_is_an_error(tmp_path, capsys):
    write_plates(tmp_path / "plates", 1)
    write_cutouts(tmp_path / "cutouts", 3)
    folders = ["--plates", str(tmp_path / "plates"), "--cutouts", str(tmp_path / "cutouts")]
    assert main(["inspect", *folders, "--batch", "--part", "test"]) == 2
    assert "0 plates" in capsys.readouterr().err
