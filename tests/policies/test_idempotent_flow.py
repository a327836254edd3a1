"""Who waits, who takes over, who loses and who lets go of a key.

Each fact is tested with the other call in this process and with it in another one. Two stores of
one namespace are what two processes see of a server: they share its records and nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.runtime.heartbeat import HEARTBEAT
from meshhook.stores.protocol import Acquired, Force
from tests.colours import Colour
from tests.faultproxy import FaultProxy
from tests.policies.idempotent_calls import (
    Sides,
    heard,
    held_call,
    hold_elsewhere,
    nothing_left,
    once,
    record_of,
    stats_of,
    waits,
)
from tests.stores.conftest import PATIENT
from tests.waiting import GIVE_UP, Called, Held, eventually, eventually_async

SHORT = 0.03
LEASE = 30.0


# Waiting.


def test_who_waits_gets_the_result_of_the_other(sides: Sides, colour: Colour) -> None:
    """One execution, and each has its result."""
    body = Held({"items": [1]})
    here, there = (once(store, body, colour) for store in sides)
    holder = held_call(here, body, colour, 1)
    waiter = Called(colour.name, there, 1)
    assert waits(there)
    body.go.set()
    results = [holder.result(), waiter.result()]
    results[0]["items"].append(2)
    assert (results[1], body.runs) == ({"items": [1]}, 1)
    assert (stats_of(here).executed, stats_of(there).replayed) == (1, 1)
    assert nothing_left(here, there)


def test_who_waits_executes_when_the_other_fails(sides: Sides, colour: Colour) -> None:
    """The error is the holder's own; the key is free, and the one who waits has attempt 2."""
    body, attempts = Held(ValueError("no")), []
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: attempts.append(mh.current().attempt) or "mine", colour)
    holder = held_call(here, body, colour, 1)
    waiter = Called(colour.name, there, 1)
    assert waits(there)
    body.go.set()
    with pytest.raises(ValueError, match="no"):
        holder.result()
    assert (waiter.result(), attempts, stats_of(there).executed) == ("mine", [2], 1)


def limited(colour: Colour, fn: Any, seconds: float) -> Any:
    """Call ``fn`` under a deadline."""

    def call(*args: Any) -> Any:
        with mh.deadline(seconds):
            return fn(*args)

    async def call_async(*args: Any) -> Any:
        with mh.deadline(seconds):
            return await fn(*args)

    return call if colour.name == "sync" else call_async


@pytest.mark.parametrize("bound", ["wait_timeout", "deadline"])
def test_waiting_ends_at_the_limit_or_at_the_deadline(
    bound: str, sides: Sides, colour: Colour
) -> None:
    """It executes nothing, takes nothing from the holder, and is told when to come back."""
    body, other = Held(), Held()
    here = once(sides.here, body, colour, lease=LEASE)
    there = once(
        sides.there, other, colour, wait_timeout=SHORT if bound == "wait_timeout" else 3600
    )
    holder = held_call(here, body, colour, 1)
    before = record_of(here, 1)
    began = time.monotonic()
    with pytest.raises(mh.InProgressError, match="is being executed by another call") as refused:
        colour.call(limited(colour, there, SHORT if bound == "deadline" else 3600), 1)
    took = time.monotonic() - began
    assert SHORT - 0.001 <= took < LEASE
    assert 0 < refused.value.retry_after <= LEASE
    assert (refused.value.key, f"in {refused.value.retry_after:.3g} s" in str(refused.value)) == (
        there.key_for(1),
        True,
    )
    after = record_of(here, 1)
    assert before is not None
    assert after is not None
    assert (after.kind, after.fence) == ("running", before.fence)
    body.go.set()
    assert (holder.result(), colour.call(there, 1), other.runs) == ("done", "done", 0)
    stats = stats_of(there)
    assert (stats.waited, stats.rejected, stats.replayed) == (1, 1, 1)


@pytest.mark.parametrize("settings", [{"on_running": "reject"}, {"wait_timeout": 0}], ids=str)
def test_a_call_may_refuse_to_wait(settings: Any, sides: Sides, colour: Colour) -> None:
    """It is refused at once, and not counted as one that waited."""
    body = Held()
    here, there = once(sides.here, body, colour), once(sides.there, body, colour, **settings)
    holder = held_call(here, body, colour, 1)
    with pytest.raises(mh.InProgressError) as refused:
        colour.call(there, 1)
    assert 0 < refused.value.retry_after <= LEASE
    assert (stats_of(there).waited, stats_of(there).rejected) == (0, 1)
    body.go.set()
    assert (holder.result(), colour.call(there, 1)) == ("done", "done")


