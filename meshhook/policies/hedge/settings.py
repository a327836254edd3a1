"""The settings of a hedge: what may be said, and what it means when little is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from meshhook.budgets import RetryBudget
from meshhook.colour import colour_of
from meshhook.errors import ConfigurationError
from meshhook.judges import Judge, check_errors
from meshhook.settings import Duration, count, duration, function, share, unfit, wrong

QUANTILE = 0.95
MINIMUM_SAMPLES = 20
MINIMUM_DELAY = 0.001
WINDOW = 60.0
_MOST_HEDGES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSettings:
    """What a hedge was given, checked."""

    delay: float | None
    quantile: float
    minimum_samples: int
    minimum_delay: float
    window: float
    max_hedges: int
    on: Judge
    budget: RetryBudget | None
    idempotent: bool
    alternatives: tuple[Callable[..., Any], ...]
    max_extra: int
    grace: float
    on_discard: Callable[[Any], object] | None


def hedge_settings(
    *,
    delay: Duration | None,
    quantile: float,
    minimum_samples: int,
    minimum_delay: Duration,
    window: Duration,
    max_hedges: int,
    on: Judge,
    budget: Any,
    idempotent: Any,
    alternatives: Any,
    max_extra: int,
    grace: Duration,
    on_discard: Any,
) -> HedgeSettings:
    """Check all settings of a hedge against each other."""
    if budget is not None and not isinstance(budget, RetryBudget):
        raise wrong("budget", budget, "a meshhook.RetryBudget, or None for no bound")
    if not isinstance(idempotent, bool):
        raise wrong("idempotent", idempotent, "True if calls may be repeated, or False")
    made = HedgeSettings(
        delay=None if delay is None else duration("delay", delay, zero=True),
        quantile=_quantile(quantile),
        minimum_samples=count("minimum_samples", minimum_samples),
        minimum_delay=duration("minimum_delay", minimum_delay, zero=True),
        window=duration("window", window),
        max_hedges=_hedges(max_hedges),
        on=check_errors(
            "on",
            on,
            "types of errors after which another attempt is started at once; cancellation and "
            "interrupts never are",
        ),
        budget=budget,
        idempotent=idempotent,
        alternatives=_alternatives(alternatives),
        max_extra=count("max_extra", max_extra),
        grace=duration("grace", grace),
        on_discard=None if on_discard is None else function("on_discard", on_discard, "result"),
    )
    _refuse_what_has_no_use(made)
    return made


def _quantile(value: Any) -> float:
    if share("quantile", value) == 1:
        raise unfit(
            "quantile",
            "quantile=1 is slower than every call, so no hedge would start; write 0.99, or give "
            "delay",
        )
    return float(value)


def _hedges(value: Any) -> int:
    if count("max_hedges", value) > _MOST_HEDGES:
        raise wrong("max_hedges", value, f"at most {_MOST_HEDGES:,}, which is a crowd already")
    return value  # type: ignore[no-any-return]


def _alternatives(value: Any) -> tuple[Callable[..., Any], ...]:
    if callable(value):
        raise wrong("alternatives", value, "a tuple of functions; write (function,) for one")
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise wrong("alternatives", value, "a tuple of functions")
    functions = tuple(value)
    for at, fn in enumerate(functions):
        if not callable(fn) or isinstance(fn, type) or colour_of(fn).endswith("stream"):
            wanted = "a function, called in place of the hedged one"
            raise unfit("alternatives", str(wrong(f"alternatives[{at}]", fn, wanted)))
    return functions


def _refuse_what_has_no_use(made: HedgeSettings) -> None:
    """Raise for settings that would change nothing, for whoever wrote them expects otherwise."""
    if len(made.alternatives) > made.max_hedges:
        raise ConfigurationError(
            f"alternatives has {len(made.alternatives)} functions, and max_hedges={made.max_hedges}"
            " never comes to the last; raise max_hedges or leave some out"
        )
    if made.delay is None:
        return
    for argument, default in (
        ("quantile", QUANTILE),
        ("minimum_samples", MINIMUM_SAMPLES),
        ("minimum_delay", MINIMUM_DELAY),
        ("window", WINDOW),
    ):
        value = getattr(made, argument)
        if value != default:
            raise ConfigurationError(
                f"{argument}={value!r} is about a delay that is learned from calls, and "
                f"delay={made.delay:g} is fixed; leave one of them out"
            )
