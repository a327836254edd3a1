"""Streams under a circuit breaker, and what holds under any policy: generators of both colours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import queue
import threading
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from tests.colours import Colour
from tests.streams import Reader, failing, paint, read


@pytest.fixture
def breaker(registry: mh.Registry) -> Any:
    """Make a breaker that one failure opens."""
    return mh.circuit_breaker("db", failure_threshold=1, reset_timeout=10, registry=registry)


def one_key(*_: Any, **__: Any) -> str:
    """Return the same key for every call."""
    return "k"


def stacked(registry: mh.Registry, fn: Any) -> Any:
    """Put several policies around ``fn``, which let everything pass."""
    fn = mh.circuit_breaker("inner", registry=registry)(fn)
    fn = mh.timeout(30, per_item=20, mode="cooperative", name="near", registry=registry)(fn)
    fn = mh.circuit_breaker("keyed", key=one_key, registry=registry)(fn)
    fn = mh.timeout(30, name="far", registry=registry)(fn)
    timed = {"slow_call_duration": 5, "slow_call_rate_threshold": 0.5}
    return mh.circuit_breaker("timed", registry=registry, **timed)(fn)


def items(*_: Any) -> Iterator[Any]:
    """Give three items."""
    yield 1
    yield 2
    yield 3


def items_of_none() -> Iterator[int]:
    """Take no arguments."""
    yield 1


def counts(breaker: Any) -> tuple[int, int, int]:
    """Return successes, failures, ignored."""
    stats = breaker.stats()
    return stats.successes, stats.failures, stats.ignored


def test_a_guarded_stream_is_a_generator_function(colour: Colour, registry: mh.Registry) -> None:
    """Frameworks that look at what they are given see a generator function, and a method too."""
    fn = stacked(registry, paint(colour, items))

    class Service:
        method = stacked(registry, paint(colour, items))
        static = staticmethod(stacked(registry, paint(colour, items)))

    is_stream: Callable[[Any], bool] = (
        inspect.isgeneratorfunction if colour.name == "sync" else inspect.isasyncgenfunction
    )
    is_object: Callable[[Any], bool] = (
        inspect.isgenerator if colour.name == "sync" else inspect.isasyncgen
    )
    for each in (fn, Service().method, Service.static, Service().static):
        assert is_stream(each)
        assert not inspect.iscoroutinefunction(each)
        assert is_object(each(1))
        assert read(colour, each, 1) == [1, 2, 3]


def test_what_a_generator_returns_is_returned(registry: mh.Registry) -> None:
    """``yield from`` a guarded generator has its value."""

    def body(_: int) -> Any:
        yield 1
        return "done"

    guarded = stacked(registry, body)

    def outer() -> Any:
        assert (yield from guarded(1)) == "done"

    assert list(outer()) == [1]


def talk(log: list[Any]) -> Iterator[Any]:
    """Tell what comes in."""
    try:
        sent = yield "first"
        while True:
            try:
                log.append(sent)
                sent = yield f"got {sent}"
            except KeyError as error:
                log.append(type(error))
                sent = yield "caught"
    finally:
        log.append("closed")


def test_send_throw_and_close_pass_through_a_stack(colour: Colour, registry: mh.Registry) -> None:
    """The generator hears everything that its consumer says, through five policies."""
    log: list[Any] = []
    reader = Reader(colour, stacked(registry, paint(colour, _keyed_talk))(1, log))
    assert reader.next() == "first"
    assert reader.send("a") == "got a"
    assert reader.throw(KeyError("b")) == "caught"
    assert reader.send("c") == "got c"
    reader.close()
    assert log == ["a", KeyError, "c", "closed"]
    with pytest.raises(reader.over):
        reader.next()


def _keyed_talk(_key: int, log: list[Any]) -> Any:
    yield from talk(log)


def test_a_stream_counts_as_one_call(colour: Colour, registry: mh.Registry) -> None:
    """Every policy of the stack has seen one call, which succeeded."""
    fn = stacked(registry, paint(colour, items))
    assert read(colour, fn, "k") == [1, 2, 3]
    for stats in registry.stats().values():
        numbers: Any = stats
        assert (numbers.calls, numbers.successes) == (1, 1)


def test_nothing_is_asked_for_before_the_first_item(colour: Colour, breaker: Any) -> None:
    """A stream that nobody iterates takes no permit, and an open circuit refuses at the first."""
    fn = breaker(paint(colour, items))
    reader = Reader(colour, fn())
    reader.close()
    assert breaker.stats().calls == 0
    waiting = Reader(colour, fn())
    breaker.force_open()
    with pytest.raises(mh.CircuitOpenError):
        waiting.next()
    assert breaker.stats().rejected == 1


def test_a_stream_is_judged_at_its_end(colour: Colour, breaker: Any) -> None:
    """Items are no outcome; exhaustion is a success, once."""
    reader = Reader(colour, breaker(paint(colour, items))())
    reader.take(3)
    assert counts(breaker) == (0, 0, 0)
    with pytest.raises(reader.over):
        reader.next()
    assert counts(breaker) == (1, 0, 0)
    with pytest.raises(reader.over):
        reader.next()
    assert counts(breaker) == (1, 0, 0)


def test_an_exception_in_a_stream_is_a_failure(colour: Colour, breaker: Any) -> None:
    """The error comes through as it is, with no context of ours, and is told."""
    told: list[Any] = []
    fn = breaker(paint(colour, failing([1], OSError("gone"))))
    reader = Reader(colour, fn())
    assert reader.next() == 1
    with events.subscribe(told.append, events.CallFailed), pytest.raises(OSError) as caught:
        reader.next()
    assert caught.value.__context__ is None
    assert (counts(breaker), breaker.stats().state) == ((0, 1, 0), "open")
    assert [event.error for event in told] == ["OSError"]


def test_errors_are_judged_as_those_of_calls(colour: Colour, registry: mh.Registry) -> None:
    """What the settings ignore counts as nothing, and our own rejections too."""
    breaker = mh.circuit_breaker("db", ignore=KeyError, failure_threshold=1, registry=registry)
    for error in (KeyError("x"), mh.RejectedError("full"), KeyboardInterrupt(), GeneratorExit()):
        fn = breaker(paint(colour, failing([1], error)))
        reader = Reader(colour, fn())
        assert reader.next() == 1
        with pytest.raises(type(error)):
            reader.next()
    assert counts(breaker) == (0, 0, 4)


def test_an_early_close_counts_as_nothing(colour: Colour, breaker: Any) -> None:
    """Whoever has seen enough says nothing about the service, whatever its cleanup says."""

    def body() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("while closing")

    for fn in (breaker(paint(colour, items)), breaker(paint(colour, body))):
        reader = Reader(colour, fn())
        assert reader.next() == 1
        with contextlib.suppress(OSError):
            reader.close()
    assert (counts(breaker), breaker.stats().state) == ((0, 0, 2), "closed")


def test_a_generator_that_will_not_close_is_told_so(colour: Colour, breaker: Any) -> None:
    """It is the RuntimeError of Python, as without a policy."""

    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    async def stubborn_async() -> AsyncIterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    body: Any = stubborn if colour.name == "sync" else stubborn_async
    reader = Reader(colour, breaker(body)())
    assert reader.next() == 1
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        reader.close()
    assert counts(breaker) == (0, 0, 1)


def test_an_error_of_the_consumer_counts_as_nothing(colour: Colour, breaker: Any) -> None:
    """One that is thrown in and comes back is his own."""
    reader = Reader(colour, breaker(paint(colour, items))())
    assert reader.next() == 1
    error = OSError("his own")
    with pytest.raises(OSError, match="his own") as caught:
        reader.throw(error)
    assert caught.value is error
    assert counts(breaker) == (0, 0, 1)


def test_what_a_stream_makes_of_an_error_of_the_consumer_is_judged(
    colour: Colour, breaker: Any
) -> None:
    """Caught, it is nothing at all; another error in its place is the stream's."""

    def body() -> Iterator[int]:
        with contextlib.suppress(KeyError):
            yield 1
        try:
            yield 2
        except KeyError as error:
            raise OSError("mine") from error

    reader = Reader(colour, breaker(paint(colour, body))())
    assert reader.next() == 1
    assert reader.throw(KeyError("one")) == 2
    assert counts(breaker) == (0, 0, 0)
    with pytest.raises(OSError, match="mine"):
        reader.throw(KeyError("two"))
    assert counts(breaker) == (0, 1, 0)


