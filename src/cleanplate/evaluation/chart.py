"""A line chart as an SVG that takes its colours from the page, so that it is readable on light and on dark.

Contract: series of points in, one `<svg>` element out, without scripts, fonts or anything outside it. The classes
`s0`, `s1`, ... (lines), `grid` and `tick` are coloured by the page. Points that are not finite are left out, and on a
logarithmic axis those not above 0. Long series are thinned to the mean of equal groups: a curve has as many points as
can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 34
MOST_POINTS = 240


@dataclass(frozen=True)
class _Axes:
    """Where points stand in the picture.

    ticks: of the vertical axis, its ends included. right: end of the other. labels: what stands at its 0, 1, 2, ...
    """

    ticks: list[float]
    right: float
    log: bool
    labels: Sequence[str] | None = None

    def place(self, x: float, y: float) -> tuple[float, float]:
        low, high, value = (math.log(v) if self.log else v for v in (self.ticks[0], self.ticks[-1], y))
        share = (value - low) / (high - low)
        across = LEFT + x / self.right * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def draw(self, across: str) -> Iterator[str]:
        for tick in self.ticks:
            _, y = self.place(0.0, tick)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        below = [(tick, short(tick)) for tick in _ticks(0.0, self.right) if tick <= self.right]
        for tick, label in below if self.labels is None else enumerate(self.labels):
            x, _ = self.place(float(tick), self.ticks[0])
            # The last label of many would stick out.
            anchor = "end" if self.labels is not None and tick == self.right else "middle"
            yield f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 16}" text-anchor="{anchor}">{escape(label)}</text>'
        yield f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(across)}</text>'


def line_chart(
    series: Mapping[str, Points],
    across: str,
    log: bool = False,
    labels: Sequence[str] | None = None,
    heights: tuple[float, float] | None = None,
) -> str:
    """One chart of named series of (x, y), with its legend; "" when no point is left to draw.

    across: what the horizontal axis counts, from 0. log: logarithmic vertical axis. labels: what stands at x = 0, 1,
    2, ... in place of numbers. heights: ends of the vertical axis, by default those of the points.
    """
    kept = {name: _thin(_usable(points, log)) for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    everything = [point for points in kept.values() for point in points]
    low, high = heights or (min(y for _, y in everything), max(y for _, y in everything))
    ticks = _log_ticks((low, high)) if log else _ticks(low, high)
    right = max(x for x, _ in everything) if labels is None else len(labels) - 1.0
    axes = _Axes(ticks, max(1e-9, right), log, labels)
    label = escape(f"{', '.join(kept)} by {across}")
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">', *axes.draw(across)]
    for i, points in reversed(list(enumerate(kept.values()))):  # the first series lies on top
        line = " ".join("{:.1f},{:.1f}".format(*axes.place(x, y)) for x, y in points)
        parts.append(f'<polyline class="s{i}" points="{line}"/>')
        if len(points) == 1:
            x, y = axes.place(*points[0])
            parts.append(f'<circle class="s{i}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    legend = "".join(f'<span class="s{i}">{escape(name)}</span>' for i, name in enumerate(kept))
    return "".join(parts) + f'</svg><p class="legend">{legend}</p>'


def short(number: float) -> str:
    """12000 -> 12k: a count in a few characters."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _usable(points: Points, log: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of equal groups of neighbours, at most MOST_POINTS of them."""
    group = -(-len(points) // MOST_POINTS)
    if group <= 1:
        return points
    chunks = [points[i : i + group] for i in range(0, len(points), group)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, 2 to 7 of them, from at or below `low` to at or above `high`."""
    # A span too small for its numbers to be told apart in print is widened.
    span = max(high - low, 1e-3 * max(abs(low), abs(high))) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]


def _log_ticks(heights: Sequence[float]) -> list[float]:
    """1, 2, 5 times powers of ten around the heights; powers of ten alone where the range is wide."""
    low, high = min(heights), max(heights)
    factors = (1, 2, 5) if high / low < 100 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max(i for i, tick in enumerate(ticks) if tick <= low)
    last = min(i for i, tick in enumerate(ticks) if tick >= high)
    return ticks[first : max(last, first + 1) + 1]
