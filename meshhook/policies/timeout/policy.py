"""timeout: let a call take so long and no longer.

A limit becomes the deadline of its call, so that whatever waits inside ends with it, and nested
limits take the earliest. How a call is stopped is up to its driver, see ``drivers`` and
``async_drivers``. A TimeoutError of meshhook means that one of its limits
ran out; one that the called code raises on its own account goes through untouched.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from meshhook import blocks, events, forks
from meshhook.deadline import BlockDeadline, current, in_force
from meshhook.errors import (
    ConfigurationError,
    NoTimeLeftError,
    RejectedError,
    TimeoutError,
)
from meshhook.policies.timeout import async_drivers, drivers
from meshhook.policies.timeout.settings import (
    ASYNC_MODES,
    HAS_SIGNALS,
    TimeoutSettings,
)
from meshhook.policies.timeout.stats import Tally, TimeoutStats
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.runtime.timer import Entry, Timers
from meshhook.runtime.workers import Abandoned
from meshhook.wording import short

P = ParamSpec("P")
R = TypeVar("R")

_DRIVERS: dict[str, Callable[..., Callable[..., Any]]] = {
    "thread": drivers.threaded,
    "signal": drivers.signalled,
    "interrupt": drivers.interrupted,
    "process": drivers.in_process,
    "cooperative": drivers.cooperative,
}


def _driver(mode: str) -> Callable[..., Callable[..., Any]]:
    """Return what makes the sync driver of ``mode``."""
    if mode != "auto":
        return _DRIVERS[mode]
    return partial(drivers.signalled, or_threaded=True) if HAS_SIGNALS else drivers.threaded


class _Block(NamedTuple):
    """What is known of a ``with`` block until it ends."""

    began: float
    latest: BlockDeadline
    limit: float
    entry: Entry | None


class Timeout(Policy):
    """A limit on the time of calls. Made by :func:`meshhook.timeout`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "timeout"
    settings: TimeoutSettings

    def __init__(self, settings: TimeoutSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self.timers = Timers()
        self.abandoned = Abandoned()

    def renew_locks(self) -> None:
        """Make the lock anew in a forked child, where no abandoned call goes on."""
        self.abandoned.start_anew()

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver of the mode."""
        self._refuse_per_item(self.default_name(fn))
        return _driver(self.settings.mode)(self, call, fn)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        mode = self.settings.mode
        if mode == "process":
            raise ConfigurationError(
                f"mode='process' cannot limit the generator function {self.default_name(fn)}: a "
                "generator cannot be in two processes; leave mode out, or use mode='interrupt'"
            )
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.timeout import stream_drivers

        return stream_drivers.stream(self, _driver(mode), call, fn)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        self._refuse_per_item(self.default_name(fn))
        driver: Callable[..., Awaitable[Any]] = self._async_driver(fn)(self, call, fn)
        return driver

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.timeout import stream_drivers

        return stream_drivers.stream_async(self, self._async_driver(fn), call, fn)

    def _async_driver(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        mode = self.settings.mode
        if mode not in ASYNC_MODES:
            raise ConfigurationError(
                f"mode={mode!r} cannot stop the async function {self.default_name(fn)}: a task is "
                "cancelled; leave mode out, or use mode='cooperative'"
            )
        return async_drivers.cooperative if mode == "cooperative" else async_drivers.cancelling

    def _refuse_per_item(self, subject: str) -> None:
        if self.settings.per_item is not None:
            raise ConfigurationError(
                f"per_item is for generator functions, and {subject} is none: say seconds= instead"
            )

    def refuse_process(self, call: Callable[..., Any], fn: Callable[..., Any]) -> None:
        """Raise if ``call`` cannot be made in another process, as far as can be told by now."""
        name = self.default_name(fn)
        if call is not fn and getattr(call, "__wrapped__", None) is not fn:
            raise ConfigurationError(
                f"mode='process' finds {name} by name and calls it in another process, without the "
                "policies below this one; put the timeout right above a plain function, below the "
                "other policies"
            )
        if "<" in name:
            raise ConfigurationError(
                f"mode='process' needs a function that another process can import, got {name}; "
                "define it at the top of a module, or use mode='thread'"
            )

    def latest_within(self, fn: Any, latest: float, outer: float) -> float:
        """Return when a call ends at the latest: by its own limit, or by a deadline outside."""
        outer_latest = in_force(outer)
        if outer_latest is None or outer_latest >= latest:
            return latest
        if outer_latest <= time.monotonic():
            raise self.no_time_left(fn)
        return outer_latest

    def no_time_left(self, fn: Any) -> NoTimeLeftError:
        """Refuse a call whose outer deadline had passed before it began."""
        self._reject("deadline")
        text = (
            f"{self._subject(fn)} was not started: an outer deadline has passed; "
            "give it more time or less to do"
        )
        return NoTimeLeftError(self.settings.message or text, name=self.name)

    def expired(
        self, fn: Any, began: float, latest: float, limit: float, *, abandoned: bool = False
    ) -> TimeoutError:
        """Count a call that ran out of time, and build its error.

        ``limit`` is the one that it began with: the settings may have changed since.
        """
        text = "did not end within "
        if latest < began + limit:
            left = latest - began
            text += f"{short(left)} s, all that an outer deadline left of its {short(limit)} s"
            limit = left
        else:
            text += f"{short(limit)} s"
        return self.ran_out(fn, text, limit, abandoned=abandoned)

    def ran_out(self, fn: Any, what: str, limit: float, *, abandoned: bool) -> TimeoutError:
        """Count what ran out of time, and build the error that says ``what`` it did not do."""
        advice = (
            "it goes on running in its thread" if abandoned else "give it more time or less to do"
        )
        self._count_timeout(limit, abandoned=abandoned)
        text = self.settings.message or f"{self._subject(fn)} {what}; {advice}"
        return TimeoutError(text, name=self.name, timeout=limit)

    def _count_timeout(self, limit: float, *, abandoned: bool = False) -> None:
        self.tally.timed_out += 1
        if events.wanted(events.CallTimedOut):
            events.emit(
                events.CallTimedOut(
                    policy=self.kind, name=self.name, timeout=limit, abandoned=abandoned
                )
            )

    def _subject(self, fn: Any) -> str:
        called = "the block" if fn is None else self.default_name(fn)
        is_own_name = self.name.partition("#")[0] == called
        return self.name if is_own_name else f"timeout {self.name!r}: {called}"

    def too_many_abandoned(self, fn: Any) -> RejectedError:
        """Refuse a call because too many others were given up, and still run."""
        self._reject("abandoned")
        return RejectedError(
            f"{self._subject(fn)} was not started: {self.abandoned.running} calls that ran out of "
            "time are still running; make the calls end on their own, or raise max_abandoned="
            f"{self.settings.max_abandoned}",
            name=self.name,
            policy=self.kind,
        )

    def _reject(self, reason: str) -> None:
        self.tally.rejected += 1
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(
                    policy=self.kind, name=self.name, reason=reason, retry_after=None
                )
            )

    def no_signal(self, fn: Any) -> ConfigurationError:
        """Build the error for mode="signal" where there can be none."""
        return ConfigurationError(
            f"{self._subject(fn)} has mode='signal', which works in the main thread only, and not "
            "over a handler of SIGALRM that Python did not install; use mode='auto' or 'thread'"
        )

    def on_late_end(self, latest: float) -> Callable[[], None]:
        """Return what is to be done when a call that was given up ends after all."""

        def ended() -> None:
            self.abandoned.ended()
            if events.wanted(events.AbandonedCallEnded):
                late = max(0.0, time.monotonic() - latest)
                events.emit(events.AbandonedCallEnded(policy=self.kind, name=self.name, late=late))

        return ended

    def count_error(self, exc: BaseException) -> None:
        """Count a call that raised something of its own."""
        if isinstance(exc, Exception):
            self.tally.failures += 1
        else:
            self.tally.ignored += 1

    def count_cooperative_error(
        self, exc: BaseException, began: float, latest: float, limit: float
    ) -> None:
        """Count a call that raised something; the function may have seen to the deadline itself."""
        if isinstance(exc, TimeoutError) and time.monotonic() >= latest:
            self._count_timeout(min(latest - began, limit))
        else:
            self.count_error(exc)

    async def __aenter__(self) -> Self:
        mode = self.settings.mode
        if mode not in ASYNC_MODES:
            raise TypeError(f"`async with` cancels a task, so leave mode={mode!r} out")
        self._enter(is_cancelling=mode == "auto")
        return self

    async def __aexit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        self._leave(exc)

    def __enter__(self) -> Self:
        mode = self.settings.mode
        if mode != "cooperative":
            raise TypeError(
                f"`with` cannot stop a block in mode={mode!r}: use `async with`, decorate a "
                "function, use policy.call(fn), or mode='cooperative'"
            )
        self._enter(is_cancelling=False)
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        self._leave(exc)

    def _enter(self, *, is_cancelling: bool) -> None:
        self._refuse_per_item("a block")
        self._take_name()
        began, limit = time.monotonic(), self.settings.seconds
        latest = began + limit
        outer = current.get()
        if outer is not None and outer < latest:
            latest = self.latest_within(None, latest, outer)
        entry = self.timers.start(began, latest) if is_cancelling else None
        blocks.enter(self, _Block(began, BlockDeadline.begin(latest), limit, entry))

    def _leave(self, exc: BaseException | None) -> None:
        block: _Block = blocks.leave(self)
        block.latest.end()
        has_expired = block.entry is not None and block.entry.end()
        if has_expired and isinstance(exc, asyncio.CancelledError):
            raise self.expired(None, block.began, block.latest, block.limit) from exc
        if exc is None:
            self.tally.successes += 1
        elif block.entry is None:
            self.count_cooperative_error(exc, block.began, block.latest, block.limit)
        else:
            self.count_error(exc)

    def _take_name(self) -> None:
        """Go by the name of the kind, and stay out of the registry: such limits come and go."""
        if self._name is None:
            self._name = self.kind
            forks.enrol(self)

    def stats(self) -> TimeoutStats:
        """Return the counters, and how many abandoned calls are running now."""
        settings = self.settings
        return TimeoutStats(
            policy=self.kind,
            name=self.name,
            seconds=None if settings.seconds == math.inf else settings.seconds,
            per_item=settings.per_item,
            mode=settings.mode,
            abandoned=self.abandoned.running,
            abandoned_total=self.abandoned.total,
            max_abandoned=settings.max_abandoned,
            **self.tally.read(),
        )

    def longest(self, inner: float) -> float:
        """Return the limit, if it is one that is kept: a cooperative call may take longer."""
        if self.settings.mode == "cooperative":
            return inner
        return min(inner, self.settings.seconds)

    def describe(self) -> str:
        """Return kind, name, limit and mode."""
        seconds, per_item = self.settings.seconds, self.settings.per_item
        limits = [] if seconds == math.inf else [f"{short(seconds)} s"]
        limits += [] if per_item is None else [f"{short(per_item)} s per item"]
        return f"timeout({self.name!r}, {', '.join(limits)}, {self.settings.mode})"
