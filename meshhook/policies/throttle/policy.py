"""throttle: send an overloaded service only a little more than it accepts.

The rule is in :mod:`meshhook.rules.throttling`; here it gets a lock, a clock, random numbers, a
name and drivers. While the service accepts enough, a call takes no lock and draws no random number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, ClassVar

from meshhook import events, guard
from meshhook.changes import OF_KEYS, nothing_to_tell
from meshhook.dice import dice
from meshhook.errors import ThrottledError
from meshhook.events import logger
from meshhook.family import Family
from meshhook.judges import OUR_OWN, matches, names_our_own
from meshhook.keys import compile_key
from meshhook.policies.throttle import drivers
from meshhook.policies.throttle.channel import Channel, Gone
from meshhook.policies.throttle.settings import ThrottleSettings
from meshhook.policies.throttle.stats import ThrottleStats
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.wording import short


class Throttle(Policy):
    """Drops calls that would be refused anyway. Made by :func:`meshhook.throttle`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "throttle"
    fixed: ClassVar = {"key": OF_KEYS}
    settings: ThrottleSettings

    def __init__(self, settings: ThrottleSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self._draw = dice(settings.seed)
        self._gone = Gone()  # replaced under the lock of the family
        self._family: Family[Channel] | None = None
        if settings.key is not None:
            self._family = Family(
                self._make,
                self._is_idle,
                settings.max_keys,
                welcome=self._bring_up_to_date,
                farewell=self._say_farewell,
            )
        self._single: Channel | None = None
        self.renew_locks()

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child."""
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self._lock = threading.RLock()
        if self._family is not None:
            self._family.renew_locks()

    def _make(self) -> Channel:
        settings = self.settings
        return Channel(
            settings.k,
            settings.window,
            settings.minimum_calls,
            settings.max_rejection,
            now=time.monotonic(),
        )

    @property
    def _channel(self) -> Channel:
        """The channel of a throttle without keys, made when first used: a pattern never uses it."""
        if self._single is None:
            made = self._make()
            with self._lock:
                self._single = self._single or made
                self._bring_up_to_date(self._single)
        return self._single

    def _bring_up_to_date(self, channel: Channel) -> None:
        """Have a channel go by the settings that there are by now."""
        settings = self.settings
        channel.change(
            settings.k,
            settings.window,
            settings.minimum_calls,
            settings.max_rejection,
            now=time.monotonic(),
        )

    def _adapt(self, new: ThrottleSettings) -> Callable[[], object]:
        """Go by other numbers, and by what is known of the time that counts now."""
        if new.seed != self.settings.seed:
            self._draw = dice(new.seed)
        self.settings = new
        channels = [] if self._single is None else [self._single]
        if self._family is not None:
            self._family.resize(new.max_keys)
            channels = self._family.all_members()
        for channel in channels:
            with self._lock:
                self._bring_up_to_date(channel)
        return nothing_to_tell

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        if self._family is None and guard.GIL_ENABLED:
            return drivers.straight(self, self._channel, call)
        return drivers.locked(self, self._hold(fn), call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        if self._family is None and guard.GIL_ENABLED:
            return drivers.straight_async(self, self._channel, call)
        return drivers.locked_async(self, self._hold(fn), call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.throttle import stream_drivers

        return stream_drivers.stream(self, self._hold(fn), call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.throttle import stream_drivers

        return stream_drivers.stream_async(self, self._hold(fn), call)

    def _hold(self, fn: Callable[..., Any]) -> drivers.Hold:
        family, key = self._family, self.settings.key
        if family is None or key is None:
            channel = self._channel
            return lambda _args, _kwargs: channel
        key_of = compile_key(key, fn)
        return lambda args, kwargs: family.hold(key_of(args, kwargs))

    def let_go(self, channel: Channel) -> None:
        """Give back what was held for a call."""
        if self._family is not None:
            self._family.let_go(channel)

    def begin(self, channel: Channel) -> None:
        """Count a call that begins; raise ThrottledError if it is dropped."""
        with self._lock:
            channel.advance(time.monotonic())
            channel.requests += 1
            is_troubled = channel.is_troubled
        if is_troubled:
            self.drop_some(channel)

    def roll(self, channel: Channel) -> None:
        """Forget what has left the window."""
        with self._lock:
            channel.advance(time.monotonic())

    def drop_some(self, channel: Channel) -> None:
        """Raise ThrottledError for a share of the calls that begin while there is trouble."""
        with self._lock:
            chance = channel.chance(time.monotonic())
            if chance == 0 or self._draw() >= chance:
                return
            channel.refuse()
            channel.rejected += 1
        name = self._name or self.name
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(
                    policy=self.kind, name=name, reason="throttled", retry_after=None
                )
            )
        raise ThrottledError(name=name, chance=chance)

    def accept(self, channel: Channel) -> None:
        """Count a call that the service has taken."""
        with self._lock:
            channel.advance(time.monotonic())
            channel.accepted += 1

    def settle_error(self, channel: Channel, exc: BaseException) -> None:
        """Judge what a call raised: not accepted, accepted, or nothing to do with either."""
        refused = self._is_refusal(exc)
        with self._lock:
            channel.advance(time.monotonic())
            if refused is None:
                channel.requests -= 1
                channel.ignored += 1
            elif refused:
                channel.refuse()
                channel.failures += 1
            else:
                channel.accepted += 1
        if refused and events.wanted(events.CallFailed):
            events.emit(
                events.CallFailed(policy=self.kind, name=self.name, error=type(exc).__qualname__)
            )

    def _is_refusal(self, exc: BaseException) -> bool | None:
        """Tell whether ``exc`` counts as not accepted; None if it says nothing of the service."""
        on = self.settings.on
        if not isinstance(exc, Exception):
            return None
        if matches(OUR_OWN, exc, all) and not names_our_own(on):
            return None
        try:
            return matches(on, exc, any)
        except Exception:
            logger.exception("on of throttle %r failed", self._name)
            return True

    def _is_idle(self, channel: Channel) -> bool:
        """Tell whether nobody would miss what is known of a key: nothing of it is dropped."""
        with self._lock:
            return channel.chance(time.monotonic()) == 0

    def _say_farewell(self, channel: Channel) -> None:
        self._gone = self._gone.and_also(channel)

    def reset(self) -> None:
        """Forget the window; counters since the start are kept."""
        _ = self.name  # which raises for a throttle without a state of its own
        channels = [self._channel] if self._family is None else self._family.all_members()
        with self._lock:
            for channel in channels:
                channel.forget(time.monotonic())

    def stats(self, key: Hashable = None) -> ThrottleStats:
        """Return the counters, the window and the chance; with ``key``, of that key alone."""
        gone = Gone()
        if self._family is None:
            if key is not None:
                raise TypeError(f"throttle {self.name!r} has no key=, so there is none for {key!r}")
            channels = [self._channel]
        elif key is None:
            # In this order: who has left since is among the members and not among the gone.
            members, gone = self._family.members(), self._gone
            channels = [
                each for each in members if each.gone_as is None or each.gone_as > gone.number
            ]
        else:
            found = self._family.find(key)
            if found is None:
                raise KeyError(f"throttle {self.name!r} has seen no call with key {key!r}")
            channels = [found]
        return self._stats(channels, gone)

    def _stats(self, channels: list[Channel], gone: Gone) -> ThrottleStats:
        now = time.monotonic()
        requests = accepted = 0
        chances = []
        for channel in channels:
            with self._lock:
                chances.append(channel.chance(now))
                totals = channel.totals()
            requests += totals[0]
            accepted += totals[1]
        since_start = gone.accepted + sum(each.accepted for each in channels)
        failures = gone.failures + sum(each.failures for each in channels)
        ignored = gone.ignored + sum(each.ignored for each in channels)
        return ThrottleStats(
            policy=self.kind,
            name=self.name,
            calls=since_start + failures + ignored,
            accepted=since_start,
            failures=failures,
            ignored=ignored,
            rejected=gone.rejected + sum(each.rejected for each in channels),
            window_requests=requests,
            window_accepted=accepted,
            chance=max(chances, default=0.0),
            evicted=gone.number,
            lowest_chance=min(chances, default=0.0),
        )

    def describe(self) -> str:
        """Return kind, name, and how much is sent of what is accepted."""
        settings = self.settings
        return f"throttle({self.name!r}, k={settings.k:.3g}, {short(settings.window)} s)"
