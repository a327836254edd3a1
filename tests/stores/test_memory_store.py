"""What only MemoryStore promises: its bound, its clean-up, its clock and its fast read."""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import pytest
from freezegun import freeze_time

from meshhook.errors import ConfigurationError
from meshhook.stores.memory import MemoryStore
from meshhook.stores.protocol import Acquired, Done, Lost, Running, Stored


def put(store: MemoryStore, key: str, payload: Any = 1, kept: float = 60.0) -> None:
    """Run a call under ``key`` to its end."""
    store.begin(key, "a", None, 30.0, 60.0)
    store.finish(key, "a", "value", payload, kept)


def test_the_oldest_result_is_forgotten_first() -> None:
    """Beyond ``max_entries`` results go in the order in which they were stored."""
    store = MemoryStore(max_entries=3)
    for key in "abcd":
        put(store, key)
    assert len(store) == 3
    assert [store.done(key) is not None for key in "abcd"] == [False, True, True, True]


def test_a_running_record_is_never_forgotten() -> None:
    """Running records stay, also when there are more of them than entries allowed."""
    store = MemoryStore(max_entries=2)
    for key in "abcd":
        store.begin(key, "me", None, 30.0, 60.0)
    put(store, "e")
    assert len(store) == 5
    assert all(type(store.begin(key, "you", None, 30.0, 60.0)) is Running for key in "abcd")
    assert all(Stored() == store.finish(key, "me", "value", 1, 60.0) for key in "abcd")
    put(store, "f")
    put(store, "g")
    put(store, "h")
    put(store, "i")
    assert len(store) <= 5


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "10"])
def test_a_wrong_bound_is_refused(wrong: Any) -> None:
    """``max_entries`` is a whole number above 0."""
    with pytest.raises(ConfigurationError, match="max_entries"):
        MemoryStore(max_entries=wrong)


def test_memory_follows_a_frozen_clock() -> None:
    """Retention and lease end by ``tick`` alone."""
    store = MemoryStore()
    with freeze_time() as clock:
        put(store, "kept", kept=60.0)
        store.begin("held", "a", None, 30.0, 600.0)
        clock.tick(29.5)
        assert store.done("kept") is not None
        assert Running(store.get("held").fence, 0.5, None) == store.begin("held", "b", None, 1, 1)
        clock.tick(0.5)
        assert type(store.begin("held", "b", None, 30.0, 600.0)) is Acquired
        clock.tick(30.5)
        assert store.done("kept") is None
        assert store.get("kept") is None
        assert store.begin("kept", "b", None, 30.0, 60.0).attempt == 1


@pytest.mark.parametrize("kind", ["value", "running", "released"])
def test_a_leap_back_of_the_clock_starts_the_span_anew(kind: str) -> None:
    """What was written in a frozen future does not stay for decades."""
    store = MemoryStore()
    with freeze_time("2050-01-01"):
        store.begin("key", "a", None, 30.0, 60.0)
        if kind != "running":
            store.finish("key", "a", kind, 1, 60.0)
    with freeze_time("2040-01-01") as clock:
        assert (store.done("key") is not None) == (kind == "value")
        assert (
            type(store.begin("key", "b", None, 1.0, 60.0))
            is {
                "value": Done,
                "running": Running,
                "released": Acquired,
            }[kind]
        )
        clock.tick(61)
        assert store.done("key") is None
        assert type(store.begin("key", "c", None, 30.0, 60.0)) is Acquired


def test_an_owner_finishes_over_a_leap_back() -> None:
    """Leaving frozen time in the middle of a run does not lose the key."""
    store = MemoryStore()
    with freeze_time("2050-01-01"):
        store.begin("key", "a", None, 30.0, 60.0)
    assert Stored() == store.finish("key", "a", "value", 1, 60.0)
    assert store.done("key") is not None


def test_a_leap_forward_ends_a_span() -> None:
    """What was written before time was frozen is over inside."""
    store = MemoryStore()
    put(store, "key")
    with freeze_time("2050-01-01"):
        assert store.done("key") is None
        assert type(store.begin("key", "b", None, 30.0, 60.0)) is Acquired


def test_expired_records_are_collected_as_others_begin() -> None:
    """Nothing runs in the background; new calls push out what is over, a few at a time."""
    store = MemoryStore()
    with freeze_time() as clock:
        for number in range(500):
            put(store, f"old {number}", kept=10.0)
            store.begin(f"left running {number}", "a", None, 1.0, 10.0)
        clock.tick(11)
        assert len(store) == 1_000
        for number in range(1_100):
            put(store, f"new {number}", kept=1_000.0)
        assert len(store) == 1_100
        for number in range(3_000):
            put(store, f"new {number % 1_100}", kept=1_000.0)
        assert len(store) == 1_100


