"""Faults that circuit breakers are known to have, each held out by name: open and half-open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from freezegun import freeze_time

import meshhook as mh
from tests.colours import Colour
from tests.forking import in_a_fork
from tests.policies.breaker_paths import breaker_on, on_every_path
from tests.waiting import GIVE_UP, Called, Held


def failing(breaker: mh.CircuitBreaker) -> Callable[[], None]:
    """Make a sync function on the same circuit that fails; callable inside of any other."""

    def fail() -> None:
        raise ConnectionError

    guarded = breaker(fail)

    def fail_once() -> None:
        with contextlib.suppress(ConnectionError):
            guarded()

    return fail_once


def test_instances_share_one_probe(registry: mh.Registry) -> None:
    """All functions under one name share one trial, whatever thread they are on."""
    others, ran = 15, []
    refusals = threading.Semaphore(0)

    def probe() -> None:
        ran.append(threading.get_ident())
        for _ in range(others):
            assert refusals.acquire(timeout=10)

    def work() -> None:
        fn = mh.circuit_breaker("db", initial_state="half_open", registry=registry)(probe)
        try:
            fn()
        except mh.CircuitOpenError:
            refusals.release()

    threads = [threading.Thread(target=work) for _ in range(others + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ran) == 1
    assert registry.circuit_breakers["db"].stats().rejected == others


@on_every_path
@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, OSError])
def test_a_late_outcome_does_not_touch_an_open_circuit(
    path: str, ending: type[BaseException] | None, colour: Colour, registry: mh.Registry
) -> None:
    """A call admitted before the trip neither closes nor reopens it, however it ends."""
    breaker = breaker_on(path, registry, failure_threshold=1)
    fail = failing(breaker)

    def late() -> str:
        fail()
        assert breaker.state == "open"
        if ending is not None:
            raise ending
        return "late"

    fn = breaker(colour.paint(late))
    with contextlib.nullcontext() if ending is None else pytest.raises(ending):
        assert colour.call(fn) == "late"
    stats = breaker.stats()
    assert (stats.state, stats.opened, stats.calls) == ("open", 1, 2)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(fn)


@on_every_path
def test_a_late_cancellation_does_not_close_an_open_circuit(
    path: str, registry: mh.Registry
) -> None:
    """A call that is cancelled after the trip changes nothing either."""
    breaker = breaker_on(path, registry, failure_threshold=1)

    @breaker
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(hang())
        await asyncio.sleep(0)
        failing(breaker)()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (breaker.state, breaker.stats().ignored) == ("open", 1)


@on_every_path
@pytest.mark.parametrize("ending", [None, OSError], ids=["success", "failure"])
def test_a_late_outcome_does_not_decide_for_a_half_open_circuit(
    path: str,
    ending: type[Exception] | None,
    colour: Colour,
    registry: mh.Registry,
    frozen: Any,
) -> None:
    """What comes from before the trip neither spoils nor passes the trials that run now."""
    breaker = breaker_on(
        path, registry, failure_threshold=1, reset_timeout=10, half_open_max_calls=2
    )
    fail = failing(breaker)
    succeed = breaker(lambda: None)

    def late() -> None:
        fail()
        frozen.tick(10)
        succeed()
        assert breaker.state == "half_open"
        if ending is not None:
            raise ending

    with contextlib.nullcontext() if ending is None else pytest.raises(ending):
        colour.call(breaker(colour.paint(late)))
    assert breaker.state == "half_open"
    succeed()
    assert breaker.state == "closed"


@on_every_path
@pytest.mark.parametrize(("calls", "at_once"), [(1, 1), (5, 1), (5, 2)])
def test_half_open_admits_no_more_than_it_says(
    path: str, calls: int, at_once: int, registry: mh.Registry
) -> None:
    """Of 20 tasks that probe at once, one runs, or as many as may at one moment."""
    breaker = breaker_on(
        path,
        registry,
        initial_state="half_open",
        half_open_max_calls=calls,
        half_open_max_concurrent=at_once,
    )
    ran = 0

    @breaker
    async def probe() -> None:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0)

    async def main() -> list[Any]:
        return await asyncio.gather(*[probe() for _ in range(20)], return_exceptions=True)

    results = asyncio.run(main())
    refused = sum(isinstance(each, mh.CircuitOpenError) for each in results)
    assert (ran, refused) == (at_once, 20 - at_once)


@on_every_path
@pytest.mark.parametrize(("calls", "at_once"), [(1, 1), (5, 1), (5, 2)])
def test_half_open_admits_none_beside_its_trials(
    path: str, calls: int, at_once: int, registry: mh.Registry
) -> None:
    """The same for calls that are made while a trial runs, wherever they come from."""
    breaker = breaker_on(
        path,
        registry,
        initial_state="half_open",
        half_open_max_calls=calls,
        half_open_max_concurrent=at_once,
    )
    depth = refused = 0

    def probe() -> None:
        nonlocal depth, refused
        depth += 1
        if depth < at_once:
            fn()
            return
        for _ in range(19):
            with contextlib.suppress(mh.CircuitOpenError):
                fn()
                continue
            refused += 1

    fn = breaker(probe)
    fn()
    assert (depth, refused) == (at_once, 19)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "UTC"])
def test_no_time_zone_moves_the_reset(
    zone: str, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 60 s break is a 60 s break in New York."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        breaker = mh.circuit_breaker(initial_state="open", registry=registry)
        assert breaker.stats().retry_after == pytest.approx(60, abs=1)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@on_every_path
def test_a_hung_probe_does_not_wedge_half_open(
    path: str, colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """A trial that hangs past its lease loses it to another, and is not heard when it ends."""
    breaker = breaker_on(
        path, registry, initial_state="half_open", half_open_max_calls=2, half_open_timeout=5
    )
    other = breaker(lambda: "other")

    def hang() -> None:
        frozen.tick(4)
        with pytest.raises(
            mh.CircuitOpenError, match=r"half-open: its trial calls are .* in 1.0 s"
        ):
            other()
        frozen.tick(1)
        assert other() == "other"
        raise OSError

    with pytest.raises(OSError):
        colour.call(breaker(colour.paint(hang)))
    assert (breaker.state, breaker.stats().failures) == ("half_open", 1)
    assert other() == "other"
    assert breaker.state == "closed"


def test_a_dead_dependency_is_tried_once_a_round(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """The first failed trial decides the round; it does not take ten calls to a dead server."""
    breaker = mh.circuit_breaker(
        "db",
        initial_state="half_open",
        half_open_max_calls=10,
        success_threshold=10,
        registry=registry,
    )
    tried = 0

    def dead() -> None:
        nonlocal tried
        tried += 1
        raise OSError("dead")

    fn = breaker(colour.paint(dead))
    for number in range(1, 6):
        with pytest.raises(OSError, match="dead"):
            colour.call(fn)
        for _ in range(10):
            with pytest.raises(mh.CircuitOpenError):
                colour.call(fn)
        assert tried == number
        frozen.tick(60)


def test_rejections_do_not_pile_up_tracebacks(colour: Colour, registry: mh.Registry) -> None:
    """Each rejection is an exception of its own, with a short traceback."""
    fn = mh.circuit_breaker(initial_state="open", registry=registry)(colour.paint(lambda: None))
    raised = []
    for _ in range(50):
        with pytest.raises(mh.CircuitOpenError) as refused:
            colour.call(fn)
        raised.append(refused)
    assert len({id(each.value) for each in raised}) == 50
    assert len(raised[-1].traceback) == len(raised[0].traceback)


def test_leaving_frozen_time_does_not_keep_a_circuit_open_for_decades(
    registry: mh.Registry,
) -> None:
    """A circuit that opened in frozen time waits one more period at the most."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=60, registry=registry)
    with freeze_time("2030-01-01"), pytest.raises(OSError, match="x"), breaker:
        raise OSError("x")
    assert breaker.stats().retry_after == pytest.approx(60, abs=1)
    with freeze_time("2030-01-01"):
        breaker.call(int)
    assert breaker.state == "closed"


