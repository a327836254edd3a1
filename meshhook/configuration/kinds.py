"""Kinds: what may be configured, and how a plain value of a file becomes an argument.

Most arguments are taken as they are, for the decorators check them. Exceptions, functions and
objects are named, as ``"package.module:Name"``; a budget goes by its name, and an adaptive limit is
a table. So whoever writes a file can have any module imported: a file is to be trusted as code is.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from meshhook import errors
from meshhook.configuration.problems import unknown
from meshhook.errors import ConfigurationError
from meshhook.guessing import hint
from meshhook.recipes import REQUIRED, Recipes
from meshhook.settings import wrong

KINDS: Mapping[str, str] = {
    "bulkhead": "meshhook.policies.bulkhead.decorator",
    "chaos": "meshhook.policies.chaos.decorator",
    "circuit_breaker": "meshhook.policies.circuit_breaker.decorator",
    "fallback": "meshhook.policies.fallback.decorator",
    "hedge": "meshhook.policies.hedge.decorator",
    "idempotent": "meshhook.policies.idempotent.decorator",
    "rate_limit": "meshhook.policies.rate_limit.decorator",
    "retry": "meshhook.policies.retry.decorator",
    "retry_budget": "meshhook.budgets",
    "throttle": "meshhook.policies.throttle.decorator",
    "timeout": "meshhook.policies.timeout.decorator",
}
"""Where the recipes of each kind are."""

PROFILE = "profile"
"""Beside the arguments, a policy may say which profile it has."""

_ERRORS = ("abort_on", "fault", "ignore", "on", "pause_on", "record")
_NAMED = (
    *_ERRORS,
    *("alternatives", "backoff", "before_sleep", "codec", "cost", "enabled", "fingerprint"),
    *("handler", "key", "latency", "on_discard", "on_result", "rate", "record_result"),
    *("reset_timeout", "retry_after"),
)
"""Arguments that may be objects of the program. A value of one of them may be a list of names."""

_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_LIMITS = ("aimd", "gradient")
_MOST_VALUES, _DEEPEST = 10_000, 20


def recipes_of(kind: str) -> Recipes:
    """Return what makes the settings of a kind."""
    made: Recipes = importlib.import_module(KINDS[kind]).recipes
    return made


@functools.cache
def arguments_of(kind: str) -> frozenset[str]:
    """Return what may be set for a kind."""
    return frozenset(recipes_of(kind).defaults)


def as_argument(kind: str, argument: str, value: Any, budget_of: Callable[[str], Any]) -> Any:
    """Return what a decorator would be given for ``value``.

    ``budget_of`` finds a budget by its name. Raises ConfigurationError.
    """
    _measure(value, _DEEPEST, [_MOST_VALUES])
    if argument == "store":
        raise ConfigurationError(
            "a store is an object with a connection, which a file cannot hold: give store in the "
            "code"
        )
    if isinstance(value, str) and value == "none" and _may_be_none(kind, argument):
        return None
    if argument == "budget" and isinstance(value, str):
        return budget_of(value)
    if argument == "limit" and isinstance(value, (Mapping, str)):
        return _limit(value)
    if argument in _NAMED:
        find = _error_type if argument in _ERRORS else _named
        return tuple(map(find, value)) if isinstance(value, list) else find(value)
    return value


def _measure(value: Any, depth: int, left: list[int]) -> None:
    """Raise for a value that nobody could look at: a few lines of YAML can make very many."""
    left[0] -= 1
    if depth < 0 or left[0] < 0:
        raise ConfigurationError("the value has too much in it, or is nested too deeply")
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            _measure(each, depth - 1, left)


def _may_be_none(kind: str, argument: str) -> bool:
    recipes = recipes_of(kind)
    annotation = str(recipes.annotations.get(argument, ""))
    return recipes.defaults[argument] is None or "None" in annotation


def _named(value: Any) -> Any:
    """Return the object that a value names, or a value that names none as it is."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return value
    module, _, path = value.partition(":")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise _not_imported(value, why_not(error)) from None
    try:
        return attrgetter(path)(found)
    except AttributeError:
        raise _not_imported(value, f"module {module!r} has no attribute {path!r}") from None
    except (Exception, SystemExit) as error:
        raise _not_imported(value, why_not(error)) from None


def _not_imported(value: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{value!r} cannot be imported: {why}")


def why_not(error: BaseException) -> str:
    """Return why a module cannot be imported; what it says of it itself may be a secret."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"No module named {error.name!r}"
    return f"the module failed with {type(error).__qualname__}"


def _error_type(value: Any) -> Any:
    """Return what a value names; errors of Python and of meshhook may go without module."""
    if not isinstance(value, str):
        return value
    if _NAME.fullmatch(value):
        return _named(value)
    for home in (builtins, errors):
        found = getattr(home, value, None) if value.isidentifier() else None
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    known = [each for each in (*vars(builtins), *vars(errors)) if each.endswith("Error")]
    advice = "write it as 'package.module:Name'"
    if value.isidentifier():
        there = unknown("error of Python or meshhook", known, value).partition(";")[0]
        advice = f"{there}; {advice}"
    raise ConfigurationError(f"{value!r} is no type of errors: {advice}")


def _limit(value: Any) -> Any:
    """Return the adaptive limit that a table tells of."""
    from meshhook.policies.bulkhead import AIMD, Gradient

    kinds: dict[str, Any] = dict(zip(_LIMITS, (AIMD, Gradient), strict=True))
    if not isinstance(value, Mapping):
        raise wrong("limit", value, "a table with a kind, such as 'gradient'")
    word = value.get("kind")
    if word not in _LIMITS:
        error = wrong("limit.kind", word, f"one of {', '.join(map(repr, _LIMITS))}")
        raise ConfigurationError(f"{error}{hint(word, _LIMITS) if isinstance(word, str) else ''}")
    kind = kinds[word]
    for key in value:
        if key != "kind" and key not in kind.__dataclass_fields__:
            raise ConfigurationError(
                f"{key!r} of limit: {unknown('setting', kind.__dataclass_fields__, key)}"
            )
    return kind(**{key: each for key, each in value.items() if key != "kind"})


def check_alone(kind: str, argument: str, value: Any) -> str | None:
    """Return what is wrong with one argument, whatever the others are; None if nothing is.

    What a policy will be given besides is not known before it is made, so only what is wrong by
    itself is told.
    """
    arguments = {**_samples(kind, argument), argument: value}
    try:
        recipes_of(kind).settings(arguments)
    except ConfigurationError as error:
        return str(error) if error._argument == argument else None
    except Exception as error:
        return f"{argument} cannot be used: {type(error).__qualname__}"
    return None


def _samples(kind: str, argument: str) -> dict[str, Any]:
    """Return arguments that let others be looked at."""
    given: dict[str, Any] = {}
    defaults = recipes_of(kind).defaults
    if kind == "idempotent":
        from meshhook.stores.memory import MemoryStore

        given["store"] = MemoryStore()
    if kind == "fallback":
        given |= {"value": None, "last_good": 1}
    if "rate" in defaults and defaults["rate"] is REQUIRED:
        given["rate"] = 1 if argument == "period" else "1/s"  # which has a period of its own
    if argument == "max_keys":
        given["key"] = "{a}"
    return given
