"""Switches: policies that a test takes out of every stack, and circuits that it opens.

Nothing looks at a switch while calls are made. A guard whose stack has a disabled policy gets a
chain without it, in the place of its own, and one with all of its policies when the last block ends
that has changed it. So calls cost nothing more where nothing is disabled.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, TypeAlias
from weakref import WeakKeyDictionary

from meshhook import blocks, guard
from meshhook.colour import is_async
from meshhook.composition.pipeline import Pipeline
from meshhook.errors import ConfigurationError
from meshhook.guard import Guard
from meshhook.policies.circuit_breaker import CircuitBreaker
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.runtime import streams
from meshhook.testing.scoped import scoped
from meshhook.testing.whole import import_everything

Method: TypeAlias = Callable[..., Any]

# All of these are guarded by the lock of guards.
_open: list[list[Policy | str]] = []  # what each open block disables
_changed: dict[type[Guard], tuple[Policy, ...]] = {}  # what is left of the stacks of guards
_originals: list[tuple[type, str, Any]] = []  # methods that are replaced
_passed: WeakKeyDictionary[Policy, object] = WeakKeyDictionary()
"""Who owns the blocks of a policy that were entered while it was disabled."""
_everything = guard.in_force


@scoped
def disabled(*policies: Policy | str) -> Iterator[None]:
    """Have functions called as if those policies were not around them, until the block ends.

    A policy is given as itself, by its kind (``"retry"``), or as ``"kind/name"``, of whichever
    registry. All functions are meant, those decorated inside the block too, and so are direct calls
    (``policy.call`` and the like), loops over attempts, and ``with policy:`` if it ends before this
    block does. What a function shows stays the same. A bound method that was looked up before the
    block keeps its stack. Holds for all threads and tasks of the process; blocks may overlap and
    end in any order.

    Raises:
        ConfigurationError: for what is neither a policy nor the kind of one.
    """
    chosen = list(policies)
    _check(chosen)
    with guard.lock:
        _open.append(chosen)
        _review()
    try:
        yield
    finally:
        with guard.lock:
            _open[:] = [each for each in _open if each is not chosen]
            _review()


@scoped
def force_open(
    breaker: CircuitBreaker | str, *, registry: Registry | None = None
) -> Iterator[CircuitBreaker]:
    """Have a circuit breaker refuse all calls until the block ends; then it is as it was.

    It is given as itself, or by its name in ``registry``, the default one if left out.

    Raises:
        KeyError: if no circuit breaker has that name.
    """
    found = _breaker(breaker, Registry.given(registry)) if isinstance(breaker, str) else breaker
    with found.isolated():
        yield found


def _breaker(name: str, registry: Registry) -> CircuitBreaker:
    there = registry.circuit_breakers
    if name not in there:
        names = ", ".join(map(repr, there)) or "none at all"
        raise KeyError(f"no circuit breaker is named {name!r}; the registry has {names}")
    return there[name]


def _check(chosen: list[Policy | str]) -> None:
    import_everything()
    kinds = {kind.kind for kind in _classes(Policy) if hasattr(kind, "kind")}
    if not chosen:
        raise ConfigurationError("disabled() needs to know what: a kind such as 'timeout'")
    for each in chosen:
        if isinstance(each, Policy) or str(each).partition("/")[0] in kinds:
            continue
        raise ConfigurationError(
            f"disabled() takes policies, 'kind' or 'kind/name', got {each!r}; "
            f"the kinds are {', '.join(sorted(kinds))}"
        )


def _classes(kind: type[Any]) -> Iterator[Any]:
    yield kind
    for below in kind.__subclasses__():
        yield from _classes(below)


def _is_disabled(policy: Policy) -> bool:
    return any(_is_meant(each, policy) for chosen in _open for each in chosen)


def _is_meant(what: Policy | str, policy: Policy) -> bool:
    if isinstance(what, str):
        return what in (policy.kind, f"{policy.kind}/{policy._name}")
    # A pattern means those that it has made: one for each function that it decorated.
    is_of_pattern = what._is_pattern and what.recipe is policy.recipe
    return policy is what or (is_of_pattern and type(policy) is type(what))


def _review() -> None:
    """Bring everything into the state that the open blocks ask for."""
    if _open and not _originals:
        _replace_methods()
    elif _originals and not _open:
        _restore_methods()
    for kind in Guard.__subclasses__():
        _bring_up_to_date(kind)


def _bring_up_to_date(kind: type[Guard]) -> None:
    policies = kind._self_policies
    left = _in_force(policies)
    if _changed.get(kind, policies) == left:
        return
    guard.renew(kind)
    if left == policies:
        del _changed[kind]
    else:
        _changed[kind] = left


def _in_force(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(each for each in policies if not _is_disabled(each)) or (_nothing,)


class _Nothing:
    """What drivers are made by for a stack of which nothing is left."""

    looks_outside = False

    def bind(self, call: Method, fn: Method) -> Method:
        """Call the function."""

        def passing(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

        return passing

    def bind_async(self, call: Method, fn: Method) -> Method:
        """Call the async function."""
        return guard._as_coroutine_function(call)

    def bind_stream(self, call: Method, fn: Method) -> Method:
        """Call the generator function."""
        return streams.driver(lambda _args, _kwargs: streams.Visit(), call)

    def bind_async_stream(self, call: Method, fn: Method) -> Method:
        """Call the async generator function."""
        return streams.async_driver(_visit_nothing, call)


_nothing: Any = _Nothing()


async def _visit_nothing(_args: Any, _kwargs: dict[str, Any]) -> streams.Visit:
    return streams.Visit()


def _replace_methods() -> None:
    """Have the methods of policies ask whether the policy is disabled, and guards report birth."""
    for kind in (Pipeline, *_classes(Policy)):
        for name, passing in _PASSING.items():
            if name in vars(kind) and (kind is not Pipeline or name in ("call", "acall")):
                _originals.append((kind, name, vars(kind)[name]))
                setattr(kind, name, passing(vars(kind)[name]))

    def made(kind: type[Guard]) -> None:
        with guard.lock:
            _bring_up_to_date(kind)

    Guard.__init_subclass__ = classmethod(made)  # type: ignore[assignment]
    guard.in_force = _in_force


def _restore_methods() -> None:
    for kind, name, original in _originals:
        setattr(kind, name, original)
    _originals.clear()
    del Guard.__init_subclass__
    guard.in_force = _everything


def _left_of(caller: Any) -> Any:
    """Return what is left of a policy or a pipeline, or None if all of it is disabled."""
    if isinstance(caller, Policy):
        return None if _is_disabled(caller) else caller
    kept = [policy for policy in caller if not _is_disabled(policy)]
    if len(kept) == len(caller.policies):
        return caller
    return Pipeline(*kept) if kept else None


def _call(original: Method, at: int = 0) -> Method:
    """Pass a call straight to the function, which is argument number ``at``."""

    @functools.wraps(original)
    def call(self: Any, *given: Any, **kwargs: Any) -> Any:
        left, fn = _left_of(self), given[at]
        if left is None and not is_async(fn):
            return fn(*given[at + 1 :], **kwargs)
        return original(left or self, *given, **kwargs)

    return call


def _acall(original: Method, at: int = 0) -> Method:
    @functools.wraps(original)
    async def acall(self: Any, *given: Any, **kwargs: Any) -> Any:
        left, fn = _left_of(self), given[at]
        if left is None:
            return await fn(*given[at + 1 :], **kwargs)
        return await original(left, *given, **kwargs)

    return acall


def _enter(original: Method) -> Method:
    @functools.wraps(original)
    def enter(self: Policy) -> Any:
        return _pass_into(self) if _is_disabled(self) else original(self)

    return enter


def _aenter(original: Method) -> Method:
    @functools.wraps(original)
    async def aenter(self: Policy) -> Any:
        return _pass_into(self) if _is_disabled(self) else await original(self)

    return aenter


def _exit(original: Method) -> Method:
    @functools.wraps(original)
    def leave(self: Policy, *exc: Any) -> Any:
        return None if _has_passed(self) else original(self, *exc)

    return leave


def _aexit(original: Method) -> Method:
    @functools.wraps(original)
    async def aexit(self: Policy, *exc: Any) -> Any:
        return None if _has_passed(self) else await original(self, *exc)

    return aexit


def _pass_into(policy: Policy) -> Policy:
    blocks.enter(_passed.setdefault(policy, object()), None)
    return policy


def _has_passed(policy: Policy) -> bool:
    """Leave the block, if it is one that the policy was disabled in; tell whether it is."""
    owner = _passed.get(policy)
    if owner is None:
        return False
    try:
        blocks.leave(owner)
    except RuntimeError:  # there is none, or it is somebody else's
        return False
    return True


class _OnlyAttempt:
    """The one attempt of a loop over attempts whose retry is disabled."""

    number = 1
    previous = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let every error pass."""


def _iter(original: Method) -> Method:
    @functools.wraps(original)
    def attempts(self: Policy) -> Any:
        return iter([_OnlyAttempt()]) if _is_disabled(self) else original(self)

    return attempts


def _aiter(original: Method) -> Method:
    async def one() -> AsyncIterator[_OnlyAttempt]:
        yield _OnlyAttempt()

    @functools.wraps(original)
    def attempts(self: Policy) -> Any:
        return one() if _is_disabled(self) else original(self)

    return attempts


_PASSING: dict[str, Callable[[Method], Method]] = {
    "call": _call,
    "acall": _acall,
    "run": functools.partial(_call, at=1),
    "arun": functools.partial(_acall, at=1),
    "__enter__": _enter,
    "__exit__": _exit,
    "__aenter__": _aenter,
    "__aexit__": _aexit,
    "__iter__": _iter,
    "__aiter__": _aiter,
}
"""By name, how a method becomes one that lets pass what a disabled policy would look at."""
