"""What the error of a retried call tells, and what it keeps alive."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import traceback
import weakref
from dataclasses import dataclass
from typing import Any

import pytest

import meshhook as mh
from tests.colours import Colour
from tests.policies.retry_calls import Flaky, Pauses, collected, frames, slept

__all__ = ["slept"]


def retry(**settings: Any) -> mh.Retry:
    """Make a retry with delays of one second."""
    given = {"backoff": "constant", "base_delay": 1.0, "jitter": None, **settings}
    return mh.retry(registry=mh.Registry(), **given)


def raised_by(colour: Colour, fn: Any) -> Any:
    """Return the error that a call raises."""
    try:
        colour.call(fn)
    except Exception as error:
        return error
    raise AssertionError


def test_the_last_error_itself_is_raised(colour: Colour, slept: Pauses) -> None:
    """With one note, and the earlier errors."""
    errors = [OSError(1), OSError(2), OSError(3)]
    error = raised_by(colour, retry()(colour.paint(Flaky(*errors))))
    assert error is errors[2]
    assert error.__notes__ == ["meshhook: 3 attempts, the last 2 s after the first had failed"]
    assert mh.attempts_of(error) == tuple(errors)


def test_an_error_of_a_single_attempt_has_no_note(colour: Colour) -> None:
    """There is nothing to tell."""
    error = raised_by(colour, retry(max_attempts=1)(colour.paint(Flaky(OSError))))
    assert not hasattr(error, "__notes__")
    assert mh.attempts_of(error) == (error,)


def test_one_that_is_not_to_be_retried_after_one_that_was(colour: Colour, slept: Pauses) -> None:
    """The note says so."""
    error = raised_by(colour, retry(on=OSError)(colour.paint(Flaky(OSError, ValueError))))
    (note,) = error.__notes__
    assert note.endswith("; this error is not one to be retried")
    assert note.startswith("meshhook: 2 attempts, the last 1 s after the first had failed; ")


def test_the_traceback_names_the_retry_once(colour: Colour, slept: Pauses) -> None:
    """Then comes the function; whatever number of attempts there was."""

    def fail() -> None:
        deeper()

    def deeper() -> None:
        raise OSError

    below = ["painted"] if colour.name == "async" else []
    for attempts in (1, 2, 5):
        for settings in ({}, {"on_result": lambda _: False}):
            fn = retry(max_attempts=attempts, **settings)(colour.paint(fail))
            names = frames(raised_by(colour, fn).__traceback__)
            assert names[names.index("guarded") :] == ["guarded", *below, "fail", "deeper"]


def test_a_stack_of_retries_is_named_once_each(colour: Colour, slept: Pauses) -> None:
    """One frame for each, and one note."""
    inner = retry(max_attempts=2)(colour.paint(Flaky(OSError)))
    error = raised_by(colour, retry(max_attempts=3)(inner))
    assert frames(error.__traceback__).count("guarded") == 2
    assert error.__notes__ == ["meshhook: 3 attempts, the last 4 s after the first had failed"]
    assert len(mh.attempts_of(error)) == 3
    assert all(len(mh.attempts_of(each)) == 2 for each in mh.attempts_of(error)[:-1])


def test_wrong_arguments_are_the_error_of_the_call(colour: Colour, slept: Pauses) -> None:
    """A TypeError that no frame of the function has raised."""

    def takes_none() -> None:
        """Never get here."""

    fn = retry()(colour.paint(takes_none) if colour.name == "sync" else takes_none_async)
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        colour.call(fn, 1)


async def takes_none_async() -> None:
    """Never get here."""


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_context_of_an_error_is_its_own(attempts: int, colour: Colour, slept: Pauses) -> None:
    """Neither another attempt nor what the caller is handling takes its place."""

    def fail() -> None:
        try:
            raise KeyError
        except KeyError:
            raise OSError from ValueError()

    fn = retry(max_attempts=attempts)(colour.paint(fail))
    error = errors_while_handling(colour, fn)
    assert isinstance(error.__cause__, ValueError)
    assert type(error.__context__) is KeyError
    plain = retry(max_attempts=attempts)(colour.paint(Flaky(OSError)))
    assert raised_by(colour, plain).__context__ is None


def errors_while_handling(colour: Colour, fn: Any) -> Any:
    """Return the error of a call that is made while another error is being handled."""

    def call() -> Any:
        try:
            raise RuntimeError
        except RuntimeError:
            try:
                fn()
            except Exception as error:
                return error

    async def call_async() -> Any:
        try:
            raise RuntimeError
        except RuntimeError:
            try:
                await fn()
            except Exception as error:
                return error

    return colour.call(call if colour.name == "sync" else call_async)


def test_earlier_errors_have_no_tracebacks(colour: Colour, slept: Pauses) -> None:
    """They would keep alive what the attempts were working on."""

    class Work:
        pass

    alive: list[weakref.ref[Work]] = []

    def fail() -> None:
        work = Work()
        alive.append(weakref.ref(work))
        raise OSError

    fn = retry(max_attempts=5)(colour.paint(fail))
    error = errors_while_handling(colour, fn)
    assert [work() is not None for work in alive] == [False] * 4 + [True]
    assert [each.__traceback__ is None for each in mh.attempts_of(error)] == [True] * 4 + [False]
    del error
    # An event loop that is kept may keep the error of what it ran last, on some interpreters.
    assert colour.name == "async" or alive[-1]() is None


def test_no_more_than_eleven_are_kept(colour: Colour, slept: Pauses) -> None:
    """The latest ones."""
    errors = [OSError(number) for number in range(40)]
    error = raised_by(colour, retry(max_attempts=40)(colour.paint(Flaky(*errors))))
    assert mh.attempts_of(error) == tuple(errors[-11:])


@pytest.mark.parametrize("settings", [{}, {"on_result": lambda _: True}, {"max_attempts": 1}])
@pytest.mark.parametrize("outcomes", [(OSError,), (OSError, 5), (OSError, 5, OSError), (5,)])
def test_nothing_is_left_for_the_collector(
    outcomes: Any, settings: Any, colour: Colour, slept: Pauses
) -> None:
    """No error, traceback or frame is part of a ring, after success and failure alike."""
    fn = retry(**settings)(colour.paint(lambda call: call()))

    def once() -> None:
        try:
            fn(Flaky(*outcomes))
        except (OSError, mh.RetryExhaustedError) as error:
            mh.attempts_of(error)

    async def once_async() -> None:
        try:
            await fn(Flaky(*outcomes))
        except (OSError, mh.RetryExhaustedError) as error:
            mh.attempts_of(error)

    def sync() -> list[Any]:
        with collected() as rings:
            once()
        return rings

    async def main() -> list[Any]:
        with collected() as rings:
            await once_async()
        return rings

    assert colour.call(sync if colour.name == "sync" else main) == []


def test_one_error_for_all_attempts_is_in_no_ring(slept: Pauses) -> None:
    """Its history is its own attribute, and does not hold it."""

    class Kept(Exception):  # noqa: N818 - it says what it is
        """An error that a weak reference can look at."""

    held = [Kept()]

    def fail() -> None:
        raise held[0]

    with collected() as rings:
        try:
            retry().call(fail)
        except Kept as error:
            attempts = len(mh.attempts_of(error))
        is_alive = weakref.ref(held.pop())
        assert is_alive() is None
    assert attempts == 3
    assert rings == []


def test_an_error_that_is_raised_again_and_again(colour: Colour, slept: Pauses) -> None:
    """One object for all attempts and all calls: its note is the latest, and it is in no ring."""
    error = OSError("always the same")
    fn = retry()(colour.paint(Flaky(error)))
    for _ in range(3):
        assert raised_by(colour, fn) is error
        assert len(error.__notes__) == 1
        assert mh.attempts_of(error) == (error, error, error)
        assert frames(error.__traceback__).count("guarded") == 1
    error.add_note("of the caller")
    raised_by(colour, fn)
    assert error.__notes__[0] == "of the caller"
    assert len(error.__notes__) == 2


@dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818 - it says what it is
    """An exception that lets nobody set anything."""

    number: int


class Slotted(Exception):  # noqa: N818 - as above
    """An exception with slots."""

    __slots__ = ("number",)


class Strange(Exception):  # noqa: N818 - as above
    """An exception whose attributes are its own affair."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        """Refuse."""
        raise AttributeError


def test_exceptions_that_refuse_attributes(colour: Colour, slept: Pauses) -> None:
    """They have their note and their history nevertheless."""
    for error in (Frozen(5), Slotted(5)):
        first = type(error)(4)
        fn = retry(max_attempts=2)(colour.paint(Flaky(first, error)))
        assert errors_while_handling(colour, fn) is error
        assert len(error.__notes__) == 1
        assert mh.attempts_of(error) == (first, error)
        assert frames(error.__traceback__).count("guarded") == 1


def test_an_exception_that_has_no_place_for_a_note(colour: Colour, slept: Pauses) -> None:
    """It is raised as it is."""
    error = Strange()
    assert raised_by(colour, retry()(colour.paint(Flaky(error)))) is error
    assert mh.attempts_of(error) == (error,)


def test_the_earlier_ones_stay_out_of_pickles(colour: Colour, slept: Pauses) -> None:
    """They might not pickle; the note comes along."""
    unpicklable = OSError(threading.Lock())
    error = raised_by(colour, retry()(colour.paint(Flaky(unpicklable, unpicklable, OSError(3)))))
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert twin.args == (3,)
        assert twin.__notes__ == error.__notes__
        assert mh.attempts_of(twin) == (twin,)
    assert mh.attempts_of(copy.copy(error))[0] is unpicklable


def test_the_last_result_stays_out_of_pickles(colour: Colour, slept: Pauses) -> None:
    """It might not pickle, and is nobody else's affair."""
    fn = retry(on_result=lambda _: True)(colour.paint(Flaky(threading.Lock())))
    error = raised_by(colour, fn)
    assert error.last_result is not None
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.name, twin.attempts, twin.reason, twin.last_result) == (
        error.name,
        3,
        "attempts",
        None,
    )


def test_groups_keep_their_members(colour: Colour, slept: Pauses) -> None:
    """The group itself is raised, with the note."""
    group = ExceptionGroup("several", [OSError(), ValueError()])
    error = raised_by(colour, retry(on=OSError)(colour.paint(Flaky(group))))
    assert error is group
    assert "3 attempts" in "".join(traceback.format_exception(error))


def test_the_error_of_an_async_call_shows_the_await(slept: Pauses) -> None:
    """The frames of the coroutine are all there."""

    @retry()
    async def outer() -> None:
        await inner()

    async def inner() -> None:
        raise OSError

    with pytest.raises(OSError) as caught:
        asyncio.run(outer())
    assert frames(caught.value.__traceback__)[-3:] == ["guarded", "outer", "inner"]
