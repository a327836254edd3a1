"""Policy: one rule around a call. What every decorator of meshhook is made of.

A policy is a plain object with a name, frozen settings and state. It decorates functions
(``@policy``), runs a call directly (``policy.call``, ``await policy.acall``), shows its ``stats()``
and can be ``reset()``. Around a function it is a *driver*: a closure that ``bind``,
``bind_async``, ``bind_stream`` or ``bind_async_stream`` makes once, when the function is decorated.

A policy without a name is a pattern: each function that it decorates gets a policy of its own,
named after the function, so that nothing is shared by accident. A named one is shared by all that
use it. A pattern may also run calls itself; it then goes by the name of its kind.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from meshhook import guard
from meshhook.changes import Changeable
from meshhook.colour import is_async, not_for_streams, refuse_streams
from meshhook.errors import ConfigurationError
from meshhook.recipes import Recipe
from meshhook.registry import Registry
from meshhook.rules.sketch import Sketch
from meshhook.settings import printable
from meshhook.stats import Stats

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Policy(Changeable):
    """One rule around a call. Safe to share between threads, tasks and event loops."""

    kind: ClassVar[str]
    """What the policy is called in errors, events and statistics, such as ``circuit_breaker``."""

    why_no_streams: ClassVar[str] = "it gives items while it is iterated, and no result when called"
    """What the error says where the policy is put around a generator function, and cannot be."""

    looks_outside: ClassVar[bool] = False
    """Whether the drivers depend on the policies around: the methods that make them are then given
    those, the outermost first, as a third argument. A stack is bound anew with each policy that is
    put around it."""

    def __init__(self, settings: Any, registry: Registry) -> None:
        self.settings = settings
        self.registry = registry
        self.recipe: Recipe | None = None
        self._name: str | None = None
        self._is_pattern = False
        self._has_decorated = False

    @classmethod
    def shared(cls, name: str | None, settings: Any, registry: Registry | None) -> Self:
        """Return the policy that has ``name`` in ``registry``, or a pattern if there is no name.

        ``settings`` are a recipe, or settings of a kind that cannot be configured from outside.
        """
        registry = Registry.given(registry)
        recipe = Recipe.of(settings)
        if name is None:
            pattern = cls(recipe.settings, registry)
            pattern.recipe = recipe
            pattern._is_pattern = True
            return pattern
        printable("name", name)
        return registry.share(cls.kind, name, recipe, lambda checked: cls(checked, registry))

    @property
    def name(self) -> str:
        """The name in the registry; a policy used without one gets the name of its kind.

        Raises ConfigurationError for one without a name that has decorated functions: the state is
        theirs, and each has its own.
        """
        if self._name is None and self._has_decorated:
            raise ConfigurationError(
                f"this {self.kind} has no name, so each function that it decorated has one of its "
                "own: look at fn.policies, or give it a name to share one"
            )
        self._take_name()
        return self._name or self.kind

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child. The registry of the policy asks for it."""

    def _take_name(self) -> None:
        """Go by the name of the kind from now on, if there is no other: a call is run directly."""
        if self._name is None:
            self.registry.adopt(self, self.kind)

    def __call__(self, fn: F, /) -> F:
        """Put this policy around ``fn``, outside of those that it already has."""
        guarded: F = guard.attach(fn, self._for_function(fn))
        return guarded

    def _for_function(self, fn: Callable[..., Any]) -> Policy:
        if not self._is_pattern:
            return self
        self._has_decorated = True
        return self._adopted(self.default_name(fn))

    def _adopted(self, name: str) -> Self:
        """Make a policy like this one for a function of that name."""
        recipe = self.recipe or Recipe.of(self.settings)
        return self.registry.make(
            self.kind, name, recipe, lambda checked: type(self)(checked, self.registry)
        )

    def _twin(self, new: Any) -> Self:
        twin = type(self)(new, self.registry)
        twin._name = self._name
        return twin

    @staticmethod
    def default_name(fn: Any) -> str:
        """Return the name of a policy that was given none: the module and name of ``fn``."""
        while isinstance(fn, functools.partial):
            fn = fn.func
        if not isinstance(getattr(fn, "__qualname__", None), str):
            fn = type(fn)
        return f"{getattr(fn, '__module__', None) or '?'}.{fn.__qualname__}"

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver around ``call``, which ends in the sync function ``fn``.

        Attributes of the driver, which must be no plain functions, are shown by the guard as well.
        """
        raise NotImplementedError

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the driver around ``call``, which ends in the async function ``fn``."""
        raise NotImplementedError

    def bind_stream(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the driver around ``call``, which ends in the generator function ``fn``.

        It is a generator function: see :mod:`meshhook.runtime.streams`. A policy that has none
        refuses streams, by default.
        """
        raise not_for_streams(fn, self.kind, self.why_no_streams)

    def bind_async_stream(
        self, call: Callable[..., Any], fn: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make the driver around ``call``, which ends in the async generator function ``fn``."""
        raise not_for_streams(fn, self.kind, self.why_no_streams)

    def longest(self, inner: float) -> float:
        """Return the most seconds that a call takes whose inside takes ``inner`` at most.

        Infinite where nothing bounds it. For :func:`meshhook.explain`.
        """
        return inner

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the sync function ``fn`` under this policy."""
        if is_async(fn):
            raise TypeError(f"{fn!r} is async: use `await policy.acall(fn, ...)`")
        refuse_streams(fn, self.kind)
        self._take_name()
        guarded = self.bind(guard.with_a_frame(fn), fn)
        return guarded(*args, **kwargs)  # type: ignore[no-any-return]

    async def acall(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``fn``, which is async or returns an awaitable, under this policy."""
        refuse_streams(fn, self.kind)
        self._take_name()
        call = fn if is_async(fn) else awaiting(fn)
        return await self.bind_async(call, fn)(*args, **kwargs)  # type: ignore[no-any-return]

    def stats(self) -> Stats:
        """Return what the policy has counted. Never blocks a call."""
        raise NotImplementedError

    def durations(self) -> Sketch | None:
        """Return how long calls took since the start; None for a policy that does not time them."""
        return None

    def reset(self) -> None:
        """Go back to the state of a new policy; counters since the start are kept."""

    def describe(self) -> str:
        """Return the policy in a few words: kind, name and what it was set to."""
        return f"{self.kind}({self.name!r})"

    def __repr__(self) -> str:
        if self._name is None:
            return f"<{self.kind} without a name>"
        return f"<{self.describe()}>"


def awaiting(fn: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Make an async function of one that returns awaitables."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        if not inspect.isawaitable(result):
            raise TypeError(f"{fn!r} is not async: use `policy.call(fn, ...)`")
        return await result

    return call
