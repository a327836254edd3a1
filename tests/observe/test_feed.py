"""The feed: what is notable stays, who listens gets the rest, and a call pays for neither."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from meshhook import events
from meshhook.errors import ConfigurationError
from meshhook.events import CallFailed, CallRejected, CircuitChanged, Event, event_name
from meshhook.observe.feed import _MOST_KINDS, Feed, Listener, Occurrence
from meshhook.observe.notable import NOTABLE
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, eventually

ALL = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    """Every test leaves as many subscribers as it found: none."""
    assert events._subscribers == []
    yield
    assert events._subscribers == []


@pytest.fixture
def feed() -> Iterator[Feed]:
    with Feed() as made:
        yield made


def changed(name: str = "db", *, new: str = "open") -> CircuitChanged:
    return CircuitChanged(policy="circuit_breaker", name=name, old="closed", new=new, reason="test")


def rejected(name: str = "db") -> CallRejected:
    return CallRejected(policy="circuit_breaker", name=name, reason="open", retry_after=1.0)


def store_failed(name: str = "db") -> events.StoreFailed:
    return events.StoreFailed(policy="idempotent", name=name, verb="begin", error="E")


def names(found: list[Occurrence]) -> list[str]:
    return [each.event.name for each in found]


def drained(listener: Listener) -> list[str]:
    """Drain a listener that has lost nothing; return the names of the policies."""
    found, dropped = listener.drain()
    assert dropped == 0
    return names(found)


def test_what_is_notable_stays(feed: Feed) -> None:
    """The last of it, the oldest first, whether anybody listens or not."""
    for number in range(300):
        events.emit(changed(str(number)))
    found = feed.recent()
    assert names(found) == [str(number) for number in range(100, 300)]
    assert [each.id for each in found] == list(range(101, 301))
    assert len(Feed(recent=5).recent()) == 0


def test_kinds_are_told_in_the_order_in_which_they_came(feed: Feed) -> None:
    """One kind does not stand before the other."""
    acted = events.OperatorActed(policy="p", name="2", action="reset", author="ada", seconds=None)
    for event in (changed("1"), acted, changed("3")):
        events.emit(event)
    assert names(feed.recent()) == ["1", "2", "3"]


def test_an_occurrence_as_json(feed: Feed, frozen: Any) -> None:
    """Number, time and name of the event, then its fields; no number that JSON does not know."""
    events.emit(changed())
    events.emit(events.AbandonedCallEnded(policy="timeout", name="db", late=float("inf")))
    shown = [each.to_dict() for each in feed.recent()]
    assert json.loads(json.dumps(shown, allow_nan=False)) == [
        {
            "id": 1,
            "time": time.time(),
            "event": "circuit_changed",
            "policy": "circuit_breaker",
            "name": "db",
            "old": "closed",
            "new": "open",
            "reason": "test",
            "keyed": False,
        },
        {
            "id": 2,
            "time": time.time(),
            "event": "abandoned_call_ended",
            "policy": "timeout",
            "name": "db",
            "late": None,
        },
    ]


@pytest.mark.parametrize("kind", ALL, ids=event_name)
def test_without_a_listener_only_what_is_notable_is_wanted(kind: Any, feed: Feed) -> None:
    """So no policy builds an event for each call."""
    assert events.wanted(kind) == (kind in NOTABLE)
    with feed.listen():
        assert events.wanted(kind)
    assert events.wanted(kind) == (kind in NOTABLE)


def test_nothing_is_wanted_before_it_starts_and_after_it_closes() -> None:
    """Starting and closing may be said twice; what was kept is there after closing."""
    feed = Feed()
    assert not events.wanted(CircuitChanged)
    assert not feed.is_open
    assert feed.start() is feed
    feed.start()
    assert feed.is_open
    assert len(events._subscribers) == 1
    events.emit(changed())
    feed.close()
    feed.close()
    assert not events.wanted(CircuitChanged)
    assert names(feed.recent()) == ["db"]
    with feed:
        events.emit(changed("again"))
    assert names(feed.recent()) == ["db", "again"]


def test_a_listener_hears_everything_from_now_on(feed: Feed) -> None:
    """Once, in order; what was before it came is among the recent."""
    events.emit(changed("before"))
    with feed.listen() as listener:
        assert listener.drain() == ([], 0)
        for event in (rejected("1"), changed("2"), rejected("3")):
            events.emit(event)
        assert drained(listener) == ["1", "2", "3"]
        assert drained(listener) == []
        events.emit(rejected("4"))
        assert drained(listener) == ["4"]
    assert names(feed.recent()) == ["before", "2"]


@pytest.mark.parametrize(
    "kinds",
    [
        ["call_rejected", "circuit_changed"],
        [CallRejected, CircuitChanged],
        {"call_rejected", CircuitChanged},
    ],
)
def test_a_listener_may_ask_for_kinds(kinds: Any, feed: Feed) -> None:
    """By name or class; nobody builds the others for it, and none of them counts as dropped."""
    with feed.listen(kinds) as listener:
        assert events.wanted(CallRejected)
        assert not events.wanted(CallFailed)
        with feed.listen() as other:
            for event in (
                rejected("1"),
                CallFailed(policy="p", name="2", error="E"),
                changed("3"),
            ):
                events.emit(event)
            assert drained(other) == ["1", "2", "3"]
        assert drained(listener) == ["1", "3"]


def test_no_kinds_are_nothing(feed: Feed) -> None:
    """An empty list is not the same as none."""
    with feed.listen([]) as listener:
        assert not events.wanted(CallRejected)
        events.emit(changed())
        assert drained(listener) == []


def test_all_kinds_by_the_base(feed: Feed) -> None:
    """As in a subscription."""
    with feed.listen([Event]) as listener:
        events.emit(rejected())
        assert drained(listener) == ["db"]


def test_events_of_others(feed: Feed) -> None:
    """Classes that a program adds are events like ours, by their name too."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class HTTPCallMade(Event):
        secret: bytes = b""

    with feed.listen(["httpcall_made"]) as listener:
        events.emit(HTTPCallMade(policy="p", name="n"))
        assert drained(listener) == ["n"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kinds": ["circuit_change"]}, "got 'circuit_change'; did you mean 'circuit_changed'"),
    ({"kinds": ["xxx"]}, "must be names of events such as 'circuit_changed', got 'xxx'$"),
    ({"kinds": [5]}, "got 5"),
    ({"kinds": [int]}, "got <class 'int'>"),
    ({"capacity": 0}, "capacity must be a whole number of 1 or more"),
    ({"capacity": 100_001}, "capacity must be at most 100,000"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_wrong_listeners(wrong: dict[str, Any], said: str, feed: Feed) -> None:
    """They say what is wrong, and nobody listens."""
    with pytest.raises(ConfigurationError, match=said):
        feed.listen(**wrong)
    assert not events.wanted(CallRejected)


def test_wrong_feeds() -> None:
    """So do they."""
    with pytest.raises(ConfigurationError, match="recent must be"):
        Feed(recent=0)


def test_what_is_lost_is_counted(feed: Feed) -> None:
    """The last ones are kept for a listener that is slow."""
    with feed.listen(capacity=300) as listener:
        for number in range(1_000):
            events.emit(rejected(str(number)))
        found, dropped = listener.drain()
        assert (names(found), dropped) == ([str(number) for number in range(700, 1_000)], 700)
        assert listener.drain() == ([], 0)
        events.emit(rejected("more"))
        assert drained(listener) == ["more"]


def test_one_kind_does_not_crowd_out_another(feed: Feed) -> None:
    """A storm of refusals leaves every transition, the first one too."""
    with feed.listen(capacity=100) as listener:
        events.emit(changed("first"))
        for _ in range(10_000):
            events.emit(rejected())
        events.emit(changed("last"))
        found, dropped = listener.drain()
    assert [each.event.name for each in found if isinstance(each.event, CircuitChanged)] == [
        "first",
        "last",
    ]
    assert (len(found), dropped) == (100, 10_002 - 100)
    assert [each.id for each in found] == sorted(each.id for each in found)


def test_what_is_notable_comes_before_all_else(feed: Feed) -> None:
    """Where there is not room for both."""
    with feed.listen(capacity=10) as listener:
        for _ in range(20):
            events.emit(changed())
            events.emit(rejected())
        found, dropped = listener.drain()
    assert {type(each.event) for each in found} == {CircuitChanged}
    assert (len(found), dropped) == (10, 30)


def test_listeners_with_other_capacities(feed: Feed) -> None:
    """A small one takes nothing from a great one, and what was kept for one stays."""
    small = feed.listen(capacity=5)
    for number in range(10):
        events.emit(rejected(str(number)))
    great = feed.listen(capacity=500)
    for number in range(10, 400):
        events.emit(rejected(str(number)))
    assert [len(small.drain()[0]), len(great.drain()[0])] == [5, 390]
    small.close()
    great.close()


def test_what_may_happen_at_every_call_is_kept_once_a_second(feed: Feed, frozen: Any) -> None:
    """A store that is down fails all calls; the next one kept tells how many were left out."""
    for _ in range(5):
        events.emit(store_failed())
    events.emit(store_failed("other"))
    frozen.tick(0.5)
    events.emit(store_failed())
    frozen.tick(0.5)
    events.emit(store_failed())
    found = [each.to_dict() for each in feed.recent()]
    assert [(each["name"], each.get("repeated", 0)) for each in found] == [
        ("db", 0),
        ("other", 0),
        ("db", 5),
    ]
    frozen.tick(-100)
    events.emit(store_failed())
    assert len(feed.recent()) == 4


def test_what_is_known_of_repetitions_is_bounded(feed: Feed) -> None:
    """However many policies a store fails."""
    for number in range(5_000):
        events.emit(store_failed(str(number)))
    assert len(feed._repeats) <= 1_000
    assert len(feed.recent()) == 200


def test_what_happens_often_does_not_push_out_what_is_rare(feed: Feed) -> None:
    """Who has disabled a circuit is known for longer than that another one has opened."""
    for number in range(30):
        events.emit(events.RateChanged(policy="rate_limit", name=str(number), old="1/s", new="2/s"))
    for number in range(500):
        events.emit(store_failed(str(number)))
    found = feed.recent()
    assert names(found) == [
        *(str(number) for number in range(20, 30)),
        *(str(number) for number in range(310, 500)),
    ]
    assert [each.id for each in found] == sorted(each.id for each in found)
    assert len(NOTABLE) <= _MOST_KINDS


def test_limits_that_adapt_all_the_time_are_not_notable(feed: Feed) -> None:
    """A limit that somebody has changed is."""
    for reason in ("adaptive", "resized"):
        events.emit(
            events.LimitChanged(policy="bulkhead", name=reason, old=1, new=2, reason=reason)
        )
    assert names(feed.recent()) == ["resized"]
    with feed.listen() as listener:
        events.emit(events.LimitChanged(policy="b", name="a", old=1, new=2, reason="adaptive"))
        assert drained(listener) == ["a"]


def test_who_never_drains_costs_nothing_but_the_rings(feed: Feed) -> None:
    """However long; the memory of 50 is that of one."""
    listeners = [feed.listen(capacity=100) for _ in range(50)]
    for _ in range(5_000):
        events.emit(rejected())
    assert sum(len(ring.last) for ring in feed._rings.values()) <= feed._capacity
    assert [listener.drain()[1] for listener in listeners] == [4_900] * 50
    for listener in listeners:
        listener.close()


def test_who_has_vanished_listens_no_more(feed: Feed) -> None:
    """Nobody has to close what nobody has; with the next event it is noticed."""
    listener = feed.listen()
    gone = weakref.ref(listener)
    del listener
    gc.collect()
    assert gone() is None
    events.emit(changed())
    assert not events.wanted(CallRejected)
    assert feed._waiting == ()


def test_who_vanishes_takes_no_lock(feed: Feed) -> None:
    """The garbage collector may run while other locks are held, and the feed waits for those."""
    doomed = [feed.listen()]
    with feed._lock:
        vanishing = threading.Thread(target=doomed.clear)
        vanishing.start()
        vanishing.join(GIVE_UP)
        assert not vanishing.is_alive()
        assert feed._alive() == []


def test_coming_and_going_while_nothing_happens_leaves_nothing(feed: Feed) -> None:
    """Whether they are closed or forgotten."""
    for number in range(50):
        listener = feed.listen()
        if number % 2:
            listener.close()
    del listener
    feed.listen().close()
    assert (feed._waiting, feed._listeners) == ((), set())
    assert not events.wanted(CallRejected)


def test_who_comes_while_the_feed_is_closed_hears_when_it_is_started(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may close it in the middle of listening."""
    with monkeypatch.context() as closing:
        closing.setattr(feed, "start", feed.close)
        listener = feed.listen()
    feed.start()
    events.emit(changed("1"))
    events.emit(rejected("2"))
    assert drained(listener) == ["1", "2"]
    listener.close()


def test_who_vanishes_while_the_feed_asks_for_others(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may run there as well: it asks once more."""
    doomed = [feed.listen(["call_rejected"])]
    alive = feed._alive

    def lose_one() -> list[Listener]:
        found = alive()
        doomed.clear()
        return found

    monkeypatch.setattr(feed, "_alive", lose_one)
    with feed.listen(["call_failed"]):
        assert events.wanted(CallFailed)
        gc.collect()
        assert not events.wanted(CallRejected)


def test_what_comes_in_while_room_is_made(feed: Feed) -> None:
    """A signal handler strikes in between: nothing is lost, and whoever waits is woken."""

    class Struck(dict[Any, Any]):
        def values(self) -> Any:
            events.emit(changed("late"))
            return super().values()

    woken: list[int] = []
    small = feed.listen(capacity=1, on_ready=lambda: woken.append(1))
    feed._rings = Struck(feed._rings)
    great = feed.listen(capacity=1_000)
    assert woken == [1]
    assert [drained(small), drained(great)] == [["late"], ["late"]]
    small.close()
    great.close()


def test_an_interrupt_while_room_is_made(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wanted the room does not get it; all goes on, and the next one does."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    events.emit(changed("1"))
    with monkeypatch.context() as interrupted:
        interrupted.setattr("meshhook.observe.feed.deque", interrupt)
        with pytest.raises(KeyboardInterrupt):
            feed.listen(capacity=500)
    events.emit(changed("2"))
    assert names(feed.recent()) == ["1", "2"]
    with feed.listen(capacity=500) as listener:
        for number in range(500):
            events.emit(changed(str(number)))
        assert len(drained(listener)) == 500


def test_a_feed_that_nobody_started_can_be_listened_to() -> None:
    """Listening starts it."""
    feed = Feed()
    with feed.listen(["call_rejected"]) as listener:
        events.emit(rejected())
        assert drained(listener) == ["db"]
    feed.close()


def test_closing_the_feed_wakes_who_waits(feed: Feed) -> None:
    """They get what there is, and nothing after that."""
    listener = feed.listen()
    waiter = threading.Thread(target=listener.wait)
    waiter.start()
    feed.close()
    waiter.join(GIVE_UP)
    assert not waiter.is_alive()
    assert listener.drain() == ([], 0)
    listener.close()
    assert not events.wanted(CircuitChanged)


def test_closing_a_listener_wakes_who_waits_for_it(feed: Feed) -> None:
    """Twice is once; what had happened may still be drained."""
    listener = feed.listen()
    events.emit(rejected())
    listener.close()
    listener.close()
    assert listener.wait(GIVE_UP)
    assert drained(listener) == ["db"]
    events.emit(changed())
    assert not listener.wait(0.001)


def test_a_thread_waits_for_what_it_wants(feed: Feed) -> None:
    """And is not woken by anything else."""
    with feed.listen(["call_rejected"]) as listener:
        assert not listener.wait(0.001)
        events.emit(changed())
        assert not listener.wait(0.001)
        threading.Timer(0.01, events.emit, [rejected()]).start()
        assert listener.wait(GIVE_UP)
        assert drained(listener) == ["db"]


def test_what_comes_between_draining_and_waiting_wakes(feed: Feed) -> None:
    """There is no moment in which an event is missed."""
    with feed.listen() as listener:
        listener.drain()
        events.emit(rejected())
        assert listener.wait(GIVE_UP)


def test_an_event_loop_is_told_once(feed: Feed) -> None:
    """Until it has drained, however much happens."""

    async def main() -> tuple[int, int]:
        ready = asyncio.Event()
        calls: list[int] = []
        loop = asyncio.get_running_loop()

        def wake() -> None:
            calls.append(1)
            loop.call_soon_threadsafe(ready.set)

        with feed.listen(on_ready=wake) as listener:

            def storm() -> None:
                for _ in range(100):
                    events.emit(rejected())

            await asyncio.to_thread(storm)
            await asyncio.wait_for(ready.wait(), GIVE_UP)
            first = len(calls)
            assert len(listener.drain()[0]) == 100
            ready.clear()
            events.emit(rejected())
            await asyncio.wait_for(ready.wait(), GIVE_UP)
            return first, len(calls)

    assert asyncio.run(main()) == (1, 2)


def test_what_wakes_may_fail(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    """A loop that is closed by now breaks no call, and no other listener."""
    loop = asyncio.new_event_loop()
    loop.close()
    calls: list[int] = []
    with (
        feed.listen(on_ready=functools.partial(loop.call_soon_threadsafe, int)),
        feed.listen(on_ready=lambda: calls.append(1)),
    ):
        events.emit(rejected())
        events.emit(rejected())
    assert calls == [1]
    assert caplog.text.count("on_ready of a listener failed") == 1


def test_who_is_woken_may_drain_and_listen(feed: Feed) -> None:
    """No lock is held then: another thread may do so as well."""
    found: list[str] = []
    listener = feed.listen(on_ready=lambda: in_a_thread())

    def in_a_thread() -> None:
        worker = threading.Thread(target=lambda: found.extend(names(listener.drain()[0])))
        worker.start()
        worker.join(GIVE_UP)

    events.emit(rejected("1"))
    events.emit(rejected("2"))
    assert found == ["1", "2"]
    listener.close()


def test_an_event_in_a_signal_handler(feed: Feed) -> None:
    """It may interrupt the feed wherever that is, with its lock held; nothing hangs or is lost."""
    heard = 0
    emitted = 0

    def strike(*_: Any) -> None:
        nonlocal emitted
        events.emit(rejected())
        emitted += 1

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with feed.listen(capacity=100_000) as listener:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            end = time.thread_time() + 0.3
            while time.thread_time() < end:
                events.emit(changed())
                emitted += 1
                found, dropped = listener.drain()
                heard += len(found) + dropped
            signal.setitimer(signal.ITIMER_REAL, 0)
            found, dropped = listener.drain()
            assert heard + len(found) + dropped == emitted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_event_in_a_finalizer(feed: Feed) -> None:
    """The garbage collector runs anywhere, in the feed as well."""

    class Circle:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            events.emit(rejected())

    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        with feed.listen(capacity=50_000) as listener:
            heard = 0
            for _ in range(500):
                Circle()
                events.emit(changed())
                found, dropped = listener.drain()
                heard += len(found) + dropped
            gc.collect()
            found, dropped = listener.drain()
            assert heard + len(found) + dropped == 1_000
    finally:
        gc.set_threshold(*threshold)


def test_a_storm_from_8_threads(feed: Feed) -> None:
    """Nothing is told twice, and what is not told is counted, for each of 20 listeners."""
    listeners = [feed.listen(capacity=1 + 50 * number) for number in range(20)]
    together = threading.Barrier(8 + len(listeners))
    over = threading.Event()
    heard: dict[int, list[Occurrence]] = {number: [] for number in range(len(listeners))}
    lost = dict.fromkeys(heard, 0)

    def strike(thread: int) -> None:
        together.wait(GIVE_UP)
        for number in range(500):
            events.emit(changed(f"{thread}/{number}") if number % 50 == 0 else rejected())

    def follow(number: int) -> None:
        together.wait(GIVE_UP)
        while True:
            ends = over.is_set()
            found, dropped = listeners[number].drain()
            heard[number] += found
            lost[number] += dropped
            if ends:
                return
            listeners[number].wait(0.01)

    strikers = [threading.Thread(target=strike, args=(number,)) for number in range(8)]
    followers = [threading.Thread(target=follow, args=(number,)) for number in heard]
    for thread in (*strikers, *followers):
        thread.start()
    for thread in strikers:
        thread.join(GIVE_UP)
    over.set()
    for thread in followers:
        thread.join(GIVE_UP)
    for number, found in heard.items():
        ids = [each.id for each in found]
        assert len(ids) == len(set(ids))
        assert len(found) + lost[number] == 8 * 500
        if number > 1:
            kept = [each for each in found if isinstance(each.event, CircuitChanged)]
            assert len(kept) == 8 * 10
    for listener in listeners:
        listener.close()


def test_coming_and_going_in_a_storm(feed: Feed) -> None:
    """Who listens all the time is told of everything, whoever comes and goes beside."""
    steady = feed.listen(["call_rejected"], capacity=50_000)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            with feed.listen() as other:
                other.drain()
            feed.listen(["call_failed"])

    others = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in others:
        thread.start()
    for number in range(3_000):
        events.emit(rejected(str(number)))
    over.set()
    for thread in others:
        thread.join(GIVE_UP)
    assert drained(steady) == [str(number) for number in range(3_000)]
    steady.close()
    gc.collect()
    assert eventually(lambda: not events.wanted(CallRejected))


def test_a_clock_that_jumps(feed: Feed, frozen: Any) -> None:
    """The order is that of the numbers, whatever the time says."""
    events.emit(changed("1"))
    frozen.tick(-3_600)
    events.emit(changed("2"))
    assert names(feed.recent()) == ["1", "2"]


def test_a_forked_child_has_no_listeners(feed: Feed) -> None:
    """Those are of its parent; what is notable it keeps on its own, and may be listened to."""
    listener = feed.listen()
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with feed._lock:
            held.set()
            free.wait(GIVE_UP)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(GIVE_UP)

    def in_the_child() -> bool:
        events.emit(changed("child"))
        if events.wanted(CallRejected) or names(feed.recent()) != ["child"]:
            return False
        with feed.listen() as own:
            events.emit(rejected("own"))
            return names(own.drain()[0]) == ["own"] and listener.drain()[0] != []

    try:
        assert in_a_fork(in_the_child) == 0
    finally:
        free.set()
        holder.join(GIVE_UP)
    events.emit(rejected("parent"))
    assert drained(listener) == ["parent"]
    listener.close()


def test_a_closed_feed_in_a_forked_child() -> None:
    """It stays closed."""
    feed = Feed().start()
    feed.close()

    def in_the_child() -> bool:
        events.emit(changed())
        return not feed.is_open and feed.recent() == []

    assert in_a_fork(in_the_child) == 0


@pytest.mark.skipif(sys.gettrace() is not None, reason="what it measures is traced")
def test_the_cost_does_not_grow_with_the_listeners(feed: Feed) -> None:
    """An event costs the call the same for one as for fifty, who drain now and then."""

    def cost() -> float:
        best = float("inf")
        for _ in range(7):
            began = time.thread_time()
            for _ in range(500):
                events.emit(rejected())
            best = min(best, time.thread_time() - began)
        return best

    one = feed.listen()
    alone = cost()
    more = [feed.listen() for _ in range(50)]
    assert cost() < 3 * alone + 0.002
    for listener in (one, *more):
        listener.close()
