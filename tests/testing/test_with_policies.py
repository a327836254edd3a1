"""The kit around policies that wait: what they would have slept, and when they go on."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import FakeClock, disabled, no_wait, record_events
from tests.colours import Colour
from tests.waiting import real_time


class Flaky:
    """Fails so many times, and then no more; notes when it was called."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.times: list[float] = []
        self._began = time.monotonic()

    def __call__(self) -> str:
        self.times.append(round(time.monotonic() - self._began, 3))
        if len(self.times) <= self.failures:
            raise ConnectionError
        return "row"


def retry(registry: mh.Registry) -> mh.Retry:
    return mh.retry(
        max_attempts=4,
        backoff="exponential",
        base_delay=1,
        factor=2,
        jitter="none",
        name="load",
        registry=registry,
    )


def test_no_wait_lists_the_delays_of_a_retry(colour: Colour, registry: mh.Registry) -> None:
    """And the error comes at once when there are no more attempts."""
    load = Flaky(9)
    fn = retry(registry)(colour.paint(lambda: load()))
    before = real_time()
    with no_wait() as waits, pytest.raises(ConnectionError):
        colour.call(fn)
    assert waits == [1, 2, 4]
    assert real_time() - before < 5


def test_a_disabled_retry_neither_waits_nor_tells(colour: Colour, registry: mh.Registry) -> None:
    """There is one call, and no event."""
    load = Flaky(9)
    fn = retry(registry)(colour.paint(lambda: load()))
    quiet = pytest.raises(ConnectionError)
    with no_wait() as waits, record_events() as events, disabled("retry"), quiet as caught:
        colour.call(fn)
    assert (waits, len(load.times)) == ([], 1)
    events.assert_none()
    assert not hasattr(caught.value, "__notes__")


def test_a_retry_moves_the_clock(colour: Colour, registry: mh.Registry) -> None:
    """Each attempt is made when the clock says so."""
    with FakeClock() as clock:
        load = Flaky(3)
        fn = retry(registry)(colour.paint(lambda: load()))
        assert colour.call(fn) == "row"
        assert load.times == [0, 1, 3, 7]
        assert clock.elapsed == 7


def test_a_deadline_on_the_clock_ends_a_retry(colour: Colour, registry: mh.Registry) -> None:
    """No sleep is begun that does not fit."""
    with FakeClock() as clock:
        load = Flaky(9)
        fn = retry(registry)(colour.paint(lambda: load()))
        with mh.deadline(4), pytest.raises(ConnectionError):
            colour.call(fn)
        assert load.times == [0, 1, 3]
        assert clock.elapsed == 3


def test_a_retry_in_a_thread_waits_for_the_test(registry: mh.Registry) -> None:
    """It goes on when the clock has been moved, and not before."""
    with FakeClock(auto=False) as clock:
        load, results = Flaky(2), []
        policy = retry(registry)
        thread = threading.Thread(target=lambda: results.append(policy.call(load)))
        thread.start()
        for seconds in (1, 2):
            clock.wait_until_asleep()
            clock.tick(seconds - 0.1)
            assert clock.sleeping == 1
            clock.tick(0.1)
        thread.join()
    assert (load.times, results) == ([0, 1, 3], ["row"])


def test_a_retry_in_a_task_waits_for_the_test(registry: mh.Registry) -> None:
    """An advance goes through as many attempts as fit into it."""

    async def main() -> str:
        load = Flaky(3)

        async def load_async() -> str:
            return load()

        task = asyncio.ensure_future(retry(registry)(load_async)())
        await clock.advance(3.5)
        assert load.times == [0, 1, 3]
        await clock.advance(3.5)
        assert load.times == [0, 1, 3, 7]
        return await task

    with FakeClock(auto=False) as clock:
        assert asyncio.run(main()) == "row"


def test_a_rate_is_kept_on_the_clock(registry: mh.Registry) -> None:
    """Calls start a second apart, in both colours and on any loop."""
    limit = mh.rate_limit("1/s", burst=1, max_wait=60, name="limit", registry=registry)

    async def now() -> float:
        return clock.elapsed

    async def main() -> list[Any]:
        return list(await asyncio.gather(*[limit.acall(now) for _ in range(3)]))

    with FakeClock() as clock:
        assert [round(limit.call(lambda: clock.elapsed)) for _ in range(3)] == [0, 1, 2]
        assert [round(each) for each in asyncio.run(main())] == [3, 4, 5]
        assert [round(each) for each in clock.run(main())] == [6, 7, 8]


def test_places_are_waited_for_on_the_clock_of_a_loop(registry: mh.Registry) -> None:
    """A call that cannot have one in time is refused when that time has passed."""
    places = mh.bulkhead(1, max_queue=10, max_wait=12, name="places", registry=registry)

    async def work() -> float:
        await asyncio.sleep(5)
        return clock.elapsed

    async def main() -> list[Any]:
        calls = [places.acall(work) for _ in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with FakeClock() as clock:
        *results, refused = clock.run(main())
        assert results == [5, 10, 15]
        assert isinstance(refused, mh.BulkheadFullError)
        assert clock.elapsed == 15


def test_a_hedge_is_raced_on_the_clock_of_a_loop(registry: mh.Registry) -> None:
    """The second call is made after the delay, and wins."""
    hedge = mh.hedge(1, idempotent=True, name="hedge", registry=registry)
    delays = [30, 2]

    async def load() -> str:
        await asyncio.sleep(delays.pop(0))
        return "row"

    with FakeClock() as clock:
        assert clock.run(hedge.acall(load)) == "row"
        assert clock.elapsed == 3
