"""How the modes stop a sync function, each in its own way."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from meshhook.runtime import alarm, workers

LIMIT = 0.02


class Gate:
    """A call that waits at a gate, in a thread that can be told."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def wait(self, result: Any = "through") -> Any:
        self.entered.release()
        self.opened.wait()
        return result


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Make a closed gate; it is opened after the test."""
    made = Gate()
    yield made
    made.opened.set()


def eventually(holds: Callable[[], bool]) -> bool:
    """Tell whether something comes true within some seconds."""
    for _ in range(5_000):
        if holds():
            return True
        time.sleep(0.001)
    return False


def spin() -> None:
    while True:
        time.sleep(0.001)


class TestThread:
    def test_the_call_is_made_in_a_worker_that_is_used_again(self) -> None:
        """There is no thread per call: calls one after the other share one."""
        # In a process of its own: what earlier tests have given up may become idle meanwhile.
        program = """
import threading
import meshhook as mh

fn = mh.timeout(20.0, mode="thread")(threading.get_ident)
idents = {fn() for _ in range(20)}
print(len(idents), threading.get_ident() in idents)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "1 False\n"

    def test_what_goes_on_running_is_counted(self, gate: Gate) -> None:
        """An abandoned call is counted until it ends, and its end is told."""
        fn = mh.timeout(LIMIT, mode="thread", name="db", registry=mh.Registry())(gate.wait)
        policy = fn.policies[0]  # type: ignore[attr-defined]
        heard: list[Any] = []
        with mh.subscribe(heard.append):
            with pytest.raises(mh.TimeoutError, match="it goes on running in its thread"):
                fn()
            assert (policy.stats().abandoned, policy.stats().abandoned_total) == (1, 1)
            gate.opened.set()
            assert eventually(lambda: len(heard) == 2)
        timed_out, ended = heard
        assert isinstance(timed_out, events.CallTimedOut)
        assert timed_out.abandoned
        assert isinstance(ended, events.AbandonedCallEnded)
        assert ended.late >= 0
        assert (policy.stats().abandoned, policy.stats().abandoned_total) == (0, 1)

    def test_too_many_abandoned_calls_refuse_further_ones(self, gate: Gate) -> None:
        """At max_abandoned a call is refused at once, and admitted again when one has ended."""
        policy = mh.timeout(
            LIMIT, mode="thread", max_abandoned=2, name="db", registry=mh.Registry()
        )
        fn = policy(gate.wait)
        for _ in range(2):
            with pytest.raises(mh.TimeoutError):
                fn()
        heard: list[Any] = []
        with (
            mh.subscribe(heard.append, events.CallRejected),
            pytest.raises(
                mh.RejectedError, match="2 calls .* are still running.*max_abandoned=2"
            ) as caught,
        ):
            fn()
        assert (caught.value.name, caught.value.policy) == ("db", "timeout")
        assert [event.reason for event in heard] == ["abandoned"]
        stats = policy.stats()
        assert (stats.rejected, stats.calls, stats.abandoned) == (1, 2, 2)
        gate.opened.set()
        assert eventually(lambda: policy.stats().abandoned == 0)
        assert fn() == "through"

    def test_nested_limits_do_not_starve_each_other(self) -> None:
        """Eight calls, each three limits deep, all end although they wait for each other."""
        policy = mh.timeout(5.0, mode="thread")
        together = threading.Barrier(8)
        inner = policy(lambda: together.wait(5.0))
        middle = policy(lambda: inner())
        outer = policy(lambda: middle())
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(outer())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(8))

    def test_ctrl_c_in_the_waiting_thread_passes_at_once(self, gate: Gate) -> None:
        """The caller is interrupted, the call is abandoned and counted as ignored."""
        fn = mh.timeout(5.0, mode="thread")(gate.wait)

        def interrupt() -> None:
            gate.entered.acquire()
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            fn()
        thread.join()
        stats = fn.policies[0].stats()  # type: ignore[attr-defined]
        assert (stats.ignored, stats.abandoned) == (1, 1)

    def test_changes_of_the_context_stay_inside(self) -> None:
        """The function has a copy, so that an abandoned one changes nothing for its caller."""

        def change() -> None:
            mh.deadline(1.0).__enter__()

        mh.timeout(5.0, mode="thread").call(change)
        assert mh.remaining() is None

    def test_an_error_leaves_no_cycle(self) -> None:
        """What the call held is let go as soon as its error is, without the garbage collector."""
        import gc
        import weakref

        class Big:
            pass

        def fail(_big: Big) -> None:
            raise ValueError

        fn = mh.timeout(5.0, mode="thread")(fail)
        big = Big()
        ref = weakref.ref(big)
        gc.disable()
        try:
            with contextlib.suppress(ValueError):
                fn(big)
            del big
            assert eventually(lambda: ref() is None)
        finally:
            gc.enable()


