"""The registry: names, sharing, conflicts, reading while others write."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import json
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook.policy import Policy
from meshhook.stats import Stats


def one() -> int:
    return 1


class Counting(Policy):
    """Another kind of policy, which counts calls."""

    kind = "counting"
    calls = 0

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        return call

    def stats(self) -> Stats:
        return Stats(policy=self.kind, name=self.name)

    def reset(self) -> None:
        self.calls = 0


def breaker(registry: mh.Registry, name: str, **settings: Any) -> mh.CircuitBreaker:
    """Make or get a breaker."""
    return mh.circuit_breaker(name, registry=registry, **settings)


def test_one_name_is_one_policy(registry: mh.Registry) -> None:
    """The same kind and name give the same object."""
    assert breaker(registry, "db") is breaker(registry, "db")
    assert breaker(registry, "db", failure_threshold=5) is breaker(registry, "db")
    assert len(registry) == 1


def test_other_settings_under_one_name_are_an_error(registry: mh.Registry) -> None:
    """The error names the policy, shows both settings, and says what to do."""
    breaker(registry, "db", failure_threshold=3)
    with pytest.raises(mh.ConfigurationError) as caught:
        breaker(registry, "db", failure_threshold=4)
    assert str(caught.value) == (
        "circuit_breaker 'db' exists with other settings: it has failure_threshold=3, and here it "
        "gets failure_threshold=4; use the same settings or another name"
    )
    assert isinstance(caught.value, ValueError)


def test_a_conflict_leaves_the_policy_as_it_is(registry: mh.Registry) -> None:
    """After a refused registration the first one goes on as before."""
    first = breaker(registry, "db")
    with pytest.raises(mh.ConfigurationError):
        breaker(registry, "db", failure_threshold=4)
    assert registry["db"] is first
    assert len(registry) == 1


def test_registries_are_apart() -> None:
    """The same name in two registries means two policies, with settings of their own."""
    one, two = mh.Registry(), mh.Registry()
    assert breaker(one, "db") is not breaker(two, "db", failure_threshold=1)
    one.reset()
    breaker(one, "db").force_open()
    assert breaker(two, "db", failure_threshold=1).state == "closed"


def test_kinds_are_apart(registry: mh.Registry) -> None:
    """Two kinds may have one name; then the kind must be said."""
    circuit = breaker(registry, "db")
    counting = Counting.shared("db", 1, registry)
    assert registry["circuit_breaker/db"] is circuit
    assert registry["counting/db"] is counting
    assert registry.circuit_breakers["db"] is circuit
    assert registry.of_kind("counting") == {"db": counting}
    with pytest.raises(
        KeyError, match=r"'db' is the name of several policies.*circuit_breaker/db, counting/db"
    ):
        registry["db"]
    with pytest.raises(KeyError, match="several"):
        registry.stats()["db"]
    assert list(registry.stats()) == ["circuit_breaker/db", "counting/db"]
    assert registry.stats()["counting/db"].policy == "counting"


@pytest.mark.parametrize("name", ["other", "", "/", "circuit_breaker/", "/db", "counting/db"])
def test_unknown_names(registry: mh.Registry, name: str) -> None:
    """A name that nobody has is a KeyError that shows it."""
    breaker(registry, "db")
    for mapping in (registry, registry.stats()):
        with pytest.raises(KeyError, match=f"no policy is named '{name}'"):
            mapping[name]
        assert name not in mapping


@pytest.mark.parametrize("name", [None, 5, ("circuit_breaker", "db"), b"db", ["db"]])
def test_a_name_that_is_no_text_is_unknown(registry: mh.Registry, name: Any) -> None:
    """Looking up anything else is a KeyError, not a failure inside."""
    breaker(registry, "db")
    for mapping in (registry, registry.stats()):
        assert name not in mapping
        with pytest.raises(KeyError):
            mapping[name]


def test_policies_by_kind(registry: mh.Registry) -> None:
    """Each kind has a mapping of its own, empty while there are none."""
    assert registry.circuit_breakers == {}
    assert registry.timeouts == {}
    assert registry.idempotents == {}
    limit = mh.timeout(5, name="db", registry=registry)
    assert registry.timeouts == {"db": limit}
    assert registry.circuit_breakers == {}


def test_a_policy_keeps_its_name(registry: mh.Registry) -> None:
    """Taken in a second time, it stays what it was called first."""
    policy = mh.circuit_breaker(registry=registry)
    first = policy.name
    assert registry.adopt(policy, "other") == policy.name == first
    assert len(registry) == 1


def test_a_kind_before_the_name_is_never_ambiguous(registry: mh.Registry) -> None:
    """Not even where the name of a policy looks like a kind and another's name."""
    tricky = Counting.shared("circuit_breaker/db", 1, registry)
    circuit = breaker(registry, "db")
    assert registry["circuit_breaker/db"] is circuit
    assert registry["counting/circuit_breaker/db"] is tricky
    stats = registry.stats()
    assert sorted(stats) == ["counting/circuit_breaker/db", "db"]
    assert [stats[name].name for name in stats] == ["circuit_breaker/db", "db"]


