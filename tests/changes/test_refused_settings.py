"""Policies whose settings do not fit what lies over them: nobody gets one that goes by neither."""

from __future__ import annotations

from typing import Any

import pytest

import meshhook as mh


def configure(settings: Any, **options: Any) -> None:
    mh.configure(settings, environment=False, **options)


def test_a_pattern_that_is_refused_is_refused_each_time(registry: mh.Registry) -> None:
    """It is in no registry and runs no call, until the configuration fits."""
    configure({"defaults": {"circuit_breaker": {"window_calls": 10}}})
    breaker = mh.circuit_breaker(window=5, failure_rate_threshold=0.4)
    for _ in range(3):
        with pytest.raises(mh.ConfigurationError, match="window and window_calls exclude"):
            breaker.call(len, "abc")
        assert (len(registry), repr(breaker)) == (0, "<circuit_breaker without a name>")
    configure({"defaults": {"circuit_breaker": {"minimum_calls": 7}}})
    assert breaker.call(len, "abc") == 3
    assert registry.circuit_breakers == {"circuit_breaker": breaker}
    assert breaker.settings.rules.minimum_calls == 7


def test_a_budget_that_is_refused_is_refused_each_time(registry: mh.Registry) -> None:
    """That of the file stays as the file says, for those who name it there."""
    policies = {"retry_budget": {"up": {"min_per_second": 0}}, "retry": {"db": {"budget": "up"}}}
    configure({"policies": policies}, strict=False)
    made = registry.retry_budgets["up"]
    for _ in range(3):
        with pytest.raises(mh.ConfigurationError, match="allow no extra attempt ever"):
            mh.RetryBudget(ratio=0, name="up")
        assert (made.settings.ratio, made.settings.min_per_second) == (0.2, 0.0)
    assert mh.RetryBudget(ratio=0.5, name="up") is made
    assert (made.settings.ratio, made.settings.min_per_second) == (0.5, 0.0)
    with pytest.raises(mh.ConfigurationError, match="exists with other settings: it has ratio"):
        mh.RetryBudget(ratio=0, name="up")
