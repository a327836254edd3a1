"""How numbers are written in messages for people."""

from __future__ import annotations

_SMALL, _LARGE = 1e-4, 999.5
"""Beyond these, three digits would be written with a power of ten."""


def short(number: float) -> str:
    """Return ``number`` with about three digits: 0.25, 12.5, 3600."""
    if abs(number) < _SMALL:
        return f"{number:.6f}".rstrip("0").rstrip(".")
    return f"{number:.3g}" if abs(number) < _LARGE else f"{number:.0f}"