def test_a_deadline_that_has_passed_leaves_no_time_to_wait(sides: Sides, colour: Colour) -> None:
    """Memory answers at once, and a server is not asked: nothing is sent, nothing executed."""
    body = Held()
    here, there = (once(store, body, colour) for store in sides)
    holder = held_call(here, body, colour, 1)
    with pytest.raises(mh.InProgressError if sides.there.local else mh.NoTimeLeftError):
        colour.call(limited(colour, there, 0), 1)
    body.go.set()
    assert holder.result() == "done"
    if sides.there.local:
        assert colour.call(limited(colour, there, 0), 1) == "done"
    else:
        with pytest.raises(mh.NoTimeLeftError, match="was not executed: the deadline passed"):
            colour.call(limited(colour, there, 0), 1)
        assert stats_of(there).store_errors == 0


@pytest.mark.usefixtures("frozen")
def test_waiting_takes_real_time_under_a_frozen_clock(sides: Sides, colour: Colour) -> None:
    """A frozen test neither hangs nor gives up early."""
    body = Held()
    here = once(sides.here, body, colour)
    holder = held_call(here, body, colour, 1)
    with pytest.raises(mh.InProgressError):
        colour.call(once(sides.there, body, colour, wait_timeout=SHORT), 1)
    there = once(sides.there, body, colour)
    waiter = Called(colour.name, there, 1)
    assert waits(there)
    body.go.set()
    assert (holder.result(), waiter.result(), body.runs) == ("done", "done", 1)


def test_other_arguments_do_not_wait(sides: Sides, colour: Colour) -> None:
    """The key of a call that is being executed is refused to another call at once."""
    body = Held()
    here, there = once(sides.here, body, colour), once(sides.there, body, colour)
    holder = held_call(here, body, colour, 1, 5)
    with pytest.raises(mh.KeyReusedError, match="belongs to a call with other arguments"):
        colour.call(there, 1, 6)
    body.go.set()
    assert (holder.result(), stats_of(there).waited, body.runs) == ("done", 0, 1)


def test_followers_cost_the_store_nothing(proxy: FaultProxy, connect: Any) -> None:
    """Ten calls that meet an execution in their own process are answered without asking."""
    store = connect(proxy.url, timeout=PATIENT)
    once(store, lambda *_: None, "sync", name="other")(1)  # the server learns the scripts
    before = proxy.round_trips
    body = Held()
    fn = once(store, body, "sync")
    holder = held_call(fn, body, "sync", 1)
    waiters = [Called("sync", fn, 1) for _ in range(10)]
    assert waits(fn, 10)
    body.go.set()
    assert [call.result() for call in [holder, *waiters]] == ["done"] * 11
    assert proxy.round_trips - before == 2
    assert (fn(1), proxy.round_trips - before, body.runs) == ("done", 3, 1)


def test_replays_at_the_same_time_ask_the_store_once(proxy: FaultProxy, connect: Any) -> None:
    """Of ten tasks that come at once for a result that is there, one asks for all."""
    store = connect(proxy.url, timeout=PATIENT)
    fn = once(store, lambda *_: {"items": []}, "async")

    async def main() -> tuple[Any, int, list[Any]]:
        first = await fn(1)
        before = proxy.round_trips
        results = await asyncio.gather(*[fn(1) for _ in range(10)])
        return first, proxy.round_trips - before, results

    first, asked, results = asyncio.run(main())
    assert (asked, results) == (1, [first] * 10)
    assert len({id(each) for each in results}) == 10


def test_a_call_that_asks_does_not_answer_for_others(proxy: FaultProxy, connect: Any) -> None:
    """While one asks for a key that is not his, one to whom it belongs gets his result.

    The first is the wrong one, but only the store can tell.
    """
    body = Held()
    body.go.set()
    fn = once(connect(proxy.url, timeout=PATIENT), body, "async")

    async def main() -> list[Any]:
        await fn(1, 5)
        proxy.delay = 0.01
        wrong, right = asyncio.create_task(fn(1, 6)), asyncio.create_task(fn(1, 5))
        return await asyncio.gather(wrong, right, return_exceptions=True)

    wrong, right = asyncio.run(main())
    assert (type(wrong), right, body.runs) == (mh.KeyReusedError, "done", 1)
    assert stats_of(fn).waited == 1


