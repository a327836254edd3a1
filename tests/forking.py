"""Forking the test process, with all of its threads, on purpose."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable

from tests.waiting import GIVE_UP, eventually


def in_a_fork(work: Callable[[], bool]) -> int:
    """Run ``work`` in a forked child; return its exit code: 0 if it returned True.

    A child that hangs is killed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
        child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if work() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status: list[int] = []

    def ended() -> bool:
        pid, code = os.waitpid(child, os.WNOHANG)
        status.extend([code] * (pid == child))
        return bool(status)

    if not eventually(ended, GIVE_UP):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise TimeoutError("the child hangs")
    return os.waitstatus_to_exitcode(status[0])
