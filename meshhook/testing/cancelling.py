"""Cancelling a coroutine at one await point after the other, as an event loop would.

An await point is where the coroutine suspends. There are two moments to be cancelled at it: before
what is awaited is there (asyncio cancels the future as well), and after (the task was to be resumed
when the cancellation came). Or it is thrown away there: nobody awaits it any more, and it is closed
as the collector would close it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

Moment: TypeAlias = Literal["before", "after", "thrown away"]
MOMENTS: tuple[Moment, ...] = ("before", "after", "thrown away")

_ENDLESS = 10_000
"""So many await points have only calls that start anew each time they are cancelled."""


class Stepped:
    """Awaits a coroutine, and has it cancelled at the given await points, counted from 1."""

    def __init__(
        self, call: Awaitable[Any], cancelled_at: Iterable[int], moment: Moment = "before"
    ) -> None:
        self._call = call.__await__()
        self._cancelled_at = frozenset(cancelled_at)
        self._moment = moment
        self.points = 0
        """How many await points it came to."""

    async def run(self) -> Any:
        """Run in the current task."""
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(self._call.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self.points += 1
            cancelled = self.points in self._cancelled_at
            if cancelled and self._moment == "thrown away":
                self._call.close()
                raise asyncio.CancelledError
            if cancelled and self._moment == "before":
                _this_task().cancel()
            try:
                yield awaited
            except BaseException as error:  # thrown in by the event loop
                step = partial(self._call.throw, error)
            else:
                step = partial(self._call.send, None)
            if cancelled and self._moment == "after":
                step = partial(self._call.throw, asyncio.CancelledError())


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("cancelling needs a running task: await it inside a coroutine")
    return task


@dataclass(frozen=True, slots=True)
class Run:
    """One run of :func:`cancel_everywhere`, as its check sees it."""

    point: int
    """The first await point at which it was to be cancelled, counted from 1."""
    moment: Moment
    points: int
    """How many await points it came to."""
    result: Any
    """What it returned; None if it was cancelled."""

    @property
    def was_cancelled(self) -> bool:
        """Tell whether it came to the point; the last run of each moment does not."""
        return self.points >= self.point


async def cancel_everywhere(
    make: Callable[[], Awaitable[Any]],
    check: Callable[[Run], object] | None = None,
    *,
    moments: Iterable[Moment] = ("before", "after"),
    times: int = 1,
) -> int:
    """Run a call again and again, cancelled at its first await point, its second, and so on.

    ``make`` begins a run: it returns the coroutine to await. It ends when one run has come through
    without being cancelled, for each of the ``moments``: ``"before"`` what is awaited is there,
    ``"after"``, and ``"thrown away"``, where the coroutine is closed. With ``times=2`` each run is
    cancelled at two points in a row: again while it cleans up. After each run, also the one that
    came through, ``check`` is called with a :class:`Run` and looks whether anything was left
    behind; it may be async. Returns the number of await points. Run it in a task of its own loop.

    Raises:
        AssertionError: for a call that was cancelled and did not end with ``CancelledError``.
    """
    longest = 0
    for moment in moments:
        for point in range(1, _ENDLESS):
            try:
                run = await _run(make(), point, times, moment)
                outcome = check(run) if check is not None else None
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception as error:
                error.add_note(f"cancelled at await point {point}, {moment!r}")
                raise
            longest = max(longest, run.points)
            if not run.was_cancelled:
                break
        else:
            raise AssertionError(f"the call came to {_ENDLESS} await points, and to no end")
    return longest


async def _run(call: Awaitable[Any], point: int, times: int, moment: Moment) -> Run:
    task = _this_task()
    before = task.cancelling()
    stepped = Stepped(call, range(point, point + times), moment)
    result = None
    try:
        result = await stepped
    except asyncio.CancelledError:
        reached = range(point, min(stepped.points + 1, point + times))
        if task.cancelling() > before + len(reached) * (moment == "before"):
            raise  # the test itself was cancelled
        if not reached:
            raise AssertionError(
                "nobody cancelled the call, and it raised CancelledError"
            ) from None
    else:
        if stepped.points >= point:
            raise AssertionError(f"the call was cancelled, and returned {result!r} all the same")
    finally:
        while task.cancelling() > before:
            task.uncancel()
    return Run(point, moment, stepped.points, result)
