"""How an async call is cancelled at its limit, and what is not taken for that."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import gc
import sys
import threading
import types
import weakref
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

import meshhook as mh
from meshhook.deadline import current
from tests.watched import in_flight

LIMIT = 0.02


async def hang() -> None:
    await asyncio.Event().wait()


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def watched(fn: Any) -> int:
    return in_flight(fn.policies[0].timers)


def test_the_own_limit_leaves_no_cancellation_behind() -> None:
    """After the error the task can go on waiting."""

    async def main() -> str:
        with pytest.raises(mh.TimeoutError) as caught:
            await mh.timeout(LIMIT).acall(hang)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert cancelling() == 0
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_the_cancellation_of_a_caller_stays_one() -> None:
    """A task that is cancelled from outside ends cancelled, and is counted as ignored."""
    fn = mh.timeout(5.0)(hang)

    async def main() -> None:
        task = asyncio.create_task(fn())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.calls, stats.ignored, stats.timed_out) == (1, 1, 0)


@pytest.mark.parametrize("order", ["caller first", "limit first"])
def test_a_caller_that_cancels_at_the_limit_wins(order: str) -> None:
    """When both fall on one turn of the loop, the task ends cancelled."""
    fn = mh.timeout(5.0)(hang)

    async def main() -> None:
        task = asyncio.create_task(fn())
        await asyncio.sleep(0)
        (timer,) = (ref() for ref in fn.policies[0].timers._by_loop.values())  # type: ignore[attr-defined]
        (entry,) = timer.live
        if order == "caller first":
            task.cancel()
        entry.fire()
        if order == "limit first":
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    asyncio.run(main())


def test_a_result_that_comes_in_spite_of_the_limit_is_returned() -> None:
    """The cancellation is taken back, and no stray one comes later."""

    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        return "done"

    fn = mh.timeout(LIMIT)(stubborn)

    async def main() -> None:
        assert await fn() == "done"
        assert cancelling() == 0
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert fn.policies[0].stats().successes == 1  # type: ignore[attr-defined]


def test_an_error_that_comes_in_spite_of_the_limit_passes() -> None:
    """What the function makes of the cancellation is the function's."""

    async def converting() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise ValueError("mine") from None

    async def main() -> None:
        with pytest.raises(ValueError, match="mine"):
            await mh.timeout(LIMIT).acall(converting)
        assert cancelling() == 0

    asyncio.run(main())