def test_a_call_waits_until_the_one_that_asks_knows(proxy: FaultProxy, connect: Any) -> None:
    """Until the store has granted the key to the first call, the other one may be the right one."""
    proxy.delay = 0.01
    fn = once(connect(proxy.url, timeout=PATIENT), lambda *_: "done", "async")

    async def main() -> list[Any]:
        calls = [asyncio.create_task(fn(1, amount)) for amount in (5, 6)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, other = asyncio.run(main())
    assert (first, type(other), stats_of(fn).executed) == ("done", mh.KeyReusedError, 1)


def test_waiting_for_another_process_is_no_spinning(proxy: FaultProxy, connect: Any) -> None:
    """The store is asked ever less often: in a quarter of a second at most a dozen times."""
    fn = once(connect(proxy.url, timeout=PATIENT), Held(), "sync", wait_timeout=0.25)
    hold_elsewhere(fn, 1, lease=LEASE)
    before = proxy.round_trips
    with pytest.raises(mh.InProgressError):
        fn(1)
    assert 1 < proxy.round_trips - before <= 12


def test_a_sync_call_is_not_left_waiting_for_its_own_loop(store: Any) -> None:
    """Waiting for a task of the same thread would block it for good: it is refused at once."""
    body = Held()
    sync = once(store, body, "sync", wait_timeout=3600)
    go = asyncio.Event()

    @mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())
    async def charge(order: int, amount: int = 5) -> str:
        body.inside.set()
        await go.wait()
        return "async"

    async def main() -> Any:
        task = asyncio.create_task(charge(1))
        assert await eventually_async(body.inside.is_set)
        with pytest.raises(mh.InProgressError, match="await the async form") as refused:
            sync(1)
        waiter = asyncio.create_task(asyncio.to_thread(sync, 1))
        assert await eventually_async(lambda: stats_of(sync).waited == 2)
        go.set()
        return 0 < refused.value.retry_after <= LEASE, await task, await waiter

    assert (asyncio.run(main()), body.runs) == ((True, "async", "async"), 0)


def test_a_call_of_itself_is_refused_in_the_tasks_it_starts(store: Any) -> None:
    """A task that a call starts, and waits for, would wait for that call."""

    @mh.idempotent("{order}", store=store, name="itself", registry=mh.Registry())
    async def charge(order: int) -> Any:
        return await asyncio.create_task(charge(order))

    with pytest.raises(mh.ReentrantCallError, match="would wait for itself"):
        asyncio.run(charge(1))
    assert nothing_left(charge)


def test_a_call_of_itself_is_refused_behind_other_calls(store: Any, colour: Colour) -> None:
    """However many keys lie in between: it would wait for all of them, and they for it."""
    policy = mh.idempotent("{order}", store=store, name="ring", registry=mh.Registry())
    if colour.name == "sync":

        @policy
        def ring(order: int) -> Any:
            return ring((order + 1) % 3)
    else:

        @policy
        async def ring(order: int) -> Any:
            return await ring((order + 1) % 3)

    with pytest.raises(mh.ReentrantCallError, match="would wait for itself"):
        colour.call(ring, 0)
    assert (stats_of(ring).released, nothing_left(ring)) == (3, True)


def test_a_call_may_run_another_key_of_itself(sides: Sides, colour: Colour) -> None:
    """Each has its claim: the outer one is the current one again when the inner has ended."""
    seen: list[tuple[Any, str]] = []
    policy = mh.idempotent("{order}", store=sides.here, name="tree", registry=mh.Registry())

    def enter(order: int) -> None:
        seen.append((order, mh.current().key))

    if colour.name == "sync":

        @policy
        def tree(order: int) -> int:
            enter(order)
            total = order + (tree(order - 1) if order else 0)
            enter(order)
            return total
    else:

        @policy
        async def tree(order: int) -> int:
            enter(order)
            total = order + (await tree(order - 1) if order else 0)
            enter(order)
            return total

    assert colour.call(tree, 2) == 3
    assert seen == [(order, tree.key_for(order)) for order in (2, 1, 0, 0, 1, 2)]


