"""What goes wrong in limits of other libraries, and does not here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import FakeClock
from tests.colours import Colour
from tests.waiting import Called, eventually

ALGORITHMS = ("gcra", "sliding_log", "fixed_window")
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def answer() -> str:
    """Return something."""
    return "done"


@each_algorithm
def test_hyx_14_a_limit_is_made_without_an_event_loop_and_used_in_any(
    algorithm: Any, registry: mh.Registry
) -> None:
    """At import, say; then in one loop after the other, and they count together."""
    limit = mh.rate_limit("2/h", algorithm=algorithm, registry=registry)
    fn = limit(Colour("async").paint(answer))
    assert [asyncio.run(fn()), asyncio.run(fn())] == ["done", "done"]
    with pytest.raises(mh.RateLimitedError):
        asyncio.run(fn())


@each_algorithm
def test_hyx_12_a_cancelled_wait_takes_nothing_along(algorithm: Any, registry: mh.Registry) -> None:
    """Also as a context manager."""
    limit = mh.rate_limit("2/h", algorithm=algorithm, max_wait=None, name="api", registry=registry)

    async def wait() -> None:
        async with limit:
            pass

    async def main() -> None:
        limit.try_acquire(2)
        tasks = [asyncio.ensure_future(wait()) for _ in range(5)]
        await asyncio.sleep(0)
        assert limit.stats().waiting == 5
        before = limit.reset_after()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limit.reset_after() <= before
        assert limit.retry_after() <= 3600

    asyncio.run(main())
    assert (limit.stats().waiting, limit.stats().cancelled) == (0, 5)


def starts(limit: mh.RateLimit, clock: FakeClock, seconds: float) -> list[float]:
    """Call ten times a second, and return when calls have started."""
    started = []
    for _ in range(round(seconds * 10)):
        if limit.try_acquire():
            started.append(clock.elapsed)
        clock.tick(0.1)
    return started


def test_aiolimiter_298_two_in_ten_seconds_are_what_the_algorithm_says(
    registry: mh.Registry,
) -> None:
    """Three in five seconds are the burst and one more by gcra; the others let no third start."""
    for algorithm, expected in (
        ("gcra", [0.0, 0.1, 5.0]),
        ("sliding_log", [0.0, 0.1]),
        ("fixed_window", [0.0, 0.1]),
    ):
        with FakeClock() as clock:
            limit: Any = mh.rate_limit(
                "2/10s", algorithm=algorithm, name=algorithm, registry=registry
            )
            assert starts(limit, clock, 9) == pytest.approx(expected, abs=0.11)
    with FakeClock() as clock:
        even = mh.rate_limit("2/10s burst 1", name="even", registry=registry)
        assert starts(even, clock, 21) == pytest.approx([0, 5, 10, 15, 20], abs=0.31)


def test_pyrate_limiter_108_a_wait_holds_no_lock_that_others_need(
    colour: Colour, registry: mh.Registry
) -> None:
    """Other keys start, the statistics can be read, and other policies go on."""
    limit = mh.rate_limit("1/h", key=lambda key: key, max_wait=None, name="api", registry=registry)
    fn = limit(colour.paint(lambda key: key))
    colour.call(fn, "busy")
    waiting = Called(colour.name, fn, "busy")
    assert eventually(lambda: limit.stats().waiting == 1)
    assert [colour.call(fn, key) for key in "abc"] == ["a", "b", "c"]
    limit.reset()
    assert waiting.result() == "busy"


@each_algorithm
def test_pyrate_limiter_194_nobody_waits_for_longer_than_he_may(
    algorithm: Any, colour: Colour, registry: mh.Registry
) -> None:
    """A limit of a month that is used up refuses at once, and blocks nobody for 31 days."""
    fn = mh.rate_limit(
        "1/s; 5/31d", algorithm=algorithm, max_wait="2s", name="api", registry=registry
    )(colour.paint(answer))
    with FakeClock() as clock:
        for _ in range(5):
            assert colour.call(fn) == "done"
        before = clock.elapsed
        with pytest.raises(mh.RateLimitedError) as caught:
            colour.call(fn)
        assert clock.elapsed == before
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 86_400


@each_algorithm
def test_limits_a_wall_clock_that_is_set_changes_nothing(
    algorithm: Any, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is what passes, not what a clock shows."""
    limit = mh.rate_limit("2/h", algorithm=algorithm, name="api", registry=registry)
    limit.try_acquire(2)
    for wall in (0.0, 1e12):
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        assert not limit.try_acquire()


@each_algorithm
def test_limits_and_throttled_21_a_limit_fails_no_call_but_by_its_rate(
    algorithm: Any, colour: Colour, registry: mh.Registry
) -> None:
    """Whatever is raised is the error of the call, or a refusal."""
    limit = mh.rate_limit("3/h", algorithm=algorithm, name="api", registry=registry)

    def fail() -> None:
        raise ConnectionError

    fn = limit(colour.paint(fail))
    raised = []
    for _ in range(5):
        with contextlib.suppress(ConnectionError, mh.RateLimitedError):
            try:
                colour.call(fn)
            except Exception as error:
                raised.append(type(error))
                raise
    assert raised == [ConnectionError] * 3 + [mh.RateLimitedError] * 2
