"""Statistics of idempotent functions: every call is counted once, as what became of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from meshhook.policies.idempotent import names
from meshhook.policies.idempotent.stats import Counters, LockedCounters, make_counters
from tests.colours import Colour
from tests.forking import in_a_fork
from tests.policies.idempotent_calls import (
    Sides,
    held_call,
    hold_elsewhere,
    nothing_left,
    once,
    stats_of,
    waits,
)
from tests.waiting import GIVE_UP, Called, Held, eventually

COUNTED = [
    "calls",
    "executed",
    "replayed",
    "rejected",
    "released",
    "lost",
    "waited",
    "unprotected",
    "store_errors",
    "running",
]


def counted(fn: Any) -> dict[str, int]:
    """Return the counters that are not 0."""
    stats = stats_of(fn).to_dict()
    return {name: stats[name] for name in COUNTED if stats[name]}


def raises(error: type[BaseException], colour: Colour, fn: Any, *args: Any) -> None:
    """Call ``fn``, which has to raise ``error``."""
    with pytest.raises(error):
        colour.call(fn, *args)


def test_what_was_never_called_has_counted_nothing(store: Any, colour: Colour) -> None:
    """All counters begin at 0, and say which policy they are of."""
    stats = stats_of(once(store, Held(), colour))
    assert (stats.policy, stats.name) == ("idempotent", "charge")
    assert {name: getattr(stats, name) for name in COUNTED} == dict.fromkeys(COUNTED, 0)


def test_each_call_is_counted_as_what_became_of_it(sides: Sides, colour: Colour) -> None:
    """Executed, replayed, released, rejected for each reason: calls are their sum."""
    results: dict[int, Any] = {1: "fine", 2: ValueError("no"), 3: object()}

    def body(order: Any, amount: int) -> Any:
        result = results[order]
        if isinstance(result, Exception):
            raise result
        return result

    fn = once(sides.here, body, colour, on_running="reject")
    told: list[Any] = []
    subscription = mh.subscribe(told.append, events.CallRejected)
    colour.call(fn, 1)
    assert counted(fn) == {"calls": 1, "executed": 1}
    colour.call(fn, 1)
    assert counted(fn) == {"calls": 2, "executed": 1, "replayed": 1}
    raises(ValueError, colour, fn, 2)
    assert counted(fn) == {"calls": 3, "executed": 1, "replayed": 1, "released": 1}
    raises(mh.KeyReusedError, colour, fn, 1, 6)
    raises(mh.MissingKeyError, colour, fn, None)
    hold_elsewhere(fn, 4, lease=30)
    raises(mh.InProgressError, colour, fn, 4)
    assert counted(fn) == {"calls": 6, "executed": 1, "replayed": 1, "released": 1, "rejected": 3}
    colour.call(fn, 3)
    raises(mh.ResultUnavailableError, colour, fn, 3)
    assert counted(fn) == {"calls": 8, "executed": 2, "replayed": 1, "released": 1, "rejected": 4}
    subscription.close()
    reasons = ["key_reused", "missing_key", "in_progress", "result_unavailable"]
    assert [event.reason for event in told] == reasons
    assert [event.retry_after is not None for event in told] == [False, False, True, False]


def test_running_and_waiting_calls_are_shown(sides: Sides, colour: Colour) -> None:
    """What has not ended is no call yet; who waits is counted as having waited, once."""
    body = Held()
    here, there = (once(store, body, colour) for store in sides)
    holder = held_call(here, body, colour, 1)
    assert counted(here) == {"running": 1}
    waiter = Called(colour.name, there, 1)
    assert waits(there)
    assert counted(there) == {"waited": 1}
    body.go.set()
    assert [holder.result(), waiter.result()] == ["done", "done"]
    assert counted(here) == {"calls": 1, "executed": 1}
    assert counted(there) == {"calls": 1, "waited": 1, "replayed": 1}


def test_a_lost_call_is_counted_as_lost_only(sides: Sides, colour: Colour) -> None:
    """Whether it was given the result of the winner or an error."""
    body = Held()
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: "winner", colour)
    for order in (1, 2):
        body.inside.clear()
        body.go.clear()
        holder = held_call(here, body, colour, order)
        colour.call(there.clear, order)
        if order == 1:
            colour.call(there, order)
        body.go.set()
        if order == 1:
            assert holder.result() == "winner"
        else:
            with pytest.raises(mh.LeaseLostError):
                holder.result()
    assert counted(here) == {"calls": 2, "lost": 2}


def test_a_call_that_is_cancelled_while_it_waits_is_none(store: Any) -> None:
    """It has waited, but nothing became of it; one that is cancelled inside is released."""
    entered = asyncio.Event()

    @mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())
    async def charge(order: int) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def main() -> list[Any]:
        holder = asyncio.create_task(charge(1))
        await entered.wait()
        waiter = asyncio.create_task(charge(1))
        while not stats_of(charge).waited:
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        seen = counted(charge)
        holder.cancel()
        await asyncio.wait([holder])
        return [waiter.cancelled(), holder.cancelled(), seen]

    assert asyncio.run(main()) == [True, True, {"running": 1, "waited": 1}]
    assert nothing_left(charge)
    assert counted(charge) == {"calls": 1, "released": 1, "waited": 1}


def test_a_call_of_itself_is_rejected_and_released(store: Any) -> None:
    """The inner call was refused, and the outer one failed by it."""

    @mh.idempotent("{order}", store=store, name="itself", registry=mh.Registry())
    def fn(order: int) -> Any:
        return fn(order)

    with pytest.raises(mh.ReentrantCallError):
        fn(1)
    assert counted(fn) == {"calls": 2, "rejected": 1, "released": 1}


def test_a_store_that_is_gone_is_counted() -> None:
    """Refused, or executed unprotected: each with the failure of the store."""
    store = mh.RedisStore("redis://127.0.0.1:1")
    refused = once(store, lambda *_: "done", "sync")
    unprotected = once(store, lambda *_: "done", "sync", on_store_error="run")
    told: list[Any] = []
    with mh.subscribe(told.append, events.CallRejected):
        with pytest.raises(mh.StoreUnavailableError):
            refused(1)
        assert unprotected(1) == "done"
    assert [event.reason for event in told] == ["store_unavailable"]
    assert counted(refused) == {"calls": 1, "rejected": 1, "store_errors": 1}
    assert counted(unprotected) == {
        "calls": 1,
        "executed": 1,
        "unprotected": 1,
        "store_errors": 1,
    }
    store.close()


def test_functions_of_one_name_are_counted_together(registry: mh.Registry) -> None:
    """They are one policy; the registry shows it, as JSON too."""
    store = mh.MemoryStore()
    made = [
        once(store, lambda *_: "done", colour, registry=registry) for colour in ("sync", "async")
    ]
    assert made[0](1) == "done"
    assert asyncio.run(made[1](1)) == "done"
    stats = registry.stats()["charge"]
    assert stats == stats_of(made[0]) == stats_of(made[1])
    plain = json.loads(json.dumps(stats.to_dict()))
    assert plain == {
        "policy": "idempotent",
        "name": "charge",
        **dict.fromkeys(COUNTED, 0),
        "calls": 2,
        "executed": 1,
        "replayed": 1,
        "since_store_error": None,
    }


def in_threads(work: Callable[[], object], count: int = 8) -> None:
    """Run ``work`` in so many threads at once."""
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait(GIVE_UP)
        work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kind", [Counters, LockedCounters])
def test_nothing_that_threads_count_is_missed(kind: type[Counters]) -> None:
    """Eight threads with a thousand counts of each kind: every one of them is there."""
    counters = kind()

    def work() -> None:
        for _ in range(1000):
            counters.start()
            counters.execute()
            counters.replay()
            counters.add("waited")
            counters.add("store_errors", 2)

    in_threads(work)
    stats = counters.stats("idempotent", "charge")
    assert [stats.executed, stats.replayed, stats.waited, stats.store_errors] == [
        8000,
        8000,
        8000,
        16000,
    ]
    assert (stats.calls, stats.running) == (16000, 0)


@pytest.mark.parametrize("method", ["replay", "start", "execute"])
def test_without_the_gil_every_count_takes_the_lock(method: str) -> None:
    """While another thread holds it, nothing is counted; a thread that holds it may count."""
    counters = LockedCounters()
    count = getattr(counters, method)
    name = {"replay": "replayed", "start": "started", "execute": "executed"}[method]
    with counters._lock:
        count()
        other = threading.Thread(target=count)
        other.start()
        other.join(0.02)
        assert (other.is_alive(), getattr(counters, name)) == (True, 1)
    other.join(GIVE_UP)
    assert getattr(counters, name) == 2


def test_the_interpreter_decides_how_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the GIL one statement is enough."""
    kinds = []
    for enabled in (True, False):
        monkeypatch.setattr(guard, "GIL_ENABLED", enabled)
        kinds.append(type(make_counters()))
    assert kinds == [Counters, LockedCounters]


