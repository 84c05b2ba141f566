"""Line charts as inline SVG, drawn here so that a page needs no script and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 18, 24
MOST_POINTS = 240
"""Points drawn of a line; of more, the least and the greatest of each stretch are kept."""

COLOURS = 6

Point = tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """``points`` are (step, value) with rising steps; ``dots`` draws each, for few of them."""

    name: str
    points: tuple[Point, ...]
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line at a step, such as the start of a stage."""

    step: int
    name: str


def chart(title: str, lines: Sequence[Line], last_step: int, marks: Sequence[Mark] = ()) -> str:
    """A figure with a caption, axes, lines and, over each point, its value as a tooltip.

    ``last_step`` is the right end of the axis. Empty text when no line has a point.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    drawn = [_thinned(line.points) for line in lines]
    frame = _Frame.around(drawn, last_step)
    body = [
        *frame.grid(),
        *(frame.mark(mark) for mark in marks),
        *(frame.line(i, p, lines[i].dots) for i, p in enumerate(drawn)),
    ]
    body += [t for i, p in enumerate(drawn) for t in frame.tips(i, lines[i].name, p)]
    label = escape("; ".join(_said(line) for line in lines))
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    )
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{_legend(lines)}</figcaption>{svg}</figure>\n"
    )


def number(value: float) -> str:
    """A value in few characters: four digits that count."""
    return f"{value:.4g}"


@dataclass(frozen=True)
class _Frame:
    """The plane of a chart: steps 0 to ``last`` and values ``low`` to ``high``."""

    last: int
    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def around(cls, lines: Sequence[Sequence[Point]], last: int) -> _Frame:
        values = [value for points in lines for _, value in points]
        low, high = min(values), max(values)
        if high - low < 1e-12 * max(abs(high), 1e-300):
            pad = abs(high) * 0.1 or 1.0
            low, high = low - pad, high + pad
        elif 0 <= low < 0.4 * high:
            low = 0.0
        ticks = _nice(low, high, 4)
        return cls(max(last, 1), min(low, ticks[0]), max(high, ticks[-1]), ticks)

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.last

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    def grid(self) -> list[str]:
        found: list[str] = []
        for value in self.ticks:
            y = self.y(value)
            found.append(
                f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
                f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>'
            )
        for step in (t for t in _nice(0, self.last, 4) if 0 <= t <= self.last and t == int(t)):
            anchor = "end" if step > 0.94 * self.last else "middle"
            found.append(
                f'<text x="{self.x(step):.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">{int(step):,}</text>'
            )
        return found

    def mark(self, mark: Mark) -> str:
        x = self.x(mark.step)
        text = escape(mark.name if len(mark.name) <= 14 else mark.name[:13] + "…")
        return (
            f'<path class="mark" d="M{x:.1f} 4V{HEIGHT - BOTTOM}"/>'
            f'<text class="stage" x="{x + 3:.1f}" y="11">{text}</text>'
        )

    def line(self, index: int, points: Sequence[Point], dots: bool) -> str:
        path = "L".join(f"{self.x(s):.1f} {self.y(v):.1f}" for s, v in points)
        colour = index % COLOURS
        found = f'<path class="line c{colour}" d="M{path}"/>'
        if dots or len(points) == 1:
            found += "".join(
                f'<circle class="dot c{colour}" cx="{self.x(s):.1f}" cy="{self.y(v):.1f}" r="2.5"/>'
                for s, v in points
            )
        return found

    def tips(self, index: int, name: str, points: Sequence[Point]) -> list[str]:
        return [
            f'<circle class="tip c{index % COLOURS}" cx="{self.x(s):.1f}" cy="{self.y(v):.1f}" r="5">'
            f"<title>{escape(name)} {number(v)} at step {s:,}</title></circle>"
            for s, v in points
        ]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most ``MOST_POINTS``: of each stretch the least and the greatest, in order, so that no peak is lost."""
    if len(points) <= MOST_POINTS:
        return points
    stretches = MOST_POINTS // 2 - 1
    inner = points[1:-1]
    kept = {points[0], points[-1]}
    for i in range(stretches):
        part = inner[i * len(inner) // stretches : (i + 1) * len(inner) // stretches]
        if part:
            kept |= {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
    return sorted(kept)


def _nice(low: float, high: float, count: int) -> tuple[float, ...]:
    """About ``count`` round numbers that lie from ``low`` to ``high``; at least one."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return tuple(found) or (low,)


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) == 1:
        return f"<span>{number(lines[0].points[-1][1])}</span>"
    items = "".join(
        f'<span><i class="c{i % COLOURS}"></i>{escape(line.name)} {number(line.points[-1][1])}</span>'
        for i, line in enumerate(lines)
    )
    return items


def _said(line: Line) -> str:
    (first, start), (last, end) = line.points[0], line.points[-1]
    return f"{line.name}: {number(start)} at step {first}, {number(end)} at step {last}"
