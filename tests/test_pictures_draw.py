"""Drawing: ranges are fixed, unknown is grey, sheets hold every tile where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from cleanplate.pictures.draw import GAP, PAPER, UNKNOWN, colour_depth, grey, heat, overlay, sheet


def test_unknown_depth_is_grey_and_no_depth_is() -> None:
    depth = np.array([[0, np.nan, np.inf, -1, 2]], np.float32)
    colours = colour_depth(depth, 1, 10)
    assert (colours[0, :4] == UNKNOWN).all()
    every = colour_depth(np.geomspace(0.5, 20, 1000, dtype=np.float32)[None], 1, 10)
    assert np.abs(every.astype(int) - UNKNOWN).max(-1).min() > 40


def test_depth_colours_are_fixed_by_the_range_alone() -> None:
    depth = np.array([[2, 5, 9]], np.float32)
    assert np.array_equal(colour_depth(depth, 1, 10)[0, 0], colour_depth(depth[:, :1], 1, 10)[0, 0])
    ends = colour_depth(np.array([[0.5, 1, 10, 50]], np.float32), 1, 10)[0].astype(int)
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[2], ends[3])
    assert ends[1, 0] > ends[1, 2]
    assert ends[2, 0] <= ends[2, 2]


def test_depth_is_drawn_on_a_logarithmic_scale() -> None:
    depth = np.array([[np.sqrt(10)]], np.float32)
    assert np.abs(colour_depth(depth, 1, 10).astype(int) - colour_depth(depth * 10, 10, 100)).max() <= 3
    middle = colour_depth(np.array([[np.sqrt(0.1 * 100)]], np.float32))[0, 0].astype(int)
    assert middle[1] > 200  # the middle of turbo is green


def test_heat_darkens_as_values_fall() -> None:
    drawn = heat(np.linspace(0, 1, 64, dtype=np.float32)[None], 0, 1).astype(int)
    luminance = drawn @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance[0]) > 0).all()
    assert luminance[0, 0] < 5
    assert np.array_equal(heat(np.full((1, 1), 0.3), 0, 1), heat(np.full((1, 1), 3.0), 0, 10))
    assert (heat(np.array([[np.nan]]), 0, 1) == UNKNOWN).all()


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="0 < near < far"):
        colour_depth(np.ones((1, 1), np.float32), 0, 1)
    with pytest.raises(ValueError, match="low < high"):
        heat(np.ones((1, 1)), 1, 1)


def test_grey() -> None:
    assert grey(np.array([[0, 0.5, 1, 2]], np.float32))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3, [255] * 3]


def test_overlay_shows_the_foreground_in_colour_and_the_rest_in_grey() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    alpha = np.zeros((20, 20), np.float32)
    alpha[5:15, 5:15] = 1
    drawn = overlay(frame, alpha).astype(int)
    outside = drawn[alpha == 0]
    assert (outside.max(1) - outside.min(1) <= 1).all()
    inside = drawn[6:14, 6:14]
    assert np.corrcoef(inside[..., 0].ravel(), frame[6:14, 6:14, 0].ravel())[0, 1] > 0.99
    assert (drawn[5, 5:15] == drawn[5, 5]).all()  # the outline


def test_sheet_places_every_tile() -> None:
    tiles = [
        [np.full((40, 60, 3), (row * 90 + column * 30, 10, 10), np.uint8) for column in range(3)] for row in range(2)
    ]
    drawn = sheet(tiles)
    assert drawn.shape == (2 * 46 + GAP, 3 * 66 + GAP, 3)
    for row in range(2):
        for column in range(3):
            y, x = GAP + row * 46, GAP + column * 66
            assert np.array_equal(drawn[y : y + 40, x : x + 60], tiles[row][column])
    assert (drawn[0] == PAPER).all()


def test_sheet_labels_make_room_and_ink() -> None:
    tile = np.full((64, 64, 3), 200, np.uint8)
    plain = sheet([[tile, None], [tile]])
    labelled = sheet([[tile, None], [tile]], ["first", "second"], ["a long caption of several words", "b"])
    assert labelled.shape[0] > plain.shape[0] + 20
    assert labelled.shape[1] > plain.shape[1] + 20
    top, left = labelled.shape[0] - plain.shape[0] + GAP, labelled.shape[1] - plain.shape[1] + GAP
    assert (labelled[:top, left:] < 100).any()
    assert (labelled[top:, :left] < 150).any()
    assert np.array_equal(labelled[top:, left:], plain[GAP:, GAP:])  # captions never cover tiles


def test_sheet_scales_and_centres() -> None:
    drawn = sheet([[np.zeros((10, 20, 3), np.uint8)], [np.zeros((20, 10, 3), np.uint8)]], tile=40)
    assert drawn.shape == (2 * 46 + GAP, 40 + 2 * GAP, 3)
    assert (drawn[GAP + 10, GAP : GAP + 40] == 0).all()
    assert drawn[GAP + 46 + 20, GAP + 20].tolist() == [0, 0, 0]
    assert drawn[GAP + 46 + 20, GAP + 5].tolist() == [255] * 3


def test_bad_sheets() -> None:
    tile = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="at least one picture"):
        sheet([[None]])
    with pytest.raises(ValueError, match="1 x 1 tiles, but 2 and 0 labels"):
        sheet([[tile]], ["a", "b"])
