"""Worker processes, one by one: what is loaded in them, and what they are given up for."""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Iterator

import pytest

import meshhook as mh
from meshhook.runtime import process_worker, processes
from tests.policies import timeout_targets as targets


@pytest.fixture
def worker() -> Iterator[processes.Worker]:
    """Start a process that is ready, and end it after the test."""
    made = processes.Worker()
    assert made.load(processes.target_of(targets.plain), 30.0)
    yield made
    if made in processes._all:
        made.kill()


def test_a_target_that_is_a_long_time_coming_is_given_up(worker: processes.Worker) -> None:
    """What a function drags in may hang; whoever waits for it is told in time."""
    slow = processes.target_of(functools.partial(targets.plain, targets.Dragging()))
    assert worker.load(slow, 0.01) is False
    assert not worker.knows(slow)


def test_a_worker_that_was_given_up_is_killed(
    worker: processes.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given to the next call, which would wait behind the import of this one."""
    monkeypatch.setattr(processes, "_idle", [worker])
    monkeypatch.setattr(processes, "START_SECONDS", 0.01)
    slow = functools.partial(targets.plain, targets.Dragging())
    pid = worker.process.pid
    with pytest.raises(mh.MeshHookError, match=r"no worker process was ready .* within 0\.01 s"):
        mh.timeout(20.0, mode="process").call(slow)
    assert processes._idle == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_a_worker_is_taken_by_what_it_knows(
    worker: processes.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has imported the function already comes before one that has not."""
    other = processes.Worker()
    monkeypatch.setattr(processes, "_idle", [worker, other])
    known = processes.target_of(targets.plain)
    unknown = processes.target_of(targets.add.__wrapped__)
    try:
        assert processes.take(known) is worker
        assert processes.take(unknown) is other
    finally:
        other.kill()


def test_a_target_may_be_any_object_that_pickles() -> None:
    """It need not be found by name: a partial is its function and its arguments."""
    known: dict[bytes, object] = {}
    target = processes.target_of(functools.partial(targets.plain, 3))
    loaded = process_worker._answer(process_worker.Request(target, None, 0.0), known)  # type: ignore[arg-type]
    assert loaded.kind == "ready"
    arguments = processes.pack((), {})
    answer = process_worker._answer(process_worker.Request(target, arguments, 5.0), known)  # type: ignore[arg-type]
    assert pickle.loads(answer.payload) == (3, os.getpid())
