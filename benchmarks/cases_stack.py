"""Several policies around one function, and those that are asleep."""

from __future__ import annotations

from typing import Any

from benchmarks import cases_breaker, cases_limits, cases_retry, ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call
from benchmarks.table import Table


def stack(options: Options) -> Table:
    """Measure sync calls through several policies."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("three closures", lambda: _three(plain.closure, function), plain=True),
        Case("meshhook breaker + retry + limit", lambda: ours.three(function), goal=4.0),
        Case("meshhook, eight policies", lambda: ours.eight(function)),
        Case("tenacity + pybreaker", lambda: _tenacity_pybreaker(function)),
        *_asleep(function),
    ]
    table = Table("stack", "several policies around a sync call that succeeds at once")
    return measure(table, function, cases, Answered(), options)


def stack_async(options: Options) -> Table:
    """Measure async calls through several policies."""
    function = plain.answer_async
    cases = [
        *plain.baselines(function),
        Case("three closures", lambda: _three(plain.closure_async, function), plain=True),
        Case("meshhook breaker + retry + limit", lambda: ours.three(function), goal=3.5),
        Case("meshhook, eight policies", lambda: ours.eight(function)),
        Case("hyx breaker + retry + limit", lambda: _hyx(function)),
        *_asleep(function),
    ]
    table = Table("stack-async", "several policies around an async call that succeeds at once")
    return measure(table, function, cases, AnsweredAsync(), options)


def _asleep(function: Call) -> list[Case]:
    """Return one case for each policy that has nothing to do."""
    return [
        Case("meshhook fallback", lambda: ours.with_fallback(function)),
        Case("meshhook throttle", lambda: ours.throttled(function)),
        Case("meshhook chaos, off", lambda: ours.chaotic(function)),
        Case("meshhook hedge", lambda: ours.hedged(function)),
    ]


def _three(closure: Call, function: Call) -> Any:
    """Do what every stack of three has to: hand the call on three times."""
    return closure(closure(closure(function)))


def _tenacity_pybreaker(function: Call) -> Any:
    return cases_retry.tenacity(cases_breaker.pybreaker(function))


def _hyx(function: Call) -> Any:
    from hyx.circuitbreaker import consecutive_breaker

    breaker = consecutive_breaker(failure_threshold=5, recovery_time_secs=60.0)
    return breaker(cases_retry.hyx(cases_limits.hyx_rate(function)))
