"""Cancelling an idempotent call at each of its await points, one by one, leaves nothing behind.

A scene says what the call meets: nobody, another task, another process, a failure, a loss. In each
the call is cancelled at its first await point, then anew at its second, until it comes through
unharmed: before what it awaits is there, and after; once, and again at the very next await point.
And in each it is thrown away at every one of them, as a coroutine that nobody awaits any more.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import meshhook as mh
from meshhook.runtime.flights import flights_of
from meshhook.runtime.heartbeat import HEARTBEAT
from meshhook.stores.protocol import Force
from meshhook.testing.cancelling import MOMENTS, Stepped
from tests.faultproxy import FaultProxy
from tests.policies.idempotent_calls import hold_elsewhere, stats_of
from tests.servers import ENGINES
from tests.stores.conftest import PATIENT
from tests.waiting import eventually_async

AT_ONCE = 10.0  # on a busy machine; a third of the lease that nothing may wait for
LEASE = 30.0
MOST_POINTS = 100


class Watched(NamedTuple):
    """A store, and the proxy in front of its server, if it has one."""

    store: Any
    proxy: FaultProxy | None


@pytest.fixture(params=["memory", *ENGINES])
def watched(request: pytest.FixtureRequest, servers: Any, connect: Any) -> Iterator[Watched]:
    """Give a store whose connections are counted."""
    if request.param == "memory":
        yield Watched(mh.MemoryStore(), None)
        return
    with FaultProxy(servers(request.param).address) as proxy:
        yield Watched(connect(proxy.url, timeout=PATIENT), proxy)


class Scene:
    """A function to call, and what a call of it meets. Each ``order`` is a key of its own."""

    unharmed_gives: Any = "done"
    """What a call gives that is not cancelled, or the type of what it raises."""

    def __init__(self, store: Any) -> None:
        self.runs = 0
        self.inside = 0
        self.most_inside = 0
        self.others: list[asyncio.Task[Any]] = []
        policy = mh.idempotent(
            "{order}",
            store=store,
            name="charge",
            lease=LEASE,
            fingerprint=False,
            registry=mh.Registry(),
        )

        @policy
        async def charge(order: int, *, first: bool = False) -> str:
            self.runs += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0.001)
                return await self.body(order, first=first)
            finally:
                self.inside -= 1

        @mh.idempotent(
            "{order}", store=store, name="charge", fingerprint=False, registry=mh.Registry()
        )
        async def unharmed(order: int) -> str:
            self.runs += 1
            self.most_inside = max(self.most_inside, self.inside + 1)
            return "done"

        self.charge: Any = charge
        self.unharmed: Any = unharmed

    async def body(self, order: int, *, first: bool) -> str:
        """Do what the scene is about."""
        return "done"

    async def prepare(self, order: int) -> None:
        """Let the others do first what they do first."""

    async def clear_up(self) -> None:
        """Let the others end."""
        await asyncio.gather(*self.others, return_exceptions=True)
        self.others.clear()


class Alone(Scene):
    """Nobody else is there."""


class Failing(Scene):
    """The body raises."""

    unharmed_gives = ValueError

    async def body(self, order: int, *, first: bool) -> str:
        raise ValueError("no")


class Cleared(Scene):
    """The key is cleared meanwhile, so that the call has lost it when it ends."""

    unharmed_gives = mh.LeaseLostError

    async def body(self, order: int, *, first: bool) -> str:
        policy = self.charge.policies[0]
        await asyncio.to_thread(policy.store.perform, Force(policy.scope.at(order)))
        return "lost"


class BehindATask(Scene):
    """Another task executes the key, and ends when somebody waits for it."""

    async def body(self, order: int, *, first: bool) -> str:
        if first:
            while stats_of(self.charge).waited == self.waited and not self.over.is_set():
                await asyncio.sleep(0)
        return await super().body(order, first=first)

    async def prepare(self, order: int) -> None:
        self.over = asyncio.Event()  # whoever is to wait may be cancelled before he does
        self.waited = stats_of(self.charge).waited
        runs = self.runs
        self.others.append(asyncio.create_task(self.charge(order, first=True)))
        assert await eventually_async(lambda: self.runs > runs)

    async def clear_up(self) -> None:
        self.over.set()
        await super().clear_up()


class BehindAFailure(BehindATask):
    """Another task executes the key and fails when somebody waits, who then takes the lead."""

    async def body(self, order: int, *, first: bool) -> str:
        result = await super().body(order, first=first)
        if first:
            raise ValueError("no")
        return result


class BehindAProcess(Scene):
    """Another process has taken the key and died; its lease ends soon."""

    async def prepare(self, order: int) -> None:
        await asyncio.to_thread(hold_elsewhere, self.unharmed, order, lease=0.02)


SCENES = [Alone, Failing, Cleared, BehindATask, BehindAFailure, BehindAProcess]


async def nothing_is_left(store: Any) -> bool:
    """Wait until there is no flight, no lease kept, no other task and no timer."""
    loop: Any = asyncio.get_running_loop()

    def left() -> list[Any]:
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]
        return [*range(len(flights_of(store))), *range(len(HEARTBEAT)), *timers]

    return await eventually_async(lambda: not left()) and len(asyncio.all_tasks()) == 1


async def cancel_once(scene: Scene, store: Any, order: int, points: Any, moment: str) -> int:
    """Cancel one call at ``points``; return how many await points it came to."""
    await scene.prepare(order)
    stepped = Stepped(scene.charge(order), points, moment)
    task = asyncio.create_task(stepped.run())
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    gives = asyncio.CancelledError if stepped.points >= min(points) else scene.unharmed_gives
    assert gives in (outcome, type(outcome))
    await scene.clear_up()
    # The key is free or has its result: nobody waits for a lease.
    async with asyncio.timeout(AT_ONCE):
        assert await scene.unharmed(order) == "done"
    assert await nothing_is_left(store)
    assert scene.most_inside <= 1
    return stepped.points


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", SCENES, ids=lambda kind: kind.__name__)
def test_a_call_that_is_cancelled_leaves_nothing(
    kind: type[Scene], moment: str, twice: bool, watched: Watched
) -> None:
    """No flight, lease, renewal, task or timer; the next call is answered at once."""
    scene = kind(watched.store)

    async def main() -> int:
        for order in itertools.count(1):
            points = {order, order + 1} if twice else {order}
            if await cancel_once(scene, watched.store, order, points, moment) < order:
                return order
            assert order < MOST_POINTS
        raise AssertionError

    before = set(threading.enumerate())
    assert asyncio.run(main()) > 1
    started = [each.name for each in threading.enumerate() if each not in before]
    ours = [name for name in started if name.startswith("meshhook")]
    # A lane and a heartbeat; the others are of the proxy, and what this test hands work to.
    assert (len(ours), len(started) - len(ours) <= 2) == (len(set(ours)), True), started
    stats = stats_of(scene.charge)
    assert stats.running == 0
    if watched.proxy is not None:
        assert watched.proxy.connections == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", [Alone, BehindAProcess], ids=lambda kind: kind.__name__)
def test_a_leader_that_is_cancelled_harms_no_follower(
    kind: type[Scene], moment: str, watched: Watched
) -> None:
    """Wherever it is cancelled, all ten who wait for it get the result, of at most one more run."""
    scene = kind(watched.store)

    async def lead(order: int) -> int:
        await scene.prepare(order)
        runs = scene.runs
        stepped = Stepped(scene.charge(order), {order}, moment)
        leader = asyncio.create_task(stepped.run())
        # They begin when the leader has come to its first await point, before it goes on.
        followers = [asyncio.create_task(scene.charge(order)) for _ in range(10)]
        async with asyncio.timeout(AT_ONCE):
            outcome, *results = await asyncio.gather(leader, *followers, return_exceptions=True)
        reached = stepped.points >= order
        assert reached == isinstance(outcome, asyncio.CancelledError), outcome
        assert results == ["done"] * 10
        assert scene.runs - runs <= 1 + reached
        assert await nothing_is_left(watched.store)
        assert scene.most_inside <= 1
        return stepped.points

    async def main() -> int:
        for order in itertools.count(1):
            if await lead(order) < order:
                return order
            assert order < MOST_POINTS
        raise AssertionError

    assert asyncio.run(main()) > 1
    assert stats_of(scene.charge).running == 0
    if watched.proxy is not None:
        assert watched.proxy.connections == 1


def test_a_timeout_around_a_call_cancels_it_like_anybody(watched: Watched) -> None:
    """``asyncio.timeout`` and meshhook's own: the key is free, and the next call is executed."""
    held = True

    async def charge(order: int) -> str:
        if held:
            await asyncio.Event().wait()
        return "done"

    fn: Any = mh.idempotent("{order}", store=watched.store, name="c", registry=mh.Registry())(
        charge
    )
    limited = mh.timeout(0.02, registry=mh.Registry())(fn)

    async def main() -> str:
        nonlocal held
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await fn(1)
        with pytest.raises(mh.TimeoutError):
            await limited(1)
        held = False
        async with asyncio.timeout(AT_ONCE):
            result: str = await fn(1)
        assert await nothing_is_left(watched.store)
        return result

    assert asyncio.run(main()) == "done"


