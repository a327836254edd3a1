"""What a guarded function shows and does as if it were not guarded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import functools
import gc
import inspect
import pickle
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import wrapt

import meshhook as mh


def plain(number: int, /, text: str = "x", *, flag: bool = False) -> str:
    """Repeat the text."""
    return text * number if flag else text


async def plain_async(number: int, /, text: str = "x", *, flag: bool = False) -> str:
    """Repeat the text."""
    return text * number if flag else text


@mh.circuit_breaker
def by_reference(number: int) -> int:
    """Return the number."""
    return number


@mh.circuit_breaker
async def by_reference_async(number: int) -> int:
    """Return the number."""
    return number


class Owner:
    @mh.circuit_breaker
    def method(self) -> str:
        return "method"

    @mh.circuit_breaker
    async def method_async(self) -> str:
        return "method"

    @classmethod
    @mh.circuit_breaker
    def of_class(cls) -> str:
        return cls.__name__

    @staticmethod
    @mh.circuit_breaker
    def of_nothing() -> str:
        return "nothing"


PLAIN = pytest.mark.parametrize("fn", [plain, plain_async], ids=["sync", "async"])
REFERENCES = pytest.mark.parametrize(
    "fn", [by_reference, by_reference_async], ids=["sync", "async"]
)
PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))


def guarded(fn: Callable[..., Any], policies: int = 1) -> Any:
    """Put so many breakers of a registry of their own around ``fn``."""
    registry = mh.Registry()
    for _ in range(policies):
        fn = mh.circuit_breaker(registry=registry)(fn)
    return fn


@PLAIN
def test_a_guard_is_a_wrapt_function_wrapper(fn: Any) -> None:
    """Isinstance holds for Guard, for wrapt's wrapper and for a function."""
    guard = guarded(fn)
    for kind in (mh.Guard, wrapt.FunctionWrapper, types.FunctionType):
        assert isinstance(guard, kind)
    assert inspect.isfunction(guard)
    assert callable(guard)


@PLAIN
@pytest.mark.parametrize(
    "attribute",
    [
        "__name__",
        "__qualname__",
        "__module__",
        "__doc__",
        "__annotations__",
        "__defaults__",
        "__kwdefaults__",
        "__code__",
        "__globals__",
        "__closure__",
        "__dict__",
    ],
)
def test_a_guard_shows_what_its_function_shows(fn: Any, attribute: str) -> None:
    """Names, documentation, annotations and defaults are those of the function."""
    assert getattr(fn, attribute) == getattr(guarded(fn, 2), attribute)


@PLAIN
def test_a_guard_has_the_signature_of_its_function(fn: Any) -> None:
    """Introspection sees through the guard: signature, unwrapping, type hints, source."""
    guard = guarded(fn, 2)
    assert inspect.signature(fn) == inspect.signature(guard)
    assert inspect.unwrap(guard) is fn
    assert guard.__wrapped__ is fn
    assert typing.get_type_hints(fn) == typing.get_type_hints(guard)
    assert inspect.get_annotations(fn, eval_str=True) == inspect.get_annotations(
        guard, eval_str=True
    )
    assert inspect.getsource(fn) == inspect.getsource(guard)
    assert inspect.getdoc(fn) == inspect.getdoc(guard)


def test_looking_at_the_class_hides_no_annotations() -> None:
    """Annotations of a function stay visible after somebody asked for those of Guard."""
    assert inspect.get_annotations(mh.Guard) == {}
    assert typing.get_type_hints(mh.Guard) == {}
    assert plain.__annotations__ == guarded(plain).__annotations__


def test_a_guard_keeps_the_colour() -> None:
    """Only a guarded async function is a coroutine function."""
    assert inspect.iscoroutinefunction(guarded(plain_async, 3))
    assert not inspect.iscoroutinefunction(guarded(plain, 3))
    assert inspect.iscoroutinefunction(Owner().method_async)
    assert not inspect.iscoroutinefunction(Owner().method)


