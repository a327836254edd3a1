"""What is said between a policy and a store: one message a verb, and its answers.

A message is a plain tuple, so one shape serves memory, Redis and whatever keeps records next, and a
policy that needs other verbs adds its own messages. Spans are float seconds here; no clock value
ever crosses this line, so nobody compares two clocks. Any message may reach a store twice (a lost
reply is sent for again), therefore each verb is idempotent by ``owner``: a token that is new for
each call, and is never used again once a store has answered with an error.

    state        meaning                                             ``Record.kind``
    absent       nothing kept, or retention is over                  (no record)
    running      ``owner`` executes until its lease ends             "running"
    done         executed; the result is kept, or is not keepable    "value", "opaque"
    released     given back or cleared; keeps fence and attempt      (no record)
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast

Key: TypeAlias = Hashable
"""A local store takes anything hashable; a remote one str, bytes or a tuple of those."""

Fingerprint: TypeAlias = Any
"""Compared with ``==``; None is never compared. A remote store takes str, bytes or None."""

RUNNING_FLOOR = 5.0
"""A running record outlives its lease by this; a result that somebody waits for lives as long."""

TOMBSTONE = 60.0
"""How long a released record keeps counting attempts and fences."""


class Begin(NamedTuple):
    """Take the key. Answers: Acquired, Running or Done.

    A record whose lease is over is taken over, unless both fingerprints are given and differ: then
    the answer is ``Running`` with nothing remaining. Compare the fingerprint of every Running and
    Done with your own.
    """

    key: Key
    owner: str
    fingerprint: Fingerprint
    lease: float
    retention: float


class Renew(NamedTuple):
    """Hold the key for another lease from now, also past its end. Answers: Renewed or Lost."""

    key: Key
    owner: str
    lease: float
    retention: float


class Finish(NamedTuple):
    """End the owner's run. Answers: Stored (also the second time) or Lost.

    ``value`` keeps the payload for ``retention``; ``opaque`` keeps that it ran without its result
    (the payload may say why); ``released`` frees the key.
    """

    key: Key
    owner: str
    kind: Literal["value", "opaque", "released"]
    payload: Any
    retention: float


class Get(NamedTuple):
    """Read the record, changing nothing. Answers: a Record or None."""

    key: Key


class Force(NamedTuple):
    """Clear the key whoever holds it, so that a late Finish is Lost. Answers: Stored or Conflict.

    With ``expected_fence`` only a record of that fence is cleared.
    """

    key: Key
    expected_fence: int | None = None


class Record(NamedTuple):
    """A record as it stands. ``age`` is the time since it began running, or since it was done.

    ``remaining`` is what is left of the lease while running (0: may be taken over), and of the
    retention when done.
    """

    kind: Literal["running", "value", "opaque"]
    payload: Any
    fingerprint: Fingerprint
    fence: int
    attempt: int
    age: float
    remaining: float


class Acquired(NamedTuple):
    """The key is the owner's. ``fence`` grows with every owner; ``attempt`` counts from 1.

    ``taken_over`` tells that another owner held it and let its lease run out.
    """

    fence: int
    attempt: int
    taken_over: bool = False


class Running(NamedTuple):
    """Another owner holds the key for ``remaining`` seconds unless it renews."""

    fence: int
    remaining: float
    fingerprint: Fingerprint


class Done(NamedTuple):
    """The call has been executed."""

    record: Record


class Stored(NamedTuple):
    """The record is as asked for; ``before`` tells that it had been already."""

    before: bool = False


class Renewed(NamedTuple):
    """The owner still holds the key, for ``remaining`` seconds."""

    remaining: float


class Lost(NamedTuple):
    """The key is not the owner's any more. ``record`` is what is there instead."""

    record: Record | None


class Conflict(NamedTuple):
    """Nothing was cleared: the record has another fence, or there is none."""

    record: Record | None


class Reply(Protocol):
    """The answer to a submitted message: due within a bound, settled once.

    ``await reply`` gives the answer or raises; cancelling that await abandons the reply.
    """

    def done(self) -> bool:
        """Tell whether the answer is there."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer, by default until its bound; raise StoreUnavailableError then."""

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn(reply)`` when settled, in the thread that settles; at once if settled.

        That thread serves everybody: ``fn`` must not wait. It is not called once abandoned.
        """

    def hurry(self, seconds: float) -> None:
        """Make it due in so many seconds, if it is not due earlier."""

    def abandon(self) -> None:
        """Give up: what the message may take in the store is given back."""

    def __await__(self) -> Any: ...


class Store(Protocol):
    """Where records live. Safe to share between threads, tasks and event loops."""

    name: str
    local: bool
    """True: ``perform`` answers at once in this process. False: it waits for a server."""

    def perform(self, message: Any) -> Any:
        """Send a message and wait for its answer, at most the bound of the store.

        Raises StoreUnavailableError when the store does not answer, StoreError when it answers
        with something that is no answer.
        """

    def submit(self, message: Any) -> Reply:
        """Send a message; the reply raises what ``perform`` would raise."""

    def close(self) -> None:
        """Let go of threads and connections. May be called twice."""


class DirectStore(Store, Protocol):
    """A local store whose verbs can also be called, at half the price of a message."""

    def done(self, key: Key) -> Any:
        """Return a live result as an object with ``kind``, ``payload`` and ``fingerprint``."""

    def begin(
        self, key: Key, owner: Any, fingerprint: Fingerprint, lease: float, retention: float
    ) -> Acquired | Running | Done:
        """Answer a :class:`Begin`."""

    def finish(
        self, key: Key, owner: Any, kind: Any, payload: Any, retention: float
    ) -> Stored | Lost:
        """Answer a :class:`Finish`."""


def is_store(thing: object) -> bool:
    """Tell whether ``thing`` has what makes a store. To ask the protocol would take 20 us."""
    return not isinstance(thing, type) and _has(
        thing, "name", "local", "perform", "submit", "close"
    )


def as_direct(store: Store) -> DirectStore | None:
    """Return ``store`` if its verbs can be called as well."""
    return cast("DirectStore", store) if _has(store, "done", "begin", "finish") else None


def _has(thing: object, *names: str) -> bool:
    return all(hasattr(thing, name) for name in names)
