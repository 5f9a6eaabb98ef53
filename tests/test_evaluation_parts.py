"""PARTs: means over scenes, nulls, intervals that contain the mean and shrink with more pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cleanplate.evaluation.parts import FrameSums, cell_part, mean_part, scene_part
from cleanplate.measures.metrics import DEPTH_METRICS, MASK_METRICS, DepthSums, MaskCounts, depth_sums


def frame(hits: float, missed: float = 10, false: float = 5) -> FrameSums:
    judged, empty = 1000.0, hits + missed == 0
    alarms = (float(false), judged) if empty else (0.0, 0.0)
    return FrameSums(MaskCounts(float(hits), float(false), float(missed), judged, 50.0, 1.0, 2.0, 1.0, 2.0, *alarms))


def iou(hits: float, missed: float = 10, false: float = 5) -> float:
    return hits / (hits + missed + false)


def deep(factor: float) -> DepthSums:
    truth = np.linspace(1, 4, 400, dtype=np.float32).reshape(20, 20)
    return depth_sums(truth * np.float32(factor), truth)


def random_cell(plates: int, cutouts: int, seed: int = 0) -> tuple[list[FrameSums], np.ndarray, np.ndarray]:
    """Scenes whose score depends on their plate and their cutout."""
    rng = np.random.default_rng(seed)
    easy = rng.permutation(np.linspace(5, 60, plates))[:, None] + rng.permutation(np.linspace(5, 60, cutouts))
    pairs = [(i % plates, (i * 7 + i // plates) % cutouts) for i in range(240)]
    frames = [frame(float(round(easy[pair]))) for pair in pairs]
    return frames, *np.array(pairs, np.int64).T


def test_schema_and_nulls() -> None:
    part = cell_part([frame(20), frame(30)], np.array([0, 1]), np.array([0, 1]), 0)
    assert set(part) == {"mask", "depth", "intervals"}
    assert list(part["mask"]) == [*MASK_METRICS, "iou_pooled"]
    assert part["depth"] is None
    assert part["mask"]["false_alarm"] is None
    assert "false_alarm" not in part["intervals"]
    assert set(part["intervals"]) <= {*MASK_METRICS, "iou_pooled"}
    only_depth = cell_part([FrameSums(aligned=deep(1.1), foreground=deep(2))] * 3, np.arange(3), np.arange(3), 0)
    assert only_depth["mask"] is None
    assert only_depth["depth"]["metric"] is None
    assert list(only_depth["depth"]["aligned"]) == list(DEPTH_METRICS)
    assert only_depth["depth"]["foreground"]["delta1"] == 0
    assert only_depth["depth"]["aligned"]["delta1"] == 1
    assert "foreground.delta1" in only_depth["intervals"]
    assert "delta1" in only_depth["intervals"]
    json.dumps([part, only_depth], allow_nan=False)


def test_scenes_count_the_same_and_empty_ones_give_false_alarms() -> None:
    part = cell_part([frame(20), frame(70), frame(0, 0, 30)], np.arange(3), np.array([0, 1, -1]), 0)
    assert part["mask"]["iou"] == pytest.approx((iou(20) + iou(70)) / 2)
    assert part["mask"]["false_alarm"] == pytest.approx(0.03)
    assert part["intervals"]["false_alarm"] == pytest.approx([0.03, 0.03])


def test_captured_frames_pool_within_their_scene() -> None:
    first, second = [frame(20), frame(0, 0, 30)], [frame(80)]
    pooled = 20 / (20 + 10 + 5 + 30)
    assert scene_part(first, 0)["mask"]["iou"] == pytest.approx(pooled)
    assert mean_part([first, second], 0)["mask"]["iou"] == pytest.approx((pooled + iou(80)) / 2)
    assert scene_part(second, 0)["intervals"] == {}  # one frame says nothing about its spread


def test_intervals_contain_the_mean_shrink_and_repeat() -> None:
    widths = []
    for pictures in (4, 12, 60):
        cell = random_cell(pictures, pictures)
        part = cell_part(*cell, 0)
        for metric, (low, high) in part["intervals"].items():
            assert low - 1e-12 <= part["mask"][metric] <= high + 1e-12, metric
        assert cell_part(*cell, 0) == part
        assert cell_part(*cell, 1)["intervals"] != part["intervals"]
        widths.append(part["intervals"]["iou"][1] - part["intervals"]["iou"][0])
    assert widths[0] > 1.3 * widths[1] > 1.3 * widths[2] > 0


def test_intervals_resample_pictures_not_scenes() -> None:
    """240 scenes of 4 plates are 4 independent looks: as if they were 240, the interval would be far too narrow."""
    frames, plates, cutouts = random_cell(4, 60)
    honest = cell_part(frames, plates, cutouts, 0)["intervals"]["iou"]
    naive = cell_part(frames, np.arange(240), np.arange(240), 0)["intervals"]["iou"]
    assert honest[1] - honest[0] > 1.3 * (naive[1] - naive[0])


def test_interval_of_many_independent_plates_is_the_textbooks() -> None:
    """With one cutout for each plate and no cutout effect (-1), the width is 2 x 1.96 standard errors of the mean."""
    values = np.random.default_rng(5).integers(10, 90, 300)
    frames = [frame(float(value)) for value in values]
    low, high = cell_part(frames, np.arange(300), np.full(300, -1), 0)["intervals"]["iou"]
    error = np.std([iou(float(value)) for value in values]) / math.sqrt(300)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.12)


def test_mean_resamples_scenes_from_three_on() -> None:
    """Scenes without any spread inside: their mean varies only if scenes are drawn anew."""
    scenes = [[frame(20), frame(20)], [frame(60), frame(60)], [frame(90), frame(90)]]
    low, high = mean_part(scenes, 0)["intervals"]["iou"]
    assert low == pytest.approx(iou(20))
    assert high == pytest.approx(iou(90))
    assert mean_part(scenes[:2], 0)["intervals"]["iou"] == pytest.approx([(iou(20) + iou(60)) / 2] * 2)


def test_pooled_iou_is_of_all_frames_together_but_those_with_little_in_front() -> None:
    """Of 1000 judged pixels, more than 10 must be foreground."""
    frames = [frame(20), frame(200, 0, 0), frame(5, 5, 400), frame(0, 0, 30)]  # 30, 200, 10 and 0 in front
    pooled = (20 + 200) / (35 + 200)
    cell = cell_part(frames, np.arange(4), np.array([0, 1, 2, -1]), 0)
    assert cell["mask"]["iou_pooled"] == pytest.approx(pooled)
    assert cell["mask"]["iou"] == pytest.approx((iou(20) + 1 + iou(5, 5, 400)) / 3)
    low, high = cell["intervals"]["iou_pooled"]
    assert low < pooled < high
    assert scene_part(frames, 0)["mask"]["iou_pooled"] == pytest.approx(pooled)
    for scenes in ([frames[:1], frames[1:]], [frames[:1], frames[1:2], frames[2:]]):
        part = mean_part(scenes, 0)
        assert part["mask"]["iou_pooled"] == pytest.approx(pooled)
        assert part["intervals"]["iou_pooled"][0] <= pooled <= part["intervals"]["iou_pooled"][1]
    assert scene_part(frames[2:], 0)["mask"]["iou_pooled"] is None
