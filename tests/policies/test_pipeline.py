"""Pipelines: one object for several policies, the same stack as the decorators one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def double_async(number: int) -> int:
    return 2 * number


def kinds(guarded: Any) -> list[str]:
    return [policy.kind for policy in guarded.policies]


def test_the_first_is_outermost(colour: Colour, registry: mh.Registry) -> None:
    """The stack is the one of the decorators, read from the top."""
    limit = mh.timeout(2, registry=registry)
    breaker = mh.circuit_breaker(registry=registry)
    fn: Any = mh.Pipeline(limit, breaker)(colour.paint(double))
    assert kinds(fn) == ["timeout", "circuit_breaker"]
    assert colour.call(fn, 2) == 4
    assert [policy.stats().calls for policy in fn.policies] == [1, 1]


def test_it_decorates_what_decorators_do(registry: mh.Registry) -> None:
    """Functions, methods, class and static methods; and it looks like the function."""

    class Stock:
        pipeline = mh.Pipeline(
            mh.timeout(2, mode="cooperative", registry=registry),
            mh.circuit_breaker(registry=registry),
        )

        @pipeline
        def method(self, number: int) -> int:
            return number

        @pipeline
        @classmethod
        def of_class(cls, number: int) -> int:
            return number

        @staticmethod
        @pipeline
        def static(number: int) -> int:
            return number

    assert [Stock().method(1), Stock.of_class(2), Stock.static(3)] == [1, 2, 3]
    assert kinds(Stock.of_class) == kinds(Stock().method) == ["timeout", "circuit_breaker"]
    fn: Any = Stock.pipeline(double)
    assert (fn.__name__, fn.__doc__, fn.__wrapped__) == ("double", "Double a number.", double)
    assert isinstance(fn, mh.Guard)


def test_policies_without_a_name_are_of_each_function(registry: mh.Registry) -> None:
    """Two functions under one pipeline share nothing, but for what has a name."""
    pipeline = mh.Pipeline(
        mh.timeout(2, registry=registry), mh.circuit_breaker("shared", registry=registry)
    )
    one: Any = pipeline(double)
    two: Any = pipeline(lambda number: number)
    assert one.policies[0] is not two.policies[0]
    assert one.policies[1] is two.policies[1] is registry["shared"]
    one(1)
    assert two.policies[0].stats().calls == 0
    assert two.policies[1].stats().calls == 1


def test_names_are_taken_as_decorators_take_them(registry: mh.Registry) -> None:
    """Of two timeouts the inner one has the name of the function, and the outer one ``#2``."""
    pipeline = mh.Pipeline(mh.timeout(2, registry=registry), mh.timeout(1, registry=registry))
    fn: Any = pipeline(double)
    name = f"{__name__}.double"
    assert [policy.name for policy in fn.policies] == [f"{name}#2", name]


def test_it_goes_outside_of_what_is_there(registry: mh.Registry) -> None:
    """A guarded function gets more policies and stays one wrapper."""
    inner: Any = mh.timeout(1, registry=registry)(double)
    fn: Any = mh.Pipeline(mh.circuit_breaker(registry=registry))(inner)
    assert kinds(fn) == ["circuit_breaker", "timeout"]
    assert fn.policies[1] is inner.policies[0]
    assert fn.__wrapped__ is double