def test_a_swallowed_cancellation_of_the_caller_is_not_forgotten() -> None:
    """A function that shrugs it off is stopped at the limit, and ends as cancelled."""

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        await asyncio.sleep(5)

    async def main() -> None:
        task = asyncio.create_task(mh.timeout(LIMIT).acall(stubborn))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_call_within_a_cancelled_task_can_time_out() -> None:
    """Clean-up in a task that is being cancelled has limits of its own."""

    async def work() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            with pytest.raises(mh.TimeoutError):
                await mh.timeout(LIMIT).acall(hang)
            assert cancelling() == 1
            raise
        return "unreachable"

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("error", [builtins.TimeoutError("theirs"), TimeoutError("theirs")])
def test_a_timeout_error_from_inside_is_left_alone(error: Exception) -> None:
    """It is the user's own object, and counts as a failure."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    fn = mh.timeout(5.0)(fail)

    async def main() -> None:
        with pytest.raises(builtins.TimeoutError) as caught:
            await fn()
        assert caught.value is error
        assert not isinstance(caught.value, mh.TimeoutError)

    asyncio.run(main())
    assert fn.policies[0].stats().failures == 1  # type: ignore[attr-defined]


def test_nested_limits_that_end_together_raise_one_error() -> None:
    """The outer call ends with a TimeoutError, and the task is not cancelled after that."""
    inner = mh.timeout(5.0)(hang)

    async def call_inner() -> None:
        await inner()

    async def main() -> None:
        with pytest.raises(mh.TimeoutError):
            await mh.timeout(LIMIT).acall(call_inner)
        assert cancelling() == 0

    asyncio.run(main())


def test_an_asyncio_timeout_inside_keeps_its_own_account() -> None:
    """Whichever is shorter fires, and says so."""

    async def inside() -> None:
        async with asyncio.timeout(LIMIT):
            await asyncio.sleep(5)

    async def main() -> None:
        with pytest.raises(builtins.TimeoutError) as caught:
            await mh.timeout(5.0).acall(inside)
        assert not isinstance(caught.value, mh.TimeoutError)
        with pytest.raises(mh.TimeoutError):
            async with asyncio.timeout(5.0):
                await mh.timeout(LIMIT).acall(hang)
        assert cancelling() == 0

    asyncio.run(main())


def test_a_call_that_never_suspends_needs_no_timer() -> None:
    """It leaves nothing in the loop, and works where no loop runs at all."""

    async def quick() -> int:
        return 3

    fn = mh.timeout(5.0)(quick)
    coroutine = fn()
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)  # type: ignore[attr-defined]
    assert caught.value.value == 3


def test_a_call_that_suspends_outside_of_a_task_is_refused() -> None:
    """Nobody could be cancelled there."""

    @types.coroutine
    def suspend() -> Generator[None, None, None]:
        yield

    async def fn() -> None:
        await suspend()

    coroutine: Any = mh.timeout(5.0)(fn)()
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)

    async def main() -> None:
        def callback() -> None:
            coroutine: Any = mh.timeout(5.0)(fn)()
            try:
                coroutine.send(None)
            except RuntimeError as error:
                told.set_result(str(error))

        loop = asyncio.get_running_loop()
        told: asyncio.Future[str] = loop.create_future()
        loop.call_soon(callback)
        assert "needs a running task" in await told

    asyncio.run(main())


def test_any_awaitable_will_do() -> None:
    """An async callable may return something else than a coroutine."""

    class Slow:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0.001).__await__()
            return "done"

    class Client:
        async def __call__(self) -> str:
            return await Slow()

    async def main() -> None:
        assert await mh.timeout(5.0)(Client())() == "done"
        assert await mh.timeout(5.0).acall(Slow) == "done"

        policy = mh.timeout(5.0)
        guarded = policy.bind_async(Slow, Slow)
        assert await guarded() == "done"

    asyncio.run(main())


async def some_turns(count: int) -> None:
    """Wait for a future for that many turns of the loop, and no longer, however fast they are."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def tick(left: int) -> None:
        if left:
            loop.call_soon(tick, left - 1)
        elif not done.done():
            done.set_result(None)

    tick(count)
    await done


async def three_steps(log: list[str]) -> str:
    try:
        await asyncio.sleep(0)
        log.append("one")
        await some_turns(3)
        log.append("two")
        await asyncio.shield(asyncio.sleep(0))
        log.append("three")
    finally:
        log.append("left")
    return "done"


@pytest.mark.parametrize("inherited", [False, True], ids=["own limit", "inherited limit"])
def test_cancelling_at_every_await_leaves_nothing_behind(inherited: bool) -> None:
    """No entry, no timer of its own, no task and no deadline, wherever the cancellation falls."""
    fn = mh.timeout(30.0)(three_steps)

    async def attempt(turns: int) -> bool:
        outer = current.get()
        assert (outer is not None) == inherited
        loop: Any = asyncio.get_running_loop()
        log: list[str] = []
        task = asyncio.create_task(fn(log))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if cancelled and turns:
            assert log[-1] == "left"
        assert watched(fn) == 0
        assert current.get() == outer
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        own = [each for each in loop._scheduled if "Entry" in repr(each) and not each.cancelled()]
        assert own == []
        return cancelled

    async def main() -> None:
        turns = 0
        with mh.deadline(20.0) if inherited else contextlib.nullcontext():
            while await attempt(turns):
                turns += 1
        assert turns >= 3

    asyncio.run(main())


def test_one_timer_serves_all_calls_of_a_limit() -> None:
    """A thousand calls in flight have one timer of the loop; none is left in the end."""
    fn = mh.timeout(30.0)(asyncio.sleep)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = len(loop._scheduled)
        event = asyncio.Event()
        waiting = mh.timeout(30.0)(event.wait)
        tasks = [asyncio.create_task(waiting()) for _ in range(1_000)]
        await asyncio.sleep(0)
        assert watched(waiting) == 1_000
        assert len(loop._scheduled) == before + 1
        event.set()
        await asyncio.gather(*tasks)
        assert watched(waiting) == 0
        await fn(0.001)

    asyncio.run(main())


def test_calls_expire_in_order_each_at_its_time() -> None:
    """Calls that started at different times under one limit end one after the other."""
    fn = mh.timeout(0.03)(hang)
    ended: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(mh.TimeoutError):
            await fn()
        ended.append((number, asyncio.get_running_loop().time() - began))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(call(number))
                await asyncio.sleep(0.004)

    asyncio.run(main())
    assert [number for number, _ in ended] == [0, 1, 2, 3, 4]
    assert all(taken >= 0.03 for _, taken in ended)


