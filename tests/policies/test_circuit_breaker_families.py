"""A circuit per key: what the statistics of all of them say, at any moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.family import Family
from meshhook.rules.breaker import Circuit
from tests.colours import Colour
from tests.waiting import Called


@pytest.fixture
def small(registry: mh.Registry) -> mh.CircuitBreaker:
    """Make a breaker with room for three keys."""
    return mh.circuit_breaker(
        "api", key="{host}", failure_threshold=3, max_keys=3, registry=registry
    )


def fetch(host: int) -> str:
    """Succeed, fail or be ignored, as the number of the host says."""
    if host % 5 == 3:
        raise OSError
    if host % 5 == 4:
        raise mh.RejectedError("no room")
    return "ok"


def fetch_all(fn: Callable[[int], Any], colour: Colour, hosts: range) -> None:
    for host in hosts:
        with contextlib.suppress(OSError, mh.RejectedError):
            colour.call(fn, host)


def test_what_an_evicted_circuit_has_counted_stays_counted(
    small: mh.CircuitBreaker, colour: Colour
) -> None:
    """Counters are since the start: they never go down because keys come and go."""
    fn = small(colour.paint(fetch))
    seen = []
    for host in range(100):
        fetch_all(fn, colour, range(host, host + 1))
        seen.append(small.stats().calls)
    assert seen == list(range(1, 101))
    stats = small.stats()
    assert (stats.successes, stats.failures, stats.ignored) == (60, 20, 20)
    assert (stats.evicted, stats.states) == (97, {"closed": 3})


def test_openings_and_refusals_of_an_evicted_circuit_stay_counted(
    small: mh.CircuitBreaker,
) -> None:
    """Those too, when it has closed again and makes room for others."""
    fn = small(fetch)
    for _ in range(3):
        with pytest.raises(OSError):
            fn(3)
    with pytest.raises(mh.CircuitOpenError):
        fn(3)
    small.reset()
    for host in range(0, 100, 5):
        fn(host)
    stats = small.stats()
    with pytest.raises(KeyError):
        small.stats(key=3)
    assert (stats.opened, stats.rejected, stats.failures) == (1, 1, 3)


def test_a_key_that_comes_back_begins_anew(small: mh.CircuitBreaker) -> None:
    """Its circuit counts from there; the sum counts all."""
    fn = small(fetch)
    for host in (0, 5, 10, 15, 20, 25, 0):
        fn(host)
    assert (small.stats(key=0).calls, small.stats().calls) == (1, 7)


def test_a_reader_in_the_middle_of_an_eviction_counts_each_circuit_once(
    small: mh.CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it still is a member, or has left since the members were looked up."""
    fn = small(fetch)
    for host in (0, 5, 10):
        fn(host)
    seen: list[int] = []
    leave = Circuit.leave

    def leave_and_look(self: Circuit, gone: Any) -> Any:
        seen.append(small.stats().calls)
        left = leave(self, gone)
        seen.append(small.stats().calls)
        return left

    def say_farewell(circuit: Circuit) -> None:
        small._gone = leave(circuit, small._gone)
        seen.append(small.stats().calls)

    monkeypatch.setattr(Circuit, "leave", leave_and_look)
    fn(15)
    assert small._family is not None
    monkeypatch.setattr(small._family, "_farewell", say_farewell)
    fn(20)
    assert seen == [3, 3, 4]


@pytest.mark.parametrize("evicts", ["before", "after"])
def test_a_reader_that_an_eviction_overtakes_counts_each_circuit_once(
    small: mh.CircuitBreaker, evicts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before it looks up the members, or just after that."""
    fn = small(fetch)
    for host in (0, 5, 10):
        fn(host)
    members = Family.members

    def look_up(self: Family[Circuit]) -> list[Circuit]:
        monkeypatch.setattr(Family, "members", members)
        if evicts == "before":
            fn(15)
        found = members(self)
        if evicts == "after":
            fn(15)
        return found

    monkeypatch.setattr(Family, "members", look_up)
    assert small.stats().calls == (4 if evicts == "before" else 3)
    assert small.stats().calls == 4


def test_a_call_goes_on_while_statistics_of_many_keys_are_read(
    colour: Colour, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading holds nothing that a call waits for: known keys, new ones, failures, refusals."""
    keys = 10_000
    breaker = mh.circuit_breaker("api", key="{host}", failure_threshold=1, registry=registry)
    family = breaker._family
    assert family is not None
    for host in range(keys):
        family.let_go(family.hold(host))
    half_way, go_on = threading.Event(), threading.Event()
    read: list[Circuit] = []
    total_successes = Circuit.total_successes

    def slowly(self: Circuit) -> int:
        read.append(self)
        if len(read) == keys // 2:
            half_way.set()
            assert go_on.wait(20.0)
        return total_successes(self)

    monkeypatch.setattr(Circuit, "total_successes", slowly)
    reading = Called("sync", registry.stats)
    assert half_way.wait(20.0)

    def call() -> list[str]:
        fn = breaker(colour.paint(fetch))
        told = []
        for host in (0, 5, 10, keys, 3, 3):
            try:
                told.append(colour.call(fn, host))
            except (OSError, mh.CircuitOpenError) as error:
                told.append(type(error).__name__)
        return told

    calling = Called("sync", call)
    calling.thread.join(10.0)
    has_ended = calling.ended()
    go_on.set()
    assert has_ended, "the calls wait for the reader"
    assert calling.result() == ["ok"] * 4 + ["OSError", "CircuitOpenError"]
    assert reading.result()["api"].calls <= 5
    assert registry.stats()["api"].calls == 5  # type: ignore[attr-defined]
