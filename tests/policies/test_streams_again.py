"""Streams under a retry and a fallback: something else is possible until the first item."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.runtime import pauses
from tests.colours import Colour
from tests.streams import Reader, failing, paint, read


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no pause take time, and remember what it would have taken."""
    slept: list[float] = []

    def in_thread(seconds: float) -> bool:
        slept.append(seconds)
        return True

    async def in_task(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(pauses, "in_thread", in_thread)
    monkeypatch.setattr(pauses, "in_task", in_task)
    return slept


class Flaky:
    """A body that fails so many times before its first item, and once after ``fails_after``."""

    def __init__(self, failures: int, *, fails_after: int | None = None) -> None:
        self.failures = failures
        self.fails_after = fails_after
        self.began = 0
        self.closed = 0

    def body(self) -> Iterator[int]:
        """Give three items, perhaps."""
        self.began += 1
        try:
            if self.began <= self.failures:
                raise ConnectionError(f"attempt {self.began}")
            for number in range(3):
                if number == self.fails_after:
                    raise ConnectionError("in the middle")
                yield number
        finally:
            self.closed += 1


def retry(registry: mh.Registry, **settings: Any) -> Any:
    """Make a retry with delays that are known."""
    return mh.retry(**{"name": "again", "jitter": None, "registry": registry, **settings})


def test_attempts_are_made_until_the_first_item(
    colour: Colour, registry: mh.Registry, slept: list[float]
) -> None:
    """A stream that fails before it has given anything is started again."""
    flaky = Flaky(2)
    policy = retry(registry)
    told: list[Any] = []
    with events.subscribe(told.append, events.CallRetried):
        assert read(colour, policy(paint(colour, flaky.body))) == [0, 1, 2]
    assert (flaky.began, flaky.closed) == (3, 3)
    assert slept == [0.1, 0.2]
    assert [event.attempt for event in told] == [1, 2]
    stats = policy.stats()
    assert (stats.calls, stats.successes, stats.recovered, stats.retries) == (1, 1, 1, 2)


def test_stamina_17_a_retried_generator_gives_no_item_twice(
    colour: Colour, registry: mh.Registry
) -> None:
    """After the first item an error goes through, and nothing is given again."""
    flaky = Flaky(0, fails_after=2)
    policy = retry(registry)
    reader = Reader(colour, policy(paint(colour, flaky.body))())
    assert reader.take(2) == [0, 1]
    with pytest.raises(ConnectionError, match="in the middle") as caught:
        reader.next()
    assert not getattr(caught.value, "__notes__", [])
    assert flaky.began == 1
    assert (policy.stats().calls, policy.stats().failures) == (1, 1)


def test_tenacity_16_generators_are_retried_indeed(colour: Colour, registry: mh.Registry) -> None:
    """It is not the call that is retried, which cannot fail, but what runs at the first item."""
    flaky = Flaky(1)
    fn = retry(registry)(paint(colour, flaky.body))
    stream = fn()
    assert flaky.began == 0
    assert Reader(colour, stream).rest() == [0, 1, 2]
    assert flaky.began == 2


def test_the_last_error_is_raised(colour: Colour, registry: mh.Registry) -> None:
    """With its note and the errors before it, as that of a call."""
    flaky = Flaky(9)
    policy = retry(registry)
    with pytest.raises(ConnectionError, match="attempt 3") as caught:
        read(colour, policy(paint(colour, flaky.body)))
    assert caught.value.__notes__[0].startswith("meshhook: 3 attempts")
    assert [str(each) for each in mh.attempts_of(caught.value)] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]
    assert caught.value.__context__ is None
    stats = policy.stats()
    assert (stats.failures, stats.ended_by["attempts"]) == (1, 1)


def test_an_empty_stream_is_a_success(colour: Colour, registry: mh.Registry) -> None:
    """No items are all of its items; in sync generators with what it returns."""
    policy = retry(registry)

    def body() -> Any:
        return "nothing"
        yield

    fn = policy(paint(colour, body))
    assert read(colour, fn) == []
    if colour.name == "sync":

        def outer() -> Any:
            assert (yield from fn()) == "nothing"

        assert list(outer()) == []
    assert policy.stats().failures == 0
    assert policy.stats().successes >= 1