def test_a_guard_returns_what_its_function_returns() -> None:
    """Arguments go in as they are, and results come out as they are."""
    assert plain(2, "ab", flag=True) == guarded(plain, 2)(2, "ab", flag=True)
    assert asyncio.run(guarded(plain_async, 2)(2, flag=True)) == "xx"
    result = object()
    assert guarded(lambda: result)() is result


def test_wrong_arguments_raise_what_the_function_raises(colour: Any) -> None:
    """A call that does not fit the signature raises the function's own TypeError."""
    fn = plain if colour.name == "sync" else plain_async
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'number'"):
        colour.call(guarded(fn))
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'colour'"):
        colour.call(guarded(fn), 1, colour="red")


@REFERENCES
@PROTOCOLS
def test_a_guard_pickles_by_reference(fn: Any, protocol: int) -> None:
    """Unpickling gives the very same guard."""
    assert pickle.loads(pickle.dumps(fn, protocol)) is fn


@PROTOCOLS
def test_methods_pickle_as_methods_do(protocol: int) -> None:
    """Bound methods, class methods and functions of a class pickle by reference too."""
    owner = Owner()
    again = pickle.loads(pickle.dumps(owner.method, protocol))
    assert again() == "method"
    assert isinstance(again.__self__, Owner)
    assert pickle.loads(pickle.dumps(Owner.of_class, protocol))() == "Owner"
    if protocol >= 4:
        assert pickle.loads(pickle.dumps(Owner.method, protocol)) is Owner.method
        assert pickle.loads(pickle.dumps(Owner.of_nothing, protocol)) is Owner.of_nothing


@pytest.mark.parametrize("callable_", [lambda: 1, functools.partial(plain, 1), Owner().method])
def test_what_no_module_holds_does_not_pickle(callable_: Any) -> None:
    """A guard that cannot be found by name refuses to pickle, as its function would."""
    with pytest.raises((pickle.PicklingError, TypeError, AttributeError)):
        pickle.dumps(guarded(callable_))


def test_a_nameless_callable_says_why_it_does_not_pickle() -> None:
    """The error shows the guard and the reason."""
    with pytest.raises(TypeError, match=r"cannot pickle <guarded functools.partial.*no module"):
        pickle.dumps(guarded(functools.partial(plain, 1)))


@REFERENCES
def test_a_copy_is_the_guard_itself(fn: Any) -> None:
    """Copy and deepcopy treat a guard as they treat a function."""
    assert copy.copy(fn) is fn
    assert copy.deepcopy(fn) is fn
    assert copy.deepcopy({"fn": fn})["fn"] is fn


@PLAIN
def test_functools_wraps_over_a_guard(fn: Any) -> None:
    """A foreign decorator over a guard copies what it would copy from the function."""
    guard = guarded(fn)

    @functools.wraps(guard)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return guard(*args, **kwargs)

    assert fn.__name__ == outer.__name__
    assert inspect.signature(fn) == inspect.signature(outer)
    assert inspect.unwrap(outer) is fn


@PLAIN
def test_a_guard_can_be_referenced_weakly(fn: Any) -> None:
    """A weak reference lives as long as the guard."""
    guard = guarded(fn)
    reference = weakref.ref(guard)
    assert reference() is guard
    del guard
    gc.collect()
    assert reference() is None


def test_partials_of_a_guard() -> None:
    """functools.partial over a guard is called, and keeps the colour."""
    assert functools.partial(guarded(plain), 3, flag=True)("a") == "aaa"
    partial = functools.partial(guarded(plain_async), 3, flag=True)
    assert inspect.iscoroutinefunction(partial)
    assert asyncio.run(partial("a")) == "aaa"


