"""Types of the testing kit. Never executed: mypy and pyright read it."""

from __future__ import annotations

from typing import assert_type

import meshhook as mh
from meshhook.events import CircuitChanged, Event
from meshhook.testing import (
    Events,
    FakeClock,
    Run,
    cancel_everywhere,
    disabled,
    force_open,
    inject,
    isolated_registry,
    like,
    no_wait,
    record_events,
)


@no_wait()
@disabled("retry", mh.timeout(2.0))
def a_test(number: int) -> str:
    return str(number)


@force_open("payments")
@mh.testing.isolated_registry()
async def an_async_test(number: int) -> str:
    return str(number)


def uses() -> None:
    assert_type(a_test(1), str)
    with no_wait() as waits, force_open("payments") as breaker, isolated_registry() as registry:
        assert_type(waits, list[float])
        assert_type(breaker, mh.CircuitBreaker)
        assert_type(registry, mh.Registry)
    with inject("payments", latency=2) as chaos:
        assert_type(chaos, mh.Chaos)
    with record_events(CircuitChanged) as events:
        assert_type(events, Events)
        assert_type(events[0], Event)
        assert_type(events.of(CircuitChanged, name="payments"), list[CircuitChanged])
        assert_type(events.assert_one(CircuitChanged).new, str)
        events.assert_sequence(CircuitChanged, like(CircuitChanged, new="open"), events[0])
    with FakeClock(auto=False) as clock:
        assert_type(clock, FakeClock)
        assert_type(clock.elapsed, float)
        assert_type(clock.run(an_async_test(1)), str)
    disabled(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    a_test("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def check(run: Run) -> None:
    assert_type(run.point, int)


async def uses_async(clock: FakeClock) -> None:
    assert_type(await an_async_test(1), str)
    assert_type(await cancel_everywhere(lambda: an_async_test(1), check), int)
    await cancel_everywhere(lambda: an_async_test(1), moments=["thrown away"], times=2)
    await clock.advance(5)
