"""Plans: what may strike a call, how often, and what comes of it.

A plan is made of settings that were checked. Whatever is a callable is asked for each call; one
that raises, or gives what cannot be used, is logged, and nothing of it strikes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.errors import ConfigurationError, InjectedFaultError
from meshhook.events import logger
from meshhook.settings import Duration, duration, function, unfit, wrong

Rate: TypeAlias = float | Callable[[], float]
"""A share of calls, 0 to 1, or a function that gives one."""
Fault: TypeAlias = Exception | type[Exception] | Callable[[], Exception | None]
"""An error, its type, or a function that makes one; None is for no fault."""
Delay: TypeAlias = Duration | Callable[[], Duration]
"""A duration, or a function that gives one."""

NOTHING: Any = object()
"""In place of a result where there is none."""


@dataclass(slots=True)
class Strike:
    """What strikes one call: a delay, then an error or a result, or the call goes on."""

    latency: float = 0.0
    error: Exception | None = None
    result: Any = NOTHING

    def ends_the_call(self) -> bool:
        """Tell whether the function is not called."""
        return self.error is not None or self.result is not NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What may strike, checked. ``...`` stands for no result."""

    rate: Rate
    fault: Fault | None
    latency: float | Callable[[], Duration]
    result: Any

    def is_idle(self) -> bool:
        """Tell whether it never strikes."""
        return self.rate == 0

    def longest(self) -> float:
        """Return the most seconds that it delays a call; infinite where nobody can tell."""
        return math.inf if callable(self.latency) else self.latency

    def strike(self, strike: Strike, name: str, draw: Callable[[], float]) -> None:
        """Add to ``strike`` what this plan does to a call, if its turn has come."""
        rate = self._rate(name)
        if rate <= 0 or (rate < 1 and draw() >= rate):
            return
        strike.latency += self._latency(name)
        strike.error = self._error(name)
        if strike.error is None:
            strike.result = self._result(name)

    def _rate(self, name: str) -> float:
        if not callable(self.rate):
            return self.rate
        try:
            rate = float(self.rate())
        except Exception:
            logger.exception("rate of chaos %r failed", name)
            return 0.0
        return rate if rate > 0 else 0.0  # which NaN is not

    def _latency(self, name: str) -> float:
        if not callable(self.latency):
            return self.latency
        try:
            return duration("latency", self.latency(), zero=True)
        except Exception:
            logger.exception("latency of chaos %r failed", name)
            return 0.0

    def _error(self, name: str) -> Exception | None:
        if self.fault is None:
            return None
        try:
            return _fresh(self.fault, name)
        except Exception:
            logger.exception("fault of chaos %r failed", name)
            return None

    def _result(self, name: str) -> Any:
        if self.result is ...:
            return NOTHING
        if not callable(self.result):
            return self.result
        try:
            return self.result()
        except Exception:
            logger.exception("result of chaos %r failed", name)
            return NOTHING


def plan(*, rate: Rate, fault: Fault | None, latency: Delay | None, result: Any) -> Plan:
    """Check what may strike. Without anything that does, it is an InjectedFaultError."""
    if fault is None and latency is None and result is ...:
        fault = InjectedFaultError
    if result is not ... and isinstance(fault, (Exception, type)):
        raise ConfigurationError(
            f"result={result!r} and fault={fault!r} exclude each other: a call that fails returns "
            "nothing; give one of them, or a fault that is a function and may return None"
        )
    return Plan(
        rate=_checked_rate(rate),
        fault=_checked_fault(fault),
        latency=_checked_latency(latency),
        result=function("result", result) if callable(result) else result,
    )


def _checked_rate(rate: Any) -> Rate:
    if callable(rate):
        return function("rate", rate)  # type: ignore[no-any-return]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise wrong("rate", rate, "a share from 0 to 1, or a function that gives one")
    return float(rate)


def _checked_latency(latency: Any) -> float | Callable[[], Duration]:
    if callable(latency):
        return function("latency", latency)  # type: ignore[no-any-return]
    return 0.0 if latency is None else duration("latency", latency, zero=True)


def _checked_fault(fault: Any) -> Fault | None:
    if fault is None:
        return None
    if isinstance(fault, Exception) or (isinstance(fault, type) and issubclass(fault, Exception)):
        try:
            _fresh(fault, "")
        except Exception as error:
            raise unfit(
                "fault",
                f"fault={fault!r} cannot be made anew for each call ({type(error).__qualname__}): "
                "give a function that makes it, such as fault=lambda: MyError('down', code=503)",
            ) from error
        return fault
    if isinstance(fault, type) or not callable(fault):
        raise wrong("fault", fault, "an error, a type of errors, or a function that makes one")
    return function("fault", fault)  # type: ignore[no-any-return]


def _fresh(fault: Fault, name: str) -> Exception | None:
    """Make an error of its own for one call: a traceback belongs to one raise."""
    if isinstance(fault, Exception):
        error = copy.copy(fault)
        if type(error) is not type(fault):
            raise TypeError(f"a copy of it is {error!r}")
        return error
    if isinstance(fault, type) and issubclass(fault, InjectedFaultError):
        return fault(f"chaos {name!r} has injected this fault", name=name)
    made: Any = fault()
    if made is not None and not isinstance(made, Exception):
        raise wrong("fault", made, "an error or None")
    return made
