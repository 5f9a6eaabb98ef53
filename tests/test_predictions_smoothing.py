"""Smoothing: less flicker where the picture stands still, no ghost and no delay where it moves."""

from __future__ import annotations

import numpy as np

from cleanplate.inference.predictor import Look
from cleanplate.inference.runtimes import Answer
from cleanplate.predictions.smoothing import Smoothing
from made_clips import noisy, scene, thing

SIZE = (96, 128)
PLATE = scene(3, SIZE)


def looks(places: list[int], seed: int = 0) -> tuple[list[Look], list[np.ndarray]]:
    """Noisy frames with a thing at these places, noisy answers to them, and the truth."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for number, x in enumerate(places):
        truth = np.zeros(SIZE, np.float32)
        truth[20:70, max(0, x) : max(0, x + 30)] = 1
        alpha = (0.1 + 0.8 * truth + rng.normal(0, 0.1, SIZE)).astype(np.float32)
        depth = (1 + rng.normal(0, 0.1, (2, *SIZE))).astype(np.float32)
        frame = noisy(thing(PLATE, x, 20), 3, number)
        found.append(Look(Answer(alpha, depth[0], depth[1]), frame))
        truths.append(truth)
    return found, truths


def flicker(alphas: list[np.ndarray]) -> float:
    return float(np.abs(np.diff(np.stack(alphas), axis=0)).mean())


def test_a_still_scene_flickers_less() -> None:
    given, truths = looks([40] * 20)
    smoothing = Smoothing()
    smoothed = [smoothing(look).answer for look in given]
    for kept in ("alpha", "behind", "front"):
        before, after = ([getattr(answer, kept) for answer in which] for which in ([g.answer for g in given], smoothed))
        assert flicker(after[8:]) < 0.3 * flicker(before[8:])
    errors = [np.abs(answer.alpha - (0.1 + 0.8 * truths[-1])).mean() for answer in (smoothed[-1], given[-1].answer)]
    assert errors[0] < 0.6 * errors[1]
    assert smoothed[-1].alpha.dtype == np.float32


def test_what_moves_leaves_no_ghost_and_is_not_late() -> None:
    for speed in (1, 3, 8):
        given, truths = looks([speed * t for t in range(12)])
        smoothing = Smoothing()
        smoothed = [smoothing(look).answer.alpha for look in given]
        for alpha, truth in zip(smoothed, truths, strict=True):
            assert ((alpha >= 0.5) != truth.astype(bool)).mean() < 0.002, speed
            assert alpha[truth == 0].mean() < 0.11  # 0.1 is what the answers say there


def test_no_rest_is_no_smoothing_and_sizes_may_change() -> None:
    given, _ = looks([40] * 3)
    smoothing = Smoothing(rest=1.0)
    for look in given:
        assert np.allclose(smoothing(look).answer.alpha, look.answer.alpha, atol=1e-6)
    smoothing = Smoothing()
    smoothing(given[0])
    small = np.full((48, 64), 0.25, np.float32)
    answer = smoothing(Look(Answer(small), given[0].frame)).answer
    assert np.array_equal(answer.alpha, small)
    assert answer.behind is None
    assert answer.front is None
