"""Streams in a bulkhead: a slot from the first item to the end or the close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.streams import Reader, failing, paint, read


def _items(*_: Any) -> Iterator[int]:
    yield 1
    yield 2


@pytest.fixture
def bulkhead(registry: mh.Registry) -> Any:
    """Make a bulkhead with one slot."""
    return mh.bulkhead(1, name="db", registry=registry)


def in_use(bulkhead: Any) -> int:
    """Return how many slots are taken."""
    return int(bulkhead.stats().in_use)


def test_the_slot_is_held_from_the_first_item_to_the_end(colour: Colour, bulkhead: Any) -> None:
    """A stream that nobody iterates has none, and one that is over has none any more."""
    fn = bulkhead(paint(colour, _items))
    first, second = Reader(colour, fn()), Reader(colour, fn())
    assert in_use(bulkhead) == 0
    assert first.next() == 1
    assert in_use(bulkhead) == 1
    with pytest.raises(mh.BulkheadFullError):
        second.next()
    assert first.rest() == [2]
    assert in_use(bulkhead) == 0
    assert read(colour, fn) == [1, 2]
    stats = bulkhead.stats()
    assert (stats.admitted, stats.rejected) == (2, 1)


def test_every_end_gives_the_slot_back(colour: Colour, bulkhead: Any) -> None:
    """A close, an error of the stream, one of the consumer, an interrupt."""
    fn = bulkhead(paint(colour, _items))
    for error in (OSError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            read(colour, bulkhead(paint(colour, failing([1], error))))
        assert in_use(bulkhead) == 0
    reader = Reader(colour, fn())
    reader.next()
    with pytest.raises(KeyError):
        reader.throw(KeyError())
    assert in_use(bulkhead) == 0
    reader = Reader(colour, fn())
    reader.next()
    reader.close()
    assert in_use(bulkhead) == 0


def test_a_stream_that_is_thrown_away_gives_its_slot_back(bulkhead: Any) -> None:
    """In both colours."""
    stream: Any = bulkhead(_items)()
    next(stream)
    del stream
    assert in_use(bulkhead) == 0

    async def body() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> None:
        async for _ in bulkhead(body)():
            assert in_use(bulkhead) == 1
            break
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        assert in_use(bulkhead) == 0

    asyncio.run(main())


def test_a_stream_waits_for_a_slot(registry: mh.Registry) -> None:
    """At its first item, in a thread and in a task; a cancelled one leaves the queue."""
    bulkhead = mh.bulkhead(1, max_queue=5, max_wait=5, name="db", registry=registry)

    async def body() -> AsyncIterator[int]:
        yield 1
        yield 2

    fn: Any = bulkhead(body)

    async def main() -> None:
        first = fn()
        await anext(first)
        cancelled = asyncio.ensure_future(anext(fn()))
        waiting = fn()
        task = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bulkhead.stats().waiting == 2
        cancelled.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled
        await first.aclose()
        assert await task == 1
        await waiting.aclose()
        assert (in_use(bulkhead), bulkhead.stats().waiting) == (0, 0)

    asyncio.run(main())
    stream: Any = bulkhead(_items)()
    next(stream)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(bulkhead(_items)()))
    thread.start()
    stream.close()
    thread.join(5)
    assert got == [1, 2]


def test_a_family_of_slots(colour: Colour, registry: mh.Registry) -> None:
    """Each key has its own, held until the end."""

    def body(host: str) -> Iterator[str]:
        yield host
        yield host

    bulkhead: Any = mh.bulkhead(1, key="{host}", name="db", registry=registry)
    fn = bulkhead(paint(colour, body))
    one, other = Reader(colour, fn("a")), Reader(colour, fn(host="b"))
    assert (one.next(), other.next()) == ("a", "b")
    with pytest.raises(mh.BulkheadFullError):
        read(colour, fn, "a")
    assert bulkhead._family.find("a").users == 1
    one.close()
    other.close()
    assert [bulkhead._family.find(key).users for key in "ab"] == [0, 0]


def test_an_adaptive_limit_learns_the_time_inside(
    colour: Colour, registry: mh.Registry, frozen: Any
) -> None:
    """The consumer takes none of it, and what he ends early is no sample."""
    bulkhead: Any = mh.bulkhead(limit=mh.AIMD(), name="db", registry=registry)
    samples: list[float] = []
    place = bulkhead._place
    learn = type(place).learn

    def body() -> Iterator[int]:
        frozen.tick(1)
        yield 1
        frozen.tick(2)
        yield 2

    def spy(self: Any, began: float, now: float, **more: Any) -> Any:
        samples.append(now - began)
        return learn(self, began, now, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(place), "learn", spy)
        fn = bulkhead(paint(colour, body))
        reader = Reader(colour, fn())
        reader.next()
        frozen.tick(50)
        assert reader.rest() == [2]
        reader = Reader(colour, fn())
        reader.next()
        reader.close()
    assert samples == [pytest.approx(3)]
    assert in_use(bulkhead) == 0
