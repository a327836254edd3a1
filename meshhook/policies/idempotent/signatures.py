"""What a type checker knows of an idempotent function: its signature, its colour, its keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

if TYPE_CHECKING:
    from meshhook.policies.idempotent.results import Outcome
    from meshhook.policy import Policy

P = ParamSpec("P")
Rest = ParamSpec("Rest")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class IdempotentFunction(Protocol[P, R_co]):
    """A sync function that is executed once per key."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies around the function, outermost first."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Execute the call, or return the recorded result."""

    @overload
    def __get__(self, obj: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(
        self: IdempotentFunction[Concatenate[S, Rest], R_co], obj: S, owner: Any = None
    ) -> Callable[Rest, R_co]: ...

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of such a call, fit to be handed on as an idempotency key."""

    def get(self, *args: P.args, **kwargs: P.kwargs) -> Outcome | None:
        """Return what is known of such a call, or None; nothing is executed."""

    def clear(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget such a call, so that the next is executed."""


class AsyncIdempotentFunction(Protocol[P, R_co]):
    """An async function that is executed once per key."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies around the function, outermost first."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Execute the call, or return the recorded result."""

    @overload
    def __get__(self, obj: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncIdempotentFunction[Concatenate[S, Rest], R_co], obj: S, owner: Any = None
    ) -> Callable[Rest, Awaitable[R_co]]: ...

    def key_for(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of such a call, fit to be handed on as an idempotency key."""

    async def get(self, *args: P.args, **kwargs: P.kwargs) -> Outcome | None:
        """Return what is known of such a call, or None; nothing is executed."""

    async def clear(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget such a call, so that the next is executed."""
