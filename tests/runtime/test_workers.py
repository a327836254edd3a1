"""Worker threads: reuse, giving up, forks and the end of the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from meshhook.runtime import workers
from meshhook.runtime.workers import Abandoned, Job

ROOT = Path(__file__).parents[2]


def job(call: Any, *args: Any) -> Job:
    return Job(copy_context(), call, args, {})


def python(code: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=30.0,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **kwargs,
    )


def test_a_job_that_has_ended_cannot_be_given_up() -> None:
    """Its outcome stands."""
    abandoned = Abandoned()
    done = job(lambda: "done")
    done.start()
    assert done.wait(5.0)
    assert abandoned.take(done, lambda: None) is False
    assert done.outcome() == "done"
    assert (abandoned.running, abandoned.total) == (0, 0)


def test_a_job_that_was_never_handed_over_is_not_counted() -> None:
    """Nobody would ever count its end."""
    abandoned = Abandoned()
    assert abandoned.take(job(lambda: None), lambda: None) is False
    assert abandoned.running == 0


def test_an_outcome_is_decided_once() -> None:
    """Given up at the moment when it ends, a job is either settled or counted, never both."""
    for _ in range(300):
        abandoned = Abandoned()
        ended = threading.Event()

        def on_end(abandoned: Abandoned = abandoned, ended: threading.Event = ended) -> None:
            abandoned.ended()
            ended.set()

        racing = job(lambda: "done")
        racing.start()
        if abandoned.take(racing, on_end):
            assert ended.wait(5.0)
        else:
            assert racing.wait(5.0)
            assert racing.outcome() == "done"
        assert abandoned.running == 0


def test_a_job_whose_thread_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the system passes, and nothing is counted as running."""
    monkeypatch.setattr(workers, "_idle", [])

    def fail(_self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers._Worker, "start", fail)
    import meshhook as mh

    fn = mh.timeout(5.0, mode="thread")(lambda: None)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        fn()
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.failures, stats.abandoned) == (1, 0)


def test_a_worker_that_is_chosen_at_the_last_moment_takes_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time was up, but a job was on its way."""
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.005)
    monkeypatch.setattr(workers, "_idle", [])
    first = job(threading.get_ident)
    first.start()
    assert first.wait(5.0)
    with workers._lock:
        chosen = workers._idle.pop()
    time.sleep(0.02)
    late = job(threading.get_ident)
    chosen.hand_over(late)
    assert late.wait(5.0)
    assert late.outcome() == first.outcome()


def test_a_worker_that_was_chosen_for_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever chose it was interrupted before there was a job."""
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.005)
    monkeypatch.setattr(workers, "HAND_OVER_SECONDS", 0.005)
    worker = workers._Worker()
    worker.start()
    worker.join(5.0)
    assert not worker.is_alive()


@pytest.mark.fault
def test_a_forked_child_starts_anew() -> None:
    """No workers, no abandoned calls, no lock that somebody else holds, in every mode."""
    done = python(
        "import contextlib, os, sys, threading, time\n"
        "import meshhook as mh\n"
        "thread = mh.timeout(0.05, mode='thread')\n"
        "interrupt = mh.timeout(0.05, mode='interrupt')\n"
        "def spin():\n"
        "    while True: time.sleep(0.001)\n"
        "for policy in (thread, interrupt):\n"
        "    with contextlib.suppress(mh.TimeoutError): policy.call(spin)\n"
        "assert thread.stats().abandoned == 1\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = thread.stats().abandoned == 0 and thread.call(lambda: 7) == 7\n"
        "    for policy in (thread, interrupt):\n"
        "        try: policy.call(spin)\n"
        "        except mh.TimeoutError: pass\n"
        "        else: ok = False\n"
        "    os._exit(0 if ok and thread.stats().abandoned == 1 else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.fault
def test_a_forked_child_does_not_keep_worker_processes_alive() -> None:
    """It closes its copies of their pipes, and has workers of its own."""
    done = python(
        "import os, time\n"
        "import meshhook as mh\n"
        "policy = mh.timeout(20.0, mode='process')\n"
        "if __name__ == '__main__':\n"
        "    theirs = policy.call(os.getpid)\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        mine = policy.call(os.getpid)\n"
        "        from meshhook.runtime import processes\n"
        "        processes.close()\n"
        "        os._exit(0 if mine not in (theirs, os.getpid()) else 1)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "    assert policy.call(os.getpid) == theirs\n"
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.fault
def test_the_interpreter_exits_though_abandoned_calls_run() -> None:
    """Workers are daemons, busy ones too."""
    began = time.perf_counter()
    done = python(
        "import contextlib, time\n"
        "import meshhook as mh\n"
        "with contextlib.suppress(mh.TimeoutError):\n"
        "    mh.timeout(0.05, mode='thread').call(time.sleep, 60)\n"
        "print('out')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert time.perf_counter() - began < 20.0
