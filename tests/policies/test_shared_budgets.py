"""A budget that several policies of one stack share: the outermost of them counts the calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import disabled
from tests.colours import Colour
from tests.streams import paint, read

CALLS = 10

Make = Callable[[mh.RetryBudget], Any]


def retry(budget: mh.RetryBudget | None, **settings: Any) -> mh.Retry:
    return mh.retry(
        budget=budget,
        max_attempts=2,
        base_delay=0,
        registry=mh.Registry(),
        **settings,
    )


def hedge(budget: mh.RetryBudget | None) -> mh.Hedge:
    return mh.hedge(30, budget=budget, idempotent=True, registry=mh.Registry())


def timed(budget: mh.RetryBudget) -> mh.Retry:
    return retry(budget, max_elapsed=60)


def judging(budget: mh.RetryBudget) -> mh.Retry:
    return retry(budget, on_result=lambda result: result == "bad")


def breaker(_: mh.RetryBudget) -> mh.CircuitBreaker:
    return mh.circuit_breaker(registry=mh.Registry())


STACKS: dict[str, tuple[Make, ...]] = {
    "retry > retry": (retry, retry),
    "retry > hedge": (retry, hedge),
    "hedge > retry": (hedge, retry),
    "hedge > hedge": (hedge, hedge),
    "retry > hedge > retry": (retry, hedge, retry),
    "hedge > retry > hedge": (hedge, retry, hedge),
    "retry > breaker > hedge": (retry, breaker, hedge),
    "hedge > breaker > retry": (hedge, breaker, retry),
    "breaker > hedge > retry": (breaker, hedge, retry),
    "timed > retry": (timed, retry),
    "retry > timed": (retry, timed),
    "hedge > judging": (hedge, judging),
    "judging > timed": (judging, timed),
}


@pytest.fixture
def budget() -> mh.RetryBudget:
    return mh.RetryBudget(registry=mh.Registry())


@pytest.mark.parametrize("stack", STACKS)
def test_each_call_is_counted_once(colour: Colour, budget: mh.RetryBudget, stack: str) -> None:
    """In whichever order the policies are, and however they were put around the function."""
    fn = colour.paint(lambda: "good")
    piled = fn
    for make in reversed(STACKS[stack]):
        piled = make(budget)(piled)
    pipeline = mh.Pipeline(*[make(budget) for make in STACKS[stack]], strict_order=False)
    together = pipeline(fn)
    for _ in range(CALLS):
        assert colour.call(piled) == "good"
    assert budget.stats().calls == CALLS
    for _ in range(CALLS):
        assert colour.call(together) == "good"
    assert budget.stats().calls == 2 * CALLS
    direct = pipeline.call if colour.name == "sync" else pipeline.acall
    for _ in range(CALLS):
        assert colour.call(direct, fn) == "good"
    assert budget.stats().calls == 3 * CALLS


@pytest.mark.parametrize("make", [retry, hedge, timed, judging])
def test_a_policy_that_calls_a_function_itself_counts(
    colour: Colour, budget: mh.RetryBudget, make: Make
) -> None:
    """It is the only one of its stack."""
    policy = make(budget)
    direct = policy.call if colour.name == "sync" else policy.acall
    for _ in range(CALLS):
        assert colour.call(direct, colour.paint(lambda: "good")) == "good"
    assert budget.stats().calls == CALLS


@pytest.mark.parametrize("outer", [retry, hedge])
@pytest.mark.parametrize("inner", [retry, hedge])
def test_another_budget_counts_for_itself(
    colour: Colour, budget: mh.RetryBudget, outer: Make, inner: Make
) -> None:
    """Two budgets are told of a call each, and a policy without one takes nothing over."""
    own = mh.RetryBudget(registry=mh.Registry())
    apart = outer(budget)(inner(own)(colour.paint(lambda: 1)))
    colour.call(apart)
    assert (budget.stats().calls, own.stats().calls) == (1, 1)
    without = outer(None)(inner(own)(colour.paint(lambda: 1)))  # type: ignore[arg-type]
    colour.call(without)
    assert (budget.stats().calls, own.stats().calls) == (1, 2)


@pytest.mark.parametrize("stack", [(retry, retry), (hedge, retry), (retry, hedge)])
def test_further_attempts_are_no_calls(colour: Colour, stack: tuple[Make, ...]) -> None:
    """They pass the policies inside, and the bound stays a share of what callers asked for."""
    budget = mh.RetryBudget(0.5, 0, registry=mh.Registry())
    called: list[None] = []

    def fail() -> None:
        called.append(None)
        raise ConnectionError

    fn = stack[0](budget)(stack[1](budget)(colour.paint(fail)))
    for _ in range(CALLS):
        with pytest.raises(ConnectionError):
            colour.call(fn)
    stats = budget.stats()
    assert (stats.calls, stats.taken) == (CALLS, CALLS // 2)
    assert len(called) == CALLS + CALLS // 2


@pytest.mark.parametrize("stack", [(retry, retry), (timed, retry), (retry, timed)])
def test_streams_are_counted_once(
    colour: Colour, budget: mh.RetryBudget, stack: tuple[Make, ...]
) -> None:
    """Each when it is begun to be read."""

    def body() -> Iterator[str]:
        yield from "ab"

    fn = stack[0](budget)(stack[1](budget)(paint(colour, body)))
    for _ in range(CALLS):
        assert read(colour, fn) == ["a", "b"]
    assert budget.stats().calls == CALLS


@pytest.mark.parametrize("stack", [(retry, hedge), (hedge, retry)])
def test_what_is_disabled_counts_nothing(
    colour: Colour, budget: mh.RetryBudget, stack: tuple[Make, ...]
) -> None:
    """The one that is left does, and nobody if none is left."""
    outer, inner = (make(budget) for make in stack)
    fn = outer(inner(colour.paint(lambda: 1)))
    with disabled(outer.kind):
        colour.call(fn)
        assert budget.stats().calls == 1
        with disabled(inner.kind):
            colour.call(fn)
        assert budget.stats().calls == 1
    colour.call(fn)
    assert budget.stats().calls == 2


def test_further_policies_may_be_put_around_a_guarded_function(
    colour: Colour, budget: mh.RetryBudget
) -> None:
    """The function that was guarded first goes on to count its own calls."""
    inner = hedge(budget)(colour.paint(lambda: 1))
    outer = retry(budget)(inner)
    colour.call(outer)
    assert budget.stats().calls == 1
    colour.call(inner)
    assert budget.stats().calls == 2


def test_blocks_are_counted_when_they_begin(budget: mh.RetryBudget) -> None:
    """A loop over attempts is around no function, and counts."""
    for attempt in mh.retrying(budget=budget, registry=mh.Registry()):
        with attempt:
            pass
    assert budget.stats().calls == 1