def test_a_block_that_fails_is_no_failure_of_its_context_manager(breaker: Any) -> None:
    """``contextmanager`` over a guarded generator throws the block's error in."""

    @contextlib.contextmanager
    @breaker
    def connection() -> Iterator[str]:
        yield "connection"

    with pytest.raises(ZeroDivisionError), connection() as opened:
        assert opened == "connection"
        _ = 1 / 0
    assert counts(breaker) == (0, 0, 1)
    with connection():
        pass
    assert counts(breaker) == (1, 0, 1)


def test_a_trial_that_is_left_early_gives_its_slot_back(
    colour: Colour, breaker: Any, frozen: Any
) -> None:
    """A half-open circuit lets the next one try at once."""
    fn = breaker(paint(colour, items))
    with pytest.raises(OSError, match="gone"):
        read(colour, breaker(paint(colour, failing([], OSError("gone")))))
    frozen.tick(11)
    trial = Reader(colour, fn())
    trial.next()
    with pytest.raises(mh.CircuitOpenError):
        read(colour, fn)
    trial.close()
    assert breaker.stats().state == "half_open"
    assert read(colour, fn) == [1, 2, 3]
    assert breaker.stats().state == "closed"


def test_the_time_of_the_consumer_is_not_slow(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """Only the time inside of the generator makes a slow call."""
    breaker = mh.circuit_breaker(
        "db",
        slow_call_duration=5,
        slow_call_rate_threshold=1.0,
        minimum_calls=2,
        registry=registry,
    )

    def body(seconds: float) -> Iterator[int]:
        for number in range(3):
            frozen.tick(seconds)
            yield number

    fn = breaker(paint(colour, body))
    reader = Reader(colour, fn(1))
    for _ in range(3):
        reader.next()
        frozen.tick(7)
    assert reader.rest() == []
    window = breaker.stats().window
    assert (window.calls, window.slow) == (1, 0)
    assert read(colour, fn, 2) == [0, 1, 2]
    window = breaker.stats().window
    assert (window.calls, window.slow) == (2, 1)
    latency = breaker.stats().latency
    assert latency.p50 == pytest.approx(3, rel=0.1)
    assert latency.p99 == pytest.approx(6, rel=0.1)


def test_a_stream_that_hangs_is_slow_before_it_ends(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """It opens the circuit while it is inside of the generator, and never while it is outside."""
    breaker = mh.circuit_breaker(
        "db", slow_call_duration=5, slow_call_rate_threshold=1.0, minimum_calls=1, registry=registry
    )
    seen: list[Any] = []

    def body() -> Iterator[int]:
        yield 1
        frozen.tick(6)
        seen.append(breaker.stats().window.overdue)
        yield 2
        seen.append(breaker.stats().window.overdue)

    reader = Reader(colour, breaker(paint(colour, body))())
    reader.next()
    frozen.tick(100)
    assert breaker.stats().window.overdue == 0
    assert reader.next() == 2
    assert reader.rest() == []
    assert seen == [1, 1]
    assert breaker.stats().window is None or breaker.stats().state == "open"


def test_a_family_keeps_the_circuit_of_a_stream(colour: Colour, registry: mh.Registry) -> None:
    """The key is that of the call, and its circuit is held until the end."""
    breaker: Any = mh.circuit_breaker("db", key="{host}", registry=registry)

    def body(host: str) -> Iterator[str]:
        yield host

    fn = breaker(paint(colour, body))
    reader = Reader(colour, fn("a"))
    assert reader.next() == "a"
    circuit = breaker._family.find("a")
    assert circuit.users == 1
    reader.close()
    assert circuit.users == 0
    assert read(colour, fn, host="b") == ["b"]
    assert breaker.stats("b").successes == 1
    for host in ("a", "b"):
        breaker.force_open()
        with pytest.raises(mh.CircuitOpenError):
            read(colour, fn, host)
        assert breaker._family.find(host).users == 0


def test_wrong_arguments_are_an_error_of_the_call(colour: Colour, breaker: Any) -> None:
    """They are told at the first item, and the permit is given back."""

    async def body() -> AsyncIterator[int]:
        yield 1

    fn: Any = breaker(items_of_none if colour.name == "sync" else body)
    reader = Reader(colour, fn(1, 2, 3))
    with pytest.raises(TypeError, match="positional argument"):
        reader.next()
    assert breaker.stats().calls == 1


def test_results_cannot_be_judged_where_there_are_none(
    colour: Colour, registry: mh.Registry
) -> None:
    """``record_result`` has nothing to look at."""
    breaker = mh.circuit_breaker("db", record_result=bool, registry=registry)
    with pytest.raises(mh.ConfigurationError, match="record_result judges what a call returns"):
        breaker(paint(colour, items))


def test_a_function_that_returns_a_generator_is_no_stream(breaker: Any) -> None:
    """It runs when it is called, and so it is judged."""
    assert list(breaker(lambda: items())()) == [1, 2, 3]
    assert counts(breaker) == (1, 0, 0)
    with pytest.raises(OSError, match="gone"):
        list(breaker(lambda: failing([], OSError("gone"))())())
    assert counts(breaker) == (2, 0, 0)


@pytest.mark.parametrize("policy", ["circuit_breaker", "timeout"])
def test_streams_are_not_called(colour: Colour, registry: mh.Registry, policy: str) -> None:
    """``call`` and ``acall`` run calls; a stream is decorated."""
    made = getattr(mh, policy)(name="db", registry=registry)
    with pytest.raises(TypeError, match="cannot run the generator function .*decorate it"):
        colour.call(made.call if colour.name == "sync" else made.acall, paint(colour, items))


def test_idempotent_refuses_streams(colour: Colour, registry: mh.Registry) -> None:
    """There is no result to keep, above or below other policies."""
    once = mh.idempotent(one_key, name="once", registry=registry)
    for fn in (paint(colour, items), stacked(registry, paint(colour, items))):
        with pytest.raises(TypeError, match=r"@idempotent cannot .*there is no result to keep"):
            once(fn)


def test_hedge_refuses_streams(colour: Colour, registry: mh.Registry) -> None:
    """An item of one attempt cannot be taken back for another."""
    hedge = mh.hedge(0.1, idempotent=True, registry=registry)
    with pytest.raises(TypeError, match=r"@hedge cannot .*cannot be taken back for another"):
        hedge(paint(colour, items))


def test_a_sync_stream_is_closed_with_the_last_reference(breaker: Any) -> None:
    """The permit is given back, in whatever thread it is dropped."""
    closed: list[str] = []

    def body() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("closed")

    for _ in breaker(body)():
        break
    assert closed == ["closed"]
    assert counts(breaker) == (0, 0, 1)
    circle: list[Any] = [breaker(body)()]
    next(circle[0])
    circle.append(circle)
    del circle
    gc.collect()
    assert counts(breaker) == (0, 0, 2)


def test_an_async_stream_is_closed_by_its_loop(registry: mh.Registry) -> None:
    """In a cycle or not, with a cleanup that awaits, through a stack, and nobody complains."""
    complaints: list[Any] = []
    closed: list[int] = []

    async def body(number: int) -> AsyncIterator[int]:
        try:
            yield number
            yield number
        finally:
            await asyncio.sleep(0.001)
            closed.append(number)

    fn = stacked(registry, body)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async for item in fn(0):
            assert item == 0
            break
        for number in range(1, 20):
            stream = fn(number)
            assert await anext(stream) == number
            circle: list[Any] = [stream]
            circle.append(circle)
            del stream, circle
        gc.collect()
        await asyncio.sleep(0.02)
        assert sorted(closed) == list(range(20))

    asyncio.run(main())
    assert complaints == []
    for name in ("inner", "keyed", "timed"):
        assert registry.circuit_breakers[name].stats().ignored == 20


def test_a_stream_that_is_left_open_is_closed_with_its_loop(registry: mh.Registry) -> None:
    """The loop knows of the outermost generator alone, and closes that."""
    closed: list[str] = []
    complaints: list[Any] = []

    async def body(_: int) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        stream = stacked(registry, body)(1)
        await anext(stream)
        return stream

    stream = asyncio.run(main())
    assert (closed, complaints) == (["closed"], [])
    assert registry.circuit_breakers["inner"].stats().ignored == 1
    del stream


@pytest.mark.filterwarnings("ignore:coroutine method 'aclose'")
def test_a_permit_outlives_no_loop(breaker: Any) -> None:
    """A loop that was closed forgets its generators; the permit comes back all the same."""

    async def body() -> AsyncIterator[int]:
        yield 1

    async def begin() -> Any:
        stream = breaker(body)()
        await anext(stream)
        return stream

    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(begin())
    loop.close()
    assert counts(breaker) == (0, 0, 0)
    del stream
    gc.collect()
    assert counts(breaker) == (0, 0, 1)


def test_leaving_an_async_for(breaker: Any) -> None:
    """``aclosing`` closes at once what ``break`` leaves."""

    async def body() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> None:
        async with contextlib.aclosing(breaker(body)()) as stream:
            async for _ in stream:
                break
        assert counts(breaker) == (0, 0, 1)

    asyncio.run(main())


def test_a_cancelled_stream_counts_as_nothing(breaker: Any) -> None:
    """Cancelled inside of the generator, it is cleaned up there and cancelled outside."""
    closed: list[str] = []

    async def body() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> None:
        async def consume() -> None:
            async for _ in breaker(body)():
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (closed, counts(breaker)) == (["closed"], (0, 0, 1))


def test_a_cancellation_at_every_await_gives_everything_back(registry: mh.Registry) -> None:
    """Wherever a task is cancelled, its stream ends as nothing, and its circuits hold nobody."""

    async def body(_: str) -> AsyncIterator[int]:
        try:
            for number in range(3):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)

    fn = stacked(registry, body)
    outcomes: list[str] = []

    async def consume() -> None:
        async with contextlib.aclosing(fn("k")) as stream:
            async for _ in stream:
                await asyncio.sleep(0)

    async def cancelled_after(steps: int) -> None:
        task = asyncio.create_task(consume())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
            outcomes.append("done")
        except asyncio.CancelledError:
            outcomes.append("cancelled")

    async def main() -> None:
        for steps in range(1, 15):
            await cancelled_after(steps)

    asyncio.run(main())
    assert set(outcomes) == {"done", "cancelled"}
    for name in ("inner", "keyed", "timed"):
        stats = registry.circuit_breakers[name].stats()
        assert (stats.successes, stats.failures) == (outcomes.count("done"), 0)
        assert stats.calls == 14
    keyed: Any = registry.circuit_breakers["keyed"]
    assert keyed._family.find("k").users == 0
    timed: Any = registry.circuit_breakers["timed"]
    assert not timed._circuit.phase.running


def test_a_sync_stream_may_be_iterated_by_many_threads(registry: mh.Registry) -> None:
    """One thread after the other, as web frameworks do it."""
    fn = stacked(registry, items)
    todo: queue.Queue[Any] = queue.Queue()
    results: list[Any] = []

    def work() -> None:
        while (each := todo.get()) is not None:
            results.append(next(each, "over"))
            todo.task_done()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    streams = [fn(number) for number in range(8)]
    for _ in range(4):
        for stream in streams:
            todo.put(stream)
        todo.join()
    for _ in threads:
        todo.put(None)
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == sorted(map(str, [1, 2, 3, "over"] * 8))
    assert registry.circuit_breakers["inner"].stats().successes == 8


def test_counts_of_threads_and_tasks_together(registry: mh.Registry) -> None:
    """Eight threads and a hundred tasks lose none."""
    sync = stacked(registry, items)

    async def body(_: int) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    made = stacked(registry, body)

    def in_thread() -> None:
        for number in range(50):
            assert len(list(sync(number))) == 3
            next(sync(number))

    async def in_task(number: int) -> None:
        assert len([item async for item in made(number)]) == 3

    async def main() -> None:
        await asyncio.gather(*map(in_task, range(100)))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    stats = registry.circuit_breakers["inner"].stats()
    assert (stats.successes, stats.ignored) == (8 * 50 + 100, 8 * 50)


def test_memory_does_not_grow_with_the_items(colour: Colour, registry: mh.Registry) -> None:
    """A stream of any length needs the memory of one item."""

    def body(_: int) -> Iterator[int]:
        yield from range(4_000)

    reader = Reader(colour, stacked(registry, paint(colour, body))(1))
    reader.take(100)
    tracemalloc.start()
    try:
        reader.take(100)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        reader.take(2_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4_000


def test_a_traceback_names_each_policy_once(colour: Colour, registry: mh.Registry) -> None:
    """One frame for each of the five, whatever they do at each step, and then those of the user."""
    fn = stacked(registry, paint(colour, failing([1], OSError("gone"))))
    reader = Reader(colour, fn())
    assert reader.next() == 1
    with pytest.raises(OSError, match="gone") as caught:
        reader.next()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames.count("guarded") == 5
    ours = frames.index("guarded")
    assert set(frames[ours : ours + 5]) == {"guarded"}
    assert frames[-1] == "body"


def test_a_stream_as_a_response(colour: Colour, registry: mh.Registry) -> None:
    """Frameworks iterate over it in a task, or in threads of theirs, as it is."""
    responses = pytest.importorskip("starlette.responses")
    fn = stacked(registry, paint(colour, tokens))
    sent: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def main() -> None:
        scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}
        await responses.StreamingResponse(fn("k"))(scope, receive, send)

    asyncio.run(main())
    assert b"".join(sent) == b"once upon a time"
    assert registry.circuit_breakers["inner"].stats().successes == 1


def tokens(_: str) -> Iterator[str]:
    """Give some text, token by token."""
    yield "once "
    yield "upon "
    yield "a time"


def test_a_stream_whose_policies_are_disabled(colour: Colour, breaker: Any) -> None:
    """It stays a generator function, as a method too, and counts nowhere."""

    class Service:
        method = breaker(paint(colour, items))

    with mh.testing.disabled("circuit_breaker"):
        method = Service().method
        assert inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
        assert read(colour, method) == [1, 2, 3]
    assert breaker.stats().calls == 0
    assert read(colour, Service().method) == [1, 2, 3]
    assert breaker.stats().calls == 1
