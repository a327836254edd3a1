"""The slow path to a key: to get hold of it, or of the result of who had it.

It is written once for both colours, over the verbs of :mod:`meshhook.runtime`. Whoever is
cancelled, at any await, leaves no flight and no lease behind: what a message took is given back by
the store's lane, and what was sent already lands its flight as the answer says when it comes.
"""

from __future__ import annotations

import copy
import random
import time
from typing import TYPE_CHECKING, Any

from meshhook import events
from meshhook.deadline import remaining
from meshhook.errors import (
    InProgressError,
    KeyReusedError,
    NoTimeLeftError,
    ReentrantCallError,
    StoreError,
)
from meshhook.policies.idempotent.claim import Claim
from meshhook.policies.idempotent.names import Scope
from meshhook.runtime.flights import Flight
from meshhook.stores.protocol import (
    Acquired,
    Begin,
    Done,
    Key,
)
from meshhook.wording import short

if TYPE_CHECKING:
    from meshhook.policies.idempotent import Idempotent
    from meshhook.runtime.protocol import Runtime

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.2
_SHORTEST = 0.001
_GLANCE = 0.02
_MOST_GLANCES = 50
"""Looks at another call that is asking the store, a second in all. One that still asks then is
taken for one that is executed."""


class Patience:
    """How long a call still waits: its own limit, or what is left of the deadline."""

    def __init__(self, seconds: float) -> None:
        self._own = seconds
        self._counted = False
        self._pause = _FIRST_PAUSE

    def left(self) -> float:
        """Return the seconds left, at least 0."""
        of_deadline = remaining()
        return max(0.0, self._own if of_deadline is None else min(self._own, of_deadline))

    def count_once(self, policy: Idempotent) -> None:
        """Count the call as one that waits."""
        if not self._counted:
            self._counted = True
            policy.counters.add("waited")

    async def sleep(self, io: Runtime, at_most: float) -> None:
        """Pause for longer and longer, but not past what is left."""
        pause = min(self._pause * random.uniform(0.5, 1.0), at_most, self.left())  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        before = time.monotonic()
        await io.sleep(pause)
        # A frozen clock does not see the pause.
        self._own -= max(pause, time.monotonic() - before)

    async def wait(self, io: Runtime, flight: Flight) -> None:
        """Wait for a flight to land, or until nothing is left."""
        before = time.monotonic()
        landed = await io.wait(flight, self.left())
        # A frozen clock does not see the end of a wait either.
        self._own -= max(0.0, time.monotonic() - before) if landed else self._own


def take(policy: Idempotent, claim: Claim) -> bool:
    """Take the key if nobody has it and the store answers at once, for either colour."""
    at = claim.at
    if policy.direct is None or policy.flights.join_or_get(at, claim) is not claim:
        return False
    lease, retention = policy.settings.lease, policy.running_retention
    claim.asking = True
    answer = policy.direct.begin(at, claim.owner, claim.fingerprint, lease, retention)
    if type(answer) is not Acquired:
        return False
    _acquired(policy, claim, answer, lease)
    return True


async def obtain(policy: Idempotent, io: Runtime, claim: Claim) -> Any:
    """Get hold of the key, or return the record of who had it. Waits if it must."""
    patience = Patience(policy.settings.wait_timeout)
    at, fingerprint = claim.at, claim.fingerprint
    glances = 0
    while True:
        leader: Any = policy.flights.join_or_get(at, claim)
        if leader is claim:
            return await _lead(policy, io, claim, patience)
        if leader.is_around_here() and not leader.done():
            raise policy.refused(
                ReentrantCallError,
                at,
                "is the one that this call runs under, so it would wait for itself; use another",
            )
        if not is_other_call(leader.fingerprint, fingerprint):
            if leader.asking and glances < _MOST_GLANCES:
                # It will soon be known whether anybody is executing the call at all.
                glances += 1
                _refuse_deadlock(policy, io, leader)
                await io.wait(leader, _GLANCE)
            else:
                _hold_on(policy, at, patience, policy.settings.lease * 2 / 3)
                _refuse_deadlock(policy, io, leader)
                await patience.wait(io, leader)
            if leader.kind == "failed":
                raise policy.rejected(copy.copy(leader.payload))
            if leader.kind is not None:
                return leader
        elif leader.running:
            raise other_call(policy, at)
        else:
            # The leader may be the wrong one: its store will tell.
            _hold_on(policy, at, patience, policy.settings.lease)
            await patience.sleep(io, _LONGEST_PAUSE)


