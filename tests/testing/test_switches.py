"""disabled and force_open: what a test takes out of a stack, and what it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.guard import Guard
from meshhook.policy import Policy
from meshhook.testing import disabled, force_open, no_wait
from tests.colours import Colour


class Noted(Policy):
    """A policy that notes the calls that go through it."""

    kind = "noted"

    def __init__(self, settings: Any, registry: mh.Registry) -> None:
        super().__init__(settings, registry)
        self.calls = 0

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return call(*args, **kwargs)

        guarded.shown = self.name  # type: ignore[attr-defined]
        return guarded

    def bind_async(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return await call(*args, **kwargs)

        guarded.shown = self.name  # type: ignore[attr-defined]
        return guarded

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return (yield from call(*args, **kwargs))

        return guarded

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            async for item in call(*args, **kwargs):
                yield item

        return guarded


class Other(Noted):
    """The same, of another kind."""

    kind = "other"


def noted(registry: mh.Registry, name: str | None = "one", kind: type[Noted] = Noted) -> Noted:
    return kind.shared(name, "settings", registry)


def test_a_kind_is_not_around_functions_in_the_block(colour: Colour, registry: mh.Registry) -> None:
    """Functions that are there already, and those that are made inside; afterwards it is."""
    one, other = noted(registry), noted(registry, kind=Other)

    def fn(number: int, *, flag: bool = False) -> Any:
        return number, flag

    early = one(other(colour.paint(fn)))
    with disabled("noted"):
        late = other(one(colour.paint(fn)))
        assert colour.call(early, 1, flag=True) == (1, True)
        assert colour.call(late, 2) == (2, False)
        assert (one.calls, other.calls) == (0, 2)
    assert colour.call(early, 1) == (1, False)
    assert colour.call(late, 2) == (2, False)
    assert (one.calls, other.calls) == (2, 4)


def test_a_function_may_lose_all_of_its_policies(colour: Colour, registry: mh.Registry) -> None:
    """It is called as it is."""
    one, other = noted(registry), noted(registry, kind=Other)
    fn = one(other(colour.paint(lambda x: x)))
    with disabled("noted", "other"):
        assert colour.call(fn, 1) == 1
    assert (one.calls, other.calls) == (0, 0)
    assert colour.call(fn, 1) == 1
    assert (one.calls, other.calls) == (1, 1)


def test_a_policy_is_meant_by_kind_and_name_or_as_itself(registry: mh.Registry) -> None:
    """The others of its kind stay."""
    one, two = noted(registry), noted(registry, "two")
    fn = one(two(len))
    for what in ("noted/one", one):
        with disabled(what):
            assert fn("abc") == 3
    assert (one.calls, two.calls) == (0, 2)


def test_a_pattern_means_the_policies_that_it_has_made(registry: mh.Registry) -> None:
    """Each function has one of its own; those of an equal pattern are others."""
    pattern = Noted.shared(None, object(), registry)
    equal = Noted.shared(None, object(), registry)
    one, two, other = pattern(len), pattern(max), equal(min)
    with disabled(pattern):
        assert (one("abc"), two(1, 2), other(1, 2)) == (3, 2, 1)
        assert [fn.policies[0].calls for fn in (one, two, other)] == [0, 0, 1]


def test_what_a_function_shows_stays(colour: Colour, registry: mh.Registry) -> None:
    """Its policies, its attributes and its form; what is set in the block stays set after it."""

    class Service:
        @noted(registry)
        @colour.paint
        def load(self) -> str:
            """Load."""
            return "row"

    service, fn = Service(), Service.load
    chain = type(fn).__call__
    with disabled("noted"):
        assert [policy.name for policy in fn.policies] == ["one"]
        for each in (fn, service.load):
            assert (each.shown, each.__name__, each.__doc__) == ("one", "load", "Load.")
            assert each.policies == fn.policies
            assert asyncio.iscoroutinefunction(each) == (colour.name == "async")
        assert "one" in repr(fn)
        fn.mark = 7
        assert service.load.mark == 7
    assert type(fn).__call__.__code__ is chain.__code__
    assert fn.mark == service.load.mark == 7


def test_methods_of_every_form_are_meant(colour: Colour, registry: mh.Registry) -> None:
    """Plain ones, class methods in either order, static ones, descriptors and partials."""
    one = noted(registry)

    class Descriptor:
        def __get__(self, obj: Any, owner: Any = None) -> Any:
            return functools.partial(self, obj)

        def __call__(self, *args: Any) -> Any:
            return len(args)

    class Service:
        @one
        @colour.paint
        def plain(self, number: int) -> int:
            return number

        @classmethod
        @one
        @colour.paint
        def of_class(cls, number: int) -> int:
            assert cls is Service
            return number

        @staticmethod
        @one
        @colour.paint
        def static(number: int) -> int:
            return number

        described: Any = one(Descriptor())
        described_late: Any = one(Descriptor())
        partial: Any = one(functools.partial(colour.paint(lambda number: number)))

    service = Service()
    assert service.described(1) == 2  # so that its bound chain is there before the block
    one.calls = 0
    for calls in (0, 8):
        with disabled("noted") if not calls else contextlib.nullcontext():
            for fn in (service.plain, service.of_class, Service.of_class, service.static):
                assert colour.call(fn, 1) == 1
            assert colour.call(functools.partial(service.plain, 1)) == 1
            assert colour.call(service.partial, 1) == 1
            assert service.described(1) == service.described_late(1) == 2
        assert one.calls == calls


def test_a_class_method_that_was_guarded_from_outside_is_meant(registry: mh.Registry) -> None:
    """The descriptor that classmethod makes is a callable of its own."""
    one = noted(registry)

    class Meta(type):
        pass

    class Service(metaclass=Meta):
        load = classmethod(one(lambda cls: cls.__name__))

    with disabled(one):
        assert Service.load() == "Service"
    assert one.calls == 0


@pytest.mark.parametrize("kinds", [("noted",), ("noted", "other")])
def test_generators_are_meant(registry: mh.Registry, kinds: tuple[str, ...]) -> None:
    """A stream gives its items without the policy, and stays what it is."""
    one, other = noted(registry), noted(registry, kind=Other)

    @one
    @other
    def items() -> Any:
        sent = yield 1
        yield sent
        return 3

    with disabled(*kinds):
        stream = items()
        assert [next(stream), stream.send(2)] == [1, 2]
        with pytest.raises(StopIteration) as ended:
            next(stream)
        assert ended.value.value == 3
        assert inspect.isgeneratorfunction(items)
        assert inspect.isgeneratorfunction(type(items).__call__)
    assert (one.calls, other.calls) == (0, 2 - len(kinds))
    assert list(items()) == [1, None]
    assert one.calls == 1


@pytest.mark.parametrize("kinds", [("noted",), ("noted", "other")])
def test_async_generators_are_meant(registry: mh.Registry, kinds: tuple[str, ...]) -> None:
    """The same in the other colour."""
    one, other = noted(registry), noted(registry, kind=Other)

    @one
    @other
    async def items() -> Any:
        yield 1
        yield 2

    async def collect() -> list[int]:
        return [item async for item in items()]

    with disabled(*kinds):
        assert asyncio.run(collect()) == [1, 2]
        assert inspect.isasyncgenfunction(type(items).__call__)
    assert (one.calls, other.calls) == (0, 2 - len(kinds))
    assert asyncio.run(collect()) == [1, 2]
    assert one.calls == 1


def test_blocks_may_overlap_and_end_in_any_order(registry: mh.Registry) -> None:
    """A policy is back when the last block that disables it has ended."""
    policies = [noted(registry), noted(registry, kind=Other)]
    fn = policies[0](policies[1](len))
    chain = type(fn).__call__
    kinds = ("noted", "other", "noted")
    for order in itertools.permutations(range(3)):
        scopes = [disabled(kind) for kind in kinds]
        for scope in scopes:
            scope.__enter__()
        left = [0, 1, 2]
        for ended in order:
            scopes[ended].__exit__(None, None, None)
            left.remove(ended)
            before = [policy.calls for policy in policies]
            assert fn("abc") == 3
            called = [now.calls > then for now, then in zip(policies, before, strict=True)]
            out = {kinds[each] for each in left}
            assert called == [policy.kind not in out for policy in policies]
        assert type(fn).__call__.__code__ is chain.__code__


def test_nothing_of_it_stays(registry: mh.Registry) -> None:
    """Neither on the classes of policies nor on guards; chains are like those of before."""
    one = noted(registry)
    fn = one(len)

    def seen() -> tuple[Any, ...]:
        return type(fn).__call__.__code__, Policy.call, vars(mh.CircuitBreaker)["__enter__"]

    before = seen()
    with pytest.raises(KeyError), disabled("noted"):
        assert "__init_subclass__" in vars(Guard)
        assert Policy.call is not before[1]
        raise KeyError
    assert seen() == before
    assert "__init_subclass__" not in vars(Guard)


def test_direct_calls_pass(registry: mh.Registry) -> None:
    """``call`` and ``acall`` of a disabled policy call the function, and check as ever."""
    one, two = noted(registry), noted(registry, "two")

    async def double(number: int) -> int:
        return 2 * number

    with disabled(one):
        assert one.call(len, "abc") == 3
        assert asyncio.run(one.acall(double, 2)) == 4
        with pytest.raises(TypeError, match="is async: use"):
            one.call(double, 2)
        assert two.call(len, "abc") == 3
        assert asyncio.run(two.acall(double, 2)) == 4
    assert (one.calls, two.calls) == (0, 2)


def test_blocks_of_a_policy_pass(registry: mh.Registry) -> None:
    """A ``with`` of a disabled breaker neither refuses nor counts; of another one it does."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    other = mh.circuit_breaker("other", failure_threshold=1, registry=registry)
    breaker.force_open()

    async def main() -> None:
        async with breaker, other:
            pass
        with pytest.raises(KeyError):
            async with breaker:
                raise KeyError

    with disabled(breaker):
        with breaker as given, other, breaker:
            assert given is breaker
        with pytest.raises(KeyError), breaker:
            raise KeyError
        asyncio.run(main())
    assert breaker.stats().rejected == breaker.stats().failures == breaker.stats().successes == 0
    assert other.stats().successes == 2
    with pytest.raises(mh.CircuitOpenError), breaker:
        raise AssertionError