class TestSignal:
    @pytest.fixture(autouse=True)
    def _untouched(self) -> Iterator[None]:
        """Whatever a test does, SIGALRM and the timer are as before in the end."""
        before = signal.getsignal(signal.SIGALRM)
        yield
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_it_breaks_into_a_blocking_call(self) -> None:
        """A lock, a sleep, a read: whatever the system call."""
        reader, writer = os.pipe()
        for block in (
            lambda: time.sleep(5),
            lambda: threading.Event().wait(5),
            lambda: os.read(reader, 1),
        ):
            with pytest.raises(mh.TimeoutError):
                mh.timeout(LIMIT, mode="signal").call(block)
        os.close(reader)
        os.close(writer)

    def test_it_breaks_into_a_regular_expression(self) -> None:
        """C code that holds the GIL, but looks for signals."""
        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="signal").call(re.match, r"(a*)*b", "a" * 40)

    def test_an_except_exception_does_not_swallow_it(self) -> None:
        """Inside, the interruption is no Exception."""

        def careless() -> None:
            while True:
                try:
                    time.sleep(0.001)
                except Exception:
                    pass

        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="signal").call(careless)

    def test_a_call_that_swallows_everything_is_interrupted_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bare ``except`` does not switch the limit off for good."""
        monkeypatch.setattr(alarm, "AGAIN", 0.01)
        swallowed = 0

        def stubborn() -> None:
            nonlocal swallowed
            while True:
                try:
                    spin()
                except BaseException:
                    if swallowed == 2:
                        raise
                    swallowed += 1

        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="signal").call(stubborn)
        assert swallowed == 2

    def test_a_handler_and_a_timer_that_were_there_are_put_back(self) -> None:
        """The timer has what is left of its time, and its interval."""
        rung: list[int] = []

        def handler(number: int, _frame: object) -> None:
            rung.append(number)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 5.0, 7.0)
        try:
            mh.timeout(1.0, mode="signal").call(time.sleep, LIMIT)
            left, interval = signal.setitimer(signal.ITIMER_REAL, 0.0)
            assert signal.getsignal(signal.SIGALRM) is handler
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        assert 4.0 < left <= 5.0 - LIMIT
        assert interval == 7.0
        assert rung == []

    def test_a_timer_that_came_due_meanwhile_rings_at_once_afterwards(self) -> None:
        """Nothing of somebody else's is lost."""
        rung = threading.Event()
        before = signal.signal(signal.SIGALRM, lambda *_: rung.set())
        signal.setitimer(signal.ITIMER_REAL, LIMIT / 2)
        try:
            mh.timeout(1.0, mode="signal").call(time.sleep, LIMIT)
            assert eventually(rung.is_set)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)

    def test_a_signal_of_somebody_else_goes_to_its_handler(self) -> None:
        """SIGALRM from elsewhere during the call does not count as the limit."""
        rung: list[int] = []
        before = signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
        try:

            def raise_it() -> str:
                os.kill(os.getpid(), signal.SIGALRM)
                return "done"

            assert mh.timeout(5.0, mode="signal").call(raise_it) == "done"
        finally:
            signal.signal(signal.SIGALRM, before)
        assert rung == [signal.SIGALRM]

    def test_an_ignored_signal_of_somebody_else_stays_ignored(self) -> None:
        """So it was before the call."""
        before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
        try:
            mh.timeout(5.0, mode="signal").call(os.kill, os.getpid(), signal.SIGALRM)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_nested_limits_each_keep_their_own(self) -> None:
        """The inner one fires, the outer one goes on, and fires later."""
        inner = mh.timeout(LIMIT, mode="signal")(spin)
        seen: list[float | None] = []

        def outer() -> None:
            with pytest.raises(mh.TimeoutError) as caught:
                inner()
            seen.append(caught.value.timeout)
            spin()

        with pytest.raises(mh.TimeoutError) as caught:
            mh.timeout(3 * LIMIT, mode="signal").call(outer)
        assert seen == [LIMIT]
        assert caught.value.timeout == 3 * LIMIT

    def test_an_outer_limit_ends_the_inner_call(self) -> None:
        """An inner limit that is longer has no more time than the outer one."""
        inner = mh.timeout(5.0, mode="signal")(spin)
        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="signal").call(lambda: inner())

    def test_a_result_that_is_there_at_the_limit_is_returned(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An alarm between the end of the call and its disarming takes nothing away."""
        # A stand-in for meshhook's own code: it stays there until the alarm has rung.
        own: dict[str, Any] = {"__name__": "meshhook.own", "getitimer": signal.getitimer}
        exec(
            "def dawdle(result):\n"
            "    left = [9.0]\n"
            "    while len(left) < 4:\n"
            "        now = getitimer(0)[0]\n"
            "        if now > left[-1]:\n"
            "            left.append(now)\n"
            "        left[-1] = now\n",
            own,
        )
        monkeypatch.setattr(guard, "check_result", own["dawdle"])
        result = object()
        assert mh.timeout(LIMIT, mode="signal").call(lambda: result) is result

    def test_off_the_main_thread_it_says_what_to_do(self) -> None:
        """Nobody can be interrupted by a signal there."""
        raised: list[Exception] = []

        def call() -> None:
            try:
                mh.timeout(5.0, mode="signal").call(time.sleep, 0)
            except mh.ConfigurationError as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "works in the main thread only" in str(raised[0])
        assert "use mode='auto' or 'thread'" in str(raised[0])

    def test_a_handler_that_cannot_be_put_back_is_not_touched(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Python shows None for a handler that was installed by other code."""
        monkeypatch.setattr(alarm, "_get_handler", lambda _number: None)
        with pytest.raises(mh.ConfigurationError, match="a handler of SIGALRM that Python did not"):
            mh.timeout(5.0, mode="signal").call(time.sleep, 0)
        idents = mh.timeout(5.0).call(threading.get_ident), threading.get_ident()
        assert idents[0] != idents[1]

    @pytest.mark.fault
    def test_a_fatal_signal_of_somebody_else_stays_fatal(self) -> None:
        """Where SIGALRM would have ended the process before, it does during a call."""
        code = (
            "import os, signal, meshhook as mh\n"
            "mh.timeout(5.0, mode='signal').call(os.kill, os.getpid(), signal.SIGALRM)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert done.returncode == -signal.SIGALRM

    def test_a_system_without_the_timer_is_told_at_decoration(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There, auto means a thread."""
        from meshhook.policies.timeout import settings

        monkeypatch.setattr(settings, "HAS_SIGNALS", False)
        with pytest.raises(mh.ConfigurationError, match="mode='signal' needs setitimer"):
            mh.timeout(1.0625, mode="signal")  # settings that were checked are not checked again


class TestAuto:
    def test_in_the_main_thread_it_stays_there(self) -> None:
        """A signal does it, and no thread."""
        assert mh.timeout(5.0).call(threading.get_ident) == threading.get_ident()

    def test_in_another_thread_it_takes_a_worker(self) -> None:
        """No signal reaches that one."""
        idents: list[int] = []

        def call() -> None:
            idents.extend([threading.get_ident(), mh.timeout(5.0).call(threading.get_ident)])

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert idents[0] != idents[1]

    def test_with_a_timer_of_somebody_else_running_it_takes_a_worker(self) -> None:
        """And leaves that timer alone."""
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 5.0)
        try:
            assert mh.timeout(5.0).call(threading.get_ident) != threading.get_ident()
            left, _ = signal.getitimer(signal.ITIMER_REAL)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        assert 4.0 < left <= 5.0

    def test_within_a_limit_of_ours_it_stays_in_the_thread(self) -> None:
        """Nested limits are no strangers to each other."""
        inner = mh.timeout(5.0)(threading.get_ident)
        assert mh.timeout(5.0).call(lambda: inner()) == threading.get_ident()

    def test_without_signals_it_takes_a_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On systems that have none."""
        from meshhook.policies.timeout import policy

        monkeypatch.setattr(policy, "HAS_SIGNALS", False)
        assert mh.timeout(5.0).call(threading.get_ident) != threading.get_ident()

    def test_errors_of_the_worker_are_counted_once(self) -> None:
        """The way by the signal and the way by the worker do not both count."""
        fn = mh.timeout(5.0)(lambda: 1 // 0)

        def call() -> None:
            with pytest.raises(ZeroDivisionError):
                fn()

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        stats = fn.policies[0].stats()  # type: ignore[attr-defined]
        assert (stats.calls, stats.failures) == (1, 1)


class TestInterrupt:
    def test_it_stops_a_loop_in_any_thread(self) -> None:
        """Many threads at once, each at its own limit."""
        fn = mh.timeout(LIMIT, mode="interrupt")(spin)
        raised: list[BaseException] = []

        def call() -> None:
            try:
                fn()
            except mh.TimeoutError as error:
                raised.append(error)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5.0)
        assert len(raised) == 8
        assert fn.policies[0].stats().timed_out == 8  # type: ignore[attr-defined]

    def test_an_except_exception_does_not_swallow_it(self) -> None:
        """Inside, the interruption is no Exception."""

        def careless() -> None:
            while True:
                try:
                    time.sleep(0.001)
                except Exception:
                    pass

        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="interrupt").call(careless)

    def test_nested_limits_each_keep_their_own(self) -> None:
        """The inner one fires, the outer one goes on, and fires later."""
        inner = mh.timeout(LIMIT, mode="interrupt")(spin)
        seen: list[float | None] = []

        def outer() -> None:
            with pytest.raises(mh.TimeoutError) as caught:
                inner()
            seen.append(caught.value.timeout)
            spin()

        with pytest.raises(mh.TimeoutError) as caught:
            mh.timeout(3 * LIMIT, mode="interrupt").call(outer)
        assert seen == [LIMIT]
        assert caught.value.timeout == 3 * LIMIT

    def test_an_outer_limit_ends_the_inner_call(self) -> None:
        """Both are due at one moment, and the outer one is kept."""
        inner = mh.timeout(5.0, mode="interrupt")(spin)

        def outer() -> None:
            while True:
                with contextlib.suppress(mh.TimeoutError):
                    inner()

        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="interrupt").call(outer)

    def test_a_result_that_comes_in_spite_of_it_is_returned(self) -> None:
        """A call that swallows the interruption and ends has a result."""

        def stubborn() -> str:
            with contextlib.suppress(BaseException):
                spin()
            return "done"

        assert mh.timeout(LIMIT, mode="interrupt").call(stubborn) == "done"

    def test_a_call_that_blocks_over_its_limit_ends_late_and_clean(self) -> None:
        """What came for it while it was blocked comes then, or never."""
        fn = mh.timeout(0.005, mode="interrupt")(lambda: time.sleep(0.02))
        for _ in range(10):
            with contextlib.suppress(mh.TimeoutError):
                fn()
        for _ in range(1_000):
            pass

    def test_it_keeps_real_time(self, frozen: Any) -> None:
        """A clock that stands still does not stop it."""
        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode="interrupt").call(spin)

    def test_a_call_at_the_edge_of_its_limit_never_leaks(self) -> None:
        """Whenever it ends around its limit, nothing comes after it has ended."""
        policy = mh.timeout(0.002, mode="interrupt")
        outcomes = set()
        for step in range(60):
            until = time.perf_counter() + 0.0015 + step * 0.00002

            def work(until: float = until) -> str:
                while time.perf_counter() < until:
                    pass
                return "done"

            try:
                outcomes.add(policy.call(work))
            except mh.TimeoutError:
                outcomes.add("timeout")
            for _ in range(200):
                pass
        assert outcomes <= {"done", "timeout"}
        assert policy.stats().calls == 60