def test_a_hundred_callers_of_one_key_run_it_once(store: Any) -> None:
    """Fifty threads, and fifty tasks on three loops: one execution, and a copy for each."""
    body = Held({"items": []})
    sync = once(store, body, "sync", wait_timeout=60)
    task = once(store, body, "async", wait_timeout=60)
    holder = held_call(sync, body, "sync", 1)

    async def tasks(count: int) -> list[Any]:
        return await asyncio.gather(*[task(1) for _ in range(count)])

    threads = [Called("sync", sync, 1) for _ in range(49)]
    loops = [Called("async", functools.partial(tasks, count)) for count in (17, 17, 16)]
    assert waits(sync, 49)
    assert waits(task, 50)
    body.go.set()
    results = [call.result() for call in [holder, *threads]]
    results += [each for loop in loops for each in loop.result()]
    assert (body.runs, results) == (1, [{"items": []}] * 100)
    assert len({id(each["items"]) for each in results}) == 100
    assert nothing_left(sync)


def test_a_hundred_callers_who_come_at_once_run_it_once(sides: Sides) -> None:
    """Nobody is first: threads and tasks of two processes start together."""
    runs: list[int] = []

    def body(order: int, amount: int) -> Any:
        runs.append(order)
        return {"order": order}

    settings = {"wait_timeout": 60}
    threads_of = [once(store, body, "sync", **settings) for store in sides]
    tasks_of = [once(store, body, "async", **settings) for store in sides]
    barrier = threading.Barrier(54)

    def thread(number: int) -> Any:
        barrier.wait(30)
        return threads_of[number % 2](1)

    async def tasks(number: int) -> Any:
        barrier.wait(30)
        return await asyncio.gather(*[tasks_of[number % 2](1) for _ in range(12)])

    calls = [Called("sync", thread, number) for number in range(50)]
    loops = [Called("async", tasks, number) for number in range(4)]
    results = [call.result() for call in calls]
    results += [each for loop in loops for each in loop.result()]
    assert (runs, results) == ([1], [{"order": 1}] * 98)


# Taking over.


def test_a_holder_that_shows_no_life_is_followed(sides: Sides, colour: Colour) -> None:
    """When its lease is over the next call is executed, as attempt 2, and tells of it."""
    attempts: list[int] = []
    fn = once(sides.there, lambda *_: attempts.append(mh.current().attempt) or "mine", colour)
    hold_elsewhere(once(sides.here, Held(), colour), 1, lease=SHORT)
    began = time.monotonic()
    with heard(events.KeyTakenOver) as told:
        assert colour.call(fn, 1) == "mine"
    assert time.monotonic() - began <= LEASE
    (event,) = told
    assert (event.policy, event.name, event.attempt, attempts) == ("idempotent", "charge", 2, [2])
    assert event.key_hash == fn.policies[0].key_hash(fn.policies[0].scope.at(1))
    record = record_of(fn, 1)
    assert record is not None
    assert (record.kind, record.attempt) == ("value", 2)


def test_an_interrupt_after_taking_over_leaves_the_key_free(sides: Sides, colour: Colour) -> None:
    """It comes before the call is executed, from whoever is told: nothing goes on renewing."""

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    here = once(sides.here, Held(), colour, max_run=3600)
    there = once(sides.there, lambda *_: "next", colour)
    hold_elsewhere(here, 1, lease=0.001)
    assert eventually(lambda: record_of(here, 1).remaining == 0)  # type: ignore[union-attr]
    with mh.subscribe(interrupt, events.KeyTakenOver), pytest.raises(KeyboardInterrupt):
        colour.call(here, 1)
    assert nothing_left(here)
    assert eventually(lambda: record_of(here, 1) is None)
    assert colour.call(there, 1) == "next"


def test_nothing_is_told_of_a_key_that_nobody_held(store: Any, colour: Colour) -> None:
    """A first call, and one after a failure, take nothing over."""
    body = Held(ValueError("no"))
    body.go.set()
    fn = once(store, body, colour)
    with heard(events.KeyTakenOver, events.LeaseLost, events.StoreFailed) as told:
        with pytest.raises(ValueError, match="no"):
            colour.call(fn, 1)
        body.result = "fine"
        assert colour.call(fn, 1) == "fine"
    assert told == []


