"""A latency sketch: quantiles of durations within 10 %, in a few hundred bytes.

Durations fall into slices that grow by a fifth each; a quantile is the middle of its slice.
"""

from __future__ import annotations

import math

_GROWTH = math.log(1.2)
_SMALLEST = 1e-6


class Sketch:
    """Counts of durations by size. The owner locks what it adds; reading needs no lock."""

    __slots__ = ("_slices", "count")

    def __init__(self) -> None:
        self.count = 0
        self._slices: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one duration."""
        at = math.floor(math.log(max(seconds, _SMALLEST)) / _GROWTH)
        self._slices[at] = self._slices.get(at, 0) + 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """Return the duration that ``share`` of all stayed under, in seconds; None if empty."""
        at = self._slice_of(share)
        return None if at is None else math.exp((at + 0.5) * _GROWTH)

    def ceiling(self, share: float) -> float | None:
        """Return a duration that at least ``share`` of all stayed under: the end of the slice."""
        at = self._slice_of(share)
        return None if at is None else math.exp((at + 1) * _GROWTH)

    def _slice_of(self, share: float) -> int | None:
        wanted, seen = share * self.count, 0
        for at, number in sorted(self._slices.copy().items()):
            seen += number
            if seen >= wanted:
                return at
        return None

    def slices(self) -> list[tuple[float, int]]:
        """Return the middle of each slice in seconds, and how many fell into it; ascending.

        The numbers never shrink, and each is of this moment.
        """
        return [
            (math.exp((at + 0.5) * _GROWTH), number)
            for at, number in sorted(self._slices.copy().items())
        ]

    def with_those_of(self, other: Sketch) -> Sketch:
        """Return a new sketch with the durations of both."""
        both = Sketch()
        both.count = self.count + other.count
        both._slices = self._slices.copy()
        for at, number in other._slices.copy().items():
            both._slices[at] = both._slices.get(at, 0) + number
        return both
