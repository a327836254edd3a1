"""Coroutines that nobody awaits any more: the collector closes them wherever it runs.

That may be in the middle of a call that holds a lock, in the very thread that holds it. The
collector cannot be made to run at such a moment, so the tests hold the lock themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from types import coroutine
from typing import Any

import pytest

import meshhook as mh
from meshhook.stores.pending import Pending
from meshhook.stores.protocol import Get


@coroutine
def suspended() -> Iterator[None]:
    """Suspend once, without an event loop."""
    yield


def begun(guarded: Callable[..., Any], *args: Any) -> Any:
    """Begin a call of ``guarded`` in a context of its own, and stop where it suspends."""
    call = guarded(*args)
    contextvars.copy_context().run(call.send, None)
    return call


def ends(lock: Any, work: Callable[[], object]) -> bool:
    """Tell whether ``work`` ends in a thread that holds ``lock``."""

    def run() -> None:
        with lock:
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5.0)
    return not thread.is_alive()


@pytest.mark.parametrize(
    "settings",
    [{}, {"slow_call_duration": 5.0}, {"key": "{key}"}],
    ids=["straight", "timed", "keyed"],
)
def test_a_breaker_settles_them_in_the_middle_of_a_call(settings: Any) -> None:
    """They count as ignored, and block nobody."""
    breaker = mh.circuit_breaker("db", registry=mh.Registry(), **settings)

    @breaker
    async def waiting(key: int) -> None:
        await suspended()

    assert ends(breaker._lock, begun(waiting, 1).close)
    assert breaker.stats().ignored == 1


def test_a_memory_store_gets_their_keys_back_in_the_middle_of_a_call() -> None:
    """A key that is given back while another one is taken blocks nobody."""
    store = mh.MemoryStore()

    @mh.idempotent("{key}", store=store, registry=mh.Registry())
    async def waiting(key: int) -> None:
        await suspended()

    assert ends(store._lock, begun(waiting, 1).close)
    (policy,) = waiting.policies
    stats = policy.stats()
    assert (stats.calls, stats.released, stats.running) == (1, 1, 0)


def test_a_reply_is_abandoned_in_the_middle_of_being_settled() -> None:
    """Whoever waited for it is gone; the lane, which settles it, goes on."""
    reply = Pending("command", bound=5.0)

    async def wait() -> None:
        await reply

    async def main() -> bool:
        call = wait()
        call.send(None)
        return ends(reply._lock, call.close)

    assert asyncio.run(main())
    assert reply.abandoned


def test_the_lane_takes_what_gives_back_in_the_middle_of_a_submission() -> None:
    """A key that was acquired for a call that is thrown away is given back later, not never."""
    store = mh.RedisStore("redis://127.0.0.1:1")
    lane = store._lane
    try:
        assert ends(lane._lock, lambda: store.submit(Get("key")))
    finally:
        store.close()
