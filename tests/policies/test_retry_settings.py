"""What a retry and a budget may be told, and what they answer to nonsense."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook.rules.backoff import Curve, Jitter

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_attempts": 0}, r"max_attempts .* 1 or more, got 0; the first call counts"),
    ({"max_attempts": -1}, "max_attempts"),
    ({"max_attempts": 2.5}, "max_attempts"),
    ({"max_attempts": True}, "max_attempts"),
    ({"max_attempts": "3"}, "max_attempts"),
    ({"max_attempts": None}, "max_attempts=None sets no limit, so max_elapsed must"),
    ({"on": ()}, "on must be types of errors to retry"),
    ({"on": KeyboardInterrupt}, "cancellation and interrupts never are"),
    ({"on": (OSError, GeneratorExit)}, "on must be"),
    ({"on": 5}, "on must be an exception type"),
    ({"on": "OSError"}, "on must be"),
    ({"on": lambda: True}, "on must be a function of error"),
    ({"abort_on": 5}, "abort_on must be"),
    ({"on_result": 5}, "on_result must be a function of result"),
    ({"on_result": lambda: True}, "on_result must be"),
    ({"backoff": "exp"}, r"backoff must be one of 'constant', .*, or a function of the attempt"),
    ({"backoff": 1.0}, "backoff must be one of"),
    ({"backoff": int}, "backoff must be one of"),
    ({"backoff": lambda: 1}, "backoff must be a function of attempt, error"),
    ({"backoff": lambda _a, _b, _c: 1}, "backoff must be a function of"),
    ({"base_delay": -1}, "base_delay must be a duration of 0 or more"),
    ({"base_delay": math.nan}, "base_delay"),
    ({"base_delay": "1"}, "for seconds write '1s'"),
    ({"max_delay": math.inf}, "max_delay"),
    ({"max_delay": 0.05}, r"max_delay=0\.05 is less than base_delay=0\.1"),
    ({"factor": 0.5}, "factor must be a number of 1 or more"),
    ({"factor": math.nan}, "factor"),
    ({"factor": math.inf}, "factor"),
    ({"factor": "2"}, "factor"),
    ({"factor": True}, "factor"),
    ({"jitter": "some"}, r"jitter must be one of 'full', 'equal', 'decorrelated', 'none', or"),
    ({"jitter": 1.5}, "jitter"),
    ({"jitter": -0.1}, "jitter"),
    ({"jitter": True}, "jitter"),
    ({"jitter": "decorrelated", "backoff": lambda _: 1}, "makes the delays itself"),
    ({"max_elapsed": 0}, "max_elapsed must be a duration of more than 0"),
    ({"respect_retry_after": 1}, "respect_retry_after must be True or False"),
    ({"max_retry_after": -1}, "max_retry_after"),
    ({"retry_after": 5}, "retry_after must be a function of outcome"),
    ({"retry_after": lambda _: 1, "respect_retry_after": False}, "leave one of them out"),
    ({"budget": 0.2}, r"budget must be a meshhook\.RetryBudget"),
    ({"before_sleep": 5}, "before_sleep must be a function of pause"),
    ({"name": ""}, "name must be printable"),
    ({"registry": {}}, "registry must be"),
]


async def async_hook(_: Any) -> bool:
    """Never be awaited by anybody."""
    return True


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings_are_refused(settings: Any, message: str) -> None:
    """Where they are written, with the argument, the value and what to write."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.retry(**settings)


@pytest.mark.parametrize(
    "argument", ["on", "abort_on", "on_result", "backoff", "retry_after", "before_sleep"]
)
def test_async_hooks_are_refused(argument: str) -> None:
    """Nobody would await them."""
    settings: Any = {argument: async_hook}
    with pytest.raises(mh.ConfigurationError, match="no async one"):
        mh.retry(**settings)


@pytest.mark.parametrize("given", [3, "name", None.__class__])
def test_settings_are_given_by_keyword(given: Any) -> None:
    """A number in the place of the function is an error, and so is a class."""
    with pytest.raises((mh.ConfigurationError, TypeError), match="retry"):
        mh.retry(given)


def test_values_of_every_kind() -> None:
    """Enums, text, timedeltas, builtins that do not tell what they take."""
    policy = mh.retry(
        backoff=Curve.LINEAR,
        jitter=Jitter.EQUAL,
        base_delay=timedelta(milliseconds=5),
        max_delay="1s",
        registry=mh.Registry(),
    )
    rule = policy.settings.rule
    assert (rule.curve, rule.jitter) == (Curve.LINEAR, Jitter.EQUAL)
    assert (rule.base_delay, rule.max_delay) == (0.005, 1.0)
    assert mh.retry(on=[OSError, ValueError]).settings.on == (OSError, ValueError)
    assert mh.retry(backoff=min).settings.delay_of_error is False
    assert mh.retry(jitter=0).settings.rule.jitter is None


def test_a_named_budget_is_the_same_setting(registry: mh.Registry) -> None:
    """Two retries of one name may each ask for it."""
    first = mh.retry(
        name="a", budget=mh.RetryBudget(name="db", registry=registry), registry=registry
    )
    again = mh.retry(
        name="a", budget=mh.RetryBudget(name="db", registry=registry), registry=registry
    )
    assert first is again
    with pytest.raises(mh.ConfigurationError, match="exists with other settings"):
        mh.retry(name="a", budget=mh.RetryBudget(registry=registry), registry=registry)


WRONG_BUDGETS: list[tuple[dict[str, Any], str]] = [
    ({"ratio": -0.1}, "ratio must be a share"),
    ({"ratio": 20}, r"for 20 % write 0\.2"),
    ({"ratio": True}, "ratio"),
    ({"ratio": math.nan}, "ratio"),
    ({"min_per_second": -1}, "min_per_second must be a number of attempts, 0 or more"),
    ({"min_per_second": math.inf}, "min_per_second"),
    ({"min_per_second": 10**400}, "min_per_second"),
    ({"min_per_second": False}, "min_per_second"),
    ({"ratio": 0, "min_per_second": 0}, "allow no extra attempt ever"),
    ({"ttl": 0}, "ttl must be a duration of more than 0"),
    ({"name": "\n"}, "name must be printable"),
    ({"registry": 5}, "registry must be"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG_BUDGETS)
def test_wrong_budgets_are_refused(settings: Any, message: str) -> None:
    """As wrong settings are everywhere."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.RetryBudget(**settings)
