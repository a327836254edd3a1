"""Faults that circuit breakers are known to have, each held out by name."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import threading
import time
from typing import Any

import pytest

import meshhook as mh


def test_functions_run_side_by_side(registry: mh.Registry) -> None:
    """No lock is held while the function runs: five calls can be inside at one moment."""
    together = threading.Barrier(5)

    @mh.circuit_breaker("db", registry=registry)
    def call() -> None:
        together.wait(timeout=10)

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.circuit_breakers["db"].stats().successes == 5


def test_async_failures_are_counted(registry: mh.Registry) -> None:
    """An ``async def`` is judged by its outcome, not by the coroutine that it returns."""
    breaker = mh.circuit_breaker("db", failure_threshold=3, registry=registry)

    @breaker
    async def call() -> None:
        raise ConnectionError

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await call()

    asyncio.run(main())
    assert (breaker.state, breaker.stats().failures) == ("open", 3)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_interrupts_are_no_failures(raised: type[BaseException], registry: mh.Registry) -> None:
    """KeyboardInterrupt and GeneratorExit never open a circuit."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    @breaker
    def call() -> None:
        raise raised

    for _ in range(3):
        with pytest.raises(raised):
            call()
    assert (breaker.state, breaker.stats().failures) == ("closed", 0)


def test_ignoring_a_type_with_a_metaclass_ignores_that_type_only(registry: mh.Registry) -> None:
    """``ignore`` takes types of any metaclass, and nothing else is ignored for it."""

    class Odd(Exception, metaclass=abc.ABCMeta):  # noqa: N818 - the name says what it is
        pass

    breaker = mh.circuit_breaker("db", failure_threshold=1, ignore=(Odd,), registry=registry)
    with pytest.raises(Odd), breaker:
        raise Odd
    assert breaker.state == "closed"
    with pytest.raises(ValueError, match="x"), breaker:
        raise ValueError("x")
    assert breaker.state == "open"


def test_an_ignored_exception_does_not_reset_the_count(registry: mh.Registry) -> None:
    """Three failures and an ignored one are still three failures in a row."""
    breaker = mh.circuit_breaker("db", failure_threshold=4, ignore=KeyError, registry=registry)
    for kind in (OSError, OSError, OSError, KeyError):
        with pytest.raises(kind), breaker:
            raise kind
    assert breaker.stats().consecutive_failures == 3