def test_the_chain_is_compiled_once(registry: mh.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight policies are bound eight times, and not once more for each that follows."""
    bound: list[str] = []
    bind = mh.Timeout.bind

    def counting(self: Any, call: Any, fn: Any) -> Any:
        bound.append(self.kind)
        return bind(self, call, fn)

    monkeypatch.setattr(mh.Timeout, "bind", counting)
    mh.Pipeline(*(mh.timeout(number + 1, registry=registry) for number in range(8)))(double)
    assert len(bound) == 8


def test_pipelines_are_made_of_pipelines(registry: mh.Registry) -> None:
    """One among the policies stands for what is in it."""
    limit = mh.timeout(2, registry=registry)
    inner = mh.Pipeline(limit, mh.circuit_breaker("inner", registry=registry))
    outer = mh.Pipeline(mh.circuit_breaker("outer", registry=registry), inner, limit)
    assert outer.policies == tuple(outer) == (outer.policies[0], *inner, limit)
    assert repr(outer) == (
        "<Pipeline: circuit_breaker('outer') > timeout > circuit_breaker('inner') > timeout>"
    )
    assert limit._name is None


def test_it_runs_calls_itself(registry: mh.Registry) -> None:
    """Without decorating; what has no name goes by its kind then."""
    pipeline = mh.Pipeline(mh.timeout(2, registry=registry), mh.circuit_breaker(registry=registry))
    assert pipeline.call(double, 2) == 4
    assert asyncio.run(pipeline.acall(double_async, number=3)) == 6
    assert asyncio.run(pipeline.acall(lambda: double_async(4))) == 8
    limit: Any
    breaker: Any
    limit, breaker = pipeline
    assert (limit.name, breaker.name) == ("timeout", "circuit_breaker")
    assert limit.stats().calls == breaker.stats().calls == 3


def test_a_call_fails_as_under_a_decorator(registry: mh.Registry) -> None:
    """The error is that of the function, and every policy has counted it."""
    pipeline = mh.Pipeline(
        mh.timeout(2, registry=registry), mh.circuit_breaker("db", registry=registry)
    )
    with pytest.raises(ZeroDivisionError):
        pipeline.call(lambda: 1 // 0)
    counts: list[Any] = [policy.stats() for policy in pipeline]
    assert [each.failures for each in counts] == [1, 1]


def stream() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda pipeline: pipeline.call(double_async, 1), "is async: use `await pipeline.acall"),
        (lambda pipeline: asyncio.run(pipeline.acall(double, 1)), "is not async"),
        (lambda pipeline: pipeline.call(stream), "generator function stream"),
        (lambda pipeline: asyncio.run(pipeline.acall(stream)), "generator function stream"),
        (lambda pipeline: pipeline(3), "decorates a function"),
        (lambda pipeline: pipeline(dict), "cannot decorate the class"),
    ],
)
def test_what_it_cannot_call_is_refused(registry: mh.Registry, call: Any, says: str) -> None:
    """The other colour, streams, classes and what is no function at all."""
    with pytest.raises(TypeError, match=says):
        call(mh.Pipeline(mh.timeout(2, registry=registry)))


@pytest.mark.parametrize(
    ("policies", "error", "says"),
    [
        ((), mh.ConfigurationError, "a pipeline needs at least one policy"),
        ((mh.timeout,), TypeError, r"write timeout\(\) with its settings"),
        (([],), TypeError, "one by one"),
        ((2,), TypeError, "got 2"),
    ],
)
def test_wrong_policies_are_refused(policies: Any, error: type[Exception], says: str) -> None:
    """The error says what to write."""
    with pytest.raises(error, match=says):
        mh.Pipeline(*policies)


def test_strict_order_is_true_or_false() -> None:
    """Anything else is a policy that was given by a wrong name."""
    wrong: Any = "yes"
    with pytest.raises(mh.ConfigurationError, match="strict_order must be True or False"):
        mh.Pipeline(mh.timeout(2), strict_order=wrong)


def test_a_strict_pipeline_refuses_what_defeats_itself(registry: mh.Registry) -> None:
    """When it is made; and when a function is decorated that makes the order a wrong one."""
    long, short = (mh.timeout(seconds, registry=registry) for seconds in (2, 1))
    with pytest.raises(mh.ConfigurationError, match="timeout-shorter-than-attempt"):
        mh.Pipeline(short, long, strict_order=True)
    assert mh.Pipeline(short, long)(double)(1) == 2
    strict = mh.Pipeline(short, strict_order=True)
    assert strict(double)(1) == 2
    with pytest.raises(mh.ConfigurationError, match="defeats itself:\n- timeout-shorter"):
        strict(long(double))


def test_it_guards_streams(registry: mh.Registry) -> None:
    """Generator functions, by the policies that can."""
    pipeline = mh.Pipeline(
        mh.circuit_breaker("items", registry=registry), mh.timeout(2, registry=registry)
    )
    assert list(pipeline(stream)()) == [1]
    assert [policy.kind for policy in mh.explain(pipeline(stream)).policies] == [
        "circuit_breaker",
        "timeout",
    ]
    with pytest.raises(TypeError, match="@idempotent cannot decorate the generator function"):
        mh.Pipeline(mh.idempotent("{item}", registry=registry))(stream)
