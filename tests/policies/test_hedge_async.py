"""Attempts of async calls: who cancels them, who waits for them, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.testing import Run, cancel_everywhere
from tests.policies.hedge_service import SOON, nothing_is_held
from tests.waiting import eventually_async

FAR = 30.0


def make(delay: Any = SOON, **settings: Any) -> mh.Hedge:
    return mh.hedge(delay, **{"idempotent": True, "registry": mh.Registry(), **settings})


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks of the loop beside the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


async def hang() -> Any:
    await asyncio.Event().wait()


async def cancelled(call: Awaitable[Any], after: float) -> None:
    """Run a call in a task, cancel it after a while, and see it end cancelled."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_cancellation_of_the_caller_waits_for_all_attempts() -> None:
    """Each is cancelled and has cleaned up by the time that the caller is told; none is left."""
    cleaned = []

    async def call() -> None:
        try:
            await hang()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(1)

    fn = make(max_hedges=2)(call)

    async def main() -> None:
        task = asyncio.ensure_future(fn())
        assert await eventually_async(lambda: fn.policies[0].stats().hedges == 2)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(cleaned) == 3
        assert others() == set()

    asyncio.run(main())
    hedge = fn.policies[0]  # type: ignore[attr-defined]
    stats = hedge.stats()
    assert (stats.calls, stats.ignored, stats.hedges, stats.running_on) == (1, 1, 2, 0)
    assert nothing_is_held(hedge)


def test_a_second_cancellation_reaches_the_attempts_again() -> None:
    """One that hangs while it cleans up is not waited for without end."""
    seen = []

    async def call() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            seen.append("first")
            try:
                await hang()
            except asyncio.CancelledError:
                seen.append("second")
                raise

    fn = make(FAR)(call)

    async def main() -> None:
        task = asyncio.ensure_future(fn())
        for _ in range(2):
            await asyncio.sleep(0.005)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["first", "second"]
        assert others() == set()

    asyncio.run(main())


def test_a_result_that_comes_as_the_caller_is_cancelled_is_discarded() -> None:
    """The caller ends cancelled all the same, and whoever cleans up gets the result."""
    discarded: list[Any] = []

    async def call() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await hang()
        return "in spite of it"

    fn = make(FAR, on_discard=discarded.append)(call)
    asyncio.run(cancelled(fn(), 0.005))
    assert discarded == ["in spite of it"]
    assert fn.policies[0].stats().ignored == 1  # type: ignore[attr-defined]


def test_a_caller_that_is_cancelled_together_with_the_answer_ends_cancelled() -> None:
    """Both fall on one turn of the loop."""
    discarded: list[Any] = []
    go = asyncio.Event()

    async def call() -> str:
        await go.wait()
        return "answer"

    fn = make(FAR, on_discard=discarded.append)(call)

    async def main() -> None:
        task = asyncio.ensure_future(fn())
        await asyncio.sleep(0.005)
        (attempt,) = others() - {task}
        attempt.add_done_callback(lambda _: task.cancel())
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert discarded == ["answer"]


def test_the_answer_does_not_wait_for_the_clean_up_of_the_losers() -> None:
    """They are cancelled, and end in the background; the loop keeps them alive until then."""
    events: list[str] = []

    async def call() -> str:
        if not events:
            events.append("slow")
            try:
                await hang()
            finally:
                # Nobody but the loop of the hedge knows this future.
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.02)
        return "quick"

    async def main() -> None:
        fn = make()(call)
        hedge = fn.policies[0]  # type: ignore[attr-defined]
        assert await fn() == "quick"
        assert hedge.stats().running_on == 1
        gc.collect()
        assert len(others()) == 1
        assert await eventually_async(lambda: not hedge.stats().running_on)
        assert others() == set()
        assert nothing_is_held(hedge)

    asyncio.run(main())


def test_what_losers_raise_is_reported_nowhere() -> None:
    """Their errors have been seen, so the loop has no reason to complain of them."""
    complaints: list[Any] = []
    calls = []

    async def call() -> str:
        calls.append(1)
        if len(calls) == 1:
            try:
                await hang()
            finally:
                raise ConnectionError("while cleaning up")
        return "quick"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        fn = make()(call)
        assert await fn() == "quick"
        assert await eventually_async(lambda: not others())
        gc.collect()

    asyncio.run(main())
    gc.collect()
    assert complaints == []


