"""Adaptive limits: what they learn from, and how they do in front of a service with a knee."""

from __future__ import annotations

import asyncio
import builtins
import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from docs.plots.adaptive_limits import (
    HALVED,
    LATENCY,
    SERVERS,
    Fixed,
    Measured,
    Simulation,
    measure,
)
from meshhook import events
from tests.colours import Colour

AIMD = mh.AIMD(initial=10, latency_threshold=1.0)


@pytest.fixture
def bulkhead(registry: mh.Registry) -> mh.Bulkhead:
    """Make a bulkhead whose limit steps back by one for each call that times out."""
    return mh.bulkhead(limit=AIMD, name="db", registry=registry)


def limit(bulkhead: mh.Bulkhead) -> int:
    """Return the limit now."""
    return bulkhead.stats().max_concurrent


def busy(bulkhead: mh.Bulkhead, slots: int = 8) -> None:
    """Take slots by blocks that never end."""
    for _ in range(slots):
        bulkhead.__enter__()


def test_quick_calls_raise_the_limit(colour: Colour, bulkhead: mh.Bulkhead) -> None:
    """By one per round trip."""
    busy(bulkhead)
    fn = bulkhead(colour.paint(lambda: 1))
    for _ in range(12):
        colour.call(fn)
    assert limit(bulkhead) == 11


def test_one_call_too_many_is_refused(colour: Colour, bulkhead: mh.Bulkhead) -> None:
    """As with any other limit."""
    busy(bulkhead, 10)
    with pytest.raises(mh.BulkheadFullError):
        colour.call(bulkhead(colour.paint(lambda: 1)))


def test_no_growth_while_the_application_is_the_limit(
    colour: Colour, bulkhead: mh.Bulkhead
) -> None:
    """With less than half of the slots in use, whatever the calls take says nothing."""
    fn = bulkhead(colour.paint(lambda: 1))
    busy(bulkhead, 3)
    for _ in range(50):
        colour.call(fn)
    assert limit(bulkhead) == 10


def test_slow_calls_lower_the_limit(colour: Colour, bulkhead: mh.Bulkhead, frozen: Any) -> None:
    """More than a tenth of them."""
    fn = bulkhead(colour.paint(lambda: frozen.tick(1.5)))
    for _ in range(2):
        colour.call(fn)
    assert limit(bulkhead) == 9


@pytest.mark.parametrize("error", [mh.TimeoutError("mine"), builtins.TimeoutError()], ids=repr)
def test_timeouts_lower_the_limit(
    colour: Colour, bulkhead: mh.Bulkhead, error: Exception, frozen: Any
) -> None:
    """Ours and any other; once per round trip."""

    def fail() -> None:
        frozen.tick(0.1)
        raise error

    fn = bulkhead(colour.paint(fail))
    for expected in (9, 8):
        with pytest.raises(TimeoutError):
            colour.call(fn)
        assert limit(bulkhead) == expected
    with bulkhead:
        with pytest.raises(TimeoutError):
            colour.call(fn)
        assert limit(bulkhead) == 7
    assert limit(bulkhead) == 7


NO_SAMPLES = [
    mh.RejectedError("full"),
    mh.NoTimeLeftError("late"),
    mh.CircuitOpenError(),
    mh.InProgressError("busy"),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    ValueError(),
]


@pytest.mark.parametrize("error", NO_SAMPLES, ids=lambda each: type(each).__name__)
def test_what_says_nothing_about_the_service(
    colour: Colour, bulkhead: mh.Bulkhead, error: BaseException, frozen: Any
) -> None:
    """Refusals, cancellations, interrupts, errors: they neither raise nor lower the limit."""
    busy(bulkhead)

    def fail() -> None:
        frozen.tick(5)
        raise error

    fn = bulkhead(colour.paint(fail))
    for _ in range(30):
        with pytest.raises(type(error)):
            colour.call(fn)
        with pytest.raises(type(error)), bulkhead:
            fail()
    assert limit(bulkhead) == 10