def test_a_call_that_ended_frees_its_place_though_an_older_one_runs() -> None:
    """Finished calls do not pile up behind a slow one."""
    fn = mh.timeout(30.0)(asyncio.sleep)

    async def main() -> None:
        slow = asyncio.create_task(fn(5))
        await asyncio.sleep(0)
        for _ in range(200):
            await fn(0)
        assert watched(fn) == 1
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    asyncio.run(main())


def test_a_closed_loop_with_calls_in_flight_leaves_nothing_behind() -> None:
    """The policy does not keep the loop alive, nor the tasks that were on it."""
    fn = mh.timeout(30.0)(hang)
    loop = asyncio.new_event_loop()
    task = loop.create_task(fn())
    loop.run_until_complete(asyncio.sleep(0))
    assert watched(fn) == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    refs = weakref.ref(loop), weakref.ref(task)
    loop.close()
    del loop, task
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    assert watched(fn) == 0
    assert current.get() is None


def test_many_loops_share_a_policy() -> None:
    """Each loop has its own timer, one after the other and at the same time."""
    fn = mh.timeout(LIMIT)(hang)

    def run() -> None:
        async def main() -> None:
            with pytest.raises(mh.TimeoutError):
                await fn()

        asyncio.run(main())

    run()
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run()
    assert fn.policies[0].stats().timed_out == 6  # type: ignore[attr-defined]


def test_decorating_touches_no_event_loop() -> None:
    """Functions are decorated where no loop runs, and none is made."""
    failed = []

    def decorate() -> None:
        try:
            mh.timeout(1.0)(hang)
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=decorate)
    thread.start()
    thread.join()
    assert failed == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_limited_too() -> None:
    """A task that starts eagerly is the one that is cancelled, not the one that started it."""
    fn = mh.timeout(LIMIT)(hang)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        tasks = [asyncio.create_task(fn()) for _ in range(3)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [mh.TimeoutError] * 3
        assert cancelling() == 0

    asyncio.run(main())


def test_the_time_before_the_first_suspension_counts(frozen: Any) -> None:
    """A function that used up its limit before it first waits is cancelled there."""

    async def late() -> None:
        frozen.tick(10.0)
        await hang()

    async def main() -> None:
        with pytest.raises(mh.TimeoutError):
            await mh.timeout(5.0).acall(late)

    asyncio.run(main())


def test_a_frozen_clock_does_not_hold_up_the_limit(frozen: Any) -> None:
    """The loop keeps real time, and so do limits on it."""

    async def main() -> None:
        with pytest.raises(mh.TimeoutError):
            await mh.timeout(LIMIT).acall(hang)

    asyncio.run(main())


def test_a_block_is_limited() -> None:
    """``async with`` cancels the block, and tells the deadline inside."""
    policy = mh.timeout(LIMIT)

    async def main() -> None:
        with pytest.raises(mh.TimeoutError, match=r"the block did not end within 0\.02 s"):
            async with policy:
                left = mh.remaining()
                assert left is not None
                assert left <= LIMIT
                await hang()
        assert mh.remaining() is None
        assert cancelling() == 0
        async with policy:
            pass
        with pytest.raises(ValueError):
            async with policy:
                raise ValueError

    asyncio.run(main())
    stats = policy.stats()
    assert (stats.calls, stats.successes, stats.failures, stats.timed_out) == (3, 1, 1, 1)


def test_blocks_nest_and_run_side_by_side() -> None:
    """One policy may limit several blocks at once, within each other and in many tasks."""
    policy = mh.timeout(30.0)

    async def work() -> None:
        async with policy:
            async with policy:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[work() for _ in range(20)])
        assert in_flight(policy.timers) == 0

    asyncio.run(main())
    assert policy.stats().successes == 40


def test_the_cancellation_of_a_block_by_the_caller_stays_one() -> None:
    """The block is left as cancelled."""

    async def work() -> None:
        async with mh.timeout(5.0):
            await hang()

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_block_in_a_generator_may_outlast_one_that_began_later() -> None:
    """Whatever the order, each limit ends with its block, and the deadline of the other stays."""
    inner, outer = mh.timeout(20.0), mh.timeout(30.0)

    async def items() -> AsyncIterator[int]:
        async with inner:
            yield 1

    async def main() -> None:
        for how in ("exhausted", "closed"):
            generator: Any = items()
            await anext(generator)
            async with outer:
                if how == "closed":
                    await generator.aclose()
                else:
                    assert await anext(generator, None) is None
                assert in_flight(inner.timers) == 0
                assert in_flight(outer.timers) == 1
                left = mh.remaining()
                assert left is not None
                assert 15 < left <= 20
            assert mh.remaining() is None

    asyncio.run(main())
    assert [policy.stats().calls for policy in (inner, outer)] == [2, 2]


