"""Plots as SVG text: dots with whiskers, tables of shares, scatter. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from annotation.agreement.interpret import figure, two
from annotation.agreement.report import Estimate

_ROW = 26


@dataclass(frozen=True)
class Whisker:
    """One line of a dot plot."""

    label: str
    """Text on the left."""
    estimate: Estimate
    """Dot and line."""
    style: str = "main"
    """Class of the dot: main or other."""
    heading: bool = False
    """A line of text only, above its group."""


def dots(
    rows: Sequence[Whisker], *, low: float, high: float, ticks: Sequence[float], marks: Sequence[float] = (), label: str
) -> str:
    """Dots with intervals on a common scale from ``low`` to ``high``; vertical lines at ``marks``."""
    left, width, right = 210, 430, 130
    bottom = len(rows) * _ROW + 8

    def x(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / (high - low)

    parts = [f'<svg viewBox="0 0 {left + width + right} {bottom + 24}" role="img" aria-label="{escape(label)}">']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" y1="4" x2="{x(tick):.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for mark in marks:
        parts.append(f'<line class="mark" x1="{x(mark):.1f}" y1="4" x2="{x(mark):.1f}" y2="{bottom}"/>')
    for number, row in enumerate(rows):
        y = number * _ROW + _ROW / 2 + 4
        if row.heading:
            parts.append(f'<text class="head" x="0" y="{y + 4:.1f}">{escape(row.label)}</text>')
            continue
        parts.append(f'<text x="14" y="{y + 4:.1f}">{escape(row.label)}</text>')
        parts.append(_whisker(row, x, y, left + width + 10))
    parts.append("</svg>")
    return "".join(parts)


def _whisker(row: Whisker, x: Callable[[float], float], y: float, text_at: float) -> str:
    value = row.estimate
    if value.value is None:
        return f'<text class="tick" x="{x(0):.1f}" y="{y + 4:.1f}">{escape(value.reason)}</text>'
    parts = []
    words = figure(value)
    if value.low is not None and value.high is not None:
        parts.append(
            f'<line class="whisker {row.style}" x1="{x(value.low):.1f}" y1="{y:.1f}" x2="{x(value.high):.1f}" '
            f'y2="{y:.1f}"/>'
        )
    parts.append(f'<circle class="dot {row.style}" cx="{x(value.value):.1f}" cy="{y:.1f}" r="4.5"/>')
    parts.append(f'<text class="value" x="{text_at}" y="{y + 4:.1f}">{escape(words)}</text>')
    return "".join(parts)


def cells(
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    notes: Sequence[str] = (),
    side: int = 58,
    left: int = 88,
    percent: bool = True,
) -> str:
    """A table of shares, the darker the larger. Negative values count as 0 for the shade; None is left blank."""
    height, top = 30, 22
    width = left + len(columns) * side + (54 if notes else 4)
    parts = [f'<svg viewBox="0 0 {width} {top + len(rows) * height + 2}" role="img" aria-label="{escape(label)}"']
    parts.append(f' style="max-width:{width}px">')
    for number, name in enumerate(columns):
        at = left + (number + 0.5) * side
        parts.append(f'<text class="tick" x="{at:.1f}" y="14" text-anchor="middle">{escape(name)}</text>')
    for i, row in enumerate(matrix):
        y = top + i * height
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 19}" text-anchor="end">{escape(rows[i])}</text>')
        for j, value in enumerate(row):
            if value is None:
                continue
            shade = min(max(value, 0.0), 1.0)
            text = f"{value:.0%}" if percent else two(value)
            ink = "inverse" if shade > 0.55 else ""
            at = left + j * side
            parts.append(
                f'<rect class="cell" x="{at}" y="{y}" width="{side - 2}" height="{height - 2}" rx="3" '
                f'fill-opacity="{0.06 + 0.84 * shade:.2f}"/>'
                f'<text class="in {ink}" x="{at + side / 2 - 1:.1f}" y="{y + 18}" text-anchor="middle">{text}</text>'
            )
        if notes:
            parts.append(f'<text class="tick" x="{left + len(row) * side + 4}" y="{y + 19}">{escape(notes[i])}</text>')
    parts.append("</svg>")
    return "".join(parts)


@dataclass(frozen=True)
class Point:
    """One annotator in the scatter."""

    x: float
    y: Estimate
    label: str
    suspect: bool


def scatter(points: Sequence[Point], *, x_label: str, y_label: str, label: str) -> str:
    """Points with vertical intervals; x from 0, y from the lowest interval (0 at most) to 1."""
    left, top, width, height = 52, 12, 560, 260
    most = max((point.x for point in points), default=1.0) * 1.08 or 1.0
    ends = [point.y.low if point.y.low is not None else point.y.value or 0.0 for point in points]
    least = min([0.0, *ends])

    def x(value: float) -> float:
        return left + width * value / most

    def y(value: float) -> float:
        return top + height * (1 - (value - least) / (1 - least))

    parts = [f'<svg viewBox="0 0 {left + width + 90} {top + height + 44}" role="img" aria-label="{escape(label)}">']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{left}" y1="{y(tick):.1f}" x2="{left + width}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    step = _step(most)
    for number in range(int(most / step) + 1):
        at = x(number * step)
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{top + height + 16}" text-anchor="middle">{number * step:g}</text>'
        )
    middle = left + width / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{top + height + 36}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="tick" transform="translate(12 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda one: (not one.suspect, one.label)):
        if point.y.value is None:
            continue
        at, up = x(point.x), y(point.y.value)
        style = "other" if point.suspect else "main"
        if point.y.low is not None and point.y.high is not None:
            parts.append(
                f'<line class="whisker thin {style}" x1="{at:.1f}" y1="{y(point.y.low):.1f}" x2="{at:.1f}" '
                f'y2="{y(point.y.high):.1f}"/>'
            )
        name = f"<title>{escape(point.label)}</title>"
        parts.append(f'<circle class="dot {style}" cx="{at:.1f}" cy="{up:.1f}" r="5">{name}</circle>')
        # A name only where it has room: those that need a look come first, the others show theirs when pointed at.
        if all(abs(at - one) > 96 or abs(up - other) > 14 for one, other in taken):
            taken.append((at, up))
            parts.append(f'<text class="name" x="{at + 8:.1f}" y="{up + 4:.1f}">{escape(point.label)}</text>')
    parts.append("</svg>")
    return "".join(parts)


def _step(most: float) -> float:
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        if most / step <= 8:
            return float(step)
    return most / 4
