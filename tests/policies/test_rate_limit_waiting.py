"""Calls that wait for their turn: in order, as long as it takes, and no longer than they may."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from freezegun import freeze_time

import meshhook as mh
from meshhook import events
from meshhook.policies.rate_limit.limiter import SECOND, Limiter, Standing, Turn
from meshhook.rules.fixed_window import FixedWindow
from meshhook.rules.gcra import Gcra
from meshhook.rules.rates import Rate
from meshhook.runtime import pauses
from meshhook.testing import FakeClock, Run, cancel_everywhere, no_wait
from tests.colours import Colour
from tests.waiting import Called, eventually, eventually_async

ALGORITHMS = ("gcra", "sliding_log", "fixed_window")


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Have sleeping move the clock."""
    with FakeClock() as made:
        yield made


@pytest.fixture
def hand() -> Iterator[FakeClock]:
    """Move the clock by hand."""
    with FakeClock(auto=False) as made:
        yield made


def once(registry: mh.Registry, rate: str = "1/s", **settings: Any) -> mh.RateLimit:
    return mh.rate_limit(rate, name="api", registry=registry, **{"max_wait": 10, **settings})


def close_to(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-5)


def call_within(seconds: float, colour: Colour, fn: Callable[[], Any]) -> Any:
    """Call ``fn`` with a deadline; the runner of a test has a context of its own."""
    if colour.name == "sync":
        with mh.deadline(seconds):
            return fn()

    async def main() -> Any:
        with mh.deadline(seconds):
            return await fn()

    return colour.call(main)


