"""Idempotent functions when something really breaks: pauses, lost replies, dead stores, forks."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.policies.idempotent import ending
from tests.colours import Colour
from tests.faultproxy import FaultProxy
from tests.forking import in_a_fork
from tests.policies.idempotent_calls import (
    heard,
    held_call,
    nothing_left,
    once,
    record_of,
    stats_of,
    waits,
)
from tests.servers import Server
from tests.stores.conftest import PATIENT
from tests.waiting import GIVE_UP, Called, Held, eventually, eventually_async

pytestmark = pytest.mark.fault

LEASE = 1.0
LONG = 30.0  # a lease that nobody may have to wait for
AT_ONCE = 10.0  # on a busy machine, and well below the long lease

HOLDER = """
import json, signal, sys, time
import meshhook as mh
from meshhook import events

url, name, lease, how = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
store = mh.RedisStore(url, timeout=5)
told = []
mh.subscribe(lambda event: told.append(type(event).__name__), events.LeaseLost)

@mh.idempotent("{order}", store=store, name=name, lease=float(lease), registry=mh.Registry())
def charge(order, amount=5):
    print("inside", flush=True)
    sys.stdin.readline()
    if how == "learns":
        while not mh.current().lost:
            time.sleep(0.005)
    if how == "fails":
        raise ValueError("late")
    return "holder"

try:
    outcome = charge(1)
except BaseException as error:
    outcome = type(error).__name__
