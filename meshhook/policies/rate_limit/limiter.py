"""The state of one limit in this process: its rule, and the queue of those who wait for a turn.

This is all that a policy knows of its state, so that it may be kept elsewhere. Times are integer
microseconds of ``time.monotonic()``.

The rule knows the calls that have started. Who has to wait stands in a queue, and sleeps until his
turn should come; then he looks again, under the lock and with a fresh clock, and starts or sleeps
for the rest. So the promise of the rule holds for the moments at which calls really start, however
late a thread wakes up. Nobody overtakes: a turn has come when all those before it would fit in with
it. Who leaves early takes nothing along, and the next in the queue is woken if he may start sooner.

The lock keeps out other threads, and no signal handler of its own: one may change the rates in the
middle of anything here. So who has looked at a rule asks whether it is still the one that counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from meshhook.rules.gcra import CLOSED, Gcra
from meshhook.rules.rates import OneRate, Rate, Rule, Together, carry_over

SECOND = 1_000_000
_SHORTEST_SLEEP = 1_000
"""Event loops wake no more exactly than this, and some of them too early."""
_TOO_LATE = SECOND
"""Who has not looked again so long after his turn should have come holds up nobody any more."""

_SET_BACK = 60 * SECOND
"""So far behind the others no reading of a clock is, however long a thread was held up."""


class Turn:
    """A place in the queue."""

    __slots__ = (
        "asked_at",
        "cost",
        "due",
        "has_started",
        "is_woken",
        "latest",
        "looked_at",
        "wake",
    )

    def __init__(self, cost: int, now: int, due: int, latest: int) -> None:
        self.cost = cost
        self.asked_at = self.looked_at = now
        self.due = due
        """When it should come."""
        self.latest = latest
        """When it has to come, or the call is refused."""
        self.has_started = False
        self.is_woken = False
        self.wake: Callable[[], bool] | None = None
        """Wakes who sleeps until it comes; False if he cannot be reached any more."""

    @property
    def sleep(self) -> int:
        """For how many microseconds to sleep."""
        return max(self.due - self.looked_at, _SHORTEST_SLEEP)


class Standing(NamedTuple):
    """How a limit stands: for how long a call waits, what is left, and when all is there again."""

    wait: int
    remaining: int
    reset_after: int


class Limiter:
    """One limit. Safe to share between threads and tasks."""

    __slots__ = (
        "_changes",
        "_gcra",
        "_is_changing",
        "_longest",
        "_passed",
        "_paused_until",
        "_queued",
        "_rules",
        "algorithm",
        "gate",
        "lock",
        "rates",
        "rule",
        "touched",
        "users",
        "waiting",
    )

    def __init__(self, algorithm: type[OneRate], rates: tuple[Rate, ...]) -> None:
        self._paused_until = 0
        self._passed = 0
        """How much time has passed that the clock does not show, for a test has it in hand."""
        self.touched = True
        self.users = 0
        self.algorithm = algorithm  # written under lock, as all that follows
        self.rates = rates
        self.waiting: dict[Turn, None] = {}
        self.gate: Gcra = CLOSED
        """What a driver may start calls with by itself: the rule, as long as nobody waits."""
        self._set_rules([algorithm(rate, self._now()) for rate in rates])
        self._longest = self._full()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Make the lock anew in a forked child, where nobody waits."""
        # Reentrant: a coroutine that is thrown away ends wherever the collector runs, in here too.
        self.lock = threading.RLock()
        self._changes: list[Callable[[], None]] = []
        self._is_changing = False
        self.waiting.clear()
        self._queued = 0
        self._set_gate()

    def _set_rules(self, rules: list[OneRate]) -> None:
        self._rules = rules
        self.rule: Rule = rules[0] if len(rules) == 1 else Together(rules)
        rule = self.rule
        self._gcra = rule if isinstance(rule, Gcra) and rule.may_be_inlined else CLOSED
        self._set_gate()

    def _set_gate(self) -> None:
        self.gate = CLOSED if self.waiting else self._gcra

    def _full(self) -> int:
        """Return in how many microseconds all is paid back that can be owed."""
        return max(-(-rate.burst * rate.period // rate.limit) for rate in self.rates)

    def _now(self) -> int:
        # Rounded: what the clock reads at a whole microsecond may be a little less than that.
        return round(time.monotonic() * SECOND) + self._passed

    def _look(self, now: int, cost: int, before: int | None = None) -> Standing:
        """Return how the limit stands for a call of ``cost`` when others ``before`` have started.

        These are all that wait, if it is not said.
        """
        while True:
            rule = self.rule
            standing = self._look_once(now, cost, before)
            if rule is self.rule:
                if self._is_changing or standing.reset_after <= self._longest + _SET_BACK:
                    return standing
                # Nothing takes so long: the clock was set back, as when a test thaws it.
                self._in_turn(lambda: self._begin_anew(self._now()))
            now = self._now()

    def _look_once(self, now: int, cost: int, before: int | None) -> Standing:
        remaining, reset_after = self.rule.remaining(now), self.rule.reset_after(now)
        if not self.waiting:
            return Standing(self.rule.wait(now, cost), remaining, reset_after)
        if before is None:
            self._forget_the_late(now)
            before = self._queued
        return Standing(
            self._wait(now, before, cost), max(0, remaining - self._queued), reset_after
        )

    def _in_turn(self, change: Callable[[], None]) -> None:
        """Make a change of the rules; one that comes in the middle of it is made after it.

        Such a one is the work of a signal handler, which cannot wait for the thread that it is in.
        """
        self._changes.append(change)
        if self._is_changing:
            return
        self._is_changing = True
        try:
            while self._changes:
                self._changes.pop(0)()
        finally:
            self._is_changing = False

    def _begin_anew(self, now: int) -> None:
        self.rule.close()
        self._paused_until = 0
        self._set_rules([self.algorithm(rate, now) for rate in self.rates])
        self._longest = self._full()

    def ask(
        self, cost: int, max_wait: int = 0, deadline: float | None = None
    ) -> Turn | Standing | None:
        """Start a call now, and return None; else return its place in the queue.

        If its turn should not come within ``max_wait`` and before the deadline, return why.
        """
        with self.lock:
            while True:
                ready = self.gate.ready
                now = self._now()
                if not self.waiting and self.rule.start(now, cost):
                    return None
                if self.gate.ready != ready:
                    continue  # A driver came in, so our reading of the clock may be too old.
                standing = self._look(now, cost)
                if standing.wait:
                    break
                if self.rule.start(now, cost):
                    return None
                # A driver came in here, or a signal handler that changed the rates.
            due = now + standing.wait
            latest = now + max_wait
            if deadline is not None:
                latest = int(min(latest, deadline * SECOND + self._passed))
            if due > latest or not max_wait:
                return standing
            turn = Turn(cost, now, due, latest)
            self._enqueue(turn)
            return turn

    def ask_again(self, turn: Turn) -> Standing | None:
        """Start the call of ``turn`` if it has come; return why it cannot come in time, or None."""
        with self.lock:
            now = self._after_sleep(turn)
            self._forget_the_late(now)
            if turn not in self.waiting:
                self._enqueue(turn)
            standing = self._look(now, turn.cost, self._before(turn))
            turn.has_started = not standing.wait and self.rule.start(now, turn.cost)
            turn.due = now + standing.wait
            if not turn.has_started and turn.due <= turn.latest and self._fits(turn):
                return None
            self._dequeue(turn)
        self._wake_first(now)
        return None if turn.has_started else standing

    def _after_sleep(self, turn: Turn) -> int:
        """Return what time it is. Who has slept knows it, where the clock was frozen meanwhile."""
        now = self._now()
        if not turn.is_woken and now - turn.looked_at < turn.sleep // 2:
            self._passed += turn.looked_at + turn.sleep - now
            now = turn.looked_at + turn.sleep
        turn.is_woken = False
        turn.wake = None
        turn.looked_at = now
        turn.due = max(turn.due, now)
        return now

    def leave(self, turn: Turn) -> None:
        """Give the place in the queue back; those behind it move up."""
        with self.lock:
            if turn not in self.waiting:
                return
            self._dequeue(turn)
        self._wake_first(self._now())

    def _enqueue(self, turn: Turn) -> None:
        self.waiting[turn] = None
        self._queued += turn.cost
        self._set_gate()

    def _dequeue(self, turn: Turn) -> None:
        if turn in self.waiting:
            del self.waiting[turn]
            self._queued -= turn.cost
            self._set_gate()

    def _forget_the_late(self, now: int) -> None:
        """Take those out of the queue who do not wake up: their event loop is blocked, or gone.

        They come back at its end, if they wake up after all.
        """
        while (first := self._first()) is not None and first.due + _TOO_LATE < now:
            self._dequeue(first)

    def _first(self) -> Turn | None:
        return next(iter(self.waiting), None)

    def _wake_first(self, now: int) -> None:
        """Wake the first of the queue, if he sleeps for longer than he has to."""
        while True:
            with self.lock:
                first = self._first()
                if first is None or now + self.rule.wait(now, first.cost) >= first.due:
                    return
            if self._wake(first):
                return

    def _wake(self, turn: Turn) -> bool:
        """Have who waits look again; False if his event loop has been closed: he is out then."""
        with self.lock:
            turn.is_woken = True
            wake = turn.wake
        if wake is None or wake():
            return True
        with self.lock:
            self._dequeue(turn)
        return False

    def _before(self, turn: Turn) -> int:
        """Return what those before ``turn`` cost together."""
        if self._first() is turn:
            return 0
        # A copy, for the collector may run in here, and what it ends leaves the queue.
        return sum(each.cost for each in takewhile(lambda each: each is not turn, [*self.waiting]))

    def _wait(self, now: int, before: int, cost: int) -> int:
        """Return after how long a call may start when others of so much cost have started."""
        first = self._first()
        if not before or first is None:
            return self.rule.wait(now, cost)
        # Nothing starts, and other rates recover, until the first of the queue may.
        begin = self.rule.wait(now, first.cost)
        return begin + self.rule.wait(now + begin, before + cost)

    def peek(self, cost: int = 1) -> Standing:
        """Return how the limit stands for a call of ``cost``."""
        with self.lock:
            return self._look(self._now(), cost)

    def is_idle(self) -> bool:
        """Tell whether the limit is as new: whole again, and nobody waits."""
        return not self.waiting and not self.rule.reset_after(self._now())

    def pause(self, duration: int) -> None:
        """Let no call start for so long. Who waits finds out when he looks again."""
        with self.lock:
            self._in_turn(lambda: self._pause(duration))

    def _pause(self, duration: int) -> None:
        until = self._now() + duration
        self._paused_until = max(self._paused_until, until)
        self.rule.pause(until)
        self._longest = max(self._longest, duration + self._full())

    def change(self, algorithm: type[OneRate], rates: tuple[Rate, ...]) -> None:
        """Go on with other rates; what has started counts on, and a pause ends when it would.

        Who waits for more than may start at once now is woken, to be refused.
        """
        with self.lock:
            self._in_turn(lambda: self._change(algorithm, rates))
            misfits = [turn for turn in [*self.waiting] if not self._fits(turn)]
        for turn in misfits:
            self._wake(turn)
        self._wake_first(self._now())

    def _change(self, algorithm: type[OneRate], rates: tuple[Rate, ...]) -> None:
        now = self._now()
        rules = self._carried_over(algorithm, rates, now)
        self.algorithm, self.rates = algorithm, rates
        self._set_rules(rules)
        self._longest = max(self.rule.reset_after(now), self._full())

    def _carried_over(
        self, algorithm: type[OneRate], rates: tuple[Rate, ...], now: int
    ) -> list[OneRate]:
        until = self._paused_until
        if algorithm is self.algorithm and len(rates) == len(self.rates):
            both = zip(self._rules, rates, strict=True)
            rules = [rule.change(rate, now, until) for rule, rate in both]
        else:
            rules = carry_over(self._rules, algorithm, rates, now, until)
        if now < until:
            for rule in rules:
                rule.pause(until)
        return rules

    def _fits(self, turn: Turn) -> bool:
        return turn.cost <= min(rate.burst for rate in self.rates)

    def reset(self) -> None:
        """Forget what has started. Who waits starts as soon as he may now."""
        with self.lock:
            self._in_turn(lambda: self._begin_anew(self._now()))
        self._wake_first(self._now())
