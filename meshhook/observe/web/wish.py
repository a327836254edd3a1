"""What a client of the stream asks for."""

from __future__ import annotations

from typing import NamedTuple


class Wish(NamedTuple):
    """Which kinds of events a client is told (None: all), and whether statistics."""

    kinds: tuple[str, ...] | None = None
    stats: bool = False
