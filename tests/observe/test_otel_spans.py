"""What policies do to a call is on the span of the call."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags, use_span

import meshhook as mh
from meshhook import events
from meshhook.observe.forms import FORMS
from meshhook.observe.opentelemetry import instrument, spans
from meshhook.observe.opentelemetry.spans import SPAN_EVENTS
from tests.observe.otel_spans import Traces, names, told, traces
from tests.waiting import GIVE_UP, eventually

__all__ = ["traces"]


def fail(*_: Any, **__: Any) -> None:
    raise ConnectionError("secret text")


@contextlib.contextmanager
def the_end_of_what_was_given_up(calls: int) -> Iterator[None]:
    """Wait for calls that go on in threads, so that no later test hears of them."""
    heard: list[Any] = []
    with mh.subscribe(heard.append, events.AbandonedCallEnded):
        yield
        assert eventually(lambda: len(heard) == calls)


@pytest.fixture
def no_sleep() -> Any:
    """Let retries come at once."""
    with mh.testing.no_wait():
        yield


def test_a_rejection_is_on_the_span(traces: Traces, registry: mh.Registry, colour: Any) -> None:
    """Who refused the call, why, and for how long; the span counts them."""
    breaker = mh.circuit_breaker("db")
    breaker.force_open()
    guarded = breaker(colour.paint(fail))
    with traces.span():
        for _ in range(2):
            with pytest.raises(mh.CircuitOpenError):
                colour.call(guarded)
    span = traces.one()
    assert told(span)[0] == (
        "call_rejected",
        {"policy": "circuit_breaker", "name": "db", "reason": "forced_open"},
    )
    assert names(span) == ["call_rejected"] * 2
    assert dict(span.attributes or {}) == {"meshhook.rejections": 2}


def test_retries_are_on_the_span(
    traces: Traces, registry: mh.Registry, colour: Any, no_sleep: Any
) -> None:
    """Each has its number, its delay and the type of the error; and so has the end of them."""
    guarded = mh.retry(max_attempts=3, name="r")(colour.paint(fail))
    with traces.span(), pytest.raises(ConnectionError):
        colour.call(guarded)
    span = traces.one()
    assert names(span) == ["call_retried", "call_retried", "retries_exhausted"]
    first, last = told(span)[0][1], told(span)[-1][1]
    assert first.pop("delay") >= 0
    assert first == {"policy": "retry", "name": "r", "attempt": 1, "error": "ConnectionError"}
    assert last.pop("elapsed") >= 0
    assert last == {
        "policy": "retry",
        "name": "r",
        "attempts": 3,
        "error": "ConnectionError",
        "reason": "attempts",
    }
    assert dict(span.attributes or {}) == {"meshhook.retries": 2}


def test_a_circuit_that_opens_is_on_the_span(traces: Traces, registry: mh.Registry) -> None:
    """It is on that of the call which opened it, and of the one that tries it again."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout="1ms")
    with traces.span("opens"), pytest.raises(ConnectionError):
        breaker.call(fail)
    time.sleep(0.002)
    with traces.span("tries"):
        breaker.call(int)
    opens, tries = traces.ended()
    assert [(name, fields["old"], fields["new"]) for name, fields in told(opens)] == [
        ("circuit_changed", "closed", "open")
    ]
    assert [(name, fields["old"], fields["new"]) for name, fields in told(tries)] == [
        ("circuit_changed", "open", "half_open"),
        ("circuit_changed", "half_open", "closed"),
    ]


def test_a_replay_is_on_the_span(traces: Traces, registry: mh.Registry, colour: Any) -> None:
    """It shows neither the key nor its hash."""

    def book(order: str) -> int:
        return 7

    guarded = mh.idempotent("{order}", name="book")(colour.paint(book))
    with traces.span():
        for _ in range(2):
            colour.call(guarded, "secret")
    span = traces.one()
    assert told(span) == [("result_replayed", {"policy": "idempotent", "name": "book"})]
    assert dict(span.attributes or {}) == {"meshhook.replays": 1}


def test_a_fallback_is_on_the_span(traces: Traces, registry: mh.Registry, colour: Any) -> None:
    """Where the result came from, and instead of what."""
    guarded = mh.fallback(value=0, name="f")(colour.paint(fail))
    with traces.span():
        assert colour.call(guarded) == 0
    span = traces.one()
    assert told(span) == [
        (
            "fallback_used",
            {"policy": "fallback", "name": "f", "source": "value", "error": "ConnectionError"},
        )
    ]
    assert dict(span.attributes or {}) == {"meshhook.fallbacks": 1}


