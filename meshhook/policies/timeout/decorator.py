"""The decorator ``timeout``: what it may be told, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from meshhook import guard
from meshhook.policies.timeout.policy import Timeout
from meshhook.policies.timeout.settings import Mode, timeout_settings
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration

P = ParamSpec("P")
R = TypeVar("R")


@overload
def timeout(seconds: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def timeout(
    seconds: Duration | None = 30.0,
    *,
    per_item: Duration | None = None,
    mode: Mode = "auto",
    message: str | None = None,
    name: str | None = None,
    max_abandoned: int = 32,
    registry: Registry | None = None,
) -> Timeout: ...


def timeout(
    seconds: Callable[..., Any] | Duration | None = 30.0,
    *,
    per_item: Duration | None = None,
    mode: Mode = "auto",
    message: str | None = None,
    name: str | None = None,
    max_abandoned: int = 32,
    registry: Registry | None = None,
) -> Any:
    """Let a call take so long and no longer; raise TimeoutError then.

    Use it bare, with arguments, or as an object: ``@timeout``, ``@timeout(2.0)``,
    ``timeout("250ms").call(fn)``, ``await timeout(2).acall(fn)``, ``async with timeout(2):``. The
    limit is the deadline of everything inside (:func:`meshhook.remaining`), and a deadline from
    outside that is earlier takes its place. An async function is cancelled at the limit, and a
    result that it returns nevertheless is kept. A sync function is stopped as ``mode`` says:

    - ``"thread"``: it runs in a worker thread, in a copy of the context. The caller is freed on
      time; the function itself goes on until it ends, and is counted as abandoned.
    - ``"signal"``: SIGALRM interrupts it, every second until it ends. In the main thread only;
      breaks into blocking calls.
    - ``"interrupt"``: an exception is raised in its thread at the next bytecode, and again every
      second. Cheap, and in any thread, but it cannot break into a blocking call.
    - ``"process"``: it runs in another process, which is killed. The function must be importable,
      arguments and result must pickle. The start of the process does not count.
    - ``"cooperative"``: nothing stops it; it asks ``remaining()`` or calls ``check_deadline()``.
    - ``"auto"``: signal in the main thread, unless somebody else's timer is running; else thread.

    Args:
        seconds: the limit, in seconds (or ``timedelta``, or text such as ``"250ms"``). Default 30.
            None is for streams that have a limit for each item alone.
        per_item: for generator functions, sync and async: the limit for each item, in seconds.
            ``seconds`` is for all items together then. Only the time inside of the generator
            counts, and between two items nothing is limited: that time is the consumer's.
        mode: how a sync function is stopped. Async functions know ``"auto"`` and ``"cooperative"``.
        message: the text of the error, instead of one that tells what took how long.
        name: shared by all timeouts of that name in the registry; without one, each function that
            is decorated has its own counters, under its name.
        max_abandoned: in a thread, how many calls may go on after their limit before further ones
            are refused. Default 32.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        TimeoutError: when called, if the limit ran out; ``timeout`` is the limit in force.
        NoTimeLeftError: when called, if a deadline outside has passed already.
        RejectedError: when called, if too many calls that ran out of time are still running.
        ConfigurationError: here, when a setting is wrong or the name has other settings already;
            when decorating, when the mode does not fit the function.

    Safe to share between threads, tasks and event loops.
    """
    if guard.is_target(seconds):
        return timeout()(seconds)  # type: ignore[type-var]
    recipe = recipes(
        seconds=seconds,
        per_item=per_item,
        mode=mode,
        message=message,
        max_abandoned=max_abandoned,
    )
    return Timeout.shared(name, recipe, registry)


recipes = Recipes(timeout_settings, timeout)
