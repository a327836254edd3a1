"""Systems that have no fork, no signals with timers, or neither: what works there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WITHOUT_FORK = "import os; del os.register_at_fork, os.fork\n"
WITHOUT_TIMERS = "import signal; del signal.setitimer, signal.getitimer, signal.SIGALRM\n"
PROGRAM = """
import asyncio, contextlib, threading, time
import meshhook as mh
import meshhook.runtime.processes, meshhook.runtime.watchdog

breaker = mh.circuit_breaker("db", failure_threshold=1)
with contextlib.suppress(OSError), breaker:
    raise OSError
try:
    breaker.call(int)
except mh.CircuitOpenError:
    print("refused")

def spin():
    for _ in range(20_000):
        time.sleep(0.001)

for mode in ("auto", "thread", "interrupt"):
    try:
        mh.timeout(0.02, mode=mode).call(spin)
    except mh.TimeoutError as error:
        print(mode, "thread" in str(error))
try:
    asyncio.run(mh.timeout(0.02).acall(asyncio.sleep, 20))
except mh.TimeoutError:
    print("task")
try:
    mh.timeout(20.0, mode="signal").call(int)
    print("signal")
except mh.ConfigurationError as error:
    print("no signal")
"""


@pytest.mark.fault
@pytest.mark.parametrize("fork", [True, False], ids=["fork", "no fork"])
@pytest.mark.parametrize("timers", [True, False], ids=["timers", "no timers"])
def test_what_a_system_lacks_is_done_without(fork: bool, timers: bool) -> None:
    """Everything is imported and works; where no signal interrupts, ``auto`` is a thread."""
    program = ("" if fork else WITHOUT_FORK) + ("" if timers else WITHOUT_TIMERS) + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60.0,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "refused",
        f"auto {not timers}",
        "thread True",
        "interrupt False",
        "task",
        "signal" if timers else "no signal",
    ]
