"""The attempts of a sync call: a worker thread each, with a copy of the context of the caller.

Nothing stops a thread. When the call has its answer, the attempts that are left run on until they
end by themselves; they are counted, and keep their places until then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from meshhook import guard
from meshhook.policies.hedge.race import Ended
from meshhook.runtime.workers import Job

if TYPE_CHECKING:
    from meshhook.policies.hedge.extras import Place
    from meshhook.policies.hedge.policy import Hedge

Calls = tuple[Callable[..., Any], ...]

# To wait for an attempt is to be in the function: a timeout around may interrupt it.
_get = guard.with_a_frame(SimpleQueue.get)


class Attempt(Job):
    """One attempt. It goes into ``line`` when it has ended, or is discarded if it was given up."""

    __slots__ = ("_place", "_policy", "line", "number")

    line: SimpleQueue[Attempt]
    number: int
    _policy: Hedge
    _place: Place | None

    def deliver(self) -> None:
        """Tell the caller."""
        line = self.line
        del self.line  # or, where nobody takes the attempt out, each would hold the other
        line.put(self)

    def end(self) -> Ended:
        """Return how it ended, once."""
        error, self._error = self._error, None
        return Ended(self.number, self._result, error)

    def run_on(self, policy: Hedge, place: Place) -> None:
        """Go on without anybody who waits, and keep the place until the end."""
        self._policy = policy
        self._place = place
        if self.is_handed_over and self.give_up():
            return
        if self.is_handed_over:
            self.end_alone()
        else:
            self._place = None

    def end_alone(self) -> None:
        """Discard the result that nobody waits for, and give the place back."""
        _, result, error = self.end()
        try:
            if error is None:
                self._policy.discard(result)
        finally:
            self._place = None


class Threads:
    """The attempts of one call."""

    __slots__ = ("_args", "_calls", "_kwargs", "_line", "_policy", "_running")

    def __init__(self, policy: Hedge, calls: Calls, args: Any, kwargs: dict[str, Any]) -> None:
        self._policy = policy
        self._calls = calls
        self._args = args
        self._kwargs = kwargs
        self._line: SimpleQueue[Attempt] = SimpleQueue()
        self._running: dict[int, Attempt] = {}

    def start(self, number: int) -> None:
        """Start an attempt."""
        job = Attempt(copy_context(), self._calls[number], self._args, self._kwargs)
        job.number = number
        job.line = self._line
        self._running[number] = job
        try:
            job.start()
        except Exception:
            del self._running[number]
            raise

    def running(self) -> int:
        """Return how many attempts have not been handed out by ``next``."""
        return len(self._running)

    async def next(self, seconds: float | None) -> Ended | None:
        """Wait for an attempt to end, at most so long. Blocks the thread, and never suspends."""
        timeout = None if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        try:
            job: Attempt = _get(self._line, timeout=timeout)
        except Empty:
            return None
        del self._running[job.number]
        return job.end()

    def leave(self, held: list[Place]) -> None:
        """Let what is still running run on."""
        places = self._policy.extras.leave(held, len(self._running))
        for job in self._running.values():
            job.run_on(self._policy, places.pop())
        self._running.clear()
