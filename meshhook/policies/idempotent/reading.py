"""A function that is idempotent: what reads its calls, and what can be done about one of them.

``key_for``, ``get`` and ``clear`` of a decorated function are methods of its reading. They take a
call, and execute nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshhook.colour import is_async
from meshhook.errors import ConfigurationError
from meshhook.keys import Callee
from meshhook.policies.idempotent.fingerprint import compile_fingerprint
from meshhook.policies.idempotent.names import compile_at
from meshhook.policies.idempotent.results import Results
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking

if TYPE_CHECKING:
    from meshhook.policies.idempotent.policy import Idempotent
    from meshhook.runtime.protocol import Runtime


class Reading:
    """What reads the calls of one function: their places, fingerprints and results."""

    __slots__ = ("_fn", "at_of", "fingerprint_of", "policy", "results")

    def __init__(self, policy: Idempotent, fn: Callable[..., Any]) -> None:
        key = policy.settings.key
        if key is None:
            raise ConfigurationError("key is needed to call by it; use run(key, fn, ...) instead")
        self.policy = policy
        self._fn = fn
        callee = Callee(fn)
        self.at_of = compile_at(policy.scope, key, callee, policy.missing)
        self.fingerprint_of = compile_fingerprint(
            policy.settings.fingerprint, callee, key, longest=policy.longest_fingerprint
        )
        self.results = Results(policy.settings, fn)

    def show_on(self, driver: Callable[..., Any]) -> None:
        """Give a driver what the decorated function can do besides being called."""
        vars(driver).update(key_for=self.key_for, get=self.get, clear=self.clear)

    def key_for(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of such a call, fit to be handed on as an idempotency key."""
        return self.policy.key_text(self._at(args, kwargs))

    def get(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return what is known of such a call, or None; nothing is executed."""
        at = self._at(args, kwargs)
        return self._answer(lambda io: self.policy.look_up(io, at, self.results))

    def clear(self, /, *args: Any, **kwargs: Any) -> Any:
        """Forget such a call, so that the next is executed."""
        at = self._at(args, kwargs)
        return self._answer(lambda io: self.policy.forget(io, at))

    def _answer(self, ask: Callable[[Runtime], Any]) -> Any:
        return ask(ASYNCIO) if is_async(self._fn) else run_blocking(ask(BLOCKING))

    def _at(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if inspect.isfunction(self._fn):
            _refuse_what_is_no_call(self._fn, args, kwargs)
        return self.at_of(args, kwargs)


def _refuse_what_is_no_call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise TypeError for arguments that ``fn`` does not take; a method takes an object first.

    What is looked up as ``service.pay.clear`` does not know of the object before it.
    """
    signature = inspect.signature(fn)
    given = signature.bind_partial(*args, **kwargs).arguments
    first = next(iter(signature.parameters), "")
    if first in ("self", "cls") and not hasattr(given.get(first), fn.__name__):
        raise TypeError(
            f"{fn.__qualname__}() is a method, and its key needs the object as the first argument, "
            f"as in {fn.__qualname__}.key_for({first}, ...)"
        )
