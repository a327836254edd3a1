"""The watchdog: who decides, and what comes after that."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from meshhook.runtime.expiry import Expired
from meshhook.runtime.watchdog import Watchdog, keys


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """Make a watchdog that has no thread; it looks when it is told to."""
    made = Watchdog()
    monkeypatch.setattr(made, "wake", lambda: None)
    return made


def test_what_is_not_due_is_left_alone(dog: Watchdog) -> None:
    """It tells when to look again."""
    dog.watched[next(keys)] = (threading.get_ident(), 50.0)
    dog.watched[next(keys)] = (threading.get_ident(), 40.0)
    assert dog._fire_due(30.0) == 40.0
    assert len(dog.watched) == 2


def test_nothing_to_watch_is_nothing_to_wait_for(dog: Watchdog) -> None:
    """It sleeps until it is woken."""
    assert dog._fire_due(30.0) == float("inf")


def test_what_is_due_is_taken_and_raised(dog: Watchdog) -> None:
    """The exception knows its call."""
    key = next(keys)
    dog.watched[key] = (threading.get_ident(), 10.0)
    with pytest.raises(Expired) as caught:
        dog._fire_due(30.0)
        for _ in range(1_000):
            pass
    assert caught.value.limit == key
    assert key not in dog.watched
    assert dog.has_fired(key, caught.value)
    assert dog._firing == {}


def test_a_second_one_waits_until_the_first_is_settled(dog: Watchdog) -> None:
    """A thread has room for one exception only; the longest waiting call goes first."""
    ident = threading.get_ident()
    outer, inner = next(keys), next(keys)
    dog.watched.update({outer: (ident, 10.0), inner: (ident, 10.0)})
    with pytest.raises(Expired) as caught:
        dog._fire_due(30.0)
        for _ in range(1_000):
            pass
    assert caught.value.limit == outer
    assert list(dog.watched) == [inner]
    dog._fire_due(30.0)
    assert list(dog.watched) == [inner]
    dog.settle(inner)
    assert dog._firing == {ident: outer}
    dog.settle(outer)
    assert dog._firing == {}


def test_settling_takes_back_what_has_not_come_yet(dog: Watchdog) -> None:
    """Sent to a thread that looks away, it is gone when it looks again."""
    key = next(keys)
    go, settled = threading.Event(), threading.Event()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            dog.watched[key] = (threading.get_ident(), 10.0)
            go.set()
            settled_by_other.acquire()
            settled.set()
        except BaseException as error:
            caught.append(error)

    settled_by_other = threading.Lock()
    settled_by_other.acquire()
    thread = threading.Thread(target=work)
    thread.start()
    go.wait(5.0)
    time.sleep(0.005)  # it is waiting for the lock by now
    dog._fire_due(30.0)
    # Only the thread itself settles; lend it our hand, for it cannot run.
    monkey = threading.get_ident
    threading.get_ident = lambda: thread.ident or 0
    try:
        dog.settle(key)
    finally:
        threading.get_ident = monkey
    settled_by_other.release()
    thread.join(5.0)
    assert caught == []
    assert settled.is_set()


def test_a_thread_that_is_gone_is_forgotten(dog: Watchdog) -> None:
    """Nobody is there to settle."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    key = next(keys)
    dog.watched[key] = (thread.ident or 0, 10.0)
    dog._fire_due(30.0)
    assert (dog.watched, dog._firing) == ({}, {})


def test_a_call_that_ended_first_gets_nothing(dog: Watchdog) -> None:
    """Between the look and the taking, the call may take its entry out."""
    key = next(keys)

    class Leaving(dict[int, Any]):
        def copy(self) -> dict[int, Any]:
            seen = dict(self)
            self.clear()
            return seen

    dog.watched = Leaving({key: (threading.get_ident(), 10.0)})
    dog._fire_due(30.0)
    for _ in range(1_000):
        pass
    assert dog._firing == {}


def test_one_thread_watches_for_all() -> None:
    """It is started when it is first needed, and woken after that."""
    dog = Watchdog()
    for _ in range(3):
        dog.wake()
    names = [thread.name for thread in threading.enumerate() if thread is dog._thread]
    assert names == ["meshhook-watchdog"]
    for _ in range(2_000):
        if dog._bell.empty():
            break
        time.sleep(0.001)
    assert dog._bell.empty()