def test_send_throw_and_close_reach_a_stream_that_was_retried(
    colour: Colour, registry: mh.Registry
) -> None:
    """The first item is there already, and what comes back for it goes in."""
    heard: list[Any] = []
    attempts: list[int] = []

    def body() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError
        try:
            heard.append((yield 1))
            try:
                yield 2
            except KeyError:
                heard.append("caught")
            yield 3
        finally:
            heard.append("closed")

    fn = mh.fallback([], registry=registry)(retry(registry)(paint(colour, body)))
    reader = Reader(colour, fn())
    assert reader.next() == 1
    assert reader.send("a") == 2
    assert reader.throw(KeyError()) == 3
    reader.close()
    assert heard == ["a", "caught", "closed"]


def test_an_early_close_is_no_outcome(colour: Colour, registry: mh.Registry) -> None:
    """Neither for the retry nor for the fallback."""
    policy, instead = retry(registry), mh.fallback([9], name="instead", registry=registry)
    reader = Reader(colour, instead(policy(paint(colour, Flaky(1).body)))())
    assert reader.next() == 0
    reader.close()
    for stats in (policy.stats(), instead.stats()):
        assert (stats.calls, stats.ignored) == (1, 1)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_interrupts_are_not_retried(colour: Colour, registry: mh.Registry, interrupt: Any) -> None:
    """Before the first item and in any attempt, they go through as nothing."""
    for before in (0, 1):
        policy = retry(registry, name=f"again {before}")
        instead = mh.fallback([9], name=f"instead {before}", registry=registry)
        began: list[int] = []

        def body(before: int = before, began: list[int] = began) -> Iterator[int]:
            began.append(1)
            if len(began) <= before:
                raise ConnectionError
            raise interrupt
            yield

        with pytest.raises(interrupt):
            read(colour, instead(policy(paint(colour, body))))
        assert len(began) == before + 1
        assert (policy.stats().calls, policy.stats().ignored) == (1, 1)
        assert (instead.stats().calls, instead.stats().ignored) == (1, 1)


def test_a_cancelled_pause_starts_nothing(registry: mh.Registry) -> None:
    """The attempts are over when the task is cancelled."""
    flaky = Flaky(9)
    policy = retry(registry)

    async def body() -> AsyncIterator[int]:
        for item in flaky.body():
            yield item

    async def main() -> None:
        stream: Any = policy(body)()
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (flaky.began, policy.stats().ignored) == (1, 1)


def test_a_stream_holds_on_to_no_error_of_its_attempts(registry: mh.Registry) -> None:
    """What a failed attempt was working on is free while the stream goes on."""

    class Payload:
        pass

    payloads: list[Any] = []

    def body() -> Iterator[int]:
        payload = Payload()
        payloads.append(weakref.ref(payload))
        if len(payloads) == 1:
            raise ConnectionError
        yield 1

    stream = retry(registry)(body)()
    next(stream)
    gc.collect()
    assert payloads[0]() is None
    assert payloads[1]() is not None
    stream.close()


def test_each_attempt_is_a_call_of_what_is_inside(colour: Colour, registry: mh.Registry) -> None:
    """A breaker below sees every attempt, and the stream once."""
    breaker = mh.circuit_breaker("db", registry=registry)
    fn = retry(registry)(breaker(paint(colour, Flaky(2).body)))
    assert read(colour, fn) == [0, 1, 2]
    assert (breaker.stats().failures, breaker.stats().successes) == (2, 1)


def test_results_are_none_to_be_retried(colour: Colour, registry: mh.Registry) -> None:
    """``on_result`` has nothing to look at."""
    with pytest.raises(mh.ConfigurationError, match="on_result judges what a call returns"):
        retry(registry, on_result=bool)(paint(colour, Flaky(0).body))


def test_a_value_stands_in_for_a_stream(colour: Colour, registry: mh.Registry) -> None:
    """Its items are given, each time anew."""
    policy = mh.fallback([7, 8], name="instead", registry=registry)
    told: list[Any] = []
    fn = policy(paint(colour, Flaky(9).body))
    with events.subscribe(told.append, events.FallbackUsed):
        assert read(colour, fn) == [7, 8]
        assert read(colour, fn) == [7, 8]
    assert [(event.source, event.error) for event in told] == [("value", "ConnectionError")] * 2
    stats = policy.stats()
    assert (stats.calls, stats.from_value, stats.failures) == (2, 2, 0)


