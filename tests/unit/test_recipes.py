"""Recipes: what a decorator was given, and the settings made of it."""

from __future__ import annotations

import importlib
import inspect

import pytest

import meshhook as mh
from meshhook import budgets
from meshhook.recipes import REQUIRED, Recipe, Recipes

KINDS = "bulkhead chaos circuit_breaker fallback hedge idempotent rate_limit retry throttle timeout"
NOT_SETTINGS = {"cls", "fn", "name", "registry"}


def recipes_of(kind: str) -> Recipes:
    return importlib.import_module(f"meshhook.policies.{kind}.decorator").recipes


@pytest.mark.parametrize("kind", KINDS.split())
def test_every_argument_of_a_decorator_is_in_its_recipes(kind: str) -> None:
    """With its default, and those that have none are marked."""
    parameters = inspect.signature(getattr(mh, kind)).parameters
    wanted = {
        name: REQUIRED if each.default is each.empty else each.default
        for name, each in parameters.items()
        if name not in NOT_SETTINGS
    }
    assert recipes_of(kind).defaults == wanted


def test_a_budget_has_recipes_as_well() -> None:
    """Its defaults are those of the class."""
    assert budgets.recipes.defaults == {"ratio": 0.2, "min_per_second": 1.0, "ttl": 10.0}
    assert mh.RetryBudget(ratio=0.5, ttl=10).recipe.given == (("ratio", 0.5), ("ttl", 10))


def test_what_is_the_default_is_not_remembered(registry: mh.Registry) -> None:
    """Whether it was written or not; a policy without anything else shares one empty tuple."""
    bare, written = mh.circuit_breaker(), mh.circuit_breaker(reset_timeout=60.0, max_keys=10_000)
    assert bare.recipe is written.recipe
    assert bare.recipe.given is ()  # noqa: F632 - the very same
    assert bare.settings is written.settings


def test_what_differs_is_remembered_as_it_was_written(registry: mh.Registry) -> None:
    """Not as what it means."""
    policy = mh.retry(max_attempts=5, base_delay="50ms", on=OSError)
    assert dict(policy.recipe.given) == {"max_attempts": 5, "base_delay": "50ms", "on": OSError}
    assert policy.settings.rule.base_delay == 0.05


def test_a_pattern_shares_its_recipe_with_what_it_makes(registry: mh.Registry) -> None:
    """So do policies that were written alike."""

    @mh.timeout(2)
    def one() -> None: ...

    pattern = mh.timeout(2)
    assert pattern(lambda: None).policies[0].recipe is pattern.recipe is one.policies[0].recipe


def test_numbers_that_are_equal_and_no_counts_are_still_refused() -> None:
    """Although True and 1.0 are equal to 1, and 1 was accepted before."""
    mh.circuit_breaker(failure_threshold=1)
    with pytest.raises(mh.ConfigurationError):
        mh.circuit_breaker(failure_threshold=True)
    with pytest.raises(mh.ConfigurationError):
        mh.circuit_breaker(failure_threshold=1.0)  # type: ignore[arg-type]


def test_what_may_change_is_looked_at_each_time(registry: mh.Registry) -> None:
    """A list of error types is read when a function is decorated, as ever."""
    errors: list[type[Exception]] = [OSError]
    first = mh.retry(on=errors)  # type: ignore[arg-type]
    errors.append(ValueError)
    second = mh.retry(on=errors)  # type: ignore[arg-type]
    assert (first.settings.on, second.settings.on) == ((OSError,), (OSError, ValueError))


def test_an_iterator_is_used_up_once(registry: mh.Registry) -> None:
    """The recipe has what was in it."""
    policy = mh.hedge(1, alternatives=iter([len]), idempotent=True)
    assert dict(policy.recipe.given)["alternatives"] == (len,)


def test_settings_are_made_of_layers(registry: mh.Registry) -> None:
    """The last one counts, and all of them are checked together."""
    recipe = mh.timeout(2, mode="thread").recipe
    kind = recipe.kind
    assert kind.settings(recipe.given) == recipe.settings
    assert kind.settings({"seconds": 9}, recipe.given, {"seconds": "5s"}).seconds == 5.0
    assert kind.settings({"max_abandoned": 9}, recipe.given).max_abandoned == 9
    with pytest.raises(mh.ConfigurationError, match="per_item must be"):
        kind.settings(recipe.given, {"per_item": 3})


def test_memory_of_recipes_is_bounded(registry: mh.Registry) -> None:
    """A program that writes ever other settings does not keep them all."""
    for number in range(1, 3_000):
        mh.timeout(number)
    assert len(recipes_of("timeout")._known) <= 1_000


def test_settings_that_were_made_otherwise_can_make_nothing_else() -> None:
    """Such as those of a kind of policy that is not ours."""
    recipe = Recipe.of(5)
    assert (recipe.settings, recipe.given, recipe.kind) == (5, (), None)
    assert Recipe.of(recipe) is recipe


def test_the_same_settings_are_no_conflict(registry: mh.Registry) -> None:
    """However they are written."""
    first = mh.timeout(2, name="db")
    assert mh.timeout("2s", name="db") is first
    with pytest.raises(mh.ConfigurationError, match="it has seconds=2.0, and here it gets"):
        mh.timeout(3, name="db")
