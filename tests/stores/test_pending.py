"""A reply: settled once, read or abandoned once, and waited for no longer than its bound."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest

from meshhook.errors import StoreUnavailableError
from meshhook.stores.pending import Pending


class Recorder:
    """Carries nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.given_back: list[Any] = []

    def overdue(self, pending: Pending) -> Exception:
        return StoreUnavailableError("overdue")

    def give_back(self, pending: Pending, answer: Any) -> None:
        self.given_back.append(answer)


def test_a_reply_is_settled_once() -> None:
    """The first answer counts; a later one has no reader."""
    reply = Pending("command", 1.0)
    assert not reply.done()
    assert reply.settle(1) is True
    assert reply.settle(2) is False
    assert reply.settle(error=ValueError()) is False
    assert [reply.result(), reply.result(0)] == [1, 1]


def test_an_error_is_raised() -> None:
    """The error that came instead of an answer is raised to who reads."""
    reply = Pending("command", 1.0)
    assert reply.settle(error=KeyError("gone")) is True
    with pytest.raises(KeyError):
        reply.result()


@pytest.mark.parametrize("value", [None, 0, False, ()])
def test_an_empty_answer_is_an_answer(value: Any) -> None:
    """None and other false values are answers like any other."""
    reply = Pending("command", 1.0)
    reply.settle(value)
    assert value == reply.result()


@pytest.mark.parametrize("timeout", [None, 0, 0.01, -1])
def test_waiting_ends_at_the_bound(timeout: float | None) -> None:
    """A reply that nobody settles raises by itself, and then takes no answer."""
    reply = Pending("command", 0.01)
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="did not answer in time"):
        reply.result(timeout)
    assert time.monotonic() - started < 5
    assert reply.abandoned
    assert reply.settle(1) is False
    with pytest.raises(StoreUnavailableError):
        reply.result()


def test_awaiting_ends_at_the_bound() -> None:
    """A task waits on the timer of its own loop, with a carrier that is stuck."""
    carrier = Recorder()

    async def wait() -> None:
        with pytest.raises(StoreUnavailableError, match="overdue"):
            await Pending("command", 0.01, carrier)

    asyncio.run(wait())
    assert carrier.given_back == []


def test_an_answer_between_settling_and_reading_is_given_back() -> None:
    """Abandoned with the answer there: the carrier learns it, once."""
    carrier = Recorder()
    reply = Pending("command", 1.0, carrier)
    reply.settle("taken")
    reply.abandon()
    reply.abandon()
    assert carrier.given_back == ["taken"]


def test_what_was_read_or_failed_is_not_given_back() -> None:
    """An answer that somebody has, and an error, leave nothing to undo."""
    carrier = Recorder()
    read, failed = Pending("command", 1.0, carrier), Pending("command", 1.0, carrier)
    read.settle("mine")
    failed.settle(error=StoreUnavailableError("down"))
    assert read.result() == "mine"
    read.abandon()
    failed.abandon()
    assert carrier.given_back == []


def test_an_interrupt_while_waiting_abandons() -> None:
    """Ctrl-C in a waiting thread passes on, and the answer will find no reader."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    reply = Pending("command", 30.0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            reply.result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert reply.settle(1) is False


def test_callbacks_are_called_once_and_never_after_abandoning() -> None:
    """Before or after settling, each is called with the reply; an abandoned one calls nobody."""
    seen: list[Any] = []
    reply = Pending("command", 1.0)
    reply.add_done_callback(seen.append)
    reply.settle(1)
    reply.add_done_callback(seen.append)
    assert [reply, reply] == seen
    left = Pending("command", 1.0)
    left.add_done_callback(seen.append)
    left.abandon()
    left.settle(1)
    assert [reply, reply] == seen


def test_many_threads_and_a_task_wait_for_one_reply() -> None:
    """Everybody who waits gets the answer."""
    reply = Pending("command", 30.0)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(reply.result())) for _ in range(8)]
    for thread in threads:
        thread.start()

    async def wait() -> Any:
        asyncio.get_running_loop().call_later(0.01, reply.settle, "all")
        return await reply

    answers.append(asyncio.run(wait()))
    for thread in threads:
        thread.join()
    assert answers == ["all"] * 9