def test_a_lease_in_memory_ends_by_tick(colour: Colour, frozen: Any) -> None:
    """A frozen clock that is moved past the lease ends it, and no sooner."""
    fn = once(mh.MemoryStore(), lambda *_: "mine", colour, on_running="reject")
    hold_elsewhere(fn, 1, lease=LEASE)
    frozen.tick(LEASE - 1)
    with pytest.raises(mh.InProgressError) as refused:
        colour.call(fn, 1)
    assert refused.value.retry_after == pytest.approx(1)
    frozen.tick(1)
    assert colour.call(fn, 1) == "mine"


def test_retry_after_is_what_is_left_of_the_lease(sides: Sides, colour: Colour) -> None:
    """Where the other execution is elsewhere, the store knows how long it may still take."""
    fn = once(sides.there, Held(), colour, on_running="reject", lease=3600)
    hold_elsewhere(once(sides.here, Held(), colour), 1, lease=7)
    with pytest.raises(mh.InProgressError) as refused:
        colour.call(fn, 1)
    assert 0 < refused.value.retry_after <= 7


def test_an_orphan_of_another_call_is_not_taken_over(sides: Sides, colour: Colour) -> None:
    """Its lease is over, but the key still belongs to the call with those arguments."""
    here = once(sides.here, lambda *_: "first", colour)
    there = once(sides.there, lambda *_: "other", colour)
    fingerprint = fingerprint_of(here, colour, 1, 5)
    hold_elsewhere(here, 1, lease=0.001, fingerprint=fingerprint)
    assert eventually(lambda: record_of(here, 1).remaining == 0)  # type: ignore[union-attr]
    with pytest.raises(mh.KeyReusedError):
        colour.call(there, 1, 6)
    assert colour.call(there, 1, 5) == "other"


def fingerprint_of(fn: Any, colour: Colour, order: int, amount: int) -> Any:
    """Return the fingerprint of a call, as its record has it."""
    probe = once(fn.policies[0].store, lambda *_: None, colour, name="probe")
    colour.call(probe, order, amount)
    record = record_of(probe, order)
    assert record is not None
    return record.fingerprint


# Losing. With max_run the lease ends while the holder is still at it, as if it had been paused.


class Zombie:
    """A call that is being executed here although its lease is over."""

    def __init__(self, sides: Sides, colour: Colour, result: Any, amount: int = 5) -> None:
        self.colour = colour
        self.body = Held(result)
        self.claims: list[Any] = []
        self.fn = once(sides.here, self._run, colour, lease=SHORT, max_run=SHORT)
        self.call = held_call(self.fn, self.body, colour, 1, amount)
        assert eventually(lambda: self.claims[0].lost)

    def _run(self, *_: Any) -> Any:
        self.claims.append(mh.current())
        return self.body()

    def ends(self) -> Any:
        """Let it end at last; return what it returns or raise what it raises."""
        self.body.go.set()
        return self.call.result()


def test_who_comes_late_gets_the_result_of_the_other(sides: Sides, colour: Colour) -> None:
    """Its own result is dropped: there is one recorded outcome for all."""
    with heard(events.LeaseLost, events.KeyTakenOver) as told:
        zombie = Zombie(sides, colour, "late")
        other = once(sides.there, lambda *_: "winner", colour)
        assert colour.call(other, 1) == "winner"
        assert zombie.ends() == "winner"
    assert colour.call(zombie.fn, 1) == "winner"
    assert colour.call(other, 1) == "winner"
    assert [type(event).__name__ for event in told] == ["LeaseLost", "KeyTakenOver"]
    assert len({event.key_hash for event in told}) == 1
    stats = stats_of(zombie.fn)
    assert (stats.lost, stats.executed, stats.replayed, stats.running) == (1, 0, 1, 0)
    assert (stats.calls, stats_of(other).executed) == (2, 1)
    assert nothing_left(zombie.fn, other)


def test_who_fails_late_takes_nothing_from_the_other(sides: Sides, colour: Colour) -> None:
    """The error is raised to its own caller, and the record of the winner stays."""
    zombie = Zombie(sides, colour, ValueError("late"))
    other = once(sides.there, lambda *_: "winner", colour)
    assert colour.call(other, 1) == "winner"
    with pytest.raises(ValueError, match="late"):
        zombie.ends()
    record = record_of(other, 1)
    assert record is not None
    assert (record.kind, record.attempt) == ("value", 2)
    assert (colour.call(other, 1), colour.call(zombie.fn, 1)) == ("winner", "winner")
    assert stats_of(other).executed == 1


