"""The latency sketch: quantiles as good as promised, in little memory."""

from __future__ import annotations

import gc
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook.rules.sketch import Sketch

PROMISED = 0.1
SMALLEST = 1e-6


def sketch_of(*durations: float) -> Sketch:
    sketch = Sketch()
    for each in durations:
        sketch.add(each)
    return sketch


@given(
    durations=st.lists(st.floats(SMALLEST, 1e7), min_size=1, max_size=200),
    share=st.floats(0, 1) | st.sampled_from([0.5, 0.95, 0.99]),
)
def test_quantiles_are_within_what_is_promised(durations: list[float], share: float) -> None:
    """Of the duration that stands at that place when all of them are put in order."""
    at = max(math.ceil(share * len(durations)) - 1, 0)
    told = sketch_of(*durations).quantile(share)
    assert told == pytest.approx(sorted(durations)[at], rel=PROMISED)


def test_an_empty_sketch_knows_nothing() -> None:
    """It does not say zero."""
    sketch = Sketch()
    assert [sketch.quantile(share) for share in (0.0, 0.5, 1.0)] == [None, None, None]
    assert sketch.count == 0


@pytest.mark.parametrize("duration", [0.0, -0.0, -1e-9, -5.0, -1e9, 5e-324, 1e-7])
def test_what_no_clock_can_measure_counts_as_the_smallest(duration: float) -> None:
    """Zero, and less than zero where a clock has gone back."""
    assert sketch_of(duration).quantile(0.5) == pytest.approx(SMALLEST, rel=PROMISED)


def test_the_smallest_and_the_largest_are_its_ends() -> None:
    """A share of nothing is the shortest duration, that of all the longest one."""
    sketch = sketch_of(0.001, 0.5, 20.0, 20.0)
    assert sketch.quantile(0.0) == pytest.approx(0.001, rel=PROMISED)
    assert sketch.quantile(0.25) == pytest.approx(0.001, rel=PROMISED)
    assert sketch.quantile(0.26) == pytest.approx(0.5, rel=PROMISED)
    assert sketch.quantile(1.0) == pytest.approx(20.0, rel=PROMISED)
    assert sketch.count == 4


def test_the_order_in_which_durations_come_does_not_matter() -> None:
    """A sketch is a count by size."""
    up, down = sketch_of(*range(1, 50)), sketch_of(*range(49, 0, -1))
    shares = [number / 20 for number in range(21)]
    assert [up.quantile(share) for share in shares] == [down.quantile(share) for share in shares]


def test_quantiles_rise_with_the_share() -> None:
    """p99 is never below p95."""
    sketch = sketch_of(*[1.1**number for number in range(100)])
    told: list[Any] = [sketch.quantile(number / 100) for number in range(101)]
    assert told == sorted(told)


def test_memory_depends_on_the_span_and_not_on_the_number() -> None:
    """From a microsecond to a day there are 140 sizes, however many calls were made."""
    sketch = sketch_of(*[SMALLEST * 1.001**number for number in range(25_200)])
    assert sketch.count == 25_200
    assert len(sketch._slices) <= 140
    assert sys.getsizeof(sketch._slices) < 10_000


def test_reading_bears_what_is_added_meanwhile() -> None:
    """It takes no lock, and the collector may run anything in the midst of it."""
    sketch = sketch_of(*[1.3**number for number in range(40)])
    added = 0

    def add(_phase: str, _info: dict[str, int]) -> None:
        nonlocal added
        added += 1
        sketch.add(SMALLEST * 1.25 ** (added % 500))

    threshold = gc.get_threshold()
    gc.callbacks.append(add)
    gc.set_threshold(1)
    try:
        for _ in range(20):
            assert sketch.quantile(0.5) is not None
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(add)


def test_slices_tell_what_is_in_them() -> None:
    """Ascending, each by its middle, within 10 % of what fell into it."""
    sketch = sketch_of(5.0, 0.2, 0.2, 0.0)
    middles = [middle for middle, _ in sketch.slices()]
    assert [number for _, number in sketch.slices()] == [1, 2, 1]
    assert middles == [pytest.approx(each, rel=0.1) for each in (SMALLEST, 0.2, 5.0)]
    assert sketch_of().slices() == []
