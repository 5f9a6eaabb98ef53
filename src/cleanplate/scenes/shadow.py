"""Shadows: how much darker a scene's background is because something stands before it.

Contract: `shade` turns a drawn `Shadow` and a scene's geometry into the share of light that is left per pixel of the
*background* of the frame (the cutouts keep their colours).

Maths: a background pixel is the point X on its ray, at the plate's depth. The cutout is a billboard: the vertical plane
through its contact point C that faces the light L horizontally, carrying the cutout's alpha. X lies in the shadow where
the segment from X to L meets the billboard at an opaque place. With n the horizontal unit vector from C to L,

    Q = X + k (L - X),   k = -(X - C).n / ((L - X).n),   in shadow if 0 < k < 1 and alpha(Q) > 0.

So one rule puts the shadow on floors, walls and furniture. The larger k, the farther the occluder and the softer the
edge. Close to the contact point the thing also takes away light from all around: a soft blob (ambient occlusion).
Where a plate has no depth, or a cutout doesn't stand on its floor, a floor and a wall behind the contact point are
assumed, as drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from cleanplate.scenes.placement import Placement, View
from cleanplate.scenes.records import between, chance
from cleanplate.types import AlphaPixels, Depth, Layer

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Light:
    """azimuth: radians around the vertical; 0 = the light is on the camera's side, and the shadow falls away from it.

    elevation: radians above the floor. distance: in heights of the thing. strength: share of the light that it takes.
    softness: width of the soft edge far from the thing, in pixels of a 128 px canvas.
    """

    azimuth: float
    elevation: float
    distance: float
    strength: float
    softness: float


@dataclass(frozen=True)
class Shadow:
    """lights: each casts one shadow. contact: strength of the blob around the contact point; spread: its radius, in
    widths of the thing. tint: how much of the darkening each channel gets. pitch (radians), wall: the floor and the
    wall behind it (in distances to the contact point) that are assumed where the geometry is unknown.
    """

    lights: tuple[Light, ...]
    contact: float
    spread: float
    tint: tuple[float, float, float]
    pitch: float
    wall: float


def draw_shadow(rng: np.random.Generator, strongest: float) -> Shadow:
    """One or two lights, from anywhere above; the strongest takes at most this share of the light."""
    lights = tuple(
        Light(
            azimuth=between(rng, -np.pi, np.pi),
            elevation=between(rng, 0.35, 1.35),
            distance=between(rng, 1.5, 8),
            strength=strongest * between(rng, 0.35, 1) / (1 + 0.5 * number),
            softness=between(rng, 0.5, 5),
        )
        for number in range(2 if chance(rng, 0.35) else 1)
    )
    tint = (between(rng, 0.85, 1.0), between(rng, 0.85, 1.0), between(rng, 0.8, 1.0))
    return Shadow(
        lights,
        contact=strongest * between(rng, 0.2, 1.0),
        spread=between(rng, 0.35, 0.9),
        tint=tint,
        pitch=between(rng, 0.1, 0.8),
        wall=between(rng, 1.05, 2.5),
    )


@dataclass(frozen=True, eq=False)
class Space:
    """Points of the background seen from one contact point: along (right), toward the camera, up; in metres."""

    right: Map
    toward: Map
    up: Map


def shade(
    shadow: Shadow,
    placements: tuple[Placement, ...],
    layers: tuple[Layer, ...],
    view: View,
    lens: tuple[float, float],
    up: tuple[float, float, float] | None,
    plate_depth: Depth,
) -> Map:
    """The light left, 0..1, per pixel of the background. Computed at half resolution: shadows have no fine detail.

    lens: (focal length in plate heights, the plate's width / height). up: of the plate's floor, None = unknown.
    """
    height, width = plate_depth.shape
    focal, aspect = lens
    x, y, depth = rays(view, lens, plate_depth)
    rows, columns = depth.shape
    light = np.ones((rows, columns), np.float32)
    for placed, layer in zip(placements, layers, strict=True):
        if not layer.alpha.any():
            continue
        known = placed.mode == "standing" and up is not None and placed.depth_m is not None
        vertical = np.array(up if known else (0, -np.cos(shadow.pitch), -np.sin(shadow.pitch)), np.float32)
        distance = placed.depth_m if known and placed.depth_m is not None else 1.0
        contact = np.array([(placed.x - 0.5) * aspect / focal, (placed.y - 0.5) / focal, 1], np.float32) * distance
        z = depth if known else assumed(x, y, contact, vertical, shadow.wall)
        space = space_of(x, y, z, contact, vertical)
        size = placed.width * aspect / focal * distance, placed.height / focal * distance
        alpha = cv2.resize(layer.alpha, (columns, rows), interpolation=cv2.INTER_AREA)
        spot = _Spot(placed, view, size)
        for source in shadow.lights:
            light *= 1 - np.float32(source.strength) * _cast(source, space, alpha, spot)
        if shadow.contact:
            light *= 1 - np.float32(shadow.contact) * _blob(space, size, shadow.spread)
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def rays(view: View, lens: tuple[float, float], plate_depth: Depth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pixel at half resolution: slopes of its ray (to the right, per column; downward, per row) and depth."""
    rows, columns = (max(1, side // 2) for side in plate_depth.shape)
    focal, aspect = lens
    x = ((view.x + (np.arange(columns) + 0.5) / columns * view.width - 0.5) * aspect / focal).astype(np.float32)
    y = ((view.y + (np.arange(rows) + 0.5) / rows * view.height - 0.5) / focal).astype(np.float32)
    return x, y, cv2.resize(plate_depth, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)


@dataclass(frozen=True)
class _Spot:
    """A placement, the view it is seen in, and its width and height in metres."""

    placed: Placement
    view: View
    size: tuple[float, float]


def assumed(x: np.ndarray, y: np.ndarray, contact: np.ndarray, up: np.ndarray, wall: float) -> Map:
    """Depth of a floor through the contact point with a wall behind it."""
    slope = (up[0] * x)[None] + (up[1] * y)[:, None] + up[2]
    level = np.float32(contact @ up)
    far = np.float32(contact[2] * wall)
    floor = level / np.where(slope < -1e-4, slope, np.float32(-1e-4)) if level < 0 else np.full(slope.shape, far)
    return np.clip(floor, np.float32(0.01), far).astype(np.float32)


def space_of(x: np.ndarray, y: np.ndarray, z: Map, contact: np.ndarray, up: np.ndarray) -> Space:
    """Coordinates of every background point relative to the contact point, along the floor's own axes."""
    toward = np.array([0, 0, -1], np.float32)
    toward = toward - up * (toward @ up)
    toward /= np.linalg.norm(toward)
    # up x toward, written out: numpy's cross takes 40 us
    right = up[[1, 2, 0]] * toward[[2, 0, 1]] - up[[2, 0, 1]] * toward[[1, 2, 0]]
    right = right if right[0] >= 0 else -right

    def along(axis: np.ndarray) -> Map:
        return z * ((axis[0] * x)[None] + (axis[1] * y)[:, None] + axis[2]) - np.float32(axis @ contact)

    return Space(along(right), along(toward), along(up))


def _cast(light: Light, space: Space, alpha: AlphaPixels, spot: _Spot) -> Map:
    """0..1: how much of this light the billboard takes away."""
    width, height = spot.size
    sine, cosine = np.float32(np.sin(light.azimuth)), np.float32(np.cos(light.azimuth))
    reach = light.distance * height
    away = np.float32(reach * np.cos(light.elevation))
    above = np.float32(reach * np.sin(light.elevation))
    # on the billboard's far side `behind` is positive; half of the thing's depth lies before its own plane
    behind = -(sine * space.right + cosine * space.toward) + np.float32(0.12 * width)
    k = behind / (away + np.maximum(behind, 0) + np.float32(1e-6))
    side = (cosine * space.right - sine * space.toward) * (1 if cosine >= 0 else -1)
    u = side * (1 - k) / np.float32(width)
    v = (space.up + k * (above - space.up)) / np.float32(height)
    rows, columns = alpha.shape
    placed, view = spot.placed, spot.view
    across, down = columns / view.width, rows / view.height
    i = (np.float32(placed.x - view.x) + u * np.float32(placed.width)) * np.float32(across) - 0.5
    j = (np.float32(placed.y - view.y) - v * np.float32(placed.height)) * np.float32(down) - 0.5
    i[behind <= 0] = -10
    hit = cv2.remap(alpha, i, j, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return _softened(hit.astype(np.float32) * np.float32(1 / 255), k, light.softness * min(rows, columns) / 128)


def _softened(hit: Map, k: Map, sigma: float) -> Map:
    """Sharp where it touches the thing, soft where the thing is far from what it shades."""
    sharp = cv2.GaussianBlur(hit, (3, 3), 0.6)
    soft = cv2.GaussianBlur(hit, (0, 0), max(sigma, 0.3))
    return sharp + np.clip(k * 3, 0, 1) * (soft - sharp)


def _blob(space: Space, size: tuple[float, float], spread: float) -> Map:
    """0..1: darkest at the contact point, falling off over the floor and with height above it."""
    radius = max(spread * size[0], 0.05 * size[1])
    across = (space.right**2 + space.toward**2) * np.float32(-0.5 / radius**2)
    return np.exp(across - np.maximum(space.up, 0) * np.float32(1 / (0.15 * size[1] + 0.3 * radius)))