def test_who_fails_late_frees_no_key_that_another_holds(sides: Sides, colour: Colour) -> None:
    """While the other is being executed a third call still waits for it."""
    zombie = Zombie(sides, colour, ValueError("late"))
    body = Held("winner")
    other = once(sides.there, body, colour)
    winner = held_call(other, body, colour, 1)
    with pytest.raises(ValueError, match="late"):
        zombie.ends()
    third = once(sides.here, Held(), colour, on_running="reject")
    with pytest.raises(mh.InProgressError):
        colour.call(third, 1)
    body.go.set()
    assert (winner.result(), colour.call(third, 1), body.runs) == ("winner", "winner", 1)


def test_who_comes_late_while_the_other_is_at_it_is_told(sides: Sides, colour: Colour) -> None:
    """There is no result that could be his, and his own was dropped."""
    zombie = Zombie(sides, colour, "late")
    body = Held("winner")
    other = once(sides.there, body, colour)
    winner = held_call(other, body, colour, 1)
    with pytest.raises(mh.LeaseLostError, match="its result was dropped") as lost:
        zombie.ends()
    assert lost.value.key == zombie.fn.key_for(1)
    body.go.set()
    assert (winner.result(), colour.call(zombie.fn, 1)) == ("winner", "winner")


@pytest.mark.parametrize("result", [object(), "x" * 100], ids=["odd", "long"])
def test_who_comes_late_for_a_result_that_was_not_kept_is_told(
    result: Any, sides: Sides, colour: Colour
) -> None:
    """The winner's own caller has it, and nobody else."""
    zombie = Zombie(sides, colour, "late")
    other = once(sides.there, lambda *_: result, colour, max_result_bytes=50)
    assert colour.call(other, 1) is result
    with pytest.raises(mh.LeaseLostError):
        zombie.ends()


def test_who_comes_late_does_not_get_the_result_of_another_call(
    sides: Sides, colour: Colour
) -> None:
    """The key was cleared, and given to a call with other arguments."""
    body = Held("late")
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: "of another call", colour)
    holder = held_call(here, body, colour, 1, 5)
    colour.call(there.clear, 1)
    assert colour.call(there, 1, 6) == "of another call"
    body.go.set()
    with pytest.raises(mh.LeaseLostError):
        holder.result()
    assert colour.call(there, 1, 6) == "of another call"


def test_who_comes_late_but_before_anybody_else_keeps_his_result(
    sides: Sides, colour: Colour
) -> None:
    """The lease is over, but nobody took the key: the result is kept for all who come."""
    zombie = Zombie(sides, colour, "late")
    assert zombie.ends() == "late"
    assert colour.call(once(sides.there, Held(), colour), 1) == "late"
    stats = stats_of(zombie.fn)
    assert (stats.executed, stats.lost) == (1, 0)


def test_who_waits_goes_on_when_the_lease_of_the_other_is_over(
    sides: Sides, colour: Colour
) -> None:
    """He does not wait for a holder that has nothing to give any more."""
    body = Held("late")
    here = once(sides.here, body, colour, lease=SHORT, max_run=2 * SHORT)
    there = once(sides.there, lambda *_: "winner", colour)
    holder = held_call(here, body, colour, 1)
    assert colour.call(there, 1) == "winner"
    body.go.set()
    assert holder.result() == "winner"


def test_clearing_a_running_call_wakes_who_waits_for_it(sides: Sides, colour: Colour) -> None:
    """What it would give has just been cleared: whoever waits is executed, and it has lost."""
    body = Held("cleared")
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: "anew", colour)
    with heard(events.LeaseLost) as told:
        holder = held_call(here, body, colour, 1)
        waiter = Called(colour.name, there, 1)
        assert waits(there)
        colour.call(there.clear, 1)
        assert waiter.result() == "anew"
        body.go.set()
        assert holder.result() == "anew"
    assert (len(told), colour.call(here, 1)) == (1, "anew")
    assert nothing_left(here, there)


def test_clearing_takes_nothing_from_who_waits(sides: Sides, colour: Colour) -> None:
    """When a call that waited is executed after a clear, it holds the key as any other does."""
    body = Held("cleared")
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: (mh.current().check(), mh.current().lost), colour)
    holder = held_call(here, body, colour, 1)
    waiter = Called(colour.name, there, 1)
    assert waits(there)
    colour.call(there.clear, 1)
    assert waiter.result() == (None, False)
    body.go.set()
    assert holder.result() == (None, False)