@on_every_path
def test_a_forked_child_has_locks_of_its_own(path: str, registry: mh.Registry) -> None:
    """A child forked while another thread holds our locks can fail, look and register."""
    breaker = breaker_on(path, registry, failure_threshold=1)
    fail = failing(breaker)
    held, forked = threading.Event(), threading.Event()
    family = contextlib.nullcontext() if breaker._family is None else breaker._family._lock

    def hold() -> None:
        with breaker._lock, registry._lock, family:
            held.set()
            forked.wait(60.0)

    def in_child() -> bool:
        fail()
        mh.circuit_breaker("other", registry=registry)
        return breaker.stats().failures == 1 and set(registry.stats()) == {"db", "other"}

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10.0)
    try:
        assert in_a_fork(in_child) == 0
    finally:
        forked.set()
        thread.join()
    assert breaker.stats().failures == 0


@pytest.mark.parametrize("key", [None, "{key}"])
@pytest.mark.parametrize("half_open", [False, True])
def test_calls_of_the_parent_hold_nothing_in_a_forked_child(
    key: str | None, half_open: bool, registry: mh.Registry
) -> None:
    """They never end there: neither do they grow slow in it, nor take its trials."""
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=1,
        slow_call_duration=30,
        slow_call_rate_threshold=1,
        minimum_calls=1,
        reset_timeout="1us",
        key=key,
        registry=registry,
    )
    body = Held()
    fn = breaker(lambda key, work: work())
    if half_open:
        with pytest.raises(ZeroDivisionError):
            fn(1, lambda: 1 / 0)
    running = Called("sync", fn, 1, body)
    assert body.inside.wait(GIVE_UP)

    def in_child() -> bool:
        with freeze_time("2030-01-01") as frozen:
            frozen.tick(31)
            fn(1, int)
        states = breaker.stats().states if key else {breaker.state: 1}
        held = 0 if breaker._family is None else breaker._family.get(1).users
        return (states, held) == ({"closed": 1}, 0)

    try:
        assert in_a_fork(in_child) == 0
    finally:
        body.go.set()
    running.result()
    assert breaker.stats().state == "closed"


def test_a_call_that_forks_ends_in_both_processes(registry: mh.Registry) -> None:
    """In the child it holds nothing any more, and gives nothing back."""
    breaker = mh.circuit_breaker("db", key="{key}", registry=registry)
    fn = breaker(lambda key, work: work())
    family = breaker._family
    assert family is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = fn(1, os.fork)
    if child == 0:
        os._exit(family.get(1).users)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (code, family.get(1).users) == (0, 0)
