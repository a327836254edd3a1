"""The settings of a retry: what may be said, and what it means when little is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from meshhook.budgets import RetryBudget
from meshhook.errors import ConfigurationError
from meshhook.judges import Judge, check_errors, check_judge
from meshhook.rules.backoff import Backoff, Curve, Jitter
from meshhook.settings import Duration, count, duration, flag, function, unfit, wrong

DelayOf: TypeAlias = Callable[[int], Duration] | Callable[[int, Exception | None], Duration]
"""Computes a delay from the number of the retry, and, if it takes that, the last error."""
BackoffLike: TypeAlias = Literal["constant", "linear", "exponential", "fibonacci"] | Curve | DelayOf
JitterLike: TypeAlias = Literal["full", "equal", "decorrelated", "none"] | Jitter | float | None

MAX_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """What a retry was given, checked."""

    max_attempts: int | None
    on: Judge
    on_result: Callable[[Any], bool] | None
    abort_on: Judge
    rule: Backoff
    delay_of: Callable[..., Duration] | None
    delay_of_error: bool
    """Whether ``delay_of`` wants the error as well."""
    max_elapsed: float | None
    respect_retry_after: bool
    max_retry_after: float
    retry_after: Callable[[Any], Duration | None] | None
    budget: RetryBudget | None
    before_sleep: Callable[[Any], object] | None


def retry_settings(
    *,
    max_attempts: int | None,
    on: Judge,
    on_result: Callable[[Any], bool] | None,
    abort_on: Judge,
    backoff: BackoffLike,
    base_delay: Duration,
    max_delay: Duration,
    factor: float,
    jitter: JitterLike,
    max_elapsed: Duration | None,
    respect_retry_after: bool,
    max_retry_after: Duration,
    retry_after: Callable[[Any], Duration | None] | None,
    budget: RetryBudget | None,
    before_sleep: Callable[[Any], object] | None,
) -> RetrySettings:
    """Check all settings of a retry against each other."""
    by_hand = callable(backoff) and not isinstance(backoff, type)
    curve = Curve.EXPONENTIAL if by_hand else backoff
    made = RetrySettings(
        max_attempts=_attempts(max_attempts, max_elapsed),
        on=check_errors(
            "on", on, "types of errors to retry; cancellation and interrupts never are"
        ),
        on_result=None if on_result is None else function("on_result", on_result, "result"),
        abort_on=check_judge("abort_on", abort_on),
        rule=_rule(curve, base_delay, max_delay, factor, jitter),
        delay_of=_delay_of(backoff) if by_hand else None,
        delay_of_error=by_hand and not _can_take(backoff, 1),
        max_elapsed=None if max_elapsed is None else duration("max_elapsed", max_elapsed),
        respect_retry_after=flag("respect_retry_after", respect_retry_after),
        max_retry_after=duration("max_retry_after", max_retry_after, zero=True),
        retry_after=(
            None if retry_after is None else function("retry_after", retry_after, "outcome")
        ),
        budget=budget,
        before_sleep=(
            None if before_sleep is None else function("before_sleep", before_sleep, "pause")
        ),
    )
    if budget is not None and not isinstance(budget, RetryBudget):
        raise wrong("budget", budget, "a meshhook.RetryBudget, or None")
    _refuse_what_has_no_use(made)
    return made


def _refuse_what_has_no_use(made: RetrySettings) -> None:
    """Raise for settings that would change nothing, for whoever wrote them expects otherwise."""
    if made.delay_of is not None and made.rule.jitter is Jitter.DECORRELATED:
        raise ConfigurationError(
            "jitter='decorrelated' makes the delays itself, so a function as backoff would never "
            "be called; use jitter='full' or None, or leave backoff out"
        )
    if made.retry_after is not None and not made.respect_retry_after:
        raise ConfigurationError(
            "retry_after is a hook for respect_retry_after, which is False; leave one of them out"
        )


def _attempts(value: Any, max_elapsed: Any) -> int | None:
    if value is None:
        if max_elapsed is None:
            raise ConfigurationError(
                "max_attempts=None sets no limit, so max_elapsed must; give it a duration such as "
                "'30s', or a number of attempts"
            )
        return None
    try:
        return count("max_attempts", value)
    except ConfigurationError as error:
        raise unfit(
            "max_attempts", f"{error}; the first call counts, so 1 means no retry"
        ) from None


def _rule(
    backoff: Any, base_delay: Duration, max_delay: Duration, factor: float, jitter: Any
) -> Backoff:
    base = duration("base_delay", base_delay, zero=True)
    most = duration("max_delay", max_delay, zero=True)
    if most < base:
        raise ConfigurationError(
            f"max_delay={max_delay!r} is less than base_delay={base_delay!r}; "
            "raise the one or lower the other"
        )
    return Backoff(
        curve=_curve(backoff),
        base_delay=base,
        max_delay=most,
        factor=_factor(factor),
        jitter=_jitter(jitter),
    )


def _curve(value: Any) -> Curve:
    try:
        return Curve(value)
    except ValueError:
        names = ", ".join(repr(str(each)) for each in Curve)
        raise wrong("backoff", value, f"one of {names}, or a function of the attempt") from None


def _factor(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= 1e9:  # noqa: PLR2004 - beyond it nothing grows
        raise wrong("factor", value, "a number of 1 or more, by which the delay grows")
    return float(value)


def _jitter(value: Any) -> Jitter | float | None:
    if value is None or value == "none":
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value) if value else None
    try:
        return Jitter(value)
    except ValueError:
        names = ", ".join(repr(str(each)) for each in Jitter)
        raise wrong("jitter", value, f"one of {names}, 'none', or a share from 0 to 1") from None


def _delay_of(value: Any) -> Callable[..., Duration]:
    takes = ("attempt",) if _can_take(value, 1) else ("attempt", "error")
    return function("backoff", value, *takes)  # type: ignore[no-any-return]


def _can_take(fn: Any, arguments: int) -> bool:
    """Tell whether ``fn`` can be called with so many arguments, as far as it tells."""
    try:
        inspect.signature(fn).bind(*range(arguments))
    except TypeError:
        return False
    except ValueError:
        pass  # some builtins do not tell what they take
    return True
