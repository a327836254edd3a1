"""The lint of a stack: each rule finds what it is for, and leaves alone what may be meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.composition.lint import RULES, lint

Make = Callable[[], tuple[Any, ...]]

WRONG: dict[str, list[Make]] = {
    "fallback-inside-retry": [
        lambda: (mh.retry(), mh.fallback(0)),
        lambda: (mh.retry(), mh.circuit_breaker(), mh.fallback(0)),
        lambda: (mh.retry(on=ConnectionError), mh.fallback(0, on=OSError)),
        lambda: (mh.retry(on=(ConnectionError, KeyError)), mh.fallback(0, on=(OSError, KeyError))),
        lambda: (mh.retry(), mh.fallback(handler=str)),
    ],
    "fallback-inside-breaker": [
        lambda: (mh.circuit_breaker(), mh.fallback(0)),
        lambda: (mh.circuit_breaker(record=OSError), mh.timeout(1), mh.fallback(0, on=OSError)),
    ],
    "fallback-inside-idempotent": [lambda: (mh.idempotent("{item}"), mh.fallback(0))],
    "retry-inside-breaker": [lambda: (mh.circuit_breaker(), mh.retry())],
    "retry-inside-retry": [
        lambda: (mh.retry(), mh.retry()),
        lambda: (mh.retry(), mh.circuit_breaker(), mh.retry(on=OSError)),
    ],
    "retry-outside-idempotent": [lambda: (mh.retry(), mh.idempotent("{item}"))],
    "hedge-of-unrepeatable": [
        lambda: (mh.hedge(0.1),),
        lambda: (mh.hedge(0.1), mh.timeout(1)),
    ],
    "hedge-outside-idempotent": [
        lambda: (mh.hedge(0.1, idempotent=True), mh.idempotent("{item}")),
    ],
    "timeout-shorter-than-attempt": [
        lambda: (mh.timeout(1), mh.timeout(2)),
        lambda: (mh.timeout(1), mh.retry(base_delay=0), mh.timeout(1)),
        lambda: (mh.timeout(1), mh.retry(base_delay=0), mh.timeout(2)),
    ],
    "backoff-over-timeout": [
        lambda: (mh.timeout(1), mh.retry(backoff="constant", base_delay=1, max_attempts=2)),
        lambda: (mh.timeout(1), mh.retry(backoff="constant", base_delay=0.25, max_attempts=5)),
        lambda: (mh.timeout(10), mh.retry(max_attempts=100)),
    ],
    "timeout-outside-breaker": [
        lambda: (mh.timeout(1), mh.circuit_breaker()),
        lambda: (mh.timeout(1), mh.retry(), mh.circuit_breaker(failure_rate_threshold=0.5)),
    ],
    "breaker-counts-refusals": [
        lambda: (mh.circuit_breaker(record=mh.RejectedError), mh.bulkhead(1)),
        lambda: (mh.circuit_breaker(record=(OSError, mh.RateLimitedError)), mh.rate_limit("1/s")),
        lambda: (mh.circuit_breaker(record=mh.InProgressError), mh.idempotent("{item}")),
    ],
    "limit-outside-retry": [
        lambda: (mh.rate_limit("1/s"), mh.retry()),
        lambda: (mh.throttle(), mh.retry()),
    ],
    "bulkhead-outside-retry": [lambda: (mh.bulkhead(1), mh.retry())],
    "chaos-outermost": [lambda: (mh.chaos(rate=0.1), mh.timeout(1))],
}
"""For each rule the stacks that it is about, outermost first."""

RIGHT: dict[str, list[Make]] = {
    "fallback-inside-retry": [
        lambda: (mh.fallback(0), mh.retry()),
        lambda: (mh.retry(), mh.fallback(0, on=KeyError)),
        lambda: (mh.retry(on_result=bool), mh.fallback(0)),
        lambda: (mh.retry(on=lambda error: True), mh.fallback(0)),
        lambda: (mh.retry(), mh.fallback(0, on=lambda error: True)),
    ],
    "fallback-inside-breaker": [
        lambda: (mh.fallback(0), mh.circuit_breaker()),
        lambda: (mh.circuit_breaker(), mh.fallback(0, on=KeyError)),
        lambda: (mh.circuit_breaker(record_result=bool), mh.fallback(0)),
        lambda: (
            mh.circuit_breaker(slow_call_duration=1, slow_call_rate_threshold=0.5),
            mh.fallback(0),
        ),
    ],
    "fallback-inside-idempotent": [lambda: (mh.fallback(0), mh.idempotent("{item}"))],
    "retry-inside-breaker": [
        lambda: (mh.retry(), mh.circuit_breaker()),
        lambda: (mh.circuit_breaker(), mh.retry(), mh.circuit_breaker()),
    ],
    "retry-inside-retry": [lambda: (mh.retry(on=OSError), mh.retry(on=KeyError))],
    "retry-outside-idempotent": [
        lambda: (mh.idempotent("{item}"), mh.retry()),
        lambda: (mh.retry(on=mh.StoreUnavailableError), mh.idempotent("{item}")),
    ],
    "hedge-of-unrepeatable": [
        lambda: (mh.hedge(0.1, idempotent=True),),
        lambda: (mh.idempotent("{item}"), mh.retry(), mh.hedge(0.1)),
    ],
    "hedge-outside-idempotent": [
        lambda: (mh.idempotent("{item}"), mh.hedge(0.1)),
        lambda: (mh.hedge(0.1, idempotent=True, alternatives=(len,)), mh.idempotent("{item}")),
    ],
    "timeout-shorter-than-attempt": [
        lambda: (mh.timeout(2), mh.timeout(1)),
        lambda: (mh.timeout(1), mh.timeout(1)),
        lambda: (mh.timeout(1), mh.timeout(per_item=0.5)),
        lambda: (mh.timeout(2), mh.retry(), mh.timeout(1)),
    ],
    "backoff-over-timeout": [
        lambda: (mh.timeout(1), mh.retry()),
        lambda: (mh.timeout(1), mh.retry(backoff="constant", base_delay=0.9, max_attempts=2)),
        lambda: (mh.retry(base_delay=5), mh.timeout(1)),
    ],
    "timeout-outside-breaker": [
        lambda: (mh.circuit_breaker(), mh.timeout(1)),
        lambda: (mh.timeout(2), mh.circuit_breaker(), mh.timeout(1)),
        lambda: (
            mh.timeout(2),
            mh.circuit_breaker(slow_call_duration=1, slow_call_rate_threshold=0.5),
        ),
    ],
    "breaker-counts-refusals": [
        lambda: (mh.circuit_breaker(), mh.bulkhead(1)),
        lambda: (mh.bulkhead(1), mh.circuit_breaker(record=mh.RejectedError)),
        lambda: (mh.circuit_breaker(record=mh.RejectedError), mh.timeout(1)),
        lambda: (mh.circuit_breaker(record=lambda error: True), mh.bulkhead(1)),
    ],
    "limit-outside-retry": [
        lambda: (mh.retry(), mh.rate_limit("1/s")),
        lambda: (mh.rate_limit("1/s"), mh.retry(), mh.rate_limit("1/s")),
    ],
    "bulkhead-outside-retry": [
        lambda: (mh.retry(), mh.bulkhead(1)),
        lambda: (mh.bulkhead(1), mh.retry(base_delay=0)),
        lambda: (mh.bulkhead(9), mh.retry(), mh.bulkhead(1)),
    ],
    "chaos-outermost": [
        lambda: (mh.chaos(rate=0.1),),
        lambda: (mh.timeout(1), mh.chaos(rate=0.1)),
    ],
}
"""Stacks that look similar and have a reason, or are the other way round."""


def cases(stacks: dict[str, list[Make]]) -> list[Any]:
    return [
        pytest.param(code, make, id=f"{code}-{number}")
        for code, makes in stacks.items()
        for number, make in enumerate(makes, 1)
    ]


def codes(stack: tuple[Any, ...]) -> list[str]:
    return [warning.code for warning in lint(stack)]


def test_every_rule_is_here() -> None:
    """Each has stacks that it warns of, and others that it does not."""
    assert list(WRONG) == list(RIGHT) == [rule.code for rule in RULES]


@pytest.mark.parametrize(("code", "make"), cases(WRONG))
def test_what_defeats_itself_is_found(code: str, make: Make) -> None:
    """Once for the pair of policies, which it names."""
    stack = make()
    (warning,) = (each for each in lint(stack) if each.code == code)
    assert warning.outer in stack
    assert warning.inner in stack
    assert stack.index(warning.outer) <= stack.index(warning.inner)
    kind = warning.outer.kind.replace("_", " ")
    assert f"the {kind}" in warning.happens or f"the {warning.inner.kind}" in warning.happens
    assert "{" not in str(warning)


@pytest.mark.parametrize(("code", "make"), cases(RIGHT))
def test_what_may_be_meant_is_left_alone(code: str, make: Make) -> None:
    """The same policies the other way round, or with a reason."""
    assert code not in codes(make())


def test_names_tell_policies_apart(registry: mh.Registry) -> None:
    """A policy that has a name is called by it."""
    stack = (mh.timeout(1, name="all", registry=registry), mh.timeout(2, registry=registry))
    (warning,) = lint(stack)
    assert warning.happens.startswith("the timeout 'all' ends before the timeout can, so")


def test_a_policy_that_is_there_twice_is_looked_at_twice(registry: mh.Registry) -> None:
    """A shared policy may be inside of itself."""
    breaker = mh.circuit_breaker("db", registry=registry)
    assert codes((breaker, mh.retry(registry=registry), breaker)) == []