def test_a_policy_without_the_gil_counts_its_calls(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads that execute and replay: every call is counted."""
    monkeypatch.setattr(guard, "GIL_ENABLED", False)
    fn = once(store, lambda *_: "done", "sync")
    in_threads(lambda: [fn(order) for order in range(20)])
    stats = stats_of(fn)
    assert (stats.calls, stats.executed, stats.replayed, stats.running) == (160, 20, 140, 0)


def test_a_read_that_comes_in_between_is_never_negative() -> None:
    """What has ended may be read before what has begun."""
    counters = Counters()
    counters.execute()
    assert counters.stats("idempotent", "charge").running == 0


def reloadable(order: int) -> int:
    """Be decorated in a forked child."""
    return order


@pytest.mark.fault
@pytest.mark.parametrize("lock", ["counters", "names"])
def test_a_forked_child_waits_for_no_lock_of_its_parent(lock: str) -> None:
    """Whatever another thread was counting or decorating while the process forked."""
    store = mh.MemoryStore()
    fn = once(store, lambda *_: "done", "sync")
    counters = fn.policies[0].counters
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with counters._lock if lock == "counters" else names._lock:
            held.set()
            over.wait(GIVE_UP)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(GIVE_UP)

    def in_child() -> bool:
        counters.add("rejected")
        remote = mh.RedisStore("redis://127.0.0.1:1")
        decorated = mh.idempotent("{order}", store=remote, registry=mh.Registry())(reloadable)
        return fn(1) == "done" and stats_of(fn).calls == 2 and decorated.key_for(1) != ""

    try:
        assert in_a_fork(in_child) == 0
    finally:
        over.set()
        holder.join()
    assert eventually(lambda: not holder.is_alive())