@pytest.mark.parametrize("swallows", [1, 3])
def test_a_loser_that_goes_on_is_cancelled_again(swallows: int) -> None:
    """Each time that the grace has passed, until it ends; its result is discarded."""
    discarded: list[Any] = []
    cancellations = []

    async def call() -> str:
        if cancellations is not None and not hasattr(call, "begun"):
            call.begun = True  # type: ignore[attr-defined]
            while len(cancellations) <= swallows:
                try:
                    await hang()
                except asyncio.CancelledError:
                    cancellations.append(1)
            return "in spite of it"
        return "quick"

    async def main() -> None:
        fn = make(grace=0.005, on_discard=discarded.append)(call)
        assert await fn() == "quick"
        assert await eventually_async(lambda: bool(discarded))
        assert nothing_is_held(fn.policies[0])  # type: ignore[attr-defined]

    asyncio.run(main())
    assert discarded == ["in spite of it"]
    assert len(cancellations) == swallows + 1


def test_an_attempt_that_is_cancelled_by_somebody_else_does_not_end_the_call() -> None:
    """The other attempt goes on, and its result is the answer."""
    go = asyncio.Event()

    async def call() -> str:
        await go.wait()
        return "done"

    fn = make()(call)

    async def main() -> None:
        task = asyncio.ensure_future(fn())
        assert await eventually_async(lambda: len(others()) == 3)
        first = min(others() - {task}, key=lambda each: int(each.get_name().split("-")[-1]))
        first.cancel()
        await asyncio.sleep(0.005)
        go.set()
        assert await task == "done"
        assert task.cancelling() == 0

    asyncio.run(main())
    assert nothing_is_held(fn.policies[0])  # type: ignore[attr-defined]


