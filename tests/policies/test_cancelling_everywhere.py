"""Cancelling a guarded call at each of its await points, one by one, leaves nothing behind.

The call is cancelled at its first await point, then anew at its second, until it comes through
unharmed; before what it awaits is there, and after; once, and again while it cleans up. Or it is
thrown away there: nobody awaits it any more, and it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import meshhook as mh
from meshhook import blocks
from meshhook.deadline import current as deadline
from meshhook.policies.circuit_breaker import CircuitBreaker
from meshhook.policies.timeout import Timeout
from meshhook.rules.phases import State
from meshhook.runtime.timer import Entry
from meshhook.testing import Run, cancel_everywhere
from meshhook.testing.cancelling import Moment
from tests.policies.breaker_paths import PATHS, breaker_on, circuit_of
from tests.watched import in_flight

Work = Callable[[], Awaitable[str]]


async def body() -> str:
    """Await in every way there is, cleaning up with awaits of its own."""
    loop = asyncio.get_running_loop()
    try:
        await asyncio.sleep(0)
        later = loop.create_future()
        loop.call_soon(lambda: later.done() or later.set_result(None))
        await later
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return "done"


async def body_without_clean_up() -> str:
    """Await in a few ways, so that it can be closed at any of them."""
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_soon(later.set_result, None)
    await later
    async with asyncio.timeout(60):
        for _ in range(7):
            await asyncio.sleep(0)
    return "done"


class Scene(NamedTuple):
    """A function to be cancelled, and the policies around it."""

    fn: Work
    policies: tuple[Any, ...]


def breaker(path: str, state: str = "closed") -> CircuitBreaker:
    return breaker_on(path, mh.Registry(), initial_state=state)


def limit(mode: Any = "auto") -> Timeout:
    return mh.timeout(60.0, mode=mode, name="limit", registry=mh.Registry())


def decorated(work: Work, *policies: Any) -> Scene:
    """Put the policies around the body, the first outermost."""
    fn: Any = work
    for policy in reversed(policies):
        fn = policy(fn)
    return Scene(fn, policies)


def in_blocks(work: Work, *policies: Any) -> Scene:
    """Run the body in a block of each policy, the first outermost."""

    async def fn() -> str:
        async with contextlib.AsyncExitStack() as blocks:
            for policy in policies:
                await blocks.enter_async_context(policy)
            return await work()

    return Scene(fn, policies)


def by_call(work: Work, policy: Any) -> Scene:
    """Have the policy run the body directly."""
    return Scene(lambda: policy.acall(work), (policy,))


SCENES: dict[str, Callable[[Work], Scene]] = {
    "timeout": lambda work: decorated(work, limit()),
    "cooperative timeout": lambda work: decorated(work, limit("cooperative")),
    "timeout within timeout": lambda work: decorated(work, limit(), limit()),
    "block of a timeout": lambda work: in_blocks(work, limit()),
    "block of a timeout within one of a breaker": lambda work: in_blocks(
        work, breaker("timed", "half_open"), limit()
    ),
    "block of a breaker within one of a timeout": lambda work: in_blocks(
        work, limit(), breaker("timed", "half_open")
    ),
    "call by a breaker": lambda work: by_call(work, breaker("straight", "half_open")),
    "call by a timeout": lambda work: by_call(work, limit()),
}


def scenes_of(path: str, state: str) -> dict[str, Callable[[Work], Scene]]:
    """Return the scenes of a breaker whose calls take a path: alone, and stacked both ways."""
    name = f"{state} {path} breaker"
    return {
        name: lambda work: decorated(work, breaker(path, state)),
        f"timeout within {name}": lambda work: decorated(work, breaker(path, state), limit()),
        f"{name} within timeout": lambda work: decorated(work, limit(), breaker(path, state)),
    }


for path, state in itertools.product(PATHS, ("closed", "half_open")):
    SCENES.update(scenes_of(path, state))
for state in ("closed", "half_open"):
    SCENES[f"block of a {state} breaker"] = lambda work, state=state: in_blocks(  # type: ignore[misc]
        work, breaker("straight", state)
    )


def counted(policy: Any) -> dict[str, int]:
    """Return the outcomes that the policy has counted."""
    stats = policy.stats().to_dict()
    outcomes = ("successes", "failures", "ignored", "timed_out", "rejected")
    return {what: stats[what] for what in outcomes if stats.get(what)}


def nothing_is_held(policy: Any) -> bool:
    """Tell whether no call holds anything of the policy: place, trial, key, timer."""
    if isinstance(policy, Timeout):
        return in_flight(policy.timers) == policy.abandoned.running == 0
    circuit = circuit_of(policy)
    held = [getattr(circuit.phase, name, {}) for name in ("trials", "running", "overdue")]
    return held == [{}, {}, {}] and circuit.users == 0


class Before:
    """How the loop, the context, the process and the circuits are before a call."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.states = states(scene)
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())
        self._deadline = deadline.get()
        self._blocks = blocks._open.copy()

    def assert_nothing_is_left(self) -> None:
        """Check that they are so again."""
        loop: Any = asyncio.get_running_loop()
        assert asyncio.all_tasks() == self._tasks
        assert set(threading.enumerate()) <= self._threads  # those of other tests may end meanwhile
        assert (deadline.get(), blocks._open) == (self._deadline, self._blocks)
        # The timer that all calls of a limit share may ring for nobody; one of a call alone may
        # not.
        owners = [getattr(each._callback, "__self__", None) for each in loop._scheduled]
        assert not any(isinstance(owner, Entry) for owner in owners)
        assert all(nothing_is_held(policy) for policy in self.scene.policies)