@pytest.mark.parametrize("mode", ["thread", "signal", "interrupt", "auto", "cooperative"])
def test_a_timeout_error_from_inside_is_left_alone(mode: Any) -> None:
    """It is the user's own object, in every mode."""
    error = builtins.TimeoutError("theirs")

    def fail() -> None:
        raise error

    fn = mh.timeout(5.0, mode=mode)(fail)
    with pytest.raises(builtins.TimeoutError) as caught:
        fn()
    assert caught.value is error
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.failures, stats.timed_out) == (1, 0)


@pytest.mark.parametrize("mode", ["signal", "interrupt", "auto"])
def test_ctrl_c_during_a_call_passes_at_once(mode: Any) -> None:
    """KeyboardInterrupt stays one, and nothing is left running."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        spin()

    fn = mh.timeout(5.0, mode=mode)(interrupt)
    with pytest.raises(KeyboardInterrupt):
        fn()
    assert fn.policies[0].stats().ignored == 1  # type: ignore[attr-defined]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("inner", ["signal", "interrupt", "thread", "auto"])
@pytest.mark.parametrize("outer", ["signal", "interrupt", "thread", "auto"])
def test_every_mode_goes_inside_every_other(inner: Any, outer: Any) -> None:
    """Calls that end in time pass, and those that do not are stopped by the outer limit."""
    if (inner, outer) == ("signal", "thread"):
        inner = "auto"  # a worker is never the main thread
    quick = mh.timeout(5.0, mode=inner)(lambda: "done")
    assert mh.timeout(5.0, mode=outer).call(lambda: quick()) == "done"
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            time.sleep(0.001)

    slow = mh.timeout(5.0, mode=inner)(work)
    try:
        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT, mode=outer).call(lambda: slow())
    finally:
        stop.set()


def test_a_sync_call_on_a_loop_is_limited_too() -> None:
    """It blocks the loop as it would without a limit, but no longer than that."""

    async def main() -> None:
        with pytest.raises(mh.TimeoutError):
            mh.timeout(LIMIT).call(spin)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_workers_end_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that has grown shrinks again."""
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.01)

    def count() -> int:
        return sum(thread.name.startswith("meshhook-worker") for thread in threading.enumerate())

    policy = mh.timeout(5.0, mode="thread")
    before = count()
    barrier = threading.Barrier(6)
    callers = [threading.Thread(target=policy.call, args=(barrier.wait, 5.0)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert eventually(lambda: count() <= before)
    assert policy.call(lambda: "done") == "done"
