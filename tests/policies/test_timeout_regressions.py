"""What other libraries get wrong about timeouts, one test for each."""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.policies.breaker_paths import in_threads
from tests.waiting import eventually

MODES = ("auto", "thread", "signal", "interrupt", "cooperative")
ASYNC_MODES = ("auto", "cooperative")

in_every_mode = pytest.mark.parametrize(
    ("colour", "mode"),
    [*(("sync", mode) for mode in MODES), *(("async", mode) for mode in ASYNC_MODES)],
    indirect=["colour"],
)


@pytest.mark.parametrize(
    ("colour", "mode"),
    [
        *(("sync", mode) for mode in MODES if mode != "signal"),  # which has one thread only
        *(("async", mode) for mode in ASYNC_MODES),
    ],
    indirect=["colour"],
)
def test_functions_run_side_by_side(colour: Colour, mode: Any) -> None:
    """No lock is held while the function runs: five calls can be inside at one moment."""
    together = threading.Barrier(5)
    fn = mh.timeout(20.0, mode=mode)(colour.paint(lambda: together.wait(timeout=10)))
    assert sorted(in_threads(colour, fn, 5)) == [0, 1, 2, 3, 4]


def test_a_timeout_error_of_the_user_is_not_reported_as_ours(colour: Colour) -> None:
    """A TimeoutError that the function raises comes through as it is, without our words."""

    def fail() -> None:
        raise builtins.TimeoutError("the database said so")

    for mode in MODES if colour.name == "sync" else ASYNC_MODES:
        fn = mh.timeout(5.0, mode=mode)(colour.paint(fail))  # type: ignore[arg-type]
        with pytest.raises(builtins.TimeoutError, match=r"^the database said so$") as caught:
            colour.call(fn)
        assert type(caught.value) is builtins.TimeoutError
        assert fn.policies[0].stats().timed_out == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("outer", MODES)
@pytest.mark.parametrize("inner", ["auto", "thread", "interrupt"])
def test_the_limit_of_another_is_not_reported_as_ours(inner: Any, outer: Any) -> None:
    """A call inside that ran out of its own time is a failure out here, and told as it is."""
    release = threading.Event()
    within = mh.timeout(0.01, mode=inner, name="inner", registry=mh.Registry())

    def work() -> None:
        while not release.is_set():
            time.sleep(0.001)

    around = mh.timeout(20.0, mode=outer)
    try:
        with pytest.raises(mh.TimeoutError) as caught:
            around.call(lambda: within.call(work))
    finally:
        release.set()
    assert (caught.value.name, caught.value.timeout) == ("inner", 0.01)
    assert (around.stats().timed_out, around.stats().failures) == (0, 1)


@pytest.mark.parametrize("outer", ASYNC_MODES)
def test_the_limit_of_another_task_is_not_reported_as_ours(outer: Any) -> None:
    """The same where tasks are cancelled, by us or by asyncio itself."""
    around = mh.timeout(20.0, mode=outer)
    within = mh.timeout(0.01, name="inner", registry=mh.Registry())

    async def ours() -> None:
        await within.acall(asyncio.sleep, 20)

    async def of_asyncio() -> None:
        await asyncio.wait_for(asyncio.sleep(20), 0.01)

    with pytest.raises(mh.TimeoutError) as caught:
        asyncio.run(around.acall(ours))
    assert caught.value.name == "inner"
    with pytest.raises(builtins.TimeoutError) as theirs:
        asyncio.run(around.acall(of_asyncio))
    assert not isinstance(theirs.value, mh.TimeoutError)
    assert (around.stats().timed_out, around.stats().failures) == (0, 2)


@in_every_mode
@pytest.mark.parametrize("raised", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_interrupts_are_no_failures(raised: type[BaseException], colour: Colour, mode: Any) -> None:
    """Whoever leaves says nothing about the function, and passes."""

    def leave() -> None:
        raise raised

    fn = mh.timeout(20.0, mode=mode)(colour.paint(leave))
    with pytest.raises(raised):
        colour.call(fn)
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.failures, stats.timed_out, stats.ignored) == (0, 0, 1)