print(json.dumps([outcome, told]), flush=True)
"""


class Holder:
    """A process that executes key 1 of a function until it is told to go on."""

    def __init__(self, url: str, name: str, *, lease: float = LEASE, how: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, url, name, str(lease), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        assert self._out.readline() == "inside\n"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ends(self) -> Any:
        """Let it go on; return what its call gave, and the events that it told."""
        self._in.write("\n")
        self._in.flush()
        return json.loads(self._out.readline())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def name() -> str:
    """Give a name that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def holders(servers: Any, name: str) -> Iterator[Any]:
    """Make processes that hold key 1 of the function of that name, on the shared Valkey server."""
    made: list[Holder] = []

    def make(**settings: Any) -> Holder:
        made.append(Holder(servers("valkey").url, name, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def shared(servers: Any, connect: Any) -> Any:
    """Give a store that sees what the holders see."""
    return connect(servers("valkey").url, timeout=PATIENT, namespace="meshhook")


# A holder that is paused for longer than its lease, and goes on.


@pytest.mark.parametrize("how", ["", "learns"], ids=["at once", "when it knows"])
def test_a_paused_holder_gets_the_result_of_its_successor(
    how: str, holders: Any, shared: Any, name: str, colour: Colour
) -> None:
    """Paused past its lease and resumed: its own result is dropped, whoever notices first."""
    holder = holders(how=how)
    successor = once(shared, lambda *_: "successor", colour, name=name)
    holder.signal(signal.SIGSTOP)
    with heard(events.KeyTakenOver) as told:
        assert colour.call(successor, 1) == "successor"
    assert [event.attempt for event in told] == [2]
    holder.signal(signal.SIGCONT)
    assert holder.ends() == ["successor", ["LeaseLost"]]
    record = record_of(successor, 1)
    assert record is not None
    assert (record.kind, record.attempt, colour.call(successor, 1)) == ("value", 2, "successor")


def test_a_paused_holder_that_fails_late_takes_nothing_away(
    holders: Any, shared: Any, name: str, colour: Colour
) -> None:
    """Its failure is its own: the record of its successor stays."""
    holder = holders(how="fails")
    successor = once(shared, lambda *_: "successor", colour, name=name)
    holder.signal(signal.SIGSTOP)
    assert colour.call(successor, 1) == "successor"
    holder.signal(signal.SIGCONT)
    assert holder.ends()[0] == "ValueError"
    assert colour.call(successor, 1) == "successor"
    assert stats_of(successor).executed == 1


def test_the_renewal_of_a_paused_holder_brings_nothing_back(
    holders: Any, shared: Any, name: str, colour: Colour
) -> None:
    """While its successor is at it, it learns that it has lost, and disturbs nobody."""
    holder = holders(how="learns")
    body = Held("successor")
    successor = once(shared, body, colour, name=name)
    holder.signal(signal.SIGSTOP)
    running = held_call(successor, body, colour, 1)
    before = record_of(successor, 1)
    holder.signal(signal.SIGCONT)
    assert holder.ends() == ["LeaseLostError", ["LeaseLost"]]
    after = record_of(successor, 1)
    assert before is not None
    assert after is not None
    assert (after.kind, after.fence) == ("running", before.fence)
    body.go.set()
    assert (running.result(), colour.call(successor, 1), body.runs) == ("successor",) * 2 + (1,)


def test_a_holder_that_is_interrupted_frees_its_key(
    holders: Any, shared: Any, name: str, colour: Colour
) -> None:
    """Ctrl-C in the middle of a call: the next one is executed at once, in another process."""
    holder = holders(lease=LONG)
    successor = once(shared, lambda *_: mh.current().attempt, colour, name=name)
    holder.signal(signal.SIGINT)
    began = time.monotonic()
    assert colour.call(successor, 1) == 2
    assert time.monotonic() - began < AT_ONCE


# A holder that is cut off from its store.


def test_a_holder_that_is_cut_off_is_followed(
    proxy: FaultProxy, servers: Any, connect: Any, colour: Colour
) -> None:
    """Its renewals fail, another takes over and finishes; back again it gets that result."""
    body = Held("cut off")
    here = once(connect(proxy.url, timeout=1.0), body, colour, lease=LEASE)
    there = once(connect(servers("valkey").url, timeout=PATIENT), lambda *_: "successor", colour)
    with heard(events.StoreFailed, events.LeaseLost) as told:
        holder = held_call(here, body, colour, 1)
        proxy.blackhole = True
        assert colour.call(there, 1) == "successor"
        assert eventually(lambda: told)
        proxy.blackhole = False
        # While the lane still finds its way back, an end would be that of a store that is gone.
        assert eventually(lambda: answers(here))
        body.go.set()
        assert holder.result() == "successor"
    failed = {(event.verb, event.error) for event in told if isinstance(event, events.StoreFailed)}
    assert failed == {("renew", "StoreUnavailableError")}
    assert sum(isinstance(event, events.LeaseLost) for event in told) == 1
    assert nothing_left(here, there)


def answers(fn: Any) -> bool:
    """Tell whether the store of ``fn`` answers."""
    try:
        record_of(fn, 1)
    except mh.StoreUnavailableError:
        return False
    return True


def test_a_short_outage_costs_nobody_the_key(
    proxy: FaultProxy, servers: Any, connect: Any, colour: Colour
) -> None:
    """A connection that breaks is renewed in time: nobody takes over, nothing is lost."""
    body = Held()
    here = once(connect(proxy.url, timeout=PATIENT), body, colour, lease=2.0)
    there = once(connect(servers("valkey").url, timeout=PATIENT), Held(), colour)
    with heard(events.LeaseLost, events.KeyTakenOver) as told:
        holder = held_call(here, body, colour, 1)
        waiter = Called(colour.name, there, 1)
        assert waits(there)
        for _ in range(8):
            proxy.reset()
            time.sleep(0.3)
        body.go.set()
        assert (holder.result(), waiter.result()) == ("done", "done")
    assert (told, body.runs) == ([], 1)


# Replies that get lost: the server has done what it was asked, and nobody was told.


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_to_begin_blocks_no_key(
    lost: int, proxy: FaultProxy, servers: Any, connect: Any, colour: Colour
) -> None:
    """One is asked for again; with both lost nothing is executed, and the key is given back."""
    runs: list[int] = []
    body = lambda *_: runs.append(mh.current().attempt) or "done"  # noqa: E731
    here = once(connect(proxy.url, timeout=PATIENT), body, colour, lease=LONG)
    there = once(connect(servers("valkey").url, timeout=PATIENT), body, colour, lease=LONG)
    colour.call(here, 0)
    runs.clear()
    proxy.drop_replies = lost
    began = time.monotonic()
    if lost == 1:
        assert colour.call(here, 1) == "done"
        assert runs == [1]
    else:
        with pytest.raises(mh.StoreUnavailableError):
            colour.call(here, 1)
        assert runs == []
        assert colour.call(there, 1) == "done"
        assert runs == [2]
    assert time.monotonic() - began < AT_ONCE
    assert (colour.call(here, 1), colour.call(there, 1), len(runs)) == ("done", "done", 1)
    assert (proxy.drop_replies, nothing_left(here, there)) == (0, True)


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_lost_answer_to_finish_loses_no_result(
    lost: int, proxy: FaultProxy, servers: Any, connect: Any, colour: Colour
) -> None:
    """The result is stored, its caller has it, and nobody executes the call again."""
    runs: list[int] = []

    def body(order: int, amount: int) -> Any:
        runs.append(order)
        if order:
            proxy.drop_replies = lost
        return {"order": order}

    here = once(connect(proxy.url, timeout=PATIENT), body, colour, lease=LONG)
    there = once(connect(servers("valkey").url, timeout=PATIENT), body, colour, lease=LONG)
    colour.call(here, 0)
    with heard(events.StoreFailed) as told:
        assert colour.call(here, 1) == {"order": 1}
    assert [event.verb for event in told] == ["finish"] * (lost == 4)
    assert (colour.call(there, 1), runs, stats_of(here).executed) == ({"order": 1}, [0, 1], 2)
    assert (proxy.drop_replies, nothing_left(here, there)) == (0, True)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_to_a_release_keeps_no_key(
    lost: int, proxy: FaultProxy, servers: Any, connect: Any, colour: Colour
) -> None:
    """The error is the caller's, and the next call is executed at once."""

    def body(order: int, amount: int) -> Any:
        if order:
            proxy.drop_replies = lost
            raise ValueError("no")

    here = once(connect(proxy.url, timeout=PATIENT), body, colour, lease=LONG)
    there = once(connect(servers("valkey").url, timeout=PATIENT), lambda *_: "next", colour)
    colour.call(here, 0)
    with heard(events.StoreFailed) as told, pytest.raises(ValueError, match="no"):
        colour.call(here, 1)
    assert [event.verb for event in told] == ["release"] * (lost == 2)
    began = time.monotonic()
    assert colour.call(there, 1) == "next"
    assert time.monotonic() - began < AT_ONCE
    assert (proxy.drop_replies, nothing_left(here, there)) == (0, True)


def test_a_call_cancelled_before_its_second_finish_is_still_recorded(
    proxy: FaultProxy, servers: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke as it ended, and it was cancelled before it could try again."""
    monkeypatch.setattr(ending, "_BEFORE_SECOND_FINISH", LONG)
    runs: list[int] = []

    async def charge(order: int, amount: int = 5) -> str:
        runs.append(order)
        proxy.refuse()
        return "done"

    here: Any = mh.idempotent(
        "{order}",
        store=connect(proxy.url, timeout=PATIENT),
        name="charge",
        lease=LONG,
        registry=mh.Registry(),
    )(charge)
    there = once(connect(servers("valkey").url, timeout=PATIENT), Held(), "async")

    async def main() -> str:
        task = asyncio.create_task(here(1))
        assert await eventually_async(lambda: innermost(task) == "sleep")
        proxy.accept_again()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(AT_ONCE):
            result: str = await there(1)
        return result

    assert asyncio.run(main()) == "done"
    assert (runs, nothing_left(here, there), stats_of(here).executed) == ([1], True, 1)


def innermost(task: asyncio.Task[Any]) -> str:
    """Return the name of the coroutine function that a task is suspended in."""
    coroutine: Any = task.get_coro()
    while hasattr(coroutine.cr_await, "cr_code") and coroutine.cr_code.co_name != "answer":
        coroutine = coroutine.cr_await
    return str(coroutine.cr_code.co_name)


def test_a_network_that_loses_replies_makes_no_second_execution(
    proxy: FaultProxy, servers: Any, connect: Any
) -> None:
    """Eight threads and eight tasks on forty keys; every few replies one or two are lost."""
    executed: Counter[int] = Counter()
    lock = threading.Lock()

    def body(order: int, amount: int) -> Any:
        with lock:
            executed[order] += 1
        return {"order": order}

    cut = [connect(proxy.url, timeout=PATIENT) for _ in range(2)]
    whole = connect(servers("valkey").url, timeout=PATIENT)
    settings: dict[str, Any] = {"lease": LONG, "wait_timeout": 60}
    threads_of = [once(store, body, "sync", **settings) for store in (*cut, whole)]
    tasks_of = [once(store, body, "async", **settings) for store in (*cut, whole)]
    over = threading.Event()

    def lose() -> None:
        dice = random.Random(4711)
        while not over.wait(dice.uniform(0.0, 0.01)):
            proxy.drop_replies = dice.choice([0, 1, 1, 2])
        proxy.drop_replies = 0

    def work(number: int) -> list[Any]:
        fn, results = threads_of[number % 3], []
        for order in range(40):
            while True:
                try:
                    results.append(fn(order))
                    break
                except mh.StoreUnavailableError:
                    time.sleep(0.005)
        return results

    async def tasks(number: int) -> list[Any]:
        fn, results = tasks_of[number % 3], []
        for order in range(40):
            while True:
                try:
                    results.append(await fn(order))
                    break
                except mh.StoreUnavailableError:
                    await asyncio.sleep(0.005)
        return results

    async def four(first: int) -> list[list[Any]]:
        return await asyncio.gather(*[tasks(first + number) for number in range(4)])

    loser = threading.Thread(target=lose)
    loser.start()
    try:
        calls = [Called("sync", work, number) for number in range(8)]
        loops = [Called("async", four, first) for first in (0, 4)]
        results = [call.result() for call in calls]
        results += [each for loop in loops for each in loop.result()]
    finally:
        over.set()
        loser.join()
    assert results == [[{"order": order} for order in range(40)]] * 16
    assert proxy.connections > 5, "replies were lost"
    assert executed == Counter(range(40))


# A sync call that is interrupted, by a signal that breaks into whatever it waits for.


class InterruptedHere(BaseException):
    """What a handler raises in the main thread, as that of Ctrl-C does."""


def interrupted(fn: Any, *args: Any) -> None:
    """Call ``fn``, and interrupt it wherever it is after a tenth of a second."""

    def handler(*_: Any) -> None:
        raise InterruptedHere

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(InterruptedHere):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            fn(*args)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_while_waiting_leaves_nothing(servers: Any, connect: Any) -> None:
    """For a thread of this process, or for another process: the holder goes on."""
    body = Held()
    stores = [connect(servers("valkey").url, timeout=PATIENT) for _ in range(2)]
    here, there = (once(store, body, "sync", lease=LONG) for store in stores)
    holder = held_call(here, body, "sync", 1)
    for fn in (here, there):
        interrupted(fn, 1)
    assert (len(there.policies[0].flights), stats_of(there).calls) == (0, 0)
    body.go.set()
    assert (holder.result(), here(1), there(1), body.runs) == ("done", "done", "done", 1)
    assert nothing_left(here, there)


@pytest.mark.parametrize("phase", ["asking", "running", "finishing", "releasing"])
def test_an_interrupt_leaves_the_key_free_or_done(
    phase: str, proxy: FaultProxy, servers: Any, connect: Any
) -> None:
    """The next call is answered at once, in this process and in another one."""
    slow = threading.Event()

    def body(order: int, amount: int) -> str:
        if phase == "running":
            time.sleep(LONG)
        if phase in ("finishing", "releasing") and not slow.is_set():
            slow.set()
            proxy.delay = 0.3
        if phase == "releasing":
            raise ValueError("no")
        return "done"

    store = connect(proxy.url, timeout=PATIENT)
    here = once(store, body, "sync", lease=LONG)
    there = once(
        connect(servers("valkey").url, timeout=PATIENT), lambda *_: "next", "sync", lease=LONG
    )
    assert there(0) == "next"
    if phase == "asking":
        proxy.delay = 0.3
    interrupted(here, 1)
    proxy.delay = 0.0
    began = time.monotonic()
    assert there(1) == ("done" if phase == "finishing" else "next")
    assert here(1) == there(1)
    assert time.monotonic() - began < AT_ONCE
    assert (nothing_left(here, there), stats_of(here).running) == (True, 0)


# A store that dies.


def gone(server: Server, how: str) -> None:
    """Make a server one that does not answer any more."""
    if how == "paused":
        server.pause()
    else:
        server.kill()


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_a_store_that_dies_during_a_call_takes_no_result(
    how: str, own_server: Server, connect: Any, colour: Colour
) -> None:
    """The caller gets what the call gave, soon and without any exception; the failure is told."""

    def body(order: int, amount: int) -> str:
        gone(own_server, how)
        return "done"

    fn = once(connect(own_server.url, timeout=0.5), body, colour)
    with heard(events.StoreFailed) as told:
        began = time.monotonic()
        assert colour.call(fn, 1) == "done"
        took = time.monotonic() - began
    assert [(event.verb, event.policy, event.name) for event in told] == [
        ("finish", "idempotent", "charge")
    ]
    assert told[0].error == "StoreUnavailableError"
    stats = stats_of(fn)
    assert (stats.executed, stats.store_errors, took < AT_ONCE) == (1, 1, True)
    assert nothing_left(fn)


@pytest.mark.parametrize("how", ["paused", "killed"])
def test_a_store_that_dies_during_a_failing_call_hides_no_error(
    how: str, own_server: Server, connect: Any, colour: Colour
) -> None:
    """The caller gets the error of the call; that the key was not given back is told."""

    def body(order: int, amount: int) -> str:
        gone(own_server, how)
        raise ValueError("the call's own")

    fn = once(connect(own_server.url, timeout=0.5), body, colour)
    with heard(events.StoreFailed) as told, pytest.raises(ValueError, match="the call's own"):
        colour.call(fn, 1)
    assert [event.verb for event in told] == ["release"]
    assert (stats_of(fn).released, nothing_left(fn)) == (1, True)


@pytest.mark.parametrize("verb", ["finish", "release"])
def test_a_call_cancelled_while_its_store_dies_is_told_of(
    verb: str, own_server: Server, connect: Any
) -> None:
    """It does not wait for the store any more; that this failed is told all the same."""

    async def charge(order: int) -> str:
        own_server.pause()
        if verb == "release":
            raise ValueError("no")
        return "done"

    fn: Any = mh.idempotent(
        "{order}",
        store=connect(own_server.url, timeout=0.5),
        name="charge",
        registry=mh.Registry(),
    )(charge)

    async def main() -> None:
        task = asyncio.create_task(fn(1))
        assert await eventually_async(lambda: innermost(task) == "answer")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with heard(events.StoreFailed) as told:
        asyncio.run(main())
        assert nothing_left(fn)
    assert [event.verb for event in told] == [verb]
    stats = stats_of(fn)
    assert (stats.calls, stats.running, stats.store_errors) == (1, 0, 1)
    own_server.resume()


def test_renewals_that_fail_are_told_and_harm_no_call(
    own_server: Server, connect: Any, colour: Colour
) -> None:
    """The call goes on; ``check`` says that the store does not answer."""
    body = Held()

    def checks(order: int, amount: int) -> Any:
        body()
        with pytest.raises(mh.StoreUnavailableError):
            mh.current().check()
        return mh.current().lost

    fn = once(connect(own_server.url, timeout=0.5), checks, colour, lease=0.3)
    with heard(events.StoreFailed) as told:
        holder = held_call(fn, body, colour, 1)
        own_server.kill()
        assert eventually(lambda: told)
        body.go.set()
        assert holder.result() is False
    assert (told[0].verb, told[0].error) == ("renew", "StoreUnavailableError")


def test_without_the_store_a_call_may_run_all_the_same(own_server: Server, connect: Any) -> None:
    """Once in this process, for all who wait there, and counted as unprotected."""
    own_server.kill()
    inside: list[Any] = []

    async def charge(order: int, amount: int = 5) -> Any:
        claim = mh.current()
        await claim.acheck()
        inside.append((claim.fence, claim.attempt, claim.lost))
        await asyncio.sleep(0.01)
        return {"order": order}

    fn: Any = mh.idempotent(
        "{order}",
        store=connect(own_server.url, timeout=0.5),
        name="charge",
        on_store_error="run",
        registry=mh.Registry(),
    )(charge)

    async def main() -> Any:
        return await asyncio.gather(*[fn(1) for _ in range(10)])

    with heard(events.StoreFailed) as told:
        assert asyncio.run(main()) == [{"order": 1}] * 10
    assert (inside, [event.verb for event in told]) == ([(0, 0, False)], ["begin"])
    stats = stats_of(fn)
    assert (stats.executed, stats.unprotected, stats.replayed, stats.calls) == (1, 1, 9, 10)
    own_server.start()
    assert eventually(lambda: answers(fn))
    assert asyncio.run(fn(1)) == {"order": 1}
    assert (len(inside), inside[1][1], stats_of(fn).unprotected) == (2, 1, 1)


def test_an_unprotected_call_that_fails_frees_its_key(
    own_server: Server, connect: Any, colour: Colour
) -> None:
    """There is no store to tell, but those who wait here go on."""
    own_server.kill()
    results: list[Any] = [ValueError("no"), "next"]

    def body(order: int, amount: int) -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    fn = once(connect(own_server.url, timeout=0.5), body, colour, on_store_error="run")
    with pytest.raises(ValueError, match="no"):
        colour.call(fn, 1)
    assert (colour.call(fn, 1), nothing_left(fn)) == ("next", True)


def test_who_waits_for_a_call_without_store_gets_its_error(
    own_server: Server, connect: Any
) -> None:
    """Eleven tasks fail together, each with an error of his own, and not one after the other."""
    store = connect(own_server.url, timeout=0.5)
    fn = once(store, Held(), "async")
    own_server.pause()

    async def main() -> list[Any]:
        return await asyncio.gather(*[fn(1) for _ in range(11)], return_exceptions=True)

    began = time.monotonic()
    try:
        errors = asyncio.run(main())
    finally:
        own_server.resume()
    assert time.monotonic() - began < 11 * store._lane.timeout * 4 / 2
    assert [type(error) for error in errors] == [mh.StoreUnavailableError] * 11
    assert (len(set(map(id, errors))), len(set(map(str, errors)))) == (11, 1)
    stats = stats_of(fn)
    assert (stats.rejected, stats.waited, stats.store_errors, stats.calls) == (11, 0, 1, 11)
    assert nothing_left(fn)


# Bodies that take long.


def test_a_blocked_event_loop_loses_no_lease(servers: Any, connect: Any) -> None:
    """The body blocks its loop for three leases: it is renewed all the same, by a thread."""
    url = servers("valkey").url
    runs: list[str] = []

    async def blocks(order: int, amount: int = 5) -> str:
        runs.append("here")
        time.sleep(3 * LEASE)  # noqa: ASYNC251 - that is what is tested
        return "here"

    here: Any = mh.idempotent(
        "{order}",
        store=connect(url, timeout=PATIENT),
        name="charge",
        lease=LEASE,
        registry=mh.Registry(),
    )(blocks)
    there = once(
        connect(url, timeout=PATIENT),
        lambda *_: runs.append("there"),
        "async",
        lease=LEASE,
        wait_timeout=60,
    )
    holder = Called("async", here, 1)
    assert eventually(lambda: runs)
    with heard(events.KeyTakenOver, events.LeaseLost) as told:
        assert Called("async", there, 1).result() == "here"
        assert holder.result() == "here"
    assert (runs, told, stats_of(there).replayed) == (["here"], [], 1)


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_a_body_may_take_longer_than_lease_and_retention(
    kind: str, servers: Any, connect: Any, colour: Colour
) -> None:
    """Five leases and three times what its result is kept for: one execution, and a replay."""
    lease, ttl = 0.8, 1.3
    if kind == "memory":
        stores = [mh.MemoryStore()] * 2
    else:
        stores = [connect(servers(kind).url, timeout=PATIENT) for _ in range(2)]
    body = Held()
    settings: dict[str, Any] = {"lease": lease, "ttl": ttl, "wait_timeout": 60, "max_run": 60}
    here, there = (once(store, body, colour, **settings) for store in stores)
    holder = held_call(here, body, colour, 1)
    began = time.monotonic()
    waiters = [Called(colour.name, fn, 1) for fn in (here, there, there)]
    refused = once(stores[1], body, colour, on_running="reject")
    with heard(events.LeaseLost, events.KeyTakenOver) as told:
        while time.monotonic() - began < max(5 * lease, 3 * ttl):
            with pytest.raises(mh.InProgressError):
                colour.call(refused, 1)
            time.sleep(0.1)
        body.go.set()
        results = [call.result() for call in (holder, *waiters)]
    assert (results, body.runs, told) == (["done"] * 4, 1, [])
    assert colour.call(there, 1) == "done"


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_a_lease_is_renewed_for_max_run_and_no_longer(
    kind: str, servers: Any, connect: Any, colour: Colour
) -> None:
    """A body that hangs is followed when its time is over, and not before."""
    longest = 2.0
    if kind == "memory":
        stores = [mh.MemoryStore()] * 2
    else:
        stores = [connect(servers(kind).url, timeout=PATIENT) for _ in range(2)]
    body = Held("hung")
    here = once(stores[0], body, colour, lease=LEASE, max_run=longest)
    there = once(stores[1], lambda *_: mh.current().attempt, colour, wait_timeout=60)
    began = time.monotonic()
    holder = held_call(here, body, colour, 1)
    assert colour.call(there, 1) == 2
    assert longest - 0.1 < time.monotonic() - began < longest + 5.0
    body.go.set()
    assert (holder.result(), stats_of(here).lost) == (2, 1)


# Forks.


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_a_forked_child_goes_on_while_calls_run(
    kind: str, servers: Any, connect: Any, colour: Colour
) -> None:
    """Another key is executed at once; the one that the parent is at is its parent's."""
    store = mh.MemoryStore() if kind == "memory" else connect(servers(kind).url, timeout=PATIENT)
    body = Held("parent's")
    fn = once(store, body, "sync", lease=LEASE, wait_timeout=60)
    other = once(store, lambda *_: "child's", "sync", name="other")
    holder = held_call(fn, body, "sync", 1)

    def in_child() -> bool:
        own = Colour(colour.name)
        same = once(store, lambda *_: "child's", own, lease=LEASE, wait_timeout=60)
        ok = other(1) == "child's" and stats_of(other).executed == 1
        # A memory store is a copy, in which nobody goes on with what the parent is at.
        wanted = "child's" if kind == "memory" else "parent's"
        ok = ok and own.call(same, 1) == wanted
        store.close()
        return ok

    # The parent goes on when the child has waited for longer than a lease.
    timer = threading.Timer(1.5 * LEASE, body.go.set)
    timer.start()
    try:
        assert in_a_fork(in_child) == 0
    finally:
        timer.join()
    assert (holder.result(), body.runs, fn(1)) == ("parent's", 1, "parent's")
    assert other(1) == "child's"
    assert stats_of(other).executed == (1 if kind == "memory" else 0)
    assert nothing_left(fn, other)


def test_a_call_may_fork(store: Any) -> None:
    """A child that is made inside of a call uses policy and store, and ends without the call."""
    runs: list[int] = []

    def body(order: int, amount: int) -> str:
        runs.append(order)
        if order == 1:
            assert in_a_fork(lambda: fn(2) == "done" and mh.current().key == fn.key_for(1)) == 0
        return "done"

    fn = once(store, body, "sync")
    assert (fn(1), fn(1), runs) == ("done", "done", [1])
    assert nothing_left(fn)


def test_many_forks_while_threads_call(store: Any) -> None:
    """Twenty children, made while four threads call as fast as they can: none of them hangs."""
    fn = once(store, lambda order, _: order, "sync")
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            fn(uuid.uuid4().hex)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()

    def in_child() -> bool:
        ok = all(fn(key) == key for key in (uuid.uuid4().hex, "same"))
        store.close()
        return ok

    try:
        assert [in_a_fork(in_child) for _ in range(20)] == [0] * 20
    finally:
        over.set()
        for thread in threads:
            thread.join(GIVE_UP)
    assert fn("after") == "after"
