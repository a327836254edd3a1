"""Events: who is told, in what order, and that telling breaks nothing."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.events import CallFailed, CallRejected, CircuitChanged, Event, event_name
from tests.waiting import GIVE_UP

EVERY_EVENT = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)
]


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    """Every test leaves as many subscribers as it found: none."""
    assert events._subscribers == []
    yield
    assert events._subscribers == []


@pytest.fixture
def circuit(registry: mh.Registry) -> mh.CircuitBreaker:
    """Make a circuit that opens at the first failure."""
    return mh.circuit_breaker("db", failure_threshold=1, registry=registry)


def fail() -> None:
    raise ValueError("secret")


def break_and_ask(circuit: mh.CircuitBreaker) -> None:
    """Open the circuit and be refused once."""
    with pytest.raises(ValueError, match="secret"):
        circuit.call(fail)
    with pytest.raises(mh.CircuitOpenError):
        circuit.call(fail)


def test_a_listener_hears_what_happens_in_order(circuit: mh.CircuitBreaker) -> None:
    """Opening, the failure behind it and the refusal are told, with the policy they are of."""
    heard: list[Event] = []
    with mh.subscribe(heard.append):
        break_and_ask(circuit)
    assert {type(event) for event in heard} == {CircuitChanged, CallFailed, CallRejected}
    assert all((event.policy, event.name) == ("circuit_breaker", "db") for event in heard)
    assert isinstance(heard[-1], CallRejected)
    assert "secret" not in repr(heard)


def test_a_listener_may_ask_for_kinds(circuit: mh.CircuitBreaker) -> None:
    """Only events of the kinds asked for are told, subclasses included."""
    rejected: list[Event] = []
    several: list[Event] = []
    with (
        mh.subscribe(rejected.append, CallRejected),
        mh.subscribe(several.append, CircuitChanged, CallFailed),
    ):
        break_and_ask(circuit)
    assert [type(event) for event in rejected] == [CallRejected]
    assert {type(event) for event in several} == {CircuitChanged, CallFailed}


def test_a_closed_subscription_hears_nothing(circuit: mh.CircuitBreaker) -> None:
    """After ``close`` nothing is told; closing again is harmless."""
    heard: list[Event] = []
    subscription = mh.subscribe(heard.append)
    subscription.close()
    subscription.close()
    break_and_ask(circuit)
    assert heard == []


def test_listeners_are_told_in_order_of_subscription() -> None:
    """The same listener may subscribe twice; closing one of the two leaves the other."""
    heard: list[str] = []
    event = CallFailed(policy="p", name="n", error="E")
    subscriptions = [
        mh.subscribe(functools.partial(lambda text, _: heard.append(text), text))
        for text in ("a", "b", "c")
    ]
    twice = lambda _: heard.append("twice")  # noqa: E731
    subscriptions += [mh.subscribe(twice), mh.subscribe(twice)]
    events.emit(event)
    assert heard == ["a", "b", "c", "twice", "twice"]
    heard.clear()
    for index in (4, 1):
        subscriptions.pop(index).close()
    events.emit(event)
    assert heard == ["a", "c", "twice"]
    for subscription in subscriptions:
        subscription.close()


@pytest.mark.parametrize(
    "listener", [None, 5, "listener", CallFailed(policy="", name="", error="")]
)
def test_a_listener_is_callable(listener: Any) -> None:
    """What cannot be called is refused, and shown."""
    with pytest.raises(TypeError, match="listener must be a plain function"):
        mh.subscribe(listener)


def test_an_async_listener_is_refused() -> None:
    """It would never be awaited."""

    async def listener(event: Event) -> None: ...

    for each in (listener, functools.partial(listener)):
        with pytest.raises(TypeError, match="plain function, not an async one"):
            mh.subscribe(each)


@pytest.mark.parametrize("kind", ["circuit_changed", int, None, (CallFailed,), [CallFailed]])
def test_kinds_are_classes_of_events(kind: Any) -> None:
    """A wrong kind is refused at once, not when the next call fails."""
    with pytest.raises(TypeError, match="kinds must be classes of events, such as CircuitChanged"):
        mh.subscribe(print, CallRejected, kind)


def test_a_failing_listener_breaks_no_call(
    circuit: mh.CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exception is logged and dropped, and the next listener is told all the same."""
    heard: list[Event] = []
    with mh.subscribe(lambda _: 1 / 0), mh.subscribe(heard.append):
        break_and_ask(circuit)
    assert len(heard) == 3
    assert [record.name for record in caplog.records] == ["meshhook.events"] * 3
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert all("ZeroDivisionError" in (record.exc_text or "") for record in caplog.records)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "an event listener failed on CallFailed",
        "an event listener failed on CallRejected",
        "an event listener failed on CircuitChanged",
    ]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_of_a_listener_passes(kind: type[BaseException]) -> None:
    """What is no Exception is not swallowed."""

    def interrupt(_: Event) -> None:
        raise kind

    with mh.subscribe(interrupt), pytest.raises(kind):
        events.emit(CallFailed(policy="p", name="n", error="E"))