def test_a_name_with_a_slash_is_found(registry: mh.Registry) -> None:
    """A slash in a name is just a part of it."""
    slashed = breaker(registry, "eu/db")
    assert registry["eu/db"] is registry["circuit_breaker/eu/db"] is slashed


def test_a_registry_contains_names_and_policies(registry: mh.Registry) -> None:
    """``in`` takes what indexing takes, and what iterating gives."""
    policy = breaker(registry, "db")
    assert "db" in registry
    assert "circuit_breaker/db" in registry
    assert policy in registry
    assert policy not in mh.Registry()
    assert list(registry) == [policy]
    assert repr(registry) == "<Registry: circuit_breaker/db>"


def test_functions_of_one_name_are_numbered(registry: mh.Registry) -> None:
    """Policies without a name never share: the second function of a name gets #2."""

    def make() -> Any:
        @mh.circuit_breaker(registry=registry)
        def local() -> None: ...

        return local

    made = [make() for _ in range(5)]
    first = f"{__name__}.test_functions_of_one_name_are_numbered.<locals>.make.<locals>.local"
    names = [guard.policies[0].name for guard in made]
    assert names == [first, *(f"{first}#{number}" for number in range(2, 6))]
    assert len({id(guard.policies[0]) for guard in made}) == 5


def test_numbers_avoid_names_that_users_gave(registry: mh.Registry) -> None:
    """A number that is taken by an explicit name is passed over."""
    breaker(registry, "circuit_breaker")
    breaker(registry, "circuit_breaker#2")
    assert mh.circuit_breaker(registry=registry).name == "circuit_breaker#3"


def test_a_user_cannot_take_the_name_of_a_function(registry: mh.Registry) -> None:
    """An explicit name that a function's policy has already is an error, not a share."""
    guard: Any = mh.circuit_breaker(registry=registry)(one)
    with pytest.raises(mh.ConfigurationError, match="already the name of a policy .*another"):
        breaker(registry, guard.policies[0].name)


def test_what_nobody_holds_leaves_the_registry(registry: mh.Registry) -> None:
    """A policy without a name goes with its function, and its number is free again."""

    def make() -> Any:
        return mh.circuit_breaker(registry=registry)(one)

    first, second, third = make(), make(), make()
    assert [each.policies[0].name[-2:] for each in (second, third)] == ["#2", "#3"]
    del second
    gc.collect()
    assert len(registry) == 2
    more = [make(), make()]
    assert len({each.policies[0].name for each in (first, third, *more)}) == 4
    del first, third, more
    gc.collect()
    assert len(registry) == 0


def test_a_named_policy_stays(registry: mh.Registry) -> None:
    """A name that the user gave keeps its state when all functions are gone."""
    guard = breaker(registry, "db")(one)
    guard()
    del guard
    gc.collect()
    assert breaker(registry, "db").stats().successes == 1


def test_memory_is_bounded() -> None:
    """Decorating and dropping ten thousand functions leaves next to nothing."""
    registry = mh.Registry()
    pattern = mh.circuit_breaker(registry=registry)

    def churn(times: int) -> None:
        for _ in range(times):
            pattern(lambda: 1)()
        gc.collect()

    churn(200)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    churn(2_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(registry) == 0
    assert grown < 50_000


def test_many_functions_of_one_name_stay_cheap() -> None:
    """Finding a free number takes few steps, however many functions have the name."""
    registry = mh.Registry()
    asked = 0

    class Owned(dict[Any, Any]):
        def __contains__(self, at: object) -> bool:
            nonlocal asked
            asked += 1
            return super().__contains__(at)

    registry._owned = Owned()  # type: ignore[assignment]
    policies = [Counting(None, registry) for _ in range(1_000)]
    assert len({policy.name for policy in policies}) == 1_000
    assert asked < 25 * 1_000


def test_stats_go_through_json(registry: mh.Registry) -> None:
    """Statistics are plain data: what comes back from JSON is what went in."""
    family: Any = mh.circuit_breaker("family", key="{key}", registry=registry)(lambda key: key)
    family("a")
    slow = breaker(registry, "slow", slow_call_duration=1, slow_call_rate_threshold=0.5)
    slow.call(int)
    rated = breaker(registry, "rated", failure_rate_threshold=0.5, minimum_calls=1)
    with pytest.raises(ZeroDivisionError):
        rated.call(lambda: 1 / 0)
    breaker(registry, "forced").force_open()
    Counting.shared("family", 1, registry)
    data = registry.stats().to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data) == {
        "circuit_breaker/family",
        "circuit_breaker/slow",
        "circuit_breaker/rated",
        "circuit_breaker/forced",
        "counting/family",
    }
    assert data["circuit_breaker/rated"]["state"] == "open"


def test_stats_are_of_one_moment(registry: mh.Registry) -> None:
    """What was read does not change when calls go on."""
    db = breaker(registry, "db")
    before = registry.stats()
    db.call(int)
    assert (before["db"].calls, registry.stats()["db"].calls) == (0, 1)  # type: ignore[attr-defined]
    assert len(before) == 1
    assert repr(before).startswith("{'db': BreakerStats(policy='circuit_breaker', name='db'")


