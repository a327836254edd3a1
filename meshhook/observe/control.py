"""Control: what an operator may do to a policy by hand, for good or for a time.

Each act is told as an :class:`~meshhook.events.OperatorActed` with its author, and so is the end of
its time. One act for a time is in force for a policy: the next one, of whatever kind, takes its
place. When the time is over the policy is what it was before, unless somebody has changed it in
between, in whatever way. It is held here and not by a :class:`Control`, so all of them see it.

One thread for all ends what is due. It is a daemon, there only while something is to end. It keeps
real time: a change of the date neither prolongs an act nor cuts it short, and nor does a clock that
a test has frozen. A forked child inherits what its parent's policies were set to, and ends it on
its own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from meshhook import events, forks
from meshhook.errors import ConfigurationError
from meshhook.policies.circuit_breaker import for_a_time
from meshhook.policies.circuit_breaker.for_a_time import ForATime
from meshhook.registry import Entry, Registry
from meshhook.reporting import Reporter
from meshhook.rules.phases import State
from meshhook.runtime.bell import Bell
from meshhook.settings import Duration, duration, printable, wrong

logger = Reporter(logging.getLogger("meshhook.control"))  # the thread has to go on

LONGEST = 7 * 86_400.0
"""Seconds that an act may last: who wants more than a week means for good."""
LONGEST_AUTHOR = 100

_OF_A_BREAKER: Final = ("force_open", "disable", "metrics_only", "reset", "isolate")
_STATES: Final = {
    "force_open": State.FORCED_OPEN,
    "disable": State.DISABLED,
    "metrics_only": State.METRICS_ONLY,
    "isolate": State.FORCED_OPEN,
}
"""The state that an action sets for a time."""


class _Act:
    """An act for a time: what it did to which policy, until when."""

    __slots__ = ("author", "kind", "name", "policy", "seconds", "until", "what")

    what: ForATime

    def __init__(self, policy: Entry, name: str, author: str, seconds: float) -> None:
        self.kind, self.name = policy.kind, name
        self.author = author
        self.seconds = seconds
        self.until = _now() + seconds
        # Nobody is kept alive by what was done to it.
        self.policy: weakref.ref[Any] = weakref.ref(policy)

    def begin(self, state: State) -> None:
        """Set the state."""
        policy = self.policy()
        if policy is not None:
            self.what = for_a_time.begin(policy, state)

    def is_in_force(self) -> bool:
        """Tell whether the policy is there, and nobody has changed it since."""
        policy = self.policy()
        return policy is not None and for_a_time.is_in_force(policy, self.what)

    def end(self) -> None:
        """Have the policy go back."""
        policy = self.policy()
        if policy is not None:
            for_a_time.end(policy, self.what)

    def expire(self) -> None:
        """End, and tell so, if it is still in force."""
        was_in_force = self.is_in_force()
        self.end()
        if was_in_force:
            _tell(self.kind, self.name, "expired", self.author, self.seconds)


class Control:
    """What may be done to the policies of a registry. Safe to use from any thread or task."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = Registry.given(registry)

    def actions(self, policy: Entry) -> tuple[str, ...]:
        """Return the names of what may be done to a policy."""
        return _OF_A_BREAKER if policy.kind == "circuit_breaker" else ("reset",)

    def act(
        self, policy: str, name: str, action: str, *, seconds: Duration | None = None, author: str
    ) -> None:
        """Do something to a policy, for good or for a time.

        Args:
            policy: the kind, such as ``circuit_breaker``.
            name: its name in the registry.
            action: one of :meth:`actions`. ``isolate`` refuses all calls and needs ``seconds``;
                ``reset`` takes none.
            seconds: for how long, up to a week; left out: until somebody changes it.
            author: who does it, for the record: printable, at most 100 characters.

        Raises:
            LookupError: when the registry has no such policy.
            ConfigurationError: for an action that the policy has not, and wrong arguments.
        """
        found = self.registry._find(policy, name)
        if found is None:
            raise LookupError(f"no {policy} is named {name!r}")
        self._check(found, action, seconds)
        if len(printable("author", author)) > LONGEST_AUTHOR:
            raise wrong("author", author, f"at most {LONGEST_AUTHOR} characters")
        lasts = None if seconds is None else _bounded(seconds)
        if lasts is None:
            getattr(found, action)()
            _end(_take(found))
        else:
            act = _Act(found, name, author, lasts)
            act.begin(_STATES[action])
            try:
                _end(_put(found, act))
            except RuntimeError:  # no thread could be started, so nothing would ever end it
                act.end()
                raise
        _tell(policy, name, action, author, lasts)

    def remaining(self, policy: Entry) -> float | None:
        """Return how many seconds are left of the act that is in force; None if there is none."""
        act = _acts.get(policy) if _acts else None
        if act is None or not act.is_in_force():
            return None
        return max(0.0, act.until - _now())

    def _check(self, policy: Entry, action: str, seconds: object) -> None:
        allowed = self.actions(policy)
        if action not in allowed:
            raise wrong("action", action, f"one of {', '.join(allowed)} for a {policy.kind}")
        if action == "reset" and seconds is not None:
            raise ConfigurationError("reset is done at once, and not for a time: leave seconds out")
        if action == "isolate" and seconds is None:
            raise ConfigurationError(
                "isolate needs seconds, for how long; force_open refuses calls until it is changed"
            )


