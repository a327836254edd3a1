"""The settings of chaos: what may strike, and whether it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.policies.chaos.plan import Delay, Fault, Plan, Rate, plan
from meshhook.settings import function, wrong

Enabled: TypeAlias = bool | Callable[[], bool]
"""Whether it may strike, or a function that tells."""
Seed: TypeAlias = int | str | bytes | None
"""Where the random numbers begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosSettings:
    """What chaos was given, checked."""

    plan: Plan
    enabled: Enabled
    seed: Seed


def chaos_settings(
    *,
    rate: Rate,
    fault: Fault | None,
    latency: Delay | None,
    result: Any,
    enabled: Enabled,
    seed: Seed,
) -> ChaosSettings:
    """Check all settings of chaos."""
    if callable(enabled):
        function("enabled", enabled)
    elif not isinstance(enabled, bool):
        raise wrong("enabled", enabled, "True, False or a function that tells")
    if isinstance(seed, bool) or not isinstance(seed, (int, str, bytes, type(None))):
        raise wrong("seed", seed, "a whole number or text, or None")
    return ChaosSettings(
        plan=plan(rate=rate, fault=fault, latency=latency, result=result),
        enabled=enabled,
        seed=seed,
    )
