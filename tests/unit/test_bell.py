"""The bell: wakes whoever waits, and may be rung from anywhere."""

from __future__ import annotations

import signal
import threading

from meshhook.runtime.bell import Bell
from tests.waiting import GIVE_UP, real_time


def test_it_is_heard_before_and_after() -> None:
    """Rung before anybody waits, or while somebody does."""
    bell = Bell()
    bell.ring()
    assert bell.wait()
    threading.Timer(0.01, bell.ring).start()
    assert bell.wait(GIVE_UP)


def test_two_rings_are_heard_once() -> None:
    """Nothing adds up where nobody listens."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0.001)


def test_waiting_has_an_end() -> None:
    """However much or little is asked for."""
    began = real_time()
    assert not Bell().wait(-1)
    assert not Bell().wait(0.001)
    assert real_time() - began < GIVE_UP
    bell = Bell()
    bell.ring()
    assert bell.wait(float("inf"))


def test_a_signal_handler_may_ring_while_its_thread_waits() -> None:
    """Which an event of the standard library does not allow at any moment."""
    bell = Bell()
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    try:
        for _ in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            assert bell.wait(GIVE_UP)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_one_ring_wakes_one() -> None:
    """Each of many rings is for whoever waits next."""
    bell = Bell()
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(bell.wait(GIVE_UP))) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(woken) < 4:
        bell.ring()
    for thread in threads:
        thread.join(GIVE_UP)
    assert woken == [True] * 4
