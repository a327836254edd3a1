"""Streams under a timeout: a limit for each item and one for all, and none between two items."""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.deadline import current
from meshhook.runtime.watchdog import watchdog
from tests.colours import Colour
from tests.streams import Reader, failing, paint, read

SYNC_MODES = ("auto", "thread", "signal", "interrupt")
LIMIT = 0.02
in_every_mode = pytest.mark.parametrize(
    ("colour", "mode"),
    [*(("sync", mode) for mode in (*SYNC_MODES, "cooperative")), ("async", "auto")],
    indirect=["colour"],
)
that_stop = pytest.mark.parametrize(
    ("colour", "mode"),
    [*(("sync", mode) for mode in SYNC_MODES), ("async", "auto")],
    indirect=["colour"],
)


class Slow:
    """A stream with an item that does not come; it tells how it ended."""

    def __init__(self, colour: Colour, *, after: int = 2, first_takes: float = 0.0) -> None:
        self.ended = threading.Event()
        self.after = after
        self.first_takes = first_takes
        self.fn: Callable[[], Any] = self._wait if colour.name == "sync" else self._wait_async

    def _wait(self) -> Iterator[int]:
        try:
            time.sleep(self.first_takes)
            yield from range(self.after)
            give_up = time.monotonic() + 5
            while time.monotonic() < give_up and not self.ended.is_set():
                time.sleep(0.001)
                if current.get() is None:
                    break
            yield self.after
        finally:
            self.ended.set()

    async def _wait_async(self) -> AsyncIterator[int]:
        try:
            await asyncio.sleep(self.first_takes)
            for number in range(self.after):
                yield number
            await asyncio.sleep(5)
        finally:
            self.ended.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


@that_stop
def test_an_item_that_does_not_come(colour: Colour, mode: Any, registry: mh.Registry) -> None:
    """Its time is up, and so is that of the stream; those before it have been given."""
    limit = mh.timeout(None, per_item=LIMIT, mode=mode, name="slow", registry=registry)
    slow = Slow(colour)
    reader = Reader(colour, limit(slow.fn)())
    told: list[Any] = []
    assert reader.take(2) == [0, 1]
    with (
        events.subscribe(told.append, events.CallTimedOut),
        pytest.raises(mh.TimeoutError, match="gave no item within 0.02 s; ") as caught,
    ):
        reader.next()
    assert caught.value.timeout == LIMIT
    assert [event.timeout for event in told] == [LIMIT]
    with pytest.raises(reader.over):
        reader.next()
    slow.ended.set()
    until(lambda: limit.stats().abandoned == 0)
    stats = limit.stats()
    assert (stats.calls, stats.timed_out, stats.failures) == (1, 1, 0)
    assert stats.abandoned_total == (mode == "thread")
    assert (stats.seconds, stats.per_item) == (None, LIMIT)
    assert json.dumps(stats.to_dict())


@that_stop
def test_all_items_together(colour: Colour, mode: Any, registry: mh.Registry) -> None:
    """The total is that of all steps, whatever the limit of each."""
    limit = mh.timeout(LIMIT, name="slow", mode=mode, registry=registry)
    slow = Slow(colour, after=1)
    reader = Reader(colour, limit(slow.fn)())
    assert reader.next() == 0
    with pytest.raises(mh.TimeoutError, match=r"did not give all of its items within 0\.02 s"):
        reader.next()
    slow.ended.set()
    assert limit.stats().timed_out == 1
    until(lambda: limit.stats().abandoned == 0)


@that_stop
def test_the_earlier_limit_counts(colour: Colour, mode: Any, registry: mh.Registry) -> None:
    """What is left of the total may be less than the limit of an item."""
    limit = mh.timeout(0.1, per_item=0.099, mode=mode, name="slow", registry=registry)
    slow = Slow(colour, after=1, first_takes=0.02)
    with pytest.raises(mh.TimeoutError, match="did not give all of its items") as caught:
        read(colour, limit(slow.fn))
    assert caught.value.timeout == 0.1
    slow.ended.set()
    until(lambda: limit.stats().abandoned == 0)


