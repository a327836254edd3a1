"""Asking many at the same time, in threads of a bounded number, for a bounded time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from meshhook import forks


class NotInTimeError(Exception):
    """No answer was there in time. ``asked``: the question was at least put."""

    def __init__(self, *, asked: bool) -> None:
        super().__init__(asked)
        self.asked = asked


class Asking:
    """Puts questions that may block, and waits for all answers together. Safe to share.

    Who does not answer in time is left behind with the thread that asks, and is not asked again
    before that has ended; so there are never more than ``most`` threads, whatever they hang in.
    They are daemons, there only while there is something to ask.
    """

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self.renew_locks()
        forks.enrol(self)

    def renew_locks(self) -> None:
        """Begin anew, in a forked child: the threads have stayed behind."""
        # Reentrant: a signal handler may interrupt us in it, and ask.
        self._lock = threading.RLock()
        self._threads = 0
        self._open: dict[Any, Future[Any]] = {}
        self._queue: deque[tuple[Any, Callable[[], Any], Future[Any]]] = deque()

    def all(self, questions: Mapping[Any, Callable[[], Any]], seconds: float) -> dict[Any, Any]:
        """Put all questions, the first ones first; return each answer, or the error instead."""
        end = time.monotonic() + seconds
        with self._lock:
            futures = {key: self._put(key, ask) for key, ask in questions.items()}
            fresh = min(len(self._queue), self.most - self._threads)
            self._threads += fresh
        for _ in range(fresh):
            self._start()
        wait(futures.values(), max(0.0, end - time.monotonic()))
        with self._lock:
            self._withdraw(set(futures.values()))
        return {key: _answer(future) for key, future in futures.items()}

    def _put(self, key: Any, ask: Callable[[], Any]) -> Future[Any]:
        """Put a question, unless it is open still: then wait for that answer. Under the lock."""
        future = self._open.get(key)
        if future is None:
            future = self._open[key] = Future()
            self._queue.append((key, ask, future))
        return future

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name="meshhook-asking", daemon=True).start()
        except RuntimeError:
            # There is no thread to be had: what is in the queue is taken by the others, or not.
            with self._lock:
                self._threads -= 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                key, ask, future = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                self._ask(key, ask, future)

    def _ask(self, key: Any, ask: Callable[[], Any], future: Future[Any]) -> None:
        try:
            answer, error = ask(), None
        except BaseException as raised:
            answer, error = None, raised
        with self._lock:
            self._open.pop(key, None)
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def _withdraw(self, futures: set[Future[Any]]) -> None:
        """Take back what nobody has begun to ask. Under the lock."""
        gone = {future for future in futures if future.cancel()}
        if gone:
            self._queue = deque(each for each in self._queue if each[2] not in gone)
            self._open = {key: future for key, future in self._open.items() if future not in gone}


def _answer(future: Future[Any]) -> Any:
    if not future.done():
        return NotInTimeError(asked=True)
    try:
        return future.exception() or future.result()
    except CancelledError:
        return NotInTimeError(asked=False)