@pytest.mark.parametrize(
    "reaction",
    [
        lambda circuit: circuit.stats(),
        lambda circuit: circuit.state,
        lambda circuit: circuit.force_open(),
        lambda circuit: circuit.reset(),
        lambda circuit: circuit.registry.stats().to_dict(),
        lambda circuit: circuit.registry.reset(),
        lambda circuit: repr(circuit.registry),
        lambda circuit: mh.circuit_breaker("new", registry=circuit.registry),
        lambda circuit: mh.circuit_breaker(registry=circuit.registry)(lambda: 1)(),
        lambda circuit: mh.subscribe(print).close(),
        lambda circuit: circuit.call(lambda: 1),
    ],
    ids=[
        "stats",
        "state",
        "force",
        "reset",
        "all",
        "reset all",
        "repr",
        "new",
        "own",
        "sub",
        "call",
    ],
)
def test_listeners_are_told_outside_of_every_lock(
    circuit: mh.CircuitBreaker, reaction: Callable[[Any], Any]
) -> None:
    """A listener may use the policy it hears of, the registry and subscriptions."""
    reacting = False
    reacted = 0

    def listener(_: Event) -> None:
        nonlocal reacting, reacted
        if reacting:
            return
        reacting = True
        # From another thread, so that not even a reentrant lock may be held.
        future = pool.submit(reaction, circuit)
        assert isinstance(future.exception(timeout=5), (mh.CircuitOpenError, type(None)))
        reacted += 1
        reacting = False

    with concurrent.futures.ThreadPoolExecutor(1) as pool, mh.subscribe(listener):
        acts: list[Any] = [lambda: circuit.call(fail), circuit.force_open, circuit.reset]
        for act in acts:
            with contextlib.suppress(ValueError, mh.CircuitOpenError):
                act()
    assert not reacting
    assert reacted >= 2


@pytest.mark.parametrize("change", ["force_open", "disable", "metrics_only"])
def test_the_first_change_by_hand_is_told(circuit: mh.CircuitBreaker, change: str) -> None:
    """A circuit that was never called tells of its change as any other."""
    heard: list[CircuitChanged] = []
    with mh.subscribe(heard.append, CircuitChanged):
        getattr(circuit, change)()
    assert [event.old for event in heard] == ["closed"]


def test_subscribing_while_being_told() -> None:
    """Who is told of an event is settled when it happens: newcomers hear the next one."""
    heard: list[str] = []
    subscriptions: list[events.Subscription] = []
    event = CallFailed(policy="p", name="n", error="E")

    def first(_: Event) -> None:
        heard.append("first")
        subscriptions.pop().close()
        subscriptions.append(mh.subscribe(lambda _: heard.append("third")))

    with mh.subscribe(first):
        subscriptions.append(mh.subscribe(lambda _: heard.append("second")))
        events.emit(event)
        assert heard == ["first", "second"]
        heard.clear()
        events.emit(event)
        assert heard == ["first", "third"]
    subscriptions.pop().close()


def test_threads_may_subscribe_at_the_same_time() -> None:
    """No subscription of 8 threads is lost, and none stays."""
    heard: list[Event] = []
    start = threading.Barrier(8)

    def subscribe() -> list[events.Subscription]:
        start.wait()
        kept = [mh.subscribe(heard.append) for _ in range(20)]
        for _ in range(20):
            mh.subscribe(print).close()
        return kept

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = [pool.submit(subscribe) for _ in range(8)]
        kept = [each for future in made for each in future.result()]
    events.emit(CallFailed(policy="p", name="n", error="E"))
    assert len(heard) == 160
    for subscription in kept:
        subscription.close()


