"""Numbers, moments and tables as people read them in a terminal."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Sequence

from meshhook.observe.remote.untrusted import Happening
from meshhook.wording import short

NOTHING = "-"
_MILLISECOND = 1e-3
_BROAD = ("W", "F")


def seconds(value: float | None) -> str:
    """Write a duration: 250 us, 12 ms, 1.5 s."""
    if value is None:
        return NOTHING
    if value >= 1 or value <= 0:
        return f"{short(value)} s"
    if value >= _MILLISECOND:
        return f"{short(value * 1e3)} ms"
    return f"{short(value * 1e6)} us"


def percent(share: float | None) -> str:
    """Write a share: 0 %, 0.4 %, 37 %."""
    if share is None:
        return NOTHING
    value = share * 100
    return f"{value:.1f} %" if 0 < value < 1 else f"{value:.0f} %"


def count(number: float | None) -> str:
    """Write a number in few characters: 7, 1,234, 1.2M."""
    if number is None:
        return NOTHING
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:,.0f}"


def rate(value: float | None) -> str:
    """Write how often something happens in a second."""
    if value is None:
        return NOTHING
    return f"{value:.1f}" if 0 < value < 10 else count(value)  # noqa: PLR2004 - one digit more


def clock(moment: float, *, date: bool = False) -> str:
    """Write a moment in the time of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S", time.localtime(moment))


def spaced(name: str) -> str:
    """Write a name of ours in words: ``half_open`` is half open."""
    return name.replace("_", " ")


def told(happening: Happening) -> str:
    """Say what happened, in a few words."""
    fields = dict(happening.fields)
    if happening.event == "operator_acted":
        lasting = fields.get("seconds")
        span = f" for {seconds(lasting)}" if isinstance(lasting, float) else ""
        return f"{spaced(str(fields.get('action')))} by {fields.get('author')}{span}"
    old, new = fields.pop("old", None), fields.pop("new", None)
    parts = [f"{spaced(str(old))} -> {spaced(str(new))}"] if old is not None else []
    parts += [_field(name, value) for name, value in fields.items() if value not in (None, False)]
    if happening.event == "configuration_rejected":
        parts.append("told in the log meshhook.configuration, or by reload()")
    said = ", ".join(part for part in parts if part)
    return f"{spaced(happening.event)}: {said}" if said else spaced(happening.event)


def _field(name: str, value: object) -> str:
    if value is True:
        return spaced(name)
    if name == "reason":
        return spaced(str(value))
    if isinstance(value, float):
        value = f"{value:.0f}" if value == int(value) else short(value)
    return f"{spaced(name)} {value}"


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0
        if unicodedata.combining(each)
        else 2
        if unicodedata.east_asian_width(each) in _BROAD
        else 1
        for each in text
    )


def columns(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Lay out rows as lines, in columns that fit; those in ``right`` are flush on the right."""
    rows = [list(row) for row in rows]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            " " * (size - width(cell)) + cell if at in right else cell + " " * (size - width(cell))
            for at, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
