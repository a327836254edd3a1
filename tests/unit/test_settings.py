"""Settings: what is accepted, and what the errors say."""

from __future__ import annotations

import asyncio
import decimal
import fractions
import functools
import math
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook.settings import choice, count, duration, exceptions, function, share, wrong


class Shy:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


async def a_coroutine(*_: Any) -> bool:
    return False


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (1, 1.0),
        (0.25, 0.25),
        (timedelta(milliseconds=250), 0.25),
        (timedelta(days=2), 172_800.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("100us", 0.0001),
        ("2m", 120.0),
        ("3h", 10_800.0),
        ("1d", 86_400.0),
        (" 10 s ", 10.0),
        (5e-324, 5e-324),
    ],
)
def test_durations(given: Any, seconds: float) -> None:
    """Numbers, timedeltas and texts with a unit become seconds."""
    assert duration("window", given) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        *(0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, True, False, None),
        *("", "5", "s", "-1s", "1e3s", "5 minutes", "1s 500ms", "nan", "inf", "5,5s", "0s", "5S"),
        *(timedelta(0), timedelta(seconds=-1), b"5s", [5], {"s": 5}, 5j, object(), float),
        *(decimal.Decimal(5), fractions.Fraction(1, 2), 10**400, "9" * 400 + "s"),
    ],
    ids=lambda given: repr(given)[:20],
)
def test_bad_durations(given: Any) -> None:
    """Everything else names the argument, what is wanted, and the value."""
    with pytest.raises(mh.ConfigurationError) as caught:
        duration("window", given)
    assert str(caught.value).startswith(
        "window must be a duration of more than 0 seconds: a number or text such as '250ms' "
        f"(units: us ms s m h d), got {repr(given)[:150]}"
    )


def test_a_number_in_quotes_lacks_its_unit() -> None:
    """The error says how to write it."""
    with pytest.raises(mh.ConfigurationError, match="got ' 1.5 '; for seconds write '1.5s'"):
        duration("window", " 1.5 ")


@pytest.mark.parametrize("given", [abs, max, dict, functools.partial(pow, 2), lambda *_: True])
def test_functions_of_every_kind_are_taken(given: Any) -> None:
    """Builtins that do not tell what they take as well."""
    assert function("record_result", given, "result") is given


def test_a_duration_may_be_zero_where_allowed() -> None:
    """Zero is accepted where it means something, less than zero never."""
    assert duration("seconds", 0, zero=True) == duration("seconds", "0s", zero=True) == 0.0
    with pytest.raises(mh.ConfigurationError, match="seconds must be a duration of 0 or more"):
        duration("seconds", -0.1, zero=True)


@pytest.mark.parametrize("given", [0, -1, 1.0, 2.5, "3", True, None, math.nan, math.inf, [1], 1j])
def test_bad_counts(given: Any) -> None:
    """A count is a whole number, not a float and not a bool."""
    with pytest.raises(mh.ConfigurationError) as caught:
        count("max_keys", given)
    assert str(caught.value) == f"max_keys must be a whole number of 1 or more, got {given!r}"


def test_counts() -> None:
    """A count of at least the least is returned as it is."""
    assert (count("n", 1), count("n", 10**6), count("n", 0, least=0)) == (1, 10**6, 0)
    with pytest.raises(mh.ConfigurationError, match="n must be a whole number of 5 or more, got 4"):
        count("n", 4, least=5)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (50, " (for 50 % write 0.5)"),
        (1.5, " (for 1.5 % write 0.015)"),
        (100, " (for 100 % write 1)"),
        *((each, "") for each in (0, 0.0, -0.5, 101, math.nan, math.inf, "50%", "0.5", True, None)),
    ],
)
def test_bad_shares(given: Any, hint: str) -> None:
    """A share is above 0 and up to 1; what looks like a percentage gets a hint."""
    with pytest.raises(mh.ConfigurationError) as caught:
        share("failure_rate_threshold", given)
    assert str(caught.value) == (
        f"failure_rate_threshold must be a share above 0 and up to 1{hint}, got {given!r}"
    )


def test_shares() -> None:
    """A share comes back as a float."""
    assert [share("rate", given) for given in (1, 0.5, 1e-9)] == [1.0, 0.5, 1e-9]
    assert type(share("rate", 1)) is float


@pytest.mark.parametrize("given", ["threads", "", None, 5, ["thread"], "THREAD"])
def test_bad_choices(given: Any) -> None:
    """The error lists what may be chosen."""
    with pytest.raises(mh.ConfigurationError) as caught:
        choice("mode", given, ("auto", "thread"))
    assert str(caught.value) == f"mode must be one of 'auto', 'thread', got {given!r}"


def test_choices() -> None:
    """A choice comes back as text."""
    assert choice("mode", "thread", ("auto", "thread")) == "thread"


@pytest.mark.parametrize(
    "given", ["ValueError", ValueError(), (ValueError, "x"), None, int, [5], 5]
)
def test_bad_exceptions(given: Any) -> None:
    """Only exception types will do, alone or together."""
    with pytest.raises(mh.ConfigurationError) as caught:
        exceptions("record", given)
    assert str(caught.value) == (
        f"record must be an exception type, or a tuple of exception types, got {given!r}"
    )