def test_a_group_that_is_cancelled_ends_whole(watched: Watched) -> None:
    """Leader and followers are cancelled together: none of them is left waiting for another."""
    entered = asyncio.Event()

    @mh.idempotent("{order}", store=watched.store, name="charge", registry=mh.Registry())
    async def charge(order: int) -> str:
        if not go.is_set():
            entered.set()
            await asyncio.Event().wait()
        return "done"

    go = asyncio.Event()

    async def main() -> list[bool]:
        tasks = [asyncio.create_task(charge(1)) for _ in range(11)]
        await entered.wait()
        while stats_of(charge).waited < 10:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(AT_ONCE):
            await asyncio.wait(tasks)
            go.set()
            assert await charge(1) == "done"
        assert await nothing_is_left(watched.store)
        return [task.cancelled() for task in tasks]

    assert asyncio.run(main()) == [True] * 11


def test_a_loop_that_ends_leaves_the_key_free(watched: Watched) -> None:
    """``asyncio.run`` cancels what is left when it ends, be it inside or waiting."""

    @mh.idempotent("{order}", store=watched.store, name="charge", registry=mh.Registry())
    async def charge(order: int, *, hold: bool = False) -> str:
        if hold:
            await asyncio.Event().wait()
        return "done"

    async def left_behind() -> None:
        tasks.extend(asyncio.create_task(charge(1, hold=True)) for _ in range(3))
        while stats_of(charge).waited < 2 or not stats_of(charge).running:
            await asyncio.sleep(0)

    async def main() -> str:
        async with asyncio.timeout(AT_ONCE):
            result: str = await charge(1)
        assert await nothing_is_left(watched.store)
        return result

    tasks: list[asyncio.Task[Any]] = []
    asyncio.run(left_behind())
    assert [task.cancelled() for task in tasks] == [True] * 3
    assert asyncio.run(main()) == "done"