@in_every_mode
def test_the_time_of_the_consumer_does_not_count(
    colour: Colour, mode: Any, registry: mh.Registry
) -> None:
    """He may take longer than any limit, and sees no deadline; the stream sees its own."""
    limit = mh.timeout(0.5, per_item=0.4, mode=mode, name="any", registry=registry)
    seen: list[Any] = []

    def body() -> Iterator[int]:
        for number in range(4):
            seen.append(mh.remaining())
            yield number

    reader = Reader(colour, limit(paint(colour, body))())
    for number in range(4):
        assert reader.next() == number
        assert mh.remaining() is None
        assert current.get() is None
        assert not watchdog.watched
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        time.sleep(0.15)
    assert reader.rest() == []
    assert all(0.2 < left <= 0.4 for left in seen)
    assert limit.stats().successes == 1


def test_no_consumer_is_cancelled_between_two_items(registry: mh.Registry) -> None:
    """The task is watched while it is inside of the generator, and never outside."""
    limit = mh.timeout(0.01, per_item=0.005, registry=registry)

    @limit
    async def body() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.001)
        yield 2

    async def main() -> None:
        async for _ in body():
            await asyncio.sleep(0.02)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


@in_every_mode
def test_a_deadline_outside_is_heeded_at_each_step(
    colour: Colour, mode: Any, registry: mh.Registry
) -> None:
    """At the first item the stream is not started; later on its time is up."""
    limit = mh.timeout(30, mode=mode, name="slow", registry=registry)
    reader = Reader(colour, limit(_two(colour))())
    with pytest.raises(mh.NoTimeLeftError):
        reader.next_within(0)
    assert limit.stats().rejected == 1
    assert limit.stats().calls == 0
    reader = Reader(colour, limit(_two(colour))())
    assert reader.next() == 1
    with pytest.raises(mh.TimeoutError, match="all that an outer deadline left") as caught:
        reader.next_within(0)
    assert not isinstance(caught.value, mh.RejectedError)
    assert (limit.stats().timed_out, limit.stats().calls) == (1, 1)


def _two(colour: Colour) -> Callable[..., Any]:
    def body() -> Iterator[int]:
        yield 1
        yield 2

    return paint(colour, body)


@that_stop
def test_a_deadline_outside_ends_a_step(colour: Colour, mode: Any, registry: mh.Registry) -> None:
    """It takes the place of limits that are later."""
    limit = mh.timeout(30, per_item=20, mode=mode, name="slow", registry=registry)
    slow = Slow(colour, after=0)
    reader = Reader(colour, limit(slow.fn)())
    with pytest.raises(mh.TimeoutError, match="that an outer deadline left") as caught:
        reader.next_within(LIMIT)
    slow.ended.set()
    assert caught.value.timeout == pytest.approx(LIMIT, abs=0.01)
    until(lambda: limit.stats().abandoned == 0)


@in_every_mode
def test_what_a_stream_raises_is_counted_at_its_end(
    colour: Colour, mode: Any, registry: mh.Registry
) -> None:
    """A failure once; an early close and an error of the consumer as nothing."""
    limit = mh.timeout(30, mode=mode, name="any", registry=registry)
    reader = Reader(colour, limit(paint(colour, failing([1], OSError("gone"))))())
    assert reader.next() == 1
    with pytest.raises(OSError, match="gone"):
        reader.next()
    for end in ("close", "throw"):
        reader = Reader(colour, limit(_two(colour))())
        reader.next()
        if end == "close":
            reader.close()
        else:
            with pytest.raises(KeyError):
                reader.throw(KeyError("his own"))
    stats = limit.stats()
    assert (stats.calls, stats.failures, stats.ignored, stats.successes) == (3, 1, 2, 0)


def test_a_builtin_timeout_error_from_inside_is_a_failure(
    colour: Colour, registry: mh.Registry
) -> None:
    """It is no limit of ours."""
    limit = mh.timeout(30, name="any", registry=registry)
    with pytest.raises(TimeoutError, match="inside"):
        read(colour, limit(paint(colour, failing([1], TimeoutError("inside")))))
    assert (limit.stats().failures, limit.stats().timed_out) == (1, 0)


