"""The settings of a bulkhead: what may be said, and what it means when little is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from meshhook.errors import ConfigurationError
from meshhook.keys import Key, check_key
from meshhook.policies.bulkhead.limits import AIMD, AdaptiveLimit, Gradient, slots
from meshhook.settings import Duration, choice, count, duration, flag, wrong

Order: TypeAlias = Literal["fifo", "lifo"]
"""Who is next of those who wait: whoever came first, or last."""

MAX_CONCURRENT = 10
MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSettings:
    """What a bulkhead was given, checked."""

    max_concurrent: int
    max_queue: int | None
    max_wait: float
    order: str
    limit: AdaptiveLimit | None
    key: Key | None
    max_keys: int
    critical: bool

    @property
    def waits(self) -> bool:
        """Whether a call may wait for a slot at all."""
        return self.max_wait > 0


def bulkhead_settings(
    *,
    max_concurrent: int,
    max_queue: int | None,
    max_wait: Duration | None,
    order: str,
    limit: Any,
    key: Key | None,
    max_keys: int,
    critical: bool,
) -> BulkheadSettings:
    """Check all settings of a bulkhead against each other."""
    if limit is not None and not isinstance(limit, (AIMD, Gradient)):
        raise wrong("limit", limit, "an adaptive limit such as mh.Gradient(), or None")
    slots("max_concurrent", max_concurrent)
    seconds = math.inf if max_wait is None else duration("max_wait", max_wait, zero=True)
    if max_queue is not None:
        count("max_queue", max_queue, least=0)
    made = BulkheadSettings(
        max_concurrent=max_concurrent if limit is None else limit.initial,
        max_queue=max_queue,
        max_wait=seconds,
        order=choice("order", order, get_args(Order)),
        limit=limit,
        key=None if key is None else check_key(key),
        max_keys=count("max_keys", max_keys),
        critical=flag("critical", critical),
    )
    _refuse_what_has_no_use(made, max_concurrent)
    return made


def _refuse_what_has_no_use(made: BulkheadSettings, max_concurrent: int) -> None:
    """Raise for settings that would change nothing, for whoever wrote them expects otherwise."""
    if made.limit is not None and max_concurrent not in (MAX_CONCURRENT, made.limit.initial):
        raise ConfigurationError(
            f"max_concurrent={max_concurrent} and limit={made.limit!r} exclude each other: "
            "an adaptive limit begins at its own initial=; leave max_concurrent out"
        )
    if made.max_queue and not made.waits:
        raise ConfigurationError(
            f"max_queue={made.max_queue} is a queue in which nobody may wait, for max_wait is 0: "
            "give max_wait, or max_wait=None to wait for as long as the deadline allows"
        )
    if made.max_queue == 0 and made.waits:
        raise ConfigurationError(
            "max_queue=0 leaves no place to wait in, so max_wait would change nothing: raise the "
            "one or leave the other out"
        )
    if made.order != "fifo" and not made.waits:
        raise ConfigurationError(
            f"order={made.order!r} is about calls that wait, and none may: give max_wait, or leave "
            "it out"
        )
    if made.key is None and made.max_keys != MAX_KEYS:
        raise ConfigurationError(
            f"max_keys={made.max_keys!r} is about keys, and there is no key: give key, or leave it "
            "out"
        )
