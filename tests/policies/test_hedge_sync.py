"""Attempts of sync calls: worker threads that nothing stops, and what is said of them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.policies.hedge.threads import Attempt, Threads
from meshhook.runtime import workers
from tests.colours import Colour
from tests.forking import in_a_fork
from tests.policies.hedge_service import SOON, Hang, Service, nothing_is_held
from tests.waiting import Called, eventually

FAR = 30.0
SYNC = Colour("sync")


def make(delay: Any = SOON, **settings: Any) -> mh.Hedge:
    return mh.hedge(delay, **{"idempotent": True, "registry": mh.Registry(), **settings})


def guard(hedge: mh.Hedge, service: Service) -> tuple[Any, mh.Hedge]:
    fn = hedge(service.function())
    return fn, fn.policies[0]


@pytest.fixture
def pressing() -> Iterator[Any]:
    """Give what presses Ctrl-C after so many seconds."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_attempts_run_in_workers() -> None:
    """Every one of them, the first included, so that a call behaves the same each time."""
    seen = []

    def call() -> None:
        seen.append(threading.current_thread())
        if len(seen) == 1:
            raise ConnectionError

    make(FAR)(call)()
    assert len(seen) == 2
    assert all(thread.name.startswith("meshhook-worker") for thread in seen)
    assert all(thread.daemon for thread in seen)


def test_an_interrupt_frees_the_caller_and_the_attempts_run_on(pressing: Any) -> None:
    """It is neither a success nor a failure; the workers are counted until they end."""
    discarded: list[Any] = []
    service = Service(SYNC, Hang("a"), Hang("b"))
    fn, hedge = guard(make(on_discard=discarded.append), service)
    pressing(0.1)
    with pytest.raises(KeyboardInterrupt):
        fn()
    stats = hedge.stats()
    assert (stats.calls, stats.ignored, stats.running_on) == (1, 1, 2)
    assert hedge.extras.taken == 2
    service.settle(hedge)
    assert sorted(discarded) == ["a", "b"]


def test_what_runs_on_after_an_interrupt_counts_against_the_limit(pressing: Any) -> None:
    """Also the first attempt, which needed no place while its caller waited."""
    service = Service(SYNC, Hang(), ConnectionError(), "other")
    fn, hedge = guard(make(FAR, max_extra=1), service)
    pressing(0.02)
    with pytest.raises(KeyboardInterrupt):
        fn()
    assert not hedge.extras.take([])
    assert fn() == "other", "a call whose attempt has failed has the right to another"
    service.settle(hedge)


def test_losers_are_bounded() -> None:
    """However many calls there are, no more threads run on than `max_extra`."""
    service = Service(SYNC, Hang())
    fn, hedge = guard(make(max_extra=3, alternatives=[lambda: "other"]), service)
    calls = [Called("sync", fn) for _ in range(8)]
    assert eventually(lambda: sum(call.ended() for call in calls) == 3)
    assert eventually(lambda: hedge.stats().suppressed_by_limit == 5)
    assert hedge.extras.taken == hedge.stats().running_on == 3
    service.go.set()
    assert sorted(call.result() for call in calls) == ["late"] * 5 + ["other"] * 3
    service.settle(hedge)


def test_the_threads_of_attempts_are_used_again() -> None:
    """One library leaves two threads behind at each call that is slow; here they are a few."""
    before = threading.active_count()
    fn, hedge = guard(make(0), Service(SYNC, "done"))
    for _ in range(200):
        assert fn() == "done"
    assert threading.active_count() <= before + 4
    assert eventually(lambda: nothing_is_held(hedge))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_is_no_error_is_an_answer(error: BaseException) -> None:
    """It is raised to the caller, and starts no hedge."""
    service = Service(SYNC, error)
    fn, hedge = guard(make(FAR), service)
    with pytest.raises(type(error)) as caught:
        fn()
    assert caught.value is error
    assert (hedge.stats().ignored, hedge.stats().hedges) == (1, 0)


