"""Line charts as SVG, written by hand: no library, and the same text for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

COLOURS = {
    "blue": "#2563eb",
    "red": "#dc2626",
    "green": "#15803d",
    "orange": "#d97706",
    "grey": "#6b7280",
}
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 72, 52
TICKS = 6


class Line(NamedTuple):
    """One line of a chart: points in order of x."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


class Band(NamedTuple):
    """A stretch of x with a shade and a name."""

    name: str
    begin: float
    end: float


def chart(
    title: str, x_label: str, y_label: str, lines: Sequence[Line], bands: Sequence[Band] = ()
) -> str:
    """Draw lines over common axes; y begins at 0."""
    x_most = max(x for line in lines for x, _ in line.points)
    y_most = max(y for line in lines for _, y in line.points)
    x_step, y_step = _step(x_most), _step(y_most)
    y_top = math.ceil(y_most / y_step) * y_step

    def across(x: float) -> float:
        return LEFT + x / x_most * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - y / y_top * (HEIGHT - TOP - BOTTOM)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="system-ui, sans-serif" font-size="13" fill="#111827">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, title, 'font-size="16" font-weight="600"'),
    ]
    for band in bands:
        begin, end = across(band.begin), across(band.end)
        parts += [
            (
                f'<rect x="{begin:.1f}" y="{TOP}" width="{end - begin:.1f}" '
                f'height="{HEIGHT - TOP - BOTTOM}" fill="#f3f4f6"/>'
            ),
            _text((begin + end) / 2, TOP + 16, band.name, 'text-anchor="middle" fill="#6b7280"'),
        ]
    for y in _ticks(y_top, y_step):
        parts += [
            f'<path d="M{LEFT} {up(y):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>',
            _text(LEFT - 8, up(y) + 4, f"{y:g}", 'text-anchor="end"'),
        ]
    parts += [
        _text(across(x), HEIGHT - BOTTOM + 18, f"{x:g}", 'text-anchor="middle"')
        for x in _ticks(x_most, x_step)
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts += [
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, 'text-anchor="middle"'),
        _text(18, middle, y_label, f'text-anchor="middle" transform="rotate(-90 18 {middle:g})"'),
    ]
    for line in lines:
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line.points)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{COLOURS[line.colour]}" stroke-width="2" '
            f'stroke-linejoin="round"{_dashes(line)}/>'
        )
    return "\n".join([*parts, *_legend(lines), "</svg>", ""])


def _legend(lines: Sequence[Line]) -> list[str]:
    parts = []
    left = float(LEFT)
    for line in lines:
        parts += [
            (
                f'<path d="M{left:.0f} 48h22" stroke="{COLOURS[line.colour]}" stroke-width="3"'
                f"{_dashes(line)}/>"
            ),
            _text(left + 28, 52, line.name),
        ]
        left += 28 + 7.2 * len(line.name) + 24
    return parts


def _dashes(line: Line) -> str:
    return ' stroke-dasharray="6 4"' if line.dashed else ""


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'.replace(" >", ">")


def _step(most: float) -> float:
    """Return a round distance between ticks: 1, 2 or 5 times a power of ten."""
    rough = most / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in (1.0, 2.0, 5.0, 10.0) if each * power >= rough)


def _ticks(most: float, step: float) -> list[float]:
    return [number * step for number in range(math.floor(most / step + 1e-9) + 1)]
