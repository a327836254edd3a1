"""The settings of chaos: what may strike, and whether it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshhook.dice import Seed, check_seed
from meshhook.policies.chaos.plan import Delay, Fault, Plan, Rate, plan
from meshhook.settings import function, wrong

Enabled: TypeAlias = bool | Callable[[], bool]
"""Whether it may strike, or a function that tells."""


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
    return ChaosSettings(
        plan=plan(rate=rate, fault=fault, latency=latency, result=result),
        enabled=enabled,
        seed=check_seed(seed),
    )
