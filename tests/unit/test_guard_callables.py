"""Guards around whatever can be called, foreign decorators in between, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import types
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any
from unittest import mock

import pytest
import wrapt

import meshhook as mh


@pytest.fixture
def breaker(registry: mh.Registry) -> Any:
    """Make a breaker without a name, so that each function gets its own."""
    return mh.circuit_breaker(registry=registry)


class Adder:
    """A callable object."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __call__(self, number: int) -> int:
        return self.start + number

    def method(self, number: int) -> int:
        return self.start + number


class AsyncAdder(Adder):
    """A callable object whose call is async."""

    async def __call__(self, number: int) -> int:  # type: ignore[override]
        return self.start + number


class Slotted:
    """A callable object without a ``__dict__``."""

    __slots__ = ()

    def __call__(self, number: int) -> int:
        return 1 + number


class Remote:
    """A proxy that has an answer to every name, as those of remote procedures have."""

    def __getattr__(self, name: str) -> Remote:
        return self

    def __call__(self, number: int) -> int:
        return 1 + number


async def add(start: int, number: int) -> int:
    return start + number


@pytest.mark.parametrize(
    "callable_",
    [
        Adder(1),
        Adder(1).method,
        Slotted(),
        Remote(),
        (1).__add__,
        lambda number: 1 + number,
        functools.partial(lambda start, number: start + number, 1),
        functools.partial(Adder(1)),
        functools.partial(functools.partial(Adder(1).method)),
        functools.lru_cache(lambda number: 1 + number),
        mock.Mock(side_effect=lambda number: 1 + number),
        mock.MagicMock(side_effect=lambda number: 1 + number),
    ],
    ids=repr,
)
def test_any_sync_callable(breaker: Any, callable_: Any) -> None:
    """Objects, methods, builtins, lambdas, partials and mocks are called under the policy."""
    guard = breaker(callable_)
    assert guard(2) == 3
    assert not inspect.iscoroutinefunction(guard)
    assert guard.policies[0].stats().successes == 1


@pytest.mark.parametrize(
    "callable_",
    [
        AsyncAdder(1),
        AsyncAdder(1).__call__,
        functools.partial(add, 1),
        functools.partial(functools.partial(add), 1),
        functools.partial(AsyncAdder(1)),
        mock.AsyncMock(side_effect=lambda number: 1 + number),
    ],
    ids=repr,
)
def test_any_async_callable(breaker: Any, callable_: Any) -> None:
    """Objects with an async call, partials of async functions and async mocks are awaited."""
    guard = breaker(callable_)
    assert asyncio.run(guard(2)) == 3
    assert inspect.iscoroutinefunction(guard.__call__)
    assert guard.policies[0].stats().successes == 1


@pytest.mark.parametrize("function", [len, sorted, str.upper, "text".upper, dict.get, print])
def test_builtins_keep_name_and_signature(breaker: Any, function: Any) -> None:
    """A guarded builtin shows what the builtin shows."""
    guard = breaker(function)
    assert function.__name__ == guard.__name__
    assert function.__doc__ == guard.__doc__
    with contextlib.suppress(ValueError):
        assert inspect.signature(function) == inspect.signature(guard)


def test_objects_show_through_their_guard(breaker: Any) -> None:
    """Attributes and methods of a callable object are reached through its guard."""
    adder = Adder(5)
    guard = breaker(adder)
    assert (guard.start, guard.method(1)) == (5, 6)
    guard.start = 7
    assert (adder.start, guard(1)) == (7, 8)


@pytest.mark.parametrize(
    ("callable_", "ending"),
    [
        (Adder(1), "test_guard_callables.Adder"),
        (Adder(1).method, "test_guard_callables.Adder.method"),
        (functools.partial(functools.partial(add), 1), "test_guard_callables.add"),
        (functools.partial(Adder(1)), "test_guard_callables.Adder"),
        (len, "builtins.len"),
        (mock.Mock(), "unittest.mock.Mock"),
        (Remote(), "test_guard_callables.Remote"),
    ],
    ids=repr,
)
def test_names_of_callables(breaker: Any, callable_: Any, ending: str) -> None:
    """A policy without a name takes that of the function, or of the type of an object."""
    assert breaker(callable_).policies[0].name.endswith(ending)


def test_a_callable_without_a_module_has_a_name(breaker: Any) -> None:
    """Where there is no module to name, a question mark stands for it."""

    def fn() -> None: ...

    fn.__module__ = None  # type: ignore[assignment]
    assert breaker(fn).policies[0].name.startswith("?.test_a_callable")


