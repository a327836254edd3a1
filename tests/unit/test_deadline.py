"""Deadlines: nesting, what is left, and where they reach."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook.deadline import current


def test_without_a_deadline_nothing_is_limited() -> None:
    """There is no time left to tell, and nothing to check."""
    assert mh.remaining() is None
    mh.check_deadline()


@pytest.mark.parametrize("seconds", [2, 2.0, "2s", "2000ms", timedelta(seconds=2)])
def test_a_deadline_counts_down(frozen: Any, seconds: Any) -> None:
    """What is left shrinks with the clock, and never below 0."""
    with mh.deadline(seconds):
        assert mh.remaining() == pytest.approx(2.0)
        frozen.tick(1.5)
        assert mh.remaining() == pytest.approx(0.5)
        mh.check_deadline()
        frozen.tick(1.0)
        assert mh.remaining() == 0.0
    assert mh.remaining() is None


def test_a_deadline_that_passed_is_told(frozen: Any) -> None:
    """The error says for how long it has been over, and is a TimeoutError of ours."""
    with mh.deadline(1.0):
        frozen.tick(3.5)
        with pytest.raises(mh.TimeoutError, match=r"the deadline passed 2\.5 s ago; give the work"):
            mh.check_deadline()


def test_a_deadline_has_passed_at_its_very_moment(frozen: Any) -> None:
    """With nothing left there is nothing to do."""
    with mh.deadline(0):
        assert mh.remaining() == 0.0
        with pytest.raises(mh.TimeoutError):
            mh.check_deadline()


@pytest.mark.parametrize(("outer", "inner", "left"), [(5, 2, 2), (2, 5, 2), (3, 3, 3)])
def test_nested_deadlines_take_the_earliest(
    frozen: Any, outer: float, inner: float, left: float
) -> None:
    """An inner block can only shorten, and leaving it brings back the outer limit."""
    with mh.deadline(outer):
        with mh.deadline(inner):
            assert mh.remaining() == pytest.approx(left)
            frozen.tick(1)
        assert mh.remaining() == pytest.approx(outer - 1)


def test_leaving_by_an_exception_ends_the_deadline() -> None:
    """Whatever leaves the block leaves the limit behind."""
    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind), mh.deadline(5):
            raise kind
        assert current.get() is None


def test_a_deadline_object_may_be_used_again(frozen: Any) -> None:
    """Each block begins at its own time, inside of itself too."""
    limit = mh.deadline(5)
    with limit:
        frozen.tick(3)
        with limit:
            assert mh.remaining() == pytest.approx(2)
        assert mh.remaining() == pytest.approx(2)
    with limit:
        assert mh.remaining() == pytest.approx(5)
    assert mh.remaining() is None


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "soon", True])
def test_a_bad_deadline_fails_where_it_is_written(seconds: Any) -> None:
    """Before the block is entered."""
    with pytest.raises(mh.ConfigurationError, match="seconds must be a duration of 0 or more"):
        mh.deadline(seconds)


def test_a_block_without_a_deadline(frozen: Any) -> None:
    """For what is to outlive the call that starts it; inside it a new deadline may begin."""
    with mh.deadline(5):
        with mh.deadline(None):
            assert mh.remaining() is None
            frozen.tick(10)
            mh.check_deadline()
            assert mh.timeout(1.0, mode="cooperative").call(mh.remaining) == pytest.approx(1.0)
            with mh.deadline(3):
                assert mh.remaining() == pytest.approx(3)
        assert mh.remaining() == 0


def test_a_task_that_outlives_a_block_is_free_of_its_deadline() -> None:
    """And one that was started without a deadline has none, whatever comes back outside."""

    async def later() -> float | None:
        await asyncio.sleep(0)
        return mh.remaining()

    @mh.timeout(20.0)
    async def call() -> list[asyncio.Task[float | None]]:
        with mh.deadline(10):
            inside = asyncio.create_task(later())
        with mh.deadline(None):
            without = asyncio.create_task(later())
        return [inside, without]

    async def main() -> list[float | None]:
        return [await task for task in await call()]

    inside, without = asyncio.run(main())
    assert inside is not None
    assert (15 < inside <= 20, without) == (True, None)


def test_a_deadline_that_a_generator_leaves_behind_is_over(frozen: Any) -> None:
    """It ends with its block, also where another context has closed that."""

    def items() -> Iterator[int]:
        with mh.deadline(5):
            yield 1

    generator = items()
    with mh.deadline(60):
        next(generator)
        assert mh.remaining() == pytest.approx(5)
        contextvars.copy_context().run(generator.close)  # type: ignore[attr-defined]
        assert mh.remaining() == pytest.approx(60)
        assert mh.timeout(70.0, mode="cooperative").call(mh.remaining) == pytest.approx(60)
        frozen.tick(10)
        mh.check_deadline()
    assert mh.remaining() is None


def test_a_deadline_shows_its_seconds() -> None:
    """As it was made; the time that is left is in :func:`meshhook.remaining`."""
    assert (repr(mh.deadline("2s")), repr(mh.deadline(None))) == ("deadline(2.0)", "deadline(None)")


def test_a_deadline_is_no_decorator() -> None:
    """Around an async function it would end before the function ran, so it is refused."""
    with pytest.raises(TypeError):
        mh.deadline(1)(lambda: None)  # type: ignore[operator]


def test_tasks_inherit_the_deadline_and_keep_their_own() -> None:
    """A task started inside has the limit; what a task sets stays in the task."""

    async def child() -> float | None:
        with mh.deadline(1):
            await asyncio.sleep(0)
            return mh.remaining()

    async def main() -> None:
        with mh.deadline(60):
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            left = mh.remaining()
            assert left is not None
            assert 50 < left <= 60
            inner = await task
            assert inner is not None
            assert 0 < inner <= 1
        assert mh.remaining() is None

    asyncio.run(main())


def test_threads_have_the_deadline_of_the_context_they_run_in() -> None:
    """A new thread has none, unless it is given a copy of the context."""
    seen: list[float | None] = []

    def look() -> None:
        seen.append(mh.remaining())

    with mh.deadline(60):
        for target in (look, lambda: contextvars.copy_context().run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        inherited = contextvars.copy_context()
        thread = threading.Thread(target=inherited.run, args=(look,))
        thread.start()
        thread.join()
    assert seen[:2] == [None, None]
    assert seen[2] is not None
