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

MODES = ("auto", "thread", "signal", "interrupt", "cooperative")


def test_a_timeout_error_of_the_user_is_not_reported_as_ours(colour: Colour) -> None:
    """A TimeoutError that the function raises comes through as it is, without our words."""

    def fail() -> None:
        raise builtins.TimeoutError("the database said so")

    for mode in MODES if colour.name == "sync" else ("auto", "cooperative"):
        fn = mh.timeout(5.0, mode=mode)(colour.paint(fail))  # type: ignore[arg-type]
        with pytest.raises(builtins.TimeoutError, match=r"^the database said so$") as caught:
            colour.call(fn)
        assert type(caught.value) is builtins.TimeoutError
        assert fn.policies[0].stats().timed_out == 0  # type: ignore[attr-defined]


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