@pytest.mark.parametrize("mode", ASYNC_MODES)
def test_cancelled_calls_are_no_failures(mode: Any) -> None:
    """A cancellation from outside stays one, and is counted as neither."""
    policy = mh.timeout(20.0, mode=mode)

    async def main() -> None:
        tasks = [asyncio.create_task(policy.acall(asyncio.sleep, 20)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 5

    asyncio.run(main())
    stats = policy.stats()
    assert (stats.failures, stats.timed_out, stats.ignored) == (0, 0, 5)


def test_the_default_mode_works_off_the_main_thread() -> None:
    """A limit set with defaults is kept in any thread, without a ValueError about signals."""
    raised: list[BaseException] = []
    release = threading.Event()

    def call() -> None:
        try:
            mh.timeout(0.02).call(release.wait)
        except mh.TimeoutError as error:
            raised.append(error)
        finally:
            release.set()

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(5.0)
    assert [type(error) for error in raised] == [mh.TimeoutError]


@pytest.mark.parametrize("mode", ["auto", "thread", "signal", "interrupt"])
def test_the_caller_can_catch_it_as_an_exception(mode: Any) -> None:
    """It is no BaseException that slips through ``except Exception`` of the caller."""
    release = threading.Event()

    def work() -> None:
        while not release.is_set():
            time.sleep(0.001)

    try:
        with pytest.raises(Exception) as caught:
            mh.timeout(0.02, mode=mode).call(work)
    finally:
        release.set()
    assert caught.type is mh.TimeoutError


def test_a_task_can_catch_it_as_an_exception() -> None:
    """Nor is it a cancellation that slips through."""
    with pytest.raises(Exception) as caught:
        asyncio.run(mh.timeout(0.01).acall(asyncio.sleep, 20))
    assert caught.type is mh.TimeoutError
    assert not isinstance(caught.value, asyncio.CancelledError)


@pytest.mark.parametrize("mode", ["auto", "thread", "signal", "interrupt"])
def test_calls_that_ran_out_of_time_do_not_leave_a_thread_each(mode: Any) -> None:
    """When what was given up has ended, its thread takes the next call."""
    policy = mh.timeout(0.002, mode=mode)

    def run_out() -> None:
        release = threading.Event()

        def work() -> None:
            while not release.is_set():
                time.sleep(0.0005)

        try:
            with pytest.raises(mh.TimeoutError):
                policy.call(work)
        finally:
            release.set()
        assert eventually(lambda: policy.stats().abandoned == 0)

    run_out()
    before = threading.active_count()
    for _ in range(20):
        run_out()
    assert eventually(lambda: threading.active_count() <= before + 1)


@pytest.mark.parametrize("mode", MODES)
def test_calls_do_not_leave_a_thread_each(mode: Any) -> None:
    """After fifty calls there are hardly more threads than after one."""
    fn = mh.timeout(5.0, mode=mode)(lambda: None)
    fn()
    before = threading.active_count()
    for _ in range(50):
        fn()
    assert threading.active_count() <= before + 1


def test_nested_limits_on_few_threads_do_not_starve() -> None:
    """A limit inside a limit finds a thread though all callers hold one already."""
    inner = mh.timeout(5.0, mode="thread")(lambda: time.sleep(0.01))
    outer = mh.timeout(5.0, mode="thread")(lambda: inner())
    threads = [threading.Thread(target=outer) for _ in range(16)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.perf_counter() - began < 4.0
    assert outer.policies[0].stats().successes == 16  # type: ignore[attr-defined]


def test_decorating_needs_no_running_loop() -> None:
    """An async function is decorated at import, and used on any loop after that."""

    @mh.timeout(5.0)
    async def fn() -> str:
        await asyncio.sleep(0)
        return "done"

    assert [asyncio.run(fn()) for _ in range(2)] == ["done", "done"]


def test_the_first_result_decides(colour: Colour) -> None:
    """A value that is there is never thrown away for a limit that ran out as well."""
    if colour.name == "sync":
        fn: Any = mh.timeout(0.001, mode="cooperative")(lambda: time.sleep(0.005) or "there")
    else:

        async def blocking() -> str:
            time.sleep(0.005)  # noqa: ASYNC251
            return "there"

        fn = mh.timeout(0.001)(blocking)
    assert colour.call(fn) == "there"
