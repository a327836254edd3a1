"""Injection: faults, delays and results for the functions that a test calls, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshhook.policies.chaos import Chaos
from meshhook.policies.chaos.plan import Delay, Fault, Rate
from meshhook.registry import Registry
from meshhook.testing.scoped import scoped


@scoped
def inject(
    chaos: Chaos | str,
    *,
    fault: Fault | None = None,
    latency: Delay | None = None,
    result: Any = ...,
    rate: Rate = 1.0,
    registry: Registry | None = None,
) -> Iterator[Chaos]:
    """Have calls below a ``@meshhook.chaos`` fail, wait or return something, until the block ends.

    It is given as itself, or by its name in ``registry``, the default one if left out; without a
    name of its own, that is the module and name of the function. The other arguments are those of
    :func:`meshhook.chaos`; all calls are struck unless ``rate`` says less. Holds for all threads
    and tasks; blocks may be nested, and the innermost is asked first.

    Raises:
        KeyError: if no chaos has that name.
        ConfigurationError: for arguments that cannot be used.
    """
    found = _chaos(chaos, Registry.given(registry)) if isinstance(chaos, str) else chaos
    with found.inject(fault=fault, latency=latency, result=result, rate=rate):
        yield found


def _chaos(name: str, registry: Registry) -> Chaos:
    there = registry.chaos
    if name not in there:
        names = ", ".join(map(repr, there)) or "none at all"
        raise KeyError(
            f"no chaos is named {name!r}; the registry has {names}. Put @meshhook.chaos({name!r}) "
            "right above the function that is to be struck"
        )
    return there[name]
