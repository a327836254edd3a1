"""The settings of a rate limit: the small language of rates, and what is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from meshhook.errors import ConfigurationError
from meshhook.judges import ExceptionTypes, check_errors
from meshhook.keys import Key, check_key
from meshhook.rules.fixed_window import FixedWindow
from meshhook.rules.gcra import Gcra
from meshhook.rules.rates import OneRate, Rate
from meshhook.rules.sliding_log import SlidingLog
from meshhook.settings import Duration, choice, count, duration, function, wrong

Algorithm: TypeAlias = Literal["gcra", "sliding_log", "fixed_window"]
"""How starts are counted; see :func:`meshhook.rate_limit`."""

PauseOn: TypeAlias = ExceptionTypes | Callable[[Exception], Duration | None]
"""Types of errors whose Retry-After is heeded, or what tells for how long to pause."""

MAX_KEYS = 10_000
_SECOND = 1_000_000
_MOST = 10**18
"""More calls, or more microseconds (30,000 years), are no rate."""
_ALGORITHMS: dict[str, type[OneRate]] = {
    "gcra": Gcra,
    "sliding_log": SlidingLog,
    "fixed_window": FixedWindow,
}
_SHORT = {
    "d": 86_400 * _SECOND,
    "h": 3_600 * _SECOND,
    "m": 60 * _SECOND,
    "s": _SECOND,
    "ms": 1_000,
    "us": 1,
}
_LONG = {"second": "s", "minute": "m", "hour": "h", "day": "d", "sec": "s", "min": "m"}
_ONE_RATE = re.compile(
    r"\s*(?P<limit>\d{1,18})\s*/\s*(?P<times>\d{1,18}(?:\.\d{1,18})?)?\s*(?P<unit>[a-z]+)"
    r"(?:\s+burst\s+(?P<burst>\d{1,18}))?\s*"
)
_WANTED = (
    "calls in a time, such as '100/s', '5/10s', '100/m burst 20' or '10/s; 1000/h' (units: "
    "us ms s m h d, or second minute hour day), or a whole number with period"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSettings:
    """What a rate limit was given, checked."""

    rates: tuple[Rate, ...]
    algorithm: str
    key: Key | None
    max_keys: int
    cost: int | Callable[..., int]
    max_wait: float
    pause_on: PauseOn | None

    @property
    def rule(self) -> type[OneRate]:
        """The rule of the algorithm."""
        return _ALGORITHMS[self.algorithm]


def rate_limit_settings(
    *,
    rate: str | int,
    period: Duration | None,
    burst: int | None,
    algorithm: str,
    key: Key | None,
    max_keys: int,
    cost: int | Callable[..., int],
    max_wait: Duration | None,
    pause_on: PauseOn | None,
) -> RateLimitSettings:
    """Check all settings of a rate limit."""
    choice("algorithm", algorithm, get_args(Algorithm))
    rates = parse_rates(rate, period, burst, algorithm)
    if not callable(cost):
        fits("cost", count("cost", cost), rates)
    if key is None and max_keys != MAX_KEYS:
        raise ConfigurationError(
            f"max_keys={max_keys!r} is about keys, and there is no key: give key, or leave it out"
        )
    return RateLimitSettings(
        rates=rates,
        algorithm=algorithm,
        key=None if key is None else check_key(key),
        max_keys=count("max_keys", max_keys),
        cost=cost,
        max_wait=math.inf if max_wait is None else duration("max_wait", max_wait, zero=True),
        pause_on=None if pause_on is None else _pause_on(pause_on),
    )


def _pause_on(value: Any) -> PauseOn:
    if callable(value) and not isinstance(value, type):
        return function("pause_on", value, "error")  # type: ignore[no-any-return]
    wanted = "types of errors that say how long to wait, or a function of the error"
    return check_errors("pause_on", value, wanted)


def parse_rates(
    rate: Any, period: Duration | None, burst: int | None, algorithm: str
) -> tuple[Rate, ...]:
    """Read what ``rate``, ``period`` and ``burst`` say."""
    if isinstance(rate, str):
        if period is not None:
            raise ConfigurationError(
                f"rate={rate!r} has its own period, so period={period!r} has no meaning: "
                "leave it out, or give rate as a whole number"
            )
        rates = [_parse_rate(rate, each) for each in rate.split(";")]
    elif isinstance(rate, int) and not isinstance(rate, bool) and 0 < rate <= _MOST:
        seconds = duration("period", 1.0 if period is None else period)
        rates = [(rate, _microseconds(period, seconds), None)]
    else:
        raise wrong("rate", rate, _WANTED)
    bursts = [own for _, _, own in rates]
    if burst is not None:
        if count("burst", burst) > _MOST:
            raise wrong("burst", burst, f"at most {_MOST:.0e}: more than that is no limit")
        if len(rates) > 1 or bursts != [None]:
            raise ConfigurationError(
                f"burst={burst!r} does not tell which rate it belongs to: write it into "
                f"rate={rate!r}, such as '10/s burst 20; 1000/h'"
            )
        bursts = [burst]
    if algorithm != "gcra" and bursts != [None] * len(bursts):
        raise ConfigurationError(
            f"burst is for algorithm='gcra', and algorithm={algorithm!r} has none: its limit is "
            "what may start at once; leave burst out"
        )
    return Rates(
        Rate(limit, length, limit if own is None else own)
        for (limit, length, _), own in zip(rates, bursts, strict=True)
    )


def _parse_rate(whole: str, text: str) -> tuple[int, int, int | None]:
    match = _ONE_RATE.fullmatch(text)
    if match is None:
        raise wrong("rate", whole, _WANTED)
    unit = _SHORT.get(_LONG.get(match["unit"].removesuffix("s"), match["unit"]))
    if unit is None:
        raise wrong("rate", whole, _WANTED)
    limit = int(match["limit"])
    length = round(float(match["times"] or 1) * unit)
    own = None if match["burst"] is None else int(match["burst"])
    if limit < 1 or length < 1 or own == 0:
        raise wrong("rate", whole, f"{_WANTED}; none of its numbers is 0")
    return limit, length, own


def _microseconds(period: Any, seconds: float) -> int:
    length = seconds * _SECOND
    if not 1 <= round(min(length, 2 * _MOST)) <= _MOST:
        raise wrong("period", period, "from 1 microsecond to 30,000 years")
    return round(length)


def fits(argument: str, cost: int, rates: tuple[Rate, ...]) -> int:
    """Return ``cost``, if a call of that cost can ever start."""
    most = min(rate.burst for rate in rates)
    if cost > most:
        raise ConfigurationError(
            f"{argument}={cost} is more than may ever start at once ({most}, by the rate "
            f"{as_text(rates)!r}), so the call would never be admitted: raise the burst or the "
            "limit, or split the call"
        )
    return cost


class Rates(tuple[Rate, ...]):
    """Several rates, which show themselves as they may be written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(as_text(self))


def as_text(rates: tuple[Rate, ...]) -> str:
    """Return rates as they may be written."""
    return "; ".join(map(_one_as_text, rates))


def _one_as_text(rate: Rate) -> str:
    unit = next(name for name, length in _SHORT.items() if rate.period % length == 0)
    times = rate.period // _SHORT[unit]
    burst = "" if rate.burst == rate.limit else f" burst {rate.burst}"
    return f"{rate.limit}/{'' if times == 1 else times}{unit}{burst}"