def test_nothing_is_built_that_nobody_wants(
    circuit: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a subscriber of its kind no event is made."""
    built: list[str] = []

    def note(event: Event, **_: Any) -> None:
        built.append(type(event).__name__)

    for kind in EVERY_EVENT:
        monkeypatch.setattr(kind, "__init__", note)
    break_and_ask(circuit)
    circuit.reset()
    assert built == []
    with mh.subscribe(lambda _: None, CallRejected):
        break_and_ask(circuit)
    assert built == ["CallRejected"]


def test_wanted_tells_who_listens() -> None:
    """A kind is wanted by a subscriber of it, of its base, or of everything."""
    assert not events.wanted(CallFailed)
    with mh.subscribe(print, CallFailed):
        assert events.wanted(CallFailed)
        assert not events.wanted(CallRejected)
    with mh.subscribe(print, Event):
        assert events.wanted(CallRejected)
    with mh.subscribe(print):
        assert events.wanted(CallRejected)


@pytest.mark.parametrize("kind", EVERY_EVENT, ids=lambda kind: kind.__name__)
def test_events_are_frozen_plain_data(kind: Any) -> None:
    """Every event is a frozen dataclass of plain fields by keyword, and is documented."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    event = kind(**dict.fromkeys(fields, "x"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.name = "other"
    with pytest.raises(TypeError):
        kind("p", "n")
    assert {"policy", "name"} <= set(fields)
    assert not {"args", "kwargs", "result", "key", "exception", "message"} & set(fields)
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__)


@pytest.mark.parametrize("kind", EVERY_EVENT)
def test_every_event_has_a_stable_name(kind: type[Event]) -> None:
    """In words that logs and streams use, each its own."""
    name = event_name(kind)
    assert name.replace("_", "") == kind.__name__.lower()
    assert name == name.lower()
    assert [event_name(each) for each in EVERY_EVENT].count(name) == 1


def test_names_of_events() -> None:
    """Words are told apart by their capitals."""
    assert event_name(CircuitChanged) == "circuit_changed"
    assert event_name(events.AbandonedCallEnded) == "abandoned_call_ended"


def test_all_kinds_are_found_by_their_names() -> None:
    """Those of users as well, however deep they are."""

    class OursClosed(CircuitChanged):
        pass

    known = events.kinds_by_name()
    assert known["ours_closed"] is OursClosed
    ours = {event_name(kind): kind for kind in EVERY_EVENT if kind is not Event}
    assert ours.items() <= known.items()


def test_a_listener_may_ask_for_others_later(circuit: mh.CircuitBreaker) -> None:
    """From then on it hears those; it keeps its place among the others."""
    heard: list[tuple[str, Event]] = []
    with (
        mh.subscribe(lambda event: heard.append(("first", event)), CallFailed) as first,
        mh.subscribe(lambda event: heard.append(("second", event)), CallRejected),
    ):
        first.listen_to(CallRejected, CircuitChanged)
        assert not events.wanted(CallFailed)
        break_and_ask(circuit)
        first.listen_to()
        assert events.wanted(CallFailed)
        with pytest.raises(TypeError, match="kinds must be classes of events"):
            first.listen_to(int)  # type: ignore[arg-type]
    assert [(who, type(event)) for who, event in heard] == [
        ("first", CircuitChanged),
        ("first", CallRejected),
        ("second", CallRejected),
    ]


def test_a_closed_subscription_stays_closed_whatever_it_asks_for() -> None:
    """Nothing comes back to life."""
    subscription = mh.subscribe(print, CallFailed)
    subscription.close()
    subscription.listen_to(CallRejected)
    assert not events.wanted(CallRejected)


def test_no_event_is_missed_or_told_twice_while_a_listener_asks_for_others() -> None:
    """Of the kinds that it hears before and after."""
    heard: list[str] = []
    over = threading.Event()
    subscription = mh.subscribe(lambda event: heard.append(event.name), CallFailed)

    def ask() -> None:
        while not over.is_set():
            subscription.listen_to()
            subscription.listen_to(CallFailed)

    asking = threading.Thread(target=ask)
    asking.start()
    names = [str(number) for number in range(3_000)]
    for name in names:
        events.emit(CallFailed(policy="p", name=name, error="E"))
    over.set()
    asking.join(10)
    subscription.close()
    assert heard == names


@contextlib.contextmanager
def before_every_line_of_events(work: Callable[[], object]) -> Iterator[None]:
    """Have ``work`` done in the middle of what this thread does with events."""

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != events.__file__:
            return None
        if event == "line":
            work()
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


def test_whoever_subscribes_keeps_nobody_from_it() -> None:
    """A finalizer may run there, and wait for a thread that subscribes: no change is undone."""
    kept: list[events.Subscription] = []
    heard: list[int] = []

    def come_and_go() -> None:
        number = len(kept)
        kept.append(mh.subscribe(lambda _: heard.append(number), CallRejected))
        kept[-1].listen_to(CallFailed)
        mh.subscribe(lambda _: heard.append(-1)).close()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(GIVE_UP)
        with before_every_line_of_events(lambda: pool.submit(come_and_go).result(GIVE_UP)):
            subscription = mh.subscribe(lambda _: heard.append(-2), CallRejected)
            subscription.listen_to()
            subscription.close()
    assert len(kept) > 5
    events.emit(CallFailed(policy="p", name="n", error="E"))
    assert heard == list(range(len(kept)))
    for each in kept:
        each.close()