def test_reset_resets_every_policy(registry: mh.Registry) -> None:
    """All circuits close; counters since the start stay."""
    one, two = breaker(registry, "one"), breaker(registry, "two", failure_threshold=1)
    one.force_open()
    with pytest.raises(ZeroDivisionError):
        two.call(lambda: 1 / 0)
    counting = Counting.shared("counting", 1, registry)
    counting.calls = 5
    registry.reset()
    assert (one.state, two.state, counting.calls) == ("closed", "closed", 0)
    assert two.stats().failures == 1


def test_settings_may_look_at_the_registry(registry: mh.Registry) -> None:
    """A callable setting that is asked when its policy is first used may use the registry."""
    seen = []

    def reset_timeout(_attempt: int, _error: Exception | None) -> float:
        seen.append(len(registry))
        return 5.0

    settings: Any = {"initial_state": "open", "reset_timeout": reset_timeout}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        made = pool.submit(breaker, registry, "db", **settings).result(timeout=5)
        pool.submit(made.stats).result(timeout=5)
    assert seen == [1]
    assert breaker(registry, "db", **settings) is made


def test_two_threads_that_make_one_name_get_one_policy() -> None:
    """Whoever comes first makes it; the others get the same."""
    for _ in range(20):
        registry = mh.Registry()
        start = threading.Barrier(8)

        def make(registry: mh.Registry = registry, start: threading.Barrier = start) -> Any:
            start.wait()
            return breaker(registry, "db")

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            made = {id(each.result()) for each in [pool.submit(make) for _ in range(8)]}
        assert len(made) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_signal_handler_may_read_statistics(registry: mh.Registry) -> None:
    """Statistics asked for in the middle of a registration do not wait for it for ever."""
    seen: list[int] = []

    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(len(registry.stats())))
    try:
        with registry._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [0]


def test_reading_while_8_threads_register() -> None:
    """Iterating, looking up and reading statistics never fails while policies come and go."""
    registry = mh.Registry()
    start = threading.Barrier(9)
    done = threading.Event()

    def register(thread: int) -> None:
        start.wait()
        for index in range(150):
            breaker(registry, f"{thread}-{index % 30}")
            guard = mh.circuit_breaker(registry=registry)(one)
            assert guard() == 1

    def read() -> int:
        start.wait()
        rounds = 0
        while not done.is_set() or not rounds:
            names = [policy.name for policy in registry]
            stats = registry.stats()
            assert len(stats) == len(set(stats))
            assert all(stats[name].name for name in stats)
            assert len(set(names)) == len(names)
            repr(registry)
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        for each in [pool.submit(register, thread) for thread in range(8)]:
            each.result()
        done.set()
        assert reader.result() > 0
    gc.collect()
    assert len(registry) == 240


def test_counts_add_up_under_load_from_8_threads() -> None:
    """At every moment outcomes sum up to calls and never fall; in the end all are there."""
    registry = mh.Registry()
    settings: Any = {"failure_threshold": 10**9}
    consecutive = breaker(registry, "consecutive", **settings)
    windowed = breaker(registry, "windowed", window_calls=50, **settings)
    timed = breaker(registry, "timed", window=60, **settings)
    slow = breaker(registry, "slow", slow_call_duration=60, **settings)
    start = threading.Barrier(9)
    done = threading.Event()

    @slow
    @timed
    @windowed
    @consecutive
    def work(number: int) -> int:
        if number % 5 == 0:
            raise ValueError
        if number % 7 == 0:
            raise KeyboardInterrupt
        return number

    async def work_async(number: int) -> int:
        return work(number)

    def load(thread: int) -> None:
        start.wait()
        guard = consecutive(work_async)
        for number in range(1, 351):
            with contextlib.suppress(ValueError, KeyboardInterrupt):
                work(number) if thread % 2 else asyncio.run(guard(number))

    def read() -> int:
        start.wait()
        last = dict.fromkeys(("consecutive", "windowed", "timed", "slow"), 0)
        rounds = 0
        while not done.is_set():
            for name, stats in registry.stats().items():
                assert stats.calls == stats.successes + stats.failures + stats.ignored  # type: ignore[attr-defined]
                assert stats.calls >= last[name]  # type: ignore[attr-defined]
                last[name] = stats.calls  # type: ignore[attr-defined]
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        for each in [pool.submit(load, thread) for thread in range(8)]:
            each.result()
        done.set()
        assert reader.result() > 0
    # Of 1 to 350: 70 are multiples of 5, 40 more of 7, the rest succeed.
    for breaker_ in (windowed, timed, slow):
        stats = breaker_.stats()
        assert (stats.failures, stats.ignored, stats.successes) == (560, 320, 1920)
    # The async ones pass it twice.
    stats = consecutive.stats()
    assert (stats.failures, stats.ignored, stats.successes) == (840, 480, 2880)
