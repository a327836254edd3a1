"""A limit per key: each has its own, the others do not wait for it, and there is room for many."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import meshhook as mh
from meshhook.family import LOOK
from tests.colours import Colour
from tests.waiting import Called, eventually


def fetch(host: str, path: str = "/") -> str:
    """Return what it is given."""
    return host + path


@pytest.fixture
def limit(registry: mh.Registry) -> mh.RateLimit:
    """Make a limit with room for three keys."""
    return mh.rate_limit("2/s", key="{host}", max_keys=3, name="api", registry=registry)


def test_each_key_has_a_limit_of_its_own(limit: mh.RateLimit, colour: Colour, frozen: Any) -> None:
    """However the arguments are spelled; the error does not tell the key."""
    fn = limit(colour.paint(fetch))
    assert [colour.call(fn, "a"), colour.call(fn, host="a", path="/x")] == ["a/", "a/x"]
    with pytest.raises(mh.RateLimitedError) as caught:
        colour.call(fn, "a")
    assert str(caught.value) == "rate limit 'api' of 2/s is used up; retry in 0.5 s"
    assert colour.call(fn, "b") == "b/"
    stats = limit.stats()
    assert (stats.admitted, stats.rejected, stats.keys) == (3, 1, 2)
    assert (stats.remaining, stats.retry_after, stats.reset_after) == (None, None, None)


def test_a_key_can_be_looked_at_which_makes_none(limit: mh.RateLimit, frozen: Any) -> None:
    """One that was never seen is whole."""
    assert limit.try_acquire(2, key="a")
    assert not limit.try_acquire(key="a")
    assert limit.try_acquire(key="b")
    assert [limit.remaining(key=key) for key in "abc"] == [0, 1, 2]
    assert (limit.retry_after(key="a"), limit.reset_after(key="a")) == (0.5, 1.0)
    assert limit.stats().keys == 2
    for ask in (limit.remaining, limit.retry_after, limit.reset_after, limit.try_acquire):
        with pytest.raises(TypeError, match="'api' has a limit per key: say which, with key="):
            ask()
    with pytest.raises(TypeError, match="key must be hashable"):
        limit.remaining(key=[])


def test_a_pause_is_of_one_key_or_of_all(limit: mh.RateLimit, frozen: Any) -> None:
    """Those that come later too."""
    limit.pause_for(5, key="a")
    assert [limit.retry_after(key=key) for key in "ab"] == [5.0, 0.0]
    limit.pause_for(10)
    assert [limit.retry_after(key=key) for key in "abc"] == [10.0] * 3
    assert not limit.try_acquire(key="c")
    limit.reset()
    assert [limit.retry_after(key=key) for key in "acd"] == [0.0] * 3
    lone = mh.rate_limit("2/s", name="lone", registry=limit.registry)
    with pytest.raises(TypeError, match="has no key="):
        lone.pause_for(5, key="a")


def test_an_error_pauses_the_limit_of_its_key(registry: mh.Registry, frozen: Any) -> None:
    """What one host says is nothing to the others."""
    limit = mh.rate_limit(
        "2/s", key="{host}", pause_on=lambda _error: 20, name="api", registry=registry
    )

    @limit
    def fail(host: str) -> None:
        raise OSError(host)

    with pytest.raises(OSError):
        fail("a")
    assert [limit.retry_after(key=key) for key in "ab"] == [20.0, 0.0]


def test_a_change_of_the_rate_holds_for_all_keys(limit: mh.RateLimit, frozen: Any) -> None:
    """Those that come later too, also one that was made just before and joins just after."""
    limit.try_acquire(2, key="a")
    early = limit._make_limiter()
    limit.change("5/s")
    assert [limit.remaining(key=key) for key in "ab"] == [3, 5]
    assert limit.try_acquire(5, key="b")
    limit._welcome(early)
    assert early.peek().remaining == 5


def test_only_limits_that_are_whole_make_room(limit: mh.RateLimit, frozen: Any) -> None:
    """Else a key could have its allowance again by way of others; new ones share an overflow."""
    for key in "abc":
        limit.try_acquire(2, key=key)
    for key in "defg":
        limit.try_acquire(key=key)
    assert limit.stats().keys == 4
    assert [limit.remaining(key=key) for key in "abc"] == [0, 0, 0]
    assert limit.stats().rejected == 2
    frozen.tick(10)
    for key in "hij":
        assert limit.try_acquire(key=key)
    stats = limit.stats()
    assert (stats.keys, stats.evicted) == (4, 3)
    assert LOOK >= 3


def test_a_key_that_is_waited_for_is_kept(registry: mh.Registry) -> None:
    """Who waits holds it."""
    limit = mh.rate_limit(
        "1/h", key="{host}", max_keys=1, max_wait=None, name="api", registry=registry
    )
    fn = limit(fetch)
    fn("a")
    waiting = Called("sync", fn, "a")
    assert eventually(lambda: limit.stats().waiting == 1)
    limit.reset()
    assert waiting.result() == "a/"
    assert limit._family is not None
    assert all(each.users == 0 for each in limit._family.members())


def test_keys_do_not_hold_up_each_other(registry: mh.Registry) -> None:
    """A queue at one, and even its lock, is nothing to others: in peers (pyrate-limiter) it was."""
    limit = mh.rate_limit("1/h", key="{host}", max_wait=None, name="api", registry=registry)
    fn = limit(fetch)
    fn("a")
    waiting = [
        Called(colour, limit(Colour(colour).paint(fetch)), "a") for colour in ("sync", "async")
    ]
    assert eventually(lambda: limit.stats().waiting == 2)
    assert limit._family is not None
    with limit._family.get("a").lock:
        assert Called("sync", fn, "b").result() == "b/"
        assert Called("async", limit(Colour("async").paint(fetch)), "c").result() == "c/"
    for ended in (1, 2):
        limit.reset()
        assert eventually(lambda ended=ended: sum(each.ended() for each in waiting) == ended)


def test_many_threads_and_tasks_on_many_keys_get_what_is_theirs(registry: mh.Registry) -> None:
    """With room for a few keys only, each key has its limit and no more."""
    limit = mh.rate_limit("5/h", key="{host}", max_keys=100, name="api", registry=registry)
    fn, later = limit(fetch), limit(Colour("async").paint(fetch))
    started: list[str] = []

    def thread() -> None:
        for number in range(40):
            for host in "abcd":
                try:
                    started.append(fn(f"{host}{number}"))
                except mh.RateLimitedError:
                    continue

    async def task() -> None:
        for number in range(40):
            for host in "abcd":
                try:
                    started.append(await later(f"{host}{number}"))
                except mh.RateLimitedError:
                    continue

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(5)))

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for each in threads:
        each.start()
    asyncio.run(tasks())
    for each in threads:
        each.join()
    own = [f"{host}{number}/" for number in range(25) for host in "abcd"]
    assert sorted(each for each in started if each in own) == sorted(own * 5)
    assert len(started) == 505
    stats = limit.stats()
    assert (stats.admitted, stats.calls, stats.keys) == (505, 9 * 160, 101)
