"""bulkhead: let so many calls run at the same time and no more.

The slots are in :mod:`meshhook.runtime.slots`, and how one waits for them in ``waiting``. The rules
of adaptive limits are in :mod:`meshhook.rules.adaptive`; here they get a clock and a lock.
"""

from __future__ import annotations

import builtins
import math
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from meshhook import blocks, events, guard
from meshhook.changes import OF_KEYS
from meshhook.errors import BulkheadFullError, ConfigurationError
from meshhook.family import Family
from meshhook.judges import OUR_OWN
from meshhook.keys import compile_key
from meshhook.policies.bulkhead import drivers
from meshhook.policies.bulkhead.limits import slots
from meshhook.policies.bulkhead.place import Place
from meshhook.policies.bulkhead.settings import BulkheadSettings
from meshhook.policies.bulkhead.stats import BulkheadStats, Gone, summed
from meshhook.policies.bulkhead.waiting import obtain
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.protocol import Runtime
from meshhook.runtime.slots import Gauges, Turn
from meshhook.wording import short

P = ParamSpec("P")
R = TypeVar("R")


class Bulkhead(Policy):
    """Slots for calls, or with ``key=`` some for each key. Made by :func:`meshhook.bulkhead`.

    Safe to share between threads, tasks and event loops, all of them together.
    """

    kind = "bulkhead"
    fixed: ClassVar = {"key": OF_KEYS}
    settings: BulkheadSettings

    def __init__(self, settings: BulkheadSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.is_adaptive = settings.limit is not None
        self._limit = settings.max_concurrent  # what a new key begins with
        self._gone = Gone()  # replaced under the lock of the family
        self._family: Family[Place] | None = None
        if settings.key is not None:
            self._family = Family(
                self._make_place,
                Place.is_idle,
                settings.max_keys,
                welcome=self._welcome,
                farewell=self._say_farewell,
            )
        self._single: Place | None = None
        self._lock = threading.RLock()

    def renew_locks(self) -> None:
        """Begin anew in a forked child, where none of the running calls will end."""
        self._lock = threading.RLock()
        if self._family is not None:
            self._family.renew_locks()
        for place in self._places():
            place.renew_lock()
            place.slots.renew()

    def _places(self) -> list[Place]:
        """Return the places that there are by now. Takes no lock."""
        if self._family is not None:
            return self._family.members()
        return [] if self._single is None else [self._single]

    @property
    def _place(self) -> Place:
        """The place of a bulkhead without keys, made when first used: a pattern never uses it."""
        if self._single is None:
            made = self._make_place()
            with self._lock:
                self._single = self._single or made
                self._welcome(self._single)
        return self._single

    def _make_place(self) -> Place:
        return Place(self.settings, self._limit)

    def _welcome(self, place: Place) -> None:
        """Bring a new place up to what was set since it was made."""
        place.change(self.settings, self._limit)

    def _adapt(self, new: BulkheadSettings) -> Callable[[], object]:
        """Go by other numbers. Who has a slot keeps it, and who waits for one his place.

        A limit that was changed by hand stays, unless the one of the settings is another now.
        """
        old, self.settings = self.settings, new
        self.is_adaptive = new.limit is not None
        before = self._limit
        if (new.max_concurrent, new.limit) != (old.max_concurrent, old.limit):
            self._limit = new.max_concurrent
        limits = before, self._limit
        if self._family is None:
            with self._lock:
                place = self._single
            if place is not None:
                limits = place.change(new, self._limit)
        else:
            self._family.resize(new.max_keys)
            for place in self._family.all_members():
                place.change(new, self._limit)
        return lambda: self._tell(*limits, "settings")

    def _say_farewell(self, place: Place) -> None:
        """Keep what the slots of a key have counted that makes room for another."""
        self._gone = self._gone.and_one(place.tally.read(), place.slots.gauges().peak)
        place.gone_as = self._gone.number

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        family, key = self._family, self.settings.key
        if family is not None and key is not None:
            return drivers.keyed(self, family, compile_key(key, fn), call)
        if not guard.GIL_ENABLED:
            return drivers.careful(self, self._place, call)
        make = drivers.timed if self.is_adaptive else drivers.straight
        return make(self, self._place, call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        family, key = self._family, self.settings.key
        if family is not None and key is not None:
            return drivers.keyed_async(self, family, compile_key(key, fn), call)
        if not guard.GIL_ENABLED:
            return drivers.careful_async(self, self._place, call)
        make = drivers.timed_async if self.is_adaptive else drivers.straight_async
        return make(self, self._place, call)

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver of a generator function."""
        # Not before they are needed, to import less; as elsewhere.
        from meshhook.policies.bulkhead import stream_drivers

        return stream_drivers.stream(self, self._holds(fn), call)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver of an async generator function."""
        from meshhook.policies.bulkhead import stream_drivers

        return stream_drivers.stream_async(self, self._holds(fn), call)

    def _holds(self, fn: Callable[..., Any]) -> Callable[[Any, dict[str, Any]], Place]:
        """Return what finds the slots for a stream, and keeps them until they are let go."""
        family, key = self._family, self.settings.key
        if family is None or key is None:
            place = self._place
            return lambda _args, _kwargs: place
        key_of = compile_key(key, fn)
        return lambda args, kwargs: family.hold(key_of(args, kwargs))

    def let_go(self, place: Place) -> None:
        """Give back to the family the slots that a stream was found."""
        if self._family is not None:
            self._family.let_go(place)

    def refusal(self, place: Place, reason: str) -> BulkheadFullError:
        """Count a call that gets no slot, and build its error."""
        place.tally.rejected += 1
        name = self._name or self.name
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(policy=self.kind, name=name, reason=reason, retry_after=None)
            )
        return BulkheadFullError(
            name=name,
            reason=reason,
            max_concurrent=place.slots.limit,
            waiting=place.slots.waiting,
        )

    def would_block(self) -> RuntimeError:
        """Build the error for a sync call that would block an event loop to wait for a slot."""
        return RuntimeError(
            f"bulkhead {self.name!r} is full, and to wait for a slot here would block the event "
            "loop that runs in this thread: use the async form (an `async def` function, "
            "`await bulkhead.acall(fn)` or `async with bulkhead:`), or call the function in a "
            "thread"
        )

    def learn(self, place: Place, began: float) -> None:
        """Tell the adaptive limit of a call that returned."""
        changed = place.learn(began, time.monotonic())
        if changed is not None:
            self._tell(*changed, "adaptive")

    def learn_error(self, place: Place, began: float, exc: BaseException) -> None:
        """Tell the adaptive limit of a call that ran out of time.

        What other policies refused took no time of the service, and any other error may come sooner
        than an answer would: they say nothing about how many calls the service takes.
        """
        if isinstance(exc, builtins.TimeoutError) and not isinstance(exc, OUR_OWN):
            changed = place.learn(began, time.monotonic(), is_drop=True)
            if changed is not None:
                self._tell(*changed, "adaptive")

    def _tell(self, old: int, new: int, reason: str) -> None:
        if old != new and events.wanted(events.LimitChanged):
            events.emit(
                events.LimitChanged(
                    policy=self.kind, name=self.name, old=old, new=new, reason=reason
                )
            )

    def __enter__(self) -> Self:
        run_blocking(self._enter(BLOCKING, "with"))
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        self._leave(exc)

    async def __aenter__(self) -> Self:
        await self._enter(ASYNCIO, "async with")
        return self

    async def __aexit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        self._leave(exc)

    async def _enter(self, runtime: Runtime, use: str) -> None:
        if self._family is not None:
            raise TypeError(
                f"bulkhead {self.name!r} has slots per key, so `{use}` cannot tell which are "
                "meant: decorate a function, or use a bulkhead without key="
            )
        self._take_name()
        place, turn = self._place, Turn()
        try:
            await obtain(self, place, turn, runtime)
            place.tally.admitted += 1
            blocks.enter(self, (turn, time.monotonic()))
        except BaseException:
            place.slots.give_back(turn)
            raise

    def _leave(self, exc: BaseException | None) -> None:
        turn, began = blocks.leave(self)
        place = self._place
        try:
            if exc is None:
                self.learn(place, began)
            else:
                self.learn_error(place, began, exc)
        finally:
            place.slots.give_back(turn)

    def resize(self, max_concurrent: int) -> None:
        """Change how many calls may run at a time, at once and without waiting.

        Calls that run above a lower limit run on, and no other begins until they are below it. With
        ``key=`` this is about all keys.
        """
        slots("max_concurrent", max_concurrent)
        _ = self.name  # which raises for a bulkhead without slots of its own
        if self.is_adaptive:
            raise ConfigurationError(
                f"bulkhead {self.name!r} has an adaptive limit, which would undo the change: "
                "bound it by min= and max= of its limit"
            )
        # First, so that new keys begin with this limit as well.
        old, self._limit = self._limit, max_concurrent
        for place in self._all_places():
            place.resize(max_concurrent)
        self._tell(old, max_concurrent, "resized")

    def reset(self) -> None:
        """Go back to the limit that was set; calls that run keep their slots."""
        _ = self.name
        old, self._limit = self._limit, self.settings.max_concurrent
        for place in self._all_places():
            place.restart(self.settings)
        self._tell(old, self._limit, "reset")

    def _all_places(self) -> list[Place]:
        return [self._place] if self._family is None else self._family.all_members()

    def stats(self, key: Hashable = None) -> BulkheadStats:
        """Return the counters and gauges; with ``key``, of the slots of that key alone."""
        if self._family is not None and key is None:
            return self._family_stats(self._family)
        place: Place | None = self._place
        if self._family is not None:
            place = self._family.find(key)
        elif key is not None:
            raise TypeError(f"bulkhead {self.name!r} has no key=, so there is none for {key!r}")
        if place is None:
            raise KeyError(f"bulkhead {self.name!r} has seen no call with key {key!r}")
        gauges = place.slots.gauges()
        return BulkheadStats(
            policy=self.kind,
            name=self.name,
            max_concurrent=gauges.limit,
            in_use=gauges.in_use,
            waiting=gauges.waiting,
            peak=gauges.peak,
            max_queue=self._queue(gauges.limit),
            full=int(self._is_full(gauges)),
            **place.tally.read(),
        )

    def _family_stats(self, family: Family[Place]) -> BulkheadStats:
        # In this order: who has left since is among the members and not among the gone.
        members, gone = family.members(), self._gone
        places = [each for each in members if each.gone_as is None or each.gone_as > gone.number]
        gauges = [place.slots.gauges() for place in places]
        return BulkheadStats(
            policy=self.kind,
            name=self.name,
            max_concurrent=max((each.limit for each in gauges), default=self._limit),
            in_use=sum(each.in_use for each in gauges),
            waiting=sum(each.waiting for each in gauges),
            peak=max((each.peak for each in gauges), default=0) or gone.peak,
            keys=len(places),
            evicted=gone.number,
            max_queue=self._queue(max((each.limit for each in gauges), default=self._limit)),
            full=sum(map(self._is_full, gauges)),
            **summed((place.tally for place in places), gone),
        )

    def _queue(self, limit: int) -> int:
        """Return how many calls may wait for one of so many slots."""
        if not self.settings.waits:
            return 0
        most = self.settings.max_queue
        return limit if most is None else most

    def _is_full(self, gauges: Gauges) -> bool:
        """Tell whether the next call would be refused."""
        return gauges.in_use >= gauges.limit and gauges.waiting >= self._queue(gauges.limit)

    def longest(self, inner: float) -> float:
        """Return what the inside takes, and the longest wait for a slot."""
        return inner + self.settings.max_wait

    def describe(self) -> str:
        """Return kind, name, limit and how long a call may wait."""
        settings = self.settings
        limit: Any = settings.limit or f"{settings.max_concurrent} at a time"
        if settings.limit is not None:
            limit = f"{type(limit).__name__} from {limit.min} to {limit.max}"
        if not settings.waits:
            return f"bulkhead({self.name!r}, {limit})"
        longest = settings.max_wait
        wait = "without limit" if longest == math.inf else f"up to {short(longest)} s"
        return f"bulkhead({self.name!r}, {limit}, waits {wait})"
