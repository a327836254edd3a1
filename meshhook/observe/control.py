"""Control: what an operator may do to a policy by hand, for good or for a time.

Each act is told as an :class:`~meshhook.events.OperatorActed` with its author, and so is the end of
its time. One act for a time is in force for a policy: the next one, of whatever kind, takes its
place. When the time is over the policy is what it was before, unless somebody has changed it in
between, in whatever way. It is held here and not by a :class:`Control`, so all of them see it.

One thread for all ends what is due. It is a daemon, there only while something is to end. It keeps
real time: a change of the date neither prolongs an act nor cuts it short, and nor does a clock that
a test has frozen. It looks at all acts when the first of them is due, and not before.

A forked child inherits what its parent's policies were set to, and ends it on its own. An act that
another thread of the parent was about to begin or end at that moment is over there.
"""

from __future__ import annotations

import logging
import math
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

    def __init__(self, policy: Entry, name: str, state: State, author: str, seconds: float) -> None:
        self.kind, self.name = policy.kind, name
        self.what = ForATime(state)
        self.author = author
        self.seconds = seconds
        self.until = _now() + seconds
        # Nobody is kept alive by what was done to it.
        self.policy: weakref.ref[Any] = weakref.ref(policy)

    def begin(self) -> None:
        """Set the state."""
        policy = self.policy()
        if policy is not None:
            for_a_time.begin(policy, self.what)

    def is_in_force(self) -> bool:
        """Tell whether the policy is there, and nobody has changed it since."""
        policy = self.policy()
        return policy is not None and for_a_time.is_in_force(policy, self.what)

    def end(self) -> None:
        """Have the policy go back, if it has not yet."""
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
            _begin(found, _Act(found, name, _STATES[action], author, lasts))
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
_under_way: set[_Act] = set()
"""Those that begin or end just now: the circuit may be set, and nothing in :data:`_acts`."""
_left: set[_Act] = set()
"""Those of them that a fork has left in this process, with nobody to go on."""
_looks_at = math.inf  # when the thread looks, which is never too late; written under _lock
_thread: threading.Thread | None = None  # written under _lock
_bell = Bell()


def _begin(policy: Entry, act: _Act) -> None:
    """Begin an act, and have it end in time."""
    _under_way.add(act)
    before = None
    try:
        act.begin()
        before = _put(policy, act)
    except BaseException:  # there is no thread to be had, or an interrupt came
        if not _is_in_place(act):  # nothing would ever end it
            act.end()
        raise
    finally:
        _end(before)
        _under_way.discard(act)


def _take(policy: Entry) -> _Act | None:
    """Take the act for a time away, if there is one. :func:`_end` must follow."""
    with _lock:
        act = _acts.get(policy)
        if act is None:
            return None
        _under_way.add(act)  # first, for a fork may come between
        _bell.ring()  # the thread may have nothing left to wait for
        return _acts.pop(policy, None)


def _put(policy: Entry, act: _Act) -> _Act | None:
    """Put ``act`` in the place of the one before; return which of them is not to last."""
    global _looks_at  # noqa: PLW0603 - one for the process
    with _lock:
        before = _acts.get(policy)
        if before is not None and before.what.times_set > act.what.times_set:
            return act  # two at the same moment, and this one was overtaken
        _start()
        if before is not None:
            _under_way.add(before)
        _acts[policy] = act
        if act.until < _looks_at:
            _looks_at = act.until
            _bell.ring()  # the thread waits for a later one
        return before


def _end(act: _Act | None) -> None:
    """End what another act came after: by now there is nothing that it would change."""
    if act is not None:
        try:
            act.end()
        except BaseException:
            act.end()  # an interrupt came before it was done
            raise
        finally:
            _under_way.discard(act)


def _is_in_place(act: _Act) -> bool:
    """Tell whether it is the one that the thread will end."""
    policy = act.policy()
    return policy is not None and _acts.get(policy) is act


def _start() -> None:
    """Start the thread if there is none. Call it under the lock."""
    global _thread  # noqa: PLW0603 - as above
    if _thread is None:
        thread = threading.Thread(target=_watch, name="meshhook-control", daemon=True)
        thread.start()
        _thread = thread


def _watch() -> None:
    """End what is due, until nothing is left that could be."""
    global _thread  # noqa: PLW0603 - as above
    _end_what_was_left()
    while True:
        for act in _take_due():
            try:
                act.expire()
            except Exception:
                logger.exception("the time of %s %r could not be ended", act.kind, act.name)
            _under_way.discard(act)
        with _lock:
            if not _acts:
                _thread = None
                return
        _bell.wait(_looks_at - _now())


def _take_due() -> list[_Act]:
    """Take those away whose time is over, and set when to look again."""
    global _looks_at  # noqa: PLW0603 - as above
    now = _now()
    due: list[_Act] = []
    with _lock:
        if now < _looks_at:
            return due  # somebody rang
        _looks_at = math.inf
        # A finalizer that acts may come between any two steps of this, and have us look sooner.
        for ref in _acts.keyrefs():
            policy = ref()
            act = None if policy is None else _acts.get(policy)
            if policy is None or act is None:
                continue
            if act.until <= now:
                taken = _take(policy)
                due += [] if taken is None else [taken]
            elif act.until < _looks_at:
                _looks_at = act.until
    return due


def _end_what_was_left() -> None:
    for act in list(_left):
        try:
            act.end()
        except Exception:
            logger.exception("the act on %s %r could not be ended", act.kind, act.name)
        _left.discard(act)


def _after_fork_in_child() -> None:
    global _lock, _thread, _bell, _looks_at
    # No thread of the parent is left here, and nobody to release a lock or hear a bell.
    _lock, _thread, _bell, _looks_at = threading.RLock(), None, Bell(), -math.inf
    _left.update(each for each in _under_way if not _is_in_place(each))
    _under_way.clear()
    if _acts or _left:
        with _lock:
            _start()


forks.after_in_child(_after_fork_in_child)