def test_direct_calls_of_a_pipeline_pass(registry: mh.Registry) -> None:
    """By those of its policies that are disabled; the function is left as it is."""
    one, other = noted(registry), noted(registry, kind=Other)
    pipeline = mh.Pipeline(one, other)

    def double(number: int) -> int:
        return 2 * number

    async def double_async(number: int) -> int:
        return 2 * number

    def both() -> None:
        assert pipeline.call(double, 2) == 4
        assert asyncio.run(pipeline.acall(double_async, 2)) == 4

    for kinds, calls in ((("noted",), (0, 2)), (("noted", "other"), (0, 2)), (("retry",), (2, 4))):
        with disabled(*kinds):
            both()
        assert (one.calls, other.calls) == calls
    assert not hasattr(double, "__wrapped__")


def test_runs_of_an_idempotent_policy_pass(registry: mh.Registry) -> None:
    """Each executes the function, whatever the key has."""
    once = mh.idempotent(name="charge", registry=registry)
    runs: list[int] = []

    async def charge(number: int) -> int:
        runs.append(number)
        return number

    with disabled("idempotent"):
        assert [once.run("key", len, "abc"), once.run("key", len, "ab")] == [3, 2]
        for number in (1, 2):
            assert asyncio.run(once.arun("key", charge, number)) == number
    assert runs == [1, 2]
    assert [once.run("key", len, "abc"), once.run("key", len, "abc")] == [3, 3]


