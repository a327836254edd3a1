"""Worker threads: run a call elsewhere, so that its caller can stop waiting for it.

Threads are reused by the whole process. A job that finds no idle worker gets a new one, so jobs
that wait for other jobs never starve each other; a worker that is idle for some seconds ends. All
are daemons: a call that was given up never keeps the interpreter from exiting. After a fork the
child starts with no workers and no abandoned calls, for threads do not survive a fork.

Workers wait on locks, which keep real time whatever the clock of the process says.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from meshhook import forks

IDLE_SECONDS = 5.0
"""For how long a worker waits for its next job before it ends."""
HAND_OVER_SECONDS = 60.0
"""For how long a worker that was chosen waits for its job: long, for the job must not be lost."""

_names = itertools.count(1)
# Reentrant, as all of these: a signal handler may call what comes back in here.
_lock = threading.RLock()
_idle: list[_Worker] = []  # guarded by _lock; the last one was busy most recently


def _nothing() -> None:
    """Do nothing: nobody has given up the job."""


class Job:
    """One call made by a worker. Exactly one of two sides decides how it ends.

    The worker settles it with an outcome, or the caller gives it up; whoever is first has decided.
    """

    __slots__ = (
        "_args",
        "_call",
        "_context",
        "_decided",
        "_done",
        "_error",
        "_kwargs",
        "_result",
        "is_handed_over",
        "on_end",
    )

    def __init__(
        self, context: Context, call: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        self._context = context
        self._call = call
        self._args = args
        self._kwargs = kwargs
        self._result: Any = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()
        self._decided = threading.Lock()
        self.on_end: Callable[[], object] = _nothing
        self.is_handed_over = False

    def start(self) -> None:
        """Hand the job to an idle worker, or to a new one."""
        with _lock:
            worker = _idle.pop() if _idle else None
        if worker is None:
            worker = _Worker()
            worker.start()
        worker.hand_over(self)

    def wait(self, seconds: float) -> bool:
        """Tell whether the job ended within that many seconds."""
        return self._done.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))

    def give_up(self) -> bool:
        """Stop waiting; False if the job has ended already, and then its outcome stands."""
        return self._decided.acquire(blocking=False)

    def outcome(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        # The traceback of the error holds a frame that holds this job, so the job lets go of it.
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._result
        finally:
            del error

    def run(self) -> bool:
        """Make the call, on the worker. Tell whether somebody still waits for the outcome."""
        try:
            self._make_call()
        except BaseException as exc:
            self._error = exc
        if self._decided.acquire(blocking=False):
            return True
        try:
            self.end_alone()
        finally:
            self._result = self._error = None
        return False

    def _make_call(self) -> None:
        self._result = self._context.run(self._call, *self._args, **self._kwargs)

    def end_alone(self) -> None:
        """Tell that the job has ended that was given up; the outcome is still there."""
        self.on_end()

    def deliver(self) -> None:
        """Wake the caller."""
        self._done.release()


class _Worker(threading.Thread):
    """A thread that runs jobs one after the other."""

    def __init__(self) -> None:
        super().__init__(name=f"meshhook-worker-{next(_names)}", daemon=True)
        self._bell = threading.Lock()
        self._bell.acquire()
        self._job: Job

    def hand_over(self, job: Job) -> None:
        """Give this worker, which is new or was idle, its next job."""
        self._job = job
        # Nothing can interrupt between these two, so what is marked will run.
        job.is_handed_over = True
        self._bell.release()

    def run(self) -> None:
        """Run jobs until there has been none for a while."""
        while self._bell.acquire(timeout=IDLE_SECONDS) or self._was_chosen():
            # Not flattened on purpose: freezegun leaves the clock real for what is called within
            # five frames of the threading module, and the caller has made it stand still.
            self._run_next()

    def _run_next(self) -> None:
        job = self._job
        del self._job  # so that an idle worker keeps nothing alive
        is_awaited = job.run()
        # Idle first, so that the next call of the caller that wakes up finds this worker.
        with _lock:
            _idle.append(self)
        if is_awaited:
            job.deliver()

    def _was_chosen(self) -> bool:
        """Leave the idle workers; True if a job came at the last moment."""
        with _lock:
            if self in _idle:
                _idle.remove(self)
                return False
        # Whoever chose it may have been interrupted before the job was handed over.
        return self._bell.acquire(timeout=HAND_OVER_SECONDS)


class Abandoned:
    """The calls of one policy that go on running although nobody waits for them any more."""

    __slots__ = ("_lock", "running", "total")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.running = 0  # both written under _lock
        self.total = 0

    def take(self, job: Job, on_end: Callable[[], object]) -> bool:
        """Give up ``job`` and count it; False if it has ended already, or never was to start.

        ``on_end`` is called on the worker when the job ends after all.
        """
        job.on_end = on_end
        # Under the lock, so that the worker cannot count the end before the beginning.
        with self._lock:
            if not job.is_handed_over or not job.give_up():
                return False
            self.running += 1
            self.total += 1
            return True

    def ended(self) -> None:
        """Count the end of such a call."""
        with self._lock:
            self.running -= 1

    def start_anew(self) -> None:
        """Begin again in a forked child, where none of the threads is there."""
        self._lock = threading.RLock()
        self.running = 0


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it at the fork
    _lock = threading.RLock()
    _idle.clear()


forks.after_in_child(_after_fork_in_child)