@pytest.mark.parametrize("given", [{}, {"key": lambda depth: 1}], ids=["", "keyed"])
def test_what_is_true_on_every_path(
    colour: Colour, registry: mh.Registry, frozen: Any, given: Any
) -> None:
    """Refusals when it is full; timeouts that step back, once for calls that ran together."""
    bulkhead = mh.bulkhead(limit=mh.AIMD(initial=3), name="db", registry=registry, **given)
    limits: list[int] = []

    def body(depth: int) -> None:
        frozen.tick(1)
        if depth:
            with pytest.raises((TimeoutError, mh.BulkheadFullError)):
                inner(depth - 1)
            limits.append(limit(bulkhead))
        raise TimeoutError

    # The calls inside of a call are sync ones: a loop runs no other.
    inner = bulkhead(body)
    fn = bulkhead(colour.paint(body))
    with pytest.raises(TimeoutError):
        colour.call(fn, 3)
    assert limits == [3, 2, 2]
    stats = bulkhead.stats()
    assert (stats.rejected, stats.admitted, stats.in_use) == (1, 3, 0)


def test_a_gradient_measures_first(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """It halves its limit to see what calls take without a queue."""
    bulkhead = mh.bulkhead(limit=mh.Gradient(initial=40), name="db", registry=registry)
    fn = bulkhead(colour.paint(lambda: frozen.tick(0.1)))
    for _ in range(25):
        colour.call(fn)
    assert limit(bulkhead) == 20


def test_blocks_are_samples(bulkhead: mh.Bulkhead, frozen: Any) -> None:
    """As calls are."""
    for _ in range(2):
        with bulkhead:
            frozen.tick(1.5)
    assert limit(bulkhead) == 9
    with pytest.raises(TimeoutError), bulkhead:
        raise TimeoutError
    assert limit(bulkhead) == 8


def test_the_wait_in_our_own_queue_is_no_latency(registry: mh.Registry, frozen: Any) -> None:
    """Only what the inside took is."""
    bulkhead = mh.bulkhead(
        limit=mh.AIMD(initial=1, latency_threshold=1.0),
        max_queue=9,
        max_wait=None,
        name="db",
        registry=registry,
    )

    @bulkhead
    async def quick() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        bulkhead.__enter__()
        tasks = [asyncio.ensure_future(quick()) for _ in range(3)]
        while bulkhead.stats().waiting < 3:
            await asyncio.sleep(0)
        frozen.tick(100)
        # The block was slow, and says nothing: it has been cancelled.
        bulkhead.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert limit(bulkhead) > 1


def test_each_key_learns_by_itself(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """A slow host leaves the limits of others alone."""
    bulkhead = mh.bulkhead(limit=AIMD, key="{host}", name="db", registry=registry)
    fn = bulkhead(colour.paint(lambda host: frozen.tick(5.0 if host == "slow" else 0.0)))
    for host in ("slow", "slow", "quick", "quick"):
        colour.call(fn, host)
    assert bulkhead.stats("slow").max_concurrent == 9
    assert bulkhead.stats("quick").max_concurrent == 10
    bulkhead.reset()
    assert bulkhead.stats("slow").max_concurrent == 10


def test_a_learnt_limit_is_told(bulkhead: mh.Bulkhead, frozen: Any) -> None:
    """As an event with both numbers."""
    seen: list[Any] = []
    fn = bulkhead(lambda: frozen.tick(5))
    with events.subscribe(seen.append, events.LimitChanged):
        fn()
        fn()
    assert seen == [
        events.LimitChanged(policy="bulkhead", name="db", old=10, new=9, reason="adaptive")
    ]


def test_an_adaptive_limit_is_not_resized_by_hand(bulkhead: mh.Bulkhead) -> None:
    """It would undo that."""
    with pytest.raises(mh.ConfigurationError, match="would undo the change"):
        bulkhead.resize(3)


def test_a_reset_forgets_what_was_learnt(bulkhead: mh.Bulkhead, frozen: Any) -> None:
    """Limit and latencies."""
    fn = bulkhead(lambda: frozen.tick(5))
    for _ in range(8):
        fn()
    assert limit(bulkhead) < 8
    bulkhead.reset()
    assert limit(bulkhead) == 10


class Guarded:
    """The real bulkhead in front of a simulated service, with its real async driver."""

    def __init__(self, limit: Any, simulation: Simulation) -> None:
        self.bulkhead = mh.bulkhead(limit=limit, name="service", registry=mh.Registry())

        @self.bulkhead
        async def call() -> None:
            await _answer()

        self._call = call

    @property
    def limit(self) -> int:
        """The limit now."""
        return self.bulkhead._place.slots.limit

    def enter(self) -> Any:
        """Begin a call; None if it is refused."""
        coroutine = self._call()
        try:
            coroutine.send(None)
        except mh.BulkheadFullError:
            return None
        return coroutine

    def leave(self, coroutine: Any) -> None:
        """Have the service answer."""
        with pytest.raises(StopIteration):
            coroutine.send(None)


class _answer:  # noqa: N801 - it stands for a function of the service
    """Something to await that is answered by the next step of the coroutine."""

    def __await__(self) -> Any:
        yield


LIMITS: list[Any] = [mh.AIMD(latency_threshold=1.3 * LATENCY), mh.Gradient()]


@functools.cache
def best(servers: int, *, shared: bool) -> tuple[int, float]:
    """Find the best fixed limit, and the p99 of an unloaded service.

    That is the lowest one with the most calls per second (within one in a hundred, for chance),
    among those whose p99 is less than twice that of the unloaded service.
    """

    def measured(fixed: int) -> Measured:
        simulation = Simulation(seed=1, shared=shared)
        simulation.servers = servers
        simulation.run(Fixed(fixed), 20.0)
        return measure(simulation, 5.0, 20.0)

    unloaded = measured(servers // 4).p99
    found = {fixed: measured(fixed) for fixed in range(servers // 2, 2 * servers, 2)}
    good = {fixed: each.throughput for fixed, each in found.items() if each.p99 < 2 * unloaded}
    most = max(good.values())
    return min(fixed for fixed, calls in good.items() if calls >= 0.99 * most), unloaded


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Simulation], None]:
    """Have the clock of the process show the time of a simulation."""

    def show(simulation: Simulation) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: simulation.now)

    return show


@pytest.mark.parametrize("shared", [False, True], ids=["queue", "shared"])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("adaptive", LIMITS, ids=["AIMD", "Gradient"])
def test_in_front_of_a_service_with_a_knee(
    adaptive: Any, seed: int, at: Callable[[Simulation], None], *, shared: bool
) -> None:
    """Within 30 s the limit is within a quarter of the best one, and so when half is gone.

    Calls that were let through take less than twice as long as in an unloaded service.
    """
    simulation = Simulation(seed=seed, shared=shared)
    at(simulation)
    simulation.run(Guarded(adaptive, simulation), HALVED + 45.0, HALVED)
    for servers, begin in ((SERVERS, 30.0), (SERVERS // 2, HALVED + 30.0)):
        ideal, unloaded = best(servers, shared=shared)
        settled = measure(simulation, begin, begin + 15.0)
        assert settled.limit == pytest.approx(ideal, rel=0.25)
        assert settled.p99 < 2 * unloaded
        assert settled.throughput > 0.9 * servers / LATENCY


@pytest.mark.parametrize("initial", [2, 200])
@pytest.mark.parametrize("adaptive", [mh.AIMD, mh.Gradient], ids=["AIMD", "Gradient"])
def test_from_a_limit_far_off(
    adaptive: Any, initial: int, at: Callable[[Simulation], None]
) -> None:
    """It finds the knee from below and from above."""
    settings = {"latency_threshold": 1.3 * LATENCY} if adaptive is mh.AIMD else {}
    simulation = Simulation(seed=4)
    at(simulation)
    simulation.run(Guarded(adaptive(initial=initial, **settings), simulation), 45.0)
    ideal, unloaded = best(SERVERS, shared=False)
    settled = measure(simulation, 30.0, 45.0)
    assert settled.limit == pytest.approx(ideal, rel=0.25)
    assert settled.p99 < 2 * unloaded


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_latencies_that_scatter(seed: int, at: Callable[[Simulation], None]) -> None:
    """Gradient finds the knee among calls of which one in twenty takes half as long again."""
    simulation = Simulation(seed=seed, noise=0.3)
    at(simulation)
    simulation.run(Guarded(mh.Gradient(), simulation), 45.0)
    settled = measure(simulation, 30.0, 45.0)
    assert settled.limit == pytest.approx(SERVERS, rel=0.25)
