"""Scenes and clips made for the tests of plate care: textured backgrounds, things that move and park."""

from __future__ import annotations

import cv2
import numpy as np


def scene(seed: int = 0, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """A background of coarse colours, boxes and lines, uint8."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(70, 180, (4, 5, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        x, y = int(rng.integers(0, width - 10)), int(rng.integers(0, height - 10))
        far = int(rng.integers(6, width // 4)), int(rng.integers(6, height // 4))
        colour = [int(c) for c in rng.integers(40, 215, 3)]
        cv2.rectangle(picture, (x, y), (x + far[0], y + far[1]), colour, int(rng.choice([-1, 2])))
    fine = cv2.GaussianBlur(rng.normal(0, 12, (*size, 3)).astype(np.float32), (0, 0), 1)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.7) + fine, 0, 255).astype(np.uint8)


def thing(picture: np.ndarray, x: int, y: int, width: int = 30, height: int = 50, seed: int = 5) -> np.ndarray:
    """The picture with a striped thing in front, its upper left corner at x, y (parts outside are cut)."""
    rng = np.random.default_rng(seed)
    look = np.repeat(rng.integers(0, 256, (height // 5 + 1, 1, 3)), 5, axis=0)[:height]
    look = np.broadcast_to(look, (height, width, 3)).astype(np.uint8)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, picture.shape[1]), min(y + height, len(picture))
    if left < right and top < bottom:
        picture = picture.copy()
        picture[top:bottom, left:right] = look[top - y : bottom - y, left - x : right - x]
    return picture


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """The picture with normal noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)


def warped(picture: np.ndarray, right: float, down: float, turn: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    """The picture as a camera sees it that has moved; what comes into view is made by reflection."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
    matrix[:, 2] += (right, down)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
