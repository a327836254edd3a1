"""cancel_everywhere: a call that is cancelled at each of its await points, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from meshhook.testing import Run, Stepped, cancel_everywhere
from meshhook.testing.cancelling import MOMENTS


class Pool:
    """Something to leak: it lends places, and takes them back or not."""

    def __init__(self) -> None:
        self.lent = 0
        self.calls = 0

    async def careful(self) -> str:
        self.lent += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self.lent -= 1
        return "done"

    async def careless(self) -> str:
        await asyncio.sleep(0)
        self.lent += 1
        await asyncio.sleep(0)
        self.lent -= 1
        return "done"

    async def greedy(self) -> str:
        self.calls += 1
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "never mind"
        return "done"

    def check(self, run: Run) -> None:
        assert self.lent == 0, "a place was not given back"


def test_each_point_is_cancelled_until_one_run_comes_through() -> None:
    """For each moment; the check sees every run."""
    pool, runs = Pool(), []

    def check(run: Run) -> None:
        runs.append((run.moment, run.point, run.points, run.was_cancelled, run.result))

    assert asyncio.run(cancel_everywhere(pool.careful, check)) == 2
    assert runs == [
        (moment, *run)
        for moment in ("before", "after")
        for run in ((1, 1, True, None), (2, 2, True, None), (3, 2, False, "done"))
    ]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_leak_is_found(moment: Any) -> None:
    """The error says at which point."""
    pool = Pool()
    with pytest.raises(AssertionError, match="a place was not given back") as caught:
        asyncio.run(cancel_everywhere(pool.careless, pool.check, moments=[moment]))
    assert caught.value.__notes__ == [f"cancelled at await point 2, {moment!r}"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_cleans_up_passes(moment: Any) -> None:
    """The check may be async, and be left out."""
    pool = Pool()

    async def check(run: Run) -> None:
        await asyncio.sleep(0)
        pool.check(run)

    assert asyncio.run(cancel_everywhere(pool.careful, check, moments=[moment])) == 2
    assert asyncio.run(cancel_everywhere(pool.careful, moments=[moment])) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_call_that_swallows_its_cancellation_is_found(moment: Any) -> None:
    """It was told to end, and went on."""
    pool = Pool()
    with pytest.raises(AssertionError, match="was cancelled, and returned 'never mind' all the"):
        asyncio.run(cancel_everywhere(pool.greedy, moments=[moment]))
    assert pool.calls == 1


def test_a_call_that_nobody_cancelled_and_says_so_is_found() -> None:
    """Its CancelledError is its own."""

    async def call() -> None:
        raise asyncio.CancelledError

    with pytest.raises(AssertionError, match="nobody cancelled the call, and it raised Cancelled"):
        asyncio.run(cancel_everywhere(call))


def test_another_error_goes_through() -> None:
    """With a note of where it was cancelled."""

    async def call() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(cancel_everywhere(call))
    assert caught.value.__notes__ == ["cancelled at await point 1, 'before'"]


def test_it_is_cancelled_again_while_it_cleans_up() -> None:
    """With ``times``, at as many points in a row."""
    seen: list[list[str]] = []

    async def call() -> None:
        steps: list[str] = []
        seen.append(steps)
        try:
            await asyncio.sleep(0)
            steps.append("worked")
        finally:
            steps.append("began to clean up")
            await asyncio.sleep(0)
            steps.append("cleaned up")

    asyncio.run(cancel_everywhere(call, moments=["before"], times=2))
    assert seen == [
        ["began to clean up"],
        ["worked", "began to clean up"],
        ["worked", "began to clean up", "cleaned up"],
    ]
    seen.clear()
    asyncio.run(cancel_everywhere(call, moments=["before"]))
    assert seen[0] == ["began to clean up", "cleaned up"]


def test_timeouts_and_groups_inside_see_what_they_would() -> None:
    """They tell the cancellation from their own, and the task is as it was."""

    async def call() -> str:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            await asyncio.sleep(0)
        return "done"

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert await cancel_everywhere(call) >= 2
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(main())


def test_the_test_itself_may_be_cancelled() -> None:
    """That is not one of the cancellations that were asked for."""

    async def main() -> None:
        calls = 0

        async def call() -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                test.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        test = asyncio.ensure_future(cancel_everywhere(call))
        with pytest.raises(asyncio.CancelledError):
            await test
        assert calls == 2

    asyncio.run(main())


def test_a_call_that_always_starts_anew_ends_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be cancelled for ever."""
    monkeypatch.setattr("meshhook.testing.cancelling._ENDLESS", 5)

    async def call() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="the call came to 5 await points, and to no end"):
        asyncio.run(cancel_everywhere(call))


def test_it_needs_a_task() -> None:
    """There is nobody else to cancel."""
    stepped = Stepped(Pool().careful(), {1})

    async def main() -> Any:
        done = asyncio.get_running_loop().create_future()

        def outside_of_tasks() -> None:
            try:
                stepped.__await__().send(None)
            except RuntimeError as error:
                done.set_result(str(error))

        asyncio.get_running_loop().call_soon(outside_of_tasks)
        return await done

    assert asyncio.run(main()).startswith("cancelling needs a running task: await it inside")


def test_any_awaitable_may_be_stepped() -> None:
    """What a guarded function returns, or an object with an ``__await__``."""

    class Own:
        def __await__(self) -> Any:
            return Pool().careful().__await__()

    make: Callable[[], Awaitable[Any]] = Own
    assert asyncio.run(cancel_everywhere(make)) == 2