def test_nothing_stands_in_for_half_a_stream(colour: Colour, registry: mh.Registry) -> None:
    """After the first item the error goes through."""
    policy = mh.fallback([7, 8], name="instead", registry=registry)
    reader = Reader(colour, policy(paint(colour, Flaky(0, fails_after=1).body))())
    assert reader.next() == 0
    with pytest.raises(ConnectionError, match="in the middle"):
        reader.next()
    assert (policy.stats().failures, policy.stats().used) == (1, 0)


def _list(_: Any) -> Any:
    return [7, 8]


def _generator(_: Any) -> Iterator[int]:
    yield 7
    yield 8


async def _async_generator(_: Any) -> AsyncIterator[int]:
    yield 7
    yield 8


async def _coroutine(_: Any) -> Any:
    return (7, 8)


@pytest.mark.parametrize("handler", [_list, _generator, _async_generator, _coroutine])
def test_a_handler_gives_a_stream(colour: Colour, registry: mh.Registry, handler: Any) -> None:
    """Anything that can be iterated, or awaited for that, in an async function."""
    policy = mh.fallback(handler=handler, name="instead", registry=registry)
    is_sync = handler in (_list, _generator)
    if colour.name == "sync" and inspect.iscoroutinefunction(handler):
        with pytest.raises(mh.ConfigurationError, match="is async"):
            policy(paint(colour, Flaky(9).body))
        return
    fn = policy(paint(colour, Flaky(9).body))
    if colour.name == "sync" and not is_sync:
        with pytest.raises(TypeError, match="gave async_generator in place of a stream"):
            read(colour, fn)
        return
    assert read(colour, fn) == [7, 8]
    assert policy.stats().from_handler == 1


@pytest.mark.parametrize("given", [None, 5, "text", b"text"])
def test_a_handler_that_gives_no_items(colour: Colour, registry: mh.Registry, given: Any) -> None:
    """Text is one item, and not its letters."""
    fn = mh.fallback(handler=lambda _: given, registry=registry)(paint(colour, Flaky(9).body))
    with pytest.raises(TypeError, match=r"in place of a stream; let it return a list") as caught:
        read(colour, fn)
    assert isinstance(caught.value.__context__, ConnectionError)


def test_a_stream_that_succeeds_needs_no_fallback(colour: Colour, registry: mh.Registry) -> None:
    """It is given as it is, and an interrupt of it too."""
    policy = mh.fallback([7], name="instead", registry=registry)
    assert read(colour, policy(paint(colour, Flaky(0).body))) == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        read(colour, policy(paint(colour, failing([1], KeyboardInterrupt()))))
    stats = policy.stats()
    assert (stats.calls, stats.successes, stats.ignored) == (2, 1, 1)


def test_an_error_that_gets_no_fallback(colour: Colour, registry: mh.Registry) -> None:
    """It goes through."""
    policy = mh.fallback([7], on=KeyError, name="instead", registry=registry)
    with pytest.raises(ConnectionError):
        read(colour, policy(paint(colour, Flaky(9).body)))
    assert policy.stats().failures == 1


@pytest.mark.parametrize(
    "settings",
    [{"value": [], "on_result": bool}, {"last_good": 5, "key": lambda: None}],
)
def test_fallbacks_for_results_are_refused(
    colour: Colour, registry: mh.Registry, settings: Any
) -> None:
    """A stream has no result to judge or to keep."""
    with pytest.raises(mh.ConfigurationError, match="last_good and on_result are about results"):
        mh.fallback(**settings, registry=registry)(paint(colour, Flaky(0).body))


@pytest.mark.parametrize("value", [5, None, "text", b"text", iter([1])])
def test_values_that_cannot_stand_in_for_a_stream(
    colour: Colour, registry: mh.Registry, value: Any
) -> None:
    """They fail at decoration; an iterator would be empty the second time."""
    with pytest.raises(mh.ConfigurationError, match="value must be a list of items"):
        mh.fallback(value, registry=registry)(paint(colour, Flaky(0).body))


def test_an_async_iterable_as_a_value(registry: mh.Registry) -> None:
    """In async streams only."""

    class Endless:
        def __aiter__(self) -> Any:
            return _async_generator(None)

    async def body() -> AsyncIterator[int]:
        raise ConnectionError
        yield 1

    policy: Callable[..., Any] = mh.fallback(Endless(), registry=registry)

    async def main() -> list[int]:
        return [item async for item in policy(body)()]

    assert asyncio.run(main()) == [7, 8]
    with pytest.raises(mh.ConfigurationError, match="value must be a list of items"):
        policy(failing([], OSError()))