def test_collecting_does_not_grow_with_a_busy_key() -> None:
    """One key used over and over leaves nothing behind."""
    store = MemoryStore()
    for _ in range(2_000):
        store.begin("key", "a", None, 30.0, 60.0)
        store.finish("key", "a", "released", None, 60.0)
    assert len(store) == 1
    assert len(store._turns) <= 130


def test_turns_do_not_pile_up_beside_what_lives_for_long() -> None:
    """Whatever is taken and let go thousands of times beside a thousand results of a day."""
    store = MemoryStore()
    for number in range(1_000):
        key = ("kept", number)
        store.begin(key, "a", None, 30.0, 60.0)
        store.finish(key, "a", "value", "x", 86_400.0)
    for _ in range(20_000):
        store.begin(("busy",), "a", None, 30.0, 60.0)
        store.finish(("busy",), "a", "released", None, 0.0)
    assert len(store._turns) < 4 * len(store)


def test_done_gives_the_live_result_only() -> None:
    """The fast read shows values and opaque results, and nothing that runs or was released."""
    store = MemoryStore()
    assert store.done("key") is None
    store.begin("key", "a", "fp", 30.0, 60.0)
    assert store.done("key") is None
    store.finish("key", "a", "released", None, 60.0)
    assert store.done("key") is None
    fence = store.begin("key", "b", "fp", 30.0, 60.0).fence
    store.finish("key", "b", "value", payload := [1], 60.0)
    kept = store.done("key")
    assert kept is not None
    assert (kept.kind, kept.fingerprint, kept.fence, kept.attempt) == ("value", "fp", fence, 2)
    assert kept.payload is payload
    store.force("key")
    assert store.done("key") is None
    put(store, "opaque")
    store.force("opaque")
    store.begin("opaque", "c", None, 30.0, 60.0)
    store.finish("opaque", "c", "opaque", None, 60.0)
    assert store.done("opaque").kind == "opaque"


def test_a_result_that_was_read_does_not_change_when_cleared() -> None:
    """A reader without the lock keeps a whole record, whatever happens to the key."""
    store = MemoryStore()
    put(store, "key", "old")
    kept = store.done("key")
    store.force("key")
    put(store, "key", "new")
    assert kept is not None
    assert (kept.kind, kept.payload) == ("value", "old")


def test_any_hashable_is_a_key() -> None:
    """A local store needs no text: numbers, tuples and None are keys."""
    store = MemoryStore()
    for key in (1, None, ("a", 1, None), frozenset({1})):
        assert type(store.begin(key, "a", None, 30.0, 60.0)) is Acquired
        assert type(store.begin(key, "b", None, 30.0, 60.0)) is Running


def test_fences_grow_over_a_restart() -> None:
    """A new store, as after a restart, gives larger fences than the one before it."""
    before = MemoryStore().begin("key", "a", None, 30.0, 60.0)
    time.sleep(0.001)
    after = MemoryStore().begin("key", "a", None, 30.0, 60.0)
    assert after.fence > before.fence


@pytest.mark.fault
def test_a_fork_leaves_no_lock_behind() -> None:
    """A child made while another thread holds the lock can use its copy."""
    store = MemoryStore()
    put(store, "key", "from the parent")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        child = os.fork()
    if child == 0:
        kept = store.done("key")
        lost = store.finish("other", "a", "value", 1, 60.0)
        os._exit(0 if kept is not None and lost == Lost(None) else 1)
    over.set()
    thread.join()
    assert (child, 0) == os.waitpid(child, 0)


def test_threads_leave_consistent_records() -> None:
    """8 threads on 50 keys: each key ends done, by exactly one owner for each fence."""
    store = MemoryStore()
    owners: list[tuple[str, int]] = []

    def work(owner: str) -> None:
        for number in range(200):
            key = str(number % 50)
            answer = store.begin(key, owner, None, 30.0, 60.0)
            if type(answer) is Acquired:
                owners.append((key, answer.fence))
                kind = "released" if number < 150 else "value"
                assert Stored() == store.finish(key, owner, kind, owner, 60.0)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(owners)) == len(owners)
    assert all(store.done(str(number)) is not None for number in range(50))
