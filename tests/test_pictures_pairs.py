"""Captured pairs: the layout, the three-valued masks, sizes that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cleanplate.pictures.frames import write_depth, write_image
from cleanplate.pictures.library import sample_folder
from cleanplate.pictures.pairs import open_pairs, read_pair
from cleanplate.types import InputError

GREY = np.full((20, 24, 3), 100, np.uint8)


def mask(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.uint8), (20, 24))


def make_scene(scene: Path, masks: dict[str, np.ndarray | None], plate: str = "plate.png") -> None:
    write_image(scene / plate, GREY)
    for name, pixels in masks.items():
        write_image(scene / "frames" / f"{name}.jpg", GREY)
        if pixels is not None:
            write_image(scene / "masks" / f"{name}.png", pixels)


def test_the_layout(tmp_path: Path) -> None:
    make_scene(tmp_path / "b" / "deep", {"2": mask(0, 255), "10": None, "1": mask(255)}, "plate.jpg")
    make_scene(tmp_path / "a", {"x": None})
    write_depth(tmp_path / "b/deep/depths/1.png", np.full((20, 24), 2, np.float32))
    write_depth(tmp_path / "b/deep/plate_depth.png", np.full((20, 24), 3, np.float32))
    pairs = open_pairs(tmp_path)
    assert [(p.scene, p.frame_path.stem, p.index) for p in pairs] == [
        ("a", "x", 0),
        ("b/deep", "1", 0),
        ("b/deep", "10", 1),
        ("b/deep", "2", 2),
    ]
    first = read_pair(pairs[1])
    assert first.depth is not None
    assert first.plate_depth is not None
    assert first.alpha is not None
    assert (first.depth == 2).all()
    assert (first.plate_depth == 3).all()
    assert (first.alpha == 1).all()
    assert read_pair(pairs[2]).alpha is None
    assert read_pair(pairs[2]).judged is None
    assert read_pair(pairs[0]).plate_depth is None


def test_a_scene_can_be_opened_itself(tmp_path: Path) -> None:
    make_scene(tmp_path, {"1": None})
    assert [p.scene for p in open_pairs(tmp_path)] == ["."]


def test_128_is_not_judged_where_masks_have_three_values(tmp_path: Path) -> None:
    make_scene(tmp_path / "hand", {"1": mask(0, 128, 255), "2": mask(0, 255)})
    first, second = map(read_pair, open_pairs(tmp_path))
    assert first.judged is not None
    assert first.alpha is not None
    assert second.judged is not None
    assert np.array_equal(first.judged, mask(0, 128, 255) != 128)
    assert np.array_equal(first.alpha, (mask(0, 128, 255) == 255).astype(np.float32))
    assert second.judged.all()


def test_128_is_half_covered_where_one_mask_is_soft(tmp_path: Path) -> None:
    make_scene(tmp_path / "soft", {"1": mask(0, 128, 255), "2": mask(0, 64, 255)})
    make_scene(tmp_path / "hand", {"1": mask(0, 128, 255)})
    hand, first, _ = map(read_pair, open_pairs(tmp_path))
    assert first.judged is None
    assert first.alpha is not None
    assert np.allclose(first.alpha, mask(0, 128, 255) / 255)
    assert hand.judged is not None  # the rule is one scene's, not the folder's


@pytest.mark.parametrize("other", ["plate.png", "masks/1.png", "depths/1.png", "plate_depth.png"])
def test_other_sizes_are_named(tmp_path: Path, other: str) -> None:
    make_scene(tmp_path / "s", {"1": mask(0)})
    if "depth" in other:
        write_depth(tmp_path / "s" / other, np.ones((20, 25), np.float32))
    else:
        write_image(tmp_path / "s" / other, np.zeros((20, 25, 3), np.uint8))
    with pytest.raises(InputError, match=rf"{other}: 20 x 25 px, but .*1.jpg is 20 x 24 px"):
        read_pair(open_pairs(tmp_path)[0])


def test_folders_without_pairs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_pairs(tmp_path / "none")
    write_image(tmp_path / "lonely" / "plate.png", GREY)
    with pytest.raises(InputError, match=r"holds no pairs; expected DIR/\*\*/SCENE/plate.png"):
        open_pairs(tmp_path)
    assert "a plate without frames/" in caplog.text


def test_the_sample_pairs_agree_with_themselves() -> None:
    for pair in open_pairs(sample_folder() / "pairs"):
        pixels = read_pair(pair)
        assert pixels.alpha is not None
        assert pixels.depth is not None
        assert pixels.plate_depth is not None
        both = (pixels.depth > 0) & (pixels.plate_depth > 0)
        front = (pixels.alpha > 0) & both
        assert (
            (pixels.depth[front] <= pixels.plate_depth[front] + 0.02).mean(dtype=float) > 0.98 if front.any() else True
        )
        behind = (pixels.alpha == 0) & both
        assert np.median(np.abs(pixels.depth - pixels.plate_depth)[behind]) < 0.005
