"""Upsampling: alpha and smooth maps from the network's working size to the size of the frame.

Contract: `enlarge_alpha` is bilinear wherever alpha is flat, so that solid insides stay 1, empty background stays 0 and
a constant stays what it is. In the band where alpha changes from one cell (a pixel of the working size) to the next, it
follows the colours of the frame. Always 0..1, no tiles, and equal sizes are left alone. Only the band is worked on at
full size, so the cost follows the length of the outline.

Maths. The band's alpha is linear in the colour I, with coefficients of each window found at the working size and
interpolated (fast guided filter: He and Sun 2015, after He, Sun and Tang, Guided Image Filtering, 2013):

    alpha = a . I + b,    a = (cov(I, I) + RIDGE)^-1 cov(I, alpha),    b = mean(alpha) - a . mean(I)

Texture would leak into flat alpha: hence the band, whose weight fades to 0 at its rims, where a = 0 and b = alpha.

With a plate P, the answer is first set right at the working size. Over each window F is the mean of what stands in
front, (I - (1 - alpha) B) / alpha, and B the plate times a gain (shadows, lamps). Where the pixel lies on the line from
B to F (known-background matting: Smith and Blinn, Blue Screen Matting, 1996, with F local) is a second opinion,

    t = ((I - B) . (F - B) + NOISE^2 alpha) / (|F - B|^2 + NOISE^2),

which falls back to alpha where F and B look alike. It counts SHARE, within the band. The plate is not looked at in full
size: there it would have to lie on the frame to a pixel.
`benchmarks/highres.py` measures all this against bilinear, and docs/highres.md tells what else was tried.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from cleanplate.types import Alpha

RADIUS = 2
"""Half a window of the guided filter, in cells."""
RIDGE = 1e-4
"""What the variance of colours (of values 0..1) must exceed before alpha follows it."""
NOISE = 0.03
"""Differences between plate and frame, 0..1, that say nothing."""
SHARE = 0.5
"""How much the projection counts beside the network's answer."""
STEEP, FLAT = 8.0, 0.04
"""The band's weight is STEEP times the range of alpha over 3x3 cells beyond FLAT, at most 1."""
CHUNK = 1 << 17
"""Pixels of the band that are worked on at once, so that memory does not follow the outline."""

Map = Float32[np.ndarray, "h w"]
Planes = tuple[Map, Map, Map]
"""Red, green and blue, each by itself: the box filter has fast paths for one channel only."""


def enlarge_alpha(
    alpha: Alpha,
    frame: UInt8[np.ndarray, "frame_h frame_w 3"],
    plate: UInt8[np.ndarray, "plate_h plate_w 3"] | None = None,
) -> Float32[np.ndarray, "frame_h frame_w"]:
    """Alpha 0..1 [h, w] at the size of the frame.

    frame, plate: uint8 RGB, the frame as plate care leaves it to fit the plate. A plate of another size is stretched;
    one that is already of alpha's size saves averaging it for every frame of a clip.
    """
    size = frame.shape[0], frame.shape[1]
    alpha = np.clip(alpha, 0, 1)
    if alpha.shape == size:
        return alpha
    found = enlarge_smooth(alpha, size)
    # The weights of the interpolation may add up to a hair more than 1.
    np.minimum(found, 1, out=found)
    weight = _band(alpha)
    spot = _bounds(weight)
    if spot is None:
        return found
    colours, inside, near = _shrunk(frame, alpha.shape, spot), alpha[spot], weight[spot]
    if plate is not None:
        second = _projected(inside, colours, _shrunk(plate, alpha.shape, spot))
        inside = inside + np.float32(SHARE) * near * (second - inside)
    maps = np.zeros((*alpha.shape, 4), np.float32)
    maps[..., 3] = alpha
    slopes, level = _coefficients(inside, colours)
    maps[spot] = cv2.merge([*(near * slope for slope in slopes), alpha[spot] + near * (level - alpha[spot])])
    _apply(found, maps, weight > 0, frame)
    return found


def enlarge_smooth(values: Map, size: tuple[int, int]) -> Float32[np.ndarray, "frame_h frame_w"]:
    """A map at (height, width), bilinear: for what has no edges of its own, as each layer's ln depth."""
    if values.shape == size:
        return values
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)


def _band(alpha: Alpha) -> Map:
    """How much the colours decide, 0..1: 0 where alpha is flat over 3x3 cells."""
    window = np.ones((3, 3), np.uint8)
    extent = cv2.dilate(alpha, window) - cv2.erode(alpha, window)
    return np.clip((extent - np.float32(FLAT)) * np.float32(STEEP), 0, 1)


def _bounds(weight: Map) -> tuple[slice, slice] | None:
    """Rows and columns of what is not 0, with the windows, and the windows of windows, that it takes part in."""
    left, top, width, height = cv2.boundingRect((weight > 0).astype(np.uint8))
    if not width:
        return None
    rim = 4 * RADIUS
    return slice(max(0, top - rim), top + height + rim), slice(max(0, left - rim), left + width + rim)


