"""The lane: the one thread of a process that talks to a remote store.

Callers queue commands; the thread sends whatever is queued as one batch over one connection that
only it uses. So no client is bound to an event loop, and a caller that is cancelled breaks nothing.
The lane knows no command: a :class:`Wire` carries them, and a command only tells its ``size`` and
what would ``undo`` it.

Promises. Each command is answered, or fails with StoreUnavailableError, within the bound. One may
be sent twice, so it must be idempotent by a token of its caller. While the store keeps failing
nobody waits for it: callers fail at once, and the lane alone asks again, ever less often, down to
once a second. What a command took for a caller that is gone is given back, at the latest when the
store answers again. A forked child starts with an empty queue and a connection of its own; replies
from before the fork belong to the parent. All waiting is in real time, never in frozen time.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import queue
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from meshhook import forks
from meshhook.errors import StoreUnavailableError
from meshhook.stores.pending import Pending

BATCH = 200
"""The most commands of one batch."""
BATCH_BYTES = 256 * 1024
"""A batch that has reached this size takes no further command."""
_IDLE = 10.0
_FAILURES = 3
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0
_DRAIN = 1.0
_UNDONE = 1_000
_UNDO_AFTER = 0.05
_lanes: weakref.WeakSet[Lane] = weakref.WeakSet()


class NeverSentError(ConnectionError):
    """The connection failed before anything was sent, so nothing was executed."""


class Command(Protocol):
    """What a lane carries."""

    @property
    def size(self) -> int:
        """About how many bytes it takes to send."""

    def undo(self, answer: Any) -> Command | None:
        """Return what gives back the things taken; ``answer`` is None if it is not known."""


class Wire(Protocol):
    """A connection to a store, opened at first use. One thread uses it, but for ``interrupt``."""

    def exchange(self, commands: Sequence[Any], deadline: float) -> list[Any]:
        """Send the commands and return an answer, or a StoreError, for each.

        Raises ConnectionError, NeverSentError or TimeoutError. ``deadline`` is a moment of
        ``time.monotonic``.
        """

    def ping(self) -> None:
        """Raise what ``exchange`` would raise if the store cannot be used."""

    def drop(self) -> None:
        """Close the connection, if there is one; the next exchange opens another."""

    def interrupt(self) -> None:
        """Make an exchange that another thread is in end soon, with an error."""


class Lane:
    """Carry commands to one store. Safe to share between threads, tasks and event loops."""

    def __init__(
        self,
        name: str,
        make_wire: Callable[[], Wire],
        *,
        timeout: float,
        # Captured on purpose: a server does not freeze with the tests.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.bound = 4 * timeout
        self._make_wire = make_wire
        self._monotonic = monotonic
        self._closed = False
        self._make_anew()
        _lanes.add(self)

    def _make_anew(self) -> None:
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None  # guarded by _lock
        self._trouble = ""  # guarded by _lock; why callers fail at once, if they do
        self._closing = threading.Event()
        self._wire = self._make_wire()
        self._undone: deque[Command] = deque(maxlen=_UNDONE)
        self._failures = 0
        self._serving_since: float | None = None

    def submit(self, command: Command) -> Pending:
        """Queue a command and return its reply. Never waits, never raises."""
        pending = Pending(command, self.bound, self)
        with self._lock:
            trouble = "it is closed" if self._closed else self._trouble or self._start_locked()
            if not trouble:
                self._queue.put(pending)
        if trouble:
            pending.settle(error=self._unavailable(trouble))
        return pending

    def close(self) -> None:
        """Send what is queued, for at most a second, and let go of thread and connection."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._closing.set()
            self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_DRAIN)
        if thread is None or not thread.is_alive():
            self._wire.drop()
        else:
            self._wire.interrupt()
        self._fail_queued("it is closed")

    def overdue(self, pending: Pending) -> Exception:
        """Break a connection that dribbles on and on, and name the error for its victim."""
        since = self._serving_since
        if since is not None and self._monotonic() - since > 2 * self.timeout:
            self._wire.interrupt()
        return self._unavailable(f"it did not answer within {self.bound:g} s")

    def runs_here(self) -> bool:
        """Tell whether this is the thread of the lane."""
        return threading.current_thread() is self._thread

    def give_back(self, pending: Pending, answer: Any) -> None:
        """Send what undoes an answer that nobody will read."""
        undo = pending.command.undo(answer)
        if undo is not None:
            self.submit(undo)

    def _unavailable(self, trouble: object) -> StoreUnavailableError:
        return StoreUnavailableError(f"the store at {self.name} is unavailable: {trouble}")

    def _start_locked(self) -> str:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"meshhook {self.name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return str(error)
            self._thread = thread
        return ""

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                self._serve(batch)
        finally:
            if self._thread is threading.current_thread():  # so it is not for want of work
                self._wire.drop()
                with self._lock:
                    self._thread = None
                self._fail_queued("its thread has ended")

    def _take(self) -> list[Pending] | None:
        """Wait for commands; None when idle for long (then the thread ends) or closed."""
        try:
            pending = self._queue.get(timeout=_UNDO_AFTER if self._undone else _IDLE)
        except queue.Empty:
            with self._lock:
                if self._undone or not self._queue.empty():
                    return []
                self._thread = None
                return None
        batch: list[Pending] = []
        size = 0
        with contextlib.suppress(queue.Empty):
            while pending is not None:
                if not self._is_late(pending):
                    batch.append(pending)
                    size += pending.command.size
                if len(batch) >= BATCH or size >= BATCH_BYTES:
                    return batch
                pending = self._queue.get_nowait()
            if not batch:
                return None
            self._queue.put(None)  # closed: serve these first
        return batch

    def _is_late(self, pending: Pending) -> bool:
        if pending.abandoned or not pending.remaining():
            pending.settle(error=self._unavailable("too much is queued for it"))
            return True
        return False

    def _serve(self, batch: list[Pending]) -> None:
        undone = list(itertools.islice(self._undone, BATCH))
        commands = [*undone, *(pending.command for pending in batch)]
        if not commands:
            return
        self._serving_since = self._monotonic()
        try:
            answers = self._exchange(commands)
            if len(answers) != len(commands):
                raise ConnectionError("there are not as many answers as commands")  # noqa: TRY301
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            if self._failures >= _FAILURES:
                self._wait_for_recovery(str(error))
            return
        finally:
            self._serving_since = None
        self._failures = 0
        for _ in undone:
            self._undone.popleft()
        for pending, answer in zip(batch, answers[len(undone) :], strict=True):
            if isinstance(answer, Exception):
                pending.settle(error=answer)
            elif not pending.settle(answer):
                self.give_back(pending, answer)

    def _exchange(self, commands: list[Any]) -> list[Any]:
        deadline = self._monotonic() + self.timeout
        try:
            return self._wire.exchange(commands, deadline)
        except BaseException as error:
            self._wire.drop()
            if not self._deserves_another_try(error) or self._monotonic() >= deadline:
                raise
        try:
            return self._wire.exchange(commands, self._monotonic() + self.timeout)
        except NeverSentError as error:
            # The first time they were sent, so they may have been executed.
            raise ConnectionError(str(error)) from None
        except BaseException:
            self._wire.drop()
            raise

    def _deserves_another_try(self, error: BaseException) -> bool:
        """Tell whether the connection had been closed while idle, or lost its reply."""
        lost = isinstance(error, ConnectionError) and not isinstance(error, NeverSentError)
        return lost and not self._closing.is_set()

    def _fail(self, batch: list[Pending], error: BaseException) -> None:
        self._failures += 1
        for pending in batch:
            undo = None if isinstance(error, NeverSentError) else pending.command.undo(None)
            if undo is not None:
                self._undone.append(undo)
            pending.settle(error=self._unavailable(error))

    def _wait_for_recovery(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
        self._fail_queued(trouble)
        delay = _FIRST_DELAY
        while not self._closing.wait(delay * random.random()):  # noqa: S311 - spreads the load
            delay = min(2 * delay, _LONGEST_DELAY)
            try:
                self._wire.ping()
            except Exception:
                self._wire.drop()
                continue
            break
        with self._lock:
            self._trouble = ""

    def _fail_queued(self, trouble: str) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                pending = self._queue.get_nowait()
                if pending is None:
                    self._queue.put(None)
                    return
                pending.settle(error=self._unavailable(trouble))


def _start_anew() -> None:
    for lane in list(_lanes):
        lane._make_anew()


def _close_all() -> None:
    for lane in list(_lanes):
        lane.close()


forks.after_in_child(_start_anew)
atexit.register(_close_all)
