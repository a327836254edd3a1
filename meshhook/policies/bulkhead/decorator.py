"""The decorator ``bulkhead``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.keys import Key
from meshhook.policies.bulkhead.limits import AdaptiveLimit
from meshhook.policies.bulkhead.policy import Bulkhead
from meshhook.policies.bulkhead.settings import (
    MAX_CONCURRENT,
    MAX_KEYS,
    Order,
    bulkhead_settings,
)
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration

P = ParamSpec("P")
R = TypeVar("R")


@overload
def bulkhead(max_concurrent: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def bulkhead(
    max_concurrent: int = MAX_CONCURRENT,
    *,
    max_queue: int | None = None,
    max_wait: Duration | None = 0.0,
    order: Order = "fifo",
    limit: AdaptiveLimit | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    critical: bool = False,
    name: str | None = None,
    registry: Registry | None = None,
) -> Bulkhead: ...


def bulkhead(
    max_concurrent: Callable[..., Any] | int = MAX_CONCURRENT,
    *,
    max_queue: int | None = None,
    max_wait: Duration | None = 0.0,
    order: Order = "fifo",
    limit: AdaptiveLimit | None = None,
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    critical: bool = False,
    name: str | None = None,
    registry: Registry | None = None,
) -> Any:
    """Let so many calls run at the same time; raise BulkheadFullError for one more.

    Use it bare, with arguments, or as an object: ``@bulkhead``, ``@bulkhead(5, max_wait=1.0)``,
    ``slots = bulkhead(5); slots.call(fn)``, ``with slots:``, ``async with slots:``. Threads and
    tasks of all event loops count together and wait in one queue. A call that a timeout outside
    gave up keeps its slot until its function has really ended.

    Args:
        max_concurrent: how many calls may run at a time. Default 10.
        max_queue: how many more may wait for a slot; the next one is refused. Default: as many as
            may run, if ``max_wait`` lets any wait.
        max_wait: how many seconds (or ``timedelta``, or text such as ``"250ms"``) a call waits for
            a slot. Default 0: it is refused at once. None waits for as long as the deadline allows.
            Every wait ends at the deadline, and none begins when that has passed.
        order: who is next of those who wait: ``"fifo"``, whoever came first, or ``"lifo"``, whoever
            came last. Default ``"fifo"``.
        limit: an adaptive limit in place of a fixed number: ``mh.AIMD(...)`` or
            ``mh.Gradient(...)``. It begins at its own ``initial``.
        key: a template, names or a callable over the arguments; each key gets slots of its own.
        max_keys: how many keys have slots of their own; those without a call make room. Default
            10,000.
        critical: whether the service is not ready while its slots are full: see
            :meth:`meshhook.Registry.health`. Default False.
        name: shared by all bulkheads of that name in the registry; without one, each function that
            is decorated has its own slots, under its name.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        BulkheadFullError: when called while all slots are taken and the call may not wait, or has
            waited for too long.
        RuntimeError: when a sync call would have to wait in a thread where an event loop runs.
        ConfigurationError: here, when a setting is wrong or the name has other settings already.

    Safe to share between threads, tasks and event loops. No lock is held while the function runs.
    """
    if guard.is_target(max_concurrent):
        return bulkhead()(max_concurrent)  # type: ignore[type-var]
    recipe = recipes(
        max_concurrent=max_concurrent,
        max_queue=max_queue,
        max_wait=max_wait,
        order=order,
        limit=limit,
        key=key,
        max_keys=max_keys,
        critical=critical,
    )
    return Bulkhead.shared(name, recipe, registry)


recipes = Recipes(bulkhead_settings, bulkhead)
