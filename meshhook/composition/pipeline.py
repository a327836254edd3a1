"""Pipeline: several policies as one object, to put around many functions.

It is an order and nothing else: state, names and counters are those of its policies. A function
that is decorated with it gets the stack that it would have got from the decorators one by one, but
compiled in one go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from meshhook import guard
from meshhook.colour import is_async, refuse_streams
from meshhook.composition.lint import check_order
from meshhook.composition.stack import policies_of
from meshhook.errors import ConfigurationError
from meshhook.policy import Policy, awaiting
from meshhook.settings import flag

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Pipeline:
    """Several policies as one, the outermost first.

    ``Pipeline(retry(), timeout(2))`` decorates a function as ``@retry()`` above ``@timeout(2)``
    does, and any number of functions: a policy that has a name is shared by all of them, and of
    one that has none each function gets its own. Pipelines among the policies stand for what is in
    them.

    With ``strict_order=True`` an order that defeats itself raises ConfigurationError, here or when
    a function is decorated that has policies already: see :func:`meshhook.explain`.

    Safe to share between threads, tasks and event loops.
    """

    __slots__ = ("_policies", "strict_order")

    def __init__(self, *policies: Policy | Pipeline, strict_order: bool = False) -> None:
        self.strict_order = flag("strict_order", strict_order)
        self._policies = tuple(_flat(policies))
        if not self._policies:
            raise ConfigurationError(
                "a pipeline needs at least one policy: write Pipeline(timeout(2)) or the like"
            )
        self._check(self._policies)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies, outermost first."""
        return self._policies

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._policies)

    def __call__(self, fn: F, /) -> F:
        """Put the policies around ``fn``, outside of those that it already has."""
        self._check((*self._policies, *policies_of(fn)))
        # From the inside, as decorators are applied: it is the order in which names are taken.
        own = [policy._for_function(fn) for policy in reversed(self._policies)]
        guarded: F = guard.attach(fn, *reversed(own))
        return guarded

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the sync function ``fn`` under the policies."""
        if is_async(fn):
            raise TypeError(f"{fn!r} is async: use `await pipeline.acall(fn, ...)`")
        refuse_streams(fn, "a pipeline")
        call = guard._chain(fn, fn, self._used(), "sync")[0]
        return call(*args, **kwargs)  # type: ignore[no-any-return]

    async def acall(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``fn``, which is async or returns an awaitable, under the policies."""
        refuse_streams(fn, "a pipeline")
        call = fn if is_async(fn) else awaiting(fn)
        chain = guard._chain(call, fn, self._used(), "async")[0]
        return await chain(*args, **kwargs)  # type: ignore[no-any-return]

    def _used(self) -> tuple[Policy, ...]:
        """Return the policies, each with a name to go by."""
        for policy in reversed(self._policies):
            policy._take_name()
        return self._policies

    def _check(self, policies: tuple[Policy, ...]) -> None:
        if self.strict_order:
            check_order(policies)

    def __repr__(self) -> str:
        return f"<Pipeline: {' > '.join(map(_called, self._policies))}>"


def _flat(policies: tuple[Any, ...]) -> Iterator[Policy]:
    for each in policies:
        if isinstance(each, Pipeline):
            yield from each
        elif isinstance(each, Policy):
            yield each
        else:
            given = getattr(each, "__name__", None)
            hint = f"; write {given}() with its settings" if guard.is_target(each) and given else ""
            raise TypeError(
                f"Pipeline takes policies, one by one, such as timeout(2), got {each!r}{hint}"
            )


def _called(policy: Policy) -> str:
    """Return kind and name, without giving a name to one that has none."""
    return policy.kind if policy._name is None else f"{policy.kind}({policy._name!r})"
