"""The guard: the wrapt object that a decorated function becomes. Only this module imports wrapt.

A Guard holds the original function and its policies, outermost first, compiled into one chain of
closures. Decorating a Guard again builds a new one over the same function with one policy more, so
a stack of any height costs one wrapper. A foreign decorator in between simply starts a new stack.

Each Guard has a class of its own whose ``__call__`` is the compiled chain as a staticmethod:
wrapt's own call looks up ``__self__`` in the wrapped function each time, and for a plain function
that look-up fails at five times the price of everything else. A method of a class is a plain bound
method of the chain, which therefore shows what the Guard shows.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import wrapt

from meshhook import forks
from meshhook.colour import Colour, colour_of, is_old_coroutine, not_for_streams

if TYPE_CHECKING:
    from meshhook.policy import Policy

GIL_ENABLED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether one bytecode-level read-modify-write is atomic; without it drivers take their lock."""

PLAIN: set[type] = {type(None), bool, int, float, str, bytes, dict, list, tuple}
"""Result types known not to be awaitable; learned as they are seen, see :func:`check_result`."""
_PLAIN_LIMIT = 1_000

_BINDS: dict[Colour, str] = {
    "sync": "bind",
    "async": "bind_async",
    "stream": "bind_stream",
    "async stream": "bind_async_stream",
}
"""The methods of a policy that make its drivers; those of streams are generator functions."""


class _Annotations(dict[str, Any]):
    """None, which is what a class of guards has, and for a guard those of its function.

    A class without annotations gets an empty dict for good when anybody asks for them, and that
    would hide those of the functions. So this is there already.
    """

    def __get__(self, guard: Guard | None, _owner: Any = None) -> Any:
        return self if guard is None else guard.__wrapped__.__annotations__

    def __set__(self, guard: Guard, annotations: Any) -> None:
        guard.__wrapped__.__annotations__ = annotations


