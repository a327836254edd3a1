"""The counters of a timeout, with a GIL and without."""

from __future__ import annotations

import threading
import time

import pytest

import meshhook as mh
from meshhook import guard
from meshhook.policies.timeout.stats import Tally
from meshhook.tally import LockedNumber
from tests.colours import Colour


class Slowly(int):
    """A number whose addition lets other threads come in between."""

    def __radd__(self, other: int) -> int:
        time.sleep(0)
        return other + int(self)


@pytest.fixture
def without_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have policies believe that threads really run at the same time."""
    monkeypatch.setattr(guard, "GIL_ENABLED", False)


def test_a_locked_number_loses_nothing() -> None:
    """However threads take turns, even in the middle of an addition."""
    number = LockedNumber()
    start = threading.Barrier(8)

    def add() -> None:
        nonlocal number
        start.wait()
        for _ in range(200):
            number += Slowly(1)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(number) == 1600


def test_a_locked_number_stays_the_same_object() -> None:
    """So that it does not matter which thread writes it back."""
    number = before = LockedNumber()
    number += 2
    number += 3
    assert number is before
    assert int(number) == 5


@pytest.mark.parametrize("gil", [True, False])
def test_what_a_tally_counts_with(gil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain ints under a GIL, which cost nothing; numbers with a lock without one."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    tally = Tally()
    kinds = {type(getattr(tally, name)) for name in Tally.__slots__}
    assert kinds == {int if gil else LockedNumber}


@pytest.mark.parametrize("gil", [True, False])
def test_a_tally_adds_up(gil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are all that have ended; those that were rejected never began."""
    monkeypatch.setattr(guard, "GIL_ENABLED", gil)
    tally = Tally()
    tally.successes += 5
    tally.failures += 4
    tally.ignored += 3
    tally.timed_out += 2
    tally.rejected += 7
    assert tally.read() == {
        "calls": 14,
        "successes": 5,
        "failures": 4,
        "ignored": 3,
        "timed_out": 2,
        "rejected": 7,
    }
    assert {type(value) for value in tally.read().values()} == {int}


def test_a_timeout_counts_the_same_without_a_gil(without_gil: None, colour: Colour) -> None:
    """In its drivers and in its statistics, which stay plain numbers."""
    policy = mh.timeout(20.0, mode="cooperative", name="db", registry=mh.Registry())
    coming = iter([None, OSError, KeyboardInterrupt, TimeoutError])

    def call() -> None:
        error = next(coming)
        if error is not None:
            raise error

    fn = policy(colour.paint(call))
    colour.call(fn)
    for kind in (OSError, KeyboardInterrupt, TimeoutError):
        with pytest.raises(kind):
            colour.call(fn)
    told = policy.stats().to_dict()
    assert (told["calls"], told["successes"], told["failures"], told["ignored"]) == (4, 1, 2, 1)