def test_a_loop_over_attempts_has_one(registry: mh.Registry) -> None:
    """Its error passes, sync and async, and nothing is waited for."""
    numbers: list[int] = []

    def loop() -> None:
        for attempt in mh.retrying(on=ZeroDivisionError):
            with attempt as it:
                assert it.previous is None
                numbers.append(it.number)
                raise ZeroDivisionError

    async def loop_async() -> None:
        async for attempt in mh.retrying(on=ZeroDivisionError):
            with attempt:
                numbers.append(attempt.number)
                raise ZeroDivisionError

    with disabled("retry"):
        with pytest.raises(ZeroDivisionError):
            loop()
        with pytest.raises(ZeroDivisionError):
            asyncio.run(loop_async())
        assert numbers == [1, 1]
    with disabled("timeout"), no_wait(), pytest.raises(AssertionError):
        loop()
    with disabled("timeout"), no_wait(), pytest.raises(ZeroDivisionError):
        asyncio.run(loop_async())
    assert numbers == [1, 1, 1, 1, 2, 3]


def test_a_block_that_waits_passes_too(registry: mh.Registry) -> None:
    """A limit and a bulkhead that are full let everybody in, and nothing is taken."""
    limit = mh.rate_limit("1/h", name="limit", registry=registry)
    bulkhead = mh.bulkhead(1, name="places", registry=registry)

    async def main() -> None:
        async with limit, bulkhead, bulkhead:
            pass

    with disabled("rate_limit", "bulkhead"):
        with limit, limit, bulkhead, bulkhead:
            pass
        asyncio.run(main())
    with limit, bulkhead:
        with disabled("timeout"), pytest.raises(mh.RejectedError), bulkhead:
            raise AssertionError
        with disabled("timeout"), pytest.raises(mh.RejectedError), limit:
            raise AssertionError
    assert bulkhead.stats().rejected == 1