@PLAIN
def test_attributes_live_on_the_function(fn: Any) -> None:
    """Attributes set before, through or after the guard are all there."""

    @functools.wraps(fn)
    def target() -> str:
        return "called"

    vars(target)["before"] = 1
    guard = guarded(target)
    guard.after = 2
    assert (guard.before, guard.after, vars(target)["after"]) == (1, 2, 2)
    again = guarded(guard)
    assert (again.before, again.after) == (1, 2)
    del guard.after
    assert not hasattr(guard, "after")
    with pytest.raises(AttributeError):
        del guard.policies


def test_names_of_internals_are_the_users_to_use() -> None:
    """Keyword arguments of any name reach the function."""
    names = "self fn call name args kwargs policy key wrapped instance cls obj now"
    registry = mh.Registry()

    @mh.circuit_breaker("named", registry=registry)
    @mh.circuit_breaker(registry=registry)
    def echo(**given: Any) -> dict[str, Any]:
        return given

    breaker = mh.circuit_breaker(registry=registry)
    wanted = dict.fromkeys(names.split(), 1)
    assert wanted == echo(**wanted)
    assert wanted == breaker.call(echo, **wanted)

    async def echo_async(**given: Any) -> dict[str, Any]:
        return given

    assert wanted == asyncio.run(breaker(echo_async)(**wanted))
    assert wanted == asyncio.run(breaker.acall(echo_async, **wanted))


def test_a_stack_is_fused_into_one_guard() -> None:
    """Eight decorators make one guard that shows its policies, outermost first."""
    registry = mh.Registry()
    breakers = [mh.circuit_breaker(f"b{index}", registry=registry) for index in range(8)]
    fn: Any = plain
    for breaker in reversed(breakers):
        fn = breaker(fn)
    assert fn.__wrapped__ is plain
    assert breakers == list(fn.policies)
    assert fn(1) == "x"
    assert [breaker.stats().successes for breaker in breakers] == [1] * 8


def test_the_outermost_policy_is_asked_first(colour: Any) -> None:
    """An open breaker outside keeps the one inside from being asked at all."""
    fn = plain if colour.name == "sync" else plain_async
    registry = mh.Registry()
    outer, inner = (mh.circuit_breaker(name, registry=registry) for name in ("outer", "inner"))
    guard = outer(inner(fn))
    outer.force_open()
    with pytest.raises(mh.CircuitOpenError) as caught:
        colour.call(guard, 1)
    assert caught.value.name == "outer"
    assert (inner.stats().calls, inner.stats().rejected) == (0, 0)


def test_decorating_a_guard_again_leaves_the_first_alone() -> None:
    """The new guard has one policy more, the old one works as before."""
    registry = mh.Registry()
    first = mh.circuit_breaker("first", registry=registry)
    second = mh.circuit_breaker("second", registry=registry)
    one: Any = first(plain)
    two: Any = second(one)
    assert two is not one
    assert (one.policies, two.policies) == ((first,), (second, first))
    second.force_open()
    assert one(1) == "x"
    with pytest.raises(mh.CircuitOpenError):
        two(1)


def test_the_repr_shows_the_stack() -> None:
    """A guard says what it guards and by which policies, outermost first."""
    registry = mh.Registry()
    fn = mh.circuit_breaker("inner", registry=registry)(plain)
    guarded = mh.circuit_breaker("outer", registry=registry)(fn)
    shown = repr(guarded)
    assert str(guarded) == shown
    assert shown.startswith("<guarded plain: circuit_breaker('outer', ")
    assert "> circuit_breaker('inner', " in shown


def test_a_recursive_function_passes_its_guard_each_time() -> None:
    """Every level of a recursion is a call of its own."""
    breaker = mh.circuit_breaker("recursive", registry=mh.Registry())

    @breaker
    def count_down(number: int) -> int:
        return number and count_down(number - 1)

    assert count_down(50) == 0
    assert breaker.stats().successes == 51


def test_endless_recursion_ends_as_without_a_guard() -> None:
    """A RecursionError comes out as one."""

    @mh.circuit_breaker("endless", registry=mh.Registry())
    def endless() -> None:
        endless()

    # At the very limit no finalizer of something else could run: it would be reported as failing.
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(RecursionError):
            endless()
    finally:
        gc.enable()