@pytest.mark.fault
def test_instances_share_one_probe(registry: mh.Registry) -> None:
    """All functions under one name share one trial, whatever thread they are on."""
    running, most = 0, 0
    lock = threading.Lock()
    mh.circuit_breaker("db", initial_state="half_open", registry=registry)
    start = threading.Barrier(16)

    def work() -> None:
        nonlocal running, most
        fn = mh.circuit_breaker("db", initial_state="half_open", registry=registry)(probe)
        start.wait(timeout=10)
        with contextlib.suppress(mh.CircuitOpenError):
            fn()

    def probe() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_late_success_does_not_close_an_open_circuit(registry: mh.Registry) -> None:
    """A call admitted before the trip that ends well afterwards changes nothing."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    with breaker, pytest.raises(ValueError, match="x"), breaker:
        raise ValueError("x")
    assert (breaker.state, breaker.stats().successes) == ("open", 1)


def test_a_late_cancellation_does_not_close_an_open_circuit(registry: mh.Registry) -> None:
    """A call that is cancelled after the trip changes nothing either."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    async def hang() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(breaker.acall(hang))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="x"):
            async with breaker:
                raise ValueError("x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (breaker.state, breaker.stats().ignored) == ("open", 1)


def test_a_late_failure_does_not_reopen_a_half_open_circuit(
    registry: mh.Registry, frozen: Any
) -> None:
    """A failure from before the trip does not spoil the trial that runs now."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=10, registry=registry)
    late = breaker._admit(breaker._circuit)
    with pytest.raises(ValueError, match="x"), breaker:
        raise ValueError("x")
    frozen.tick(10)
    with breaker:
        breaker._settle_error(breaker._circuit, late, OSError())
        assert breaker.state == "half_open"
    assert breaker.state == "closed"


def test_half_open_admits_one_of_twenty(registry: mh.Registry) -> None:
    """Of 20 tasks that probe at once, one runs."""
    breaker = mh.circuit_breaker("db", initial_state="half_open", registry=registry)
    ran = 0

    @breaker
    async def probe() -> None:
        nonlocal ran
        ran += 1
        await asyncio.sleep(0)

    async def main() -> list[Any]:
        return await asyncio.gather(*[probe() for _ in range(20)], return_exceptions=True)

    results = asyncio.run(main())
    assert (ran, sum(isinstance(r, mh.CircuitOpenError) for r in results)) == (1, 19)


def test_cancelled_calls_are_no_failures(registry: mh.Registry) -> None:
    """Cancelling calls never opens a circuit."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    @breaker
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        tasks = [asyncio.create_task(hang()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert (breaker.state, breaker.stats().ignored) == ("closed", 5)


def test_concurrent_failures_all_count(registry: mh.Registry) -> None:
    """Twenty calls that were all admitted before the first failed still make the threshold."""
    breaker = mh.circuit_breaker("db", failure_threshold=20, registry=registry)
    admitted = asyncio.Event()

    @breaker
    async def fail() -> None:
        await admitted.wait()
        raise OSError

    async def main() -> None:
        tasks = [asyncio.create_task(fail()) for _ in range(20)]
        await asyncio.sleep(0)
        admitted.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert (breaker.state, breaker.stats().failures) == ("open", 20)


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


def test_an_inner_timeout_error_is_judged_as_what_it_is(registry: mh.Registry) -> None:
    """A TimeoutError of the function's own reaches the caller untouched, and is a failure."""
    breaker = mh.circuit_breaker("db", registry=registry)
    own = TimeoutError("upstream said 504")
    with pytest.raises(TimeoutError) as raised, breaker:
        raise own
    assert (raised.value is own, breaker.stats().last_failure) == (True, "TimeoutError")


def test_a_hung_probe_does_not_wedge_half_open(registry: mh.Registry, frozen: Any) -> None:
    """A trial that hangs past its lease loses it to another, and is not heard when it ends."""
    breaker = mh.circuit_breaker(
        "db", initial_state="half_open", half_open_timeout=5, registry=registry
    )
    hung = breaker._admit(breaker._circuit)
    frozen.tick(4)
    with pytest.raises(mh.CircuitOpenError, match=r"half-open: its trial calls are .* in 1.0 s"):
        breaker.call(int)
    frozen.tick(1)
    breaker.call(int)
    assert breaker.state == "closed"
    breaker._settle_error(breaker._circuit, hung, OSError())
    assert breaker.state == "closed"


def test_a_dead_dependency_is_tried_once_a_round(registry: mh.Registry, frozen: Any) -> None:
    """The first failed trial decides the round; it does not take ten calls to a dead server."""
    breaker = mh.circuit_breaker(
        "db",
        initial_state="half_open",
        half_open_max_calls=10,
        success_threshold=10,
        registry=registry,
    )
    with pytest.raises(OSError, match="dead"), breaker:
        raise OSError("dead")
    with pytest.raises(mh.CircuitOpenError):
        breaker.call(int)


def test_rejections_do_not_pile_up_tracebacks(registry: mh.Registry) -> None:
    """Each rejection is an exception of its own, with a short traceback."""
    breaker = mh.circuit_breaker(initial_state="open", registry=registry)
    raised = []
    for _ in range(50):
        with pytest.raises(mh.CircuitOpenError) as refused:
            breaker.call(int)
        raised.append(refused)
    assert len({id(each.value) for each in raised}) == 50
    assert len(raised[-1].traceback) == len(raised[0].traceback)


def test_leaving_frozen_time_does_not_keep_a_circuit_open_for_decades(
    registry: mh.Registry,
) -> None:
    """A circuit that opened in frozen time waits one more period at the most."""
    from freezegun import freeze_time

    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=60, registry=registry)
    with freeze_time("2030-01-01"), pytest.raises(OSError, match="x"), breaker:
        raise OSError("x")
    assert breaker.stats().retry_after == pytest.approx(60, abs=1)
    with freeze_time("2030-01-01"):
        breaker.call(int)
    assert breaker.state == "closed"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_locks_of_its_own(registry: mh.Registry) -> None:
    """A child forked while others hold our locks can fail, look and register all the same."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    with breaker._lock, registry._lock:
        child = os.fork()
        if child == 0:
            try:
                with contextlib.suppress(OSError), breaker:
                    raise OSError
                mh.circuit_breaker("other", registry=registry)
                os._exit(0 if registry.stats()["db"].failures == 1 else 1)  # type: ignore[attr-defined]
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert breaker.stats().failures == 0
