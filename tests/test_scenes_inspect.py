"""`cleanplate inspect`: the table, skipped files by name, and the batch as the network gets it."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.pictures.frames import read_image
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


def test_a_part_without_pictures_is_an_error(tmp_path, capsys):
    write_plates(tmp_path / "plates", 1)
    write_cutouts(tmp_path / "cutouts", 3)
    folders = ["--plates", str(tmp_path / "plates"), "--cutouts", str(tmp_path / "cutouts")]
    assert main(["inspect", *folders, "--batch", "--part", "test"]) == 2
    assert "0 plates" in capsys.readouterr().err
