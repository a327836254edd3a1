"""Locks after a fork: who is asked to make them anew, and when."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from typing import Any

import pytest

from meshhook import forks
from tests.forking import in_a_fork


class Owner:
    """Somebody who owns a lock."""

    def __init__(self) -> None:
        self.renew_locks()

    def renew_locks(self) -> None:
        self.lock = threading.Lock()


def test_a_child_gets_a_lock_that_is_free() -> None:
    """Whoever held it is not there to let it go; the one of the parent is left alone."""
    owner = Owner()
    forks.enrol(owner)
    before = owner.lock
    with owner.lock:
        assert (
            in_a_fork(lambda: owner.lock is not before and owner.lock.acquire(blocking=False)) == 0
        )
        assert owner.lock is before


def test_a_child_of_a_child_gets_one_too() -> None:
    """It is the same for each fork."""
    owner = Owner()
    forks.enrol(owner)

    def fork_again() -> bool:
        with owner.lock:
            return in_a_fork(lambda: owner.lock.acquire(blocking=False)) == 0

    assert in_a_fork(fork_again) == 0


def test_owners_are_not_kept_alive() -> None:
    """To enrol is no reason to stay."""
    owner = Owner()
    forks.enrol(owner)
    ref = weakref.ref(owner)
    del owner
    gc.collect()
    assert ref() is None
    assert in_a_fork(lambda: True) == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), KeyboardInterrupt()], ids=["error", "Ctrl-C"]
)
def test_an_owner_that_fails_leaves_no_lock_of_others_held(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are asked, and Python tells of the error."""
    failing, others = [Owner(), Owner()], [Owner() for _ in range(20)]
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_value))
    monkeypatch.setattr(forks, "_owners", weakref.WeakSet([*failing, *others]))

    def fail() -> None:
        raise error

    def all_are_free() -> bool:
        assert told == [error]
        return all(each.lock.acquire(blocking=False) for each in others)

    for each in failing:
        monkeypatch.setattr(each, "renew_locks", fail)
    for each in others:
        each.lock.acquire()
    assert in_a_fork(all_are_free) == 0
    assert told == []


def test_what_is_to_be_done_in_a_child_is_done_there_and_only_there() -> None:
    """Once for each fork."""
    done: list[int] = []
    forks.after_in_child(lambda: done.append(os.getpid()))
    assert in_a_fork(lambda: done == [os.getpid()]) == 0
    assert done == []


def test_a_system_that_cannot_fork_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no error."""
    monkeypatch.delattr(os, "register_at_fork")
    done: list[Any] = []
    forks.after_in_child(lambda: done.append(1))
    assert done == []
