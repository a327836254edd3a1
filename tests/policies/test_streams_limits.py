"""Streams under what counts or refuses them before their first item: rate limits and throttles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.streams import Reader, failing, paint, read


def _items(*_: Any) -> Iterator[int]:
    yield 1
    yield 2


def test_a_stream_counts_once(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """With its first item; one that nobody iterates costs nothing, and items cost nothing."""
    limit = mh.rate_limit("2/s", name="api", registry=registry)
    fn = limit(paint(colour, _items))
    Reader(colour, fn()).close()
    assert read(colour, fn) == [1, 2]
    waiting = Reader(colour, fn())
    assert limit.stats().admitted == 1
    assert waiting.next() == 1
    with pytest.raises(mh.RateLimitedError):
        read(colour, fn)
    assert waiting.rest() == [2]
    frozen.tick(1)
    assert read(colour, fn) == [1, 2]
    assert (limit.stats().admitted, limit.stats().rejected) == (3, 1)
    frozen.tick(1)
    with pytest.raises(OSError, match="gone"):
        read(colour, limit(paint(colour, failing([1], OSError("gone")))))


def test_a_refusal_can_be_retried(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """Nothing was started by then."""
    fn = mh.rate_limit("1/s", registry=registry)(paint(colour, _items))
    assert read(colour, fn) == [1, 2]
    refused = Reader(colour, fn())
    with pytest.raises(mh.RateLimitedError) as caught:
        refused.next()
    frozen.tick(caught.value.retry_after)
    with pytest.raises(refused.over):
        refused.next()
    assert read(colour, fn) == [1, 2]


def test_the_first_item_says_that_a_stream_is_taken(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """Many that run at a time are no refusals, and what goes wrong later is none either."""
    throttle = mh.throttle(name="api", registry=registry)
    fn = throttle(paint(colour, _items))
    running = [Reader(colour, fn()) for _ in range(50)]
    assert [reader.next() for reader in running] == [1] * 50
    stats = throttle.stats()
    assert (stats.accepted, stats.failures, stats.chance) == (50, 0, 0)
    for reader in running:
        reader.close()
    late = Reader(colour, throttle(paint(colour, failing([1], OSError("late"))))())
    assert late.next() == 1
    with pytest.raises(OSError, match="late"):
        late.next()
    assert (throttle.stats().calls, throttle.stats().accepted) == (51, 51)


def test_streams_that_are_not_taken_are_dropped(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """A service that gives no first item gets fewer of them."""
    throttle = mh.throttle(name="api", seed=1, key=lambda *_: "one", registry=registry)
    fn = throttle(paint(colour, failing([], OSError("no"))))
    seen: list[type] = []
    for _ in range(200):
        with pytest.raises((OSError, mh.ThrottledError)) as caught:
            read(colour, fn)
        seen.append(caught.type)
    stats = throttle.stats()
    assert stats.failures == seen.count(OSError)
    assert stats.rejected == seen.count(mh.ThrottledError) > 50
    assert throttle._family.find("one").users == 0  # type: ignore[union-attr]
