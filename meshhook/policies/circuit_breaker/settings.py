"""The settings of a circuit breaker: what may be said, and what it means when little is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.errors import ConfigurationError, IdempotencyError, RejectedError
from meshhook.keys import Key
from meshhook.rules.phases import Rules, State
from meshhook.settings import Duration, count, duration, exceptions, share

ExceptionTypes: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
Judge: TypeAlias = ExceptionTypes | Callable[[Exception], bool]
"""Which exceptions: a type, several, or a predicate."""
ResetTimeout: TypeAlias = Duration | Callable[[int, Exception | None], Duration]
"""A duration, or what computes it from the number of openings in a row and the last exception."""

FALLBACK_RESET_TIMEOUT = 60.0
OUR_OWN = (RejectedError, IdempotencyError)
"""What other policies raise on their own account: it says nothing about what is called."""


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
    if slow_call_rate_threshold is not None and slow_call_duration is None:
        raise ConfigurationError(
            "slow_call_rate_threshold needs slow_call_duration: say from when on a call is slow"
        )
    open_for = FALLBACK_RESET_TIMEOUT
    if not callable(reset_timeout):
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
    return BreakerSettings(
        rules=rules,
        reset_timeout=reset_timeout if callable(reset_timeout) else None,
        record=_judge("record", record),
        ignore=_judge("ignore", ignore),
        record_result=_predicate("record_result", record_result),
        key=key,
        max_keys=count("max_keys", max_keys),
        initial_state=_state(initial_state),
    )


def matches(judge: Judge, exc: BaseException) -> bool:
    """Tell whether ``exc``, or for a group any exception in it, is one of ``judge``."""
    if isinstance(judge, tuple):
        if isinstance(exc, judge):
            return True
        return isinstance(exc, BaseExceptionGroup) and any(
            matches(judge, each) for each in exc.exceptions
        )
    return bool(judge(exc))  # type: ignore[arg-type]


def names_our_own(judge: Judge) -> bool:
    """Tell whether ``judge`` asks for errors of meshhook's own policies by name."""
    return isinstance(judge, tuple) and any(issubclass(kind, OUR_OWN) for kind in judge)


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


def _judge(argument: str, value: Any) -> Judge:
    if callable(value) and not isinstance(value, type):
        return value  # type: ignore[no-any-return]
    return exceptions(argument, value)


def _predicate(argument: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{argument} must be a function of the result, got {value!r}")
    return value


def _state(value: State | str) -> State:
    try:
        return State(value)
    except ValueError:
        raise ConfigurationError(
            f"initial_state must be one of {', '.join(repr(str(s)) for s in State)}, got {value!r}"
        ) from None