@pytest.mark.parametrize("bare", [True, False])
def test_what_the_function_raises_comes_out_unchanged(colour: Any, bare: bool) -> None:
    """The very same exception object leaves the guard, whatever its kind."""
    kinds = [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
        RecursionError,
        StopAsyncIteration,
    ]
    raised: list[BaseException] = [kind("as it is") for kind in kinds]
    raised.append(ExceptionGroup("several", [ValueError(1), KeyError(2)]))
    raised.append(BaseExceptionGroup("several", [KeyboardInterrupt()]))
    if colour.name == "sync":
        raised += [StopIteration("value")]

    def fail(index: int) -> None:
        raise raised[index]

    breaker = mh.circuit_breaker("b", failure_threshold=99, registry=mh.Registry())
    guard = breaker(colour.paint(fail)) if bare else guarded(breaker(colour.paint(fail)))
    for index, wanted in enumerate(raised):
        caught: BaseException | None = None
        try:
            if colour.name == "sync":
                guard(index)
            else:
                guard(index).send(None)
        except BaseException as error:
            caught = error
        assert caught is wanted
        assert caught.__cause__ is None
        assert caught.__context__ is None


def test_parts_of_an_exception_group_can_be_caught() -> None:
    """``except*`` works around a guarded call."""

    @mh.circuit_breaker("group", registry=mh.Registry())
    def fail() -> None:
        raise ExceptionGroup("both", [ValueError(1), KeyError(2)])

    seen = []
    try:
        fail()
    except* ValueError:
        seen.append("value")
    except* KeyError:
        seen.append("key")
    assert seen == ["value", "key"]


def test_iterators_may_be_guarded() -> None:
    """A guarded ``__next__`` ends a loop with its own StopIteration."""

    class Countdown:
        def __init__(self) -> None:
            self.left = 3

        def __iter__(self) -> Countdown:
            return self

        @mh.circuit_breaker(registry=mh.Registry())
        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    assert list(Countdown()) == [2, 1, 0]


def test_threads_may_decorate_at_the_same_time() -> None:
    """Functions of one name decorated by 8 threads each get a policy and a name of their own."""
    registry = mh.Registry()
    pattern = mh.circuit_breaker(registry=registry)
    start = threading.Barrier(8)

    def decorate() -> list[Any]:
        start.wait()
        return [pattern(lambda: 1) for _ in range(25)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(decorate) for _ in range(8)]
        guards = [guard for future in running for guard in future.result()]
    assert len({guard.policies[0].name for guard in guards}) == 200
    assert len({id(guard.policies[0]) for guard in guards}) == 200
    assert len(registry) == 200


def test_threads_may_use_a_pattern_at_the_same_time() -> None:
    """A pattern that 8 threads ask for its name gets one name."""
    registry = mh.Registry()
    for _ in range(20):
        pattern = mh.circuit_breaker(registry=registry)
        start = threading.Barrier(8)

        def ask(pattern: Any = pattern, start: threading.Barrier = start) -> str:
            start.wait()
            return str(pattern.name)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            names = {future.result() for future in [pool.submit(ask) for _ in range(8)]}
        assert len(names) == 1
        assert len(registry) == 1


def test_looking_at_the_class_of_a_guard_hides_no_annotations() -> None:
    """A class without annotations gets an empty dict when it is asked for them, by whomever."""

    @mh.circuit_breaker
    def fn(item: str) -> int:
        return 1

    expected = fn.__annotations__
    assert mh.Guard.__annotations__ == {}
    assert typing.get_type_hints(type(fn)) == {}
    assert fn.__annotations__ == expected == {"item": "str", "return": "int"}
    fn.__annotations__ = {"item": "int"}
    assert fn.__annotations__ == fn.__wrapped__.__annotations__ == {"item": "int"}  # type: ignore[attr-defined]
