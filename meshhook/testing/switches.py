"""Switches: policies that a test takes out of every stack, and circuits that it opens.

Nothing looks at a switch while calls are made. A guard whose stack has a disabled policy gets a
chain without it, in the place of its own, and gets its own back when the last block ends that has
changed it. So calls cost nothing more where nothing is disabled.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, TypeAlias
from weakref import WeakKeyDictionary

from meshhook import blocks, guard
from meshhook.colour import colour_of, is_async
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

_lock = threading.RLock()
_open: list[list[Policy | str]] = []  # guarded by _lock; what each open block disables
_changed: dict[type[Guard], _Stack] = {}  # guarded by _lock
_originals: list[tuple[type, str, Any]] = []  # guarded by _lock; methods that are replaced
_passed: WeakKeyDictionary[Policy, object] = WeakKeyDictionary()
"""Who owns the blocks of a policy that were entered while it was disabled."""


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
    with _lock:
        _open.append(chosen)
        _review()
    try:
        yield
    finally:
        with _lock:
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
    is_of_pattern = what._is_pattern and what.settings is policy.settings
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
    kept = tuple(policy for policy in policies if not _is_disabled(policy))
    stack = _changed.get(kind)
    if len(kept) == len(policies):
        if stack is not None:
            _changed.pop(kind).restore()
    elif stack is None or stack.kept != kept:
        if stack is None:
            stack = _changed[kind] = _Stack(kind)
        stack.keep(kept)


class _Stack:
    """A guarded function whose stack is changed. Remembers the chains that it had."""

    def __init__(self, kind: type[Guard]) -> None:
        self.kind = kind
        self.kept: tuple[Policy, ...] = ()
        self._call = vars(kind)["__call__"]
        # A descriptor has a chain for calls of itself, and when first bound, one for its methods.
        self._shared: list[Any] | None = vars(kind).get("_self_chains")
        self._chains = list(self._shared or ())

    def keep(self, kept: tuple[Policy, ...]) -> None:
        """Have the function called with these policies around it, and no others."""
        self.kept = kept
        own: Any = self._call.__func__
        fn = own.__wrapped__
        chains = [_chain(fn, fn, kept)]
        if self._shared is not None:
            bound = guard._bound_call(fn, asynchronous=is_async(fn))
            chains.append(_chain(bound, fn, kept))
            self._shared[:] = chains
        for chain in chains:
            chain.__dict__ = own.__dict__  # the very same: what is set on the function shows on all
        self.kind.__call__ = guard._static(chains[0])  # type: ignore[method-assign]

    def restore(self) -> None:
        """Give the function back what it had."""
        if self._shared is not None:
            self._shared[:] = self._chains
        self.kind.__call__ = self._call  # type: ignore[method-assign]


def _chain(innermost: Callable[..., Any], fn: Any, kept: tuple[Policy, ...]) -> Any:
    if kept:
        return guard._chain(innermost, fn, kept, colour_of(fn))[0]

    def passing(*args: Any, **kwargs: Any) -> Any:
        return innermost(*args, **kwargs)

    colour = colour_of(fn)
    chain = guard._as_coroutine_function(innermost) if colour == "async" else passing
    if colour == "stream":
        chain = streams.driver(lambda _args, _kwargs: streams.Visit(), innermost)
    elif colour == "async stream":
        chain = streams.async_driver(_visit_nothing, innermost)
    with contextlib.suppress(TypeError):  # a proxy that answers to every name
        functools.update_wrapper(chain, fn)
    return chain


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
        with _lock:
            _bring_up_to_date(kind)

    Guard.__init_subclass__ = classmethod(made)  # type: ignore[assignment]


def _restore_methods() -> None:
    for kind, name, original in _originals:
        setattr(kind, name, original)
    _originals.clear()
    del Guard.__init_subclass__


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
