"""Circuit breakers: closed around calls that succeed, and open, refusing."""

from __future__ import annotations

from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call, Refused, RefusedAsync
from benchmarks.table import Table

_FOR_LONG = 3600.0


def closed(options: Options) -> Table:
    """Measure sync calls through closed breakers."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("meshhook consecutive", lambda: ours.consecutive(function), goal=2.0),
        Case("meshhook count window", lambda: ours.count_window(function), goal=2.6),
        Case("meshhook time window", lambda: ours.time_window(function), goal=3.3),
        *_peers(function),
        *_windowed_peers(function),
    ]
    table = Table("breaker", "a closed breaker around a sync call")
    return measure(table, function, cases, Answered(), options)


def closed_async(options: Options) -> Table:
    """Measure async calls through closed breakers."""
    function = plain.answer_async
    cases = [
        *plain.baselines(function),
        Case("meshhook consecutive", lambda: ours.consecutive(function), goal=1.6),
        Case("meshhook count window", lambda: ours.count_window(function), goal=2.0),
        Case("meshhook time window", lambda: ours.time_window(function), goal=2.5),
        *_async_peers(function),
        *_windowed_peers(function),
    ]
    table = Table("breaker-async", "a closed breaker around an async call")
    return measure(table, function, cases, AnsweredAsync(), options)


def opened(options: Options) -> Table:
    """Measure sync calls that open breakers refuse."""
    function = plain.fail
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.consecutive(function), goal=3.6),
        *_peers(function),
        _windowed_peers(function)[0],
    ]
    table = Table("open", "an open breaker refusing sync calls, beside a closure that raises")
    return measure(table, function, cases, Refused(), options)


def opened_async(options: Options) -> Table:
    """Measure async calls that open breakers refuse."""
    function = plain.fail_async
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.consecutive(function), goal=3.6),
        *_async_peers(function),
        _windowed_peers(function)[0],
    ]
    table = Table("open-async", "the same for async calls")
    return measure(table, function, cases, RefusedAsync(), options)


def _peers(function: Call) -> list[Case]:
    return [
        Case("circuitbreaker", lambda: circuitbreaker(function)),
        Case("pybreaker", lambda: pybreaker(function)),
        Case("aiobreaker", lambda: _aiobreaker(function)),
        Case("purgatory", lambda: purgatory(function)),
    ]


def _async_peers(function: Call) -> list[Case]:
    return [
        Case("circuitbreaker", lambda: circuitbreaker(function)),
        Case("aiobreaker", lambda: _aiobreaker(function)),
        Case("purgatory", lambda: _purgatory_async(function)),
        Case("hyx", lambda: _hyx(function)),
    ]


def _windowed_peers(function: Call) -> list[Case]:
    return [
        Case("interlock count window", lambda: _interlock(function, "COUNT_BASED", 100)),
        Case("interlock time window", lambda: _interlock(function, "TIME_BASED", 10)),
    ]


def circuitbreaker(function: Call) -> Any:
    """Guard ``function`` with circuitbreaker."""
    import circuitbreaker

    return circuitbreaker.circuit(failure_threshold=5, recovery_timeout=_FOR_LONG)(function)


def pybreaker(function: Call) -> Any:
    """Guard ``function`` with pybreaker."""
    import pybreaker

    return pybreaker.CircuitBreaker(fail_max=5, reset_timeout=_FOR_LONG)(function)


def _aiobreaker(function: Call) -> Any:
    from datetime import timedelta

    import aiobreaker

    breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(hours=1))
    return breaker(function)


def purgatory(function: Call) -> Any:
    """Guard ``function`` with purgatory."""
    import purgatory

    factory = purgatory.SyncCircuitBreakerFactory(default_threshold=5, default_ttl=_FOR_LONG)
    return factory("benchmark")(function)


def _purgatory_async(function: Call) -> Any:
    import purgatory

    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=_FOR_LONG)
    return factory("benchmark")(function)


def _hyx(function: Call) -> Any:
    from hyx.circuitbreaker import consecutive_breaker

    return consecutive_breaker(failure_threshold=5, recovery_time_secs=_FOR_LONG)(function)


def _interlock(function: Call, window: str, size: int) -> Any:
    import interlock

    config = interlock.Config(
        window_type=interlock.WindowType[window], window_size=size, wait_duration_in_open=_FOR_LONG
    )
    return interlock.CircuitBreaker(name="benchmark", config=config)(function)
