"""Asking many at the same time: everybody gets the same chance, and nobody holds up the rest."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from meshhook.observe.remote.asking import Asking, NotInTimeError
from tests.waiting import eventually


def threads() -> int:
    """Return how many threads are asking."""
    return sum(each.name == "meshhook-asking" for each in threading.enumerate())


def test_answers_and_errors_come_back_under_their_key() -> None:
    """An error is an answer, too."""
    error = ValueError("x")

    def fail() -> None:
        raise error

    answers = Asking().all({"a": lambda: 1, "b": fail, "c": lambda: None}, 10)
    assert answers == {"a": 1, "b": error, "c": None}
    assert Asking().all({}, 10) == {}
    assert eventually(lambda: threads() == 0)


def test_all_are_asked_at_the_same_time() -> None:
    """None waits for another, as far as there are threads."""
    together = threading.Barrier(20)
    answers = Asking().all({at: lambda: together.wait(10) for at in range(20)}, 10)
    assert sorted(answers.values()) == list(range(20))


def test_who_does_not_answer_is_left_behind() -> None:
    """And is not asked again before that has ended; the others are."""
    asking = Asking()
    gate = threading.Event()
    asked = []

    def hang() -> str:
        asked.append("hang")
        gate.wait(30)
        return "late"

    questions: dict[Any, Any] = {"a": hang, "b": lambda: "here"}
    for _ in range(5):
        answers = asking.all(questions, 0.05)
        assert answers["b"] == "here"
        assert isinstance(answers["a"], NotInTimeError)
        assert answers["a"].asked
    assert asked == ["hang"]
    assert threads() == 1
    gate.set()
    assert eventually(lambda: threads() == 0)
    assert asking.all(questions, 10) == {"a": "late", "b": "here"}
    assert asked == ["hang", "hang"]


def test_there_are_never_more_threads_than_that() -> None:
    """What finds none is not asked, and nothing is kept of it."""
    asking = Asking(most=3)
    gate = threading.Event()
    for round_ in range(4):
        answers = asking.all({(round_, at): lambda: gate.wait(30) for at in range(5)}, 0.02)
        assert all(isinstance(each, NotInTimeError) for each in answers.values())
        assert sum(each.asked for each in answers.values()) == (3 if round_ == 0 else 0)
        assert threads() == 3
    assert len(asking._open) == 3
    assert not asking._queue
    gate.set()
    assert eventually(lambda: threads() == 0)
    assert asking.all({"a": lambda: 1}, 10) == {"a": 1}


def test_two_that_ask_the_same_share_the_answer() -> None:
    """The second waits for what the first has asked."""
    asking = Asking()
    asked = []
    gate = threading.Event()

    def ask() -> int:
        asked.append(1)
        gate.wait(30)
        return 7

    answers: list[Any] = []
    both = [
        threading.Thread(target=lambda: answers.append(asking.all({"a": ask}, 30)))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    assert eventually(lambda: asked)
    time.sleep(0.02)
    gate.set()
    for each in both:
        each.join()
    assert answers == [{"a": 7}, {"a": 7}]
    assert asked == [1]


def test_without_threads_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives none is no error; what comes later is asked again."""
    asking = Asking()

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        answer = asking.all({"a": lambda: 1}, 0.01)["a"]
    assert isinstance(answer, NotInTimeError)
    assert not answer.asked
    assert asking.all({"a": lambda: 1}, 10) == {"a": 1}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_anew() -> None:
    """Its parent's threads are not there, and what they held is not waited for."""
    asking = Asking(most=1)
    gate = threading.Event()
    asking.all({"a": lambda: gate.wait(30)}, 0.01)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(asking.all({"a": lambda: 7}, 10)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"{'a': 7}"
    gate.set()
    os.close(read)
    os.close(write)