def _shrunk(picture: np.ndarray, size: tuple[int, ...], spot: tuple[slice, slice]) -> Planes:
    """A picture box-averaged to (height, width), 0..1, and of that a part."""
    small = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)[spot]
    red, green, blue = cv2.split(small.astype(np.float32) * np.float32(1 / 255))
    return red, green, blue


def _window(plane: Map, radius: int) -> Map:
    """The mean over each window."""
    return cv2.blur(plane, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REPLICATE)


def _dot(first: Planes, second: Planes) -> Map:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _projected(alpha: Map, frame: Planes, plate: Planes) -> Map:
    """The second opinion on alpha at the working size: where the frame lies between what is behind and in front."""
    clear, solid = np.square(np.square(np.square(1 - alpha))), np.square(np.square(alpha))
    lit, dark = _spread(_dot(frame, plate) * clear, RADIUS), _spread(_dot(plate, plate) * clear, RADIUS)
    gain = np.clip((lit + np.float32(1e-6)) / (dark + np.float32(1e-6)), 0.3, 1.6)
    covered = _spread(alpha * solid, 1) + np.float32(1e-6)
    line, seen = [], []
    for colour, behind in zip(frame, (plane * gain for plane in plate), strict=True):
        front = _spread((colour - (1 - alpha) * behind) * solid, 1) / covered
        line.append(np.clip(front, 0, 1) - behind)
        seen.append(colour - behind)
    noise = np.float32(NOISE**2)
    along = _dot((line[0], line[1], line[2]), (seen[0], seen[1], seen[2])) + noise * alpha
    return np.clip(along / (_dot((line[0], line[1], line[2]), (line[0], line[1], line[2])) + noise), 0, 1)


def _spread(weighted: Map, radius: int) -> Map:
    """Window means of weighted values; where a window holds next to nothing, of larger windows, then of everything."""
    near = _window(weighted, radius)
    far = _window(near, 3 * radius)
    return near + np.float32(0.02) * far + np.float32(1e-4 * cv2.mean(far)[0])


def _coefficients(alpha: Map, colours: Planes) -> tuple[Planes, Map]:
    """Window by window, a and b of alpha = a . colours + b, averaged over the windows that a cell is in."""
    x, y, z = (_window(plane, RADIUS) for plane in colours)
    mean = _window(alpha, RADIUS)
    (red, green, blue), ridge = colours, np.float32(RIDGE)
    xx, yy = _window(red * red, RADIUS) - x * x + ridge, _window(green * green, RADIUS) - y * y + ridge
    zz, xy = _window(blue * blue, RADIUS) - z * z + ridge, _window(red * green, RADIUS) - x * y
    xz, yz = _window(red * blue, RADIUS) - x * z, _window(green * blue, RADIUS) - y * z
    p, q, r = (_window(plane * alpha, RADIUS) - m * mean for plane, m in zip(colours, (x, y, z), strict=True))
    # The inverse of a symmetric 3x3 matrix, by its cofactors.
    c0, c1, c2 = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d1, d2, e2 = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    over = 1 / np.maximum(xx * c0 + xy * c1 + xz * c2, ridge**3)
    i, j, k = (c0 * p + c1 * q + c2 * r) * over, (c1 * p + d1 * q + d2 * r) * over, (c2 * p + d2 * q + e2 * r) * over
    level = mean - i * x - j * y - k * z
    return (_window(i, RADIUS), _window(j, RADIUS), _window(k, RADIUS)), _window(level, RADIUS)


def _apply(found: np.ndarray, maps: Float32[np.ndarray, "h w 4"], band: np.ndarray, frame: np.ndarray) -> None:
    """Put a . I + b into `found`, in place, wherever a cell of the band has a say."""
    height, width = found.shape
    cells = cv2.dilate(band.astype(np.uint8), np.ones((3, 3), np.uint8))
    touched = np.flatnonzero(cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST).view(bool))
    flat, colours = found.reshape(-1), np.ascontiguousarray(frame).reshape(-1)
    for start in range(0, len(touched), CHUNK):
        at = touched[start : start + CHUNK]
        rows, columns = np.divmod(at.astype(np.int32), np.int32(width))
        linear = _sampled(maps, _cell(columns, maps.shape[1] / width), _cell(rows, maps.shape[0] / height))
        values = linear[:, 3].copy()
        for channel in range(3):
            values += linear[:, channel] * (colours.take(3 * at + channel) * np.float32(1 / 255))
        flat[at] = np.clip(values, 0, 1, out=values)


def _cell(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Where pixels lie among the cells, centres being whole numbers."""
    return pixels.astype(np.float32) * np.float32(scale) + np.float32(scale / 2 - 0.5)


def _sampled(maps: np.ndarray, across: np.ndarray, down: np.ndarray) -> Float32[np.ndarray, "n 4"]:
    """The maps at these places, bilinear."""
    # OpenCV takes no list longer than 32767, but any picture: 1024 columns, the rest of the last row thrown away.
    rows = -(-len(across) // 1024)
    places = np.zeros((2, rows * 1024), np.float32)
    places[0, : len(across)], places[1, : len(across)] = across, down
    x, y = places.reshape(2, rows, 1024)
    found = cv2.remap(maps, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 4)[: len(across)]
