"""The block form: a loop over attempts, each of which is a ``with`` block.

The ``with`` judges how its block has ended, and swallows an error that is to be tried again; the
loop waits. A budget is asked when the loop goes on, so that one that is left owes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from meshhook.policies.retry.series import Series
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking

if TYPE_CHECKING:
    from meshhook.policies.retry.policy import Retry


class Attempt:
    """One attempt of a block. To be entered once, with ``with attempt:``.

    ``number`` counts from 1; ``previous`` is what the attempt before has raised, without its
    traceback, or None.
    """

    __slots__ = ("_series", "_state", "number", "previous")

    def __init__(self, series: Series, previous: Exception | None) -> None:
        self._series = series
        self._state = "new"
        self.number = series.attempts + 1
        self.previous = previous

    def __enter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(
                "this attempt has been entered already; go on with the loop for another"
            )
        self._state = "entered"
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        series = self._series
        self._state = "ended"
        if error is None:
            series.succeeded()
            return False
        if not isinstance(error, Exception):
            series.interrupted()
            return False
        series.failed(error)
        if series.may_go_on():
            self._state = "failed"
            return True
        series.let_go()
        return False

    def __repr__(self) -> str:
        return f"<attempt {self.number}, {self._state}>"


class _Loop:
    """What both colours share: which attempt is the current one."""

    __slots__ = ("_attempt", "_series")

    def __init__(self, policy: Retry) -> None:
        self._series = Series(policy, policy.beginning()())
        self._attempt: Attempt | None = None

    def _is_over(self) -> bool:
        """Tell whether the last attempt has ended for good."""
        attempt = self._attempt
        if attempt is None:
            return False
        if attempt._state in {"new", "entered"}:
            raise RuntimeError(
                "the body of a loop over attempts is one `with` block: write "
                "`for attempt in retrying(...):` and in it `with attempt:` around all that is to "
                "be tried"
            )
        return attempt._state == "ended"

    def _next(self, *, goes_on: bool) -> Attempt:
        """Give the next attempt, or raise the error of the last."""
        if not goes_on and self._series.error is not None:
            try:
                raise self._series.error
            finally:
                self._attempt = None
                self._series.let_go()
        self._attempt = Attempt(self._series, self._series.begin_next())
        return self._attempt


class Blocks(_Loop):
    """The attempts of a sync block."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        if self._is_over():
            raise StopIteration
        first = self._attempt is None
        return self._next(goes_on=first or run_blocking(self._series.pause(BLOCKING)))


class AsyncBlocks(_Loop):
    """The attempts of an async block."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._is_over():
            raise StopAsyncIteration
        first = self._attempt is None
        return self._next(goes_on=first or await self._series.pause(ASYNCIO))