def states(scene: Scene) -> list[State]:
    """Return the states of the circuits."""
    breakers = [policy for policy in scene.policies if isinstance(policy, CircuitBreaker)]
    return [circuit_of(each).phase.state for each in breakers]


def be_busy_for_longer(scene: Scene) -> None:
    """Have the limits see a call that has more time, so that the next one has its own timer."""
    for policy in scene.policies:
        if isinstance(policy, Timeout):
            now = time.monotonic()
            policy.timers.start(now, now + 3600.0).end()


@pytest.mark.parametrize("inherits", [False, True], ids=["own limit", "what is left"])
@pytest.mark.parametrize(
    ("moment", "times"),
    [("before", 1), ("before", 2), ("after", 1), ("after", 2), ("thrown away", 1)],
)
@pytest.mark.parametrize("make", SCENES.values(), ids=SCENES)
def test_a_call_that_is_cancelled_leaves_nothing_behind(
    make: Callable[[Work], Scene], moment: Moment, times: int, inherits: bool
) -> None:
    """No permit, lease, timer, task, thread or deadline; it counts as ignored, once."""
    work = body_without_clean_up if moment == "thrown away" else body

    before: Before

    def begin() -> Awaitable[str]:
        nonlocal before
        scene = make(work)
        if inherits:
            be_busy_for_longer(scene)
        before = Before(scene)
        return scene.fn()

    async def check(run: Run) -> None:
        before.assert_nothing_is_left()
        if not run.was_cancelled:
            assert run.result == "done"
            return
        scene = before.scene
        for policy in scene.policies:
            assert counted(policy) == {"ignored": 1}
        assert states(scene) == before.states
        assert await scene.fn() == "done"
        before.assert_nothing_is_left()
        for policy in scene.policies:
            assert counted(policy) == {"ignored": 1, "successes": 1}
        assert set(states(scene)) <= {State.CLOSED}

    with mh.deadline(30.0) if inherits else contextlib.nullcontext():
        points = asyncio.run(cancel_everywhere(begin, check, moments=[moment], times=times))
        assert points >= 7


@pytest.mark.parametrize("make", SCENES.values(), ids=SCENES)
def test_a_call_that_is_cancelled_before_it_begins_has_never_been(
    make: Callable[[Work], Scene],
) -> None:
    """Nothing is counted, and nothing is held."""

    async def main() -> None:
        scene = make(body)
        before = Before(scene)
        task = asyncio.ensure_future(scene.fn())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        before.assert_nothing_is_left()
        assert [counted(policy) for policy in scene.policies] == [{}] * len(scene.policies)

    asyncio.run(main())