def test_a_generator_that_is_thrown_away_takes_its_limit_along() -> None:
    """It is closed by a task of the loop, with another context: nothing is cancelled later."""
    limit = mh.timeout(20.0)

    async def items() -> AsyncIterator[int]:
        async with limit:
            yield 1

    async def main() -> float | None:
        async for _ in items():
            break
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        assert in_flight(limit.timers) == 0
        return mh.remaining()

    assert asyncio.run(main()) is None


def test_limits_without_a_name_go_by_their_kind() -> None:
    """As many as there may be at a time, none is numbered, nor kept by the registry."""
    registry = mh.Registry()

    async def main() -> None:
        async with (
            mh.timeout(20.0, registry=registry) as one,
            mh.timeout(20.0, registry=registry) as other,
        ):
            assert (one.name, other.name) == ("timeout", "timeout")
        await mh.timeout(20.0, registry=registry).acall(asyncio.sleep, 0)

    asyncio.run(main())
    assert len(registry) == 0
    assert mh.timeout(20.0, name="timeout", registry=registry).name == "timeout"


def test_a_pattern_that_has_decorated_may_limit_a_block() -> None:
    """The block has a name of its own, and counts by itself."""
    limit = mh.timeout(LIMIT)
    limit(hang)

    async def main() -> None:
        with pytest.raises(mh.TimeoutError, match="timeout 'timeout': the block did not end"):
            async with limit:
                await hang()

    asyncio.run(main())
    assert (limit.stats().calls, limit.stats().timed_out) == (1, 1)


@pytest.mark.parametrize("form", ["call", "block"])
def test_a_task_that_cancels_itself_at_first_is_cancelled(form: str) -> None:
    """It asks before it waits for the first time, when nothing watches it yet."""
    limit = mh.timeout(LIMIT)

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(20)  # until the limit ends it

    async def main() -> None:
        if form == "call":
            await limit.acall(work)
        else:
            async with limit:
                await work()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_what_is_thrown_into_a_call_is_no_context_of_what_it_does() -> None:
    """A call that swallows a cancellation sees no exception being handled, as without a limit."""

    async def work() -> Any:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            pass
        assert sys.exc_info() == (None, None, None)
        raise ValueError

    async def main() -> BaseException | None:
        task = asyncio.create_task(mh.timeout(20.0).acall(work))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(ValueError) as caught:
            await task
        return caught.value.__context__

    assert asyncio.run(main()) is None


def test_only_modes_that_can_limit_a_block_may() -> None:
    """``with`` is for mode="cooperative", ``async with`` for async modes; the error says so."""
    with (
        pytest.raises(
            TypeError, match="`with` cannot stop a block in mode='auto': use `async with`"
        ),
        mh.timeout(1.0),
    ):
        pass
    with mh.timeout(1.0, mode="cooperative") as policy:
        assert mh.remaining() is not None
    assert policy.stats().successes == 1

    async def main() -> None:
        async with mh.timeout(1.0, mode="cooperative"):
            assert mh.remaining() is not None
        with pytest.raises(TypeError, match="leave mode='thread' out"):
            async with mh.timeout(1.0, mode="thread"):
                pass

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["auto", "cooperative"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same context", "another context"])
def test_a_coroutine_that_is_closed_leaves_the_deadline_as_it_was(
    mode: Any, elsewhere: bool
) -> None:
    """Whether it is closed in the context that it ran in, or in another."""

    @types.coroutine
    def suspend() -> Generator[None, None, None]:
        yield

    async def fn() -> None:
        await suspend()

    async def main() -> None:
        guarded = mh.timeout(5.0, mode=mode)(fn)
        coroutine: Any = guarded()
        if elsewhere:
            contextvars.copy_context().run(coroutine.send, None)
        else:
            coroutine.send(None)
        coroutine.close()
        assert mh.remaining() is None
        assert watched(guarded) == 0
        assert guarded.policies[0].stats().ignored == 1  # type: ignore[attr-defined]

    asyncio.run(main())
