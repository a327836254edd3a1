"""Streams under chaos: what strikes one strikes before its first item."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime import pauses
from tests.colours import Colour
from tests.streams import Reader, paint, read


def _items() -> Iterator[int]:
    yield 1
    yield 2


def test_nothing_strikes_by_default(colour: Colour, registry: mh.Registry) -> None:
    """A stream goes through, and what is injected later strikes the next one only."""
    policy = mh.chaos(name="storm", registry=registry)
    fn = policy(paint(colour, _items))
    running = Reader(colour, fn())
    assert running.next() == 1
    with policy.inject(fault=OSError("struck")):
        assert running.rest() == [2]
        with pytest.raises(OSError, match="struck"):
            read(colour, fn)
    assert read(colour, fn) == [1, 2]
    assert policy.stats().faults == 1


def test_a_delay_comes_before_the_first_item(
    colour: Colour, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then the stream."""
    slept: list[float] = []

    def in_thread(seconds: float) -> bool:
        slept.append(seconds)
        return True

    async def in_task(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(pauses, "in_thread", in_thread)
    monkeypatch.setattr(pauses, "in_task", in_task)
    fn = mh.chaos(rate=1, latency=0.05, registry=registry)(paint(colour, _items))
    reader = Reader(colour, fn())
    assert slept == []
    assert reader.next() == 1
    assert sum(slept) == pytest.approx(0.05)
    assert reader.rest() == [2]


def test_items_in_place_of_a_stream(colour: Colour, registry: mh.Registry) -> None:
    """A result stands in for it, if it can be iterated."""
    fn = mh.chaos(rate=1, result=[7, 8], registry=registry)(paint(colour, _items))
    assert read(colour, fn) == [7, 8]
    wrong: Any = mh.chaos(rate=1, result=7, registry=registry)(paint(colour, _items))
    with pytest.raises(TypeError, match="is int, which is no stream"):
        read(colour, wrong)
