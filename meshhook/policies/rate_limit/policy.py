"""rate_limit: let so many calls start in a time and no more.

The rules are in :mod:`meshhook.rules`; ``limiter`` gives them a lock, a clock and a queue, and
``waiting`` tells how one stands in it. Each key has a limiter of its own, with its own lock.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any, ClassVar, Self

from meshhook import events, guard
from meshhook.changes import OF_KEYS, nothing_to_tell
from meshhook.deadline import current, in_force
from meshhook.errors import ConfigurationError, RateLimitedError
from meshhook.family import Family
from meshhook.keys import Callee, KeyOf, compile_key
from meshhook.policies.rate_limit import drivers
from meshhook.policies.rate_limit.limiter import SECOND, Limiter, Standing, Turn
from meshhook.policies.rate_limit.pausing import asked_for
from meshhook.policies.rate_limit.settings import RateLimitSettings, as_text, fits, parse_rates
from meshhook.policies.rate_limit.stats import RateLimitStats, Tally
from meshhook.policies.rate_limit.waiting import wait_for_turn
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.rules.gcra import Gcra
from meshhook.rules.rates import Rate
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.settings import Duration, count, duration, wrong
from meshhook.wording import short

_FOREVER = 10**18  # microseconds, 30,000 years


class RateLimit(Policy):
    """A limit on how many calls start, or one for each key. Made by :func:`meshhook.rate_limit`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "rate_limit"
    fixed: ClassVar = {"key": OF_KEYS}
    settings: RateLimitSettings

    def __init__(self, settings: RateLimitSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.tally = Tally()
        self._rates = settings.rates
        self._text = as_text(settings.rates)
        self._paused_until = 0.0
        self._max_wait = _longest_wait(settings)
        self._limiter = self._make_limiter()
        self._family: Family[Limiter] | None = None
        if settings.key is not None:
            self._family = Family(
                self._make_limiter, Limiter.is_idle, settings.max_keys, self._welcome
            )

    def renew_locks(self) -> None:
        """Make the locks anew in a forked child, where none of those who wait are."""
        if self._family is not None:
            self._family.renew_locks()
        for limiter in self._limiters():
            limiter.renew_lock()

    def _limiters(self) -> list[Limiter]:
        """Return the limits that there are by now. Takes no lock."""
        return [self._limiter] if self._family is None else self._family.members()

    def _make_limiter(self) -> Limiter:
        return Limiter(self.settings.rule, self._rates)

    def _welcome(self, limiter: Limiter) -> None:
        """Bring a limit that joins the family up to what was said since it was made."""
        rule, rates = self.settings.rule, self._rates
        if limiter.rates is not rates or limiter.algorithm is not rule:
            limiter.change(rule, rates)
        left = self._paused_until - time.monotonic()
        if left > 0:
            limiter.pause(_in_microseconds(left))

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        if self._is_straight():
            return drivers.straight(self, self._limiter, call)
        return drivers.asking(self, self._admission(fn), call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        if self._is_straight():
            return drivers.straight_async(self, self._limiter, call)
        return drivers.asking_async(self, self._admission_async(fn), call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.rate_limit import stream_drivers

        return stream_drivers.stream(self, self._admission(fn), call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.rate_limit import stream_drivers

        return stream_drivers.stream_async(self, self._admission_async(fn), call)

    def _is_straight(self) -> bool:
        """Tell whether a call may start without a lock."""
        return (
            self.settings.rule is Gcra
            and len(self._rates) == 1
            and self.settings.cost == 1
            and self._family is None
            and guard.GIL_ENABLED
        )

    def _admission(self, fn: Callable[..., Any]) -> drivers.Admit:
        """Return what starts a call of ``fn``, given its arguments, or raises."""
        find, cost_of = self._finder(fn), self._cost_of(fn)

        def admit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Limiter:
            cost = cost_of(args, kwargs)
            limiter = find(args, kwargs)
            try:
                self.admit(limiter, cost)
            finally:
                self._let_go(limiter)
            return limiter

        return admit

    def _admission_async(self, fn: Callable[..., Any]) -> drivers.AdmitAsync:
        """Return what starts a call of ``fn``, given its arguments, or raises; async."""
        find, cost_of = self._finder(fn), self._cost_of(fn)

        async def admit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Limiter:
            cost = cost_of(args, kwargs)
            limiter = find(args, kwargs)
            try:
                await self.admit_async(limiter, cost)
            finally:
                self._let_go(limiter)
            return limiter

        return admit

    def _finder(self, fn: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Limiter]:
        """Return what finds the limit of a call, and keeps it until it is let go."""
        family, key = self._family, self.settings.key
        if family is None or key is None:
            return lambda _args, _kwargs: self._limiter
        key_of = compile_key(key, fn)
        return lambda args, kwargs: family.hold(key_of(args, kwargs))

    def _let_go(self, limiter: Limiter) -> None:
        if self._family is not None:
            self._family.let_go(limiter)

    def _cost_of(self, fn: Callable[..., Any]) -> KeyOf:
        cost = self.settings.cost
        if not callable(cost):
            return lambda _args, _kwargs: cost
        compute = Callee(fn).compile_key(cost, "cost")
        return lambda args, kwargs: self._checked(compute(args, kwargs))

    def _checked(self, cost: Any) -> int:
        return fits("cost", count("cost", cost), self._rates)

    def admit(self, limiter: Limiter, cost: int) -> None:
        """Start a call now or after its wait, or raise RateLimitedError."""
        answer = limiter.ask(cost, self._max_wait, self._deadline())
        if isinstance(answer, Turn):
            run_blocking(wait_for_turn(self, limiter, answer, BLOCKING))
        elif answer is not None:
            raise self.refusal(answer)

    async def admit_async(self, limiter: Limiter, cost: int) -> None:
        """Start a call now or after its wait, or raise RateLimitedError; async."""
        answer = limiter.ask(cost, self._max_wait, self._deadline())
        if isinstance(answer, Turn):
            await wait_for_turn(self, limiter, answer, ASYNCIO)
        elif answer is not None:
            raise self.refusal(answer)

    def _deadline(self) -> float | None:
        return in_force(current.get()) if self._max_wait else None

    def refusal(self, standing: Standing) -> RateLimitedError:
        """Count a call that may not start, and build its error."""
        self.tally.rejected += 1
        name = self._name or self.name
        retry_after = standing.wait / SECOND
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(
                    policy=self.kind, name=name, reason="rate", retry_after=retry_after
                )
            )
        return RateLimitedError(
            name=name,
            retry_after=retry_after,
            limit=self._text,
            remaining=standing.remaining,
            reset_after=standing.reset_after / SECOND,
        )

    def has_waited(self, delay: float) -> None:
        """Count a call whose turn has come after a wait."""
        self.tally.waited += 1
        if events.wanted(events.CallDelayed):
            events.emit(events.CallDelayed(policy=self.kind, name=self.name, delay=delay))

    def would_block(self) -> RuntimeError:
        """Build the error for a sync call that would block an event loop to wait for its turn."""
        return RuntimeError(
            f"rate limit {self.name!r} is used up, and to wait for a turn here would block the "
            "event loop that runs in this thread: use the async form (an `async def` function, "
            "`await limit.acall(fn)` or `async with limit:`), or call the function in a thread"
        )

    def heed(self, limiter: Limiter, exc: Exception) -> None:
        """Pause the limit of a call that raised, if the error asks for that."""
        pause_on = self.settings.pause_on
        if pause_on is not None:
            seconds = asked_for(pause_on, self._name, exc)
            if seconds > 0:
                limiter.pause(_in_microseconds(seconds))

    def __enter__(self) -> Self:
        limiter, cost = self._of_a_block("with")
        self.admit(limiter, cost)
        self.tally.admitted += 1
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, Exception):
            self.heed(self._limiter, exc)

    async def __aenter__(self) -> Self:
        limiter, cost = self._of_a_block("async with")
        await self.admit_async(limiter, cost)
        self.tally.admitted += 1
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, exc, traceback)

    def _of_a_block(self, use: str) -> tuple[Limiter, int]:
        cost = self.settings.cost
        if self._family is not None or callable(cost):
            raise TypeError(
                f"rate limit {self.name!r} looks at arguments for its "
                f"{'key' if self._family is not None else 'cost'}, and `{use}` has none: decorate "
                "a function, or use try_acquire(cost, key=...)"
            )
        self._take_name()
        return self._limiter, cost

    def try_acquire(self, cost: int = 1, *, key: Hashable = None) -> bool:
        """Count a call of ``cost`` if it may start now, and tell whether it may. Never waits.

        Raises:
            ConfigurationError: when the cost is more than may ever start at once.
            TypeError: without ``key`` if there is a limit per key, or with it if there is none.
        """
        self._checked(cost)
        with self._held(key) as limiter:
            self._take_name()
            standing = limiter.ask(cost)
        if isinstance(standing, Standing):
            self.refusal(standing)
            return False
        self.tally.admitted += 1
        return True

    def remaining(self, *, key: Hashable = None) -> int:
        """Return the cost that could start at once; with ``key``, by the limit of that key."""
        return self._peek(1, key).remaining

    def retry_after(self, cost: int = 1, *, key: Hashable = None) -> float:
        """Return the seconds until a call of ``cost`` could start; 0 for at once."""
        return self._peek(self._checked(cost), key).wait / SECOND

    def reset_after(self, *, key: Hashable = None) -> float:
        """Return the seconds until nothing of what has started counts any more."""
        return self._peek(1, key).reset_after / SECOND

    def _peek(self, cost: int, key: Hashable) -> Standing:
        family = self._of_keys(key)
        limiter = self._limiter if family is None else family.find(key)
        if limiter is None:
            limiter = self._make_limiter()
            self._welcome(limiter)
        return limiter.peek(cost)

    @contextlib.contextmanager
    def _held(self, key: Hashable) -> Iterator[Limiter]:
        """Find the limit of ``key``, or the only one, and keep it for the block."""
        family = self._of_keys(key)
        limiter = self._limiter if family is None else family.hold(key)
        try:
            yield limiter
        finally:
            self._let_go(limiter)

    def _of_keys(self, key: Hashable) -> Family[Limiter] | None:
        if self._family is None and key is not None:
            raise TypeError(f"rate limit {self.name!r} has no key=, so there is none for {key!r}")
        if self._family is not None and key is None:
            raise TypeError(f"rate limit {self.name!r} has a limit per key: say which, with key=")
        return self._family

    def pause_for(self, seconds: Duration, *, key: Hashable = None) -> None:
        """Let no call start for so long, as after a 429; a longer pause goes on.

        With ``key``, by the limit of that key; without, by all of them, also those to come. A pause
        of ``"gcra"`` ends without a burst: one call starts, and others at the pace of the rate. Who
        waits already keeps his place, and is refused when his turn cannot come in time any more.
        """
        length = duration("seconds", seconds, zero=True)
        if key is not None:
            with self._held(key) as limiter:
                limiter.pause(_in_microseconds(length))
            return
        self._paused_until = max(self._paused_until, time.monotonic() + length)
        for limiter in self._all_limiters():
            limiter.pause(_in_microseconds(length))

    def pause_until(self, moment: float, *, key: Hashable = None) -> None:
        """Let no call start before ``moment``, a reading of ``time.monotonic()``: no date.

        It means something in this process only. For a date, :meth:`pause_for` what is left to it.
        """
        if isinstance(moment, bool) or not isinstance(moment, (int, float)):
            raise wrong("moment", moment, "a reading of time.monotonic()")
        self.pause_for(max(0.0, moment - time.monotonic()), key=key)

    def _all_limiters(self) -> list[Limiter]:
        return [self._limiter] if self._family is None else self._family.all_members()

    def change(
        self, rate: str | int, period: Duration | None = None, *, burst: int | None = None
    ) -> None:
        """Go on with another rate, given as to :func:`meshhook.rate_limit`, also for all keys.

        What has started counts on: a limit that was used up is so still, and with ``"gcra"`` what
        is owed is paid back at the new rate. Who waits keeps his place. Never waits for a call.

        Raises:
            ConfigurationError: when the rate is wrong or too low for the cost; nothing changes.
        """
        settings = self.settings
        rates = parse_rates(rate, period, burst, settings.algorithm)
        if not callable(settings.cost):
            fits("cost", settings.cost, rates)
        if len(rates) != len(self._rates):
            raise ConfigurationError(
                f"rate={rate!r} is not as many rates as {self._text!r}, so what has started cannot "
                "count on: give as many, or make another limit"
            )
        self._set_rates(rates)()

    def _set_rates(self, rates: tuple[Rate, ...]) -> Callable[[], None]:
        """Change all limits; return what tells of it."""
        old, self._rates, self._text = self._text, rates, as_text(rates)
        for limiter in self._all_limiters():
            limiter.change(self.settings.rule, rates)
        new = self._text

        def tell() -> None:
            if old != new and events.wanted(events.RateChanged):
                events.emit(events.RateChanged(policy=self.kind, name=self.name, old=old, new=new))

        return tell

    def _adapt(self, new: RateLimitSettings) -> Callable[[], object]:
        """Go by other rates; what has started counts on, and who waits keeps his place.

        A rate that was changed by hand stays, unless the one of the settings is another now.
        """
        old, self.settings = self.settings, new
        self._max_wait = _longest_wait(new)
        if self._family is not None:
            self._family.resize(new.max_keys)
        if (new.rates, new.algorithm) == (old.rates, old.algorithm):
            return nothing_to_tell
        return self._set_rates(new.rates)

    def reset(self) -> None:
        """Forget what has started, all pauses and :meth:`change`; counters are kept.

        Who waits keeps his place, and starts as soon as he may now.
        """
        self._paused_until = 0.0
        tell = self._set_rates(self.settings.rates)
        for limiter in self._all_limiters():
            limiter.reset()
        tell()

    def stats(self) -> RateLimitStats:
        """Return the counters, and how the limit stands; a family has as many as keys."""
        family, limiters = self._family, self._limiters()
        cost = self.settings.cost
        standing = None
        if family is None:
            standing = self._limiter.peek(1 if callable(cost) else cost)
        return RateLimitStats(
            policy=self.kind,
            name=self.name,
            limit=self._text,
            algorithm=self.settings.algorithm,
            waiting=sum(len(limiter.waiting) for limiter in limiters),
            remaining=None if standing is None else standing.remaining,
            retry_after=None if standing is None else standing.wait / SECOND,
            reset_after=None if standing is None else standing.reset_after / SECOND,
            keys=None if family is None else len(limiters),
            evicted=0 if family is None else family.evicted,
            **self.tally.read(),
        )

    def longest(self, inner: float) -> float:
        """Return what the call takes, and the longest wait before it."""
        return inner + self.settings.max_wait

    def describe(self) -> str:
        """Return kind, name, rate, and for how long calls wait."""
        settings = self.settings
        said = f"rate_limit({self.name!r}, {self._text}"
        if settings.algorithm != "gcra":
            said += f", {settings.algorithm}"
        if settings.max_wait == math.inf:
            said += ", waits"
        elif settings.max_wait:
            said += f", waits up to {short(settings.max_wait)} s"
        return f"{said})"


def _longest_wait(settings: RateLimitSettings) -> int:
    return round(min(settings.max_wait * SECOND, _FOREVER))


def _in_microseconds(seconds: float) -> int:
    return math.ceil(min(seconds * SECOND, _FOREVER))
