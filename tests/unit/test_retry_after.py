"""Reading Retry-After: whatever comes along, it is seconds from now or nothing."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshhook import retry_after
from meshhook.retry_after import in_seconds, told

NOTHING = [
    None, True, False, 0, -1, -0.5, math.nan, math.inf, -math.inf, 10**400, "", " ", "soon", "-5",
    "+5", "0", "0.0", "1e3", "inf", "nan", "5 s", "5,5", "0x10", "\u0665", "1_000", "9" * 5_000,
    "Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 2026",
    "x" * 100_000, b"", b"\xff", [], [5], {}, object(), lambda: 5, timedelta(-1), timedelta(0),
]  # fmt: skip


@pytest.mark.parametrize("value", NOTHING, ids=lambda value: repr(value)[:20])
def test_what_says_nothing(value: Any, frozen: Any) -> None:
    """As an attribute and as a header: it is left alone."""
    assert in_seconds(value) is None
    assert told(SimpleNamespace(retry_after=value)) is None
    assert told(SimpleNamespace(headers={"Retry-After": value})) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (0.25, 0.25),
        ("120", 120.0),
        (" 120\r\n", 120.0),
        ("1.5", 1.5),
        (b"30", 30.0),
        (timedelta(minutes=2), 120.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60.0),
        ("Thu Jan  1 00:00:10 2026", 10.0),
        ("Thu, 01 Jan 2026 02:00:30 +0200", 30.0),
    ],
)
def test_what_says_something(value: Any, seconds: float, frozen: Any) -> None:
    """Numbers, durations, the text of a header in each of its forms."""
    assert in_seconds(value) == pytest.approx(seconds)
    assert told(SimpleNamespace(retry_after=value)) == pytest.approx(seconds)
    assert told(SimpleNamespace(headers={"Retry-After": value})) == pytest.approx(seconds)


def test_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever this machine is."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        asked = in_seconds(time.asctime(time.gmtime(time.time() + 100)))
        assert asked is not None
        assert 90 < asked <= 100
    finally:
        monkeypatch.undo()
        time.tzset()


def message() -> Message:
    """Make the headers of ``urllib``."""
    made = Message()
    made["retry-AFTER"] = "7"
    return made


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "7"},
        {"retry-after": "7"},
        {"Date": "x", "RETRY-AFTER": 7},
        {b"retry-after": b"7"},
        message(),
    ],
)
def test_headers_in_any_letters(headers: Any) -> None:
    """Of an error, and of its response."""
    assert told(SimpleNamespace(headers=headers)) == 7.0
    assert told(SimpleNamespace(response=SimpleNamespace(headers=headers))) == 7.0


def test_the_attribute_comes_first_then_the_response() -> None:
    """What the error says itself is nearest; what says nothing is passed over."""
    headers = {"Retry-After": "1"}
    response = SimpleNamespace(headers={"Retry-After": "2"})
    assert told(SimpleNamespace(retry_after=3, response=response, headers=headers)) == 3.0
    assert told(SimpleNamespace(retry_after=None, response=response, headers=headers)) == 2.0
    assert told(SimpleNamespace(response=None, headers=headers)) == 1.0
    assert told(SimpleNamespace(response=SimpleNamespace(headers={}), headers=headers)) == 1.0


def test_a_group_asks_for_the_longest() -> None:
    """Of all its members, at any depth."""
    errors = []
    for seconds in (3, 9, None):
        error = OSError()
        error.retry_after = seconds  # type: ignore[attr-defined]
        errors.append(error)
    assert told(ExceptionGroup("", [errors[0], ExceptionGroup("", errors[1:])])) == 9.0
    assert told(ExceptionGroup("", [errors[2]])) is None


class Broken:
    """Something whose every attribute is an error."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "source",
    [
        Broken(),
        SimpleNamespace(response=Broken()),
        SimpleNamespace(headers=Broken()),
        SimpleNamespace(headers=5),
        SimpleNamespace(headers=[("Retry-After", "7")]),
        None,
        5,
        OSError(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_reading_never_raises(source: Any) -> None:
    """Whatever is behind an attribute."""
    assert told(source) is None


@given(st.text(max_size=80) | st.binary(max_size=80) | st.floats() | st.integers())
def test_it_is_above_zero_and_finite_or_nothing(value: Any) -> None:
    """For any value at all."""
    seconds = in_seconds(value)
    assert seconds is None or 0 < seconds < math.inf
    assert retry_after.told(SimpleNamespace(retry_after=value)) == seconds or isinstance(
        value, (str, bytes)
    )
