"""The drivers of a timeout for streams: each step to the next item is a call with a limit.

A step is limited by what limits a call, in every mode but ``process``. Between two steps no limit
is in force and no deadline is set: that time belongs to the consumer, and does not count either.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from meshhook.deadline import current as deadline
from meshhook.deadline import in_force
from meshhook.errors import TimeoutError
from meshhook.events import logger
from meshhook.policies.timeout.stats import Tally
from meshhook.runtime.streams import Ended, Visit, async_driver, driver
from meshhook.runtime.timer import Timers
from meshhook.runtime.workers import Abandoned, Job
from meshhook.wording import short

if TYPE_CHECKING:
    from meshhook.policies.timeout.policy import Timeout

Call: TypeAlias = Callable[..., Any]
Make: TypeAlias = Callable[[Any, Call, Any], Call]
"""Makes the driver of calls that keeps the limit of a step."""


class _StepSettings(NamedTuple):
    """What the drivers of calls read. Whoever has begun may go on, however many are abandoned."""

    seconds: float
    max_abandoned: float = math.inf


def stream(policy: Timeout, make: Make, call: Call, fn: Any) -> Call:
    """Limit the steps of a generator function."""

    def begin(_args: Any, _kwargs: dict[str, Any]) -> Visit:
        if policy.abandoned.running >= policy.settings.max_abandoned:
            raise policy.too_many_abandoned(fn)
        steps = Steps(policy, fn, None)
        limited = make(steps, steps.go_on, fn)
        return Visit(steps.end, step=partial(steps.step, limited), shut=steps.shut)

    return driver(begin, call)


def stream_async(policy: Timeout, make: Make, call: Call, fn: Any) -> Call:
    """Limit the steps of an async generator function."""
    timers = Timers()

    async def begin(_args: Any, _kwargs: dict[str, Any]) -> Visit:
        steps = Steps(policy, fn, timers)
        limited = make(steps, _go_on, fn)
        return Visit(steps.end, step=partial(steps.step_async, limited))

    return async_driver(begin, call)


async def _go_on(method: Call, value: Any) -> Any:
    return await method(value)


class Steps:
    """The time of one stream. To the drivers of calls it is the timeout that they work for."""

    __slots__ = (
        "_caller",
        "_has_begun",
        "_is_counted",
        "_latest",
        "_left",
        "_limits",
        "_policy",
        "abandoned",
        "fn",
        "settings",
        "tally",
        "timers",
    )

    def __init__(self, policy: Timeout, fn: Any, timers: Timers | None) -> None:
        self._policy = policy
        self._limits = limits = policy.settings  # which may change while the stream runs
        self.fn = fn
        self._left = limits.seconds
        self._latest = math.inf  # when all of that is used up, if this step goes on until then
        self._has_begun = False
        self._is_counted = False
        self._caller = 0
        self.settings = _StepSettings(limits.per_item or limits.seconds)
        self.tally = Tally()  # of steps, which nobody asks for
        self.timers = timers
        self.abandoned = _Worker(policy.abandoned)

    def step(self, limited: Call, method: Call, value: Any) -> Any:
        """Go on to the next item within the limits."""
        began = self._begin()
        self._caller = get_ident()
        self.abandoned.inner = method.__self__  # type: ignore[attr-defined]
        token = deadline.set(self._deadline())
        try:
            return limited(method, value)
        finally:
            deadline.reset(token)
            self._has_begun = True
            self._left -= max(0.0, time.monotonic() - began)

    async def step_async(self, limited: Call, method: Call, value: Any) -> Any:
        """Go on to the next item within the limits, async."""
        began = self._begin()
        token = deadline.set(self._deadline())
        try:
            return await limited(method, value)
        finally:
            # What nobody runs any more is closed in a context that is not its own.
            with contextlib.suppress(ValueError):
                deadline.reset(token)
            self._has_begun = True
            self._left -= max(0.0, time.monotonic() - began)

    def _begin(self) -> float:
        began = time.monotonic()
        self._latest = began + self._left
        if self._left <= 0:
            raise self.expired(self.fn, began, self._latest, self._limits.seconds)
        return began

    def _deadline(self) -> float | None:
        """Return the deadline of the step but for its own limit, which its driver sees to."""
        outer = in_force(deadline.get())
        latest = self._latest if outer is None else min(outer, self._latest)
        return None if latest == math.inf else latest

    def go_on(self, method: Call, value: Any) -> Any:
        """Make a step; in a worker, in the context of the stream, the same for all of its steps."""
        worker = self.abandoned
        if worker.context is None:
            if self._caller == get_ident():
                return method(value)
            worker.context = copy_context()
        return worker.context.run(_with_deadline, deadline.get(), method, value)

    def shut(self, inner: Any) -> None:
        """Close the generator where its steps were made, unless one of them is running on."""
        if not self.abandoned.has_it:
            self.abandoned.close(inner)

    def end(self, how: Ended) -> None:
        """Count the stream, unless it has run out of time."""
        if self._is_counted:
            return
        if how is None:
            self._policy.tally.successes += 1
        else:
            self._policy.count_error(how)

    def latest_within(self, fn: Any, latest: float, outer: float) -> float:
        """Return when a step ends at the latest, whose own limit is later than ``outer``."""
        now = time.monotonic()
        if outer > now:
            return outer
        if self._has_begun or outer >= self._latest:
            raise self.expired(fn, now, outer, self._limits.seconds)
        self._is_counted = True
        raise self._policy.no_time_left(fn)

    def expired(
        self, fn: Any, began: float, latest: float, _limit: float, *, abandoned: bool = False
    ) -> TimeoutError:
        """Count a stream that ran out of time, and build its error."""
        self._is_counted = True
        seconds, per_item = self._limits.seconds, self._limits.per_item
        if latest >= self._latest:
            limit, text = seconds, f"did not give all of its items within {short(seconds)} s"
        elif per_item is not None and latest >= began + per_item:
            limit, text = per_item, f"gave no item within {short(per_item)} s"
        else:
            limit = max(0.0, latest - began)
            text = f"gave no item within {short(limit)} s, all that an outer deadline left"
        return self._policy.ran_out(fn, text, limit, abandoned=abandoned)

    def on_late_end(self, latest: float) -> Callable[[], None]:
        """Return what is to be done when a step that was given up ends after all."""
        return self._policy.on_late_end(latest)

    def no_signal(self, fn: Any) -> Exception:
        """Build the error for mode="signal" where there can be none."""
        self._is_counted = True
        return self._policy.no_signal(fn)

    def count_error(self, exc: BaseException) -> None:
        """Leave it to the end of the stream."""

    def count_cooperative_error(
        self, exc: BaseException, began: float, latest: float, limit: float
    ) -> None:
        """Count a stream that has seen to its deadline itself; leave others to their end."""
        if isinstance(exc, TimeoutError) and time.monotonic() >= latest:
            self.expired(self.fn, began, latest, limit)


class _Worker:
    """What is made in worker threads of one stream. One step is given up at most, the last one."""

    __slots__ = ("_abandoned", "context", "has_it", "inner")

    running = 0

    def __init__(self, abandoned: Abandoned) -> None:
        self._abandoned = abandoned
        self.inner: Any = None
        self.context: Context | None = None
        self.has_it = False
        """Whether it was given up with the generator running."""

    def take(self, job: Job, on_end: Callable[[], object]) -> bool:
        """Give up a step, see :meth:`Abandoned.take`, and close the generator after it."""

        def ended() -> None:
            on_end()
            try:
                self.close(inner)
            except Exception:
                logger.exception("a stream that was given up failed when it was closed")

        inner = self.inner
        # Before it is known whether it runs, so that nobody else closes it in between.
        self.has_it = True
        self.has_it = self._abandoned.take(job, ended)
        return self.has_it

    def close(self, inner: Any) -> None:
        """Close the generator in the context of its steps."""
        if self.context is None:
            inner.close()
        else:
            self.context.run(inner.close)


def _with_deadline(latest: float | None, method: Call, value: Any) -> Any:
    token = deadline.set(latest)
    try:
        return method(value)
    finally:
        deadline.reset(token)
