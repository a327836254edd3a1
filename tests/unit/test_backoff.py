"""Delays before retries: how they grow, how they are spread, and that the limit is a limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshhook.rules.backoff import Backoff, Curve, Jitter

CHANCES = st.floats(0.0, 1.0, exclude_max=True)


def backoff(
    curve: Curve = Curve.EXPONENTIAL,
    jitter: Jitter | float | None = None,
    *,
    base_delay: float = 1.0,
    max_delay: float = 100.0,
    factor: float = 2.0,
) -> Backoff:
    return Backoff(curve, base_delay, max_delay, factor, jitter)


@pytest.mark.parametrize(
    ("curve", "delays"),
    [
        (Curve.CONSTANT, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (Curve.LINEAR, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        (Curve.EXPONENTIAL, [1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100, 100, 100]),
        (Curve.FIBONACCI, [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 100, 100]),
    ],
)
def test_each_curve_grows_as_its_name_says(curve: Curve, delays: list[float]) -> None:
    """Up to the limit, and from the first retry on."""
    rule = backoff(curve)
    assert [rule.delay(retry, 0.0, 0.5) for retry in range(1, 14)] == delays


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("jitter", [None, 0.3, *Jitter])
@pytest.mark.parametrize("base_delay", [0.0, 1e-9, 0.1, 7.0])
@pytest.mark.parametrize("factor", [1.0, 2.0, 1e300])
@pytest.mark.parametrize("max_delay", [7.0, 1e308])
def test_no_retry_is_too_late_to_have_a_delay(
    curve: Curve, jitter: Jitter | float | None, base_delay: float, factor: float, max_delay: float
) -> None:
    """Nothing overflows at the ten-thousandth attempt, and the limit holds."""
    rule = backoff(curve, jitter, base_delay=base_delay, max_delay=max_delay, factor=factor)
    before = 0.0
    for retry in (1, 2, 3, 100, 1_024, 1_025, 9_999, 10_000, 10**9):
        before = rule.delay(retry, before, 0.999)
        assert 0.0 <= before <= max_delay
        assert math.isfinite(before)


def test_no_delay_stays_none() -> None:
    """Without a base delay every retry is at once, however late it comes."""
    for curve in Curve:
        for jitter in (None, 0.5, *Jitter):
            rule = backoff(curve, jitter, base_delay=0.0)
            assert [rule.delay(retry, 0.0, 0.9) for retry in (1, 2, 10_000)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("jitter", "least", "most"),
    [(None, 8.0, 8.0), (Jitter.FULL, 0.0, 8.0), (Jitter.EQUAL, 4.0, 8.0), (0.25, 6.0, 10.0)],
)
def test_jitter_spreads_between_its_bounds(
    jitter: Jitter | float | None, least: float, most: float
) -> None:
    """The middle chance gives the middle."""
    rule = backoff(jitter=jitter)
    assert rule.delay(4, 0.0, 0.0) == least
    assert rule.delay(4, 0.0, 0.5) == (least + most) / 2
    assert rule.delay(4, 0.0, 1.0) == most


def test_decorrelated_jitter_grows_from_the_delay_before() -> None:
    """From the base to three times the last delay, whatever the curve."""
    for curve in Curve:
        rule = backoff(curve, Jitter.DECORRELATED)
        assert rule.delay(1, 0.0, 0.9) == 1.0
        assert rule.delay(2, 1.0, 0.5) == 2.0
        assert rule.delay(9, 20.0, 0.0) == 1.0
        assert rule.delay(9, 20.0, 1.0) == 60.0
        assert rule.delay(9, 80.0, 1.0) == 100.0


def test_a_delay_that_has_reached_the_limit_is_still_spread() -> None:
    """Callers who have failed for long do not all wait for exactly the limit."""
    rule = backoff(jitter=Jitter.FULL)
    assert [rule.delay(500, 0.0, chance / 4) for chance in range(4)] == [0.0, 25.0, 50.0, 75.0]
    assert rule.spread(math.inf, 0.5) == 50.0


@given(
    curve=st.sampled_from(Curve),
    jitter=st.none() | st.floats(0.0, 1.0) | st.sampled_from(Jitter),
    base_delay=st.floats(0.0, 1e3),
    extra=st.floats(0.0, 1e6),
    factor=st.floats(1.0, 10.0),
    retry=st.integers(1, 20_000),
    before=st.floats(0.0, 1e6),
    chance=CHANCES,
)
@example(Curve.FIBONACCI, None, 5e-324, 1e6, 1.0, 20_000, 0.0, 0.0)
def test_a_delay_is_never_negative_nor_above_its_limit(
    curve: Curve,
    jitter: Jitter | float | None,
    base_delay: float,
    extra: float,
    factor: float,
    retry: int,
    before: float,
    chance: float,
) -> None:
    """Whatever the settings, the retry and the chance."""
    most = base_delay + extra
    rule = Backoff(curve, base_delay, most, factor, jitter)
    assert 0.0 <= rule.delay(retry, before, chance) <= most


@given(
    curve=st.sampled_from(Curve),
    base_delay=st.floats(1e-3, 10.0),
    factor=st.floats(1.0, 5.0),
    retry=st.integers(1, 300),
)
def test_without_jitter_no_delay_is_shorter_than_the_one_before(
    curve: Curve, base_delay: float, factor: float, retry: int
) -> None:
    """Curves rise, or stay."""
    rule = Backoff(curve, base_delay, 1e4, factor, None)
    assert rule.delay(retry, 0.0, 0.5) <= rule.delay(retry + 1, 0.0, 0.5)
