"""Retries around calls whose first attempt succeeds."""

from __future__ import annotations

from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call
from benchmarks.table import Table


def first_attempt(options: Options) -> Table:
    """Measure sync calls that need no second attempt."""
    function = plain.answer
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.retried(function), goal=1.8),
        Case("meshhook with a budget", lambda: ours.retried(function, with_budget=True)),
        *_peers(function),
    ]
    table = Table("retry", "retries around a sync call that succeeds at once")
    return measure(table, function, cases, Answered(), options)


def first_attempt_async(options: Options) -> Table:
    """Measure async calls that need no second attempt."""
    function = plain.answer_async
    cases = [
        *plain.baselines(function),
        Case("meshhook", lambda: ours.retried(function), goal=1.5),
        Case("meshhook with a budget", lambda: ours.retried(function, with_budget=True)),
        *_peers(function),
        Case("hyx", lambda: hyx(function)),
    ]
    table = Table("retry-async", "retries around an async call that succeeds at once")
    return measure(table, function, cases, AnsweredAsync(), options)


def _peers(function: Call) -> list[Case]:
    return [
        Case("backoff", lambda: _backoff(function)),
        Case("tenacity", lambda: tenacity(function)),
        Case("stamina", lambda: _stamina(function)),
    ]


def _backoff(function: Call) -> Any:
    import backoff

    return backoff.on_exception(backoff.expo, ConnectionError, max_tries=3)(function)


def tenacity(function: Call) -> Any:
    """Retry ``function`` with tenacity."""
    import tenacity

    return tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        reraise=True,
    )(function)


def _stamina(function: Call) -> Any:
    import stamina

    return stamina.retry(on=ConnectionError, attempts=3)(function)


def hyx(function: Call) -> Any:
    """Retry ``function`` with hyx."""
    from hyx.retry import retry

    return retry(on=ConnectionError, attempts=3)(function)