class Guard(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A guarded function: behaves as the function, and shows its stack as ``policies``."""

    # Any others would hide those of the function, and so would a `__dict__` of their own.
    __annotations__ = _Annotations()
    _self_policies = cast("tuple[Policy, ...]", ())

    @property
    def _self_chains(self) -> Sequence[Callable[..., Any]]:
        """Whatever of ours is called in place of the function, and has to look like it."""
        return (type(self).__call__,)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies around the function, outermost first."""
        return self._self_policies

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        shown = name in functools.WRAPPER_ASSIGNMENTS
        if shown or name in getattr(self.__wrapped__, "__dict__", ()):
            for chain in self._self_chains:
                setattr(chain, name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        for chain in self._self_chains:
            chain.__dict__.pop(name, None)

    def __get__(self, obj: Any, _owner: Any = None) -> Any:
        return self if obj is None else types.MethodType(type(self).__call__, obj)

    def __repr__(self) -> str:
        stack = " > ".join(policy.describe() for policy in self._self_policies)
        return f"<guarded {_name_of(self.__wrapped__)}: {stack}>"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        if not hasattr(self.__wrapped__, "__qualname__"):
            raise TypeError(f"cannot pickle {self!r}: no module has it under a name of its own")
        return str(self.__qualname__)

    def __reduce_ex__(self, _protocol: Any) -> str:
        return self.__reduce__()

    def __copy__(self) -> Guard:
        return self

    def __deepcopy__(self, _memo: Any) -> Guard:
        return self


def attach(fn: Any, *policies: Policy) -> Any:
    """Put ``policies``, the outermost first, around ``fn`` and the policies that it has already."""
    if issubclass(type(fn), (classmethod, staticmethod)):
        return type(fn)(attach(fn.__func__, *policies))
    if type(fn).__mro__[1:2] == (Guard,):
        return _compile(fn.__wrapped__, (*policies, *fn._self_policies))
    refuse_what_cannot_be_guarded(fn, policies[0].kind)
    return _compile(fn, policies)


def is_target(thing: Any) -> bool:
    """Tell whether ``thing`` was meant to be decorated, as in a decorator used bare."""
    return callable(thing) or isinstance(thing, (classmethod, staticmethod))


def with_a_frame(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fn``, or for one that is not written in Python, a function that calls it.

    While C code runs, the innermost frame is that of its caller. If that is a driver, no signal
    can tell whether the call is still running; the frame of this function says that it is.
    """
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if hasattr(inner, "__code__") or hasattr(type(inner).__call__, "__code__"):
        return fn

    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    framed = types.FunctionType(call.__code__, {"__name__": "c"}, "call", None, call.__closure__)
    framed.__wrapped__ = fn  # type: ignore[attr-defined]
    return framed


def check_result(result: Any) -> None:
    """Refuse an awaitable from a sync function; remember the type of any other result.

    A driver calls this only for a type that is not in ``PLAIN``.
    """
    kind = type(result)
    if isinstance(result, Awaitable):
        if isinstance(result, Coroutine):
            result.close()
        raise TypeError(
            f"a guarded sync function returned an awaitable ({kind.__qualname__}), so nothing of "
            "what it does would be guarded; make the function `async def` and await inside it"
        )
    if len(PLAIN) >= _PLAIN_LIMIT:
        PLAIN.clear()
    PLAIN.add(kind)


def refuse_what_cannot_be_guarded(fn: Any, kind: str) -> None:
    """Raise TypeError for what is no callable, for classes and for old coroutines."""
    if not callable(fn):
        raise TypeError(f"@{kind} decorates a function or another callable, got {fn!r}")
    if inspect.isclass(fn):
        raise TypeError(
            f"@{kind} cannot decorate the class {fn.__qualname__}: decorate its methods, or a "
            "function that makes the instances"
        )
    if colour_of(fn) == "stream" and is_old_coroutine(fn):
        raise not_for_streams(
            fn, kind, "types.coroutine made it awaitable, so write it as an `async def`"
        )


def _compile(fn: Any, policies: tuple[Policy, ...]) -> Any:
    made_in = _round
    colour = colour_of(fn)
    chain, shown = _chain(fn, fn, policies, colour)
    body: dict[str, Any] = {
        "__slots__": (),
        "__call__": _static(chain),
        "_self_policies": policies,
        **shown,
    }
    if type(fn) is not types.FunctionType:
        body["__get__"] = _bind_nothing
        if _binds(fn):
            chains = body["_self_chains"] = [chain]
            body["__get__"] = _bind_descriptor(
                fn, chains, lambda: _method_chain(fn, in_force(policies), colour)
            )
    kind = type("Guard", (Guard,), body)
    if made_in != _round:
        renew(kind)  # settings have changed while the drivers were made
    return kind(fn, _unused)


lock = threading.RLock()
"""Held by whoever exchanges chains, and whoever changes what they are made of."""

_round = 0
"""How often settings have changed. Goes up before any chain is made anew."""


def in_force(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """Return what calls go through of a stack; tests put another function in the place of this."""
    return policies


def rebind(changed: Collection[object]) -> None:
    """Make the chains anew that have one of these policies in them: its settings have changed.

    Calls that run end in the chain in which they began. Nothing is kept for this where functions
    are decorated, so it looks at all guards that there are.
    """
    global _round  # noqa: PLW0603 - one number for the process
    with lock:
        _round += 1
        for kind in _with_any_of(changed):
            renew(kind)


def try_out(in_place_of: Mapping[Any, Any]) -> None:
    """Make the chains that there would be with other policies in the place of some; keep none.

    Raise what the drivers raise that cannot be made.
    """
    for kind in _with_any_of(in_place_of):
        fn: Any = kind.__call__.__wrapped__  # type: ignore[attr-defined]
        policies = tuple(in_place_of.get(each, each) for each in kind._self_policies)
        _chain(fn, fn, policies, colour_of(fn))


def _with_any_of(policies: Collection[object]) -> list[type[Guard]]:
    wanted = frozenset(policies)
    return [kind for kind in Guard.__subclasses__() if not wanted.isdisjoint(kind._self_policies)]


def renew(kind: type[Guard]) -> None:
    """Make the chains of one guard anew, out of the policies that are in force.

    It shows what it has shown, and what its drivers show now. A bound method that was looked up
    before keeps the chain that it has.
    """
    with lock:
        made_in = _round
        old: Any = kind.__call__
        fn, policies = old.__wrapped__, in_force(kind._self_policies)
        colour = colour_of(fn)
        chain, shown = _chain(fn, fn, policies, colour)
        chains = [chain]
        shared = vars(kind).get("_self_chains", ())
        if len(shared) > 1:
            chains.append(_method_chain(fn, policies, colour))
        for each in chains:
            each.__dict__ = old.__dict__  # the very same: what is set on the function shows on all
        old.__dict__.update(shown)
        for name, value in shown.items():
            setattr(kind, name, value)
        if shared:
            shared[:] = chains
        kind.__call__ = _static(chain)  # type: ignore[method-assign]
        if made_in != _round:
            renew(kind)  # a signal handler has changed settings while the drivers were made


def _make_lock_anew() -> None:
    global lock  # noqa: PLW0603 - the parent may have held it while forking
    lock = threading.RLock()


forks.after_in_child(_make_lock_anew)


def _method_chain(fn: Any, policies: tuple[Policy, ...], colour: Colour) -> Callable[..., Any]:
    """Make the chain of what ``fn`` becomes in a class."""
    return _chain(_bound_call(fn, asynchronous=colour == "async"), fn, policies, colour)[0]


def _static(fn: Callable[..., Any]) -> Any:
    """Make a static method that does not take the attributes of ``fn`` over: memory for nothing."""
    made = staticmethod(fn)
    made.__dict__.clear()
    return made


def _chain(
    innermost: Callable[..., Any],
    fn: Callable[..., Any],
    policies: tuple[Policy, ...],
    colour: Colour,
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Put the drivers of ``policies`` around ``innermost``; the outermost looks like ``fn``.

    Return it, and what the drivers show as their attributes; it shows all of them.
    """
    call = with_a_frame(innermost) if colour == "sync" else innermost
    shown: dict[str, Any] = {}
    for at in reversed(range(len(policies))):
        bind = getattr(policies[at], _BINDS[colour])
        call = bind(call, fn, policies[:at]) if policies[at].looks_outside else bind(call, fn)
        shown |= vars(call)
    if colour == "async" and not inspect.iscoroutinefunction(call):
        call = _as_coroutine_function(call)
    try:
        functools.update_wrapper(call, fn)
    except TypeError:  # a proxy that answers to every name, such as a remote procedure
        vars(call)["__wrapped__"] = fn
    vars(call).update(shown, policies=policies)
    return call, shown


def _as_coroutine_function(call: Callable[..., Any]) -> Callable[..., Any]:
    """Give the outermost driver the form that event loops and frameworks expect."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await call(*args, **kwargs)

    return guarded


def _binds(fn: Any) -> bool:
    """Tell whether ``fn`` becomes a method when it is in a class."""
    if isinstance(fn, functools.partial):
        return sys.version_info >= (3, 14)
    return hasattr(type(fn), "__get__") and not isinstance(fn, (types.MethodType, staticmethod))


def _bind_nothing(self: Guard, _obj: Any, _owner: Any = None) -> Any:
    return self


def _bind_descriptor(
    fn: Any, chains: list[Callable[..., Any]], make: Callable[[], Callable[..., Any]]
) -> Callable[..., Any]:
    """Bind what is no plain function to the object, as a method: of the class, if ``fn`` says so.

    The chain of the method is the second of ``chains``; it is made when first asked for, because
    few such callables are ever in a class.
    """
    of_class = isinstance(fn, classmethod)

    def get(self: Guard, obj: Any, owner: Any = None) -> Any:
        if of_class:
            obj = type(obj) if owner is None else owner
        elif obj is None:
            return self
        if len(chains) == 1:
            with lock:
                if len(chains) == 1:
                    chains.append(make())
        return types.MethodType(chains[1], obj)

    return get


def _bound_call(fn: Any, *, asynchronous: bool) -> Callable[..., Any]:
    """Make the call of ``fn`` bound by its own ``__get__`` to the first argument."""
    of_class = isinstance(fn, classmethod)

    def call(obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        bound = fn.__get__(None, obj) if of_class else fn.__get__(obj, type(obj))
        return bound(*args, **kwargs)

    async def call_async(obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await call(obj, *args, **kwargs)

    return call_async if asynchronous else call


def _unused(*_: Any) -> Any:  # pragma: no cover - wrapt asks for it; our __call__ comes first
    raise AssertionError


def _name_of(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or repr(fn))
