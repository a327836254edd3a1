"""Explain: what a call passes on its way to the function, how long that may take, what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from meshhook.composition.lint import StackWarning, lint, raise_for
from meshhook.composition.pipeline import Pipeline
from meshhook.composition.stack import Foreign, function_of, layers_of
from meshhook.policy import Policy
from meshhook.wording import short

_OWN_NAME = "<name of the function>"
"""Shown as the name of a policy that has none, and gets that of each function it decorates."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stack. ``policy`` is None for a decorator that is not of meshhook."""

    policy: Policy | None
    text: str
    """What it is, in a few words."""
    longest: float
    """The most seconds that a call takes from here on; infinite if nothing bounds it.

    What the function does is bounded by nothing but timeouts; a decorator that is not of meshhook
    is taken to add nothing.
    """


@dataclass(frozen=True, slots=True)
class Explanation:
    """A stack as :func:`meshhook.explain` found it. ``print`` it, or read it off its fields."""

    name: str
    """What was explained: the function, ``a pipeline`` or ``a policy``."""
    layers: tuple[Layer, ...]
    """From the outside to the inside."""
    warnings: tuple[StackWarning, ...]
    """What defeats itself in the stack."""

    @property
    def longest(self) -> float:
        """The most seconds that a call takes; infinite if nothing bounds it."""
        return self.layers[0].longest if self.layers else math.inf

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, outermost first."""
        return tuple(layer.policy for layer in self.layers if layer.policy is not None)

    def check(self) -> Self:
        """Raise ConfigurationError if there are warnings; return the explanation if not."""
        raise_for(self.warnings)
        return self

    def __str__(self) -> str:
        lines = [f"{self.name}, from the outside in:" if self.layers else f"{self.name}: no policy"]
        width = max((len(layer.text) for layer in self.layers), default=0)
        lines += [f"  {each.text:<{width}}  {_time(each.longest)}" for each in self.layers]
        lines.append(f"worst case: {_time(self.longest)}")
        for warning in self.warnings:
            lines += [f"warning: {warning.code}: {warning.happens}", f"  fix: {warning.fix}"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def explain(thing: Any, /) -> Explanation:
    """Tell what a call of ``thing`` passes, outermost first, and warn of what defeats itself.

    ``print(explain(fn))`` shows each policy with its settings and the most time that a call takes
    from there on. ``explain(fn).check()`` raises ConfigurationError if there are warnings.

    Takes decorated functions and methods, also with other decorators in between that keep to
    ``functools.wraps``; pipelines; and policies.

    Raises:
        TypeError: for what cannot be called.
    """
    name, found = _read(thing)
    layers: list[Layer] = []
    longest = math.inf
    for each in reversed(found):
        if isinstance(each, Foreign):
            layers.insert(0, Layer(None, f"another decorator: {each.name}", longest))
        else:
            longest = each.longest(longest)
            layers.insert(0, Layer(each, described(each), longest))
    policies = tuple(each for each in found if isinstance(each, Policy))
    return Explanation(name, tuple(layers), lint(policies))


def _read(thing: Any) -> tuple[str, list[Policy | Foreign]]:
    if isinstance(thing, Pipeline):
        return "a pipeline", list(thing)
    if isinstance(thing, Policy):
        return "a policy", [thing]
    if not callable(thing) and not isinstance(thing, (classmethod, staticmethod)):
        raise TypeError(
            f"explain takes a decorated function, a Pipeline or a policy, got {thing!r}"
        )
    return Policy.default_name(function_of(thing)), list(layers_of(thing))


def described(policy: Policy) -> str:
    """Return what ``policy`` says of itself, without giving a name to one that has none."""
    if policy._name is None:
        stand_in = type(policy)(policy.settings, policy.registry)
        stand_in._name = _OWN_NAME
        policy = stand_in
    return policy.describe()


def _time(seconds: float) -> str:
    return "unbounded" if math.isinf(seconds) else f"at most {short(seconds)} s"
