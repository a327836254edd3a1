"""The block form: a loop over attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime import pauses
from tests.policies.retry_calls import Flaky, Pauses, collected, frames, slept

__all__ = ["slept"]

SETTINGS: Any = {"backoff": "constant", "base_delay": 1.0, "jitter": None}


def run(policy: mh.Retry, call: Any, colour: str) -> Any:
    """Run a block that calls ``call``, in one colour; return all that was seen."""
    seen: list[Any] = []

    def sync() -> None:
        for attempt in policy:
            with attempt:
                seen.append((attempt.number, attempt.previous))
                seen.append(call())

    async def main() -> None:
        async for attempt in policy:
            with attempt:
                seen.append((attempt.number, attempt.previous))
                seen.append(call())

    if colour == "sync":
        sync()
    else:
        asyncio.run(main())
    return seen


in_both = pytest.mark.parametrize("kind", ["sync", "async"])


@in_both
def test_a_block_that_goes_well_is_run_once(kind: str, slept: Pauses) -> None:
    """Its attempt is the first, after nothing."""
    policy = mh.retrying(**SETTINGS)
    assert run(policy, Flaky(5), kind) == [(1, None), 5]
    assert slept == []
    assert policy.stats().successes == 1


@in_both
def test_a_block_that_fails_is_run_again(kind: str, slept: Pauses) -> None:
    """Each attempt knows its number and the error before it, which has no traceback."""
    first, second = OSError(1), OSError(2)
    policy = mh.retrying(**SETTINGS)
    assert run(policy, Flaky(first, second, 5), kind) == [(1, None), (2, first), (3, second), 5]
    assert slept == [1.0, 1.0]
    assert first.__traceback__ is second.__traceback__ is None
    stats = policy.stats()
    assert (stats.calls, stats.recovered, stats.retries) == (1, 1, 2)


@in_both
def test_the_last_error_leaves_the_block(kind: str, slept: Pauses) -> None:
    """The same object, with its note, straight from where it was raised."""
    errors = [OSError(1), OSError(2), OSError(3)]
    with pytest.raises(OSError) as caught:
        run(mh.retrying(**SETTINGS), Flaky(*errors), kind)
    assert caught.value is errors[2]
    assert len(caught.value.__notes__) == 1
    assert mh.attempts_of(caught.value) == tuple(errors)
    assert frames(caught.value.__traceback__)[-2:] == [
        "sync" if kind == "sync" else "main",
        "__call__",
    ]


@in_both
def test_other_errors_leave_it_at_once(kind: str, slept: Pauses) -> None:
    """And cancellation and interrupts do."""
    policy = mh.retrying(on=OSError, **SETTINGS)
    for raised in (ValueError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit):
        call = Flaky(OSError, raised)
        with pytest.raises(raised):
            run(policy, call, kind)
        assert call.calls == 2
    stats = policy.stats()
    assert (stats.failures, stats.ignored) == (1, 3)


@in_both
def test_no_pause_begins_that_does_not_fit(kind: str, slept: Pauses) -> None:
    """The error leaves the block itself."""
    with mh.deadline(0.5), pytest.raises(OSError) as caught:
        run(mh.retrying(**SETTINGS), Flaky(OSError), kind)
    assert "the deadline" in caught.value.__notes__[0]
    assert "__next__" not in frames(caught.value.__traceback__)


def with_a_budget(registry: mh.Registry, **settings: Any) -> tuple[mh.RetryBudget, mh.Retry]:
    budget = mh.RetryBudget(ratio=0.2, min_per_second=0.1, registry=registry)
    return budget, mh.retrying(budget=budget, registry=registry, **SETTINGS, **settings)


@in_both
def test_a_budget_that_is_used_up(kind: str, slept: Pauses, registry: mh.Registry) -> None:
    """The loop raises the error that there is."""
    budget, policy = with_a_budget(registry)
    error = OSError()
    with pytest.raises(OSError) as caught:
        run(policy, Flaky(error), kind)
    assert caught.value is error
    assert "is used up" in caught.value.__notes__[0]
    assert (budget.stats().taken, budget.stats().refused, budget.stats().calls) == (1, 1, 1)


def test_break_and_return_leave_nothing(slept: Pauses, registry: mh.Registry) -> None:
    """In the block they are its good end; behind it nothing has been reserved yet."""
    budget, policy = with_a_budget(registry)

    def returns() -> int:
        for attempt in policy:
            with attempt:
                return attempt.number
        raise AssertionError

    assert returns() == 1
    for attempt in policy:
        with attempt:
            break
    assert policy.stats().successes == 2
    for attempt in policy:
        with attempt:
            raise OSError
        break
    assert slept == []
    assert budget.stats().taken == 0
    assert policy.stats().calls == 2


def test_continue_in_the_block_is_its_good_end(slept: Pauses) -> None:
    """The loop ends."""
    numbers = []
    for attempt in mh.retrying(**SETTINGS):
        with attempt:
            numbers.append(attempt.number)
            continue
    assert numbers == [1]


def test_what_comes_behind_the_block_is_run_each_time(slept: Pauses) -> None:
    """The loop is a plain one."""
    numbers = []
    call = Flaky(OSError, 1)
    for attempt in mh.retrying(**SETTINGS):
        with attempt:
            call()
        numbers.append(attempt.number)
    assert numbers == [1, 2]


@in_both
def test_a_loop_without_a_block_is_an_error(kind: str) -> None:
    """It would end after one attempt, or never."""
    policy = mh.retrying(**SETTINGS)

    def sync() -> None:
        for _ in policy:
            pass

    async def main() -> None:
        async for _ in policy:
            pass

    with pytest.raises(RuntimeError, match="write `for attempt in retrying"):
        sync() if kind == "sync" else asyncio.run(main())


def test_an_attempt_is_entered_once(slept: Pauses) -> None:
    """Another comes from the loop."""
    for attempt in mh.retrying(**SETTINGS):
        with attempt:
            assert repr(attempt) == "<attempt 1, entered>"
        with pytest.raises(RuntimeError, match="entered already"), attempt:
            raise AssertionError


def test_the_loop_cannot_go_on_within_its_block(slept: Pauses) -> None:
    """Not before the attempt has ended."""
    loop = iter(mh.retrying(**SETTINGS))
    with next(loop), pytest.raises(RuntimeError, match="with attempt"):
        next(loop)
    with pytest.raises(StopIteration):
        next(loop)


def test_one_policy_runs_many_loops(slept: Pauses) -> None:
    """At the same time, and one after the other."""
    policy = mh.retrying(**SETTINGS)
    one, other = iter(policy), iter(policy)
    assert iter(one) is one
    several = aiter(policy)
    assert aiter(several) is several
    first, second = next(one), next(other)
    with first:
        raise OSError
    with second:
        pass
    assert next(one).number == 2
    assert policy.stats().calls == 1


def test_shutdown_ends_the_loop(
    slept: Pauses, monkeypatch: pytest.MonkeyPatch, registry: mh.Registry
) -> None:
    """With the error at hand, and the traceback of where it was raised."""
    monkeypatch.setattr(pauses, "_shut_down", True)
    budget, policy = with_a_budget(registry)
    error = OSError()
    with pytest.raises(OSError) as caught:
        run(policy, Flaky(error), "sync")
    assert caught.value is error
    assert frames(error.__traceback__)[-2:] == ["sync", "__call__"]
    assert budget.stats().given_back == 1


def test_a_cancelled_pause_gives_back(registry: mh.Registry) -> None:
    """The cancellation comes out of the loop."""
    budget, policy = with_a_budget(registry)

    async def work() -> None:
        async for attempt in policy:
            with attempt:
                raise OSError

    async def main() -> None:
        task = asyncio.create_task(work())
        while not budget.stats().taken:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (budget.stats().taken, budget.stats().given_back) == (1, 1)
    assert policy.stats().ignored == 1


def test_max_elapsed_counts_from_the_loop(slept: Pauses) -> None:
    """Not from when it was made."""
    call = Flaky(OSError)
    policy = mh.retrying(max_attempts=None, max_elapsed=3.5, **SETTINGS)
    for _ in range(2):
        with pytest.raises(OSError):
            run(policy, call, "sync")
    assert call.calls == 8


def test_results_are_not_for_blocks() -> None:
    """``retrying`` does not take a judge of them, and a retry that has one makes no loop."""
    with pytest.raises(TypeError, match="on_result"):
        mh.retrying(on_result=bool)  # type: ignore[call-arg]
    policy = mh.retry(on_result=bool)
    with pytest.raises(mh.ConfigurationError, match="a block has no result"):
        iter(policy)
    with pytest.raises(mh.ConfigurationError, match="a block has no result"):
        aiter(policy)


def test_names(registry: mh.Registry) -> None:
    """With one it is in the registry, without it is not."""
    run(mh.retrying(registry=registry), Flaky(1), "sync")
    assert len(registry) == 0
    run(mh.retrying(name="block", registry=registry), Flaky(1), "sync")
    assert registry.retries["block"].stats().calls == 1


@in_both
@pytest.mark.parametrize("outcomes", [(OSError, 5), (OSError,), (OSError, ValueError)])
@pytest.mark.parametrize("with_budget", [False, True])
def test_nothing_is_left_for_the_collector(
    kind: str, outcomes: Any, with_budget: bool, slept: Pauses
) -> None:
    """No ring of frames and errors comes from a loop, however it ends."""
    budget = mh.RetryBudget(min_per_second=0.1) if with_budget else None
    policy = mh.retrying(on=OSError, budget=budget, **SETTINGS)
    call = Flaky(*outcomes)

    def sync() -> list[Any]:
        with collected() as rings:
            once()
        return rings

    def once() -> None:
        try:
            for attempt in policy:
                with attempt:
                    call()
        except (OSError, ValueError):
            pass

    async def main() -> list[Any]:
        with collected() as rings:
            await once_async()
        return rings

    async def once_async() -> None:
        try:
            async for attempt in policy:
                with attempt:
                    call()
        except (OSError, ValueError):
            pass

    assert (sync() if kind == "sync" else asyncio.run(main())) == []
