"""What tests of idempotent functions share: functions that are easily made, and other processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import meshhook as mh
from meshhook.runtime.flights import flights_of
from meshhook.runtime.heartbeat import HEARTBEAT
from meshhook.stores.protocol import Begin, Get, Record
from tests.colours import Colour
from tests.waiting import GIVE_UP, Called, Held, eventually


class Sides(NamedTuple):
    """The stores of two callers: one store, or two that see the same server."""

    here: Any
    there: Any


def once(store: Any, body: Callable[..., Any], colour: Colour | str, **settings: Any) -> Any:
    """Make an idempotent function ``charge(order, amount=5)`` of a colour that runs ``body``.

    All that are made so are one function in different processes, as far as their stores can tell.
    """

    def charge(order: Any, amount: int = 5) -> Any:
        return body(order, amount)

    async def charge_async(order: Any, amount: int = 5) -> Any:
        return body(order, amount)

    settings = {"key": "{order}", "name": "charge", "registry": mh.Registry(), **settings}
    return mh.idempotent(store=store, **settings)(charge if str(colour) == "sync" else charge_async)


def held_call(fn: Any, body: Held, colour: Colour | str, *args: Any) -> Called:
    """Call ``fn`` in a thread of its own, and return when ``body`` is being executed."""
    call = Called(str(colour), fn, *args)
    assert body.inside.wait(GIVE_UP) or call.result()
    return call


def waits(fn: Any, count: int = 1) -> bool:
    """Wait until so many calls have waited for another."""
    return eventually(lambda: stats_of(fn).waited == count)


def stats_of(fn: Any) -> Any:
    """Return the statistics of an idempotent function."""
    return fn.policies[0].stats()


def record_of(fn: Any, key: Any) -> Record | None:
    """Return what the store has of a key."""
    policy = fn.policies[0]
    return policy.store.perform(Get(policy.scope.at(key)))  # type: ignore[no-any-return]


def hold_elsewhere(
    fn: Any, key: Any, *, lease: float, fingerprint: Any = None, owner: str = "another"
) -> Any:
    """Take a key as a process would that dies without another word; return the answer."""
    policy = fn.policies[0]
    return policy.store.perform(Begin(policy.scope.at(key), owner, fingerprint, lease, 3600.0))


def nothing_left(*fns: Any) -> bool:
    """Wait until no call of these functions is under way any more: no flight, no lease kept."""
    return eventually(
        lambda: not any(len(flights_of(fn.policies[0].store)) for fn in fns) and not len(HEARTBEAT)
    )


@contextlib.contextmanager
def heard(*kinds: Any) -> Iterator[list[Any]]:
    """Collect the events of these kinds."""
    told: list[Any] = []
    with mh.subscribe(told.append, *kinds):
        yield told