@pytest.mark.parametrize("mode", ["thread", "signal", "interrupt", "cooperative"])
def test_a_timeout_is_on_the_span(traces: Traces, registry: mh.Registry, mode: Any) -> None:
    """However the call is stopped, it is the caller's span that tells."""
    may_end = threading.Event()

    def wait() -> None:
        while not may_end.is_set():
            time.sleep(0.001)
            if mode == "cooperative":
                mh.check_deadline()

    with the_end_of_what_was_given_up(1 if mode == "thread" else 0):
        with traces.span(), pytest.raises(mh.TimeoutError):
            mh.timeout("5ms", mode=mode, name="t")(wait)()
        may_end.set()
    span = traces.one()
    assert names(span) == ["call_timed_out"]
    assert told(span)[0][1]["policy"] == "timeout"
    assert dict(span.attributes or {}) == {"meshhook.timeouts": 1}


def test_a_timeout_of_a_task_is_on_the_span(traces: Traces, registry: mh.Registry) -> None:
    """Each task has its own span, and there is nothing on that of its neighbour."""

    @mh.timeout("20ms", name="t")
    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def request(name: str, seconds: float) -> None:
        with traces.span(name):
            await asyncio.gather(wait(seconds), return_exceptions=True)

    async def main() -> None:
        await asyncio.gather(request("slow", 5), request("quick", 0), request("slow", 5))

    asyncio.run(main())
    assert sorted((span.name, names(span)) for span in traces.ended()) == [
        ("quick", []),
        ("slow", ["call_timed_out"]),
        ("slow", ["call_timed_out"]),
    ]


def test_what_happens_in_a_thread_of_a_timeout_is_on_the_span_of_the_caller(
    traces: Traces, registry: mh.Registry, no_sleep: Any
) -> None:
    """Also the retries, which are made in the worker thread."""
    threads = set()

    @mh.timeout(5, mode="thread")
    @mh.retry(max_attempts=2)
    def ask() -> None:
        threads.add(threading.get_ident())
        fail()

    with traces.span("caller"), pytest.raises(ConnectionError):
        ask()
    assert threading.get_ident() not in threads
    assert names(traces.one()) == ["call_retried", "retries_exhausted"]


def test_what_a_call_does_after_its_span_has_ended_is_nowhere(
    traces: Traces, registry: mh.Registry
) -> None:
    """A call that was given up goes on, and its span has been sent away."""
    go_on = threading.Event()
    breaker = mh.circuit_breaker("db")
    breaker.force_open()

    @mh.timeout("5ms", mode="thread")
    def ask() -> None:
        go_on.wait(5)
        breaker.call(int)

    with the_end_of_what_was_given_up(1):
        with traces.span(), pytest.raises(mh.TimeoutError):
            ask()
        go_on.set()
    assert breaker.stats().rejected == 1
    assert names(traces.one()) == ["call_timed_out"]


def test_a_hedge_of_a_sync_call_is_on_the_span_of_the_caller(
    traces: Traces, registry: mh.Registry, no_sleep: Any
) -> None:
    """The hedge itself, and what happens in its thread."""
    numbers = iter(range(9))
    first_may_end = threading.Event()

    @mh.hedge("1ms", idempotent=True, name="h")
    @mh.retry(max_attempts=2, name="r")
    def ask() -> str:
        if next(numbers) == 0:
            first_may_end.wait(5)
            return "first"
        if next(numbers) == 2:
            fail()
        return "hedge"

    with traces.span():
        assert ask() == "hedge"
    first_may_end.set()
    span = traces.one()
    # On a busy machine the hedge may run before the first attempt, and wait in place of it.
    won = ["hedge_won"] * registry.hedges["h"].stats().wins
    assert sorted(names(span)) == ["call_retried", "hedge_started", *won]
    assert dict(span.attributes or {}) == {"meshhook.hedges": 1, "meshhook.retries": 1}


def test_a_hedge_of_an_async_call_is_on_the_span_of_the_caller(
    traces: Traces, registry: mh.Registry
) -> None:
    """The same in tasks; two requests at a time do not get each other's."""

    @mh.hedge("1ms", idempotent=True, name="h")
    @mh.retry(max_attempts=2, base_delay="1ms", name="r")
    async def ask(seen: list[int]) -> str:
        seen.append(1)
        if len(seen) == 1:
            await asyncio.sleep(5)
        if len(seen) == 2:
            fail()
        return "hedge"

    async def request(name: str, seen: list[int]) -> str:
        with traces.span(name):
            return await ask(seen)

    async def main() -> list[str]:
        return await asyncio.gather(*(request(f"r{number}", []) for number in range(5)))

    assert asyncio.run(main()) == ["hedge"] * 5
    for span in traces.ended():
        assert names(span) == ["hedge_started", "call_retried", "hedge_won"]