def by_wraps(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as most do."""
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def outer_async(*args: Any, **kwargs: Any) -> Any:
            return await fn(*args, **kwargs)

        return outer_async

    @functools.wraps(fn)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return outer


def call_through(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


by_wrapt: Any = wrapt.decorator(call_through)
"""Decorates as wrapt does."""


@contextlib.contextmanager
def block() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def block_async() -> AsyncIterator[None]:
    yield


def by_context(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with a context manager."""
    return block_async()(fn) if inspect.iscoroutinefunction(fn) else block()(fn)


@pytest.mark.parametrize("foreign", [by_wraps, by_wrapt, by_context])
def test_foreign_decorators_start_a_new_stack(breaker: Any, colour: Any, foreign: Any) -> None:
    """Below a foreign decorator there is a guard of its own; both see the call."""
    inner = breaker(colour.paint(lambda number: number + 1))
    outer = breaker(breaker(foreign(inner)))
    assert colour.call(outer, 1) == 2
    assert len(inner.policies) == 1
    assert len(outer.policies) == 2
    assert [p.stats().successes for p in (*outer.policies, *inner.policies)] == [1, 1, 1]
    assert inspect.iscoroutinefunction(outer) is (colour.name == "async")


def test_a_guarded_context_manager_function(breaker: Any) -> None:
    """What makes a context manager is no generator function, and may be guarded."""
    with breaker(block)() as nothing:
        assert nothing is None


class Generates:
    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1

    async def method_async(self) -> AsyncIterator[int]:
        yield 1


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> AsyncIterator[int]:
    yield 1


@types.coroutine
def old_coroutine() -> Generator[Any, Any, Any]:
    yield


GENERATORS = [
    generate,
    generate_async,
    old_coroutine,
    Generates(),
    Generates().method,
    Generates().method_async,
    functools.partial(generate),
    functools.partial(generate_async),
    functools.partial(Generates()),
    functools.partial(Generates().method),
    staticmethod(generate),
    classmethod(generate_async),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("generator", GENERATORS, ids=repr)
def test_streams_are_refused_by_a_policy_that_can_do_nothing_for_them(generator: Any) -> None:
    """Generator functions of every kind fail at decoration, with the reason and the way out."""
    once = mh.idempotent("{0}", name="once", registry=mh.Registry())
    with pytest.raises(
        TypeError, match=r"@idempotent cannot decorate the generator function .*; decorate the"
    ):
        once(generator)


@pytest.mark.parametrize(
    "generator", [each for each in GENERATORS if each is not old_coroutine], ids=repr
)
def test_streams_of_every_kind_are_guarded(registry: mh.Registry, generator: Any) -> None:
    """They give their items, keep their colour, and are one call of the policy."""
    breaker = mh.circuit_breaker("db", registry=registry)
    guarded = breaker(generator)
    if isinstance(guarded, (staticmethod, classmethod)):
        guarded = guarded.__func__
    called = guarded()
    if inspect.isasyncgen(called):

        async def read() -> list[int]:
            return [item async for item in called]

        assert asyncio.run(read()) == [1]
    else:
        assert list(called) == [1]
    assert breaker.stats().successes == 1


def test_an_old_coroutine_is_refused(breaker: Any) -> None:
    """It is a generator function that is awaited, and of no colour."""
    with pytest.raises(TypeError, match=r"types\.coroutine made it awaitable.*`async def`"):
        breaker(old_coroutine)


@pytest.mark.parametrize("generator", GENERATORS[:10], ids=repr)
def test_generators_are_refused_in_direct_calls(breaker: Any, generator: Any) -> None:
    """Call and acall refuse them too, before anything runs."""
    with pytest.raises(TypeError, match="generator function"):
        breaker.call(generator)
    with pytest.raises(TypeError, match="generator function"):
        asyncio.run(breaker.acall(generator))
    assert breaker.stats().calls == 0


@pytest.mark.parametrize(
    "decorate", [lambda b: b, lambda _: mh.circuit_breaker], ids=["()", "bare"]
)
def test_classes_are_refused(breaker: Any, decorate: Any) -> None:
    """A class fails at decoration, naming it and what to decorate instead."""
    with pytest.raises(TypeError, match=r"cannot decorate the class Adder: decorate its methods"):
        decorate(breaker)(Adder)


@pytest.mark.parametrize(
    "thing",
    [
        5,
        None,
        "name",
        property(Generates.method),
        functools.partialmethod(Generates.method),
        object(),
    ],
)
def test_what_cannot_be_called_is_refused(breaker: Any, thing: Any) -> None:
    """Anything else fails at decoration, and the error shows it."""
    with pytest.raises(TypeError, match=r"@circuit_breaker decorates a function .*, got "):
        breaker(thing)


class Waits:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, Any, Any]:
        yield


class Closes(Coroutine[Any, Any, Any]):
    """A coroutine that is not Python's own, as HTTP clients return."""

    def __init__(self) -> None:
        self.closed = False

    def send(self, _: Any) -> Any: ...

    def throw(self, *_: Any) -> Any: ...

    def close(self) -> None:
        self.closed = True

    def __await__(self) -> Generator[Any, Any, Any]:
        yield


def test_a_sync_function_that_returns_a_coroutine_is_told_so(breaker: Any) -> None:
    """The error names the way out, and the coroutine is closed without a warning."""
    guard = breaker(lambda: add(1, 2))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(
            TypeError, match=r"awaitable \(coroutine\).*make the function `async def`"
        ):
            guard()
        gc.collect()
    assert seen == []


def test_a_foreign_coroutine_is_closed(breaker: Any) -> None:
    """Whatever behaves as a coroutine is closed when it is refused."""
    coroutine = Closes()
    with pytest.raises(TypeError, match=r"returned an awaitable \(Closes\)"):
        breaker(lambda: coroutine)()
    assert coroutine.closed


def test_every_awaitable_is_refused_each_time(breaker: Any) -> None:
    """Futures, tasks and objects with ``__await__`` fail, the second time as the first."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.sleep(0))
        made: list[Awaitable[Any]] = [loop.create_future(), task, Waits()]
        for awaitable in made:
            guard = breaker(lambda awaitable=awaitable: awaitable)
            for _ in range(2):
                with pytest.raises(TypeError, match=type(awaitable).__name__):
                    guard()
        await task

    asyncio.run(main())


def test_an_async_function_may_return_an_awaitable(breaker: Any) -> None:
    """The result of an async function is its own business."""
    waits = Waits()

    async def give() -> Waits:
        return waits

    assert asyncio.run(breaker(give)()) is waits


@pytest.mark.parametrize("result", [None, False, 0, "", [], {}, (), iter([]), object, Adder(1)])
def test_any_other_result_is_fine(breaker: Any, colour: Any, result: Any) -> None:
    """Falsy results, iterators, classes and objects come back as they are."""
    guard = breaker(colour.paint(lambda: result))
    assert colour.call(guard) is result
    assert colour.call(guard) is result


def test_types_of_results_are_not_collected_without_bound(
    breaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of types of results is bounded, and forgetting them harms nothing."""
    from meshhook import guard as guard_module

    monkeypatch.setattr(guard_module, "_PLAIN_LIMIT", 20)
    make = breaker(lambda index: type(f"Result{index}", (), {})())
    for index in range(100):
        assert type(make(index)).__name__ == f"Result{index}"
        assert len(guard_module.PLAIN) <= 20 or index == 0
    assert breaker(lambda: 5)() == 5


def test_used_bare_and_called(registry: mh.Registry) -> None:
    """``@circuit_breaker``, ``()``, ``("name")`` and ``breaker(fn)`` all make a guard."""
    named = mh.circuit_breaker("named", registry=registry)

    @mh.circuit_breaker
    def bare() -> str:
        return "ran"

    @mh.circuit_breaker()
    def called() -> str:
        return "ran"

    @mh.circuit_breaker("named", registry=registry)
    def by_name() -> str:
        return "ran"

    applied = named(lambda: "ran")
    for guard in (bare, called, by_name, applied):
        assert isinstance(guard, mh.Guard)
        assert guard() == "ran"
    assert by_name.policies == applied.policies == (named,)  # type: ignore[attr-defined]
    assert bare.policies[0].name.endswith("<locals>.bare")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_a_subclass_of_classmethod_keeps_its_type(breaker: Any, kind: Any) -> None:
    """The guard goes inside of the class method or static method, whatever its exact type."""
    special: Any = type("Special", (kind,), {})
    decorated = breaker(special(lambda *_: "ran"))
    assert type(decorated) is special
    assert isinstance(decorated.__func__, mh.Guard)
    assert decorated.__get__(None, Adder)() == "ran"