def test_clearing_takes_nothing_from_who_comes_right_after_it(colour: Colour) -> None:
    """A call may take the free key before the one that cleared it has gone on."""
    body = Held("anew")

    class Slow(mh.MemoryStore):
        """Answers a clear when the next call is inside."""

        def force(self, *args: Any) -> Any:
            answer = super().force(*args)
            assert body.inside.wait(GIVE_UP)
            return answer

    fn = once(Slow(), lambda *_: (body(), mh.current().lost), colour)
    hold_elsewhere(fn, 1, lease=LEASE)
    waiter = Called(colour.name, fn, 1)
    assert waits(fn)
    with heard(events.LeaseLost) as told:
        colour.call(fn.clear, 1)
        body.go.set()
        assert waiter.result() == ("anew", False)
    assert (told, colour.call(fn, 1)) == ([], ("anew", False))


def test_a_renewal_that_comes_after_the_end_is_no_loss(colour: Colour) -> None:
    """The lease is let go before the record ends, so that no renewal finds it ended."""

    class Late(mh.MemoryStore):
        """Is asked for a renewal at the very moment at which the call has ended."""

        def finish(self, *args: Any) -> Any:
            answer = super().finish(*args)
            for beat in list(HEARTBEAT._beats):
                HEARTBEAT._beat(beat, beat.due)
            return answer

    fn = once(Late(), lambda *_: mh.current(), colour, max_run=LEASE)
    with heard(events.LeaseLost) as told:
        claim = colour.call(fn, 1)
    assert (told, claim.lost, stats_of(fn).executed) == ([], False, 1)


# What the holder knows.


def test_the_holder_may_check_its_lease(sides: Sides, colour: Colour) -> None:
    """Before what cannot be undone: it is renewed, or the loss is told."""
    checked: list[str] = []
    body = Held("late")

    def run(order: int, amount: int) -> Any:
        claim = mh.current()
        claim.check()
        checked.append("held")
        body()
        with pytest.raises(mh.LeaseLostError, match="undo or leave what it began") as lost:
            claim.check()
        with pytest.raises(mh.LeaseLostError):
            claim.check()
        checked.append(lost.value.key)
        return claim.lost

    here = once(sides.here, run, colour)
    there = once(sides.there, lambda *_: "winner", colour)
    holder = held_call(here, body, colour, 1)
    policy = there.policies[0]
    sides.there.perform(Force(policy.scope.at(1)))
    assert type(hold_elsewhere(there, 1, lease=LEASE)) is Acquired
    with heard(events.LeaseLost) as told:
        body.go.set()
        with pytest.raises(mh.LeaseLostError):
            holder.result()
    assert (checked, len(told)) == (["held", here.key_for(1)], 1)


def test_an_async_holder_checks_without_blocking(store: Any) -> None:
    """``acheck`` renews as ``check`` does; after the end of the call it tells the loss."""

    @mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())
    async def charge(order: int) -> Any:
        await mh.current().acheck()
        claims.append(mh.current())
        return "done"

    claims: list[Any] = []

    async def main() -> None:
        assert await charge(1) == "done"
        with pytest.raises(mh.LeaseLostError):
            await claims[0].acheck()

    asyncio.run(main())


def test_a_check_renews_the_lease(sides: Sides, colour: Colour) -> None:
    """What is left of it is a whole lease again."""
    left: list[float] = []

    def run(order: int, amount: int) -> None:
        claim = mh.current()
        for lease in (3600.0, LEASE):
            # Of another length, so that the difference is seen without waiting.
            store = claim.policy.store
            store.perform(claim._renewal()._replace(lease=3 * lease))
            claim.check()
            left.append(record_of(fn, 1).remaining)  # type: ignore[union-attr]

    fn = once(sides.here, run, colour, lease=LEASE)
    colour.call(fn, 1)
    assert [LEASE - 10 < each <= LEASE for each in left] == [True, True]


def test_a_task_that_outlives_its_call_sees_its_claim(store: Any) -> None:
    """It shows the key, and that the lease is not its own any more."""

    @mh.idempotent("{order}", store=store, name="charge", registry=mh.Registry())
    async def charge(order: int) -> Any:
        left_behind.append(asyncio.create_task(later()))
        return "done"

    async def later() -> Any:
        await go.wait()
        with pytest.raises(mh.LeaseLostError):
            await mh.current().acheck()
        # The call has ended, so this one does not wait for itself.
        return mh.current().key, await charge(1)

    left_behind: list[Any] = []
    go = asyncio.Event()

    async def main() -> Any:
        await charge(1)
        with pytest.raises(RuntimeError, match="inside of an idempotent function"):
            mh.current()
        go.set()
        return await left_behind[0]

    assert asyncio.run(main()) == (charge.key_for(1), "done")


