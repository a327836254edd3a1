"""Random numbers of a policy: those of everybody, or, with a seed, the same in each run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeAlias

from meshhook.settings import wrong

Seed: TypeAlias = int | str | bytes | None
"""Where the random numbers of a policy begin, or None."""


def check_seed(value: Any) -> Seed:
    """Return ``value`` if it is a seed."""
    if isinstance(value, bool) or not isinstance(value, (int, str, bytes, type(None))):
        raise wrong("seed", value, "a whole number or text, or None")
    try:
        random.Random(value)  # noqa: S311 - no secret
    except ValueError:
        raise wrong("seed", value, "text that can be encoded") from None
    return value


def dice(seed: Seed) -> Callable[[], float]:
    """Return what draws numbers from 0 up to 1. Safe to share between threads."""
    return random.random if seed is None else random.Random(seed).random  # noqa: S311 - no secret
