"""Numbers in messages."""

from __future__ import annotations

import math

import pytest

import meshhook as mh
from meshhook.wording import short


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (2, "2"),
        (1.25, "1.25"),
        (0.1234, "0.123"),
        (0.00005, "0.00005"),
        (0.0000001, "0"),
        (999.4, "999"),
        (999.6, "1000"),
        (3600.0, "3600"),
        (8.64e13, "86400000000000"),
        (math.inf, "inf"),
    ],
)
def test_a_number_is_short_and_without_powers_of_ten(number: float, text: str) -> None:
    """Three digits, or all before the point."""
    assert short(number) == text


def test_an_hour_is_said_in_digits() -> None:
    """As it is read in a log at night."""
    registry = mh.Registry()
    limit = mh.rate_limit("1/h", name="api", registry=registry)
    limit.call(len, "")
    with pytest.raises(mh.RateLimitedError, match=r"retry in 3\d{3} s"):
        limit.call(len, "")
    assert "3600 s" in repr(mh.timeout("1h", name="slow", registry=registry))
    assert "at most 3600 s" in str(mh.explain(mh.timeout("1h", name="slow", registry=registry)))