def test_what_is_known_of_a_running_call(sides: Sides, colour: Colour) -> None:
    """``get`` shows attempt, fence and what is left of the lease; the result is not there yet."""
    body = Held("done")
    here, there = (once(store, body, colour, lease=LEASE) for store in sides)
    holder = held_call(here, body, colour, 1)
    outcome = colour.call(there.get, 1)
    assert (outcome.state, outcome.attempt, outcome.key) == ("running", 1, there.key_for(1))
    assert (0 <= outcome.age < LEASE, 0 < outcome.remaining <= LEASE) == (True, True)
    with pytest.raises(mh.ResultUnavailableError, match="it is being executed"):
        outcome.result()
    body.go.set()
    assert holder.result() == "done"
    after = colour.call(there.get, 1)
    assert (after.state, after.fence, after.result()) == ("done", outcome.fence, "done")
    assert 86_000 < after.remaining <= 86_400


# Letting go.


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_whatever_ends_a_call_lets_go_of_its_key(
    error: type[BaseException], sides: Sides, colour: Colour
) -> None:
    """The next call, here or elsewhere, is executed at once."""

    def fail(*_: Any) -> None:
        raise error

    here = once(sides.here, fail, colour)
    with pytest.raises(error):
        colour.call(here, 1)
    there = once(sides.there, lambda *_: "next", colour, on_running="reject")
    assert eventually(lambda: record_of(there, 1) is None)
    assert colour.call(there, 1) == "next"
    assert (stats_of(here).released, stats_of(here).running) == (1, 0)
    assert nothing_left(here, there)


def test_a_coroutine_that_is_thrown_away_lets_go_of_its_key(sides: Sides) -> None:
    """It cannot wait for the store, but what it sends is sent."""

    class Once:
        def __await__(self) -> Any:
            yield

    @mh.idempotent("{order}", store=sides.here, name="charge", registry=mh.Registry())
    async def charge(order: int, amount: int = 5) -> None:
        await Once()

    async def begin() -> Any:
        call = charge(1)
        for _ in range(20):
            awaited = call.send(None)
            if awaited is None:
                return call
            await asyncio.wait([awaited])
            awaited._asyncio_future_blocking = False
        raise AssertionError("it never came to its body")

    asyncio.run(begin()).close()
    there = once(sides.there, lambda *_: "next", "sync")
    assert there(1) == "next"
    assert nothing_left(charge, there)
    assert stats_of(charge).released == 1


# Telling.


def test_every_event_of_idempotent_calls_hides_the_key(sides: Sides, colour: Colour) -> None:
    """Replayed, taken over, lost: each names policy and function, and shows a hash of the key."""
    secret = "card-4711"
    kinds: list[Callable[..., Any]] = [
        events.ResultReplayed,
        events.KeyTakenOver,
        events.LeaseLost,
    ]
    body = Held()
    here = once(sides.here, body, colour)
    there = once(sides.there, lambda *_: "anew", colour)
    with heard(*kinds) as told:
        holder = held_call(here, body, colour, secret)
        colour.call(there.clear, secret)
        hold_elsewhere(there, secret, lease=0.001)
        assert colour.call(there, secret) == "anew"
        assert colour.call(there, secret) == "anew"
        body.go.set()
        assert holder.result() == "anew"
    assert {type(event) for event in told} == set(kinds)
    assert {(event.policy, event.name) for event in told} == {("idempotent", "charge")}
    assert (len({event.key_hash for event in told}), secret in repr(told)) == (1, False)


def test_looking_up_a_result_is_no_waiting(sides: Sides) -> None:
    """Many at once are answered, also those who may not wait; nobody is executing the call."""
    body = Held()
    body.go.set()
    fns = [once(store, body, "sync", on_running="reject") for store in sides]
    fns[0](1)
    calls = [Called("sync", fns[number % 2], 1) for number in range(40)]
    assert {call.result() for call in calls} == {"done"}
    assert (body.runs, [stats_of(fn).waited for fn in fns]) == (1, [0, 0])