def test_a_block_that_began_before_ends_as_ever(registry: mh.Registry) -> None:
    """What it was given is settled, though the policy is disabled by then."""
    breaker = mh.circuit_breaker("db", registry=registry)

    async def main(scope: Any) -> None:
        async with breaker:
            scope.__enter__()

    for calls in (1, 2):
        with disabled(breaker), breaker:
            pass  # so that there have been blocks that passed
        scope = disabled(breaker)
        if calls == 1:
            with breaker:
                scope.__enter__()
        else:
            asyncio.run(main(scope))
        scope.__exit__(None, None, None)
        assert breaker.stats().successes == calls


def test_every_kind_of_the_library_can_be_disabled(colour: Colour, registry: mh.Registry) -> None:
    """A stack of an open circuit, a limit and an idempotent function."""
    breaker = mh.circuit_breaker("db", registry=registry)
    runs: list[int] = []

    @mh.idempotent("{number}", registry=registry)
    @breaker
    @mh.timeout(30.0, registry=registry)
    @colour.paint
    def charge(number: int) -> int:
        runs.append(number)
        return number

    with disabled("idempotent", "timeout"):
        assert colour.call(charge, 1) == colour.call(charge, 1) == 1
        assert runs == [1, 1]
    breaker.force_open()
    with disabled("circuit_breaker"):
        assert colour.call(charge, 2) == colour.call(charge, 2) == 2
        assert runs == [1, 1, 2]
    with disabled("circuit_breaker", "timeout", "idempotent"):
        assert colour.call(charge, 2) == 2
        assert charge.key_for(2)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(charge, 3)


def test_a_test_function_may_be_decorated(colour: Colour, registry: mh.Registry) -> None:
    """The switch holds while it runs."""
    one = noted(registry)
    fn = one(len)

    def body() -> None:
        assert fn("abc") == 3

    colour.call(disabled("noted")(colour.paint(body)))
    assert one.calls == 0
    assert fn("abc") == 3
    assert one.calls == 1


def test_it_works_while_others_call_and_decorate(registry: mh.Registry) -> None:
    """Calls from threads go with the policy or without it, and none goes wrong."""
    one = noted(registry)
    fn = one(len)
    ended = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not ended.is_set():
                assert fn("abc") == 3
                assert one(max)(1, 2) == 2
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        with disabled("noted"):
            pass
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == []


WRONG: list[tuple[tuple[Any, ...], str]] = [
    ((), "disabled() needs to know what: a kind such as 'timeout'"),
    (("timeuot",), "disabled() takes policies, 'kind' or 'kind/name', got 'timeuot'; the kinds ar"),
    (("payments",), "got 'payments'; the kinds are"),
    ((len,), "got <built-in function len>; the kinds are"),
    (("timeout", None), "got None; the kinds are"),
]


@pytest.mark.parametrize(("what", "message"), WRONG)
def test_what_is_no_policy_is_an_error(what: Any, message: str) -> None:
    """A typing error does not pass for a switch that does nothing."""
    with pytest.raises(mh.ConfigurationError) as caught, disabled(*what):
        raise AssertionError
    assert message in str(caught.value)


def test_a_breaker_is_forced_open_in_a_block(colour: Colour, registry: mh.Registry) -> None:
    """By name or as itself; then it is as it was."""
    breaker = mh.circuit_breaker("payments", registry=registry)
    fn = breaker(colour.paint(lambda: "paid"))
    for given in (force_open("payments", registry=registry), force_open(breaker)):
        with given as forced:
            assert forced is breaker
            with pytest.raises(mh.CircuitOpenError):
                colour.call(fn)
            with force_open(breaker):
                pass
            with pytest.raises(mh.CircuitOpenError):
                colour.call(fn)
        assert colour.call(fn) == "paid"
    breaker.metrics_only()
    with force_open(breaker):
        pass
    assert breaker.state == "metrics_only"


def test_a_breaker_is_found_in_the_default_registry(meshhook_registry: mh.Registry) -> None:
    """Unless another registry is named; one that is not there is an error that names the others."""
    with pytest.raises(KeyError, match="no circuit breaker is named 'db'; the registry has none"):
        force_open("db").__enter__()
    breaker = mh.circuit_breaker("payments")
    with force_open("payments"):
        assert breaker.state == "forced_open"
    with pytest.raises(KeyError, match="named 'db'; the registry has 'payments'"):
        force_open("db").__enter__()