def timed(clock: FakeClock) -> Callable[[], float]:
    """Return a function that tells when it was called."""
    return lambda: clock.elapsed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_call_sleeps_until_its_turn(
    colour: Colour, algorithm: Any, registry: mh.Registry, clock: FakeClock
) -> None:
    """For as long as it takes, and is told of."""
    limit = once(registry, algorithm=algorithm)
    fn = limit(colour.paint(timed(clock)))
    told: list[Any] = []
    with mh.subscribe(told.append, events.CallDelayed):
        assert [colour.call(fn) for _ in range(3)] == [0.0, close_to(1.0), close_to(2.0)]
    delay = close_to(1.0)
    assert [event.delay for event in told] == [delay, delay]
    stats = limit.stats()
    assert (stats.admitted, stats.waited, stats.waiting, stats.rejected) == (3, 2, 0, 0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tasks_start_in_the_order_in_which_they_came(
    algorithm: Any, registry: mh.Registry, clock: FakeClock
) -> None:
    """And at the pace of the rate."""
    limit = once(registry, "2/s", algorithm=algorithm)
    started: list[tuple[int, float]] = []

    @limit
    async def fn(number: int) -> None:
        started.append((number, clock.elapsed))

    async def main() -> None:
        tasks = [asyncio.ensure_future(fn(number)) for number in range(6)]
        await asyncio.sleep(0)
        assert limit.stats().waiting == 4
        await asyncio.gather(*tasks)

    clock.run(main())
    at = [0, 0, 0.5, 1, 1.5, 2] if algorithm == "gcra" else [0, 0, 1, 1, 2, 2]
    assert sorted(number for number, _ in started) == [0, 1, 2, 3, 4, 5]
    assert [when for _, when in started] == [pytest.approx(each, abs=0.005) for each in at]
    if algorithm == "gcra":
        assert [number for number, _ in started] == [0, 1, 2, 3, 4, 5]


def test_threads_and_tasks_stand_in_one_queue(registry: mh.Registry, hand: FakeClock) -> None:
    """Whatever they are."""
    limit = once(registry)
    started: list[int] = []
    limit.try_acquire()
    calls = []
    for number, colour in enumerate(("sync", "async", "sync", "async")):
        fn = limit(Colour(colour).paint(started.append))
        calls.append(Called(colour, fn, number))
        hand.wait_until_asleep(number + 1)
    for number, call in enumerate(calls):
        hand.tick(0.99)
        assert (started, limit.stats().waiting) == ([*range(number)], 4 - number)
        hand.tick(0.01)
        call.result()
    assert started == [0, 1, 2, 3]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wait_that_cannot_fit_is_refused_at_once(
    colour: Colour, algorithm: Any, registry: mh.Registry, clock: FakeClock
) -> None:
    """Longer than max_wait, or than the deadline is away; nobody sleeps for nothing."""
    limit = once(registry, "1/10s", algorithm=algorithm, max_wait="9s")
    fn = limit(colour.paint(timed(clock)))
    colour.call(fn)
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(fn)
    assert (clock.elapsed, caught.value.retry_after) == (0.0, close_to(10.0))
    clock.tick(2)
    for seconds in (7.5, 0):
        with pytest.raises(mh.RateLimitedError):
            call_within(seconds, colour, fn)
    assert clock.elapsed == 2.0
    assert call_within(8.5, colour, fn) == close_to(10.0)
    assert limit.stats().rejected == 3


def test_a_call_may_wait_for_as_long_as_the_deadline_allows(
    colour: Colour, registry: mh.Registry, clock: FakeClock
) -> None:
    """With max_wait=None: days, if there is no deadline."""
    fn = once(registry, "1/d", max_wait=None)(colour.paint(timed(clock)))
    assert [colour.call(fn), colour.call(fn)] == [0.0, close_to(86400.0)]
    with pytest.raises(mh.RateLimitedError):
        call_within(3600, colour, fn)


@pytest.mark.parametrize("seconds", [1e15, 1e300, 1e308])
def test_a_time_without_end_is_no_error(
    seconds: float, colour: Colour, registry: mh.Registry, clock: FakeClock
) -> None:
    """Of a wait, a deadline or a pause: numbers beyond all clocks count as very long."""
    limit = once(registry, "1/s", max_wait=seconds, pause_on=lambda _: seconds)
    fn = limit(colour.paint(timed(clock)))
    assert [call_within(seconds, colour, fn) for _ in range(2)] == [0.0, close_to(1.0)]
    with pytest.raises(ZeroDivisionError):
        colour.call(limit(colour.paint(lambda: 1 / 0)))
    with pytest.raises(mh.RateLimitedError):
        call_within(9, colour, fn)


def test_those_who_wait_already_count(registry: mh.Registry, clock: FakeClock) -> None:
    """A wait that would fit behind nobody does not fit behind two others."""
    limit = once(registry, max_wait=2.5)

    @limit
    async def fn() -> float:
        return clock.elapsed

    async def main() -> list[Any]:
        return await asyncio.gather(*(fn() for _ in range(4)), return_exceptions=True)

    *started, refused = clock.run(main())
    assert started == [0.0, close_to(1.0), close_to(2.0)]
    assert isinstance(refused, mh.RateLimitedError)
    assert (refused.retry_after, refused.remaining) == (close_to(3.0), 0)


def test_nobody_overtakes_a_call_of_a_greater_cost(registry: mh.Registry, clock: FakeClock) -> None:
    """It would wait for ever, if small ones took what it waits for."""
    limit = once(registry, "4/s", cost=lambda cost: cost)
    started: list[tuple[int, float]] = []

    @limit
    async def fn(cost: int) -> None:
        started.append((cost, clock.elapsed))

    async def main() -> None:
        await fn(2)
        waiting = [asyncio.ensure_future(fn(cost)) for cost in (4, 1, 1)]
        await asyncio.sleep(0)
        assert not limit.try_acquire(1)
        assert (limit.remaining(), limit.retry_after()) == (0, close_to(1.25))
        await asyncio.gather(*waiting)

    clock.run(main())
    at = [0.0, 0.5, 0.75, 1.0]
    assert started == [
        (cost, pytest.approx(when, abs=0.005)) for cost, when in zip((2, 4, 1, 1), at, strict=True)
    ]


def test_several_rates_hold_for_those_who_wait(registry: mh.Registry, clock: FakeClock) -> None:
    """And are known to whoever comes later."""
    limit = once(registry, "1/s; 3/10s", max_wait=19)

    @limit
    async def fn() -> float:
        return clock.elapsed

    async def main() -> list[Any]:
        return await asyncio.gather(*(fn() for _ in range(9)), return_exceptions=True)

    *started, refused = clock.run(main())
    third = 10 / 3
    expected = [0, 1, 2, third, 2 * third, 10, 4 * third, 5 * third]
    assert started == [pytest.approx(each, abs=0.01) for each in expected]
    assert isinstance(refused, mh.RateLimitedError)
    assert refused.retry_after == pytest.approx(20, abs=0.01)


def test_a_sync_call_never_waits_on_the_thread_of_a_running_loop(registry: mh.Registry) -> None:
    """It would block all tasks; it passes if it need not wait, and is refused if it cannot."""
    limit = once(registry)
    fn = limit(lambda: "done")

    async def main() -> None:
        assert fn() == "done"
        for use in (fn, limit.__enter__):
            with pytest.raises(RuntimeError, match="rate limit 'api' is used up.*async form"):
                use()
        with mh.deadline(0.1), pytest.raises(mh.RateLimitedError):
            fn()

    asyncio.run(main())
    stats = limit.stats()
    assert (stats.admitted, stats.waiting, stats.cancelled, stats.rejected) == (1, 0, 0, 1)


def test_a_cancelled_wait_is_given_back_and_those_behind_move_up(registry: mh.Registry) -> None:
    """They are woken for that: the second turn is a minute away, the first is not."""
    limit = once(registry, "1/60s; 2/100ms", max_wait=None)
    limit.change("1/100ms; 2/100ms")
    started: list[int] = []

    @limit
    async def fn(number: int) -> None:
        started.append(number)

    async def main() -> None:
        await fn(0)
        tasks = [asyncio.ensure_future(fn(number)) for number in range(1, 41)]
        await asyncio.sleep(0)
        began = time.perf_counter()
        for task in tasks[:-2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert time.perf_counter() - began < 2.0

    asyncio.run(main())
    assert started == [0, 39, 40]
    stats = limit.stats()
    assert (stats.admitted, stats.cancelled, stats.waited, stats.waiting) == (3, 38, 2, 0)
    assert stats.calls == 41


def test_a_thread_moves_up_as_well(registry: mh.Registry) -> None:
    """Woken by a task that gives up."""
    limit = once(registry, "1/200ms", max_wait=None)
    limit.try_acquire()
    fn = limit(lambda: time.perf_counter())

    async def main() -> float:
        limited = limit(Colour("async").paint(lambda: None))
        tasks = [asyncio.ensure_future(limited()) for _ in range(30)]
        await asyncio.sleep(0)
        behind = Called("sync", fn)
        assert await eventually_async(lambda: limit.stats().waiting == 31)
        began = time.perf_counter()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.to_thread(behind.result) - began

    assert asyncio.run(main()) < 2.0


def test_a_faster_rate_wakes_those_who_wait(colour: Colour, registry: mh.Registry) -> None:
    """And what they wait for is paid back at the new rate."""
    limit = once(registry, "1/h", max_wait=None)
    limit.try_acquire()
    waiting = [Called(colour.name, limit(colour.paint(lambda: "done"))) for _ in range(3)]
    assert eventually(lambda: limit.stats().waiting == 3)
    limit.change("1000/s", burst=1)
    assert [each.result() for each in waiting] == ["done"] * 3


def test_a_reset_wakes_those_who_wait(colour: Colour, registry: mh.Registry) -> None:
    """As many as may start then."""
    limit = once(registry, "2/h", max_wait=None)
    limit.try_acquire(2)
    waiting = [Called(colour.name, limit(colour.paint(lambda: "done"))) for _ in range(2)]
    assert eventually(lambda: limit.stats().waiting == 2)
    limit.reset()
    assert [each.result() for each in waiting] == ["done"] * 2
    assert limit.remaining() == 0


def test_who_is_woken_before_he_sleeps_does_not_sleep(
    colour: Colour, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lets him start may come between his asking and his sleep."""
    limit = once(registry, "1/h", max_wait=None)
    limit.try_acquire()
    ask = Limiter.ask

    def ask_and_be_woken(self: Limiter, *args: Any) -> Any:
        answer = ask(self, *args)
        self.reset()
        return answer

    monkeypatch.setattr(Limiter, "ask", ask_and_be_woken)
    assert colour.call(limit(colour.paint(lambda: "done"))) == "done"


def test_those_who_wait_start_after_a_pause(registry: mh.Registry, clock: FakeClock) -> None:
    """In their order and without a burst; who cannot wait for so long is refused."""
    limit = once(registry, max_wait=8)

    @limit
    async def fn() -> float:
        return clock.elapsed

    async def main() -> list[Any]:
        await fn()
        tasks = [asyncio.ensure_future(fn()) for _ in range(5)]
        await asyncio.sleep(0.5)
        limit.pause_for(4.5)
        return await asyncio.gather(*tasks, return_exceptions=True)

    *started, late = clock.run(main())
    assert started == [pytest.approx(each, abs=0.01) for each in (5, 6, 7, 8)]
    assert isinstance(late, mh.RateLimitedError)
    stats = limit.stats()
    assert (stats.admitted, stats.waited, stats.rejected, stats.waiting) == (5, 4, 1, 0)


def test_shutting_down_ends_a_sync_wait(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is given back, and the call is refused; nobody waits any more."""
    monkeypatch.setattr(pauses, "_shut_down", False)
    limit = once(registry, "1/h", max_wait=None)
    limit.try_acquire()
    fn = limit(lambda: "done")
    waiting = [Called("sync", fn) for _ in range(3)]
    assert eventually(lambda: len(pauses._sleepers) >= 3)
    mh.shutdown()
    for each in waiting:
        with pytest.raises(mh.RateLimitedError):
            each.result()
    with pytest.raises(mh.RateLimitedError):
        fn()
    stats = limit.stats()
    assert (stats.waiting, stats.rejected, stats.cancelled) == (0, 4, 0)


def test_ctrl_c_ends_a_sync_wait(registry: mh.Registry) -> None:
    """The place is given back."""
    limit = once(registry, "1/h", max_wait=None)
    limit.try_acquire()
    fn = limit(lambda: "done")
    threading.Timer(0.02, signal.raise_signal, (signal.SIGINT,)).start()
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        fn()
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(0.05)
    stats = limit.stats()
    assert (stats.waiting, stats.cancelled, stats.rejected, stats.calls) == (0, 1, 0, 2)


def test_cancelling_everywhere_leaves_nothing_behind() -> None:
    """A call is cancelled at each of its await points, also when its turn has just come."""
    limits: list[mh.RateLimit] = []

    async def scene() -> None:
        limits.append(mh.rate_limit(1, "2ms", max_wait=None, registry=mh.Registry()))
        fn = limits[-1](Colour("async").paint(lambda: "done"))
        await fn()
        await fn()
        async with fn.policies[0]:  # type: ignore[attr-defined]
            pass

    def check(run: Run) -> None:
        (limit,) = limits.pop().registry
        stats: Any = limit.stats()
        assert stats.waiting == 0
        assert stats.cancelled == run.was_cancelled
        assert stats.calls == stats.admitted + stats.cancelled
        assert stats.reset_after <= 0.002

    moments: Any = ("before", "after", "thrown away")
    assert asyncio.run(cancel_everywhere(scene, check, moments=moments)) == 2
    assert asyncio.run(cancel_everywhere(scene, check, times=2)) == 2


def test_a_wait_that_is_thrown_away_is_given_back(registry: mh.Registry) -> None:
    """Its event loop has ended without it."""
    limit = once(registry, "1/h", max_wait=None)
    limit.try_acquire()
    fn = limit(Colour("async").paint(lambda: "done"))
    loop = asyncio.new_event_loop()
    task = loop.create_task(fn())
    loop.run_until_complete(asyncio.sleep(0))
    assert limit.stats().waiting == 1
    loop.close()
    limit.change("1/ms")  # who cannot be woken any more is out of the queue
    assert limit.stats().waiting == 0
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    gc.collect()
    assert (limit.stats().cancelled, limit.try_acquire()) == (1, True)


def test_frozen_clocks_do_not_hang_those_who_sleep(colour: Colour, registry: mh.Registry) -> None:
    """Who has slept knows that time has passed."""
    limit = mh.rate_limit("1/2ms", max_wait=10, name="api", registry=registry)
    fn = limit(colour.paint(lambda: "done"))
    with freeze_time("2026-01-01", real_asyncio=True):
        assert [colour.call(fn) for _ in range(4)] == ["done"] * 4


def test_no_wait_makes_each_wait_count_as_waited(colour: Colour, registry: mh.Registry) -> None:
    """So that calls go on as they would in time."""
    fn = once(registry, max_wait=1.5)(colour.paint(lambda: "done"))
    with freeze_time("2026-01-01", real_asyncio=True), no_wait() as waits:
        assert [colour.call(fn) for _ in range(4)] == ["done"] * 4
    assert waits == [close_to(1.0)] * 3


# The limiter itself, in the moments that a test cannot bring about from outside.


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: seconds)

    set_to(0.0)
    return set_to


def turn_of(answer: Any) -> Turn:
    assert isinstance(answer, Turn)
    return answer


def limiter(limit: int = 1) -> Limiter:
    made = Limiter(Gcra, (Rate(limit, SECOND, limit),))
    for _ in range(limit):
        assert made.ask(1) is None
    return made


LONG = 100 * SECOND


def test_a_late_thread_starts_late_and_the_next_after_it(at: Callable[[float], None]) -> None:
    """The promise is about when calls really start."""
    queue = limiter()
    first, second = (turn_of(queue.ask(1, LONG)) for _ in range(2))
    assert (first.due, second.due) == (1 * SECOND, 2 * SECOND)
    at(1.9)
    assert queue.ask_again(first) is None
    assert first.has_started
    at(2.0)
    assert queue.ask_again(second) is None
    assert (second.has_started, second.due) == (False, 2_900_000)
    at(2.9)
    queue.ask_again(second)
    assert second.has_started


def test_who_wakes_up_before_the_one_ahead_lets_him_start(at: Callable[[float], None]) -> None:
    """Two threads wake up at once, in whatever order."""
    queue = limiter()
    first, second = (turn_of(queue.ask(1, LONG)) for _ in range(2))
    at(1.95)
    queue.ask_again(second)
    assert (second.has_started, second.due) == (False, 2_950_000)
    queue.ask_again(first)
    assert first.has_started
    at(2.95)
    queue.ask_again(second)
    assert second.has_started


def test_who_does_not_wake_up_holds_up_nobody_for_long(at: Callable[[float], None]) -> None:
    """His loop is blocked, or has ended; if he comes back, it is to the end of the queue."""
    queue = limiter()
    first, second = (turn_of(queue.ask(1, LONG)) for _ in range(2))
    at(2.0)
    queue.ask_again(second)
    assert not second.has_started
    second.is_woken = True
    at(2.1)
    queue.ask_again(second)
    assert second.has_started
    third = turn_of(queue.ask(1, LONG))
    at(3.0)
    queue.ask_again(first)
    assert (first.has_started, first.due, third.due) == (False, 4_100_000, 3_100_000)
    at(3.1)
    queue.ask_again(third)
    at(4.1)
    queue.ask_again(first)
    assert (third.has_started, first.has_started, len(queue.waiting)) == (True, True, 0)


def test_nobody_is_left_in_a_queue_of_the_dead(at: Callable[[float], None]) -> None:
    """Who comes later finds it empty, and starts."""
    queue = limiter()
    for _ in range(3):
        queue.ask(1, LONG)
    assert isinstance(queue.ask(1), Standing)
    at(50.0)
    assert queue.peek().remaining == 1
    assert queue.ask(1) is None


def test_a_call_starts_ahead_of_others_if_all_of_them_could(at: Callable[[float], None]) -> None:
    """They have not woken up yet, and it takes nothing from them."""
    queue = limiter(4)
    waiting = [turn_of(queue.ask(1, LONG)) for _ in range(2)]
    at(0.75)
    assert queue.ask(1) is None
    for each in waiting:
        queue.ask_again(each)
    assert [each.has_started for each in waiting] == [True, True]
    assert isinstance(queue.ask(1), Standing)


def test_a_turn_that_cannot_come_in_time_any_more_is_refused(at: Callable[[float], None]) -> None:
    """And those behind it move up."""
    queue = limiter()
    impatient, patient = turn_of(queue.ask(1, 3 * SECOND)), turn_of(queue.ask(1, LONG))
    woken: list[str] = []
    patient.wake = lambda: woken.append("patient") is None
    queue.pause(5 * SECOND)
    at(1.0)
    assert queue.ask_again(impatient) == Standing(4 * SECOND, 0, 4 * SECOND)
    assert (impatient.has_started, woken) == (False, [])
    at(2.0)
    queue.ask_again(patient)
    assert patient.due == 5 * SECOND
    queue.reset()
    assert (patient.is_woken, patient.wake) == (True, None)
    queue.ask_again(patient)
    assert patient.has_started


def test_an_old_reading_of_the_clock_refuses_nothing(
    at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver has started a call, by a later reading, just after this one was taken."""
    queue = Limiter(Gcra, (Rate(1, SECOND, 1),))
    now = Limiter._now
    readings: list[int] = []

    def read(self: Limiter) -> int:
        readings.append(now(self))
        if len(readings) == 1:
            at(5.0)
            assert queue.rule.start(5 * SECOND)
            at(7.0)
        return readings[-1]

    monkeypatch.setattr(Limiter, "_now", read)
    assert queue.ask(1) is None
    assert readings == [0, 7 * SECOND]
    assert queue.ask(1) == Standing(SECOND, 0, SECOND)


def test_drivers_start_nothing_by_themselves_while_somebody_waits(
    at: Callable[[float], None],
) -> None:
    """They would overtake whoever has not woken up yet."""
    queue = limiter()
    assert queue.gate is queue.rule
    turn = turn_of(queue.ask(1, LONG))
    at(1.0)
    assert not queue.gate.start(1 * SECOND)
    queue.ask_again(turn)
    assert turn.has_started
    assert queue.gate is queue.rule


def test_a_clock_that_is_a_little_behind_was_not_set_back(at: Callable[[float], None]) -> None:
    """Another thread has read it later, and started all that may start."""
    queue = Limiter(Gcra, (Rate(2, SECOND, 2),))
    assert queue.gate.start(5 * SECOND, 2)
    assert queue.ask(1) == Standing(5_500_000, 0, 6 * SECOND)


def test_a_debt_that_is_greater_than_the_new_burst_is_owed_on(at: Callable[[float], None]) -> None:
    """It is not taken for a clock that was set back."""
    queue = Limiter(Gcra, (Rate(100, 3600 * SECOND, 100),))
    queue.ask(100)
    queue.change(Gcra, (Rate(100, 3600 * SECOND, 1),))
    assert queue.peek() == Standing(3600 * SECOND, 0, 3600 * SECOND)


def test_other_rates_recover_until_the_first_of_the_queue_starts(
    at: Callable[[float], None],
) -> None:
    """So those behind him keep to the pace of the other rate from there."""
    queue = Limiter(FixedWindow, (Rate(3, 10 * SECOND, 3), Rate(1, SECOND, 1)))
    for second in range(3):
        at(second)
        assert queue.ask(1) is None
    at(5.0)
    dues = [turn_of(queue.ask(1, LONG)).due for _ in range(3)]
    assert dues == [10 * SECOND, 11 * SECOND, 12 * SECOND]


def test_who_was_woken_once_sleeps_again_as_anybody(at: Callable[[float], None]) -> None:
    """And knows then that time has passed, where the clock is frozen."""
    queue = limiter()
    turn = turn_of(queue.ask(1, LONG))
    turn.is_woken = True
    queue.ask_again(turn)
    assert (turn.has_started, turn.is_woken) == (False, False)
    queue.ask_again(turn)
    assert turn.has_started


def test_leaving_twice_is_leaving_once(at: Callable[[float], None]) -> None:
    """As is leaving after the start."""
    queue = limiter()
    turn = turn_of(queue.ask(1, LONG))
    for _ in range(2):
        queue.leave(turn)
    assert (len(queue.waiting), queue.peek().wait) == (0, SECOND)
    queue._dequeue(turn)
    assert queue.peek().wait == SECOND