def test_a_cancellation_in_a_thread_says_nothing() -> None:
    """It is raised if there is no other attempt; none is started for it."""
    fn, hedge = guard(make(FAR), Service(SYNC, asyncio.CancelledError()))
    with pytest.raises(asyncio.CancelledError):
        fn()
    assert (hedge.stats().ignored, hedge.stats().hedges) == (1, 0)


def test_without_a_thread_for_the_first_attempt_the_call_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of the system is raised, and nothing is held."""

    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    fn, hedge = guard(make(), Service(SYNC, "never"))
    monkeypatch.setattr(Attempt, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        fn()
    assert hedge.stats().failures == 1
    assert nothing_is_held(hedge)


def crew(hedge: mh.Hedge, *calls: Any) -> Threads:
    return Threads(hedge, calls, (), {})


def test_an_attempt_that_ends_as_it_is_left_behind_is_discarded() -> None:
    """Its result is in line already, and nobody takes it out any more."""
    discarded: list[Any] = []
    hedge = make(on_discard=discarded.append)
    made = crew(hedge, lambda: "result", lambda: 1 / 0)
    made.start(0)
    made.start(1)
    assert eventually(lambda: made._line.qsize() == 2)
    made.leave([])
    assert discarded == ["result"]
    assert nothing_is_held(hedge)


def test_an_attempt_that_is_left_in_line_keeps_nothing_alive() -> None:
    """What it was called with is gone as soon as the call and its worker have let go of it."""

    class Order:
        pass

    hedge = make()

    def race() -> weakref.ref[Order]:
        order = Order()
        made = Threads(hedge, (lambda _: None,), (order,), {})
        made.start(0)
        assert eventually(lambda: made._line.qsize() == 1)
        made.leave([])
        return weakref.ref(order)

    gc.collect()
    gc.disable()
    try:
        gone = race()
        assert eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_an_attempt_that_never_reached_its_thread_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interrupt may come just before the job is handed over; then nothing will ever run."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    discarded: list[Any] = []
    hedge = make(on_discard=discarded.append)
    monkeypatch.setattr(workers._Worker, "hand_over", interrupted)
    monkeypatch.setattr(workers._Worker, "start", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        hedge.call(lambda: "never")
    assert discarded == []
    assert hedge.stats().ignored == 1
    assert nothing_is_held(hedge)


def test_a_forked_child_begins_anew() -> None:
    """None of the attempts goes on there, and hedges work."""
    service = Service(SYNC, Hang(), "quick")
    fn, hedge = guard(make(max_extra=1), service)
    assert fn() == "quick"
    assert hedge.stats().running_on == 1

    def child() -> bool:
        service.calls.clear()
        fresh = nothing_is_held(hedge)
        return fresh and fn() == "quick" and hedge.stats().running_on == 1

    hedge._lock.acquire()
    hedge.extras._lock.acquire()
    try:
        assert in_a_fork(child) == 0
    finally:
        hedge._lock.release()
        hedge.extras._lock.release()
    service.settle(hedge)


@pytest.mark.parametrize("mode", ["auto", "thread", "signal"])
def test_a_timeout_around_a_hedge_frees_the_caller(mode: Any) -> None:
    """The attempts see the deadline, and run on."""
    service = Service(SYNC, Hang())
    fn, hedge = guard(make(0), service)
    limited = mh.timeout(0.02, mode=mode, registry=mh.Registry())(fn)
    with pytest.raises(mh.TimeoutError):
        limited()
    service.go.set()
    assert eventually(lambda: hedge.stats().calls == 1)
    service.settle(hedge)


def test_an_attempt_has_the_context_of_its_start() -> None:
    """A hedge sees what the caller had set, and not what the first attempt did."""
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    def call() -> None:
        seen.append(variable.get())
        variable.set(1)
        if len(seen) < 3:
            raise ConnectionError

    make(FAR, max_hedges=2)(call)()
    assert seen == [0, 0, 0]