def test_a_cooperative_stream_sees_to_its_deadline(colour: Colour, registry: mh.Registry) -> None:
    """It is told by ``check_deadline``; one that does not ask ends with its total."""
    limit = mh.timeout(LIMIT, mode="cooperative", name="any", registry=registry)

    def asking() -> Iterator[int]:
        yield 1
        while True:
            time.sleep(0.001)
            mh.check_deadline()

    def deaf() -> Iterator[int]:
        while True:
            time.sleep(0.03)
            yield 2

    with pytest.raises(mh.TimeoutError, match="the deadline passed"):
        read(colour, limit(paint(colour, asking)))
    reader = Reader(colour, limit(paint(colour, deaf))())
    assert reader.next() == 2
    with pytest.raises(mh.TimeoutError, match="did not give all of its items"):
        reader.next()
    assert (limit.stats().timed_out, limit.stats().calls) == (2, 2)


def test_a_stream_that_swallows_its_limit_goes_on(registry: mh.Registry) -> None:
    """An item that comes nevertheless is given."""
    limit = mh.timeout(None, per_item=LIMIT, registry=registry)

    @limit
    async def body() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            yield 1
        yield 2

    async def main() -> list[int]:
        return [item async for item in body()]

    assert asyncio.run(main()) == [1, 2]


def test_a_cancellation_stays_a_cancellation(registry: mh.Registry) -> None:
    """That of the consumer is none of ours, and counts as nothing."""
    limit = mh.timeout(30, per_item=20, name="any", registry=registry)

    @limit
    async def body() -> AsyncIterator[int]:
        await asyncio.sleep(5)
        yield 1

    async def main() -> None:
        stream: Any = body()
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (limit.stats().ignored, limit.stats().calls) == (1, 1)


class TestInWorkers:
    """The mode ``thread``, in which each step is made in a worker."""

    def test_all_steps_share_one_context(self, registry: mh.Registry) -> None:
        """A variable that is set at one step is there at the next, and at the close."""
        variable = contextvars.ContextVar("variable", default="unset")
        variable.set("of the caller")
        seen: list[str] = []

        @mh.timeout(30, mode="thread", registry=registry)
        def body() -> Iterator[Any]:
            seen.append(variable.get())
            token = variable.set("set inside")
            try:
                yield threading.current_thread().name
                yield variable.get()
            finally:
                variable.reset(token)
                seen.append(variable.get())

        stream = body()
        assert next(stream).startswith("meshhook-worker")
        assert next(stream) == "set inside"
        assert variable.get() == "of the caller"
        stream.close()
        assert seen == ["of the caller"] * 2

    def test_auto_is_thread_outside_of_the_main_thread(self, registry: mh.Registry) -> None:
        """And a stream may go from one to the other."""

        @mh.timeout(30, registry=registry)
        def body() -> Iterator[bool]:
            while True:
                yield threading.current_thread() is threading.main_thread()

        stream = body()
        seen = [next(stream)]
        thread = threading.Thread(target=lambda: seen.append(next(stream)))
        thread.start()
        thread.join()
        seen.append(next(stream))
        assert seen == [True, False, True]
        stream.close()

    def test_a_stream_that_is_left_behind_is_closed_by_its_worker(
        self, registry: mh.Registry, caplog: Any
    ) -> None:
        """What it gives or raises by then goes nowhere, and its permits come back."""
        release, ended = threading.Event(), threading.Event()
        breaker = mh.circuit_breaker("db", registry=registry)
        limit = mh.timeout(None, per_item=LIMIT, mode="thread", name="slow", registry=registry)

        @limit
        @breaker
        def body() -> Iterator[int]:
            try:
                release.wait()
                yield 1
            finally:
                ended.set()
                raise OSError("while closing")

        with pytest.raises(mh.TimeoutError, match="goes on running in its thread"):
            next(body())
        assert limit.stats().abandoned == 1
        assert not ended.is_set()
        release.set()
        assert ended.wait(5)
        until(lambda: breaker.stats().ignored == 1)
        until(lambda: "failed when it was closed" in caplog.text)
        assert limit.stats().abandoned == 0

    def test_too_many_abandoned_streams(self, registry: mh.Registry) -> None:
        """Further ones are not started; those that have begun may go on."""
        release = threading.Event()
        limit = mh.timeout(
            None, per_item=LIMIT, mode="thread", max_abandoned=1, name="slow", registry=registry
        )

        @limit
        def body(*, hangs: bool) -> Iterator[int]:
            yield 0
            if hangs:
                release.wait()
            yield 1

        running = body(hangs=False)
        assert next(running) == 0
        stuck = body(hangs=True)
        assert next(stuck) == 0
        with pytest.raises(mh.TimeoutError):
            next(stuck)
        with pytest.raises(mh.RejectedError, match="was not started"):
            next(body(hangs=False))
        assert list(running) == [1]
        release.set()
        until(lambda: limit.stats().abandoned == 0)
        assert (limit.stats().rejected, limit.stats().calls) == (1, 2)