def test_without_a_recording_span_nothing_is_done(
    traces: Traces, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No span, and one that was not sampled, are let alone."""
    unsampled = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0)))
    for span in (INVALID_SPAN, unsampled):
        monkeypatch.setattr(type(span), "add_event", fail)
        monkeypatch.setattr(type(span), "set_attribute", fail)
        breaker = mh.circuit_breaker("db")
        breaker.force_open()
        with use_span(span), pytest.raises(mh.CircuitOpenError):
            breaker.call(int)


@pytest.mark.parametrize("kind", SPAN_EVENTS, ids=lambda kind: kind.__name__)
def test_every_span_event_has_its_fields(traces: Traces, kind: Any) -> None:
    """Names are those of the log records; what is None is left out, and so is a hash of a key."""
    fields = [field.name for field in dataclasses.fields(kind)]
    with traces.span():
        events.emit(kind(**{name: name for name in fields}))
        events.emit(kind(**dict.fromkeys(fields)))
    full, empty = told(traces.one())
    shown = {name: name for name in fields if name != "key_hash"}
    assert full == (FORMS[kind].event, shown)
    assert empty == (FORMS[kind].event, {})


def test_threads_that_share_a_span_count_together(traces: Traces) -> None:
    """No count is lost."""
    event = events.CallRejected(policy="p", name="n", reason="r", retry_after=None)
    with traces.span() as span:

        def work() -> None:
            with use_span(span):
                for _ in range(500):
                    events.emit(event)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert (traces.one().attributes or {})["meshhook.rejections"] == 4000


def test_who_counts_on_a_span_keeps_nobody_from_it(traces: Traces) -> None:
    """A span has locks of its own, which another thread may hold; the last number is the right one.

    Nor is anything kept of a span that is gone.
    """
    event = events.CallRejected(policy="p", name="n", reason="r", retry_after=None)
    written: list[int] = []

    class Slow(NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

        def set_attribute(self, key: str, value: Any) -> None:
            if not written:
                written.append(0)
                other = threading.Thread(target=mark, args=(self,), daemon=True)
                other.start()
                other.join(GIVE_UP)
            written.append(value)

    def mark(span: Slow) -> None:
        with use_span(span):
            events.emit(event)

    mark(Slow(INVALID_SPAN.get_span_context()))
    assert written == [0, 2, 1, 2]
    gc.collect()
    assert not any(isinstance(each, Slow) for each in spans._marks)


def test_a_span_that_does_not_show_its_attributes_counts_as_any_other(
    traces: Traces, registry: mh.Registry
) -> None:
    """A span of another SDK may only be written."""
    seen: list[Any] = []

    class Blind(NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

        def set_attribute(self, *args: Any) -> None:
            seen.append(args)

        def add_event(self, name: str, *_: Any, **__: Any) -> None:
            seen.append(name)

    event = events.CallRejected(policy="p", name="n", reason="r", retry_after=None)
    with use_span(Blind(INVALID_SPAN.get_span_context())):
        events.emit(event)
        events.emit(event)
    assert seen[::2] == ["meshhook.call_rejected"] * 2
    assert seen[1::2] == [("meshhook.rejections", 1), ("meshhook.rejections", 2)]


def test_instrumenting_twice_marks_a_span_once(registry: mh.Registry) -> None:
    """And the last one that is closed ends it."""
    traces = Traces()
    breaker = mh.circuit_breaker("db")
    breaker.force_open()

    def request() -> None:
        with traces.span(), pytest.raises(mh.CircuitOpenError):
            breaker.call(int)

    first, second = instrument(), instrument(mh.Registry())
    request()
    first.close()
    first.close()
    request()
    second.close()
    request()
    traces.provider.shutdown()
    assert [names(span) for span in traces.ended()] == [["call_rejected"], ["call_rejected"], []]
    assert spans._subscription is None
    assert not events.wanted(events.CallRejected)


def test_spans_may_be_left_alone(registry: mh.Registry) -> None:
    """With tracing=False nobody listens."""
    with instrument(tracing=False):
        assert not events.wanted(events.CallRejected)