def test_exceptions() -> None:
    """One type, several, or none become a tuple."""
    assert exceptions("record", ValueError) == (ValueError,)
    assert exceptions("record", (ValueError, KeyError)) == (ValueError, KeyError)
    assert exceptions("record", [KeyboardInterrupt]) == (KeyboardInterrupt,)
    assert set(exceptions("record", {ValueError, KeyError})) == {ValueError, KeyError}
    assert exceptions("record", ()) == ()


def test_what_cannot_be_shown_breaks_no_message() -> None:
    """A value without a repr, a number of thousands of digits or a huge one is an error still."""
    assert str(wrong("n", Shy(), "small")) == "n must be small, got <Shy that cannot be shown>"
    assert str(wrong("n", 10**5000, "small")) == "n must be small, got <int that cannot be shown>"
    assert len(str(wrong("n", ["x"] * 10_000, "small"))) < 250


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"failure_threshold": 0}, ["failure_threshold", "1 or more", "got 0"]),
        ({"failure_threshold": -3}, ["failure_threshold", "1 or more", "got -3"]),
        ({"failure_threshold": math.nan}, ["failure_threshold", "whole number", "got nan"]),
        ({"failure_rate_threshold": 50}, ["failure_rate_threshold", "write 0.5", "got 50"]),
        ({"slow_call_rate_threshold": 2, "slow_call_duration": 1}, ["slow_call_rate_", "got 2"]),
        ({"slow_call_rate_threshold": 0.5}, ["slow_call_rate_threshold needs slow_call_duration"]),
        ({"reset_timeout": math.nan}, ["reset_timeout", "duration", "got nan"]),
        ({"reset_timeout": -1}, ["reset_timeout", "more than 0", "got -1"]),
        ({"reset_timeout": "soon"}, ["reset_timeout", "'250ms'", "got 'soon'"]),
        ({"window": 0}, ["window", "more than 0", "got 0"]),
        ({"window": 5, "window_calls": 5}, ["window and window_calls exclude", "5"]),
        ({"window_calls": 0}, ["window_calls", "1 or more", "got 0"]),
        ({"window_calls": 5, "minimum_calls": 6}, ["minimum_calls=6", "window_calls=5", "lower"]),
        ({"minimum_calls": 0}, ["minimum_calls", "1 or more", "got 0"]),
        ({"half_open_max_calls": 0}, ["half_open_max_calls", "1 or more", "got 0"]),
        ({"success_threshold": 2}, ["success_threshold=2", "half_open_max_calls=1", "raise"]),
        ({"half_open_max_concurrent": 2}, ["half_open_max_concurrent=2", "half_open_max_calls=1"]),
        ({"half_open_timeout": 0}, ["half_open_timeout", "more than 0", "got 0"]),
        ({"record": "ValueError"}, ["record", "exception type", "got 'ValueError'"]),
        ({"ignore": [5]}, ["ignore", "exception type", "got [5]"]),
        ({"record_result": 5}, ["record_result", "function", "got 5"]),
        ({"max_keys": 0}, ["max_keys", "1 or more", "got 0"]),
        ({"max_keys": 7}, ["max_keys=7", "there is no key", "give key"]),
        ({"minimum_calls": 7}, ["minimum_calls=7", "give failure_rate_threshold"]),
        ({"record": ()}, ["record", "types of errors that count as failures", "got ()"]),
        ({"record": KeyboardInterrupt}, ["record", "interrupts never do", "KeyboardInterrupt"]),
        ({"record": (OSError, asyncio.CancelledError)}, ["record", "cancellation", "Cancelled"]),
        ({"record": a_coroutine}, ["record", "no async one", "a_coroutine"]),
        ({"ignore": a_coroutine}, ["ignore", "no async one", "a_coroutine"]),
        ({"record_result": a_coroutine}, ["record_result", "no async one", "a_coroutine"]),
        ({"reset_timeout": a_coroutine}, ["reset_timeout", "no async one", "a_coroutine"]),
        ({"record": lambda: True}, ["record", "a function of error", "lambda"]),
        ({"record_result": lambda: True}, ["record_result", "a function of result", "lambda"]),
        ({"reset_timeout": lambda: 5}, ["reset_timeout", "a function of attempt, error"]),
        ({"key": 5}, ["key must be a template", "got 5"]),
        ({"key": ()}, ["key ()", "names no argument"]),
        ({"key": ["host"]}, ["key must be a template", "got ['host']"]),
        ({"name": " "}, ["name", "not empty", "got ' '"]),
        ({"initial_state": "ajar"}, ["initial_state", "'half_open'", "got 'ajar'"]),
    ],
    ids=lambda value: str(value)[:40].partition(" at 0x")[0],
)
def test_bad_settings_of_a_breaker(settings: dict[str, Any], words: list[str]) -> None:
    """Each fails where it is written, naming argument, value and what to write instead."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.circuit_breaker(registry=mh.Registry(), **settings)
    for word in words:
        assert word in str(caught.value)