def test_a_process_cannot_give_items(registry: mh.Registry) -> None:
    """It is refused at decoration."""
    with pytest.raises(mh.ConfigurationError, match="mode='process' cannot limit the generator"):
        mh.timeout(1, mode="process", registry=registry)(failing([], OSError()))


@pytest.mark.parametrize("mode", ["thread", "signal", "interrupt", "process"])
def test_tasks_are_cancelled(mode: Any, registry: mh.Registry) -> None:
    """The modes that stop threads are refused for async streams."""

    async def body() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(mh.ConfigurationError, match="a task is cancelled"):
        mh.timeout(1, mode=mode, registry=registry)(body)


def test_per_item_is_for_streams(colour: Colour, registry: mh.Registry) -> None:
    """A function has no items, and a block has none."""
    limit: Any = mh.timeout(per_item=1, mode="cooperative", registry=registry)
    with pytest.raises(mh.ConfigurationError, match="per_item is for generator functions, and"):
        limit(colour.paint(print))
    with pytest.raises(mh.ConfigurationError, match="per_item is for generator functions, and"):
        colour.call(limit.call if colour.name == "sync" else limit.acall, colour.paint(print))
    with pytest.raises(mh.ConfigurationError, match="a block is none"), limit:
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_item": 0}, "per_item must be a duration of more than 0"),
        ({"per_item": "soon"}, "per_item must be a duration"),
        ({"per_item": 31}, r"per_item must be no longer than seconds=30"),
        ({"seconds": 2, "per_item": "3s"}, r"per_item must be no longer than seconds=2"),
        ({"seconds": None}, "seconds must be a duration, or per_item given with it"),
    ],
)
def test_wrong_limits(settings: dict[str, Any], message: str) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.timeout(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seconds": 2}, "timeout('x', 2 s, auto)"),
        ({"seconds": None, "per_item": 1}, "timeout('x', 1 s per item, auto)"),
        ({"seconds": 2, "per_item": 1}, "timeout('x', 2 s, 1 s per item, auto)"),
    ],
)
def test_a_timeout_says_its_limits(settings: Any, said: str, registry: mh.Registry) -> None:
    """In the stack, in the order of the arguments."""
    assert mh.timeout(**settings, name="x", registry=registry).describe() == said


def test_signals_are_for_the_main_thread(registry: mh.Registry) -> None:
    """Elsewhere the first step fails, and is not counted."""
    limit = mh.timeout(30, mode="signal", name="any", registry=registry)
    failures: list[Any] = []

    def work() -> None:
        try:
            list(limit(failing([1], OSError()))())
        except mh.ConfigurationError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "works in the main thread only" in str(failures[0])
    assert limit.stats().calls == 0


def test_the_shortest_total(colour: Colour, registry: mh.Registry) -> None:
    """It is the limit that ran out, and no deadline outside."""
    limit = mh.timeout(1e-9, mode="cooperative", name="any", registry=registry)
    with pytest.raises(mh.TimeoutError, match="did not give all of its items") as caught:
        read(colour, limit(paint(colour, failing([1], OSError()))))
    assert not isinstance(caught.value, mh.RejectedError)
    assert limit.stats().timed_out == 1
