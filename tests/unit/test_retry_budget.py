"""The retry budget as an object: names, counters, threads, forks."""

from __future__ import annotations

import gc
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import meshhook as mh
from meshhook import guard
from tests.forking import in_a_fork


def test_one_name_is_one_budget(registry: mh.Registry) -> None:
    """Whatever its settings were written as; others are an error, and other registries another."""
    budget = mh.RetryBudget(0.5, 2, "20s", name="db", registry=registry)
    assert mh.RetryBudget(0.5, 2.0, 20, name="db", registry=registry) is budget
    assert registry.retry_budgets == {"db": budget}
    assert registry["retry_budget/db"] is registry["db"] is budget
    assert budget in registry
    with pytest.raises(mh.ConfigurationError, match=r"it has ratio=0\.5, and here it gets"):
        mh.RetryBudget(0.2, 2, "20s", name="db", registry=registry)
    assert mh.RetryBudget(name="db", registry=mh.Registry()) is not budget


def test_one_without_a_name_is_its_own(registry: mh.Registry) -> None:
    """It is in the registry for as long as somebody holds it."""
    first = mh.RetryBudget(registry=registry)
    second = mh.RetryBudget(registry=registry)
    assert first is not second
    assert [first.name, second.name] == ["retry_budget", "retry_budget#2"]
    del second
    gc.collect()
    assert list(registry.retry_budgets) == ["retry_budget"]


def test_it_counts(registry: mh.Registry, frozen: Any) -> None:
    """Calls and attempts, since the start; what is left is of the last seconds."""
    budget = mh.RetryBudget(ratio=0.5, min_per_second=0, name="db", registry=registry)
    for _ in range(4):
        budget.count_call()
    tokens = [budget.take() for _ in range(3)]
    assert tokens[2] is None
    assert tokens[0] is not None
    assert budget.left() == 0
    budget.give_back(tokens[0])
    assert budget.left() == 1
    frozen.tick(20)
    assert budget.left() == 0
    stats = budget.stats()
    assert (stats.calls, stats.taken, stats.given_back, stats.refused) == (4, 2, 1, 1)
    told = json.loads(json.dumps(registry.stats().to_dict()))["retry_budget/db"]
    assert (told["left"], told["ratio"], told["ttl"]) == (0, 0.5, 10.0)


def test_time_moves_on_with_the_calls(frozen: Any) -> None:
    """Calls alone keep the window where it belongs, without a retry in between."""
    budget = mh.RetryBudget(ratio=0.1, min_per_second=0)
    for _ in range(100):
        budget.count_call()
    assert budget.left() == 10
    for _ in range(40):
        frozen.tick(0.5)
        budget.count_call()
    assert budget.left() == 1


def test_reset_forgets_the_last_seconds(registry: mh.Registry, frozen: Any) -> None:
    """Nothing taken before can be given back to what is new; counters are kept."""
    budget = mh.RetryBudget(ratio=0.5, min_per_second=0.2, registry=registry)
    for _ in range(10):
        budget.count_call()
    token = budget.take()
    assert token is not None
    assert budget.left() == 6
    registry.reset()
    assert budget.left() == 2
    budget.give_back(token)
    assert budget.left() == 2
    budget.count_call()
    budget.count_call()
    assert budget.left() == 3
    stats = budget.stats()
    assert (stats.calls, stats.taken, stats.given_back) == (12, 1, 1)


@pytest.mark.parametrize("with_gil", [True, False])
def test_threads_together_take_no_more_than_there_is(
    with_gil: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact counts: every call is there, and as many attempts as they allow."""
    monkeypatch.setattr(guard, "GIL_ENABLED", with_gil)
    budget = mh.RetryBudget(ratio=0.25, min_per_second=0, ttl="1h")
    start = threading.Barrier(8)

    def work(_: int) -> int:
        start.wait()
        for _ in range(1_000):
            budget.count_call()
        start.wait()
        return sum(budget.take() is not None for _ in range(500))

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(work, range(8)))
    assert taken == 2_000
    stats = budget.stats()
    assert (stats.calls, stats.taken, stats.refused, stats.left) == (8_000, 2_000, 2_000, 0)


def test_a_forked_child_has_a_free_lock() -> None:
    """Even if a thread held it at that moment."""
    budget = mh.RetryBudget()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with budget._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        assert in_a_fork(lambda: budget.take() is not None) == 0
    finally:
        done.set()
        thread.join()


def test_a_budget_beyond_all_measure_can_be_read() -> None:
    """What is left of it is a number, also for JSON."""
    budget = mh.RetryBudget(min_per_second=1e9, ttl=1e300, registry=mh.Registry())
    assert budget.left() == budget.stats().left > 10**18