def is_other_call(fingerprint: str | None, other: str | None) -> bool:
    """Tell whether two fingerprints are of calls with different arguments."""
    return fingerprint is not None and other is not None and fingerprint != other


def other_call(policy: Idempotent, at: Key) -> KeyReusedError:
    """Build the error for a key that comes again with other arguments."""
    return policy.refused(
        KeyReusedError, at, "belongs to a call with other arguments; give each call its own key"
    )


def _hold_on(policy: Idempotent, at: Key, patience: Patience, retry_after: float) -> None:
    """Raise InProgressError unless the call may wait for the other execution."""
    if policy.settings.on_running == "reject" or not patience.left():
        raise policy.refused(
            InProgressError,
            at,
            f"is being executed by another call; retry in {short(retry_after)} s",
            retry_after=retry_after,
        )
    patience.count_once(policy)


def _refuse_deadlock(policy: Idempotent, io: Runtime, leader: Flight) -> None:
    if not io.can_wait_for(leader):
        raise policy.refused(
            InProgressError,
            at=leader.at,
            what="is being executed on the event loop of this thread, which would block while this "
            "sync call waits for it; await the async form",
            retry_after=policy.settings.lease * 2 / 3,
        )


async def _lead(policy: Idempotent, io: Runtime, claim: Claim, patience: Patience) -> Any:
    """Ask the store until it grants the key or has a result."""
    known: Any = None
    while True:
        left = None if policy.local else remaining()
        if left == 0:
            if known is not None:
                _hold_on(policy, claim.at, patience, _SHORTEST)
            raise policy.rejected(_no_time_left(policy, claim))
        claim.asking = True
        try:
            begin = _begin(policy, claim)
            answer = await io.ask(policy.store, begin, left)
        except StoreError as error:
            claim.asking = False
            if remaining() == 0 and not policy.local:
                continue
            return _without_store(policy, claim, error)
        if isinstance(answer, Acquired):
            _acquired(policy, claim, answer, begin.lease)
            return None
        claim.asking = False
        known = answer.record if isinstance(answer, Done) else answer
        if is_other_call(known.fingerprint, claim.fingerprint):
            raise other_call(policy, claim.at)
        if known is not answer:
            claim.land(known.kind, known.payload)
            return known
        _hold_on(policy, claim.at, patience, max(known.remaining, _SHORTEST))
        await patience.sleep(io, known.remaining + _SHORTEST)


def _no_time_left(policy: Idempotent, claim: Claim) -> NoTimeLeftError:
    return NoTimeLeftError(
        f"idempotent {policy.name!r}: key {Scope.shown(claim.at)} was not executed: the deadline "
        "passed before the store answered; give it more time or less to do",
        name=policy.name,
        policy=policy.kind,
    )


def _begin(policy: Idempotent, claim: Claim) -> Begin:
    lease = policy.settings.lease
    return Begin(claim.at, claim.owner, claim.fingerprint, lease, policy.running_retention)


def _acquired(policy: Idempotent, claim: Claim, answer: Acquired, lease: float) -> None:
    claim.acquired(answer, lease)
    if answer.taken_over and events.wanted(events.KeyTakenOver):
        events.emit(
            events.KeyTakenOver(
                policy=policy.kind,
                name=policy.name,
                key_hash=policy.key_hash(claim.at),
                attempt=claim.attempt,
            )
        )


def _without_store(policy: Idempotent, claim: Claim, error: StoreError) -> None:
    policy.store_failed("begin", error)
    if policy.settings.on_store_error == "raise":
        # Whoever waits here would only find out the same, one after the other.
        claim.land("failed", copy.copy(error))
        raise policy.rejected(error)
    policy.counters.add("unprotected")
    claim.running = True