def test_a_function_that_cancels_itself_is_cancelled() -> None:
    """That is neither a success nor a failure, and starts no hedge."""
    calls = []

    async def call() -> None:
        calls.append(1)
        raise asyncio.CancelledError

    fn = make(FAR)(call)

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await fn()

    asyncio.run(main())
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (len(calls), stats.ignored, stats.hedges) == (1, 1, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_an_attempt_ends_the_loop(error: type[BaseException]) -> None:
    """As it does in any task; nothing is left."""

    async def call() -> None:
        await asyncio.sleep(0)
        raise error

    fn = make(FAR)(call)
    with pytest.raises(error):
        asyncio.run(fn())  # type: ignore[arg-type]
    assert nothing_is_held(fn.policies[0])  # type: ignore[attr-defined]


def test_a_loop_that_is_held_up_is_no_reason_to_hedge() -> None:
    """What has ended by the time that the timer rings late is the answer."""

    async def call() -> str:
        await asyncio.sleep(SOON / 2)
        return "done"

    fn = make()(call)

    async def main() -> None:
        asyncio.get_running_loop().call_later(SOON / 4, time.sleep, 4 * SOON)
        assert await fn() == "done"

    asyncio.run(main())
    assert fn.policies[0].stats().hedges == 0  # type: ignore[attr-defined]


def test_a_loop_that_is_closed_too_early_leaves_no_places_taken() -> None:
    """Tasks that it does not end are gone with it; the hedge goes on in another loop."""
    calls = []

    async def call() -> str:
        calls.append(1)
        if len(calls) == 1:
            try:
                await hang()
            finally:
                await hang()
        return "quick"

    fn = make()(call)
    hedge = fn.policies[0]  # type: ignore[attr-defined]
    complaints: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    assert loop.run_until_complete(fn()) == "quick"
    assert hedge.stats().running_on == 1
    loop.close()
    del loop
    gc.collect()
    assert nothing_is_held(hedge)
    assert complaints == ["Task was destroyed but it is pending!"]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_call_that_is_thrown_away_elsewhere_is_reaped_on_its_loop(is_closed: bool) -> None:
    """The collector may run in any thread; a loop is told in the way that is safe from there."""
    started = []

    async def call() -> None:
        started.append(1)
        await hang()

    fn = make(0)(call)
    hedge = fn.policies[0]  # type: ignore[attr-defined]
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    coroutine = fn()

    async def begin() -> None:
        coroutine.send(None)  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    async def wait() -> None:
        assert await eventually_async(lambda: not others())

    loop.run_until_complete(begin())
    assert len(started) == 2
    if is_closed:
        loop.close()
    thread = threading.Thread(target=coroutine.close)  # type: ignore[attr-defined]
    thread.start()
    thread.join()
    assert hedge.stats().ignored == 1
    if not is_closed:
        loop.run_until_complete(wait())
        loop.close()
    del loop
    gc.collect()
    assert nothing_is_held(hedge)


def test_attempts_that_have_ended_when_the_call_is_thrown_away_need_no_reaping() -> None:
    """By the time that the loop is told there is nothing left to cancel."""
    discarded: list[Any] = []

    async def call() -> str:
        return "done"

    fn = make(0, on_discard=discarded.append)(call)

    async def main() -> None:
        coroutine: Any = fn()
        coroutine.send(None)
        await asyncio.sleep(0)
        thread = threading.Thread(target=coroutine.close)
        thread.start()
        thread.join()
        assert await eventually_async(lambda: not others())

    asyncio.run(main())
    assert discarded == ["done"] * 2
    assert nothing_is_held(fn.policies[0])  # type: ignore[attr-defined]


async def body() -> str:
    """Await in a few ways, and clean up with awaits."""
    loop = asyncio.get_running_loop()
    try:
        await asyncio.sleep(0)
        later = loop.create_future()
        loop.call_soon(lambda: later.done() or later.set_result(None))
        await later
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
    finally:
        await asyncio.sleep(0)
    return "done"


async def failing() -> str:
    await asyncio.sleep(0)
    raise ConnectionError


SCENES: dict[str, Callable[[], Any]] = {
    "one attempt": lambda: make(FAR)(body),
    "three together": lambda: make(0, max_hedges=2)(body),
    "after a failure": lambda: make(FAR, max_hedges=2, alternatives=[failing, body])(failing),
    "below a timeout": lambda: mh.timeout(60, registry=mh.Registry())(make(0)(body)),
    "above a timeout": lambda: make(0)(mh.timeout(60, registry=mh.Registry())(body)),
    "below idempotent": lambda: mh.idempotent(lambda: "key", registry=mh.Registry(), name="once")(
        mh.hedge(0, registry=mh.Registry())(body)
    ),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after", "thrown away"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_call_that_is_cancelled_anywhere_leaves_nothing_behind(
    scene: Callable[[], Any], moment: Any, times: int
) -> None:
    """No task, no place, no timer; it counts as ignored."""
    made: list[Any] = []

    def begin() -> Awaitable[Any]:
        made.append(scene())
        return made[-1]()  # type: ignore[no-any-return]

    async def check(run: Run) -> None:
        (hedge,) = (each for each in made[-1].policies if each.kind == "hedge")
        if moment == "thrown away" or not run.was_cancelled:
            assert await eventually_async(lambda: not others())
        assert others() == set()
        assert nothing_is_held(hedge)
        assert hedge.stats().ignored == run.was_cancelled
        assert run.result == (None if run.was_cancelled else "done")

    asyncio.run(cancel_everywhere(begin, check, moments=[moment], times=times))


def test_the_cancellation_of_one_caller_does_not_reach_another() -> None:
    """Attempts belong to one call, also under one key of an idempotent function.

    One library that makes calls share their work cancels all of them with the first.
    """
    calls = []
    go = asyncio.Event()

    @mh.idempotent("{key}", registry=mh.Registry(), name="once")
    @mh.hedge(FAR, registry=mh.Registry())
    async def call(key: str) -> str:
        calls.append(key)
        await go.wait()
        return "done"

    async def main() -> None:
        leader = asyncio.ensure_future(call("k"))
        await asyncio.sleep(0.005)
        followers = [asyncio.ensure_future(call("k")) for _ in range(3)]
        await asyncio.sleep(0.005)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        go.set()
        assert await asyncio.gather(*followers) == ["done"] * 3
        assert others() == set()

    asyncio.run(main())
    assert calls == ["k", "k"]
