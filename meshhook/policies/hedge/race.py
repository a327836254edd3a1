"""One hedged call: when further attempts are started, and whose outcome is the answer.

Written once for both colours, over a crew that makes the attempts: in tasks, or in worker threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from meshhook import events
from meshhook.deadline import current, in_force
from meshhook.events import logger
from meshhook.judges import OUR_OWN, matches, names_our_own
from meshhook.tracebacks import set_context

if TYPE_CHECKING:
    from meshhook.policies.hedge.extras import Place
    from meshhook.policies.hedge.policy import Hedge


class Ended(NamedTuple):
    """How one attempt ended. Number 0 is the first one; the others are hedges."""

    number: int
    result: Any
    error: BaseException | None


class Crew(Protocol):
    """Who makes the attempts of one call."""

    def start(self, number: int) -> None:
        """Start an attempt; if that raises an Exception, none has been started."""

    async def next(self, seconds: float | None) -> Ended | None:
        """Wait for an attempt to end, at most so long; None if none did."""

    def running(self) -> int:
        """Return how many attempts have been started and not been handed out by ``next``."""

    def leave(self, held: list[Place]) -> None:
        """Wait no more: what is still running runs on, or is cancelled. Empties ``held``."""


class Race:
    """The attempts of one call. For one thread or task."""

    __slots__ = (
        "_began",
        "_crew",
        "_due",
        "_hedges",
        "_held",
        "_left",
        "_lost",
        "_policy",
        "_wait",
    )

    def __init__(self, policy: Hedge, crew: Crew, hedges: int) -> None:
        """``hedges`` is how many attempts the crew can make besides the first."""
        self._policy = policy
        self._crew = crew
        self._began = time.monotonic()
        self._wait = policy.delay(self._began)
        self._due = self._began + (self._wait or 0.0)
        self._left = hedges
        self._hedges = 0
        self._held: list[Place] = []
        self._lost: list[Ended] = []

    async def run(self) -> Ended:
        """Make attempts until one has an answer, or until all have failed."""
        crew = self._crew
        try:
            crew.start(0)
            while True:
                ended = await crew.next(self._patience())
                if ended is None:
                    self._hedge()
                    continue
                verdict = "answer" if ended.error is None else self._judge(ended.error)
                if verdict == "answer":
                    self._count(ended)
                    return ended
                self._lost.append(ended)
                if self._held:
                    self._held.pop()
                if verdict == "failed" and self._left:
                    self._hedge()
                if not crew.running():
                    return self._all_lost()
        finally:
            crew.leave(self._held)

    def _patience(self) -> float | None:
        """Return in how many seconds the next hedge is due."""
        if self._wait is None or not self._left:
            return None
        return max(0.0, self._due - time.monotonic())

    def _hedge(self) -> None:
        """Start one more attempt, unless there is no time, no place or no budget for it."""
        policy, number = self._policy, self._hedges + 1
        now = time.monotonic()
        self._left -= 1
        self._due = now + (self._wait or 0.0)
        latest = in_force(current.get())
        if latest is not None and latest <= now:
            self._left = 0
            return
        # The call has the right to one attempt; what runs beside it needs a place.
        needs_place = self._crew.running() > 0
        if needs_place and not policy.extras.take(self._held):
            policy.tally.suppressed_by_limit += 1
            return
        if not self._is_affordable(number):
            if needs_place:
                self._held.pop()
            return
        self._hedges = number
        policy.tally.hedges += 1
        if events.wanted(events.HedgeStarted):
            events.emit(
                events.HedgeStarted(
                    policy=policy.kind, name=policy.name, number=number, delay=now - self._began
                )
            )

    def _is_affordable(self, number: int) -> bool:
        """Start the attempt if the budget has one and there is a thread for it."""
        policy, taken = self._policy, None
        budget = policy.settings.budget
        if budget is not None:
            taken = budget.take()
            if taken is None:
                policy.tally.suppressed_by_budget += 1
                return False
        try:
            self._crew.start(number)
        except Exception:  # no thread: the attempts that run may still succeed
            policy.tally.suppressed_by_limit += 1
            if budget is not None and taken is not None:
                budget.give_back(taken)
            return False
        return True

    def _judge(self, error: BaseException) -> str:
        """Tell whether an error is an answer, calls for another attempt, or says nothing."""
        if not isinstance(error, Exception):
            return "lost" if isinstance(error, asyncio.CancelledError) else "answer"
        on = self._policy.settings.on
        if matches(OUR_OWN, error, all) and not names_our_own(on):
            return "lost"
        try:
            return "failed" if matches(on, error) else "answer"
        except Exception:
            logger.exception("on of hedge %r failed", self._policy.name)
            return "answer"

    def _count(self, ended: Ended) -> None:
        """Count a result; an error is counted by the driver."""
        policy = self._policy
        if ended.error is not None:
            return
        if ended.number:
            policy.tally.wins += 1
            if events.wanted(events.HedgeWon):
                events.emit(
                    events.HedgeWon(policy=policy.kind, name=policy.name, number=ended.number)
                )
        # A first attempt that lost has taken so long at least. Without it the slow ones would be
        # forgotten, the delay would shrink, and ever more calls would be hedged.
        if all(each.number for each in self._lost):
            policy.remember(self._began)

    def _all_lost(self) -> Ended:
        """Return the error of the first attempt, with the others behind it."""
        lost = sorted(self._lost, key=lambda each: each.number)
        errors = [each.error for each in lost if each.error is not None]
        first = errors[0]
        if len(errors) > 1:
            others = ", ".join(type(each).__qualname__ for each in errors[1:])
            note = f"hedge {self._policy.name!r}: {len(errors)} attempts failed; others: {others}"
            with contextlib.suppress(Exception):  # one that has a __dict__ of its own making
                notes = vars(first).setdefault("__notes__", [])
                if note not in notes:
                    notes.append(note)
            for error, behind in itertools.pairwise(errors):
                _chain(error, behind)
        return lost[0]


def _chain(error: BaseException, behind: BaseException) -> None:
    """Make ``behind`` the context of ``error``, if it has none and that makes no circle."""
    if error.__context__ is not None:
        return
    each: BaseException | None = behind
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        if each is error:
            return
        seen.add(id(each))
        each = each.__context__
    set_context(error, behind)
