"""The settings of a circuit breaker: what may be said, and what it means when little is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.errors import ConfigurationError
from meshhook.judges import Judge, check_errors, check_judge
from meshhook.keys import Key, check_key
from meshhook.rules.phases import Rules, State
from meshhook.settings import Duration, count, duration, flag, function, share, wrong

ResetTimeout: TypeAlias = Duration | Callable[[int, Exception | None], Duration]
"""A duration, or what computes it from the number of openings in a row and the last exception."""

FALLBACK_RESET_TIMEOUT = 60.0
MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """What a circuit breaker was given, checked."""

    rules: Rules
    reset_timeout: Callable[[int, Exception | None], Duration] | None
    record: Judge
    ignore: Judge
    record_result: Callable[[Any], bool] | None
    key: Key | None
    max_keys: int
    initial_state: State
    critical: bool


def breaker_settings(
    *,
    failure_threshold: int | None,
    failure_rate_threshold: float | None,
    slow_call_duration: Duration | None,
    slow_call_rate_threshold: float | None,
    window: Duration | None,
    window_calls: int | None,
    minimum_calls: int | None,
    reset_timeout: ResetTimeout,
    half_open_max_calls: int,
    success_threshold: int | None,
    half_open_max_concurrent: int,
    half_open_timeout: Duration | None,
    record: Judge,
    ignore: Judge,
    record_result: Callable[[Any], bool] | None,
    key: Key | None,
    max_keys: int,
    initial_state: State | str,
    critical: bool,
) -> BreakerSettings:
    """Check all settings of a circuit breaker against each other."""
    by_rate = failure_rate_threshold is not None or slow_call_rate_threshold is not None
    if failure_threshold is None and not by_rate:
        failure_threshold = 5
    windowed = by_rate or window is not None or window_calls is not None
    if window is not None and window_calls is not None:
        raise ConfigurationError(
            f"window and window_calls exclude each other, got {window!r} and {window_calls!r}; "
            "give seconds or a number of calls"
        )
    if windowed and window is None and window_calls is None:
        window = 30.0
    open_for = FALLBACK_RESET_TIMEOUT
    if callable(reset_timeout):
        function("reset_timeout", reset_timeout, "attempt", "error")
    else:
        open_for = duration("reset_timeout", reset_timeout)
    calls = count("half_open_max_calls", half_open_max_calls)
    rules = Rules(
        failure_threshold=_optional(count, "failure_threshold", failure_threshold),
        failure_rate_threshold=_optional(share, "failure_rate_threshold", failure_rate_threshold),
        slow_call_rate_threshold=_optional(
            share, "slow_call_rate_threshold", slow_call_rate_threshold
        ),
        slow_call_duration=_optional(duration, "slow_call_duration", slow_call_duration),
        window=_optional(duration, "window", window),
        window_calls=_optional(count, "window_calls", window_calls),
        minimum_calls=_minimum(minimum_calls, window_calls),
        reset_timeout=open_for,
        half_open_max_calls=calls,
        success_threshold=_at_most(
            "success_threshold", calls if success_threshold is None else success_threshold, calls
        ),
        half_open_max_concurrent=_at_most(
            "half_open_max_concurrent", half_open_max_concurrent, calls
        ),
        half_open_timeout=(
            open_for
            if half_open_timeout is None
            else duration("half_open_timeout", half_open_timeout)
        ),
    )
    made = BreakerSettings(
        rules=rules,
        reset_timeout=reset_timeout if callable(reset_timeout) else None,
        record=_record(record),
        ignore=check_judge("ignore", ignore),
        record_result=_optional(_predicate, "record_result", record_result),
        key=None if key is None else check_key(key),
        max_keys=count("max_keys", max_keys),
        initial_state=_state(initial_state),
        critical=flag("critical", critical),
    )
    if rules.slow_call_rate_threshold is not None and rules.slow_call_duration is None:
        raise ConfigurationError(
            "slow_call_rate_threshold needs slow_call_duration: say from when on a call is slow"
        )
    _refuse_what_has_no_use(
        minimum_calls=minimum_calls, by_rate=by_rate, max_keys=max_keys, key=key
    )
    return made


def _refuse_what_has_no_use(
    *, minimum_calls: int | None, by_rate: bool, max_keys: int, key: Key | None
) -> None:
    """Raise for settings that would change nothing, for whoever wrote them expects otherwise."""
    if minimum_calls is not None and not by_rate:
        raise ConfigurationError(
            f"minimum_calls={minimum_calls!r} is about rates, and there is none: give "
            "failure_rate_threshold or slow_call_rate_threshold, or leave it out"
        )
    if key is None and max_keys != MAX_KEYS:
        raise ConfigurationError(
            f"max_keys={max_keys!r} is about keys, and there is no key: give key, or leave it out"
        )


def _optional(check: Callable[[str, Any], Any], argument: str, value: Any) -> Any:
    return None if value is None else check(argument, value)


def _minimum(minimum_calls: int | None, window_calls: int | None) -> int:
    if minimum_calls is None:
        return 10 if window_calls is None else min(10, window_calls)
    minimum = count("minimum_calls", minimum_calls)
    if isinstance(window_calls, int) and minimum > window_calls:
        raise ConfigurationError(
            f"minimum_calls={minimum} is more than window_calls={window_calls} can ever hold, so "
            "the circuit could never open; lower the one or raise the other"
        )
    return minimum


def _at_most(argument: str, value: int, calls: int) -> int:
    if count(argument, value) > calls:
        raise ConfigurationError(
            f"{argument}={value} is more than half_open_max_calls={calls} allows; "
            "lower the one or raise the other"
        )
    return value


def _record(value: Any) -> Judge:
    return check_errors(
        "record",
        value,
        "types of errors that count as failures; cancellation and interrupts never do",
    )


def _predicate(argument: str, value: Any) -> Any:
    return function(argument, value, "result")


def _state(value: State | str) -> State:
    try:
        return State(value)
    except ValueError:
        states = ", ".join(repr(str(each)) for each in State)
        raise wrong("initial_state", value, f"one of {states}") from None
