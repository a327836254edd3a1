"""Interruptions that are not ours, or come at an odd moment, and outer limits of every kind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.deadline import current
from meshhook.runtime.expiry import Expired
from meshhook.runtime.watchdog import watchdog
from tests.colours import Colour
from tests.watched import in_flight

LIMIT = 0.02


def spin() -> None:
    while True:
        time.sleep(0.001)


def without_deadline(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that calls ``fn`` where no deadline is known, as a callback may do."""
    return lambda: contextvars.Context().run(fn)


@pytest.mark.parametrize("outer", ["signal", "interrupt"])
@pytest.mark.parametrize("inner", ["signal", "interrupt", "cooperative"])
def test_the_interruption_of_an_outer_limit_passes_through(inner: Any, outer: Any) -> None:
    """A limit inside that knows nothing of it does not hold it up, and is not blamed for it."""
    begun = False

    def work() -> None:
        nonlocal begun
        begun = True
        spin()

    # On a busy machine the time may be up before the call inside has begun.
    while not begun:
        within, around = mh.timeout(20.0, mode=inner), mh.timeout(LIMIT, mode=outer)
        with pytest.raises(mh.TimeoutError) as caught:
            around.call(without_deadline(lambda: within.call(work)))  # noqa: B023 - called at once
    assert caught.value.timeout == LIMIT
    for policy, how in ((around, "timed_out"), (within, "ignored")):
        assert (policy.stats().calls, getattr(policy.stats(), how)) == (1, 1)


@pytest.mark.parametrize(
    ("colour", "mode"),
    [
        *(("sync", mode) for mode in ("auto", "thread", "signal", "interrupt", "cooperative")),
        *(("async", mode) for mode in ("auto", "cooperative")),
    ],
    indirect=["colour"],
)
def test_an_interruption_of_another_is_not_taken_for_ours(colour: Colour, mode: Any) -> None:
    """Whoever sent it knows it again; here it passes, and the call counts as ignored."""
    of_another = Expired("the limit of another")

    def interrupted() -> None:
        raise of_another

    fn = mh.timeout(20.0, mode=mode)(colour.paint(interrupted))
    with pytest.raises(Expired) as caught:
        colour.call(fn)
    assert caught.value is of_another
    stats = fn.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.calls, stats.ignored, stats.timed_out) == (1, 1, 0)


def test_an_interruption_of_another_ends_a_task_that_waits() -> None:
    """The same for one that comes when the limit is being watched already."""
    of_another = Expired("the limit of another")
    policy = mh.timeout(20.0)

    async def interrupted() -> None:
        await asyncio.sleep(0)
        raise of_another

    with pytest.raises(Expired) as caught:
        asyncio.run(policy.acall(interrupted))
    assert caught.value is of_another
    assert (policy.stats().calls, policy.stats().ignored) == (1, 1)
    assert in_flight(policy.timers) == 0


class Decided(dict[int, Any]):
    """What the watchdog watches; it takes each entry in the moment before the call does."""

    def pop(self, key: int, *default: Any) -> Any:
        if key not in self:
            return super().pop(key, *default)
        del self[key]
        watchdog._firing[threading.get_ident()] = key
        raise type("Now", (Expired,), {"limit": key})


@pytest.mark.parametrize(
    ("work", "outcome"),
    [(lambda: "there", "successes"), (lambda: 1 // 0, "timed_out")],
    ids=["result", "error"],
)
def test_an_interruption_after_the_end_of_a_call(
    work: Any, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is there by then is kept; an error is not, for the time was up."""
    monkeypatch.setattr(watchdog, "watched", Decided())
    policy = mh.timeout(20.0, mode="interrupt")
    if outcome == "successes":
        assert policy.call(work) == "there"
    else:
        with pytest.raises(mh.TimeoutError):
            policy.call(work)
    stats = policy.stats()
    assert (stats.calls, getattr(stats, outcome)) == (1, 1)
    assert watchdog._firing == {}
    assert current.get() is None


def test_a_cooperative_limit_inherits_an_earlier_deadline(colour: Colour, frozen: Any) -> None:
    """What is left inside is what is left outside; a call is not started when that is nothing."""
    fn = mh.timeout(20.0, mode="cooperative")(colour.paint(mh.remaining))
    with mh.deadline(5.0):
        assert colour.call(fn) == pytest.approx(5.0)
        frozen.tick(5.0)
        with pytest.raises(mh.TimeoutError, match="was not started"):
            colour.call(fn)
    assert mh.remaining() is None


@pytest.mark.parametrize("listens", [False, True])
def test_a_call_is_refused_whether_anybody_listens_or_not(listens: bool) -> None:
    """Too many that were given up are still running."""
    release, told = threading.Event(), []
    policy = mh.timeout(0.005, mode="thread", max_abandoned=1)
    try:
        with pytest.raises(mh.TimeoutError):
            policy.call(release.wait)
        subscription = mh.subscribe(told.append)
        if not listens:
            subscription.close()
        with subscription, pytest.raises(mh.RejectedError, match="max_abandoned=1"):
            policy.call(release.wait)
    finally:
        release.set()
    assert len(told) == listens
    assert policy.stats().rejected == 1