# The clock is captured on purpose: the thread sleeps in real time, whatever a test pretends.
def _now(_monotonic: Callable[[], float] = time.monotonic) -> float:
    return _monotonic()


def _bounded(seconds: Duration) -> float:
    lasts = duration("seconds", seconds)
    if lasts > LONGEST:
        raise wrong("seconds", seconds, f"at most {LONGEST:.0f}, a week; leave it out for good")
    return lasts


def _tell(kind: str, name: str, action: str, author: str, seconds: float | None) -> None:
    if events.wanted(events.OperatorActed):
        events.emit(
            events.OperatorActed(
                policy=kind, name=name, action=action, author=author, seconds=seconds
            )
        )


# Reentrant: a finalizer or signal handler may ask for what remains, or act.
_lock = threading.RLock()
_acts: weakref.WeakKeyDictionary[Entry, _Act] = weakref.WeakKeyDictionary()  # changed under _lock
_ends: list[tuple[float, int, _Act]] = []  # a heap, with some acts that are over; under _lock
_numbers = itertools.count()
_MOST_OVER = 100
_thread: threading.Thread | None = None  # written under _lock
_bell = Bell()


def _take(policy: Entry) -> _Act | None:
    """Take the act for a time away, if there is one."""
    with _lock:
        act = _acts.pop(policy, None)
    if act is not None:
        _bell.ring()  # the thread may have nothing left to wait for
    return act


def _put(policy: Entry, act: _Act) -> _Act | None:
    """Put ``act`` in the place of the one before; return which of them is not to last."""
    with _lock:
        before = _acts.get(policy)
        if before is not None and before.what.times_set > act.what.times_set:
            return act  # two at the same moment, and this one was overtaken
        _start()
        _acts[policy] = act
        heapq.heappush(_ends, (act.until, next(_numbers), act))
        if len(_ends) > 2 * len(_acts) + _MOST_OVER:
            _forget_those_over()
        if _ends[0][2] is act:
            _bell.ring()  # the thread waits for a later one
        return before


def _end(act: _Act | None) -> None:
    """End what another act came after: by now there is nothing that it would change."""
    if act is not None:
        act.end()


def _start() -> None:
    """Start the thread if there is none. Call it under the lock."""
    global _thread  # noqa: PLW0603 - one for the process
    if _thread is None:
        thread = threading.Thread(target=_watch, name="meshhook-control", daemon=True)
        thread.start()
        _thread = thread


def _watch() -> None:
    """End what is due, until nothing is left that could be."""
    global _thread  # noqa: PLW0603 - as above
    while True:
        for act in _take_due():
            try:
                act.expire()
            except Exception:
                logger.exception("the time of %s %r could not be ended", act.kind, act.name)
        with _lock:
            soonest = _soonest()
            if soonest is None:
                _thread = None
                return
        _bell.wait(soonest - _now())


def _take_due() -> list[_Act]:
    now = _now()
    due: list[_Act] = []
    with _lock:
        while _ends and _ends[0][0] <= now:
            act = heapq.heappop(_ends)[2]
            policy = _still_at(act)
            if policy is not None:
                del _acts[policy]
                due.append(act)
    return due


# A finalizer or signal handler that acts may come between any two steps of these, and adds an end.


def _soonest() -> float | None:
    """Return when the next act ends. Call it under the lock."""
    while _ends:
        end = heapq.heappop(_ends)
        if _still_at(end[2]) is not None:
            heapq.heappush(_ends, end)
            return end[0]
    return None


def _forget_those_over() -> None:
    """Keep the ends of those acts that are to end. Call it under the lock."""
    global _ends
    ends, _ends = _ends, []
    for end in ends:
        if _still_at(end[2]) is not None:
            heapq.heappush(_ends, end)


def _still_at(act: _Act) -> Any:
    """Return the policy of an act; None if another one has come after it, or it is gone."""
    policy = act.policy()
    return policy if policy is not None and _acts.get(policy) is act else None


def _after_fork_in_child() -> None:
    global _lock, _thread, _bell
    # No thread of the parent is left here, and nobody to release a lock or hear a bell.
    _lock, _thread, _bell = threading.RLock(), None, Bell()
    if _acts:
        _start()


forks.after_in_child(_after_fork_in_child)
