"""Policies as plain objects: names, patterns, direct calls, blocks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.policy import Policy
from meshhook.stats import Stats


async def double_async(number: int) -> int:
    return 2 * number


def double(number: int) -> int:
    return 2 * number


def name_of(guard: Any) -> str:
    """Return the name of the outermost policy."""
    return str(guard.policies[0].name)


def test_a_pattern_gives_each_function_its_own_policy(registry: mh.Registry) -> None:
    """Two functions decorated with one nameless policy share nothing."""
    pattern = mh.circuit_breaker(failure_threshold=1, registry=registry)
    one: Any = pattern(double)
    two: Any = pattern(lambda: 1)
    assert one.policies[0] is not two.policies[0]
    assert one.policies[0].settings == two.policies[0].settings == pattern.settings
    assert name_of(one) == "tests.unit.test_policy.double"


@pytest.mark.parametrize(
    "look",
    [
        repr,
        str,
        lambda p: p.name,
        lambda p: p.stats(),
        lambda p: p.describe(),
        lambda p: p.call(int),
    ],
    ids=["repr", "str", "name", "stats", "describe", "call"],
)
def test_looking_at_a_pattern_does_not_make_it_shared(
    registry: mh.Registry, look: Callable[[Any], Any]
) -> None:
    """A debugger that prints a policy changes nothing for the functions decorated next."""
    pattern = mh.circuit_breaker(registry=registry)
    look(pattern)
    one: Any = pattern(double)
    two: Any = pattern(lambda: 1)
    assert len({id(each) for each in (pattern, one.policies[0], two.policies[0])}) == 3


def test_a_pattern_that_runs_calls_goes_by_its_kind(registry: mh.Registry) -> None:
    """Used directly, a nameless policy has the name of its kind, and the next one a number."""
    first = mh.circuit_breaker(registry=registry)
    second = mh.circuit_breaker(registry=registry)
    assert first.call(double, 1) == second.call(double, 1) == 2
    assert (first.name, second.name) == ("circuit_breaker", "circuit_breaker#2")


def test_a_pattern_can_be_shown_after_it_decorated(registry: mh.Registry) -> None:
    """A repr never raises, and a refusal is a refusal, whatever the pattern did before."""
    pattern = mh.circuit_breaker(failure_threshold=1, registry=registry)
    assert repr(pattern) == "<circuit_breaker without a name>"
    assert len(registry) == 0
    guard = pattern(double)
    assert repr(pattern) == "<circuit_breaker without a name>"
    assert guard(1) == 2
    with pytest.raises(mh.ConfigurationError, match=r"each function .* its own: look at fn.polic"):
        pattern.stats()
    with pytest.raises(ZeroDivisionError):
        pattern.call(lambda: 1 / 0)
    with pytest.raises(mh.CircuitOpenError, match="circuit 'circuit_breaker' is open"):
        pattern.call(double, 1)
    with pytest.raises(mh.CircuitOpenError):
        asyncio.run(pattern.acall(double_async, 1))


def test_the_policy_of_a_function_may_guard_others_too(registry: mh.Registry) -> None:
    """What a function shows as its policy is that policy, not a pattern."""
    one: Any = mh.circuit_breaker(registry=registry)(double)
    two: Any = one.policies[0](lambda: 1)
    assert two.policies == one.policies


def test_a_name_is_shared(registry: mh.Registry, colour: Any) -> None:
    """Functions under one name share one state."""
    for index in range(2):
        guard = mh.circuit_breaker("shared", registry=registry)(colour.paint(lambda: 1))
        assert colour.call(guard) == 1
        assert registry.circuit_breakers["shared"].stats().successes == index + 1


@pytest.mark.parametrize("name", ["", 5, b"name", ["name"], "two\nlines", "bell\a", "\ud800", True])
def test_a_name_is_printable_text(registry: mh.Registry, name: Any) -> None:
    """Any other name is refused where it is written, and shown."""
    with pytest.raises(mh.ConfigurationError) as caught:
        mh.circuit_breaker(name, registry=registry)
    assert str(caught.value) == f"name must be printable text that is not empty, got {name!r}"


@pytest.mark.parametrize(
    "name", ["payments", "pay/ments", "päyments ✓", "x" * 1000, "a#2", "{key}"]
)
def test_any_printable_name_will_do(registry: mh.Registry, name: str) -> None:
    """Slashes, spaces, braces and other alphabets are fine in a name."""
    breaker = mh.circuit_breaker(name, registry=registry)
    breaker.force_open()
    with pytest.raises(mh.CircuitOpenError, match="forced-open") as caught:
        breaker.call(double, 1)
    assert repr(name) in str(caught.value)
    assert registry.circuit_breakers[name] is breaker


@pytest.mark.parametrize("given", ["default", {}, mh.Registry, 0])
@pytest.mark.parametrize("name", [None, "name"])
def test_a_registry_is_a_registry(name: Any, given: Any) -> None:
    """Anything else as ``registry=`` is refused where it is written."""
    with pytest.raises(mh.ConfigurationError, match=r"registry must be a meshhook\.Registry"):
        mh.circuit_breaker(name, registry=given)


def test_an_empty_registry_is_not_the_default_one() -> None:
    """A registry without policies is false in no way that matters."""
    registry = mh.Registry()
    mh.circuit_breaker("kept apart", registry=registry)
    assert "kept apart" in registry
    assert "kept apart" not in mh.registry


def test_call_passes_arguments_and_result(registry: mh.Registry) -> None:
    """``call`` runs any sync callable under the policy."""
    breaker = mh.circuit_breaker("b", registry=registry)
    assert breaker.call(double, 2) == 4
    assert breaker.call(functools.partial(double, number=3)) == 6
    assert breaker.call(dict, fn=1, self=2) == {"fn": 1, "self": 2}
    assert breaker.stats().successes == 3


def test_acall_passes_arguments_and_result(registry: mh.Registry) -> None:
    """``acall`` runs async functions, and others that return an awaitable."""
    breaker = mh.circuit_breaker("b", registry=registry)

    async def main() -> list[int]:
        return [
            await breaker.acall(double_async, 2),
            await breaker.acall(functools.partial(double_async, number=3)),
            await breaker.acall(lambda: double_async(4)),
            await breaker.acall(lambda: asyncio.ensure_future(double_async(5))),
        ]

    assert asyncio.run(main()) == [4, 6, 8, 10]
    assert breaker.stats().successes == 4


def test_call_refuses_an_async_function_before_calling_it(registry: mh.Registry) -> None:
    """The error says which method to use, and nothing is counted."""
    breaker = mh.circuit_breaker("b", registry=registry)
    with pytest.raises(TypeError, match=r"double_async.* is async: use `await policy.acall\(fn"):
        breaker.call(double_async, 1)  # type: ignore[unused-coroutine]
    assert breaker.stats().calls == 0


def test_acall_says_so_when_nothing_can_be_awaited(registry: mh.Registry) -> None:
    """The error of a sync function in ``acall`` says which method to use."""
    breaker = mh.circuit_breaker("b", registry=registry)
    with pytest.raises(TypeError, match=r"double.* is not async: use `policy.call\(fn"):
        asyncio.run(breaker.acall(double, 1))  # type: ignore[arg-type]


def test_call_refuses_a_coroutine_made_by_a_sync_function(registry: mh.Registry) -> None:
    """A lambda over an async function is told to be async, and its coroutine is closed."""
    make: Any = lambda: double_async(1)  # noqa: E731
    with pytest.raises(TypeError, match="make the function `async def`"):
        mh.circuit_breaker("b", registry=registry).call(make)


def test_calls_count_in_the_same_state_as_decorated_functions(registry: mh.Registry) -> None:
    """``call``, a block and a decorated function open one circuit together."""
    breaker = mh.circuit_breaker("b", failure_threshold=3, registry=registry)
    guard: Any = breaker(double)
    with pytest.raises(TypeError):
        breaker.call(guard)
    with contextlib.suppress(ValueError), breaker:
        raise ValueError
    assert breaker.state == mh.CircuitState.OPEN
    with pytest.raises(mh.CircuitOpenError):
        guard(1)


def enter(breaker: mh.CircuitBreaker, use: str, body: Callable[[], Any]) -> None:
    """Run ``body`` in a block of the breaker, sync or async."""
    if use == "with":
        with breaker:
            body()
        return

    async def main() -> None:
        async with breaker:
            body()

    asyncio.run(main())


@pytest.mark.parametrize("use", ["with", "async with"])
def test_a_block_counts_and_is_refused(registry: mh.Registry, use: str) -> None:
    """A block is a call: its exception counts, and an open circuit refuses to enter."""
    breaker = mh.circuit_breaker("b", failure_threshold=1, registry=registry)
    enter(breaker, use, lambda: None)
    with pytest.raises(ZeroDivisionError):
        enter(breaker, use, lambda: 1 / 0)
    with pytest.raises(mh.CircuitOpenError):
        enter(breaker, use, lambda: pytest.fail("it was open"))
    stats = breaker.stats()
    assert (stats.successes, stats.failures, stats.rejected) == (1, 1, 1)


@pytest.mark.parametrize("use", ["with", "async with"])
def test_blocks_nest(registry: mh.Registry, use: str) -> None:
    """A breaker may be entered inside of itself, and inside of another."""
    outer = mh.circuit_breaker("outer", registry=registry)
    inner = mh.circuit_breaker("inner", registry=registry)

    def body() -> None:
        with inner, outer, inner:
            pass

    enter(outer, use, body)
    assert (outer.stats().successes, inner.stats().successes) == (2, 2)


def test_blocks_of_many_tasks_overlap(registry: mh.Registry) -> None:
    """Each task leaves its own block, in whatever order they end."""
    breaker = mh.circuit_breaker("b", failure_threshold=99, registry=registry)

    async def work(index: int, gates: list[asyncio.Event]) -> None:
        with contextlib.suppress(ValueError):
            async with breaker:
                async with breaker:
                    gates[index].set()
                    await gates[(index * 7 + 3) % len(gates)].wait()
                if index % 2:
                    raise ValueError

    async def main() -> None:
        gates = [asyncio.Event() for _ in range(10)]
        async with breaker, asyncio.TaskGroup() as group:
            for index in range(10):
                group.create_task(work(index, gates))

    asyncio.run(main())
    stats = breaker.stats()
    assert (stats.successes, stats.failures, stats.ignored) == (16, 5, 0)


def test_blocks_of_many_threads_overlap(registry: mh.Registry) -> None:
    """The same for threads."""
    breaker = mh.circuit_breaker("b", registry=registry)
    start = threading.Barrier(8)

    def work() -> None:
        for _ in range(50):
            start.wait()
            with breaker, breaker:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.stats().successes == 800


def test_a_policy_asks_for_what_its_kind_must_say(registry: mh.Registry) -> None:
    """The base of all policies leaves drivers and statistics to its kinds, and resets nothing."""

    class Nothing(Policy):
        kind = "nothing"

    policy = Nothing(None, registry)
    with pytest.raises(NotImplementedError):
        policy.bind(double, double)
    with pytest.raises(NotImplementedError):
        policy.bind_async(double_async, double_async)
    with pytest.raises(NotImplementedError):
        policy.stats()
    policy.reset()
    assert policy.describe() == "nothing('nothing')"
    assert repr(policy) == "<nothing('nothing')>"


class Counting(Policy):
    """The smallest policy there can be: it counts calls."""

    kind = "counting"
    calls = 0

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs)

        vars(guarded).update(counted=self.counted, mark=self.settings)
        return guarded

    def counted(self) -> int:
        return self.calls

    def stats(self) -> Stats:
        return Stats(policy=self.kind, name=self.name)


def test_a_policy_may_give_its_functions_attributes(registry: mh.Registry) -> None:
    """What a policy adds is there on the guard and its methods; the outermost policy wins."""
    inner = Counting.shared("inner", 1, registry)
    outer = Counting.shared("outer", 2, registry)

    class Owner:
        @mh.circuit_breaker(registry=registry)
        @outer
        @mh.circuit_breaker(registry=registry)
        @inner
        def method(self) -> int:
            return 1

    guard: Any = Owner.__dict__["method"]
    assert Owner().method() == 1
    inner.calls = 5
    assert guard.counted() == guard.__call__.counted() == 1
    assert Owner().method.counted() == 1  # type: ignore[attr-defined]
    assert guard.mark == 2
