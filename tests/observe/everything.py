"""A registry with every kind of policy in it, each of which has counted whatever it can count."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import meshhook as mh
from meshhook.budgets import RetryBudget
from tests.waiting import Called, Held, eventually

SECRET = "s3cr3t"
"""Stands in arguments, keys, results and texts of exceptions."""

ODD = 'we"ird\\ ünï {x} #1'
"""A name that must be escaped."""


def fail(*_: Any) -> Any:
    raise ValueError(SECRET)


def attempt(call: Callable[..., Any], *args: Any) -> None:
    """Call what may fail."""
    with contextlib.suppress(Exception):
        call(*args)


def everything() -> mh.Registry:
    """Make the registry. Nothing of it waits for longer than some milliseconds."""
    registry = mh.Registry()
    _circuits(registry)
    _limits(registry)
    _attempts(registry)
    _answers(registry)
    return registry


def _circuits(registry: mh.Registry) -> None:
    timed = mh.circuit_breaker(
        ODD,
        failure_rate_threshold=0.9,
        slow_call_rate_threshold=0.9,
        slow_call_duration=10,
        registry=registry,
    )
    for body in (int, fail):
        attempt(timed.call, body)
    opened = mh.circuit_breaker("opened", failure_threshold=1, critical=True, registry=registry)
    attempt(opened.call, fail)
    attempt(opened.call, fail)
    keyed = mh.circuit_breaker("keyed", key="{key}", max_keys=1, registry=registry)(_keyed)
    for key in (SECRET, "other"):
        keyed(key)


def _keyed(key: str) -> str:
    return SECRET


def _limits(registry: mh.Registry) -> None:
    attempt(mh.timeout(1, name="quick", registry=registry).call, fail)
    left = mh.timeout("1ms", mode="thread", name="left", registry=registry)
    held = Held()
    attempt(left.call, held)
    held.go.set()
    assert eventually(lambda: not left.stats().abandoned)
    rate = mh.rate_limit("2/h", name="rate", registry=registry)
    keyed_rate = mh.rate_limit("1/h", key="{key}", max_keys=1, name="keyed", registry=registry)
    for _ in range(3):
        attempt(rate.call, int)
        attempt(keyed_rate(_keyed), SECRET)
    full = mh.bulkhead(1, name="full", registry=registry)
    held = Held()
    inside = Called("sync", full.call, held)
    assert held.inside.wait(10)
    attempt(full.call, int)
    held.go.set()
    inside.result()
    mh.bulkhead(1, key="{key}", name="keyed", registry=registry)(_keyed)(SECRET)
    throttled = mh.throttle(name="throttled", registry=registry)
    for body in (int, fail):
        attempt(throttled.call, body)
    mh.throttle(name="keyed", key="{key}", registry=registry)(_keyed)(SECRET)


def _attempts(registry: mh.Registry) -> None:
    budget = RetryBudget(0.1, 0.1, name="budget", registry=registry)
    retried = mh.retry(name="retried", base_delay=0, budget=budget, registry=registry)
    for body in (int, fail, fail):
        attempt(retried.call, body)
    hedged = mh.hedge(
        quantile=0.5, minimum_samples=1, name="hedged", idempotent=True, registry=registry
    )
    hedged.call(time.sleep, 0)
    mh.hedge(1, name="fixed", idempotent=True, registry=registry).call(int)


def _answers(registry: mh.Registry) -> None:
    fallback = mh.fallback(value=SECRET, handler=fail, name="fallback", registry=registry)
    for body in (int, fail):
        fallback.call(body)
    struck = mh.chaos("struck", rate=1, result=SECRET, registry=registry)
    struck.call(int)
    charge = mh.idempotent("{key}", name="charge", registry=registry)(_keyed)
    for _ in range(2):
        charge(SECRET)
