"""The watchdog: who decides, and what comes after that."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from meshhook.runtime import watchdog as watchdog_module
from meshhook.runtime.expiry import AGAIN, SOON, Expired
from meshhook.runtime.watchdog import LONGEST_DELAY, Watchdog, keys


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


def test_a_policy_is_left_to_finish_what_it_does(
    dog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two lines of it something would be left half done; but it is not waited for long."""
    policy: dict[str, Any] = {"__name__": "meshhook.policies", "sys": sys}
    exec("frame = sys._getframe()", policy)
    monkeypatch.setattr(watchdog_module, "_frame_of", lambda _: policy["frame"])
    key, due = next(keys), 10.0
    dog.watched[key] = (threading.get_ident(), due)
    soon = due + LONGEST_DELAY / 2
    assert dog._fire_due(soon) == soon + SOON
    assert key in dog.watched
    with pytest.raises(Expired) as caught:
        dog._fire_due(due + 2 * LONGEST_DELAY)
        for _ in range(1_000):
            pass
    assert dog.has_fired(key, caught.value)


def test_what_is_swallowed_is_sent_again(dog: Watchdog) -> None:
    """After a second, until it is settled; then nothing comes any more."""
    key = next(keys)
    dog.watched[key] = (threading.get_ident(), 10.0)

    def fire(now: float) -> None:
        dog._fire_due(now)
        for _ in range(1_000):
            pass

    with pytest.raises(Expired):
        fire(30.0)
    fire(dog.clock() + AGAIN / 2)
    # This very thread is between two lines of a policy, so to say: it looks for itself.
    again = dog._fired_at[threading.get_ident()] + AGAIN
    assert dog._fire_due(again) == again + SOON
    with pytest.raises(Expired) as caught:
        fire(again + 2 * LONGEST_DELAY)
    assert caught.value.limit == key
    dog.settle(key)
    assert (dog._firing, dog._fired_at) == ({}, {})
    assert dog._fire_due(dog.clock() + 10 * AGAIN) == float("inf")


def test_a_thread_that_has_ended_is_forgotten(dog: Watchdog) -> None:
    """Nobody is left in it who could settle."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    dog._firing[thread.ident or 0], dog._fired_at[thread.ident or 0] = next(keys), 10.0
    dog._fire_due(10.0 + AGAIN + 2 * LONGEST_DELAY)
    assert (dog._firing, dog._fired_at) == ({}, {})


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


def test_settling_lets_come_what_is_on_its_way(dog: Watchdog) -> None:
    """Sent while the call waits for the lock, it comes inside of settling and nowhere else."""
    key = next(keys)
    fires, ended, thread = threading.Event(), threading.Event(), threading.get_ident()

    def fire_slowly() -> None:
        with dog._lock:
            dog._firing[thread] = key
            fires.set()
            time.sleep(0.005)  # the call waits for the lock by now
            watchdog_module._set_async_exc(thread, type("Mine", (Expired,), {"limit": key}))
        ended.set()

    helper = threading.Thread(target=fire_slowly)
    helper.start()
    try:
        while not fires.is_set():
            pass
        dog.settle(key)
        for _ in range(1_000):
            pass
    finally:
        helper.join(5.0)
    assert dog._firing == {}
    assert ended.is_set()


def test_what_comes_as_settling_begins_is_not_sent_again(dog: Watchdog) -> None:
    """Else the thread that watches for all would look for a call that is over, and end."""
    key, thread = next(keys), threading.get_ident()
    dog._firing[thread], dog._fired_at[thread] = key, dog.clock()
    coming = [Expired(key)]

    class Interrupted:
        def __enter__(self) -> None:
            if coming:
                raise coming.pop()

        def __exit__(self, *_: object) -> None: ...

    dog._lock = Interrupted()  # type: ignore[assignment]
    dog.settle(key)
    assert (dog._firing, dog._fired_at) == ({}, {})
    assert dog._fire_due(dog.clock() + 2 * AGAIN) == float("inf")


def test_settling_lets_the_exception_of_another_limit_pass(dog: Watchdog) -> None:
    """It is not ours to keep, and what was on its way to us is still to be settled."""
    key, thread = next(keys), threading.get_ident()
    dog._firing[thread] = key

    class Interrupted:
        def __enter__(self) -> None:
            raise Expired("another")

        def __exit__(self, *_: object) -> None: ...

    dog._lock = Interrupted()  # type: ignore[assignment]
    with pytest.raises(Expired) as caught:
        dog.settle(key)
    assert caught.value.limit == "another"
    assert dog._firing == {thread: key}


@pytest.mark.fault
def test_an_interrupt_leaves_nothing_that_a_tracer_trips_over() -> None:
    """Taken back, it made CPython 3.11 look for it for ever at the first traced call."""
    program = """
import sys
import meshhook as mh

def spin():
    while True:
        pass

try:
    mh.timeout(0.02, mode="interrupt").call(spin)
except mh.TimeoutError:
    sys.settrace(lambda *_: None)
    print((lambda: "went on")())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30.0, check=True
    )
    assert ran.stdout == "went on\n"


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


def test_two_calls_that_need_it_at_once_start_one_thread() -> None:
    """The second one finds it started when it gets the lock, and only wakes it."""
    dog = Watchdog()

    class Beaten:
        def __enter__(self) -> None:
            dog._thread = threading.current_thread()

        def __exit__(self, *_: object) -> None: ...

    dog._lock = Beaten()  # type: ignore[assignment]
    before = threading.active_count()
    dog.wake()
    assert threading.active_count() == before
    assert dog._thread is threading.current_thread()
    assert dog._bell.qsize() == 1
