"""The decorator ``rate_limit``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable

from meshhook.keys import Key
from meshhook.policies.rate_limit.policy import RateLimit
from meshhook.policies.rate_limit.settings import (
    MAX_KEYS,
    Algorithm,
    PauseOn,
    rate_limit_settings,
)
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration


def rate_limit(
    rate: str | int,
    period: Duration | None = None,
    *,
    burst: int | None = None,
    algorithm: Algorithm = "gcra",
    key: Key | None = None,
    max_keys: int = MAX_KEYS,
    cost: int | Callable[..., int] = 1,
    max_wait: Duration | None = 0.0,
    pause_on: PauseOn | None = None,
    name: str | None = None,
    registry: Registry | None = None,
) -> RateLimit:
    """Let so many calls start in a time; raise RateLimitedError for one more, or have it wait.

    Use it as a decorator or as an object: ``@rate_limit("100/s")``, ``limit = rate_limit("5/10s");
    limit.call(fn)``, ``with limit:``, ``async with limit:``, ``limit.try_acquire()``. What it
    promises, to the microsecond, is up to ``algorithm``:

    - ``"gcra"``: in any time T, at most ``burst + rate * T`` calls start. One number a key.
    - ``"sliding_log"``: in any stretch of a period, at most ``limit`` calls start. One number a
      call of the limit and key.
    - ``"fixed_window"``: a window begins with the first call after the last one was over, and at
      most ``limit`` calls start in it; so twice as many may start in a moment between two windows.

    Args:
        rate: calls in a time, such as ``"100/s"``, ``"5/10s"`` or ``"100/m burst 20"``. Several,
            as in ``"10/s; 1000/h"``, are checked together, and a call counts in all or in none.
            Units are us ms s m h d. Or a whole number of calls, with ``period``.
        period: the time of a ``rate`` that is a whole number, in seconds (or ``timedelta``, or text
            such as ``"250ms"``). Default 1.
        burst: how many calls may start at once, when none has for a while, with ``"gcra"``. Default
            as many as the rate says; 1 keeps any two calls apart.
        algorithm: how starts are counted, see above.
        key: a template, names or a callable over the arguments; each key gets a limit.
        max_keys: how many keys have a limit of their own; those that are whole again make room.
            Default 10,000.
        cost: how many calls one call counts for: a number, or a callable over the arguments.
        max_wait: for how long a call waits for its turn, first come, first served. One that cannot
            have its turn by then, or before the deadline, is refused at once. Default 0: no call
            waits. None waits for as long as the deadline allows.
        pause_on: types of errors whose ``Retry-After`` pauses the limit, for an hour at most; or a
            function of the error that returns the duration of the pause, or None.
        name: shared by all limits of that name in the registry; without one, each function that is
            decorated has its own, named after it.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        RateLimitedError: when called, if the rate is used up; ``retry_after`` says for how long.
        RuntimeError: when a sync call would have to wait in a thread whose event loop is running.
        ConfigurationError: here, when a setting is wrong or the name has other settings already;
            when called, if the cost is more than may ever start at once.

    Safe to share between threads, tasks and event loops. No lock is held while the function runs,
    and keys do not hold up each other.
    """
    recipe = recipes(
        rate=rate,
        period=period,
        burst=burst,
        algorithm=algorithm,
        key=key,
        max_keys=max_keys,
        cost=cost,
        max_wait=max_wait,
        pause_on=pause_on,
    )
    return RateLimit.shared(name, recipe, registry)


recipes = Recipes(rate_limit_settings, rate_limit)
