"""Health: what a policy says of the next call, what all say together, and that it is of now."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import pickle
import threading
import time
from typing import Any

import pytest

import meshhook as mh
from meshhook.budgets import RetryBudget, RetryBudgetStats
from meshhook.errors import StoreUnavailableError
from meshhook.health import Health, PolicyHealth, Status
from meshhook.policies.circuit_breaker.stats import BreakerStats
from meshhook.policies.throttle.stats import ThrottleStats
from meshhook.policies.timeout.stats import TimeoutStats
from meshhook.stats import Stats
from tests.waiting import Called, Held, eventually

OK, DEGRADED, FAILING = Status


def fail(*_: Any) -> Any:
    raise ConnectionError


def attempt(call: Any, *args: Any) -> None:
    """Call what may fail."""
    with contextlib.suppress(Exception):
        call(*args)


def health_of(registry: mh.Registry, name: str = "db") -> tuple[Status, str]:
    """Return status and condition of a policy."""
    (found,) = (
        each for at, each in registry.health().policies.items() if at.partition("/")[2] == name
    )
    return found.status, found.condition


def test_statuses_have_an_order() -> None:
    """From the best to the worst, whatever their letters say; also beside plain text."""
    assert sorted([FAILING, OK, DEGRADED]) == [OK, DEGRADED, FAILING]
    for worse, better in itertools.combinations(reversed(Status), 2):
        assert worse > better
        assert better < worse
        assert worse >= better
        assert better <= worse
        assert not worse < better
        assert not worse <= better
        assert max(better, worse) is worse
    assert OK <= "ok" < DEGRADED
    assert [str(each) for each in Status] == ["ok", "degraded", "failing"]
    with pytest.raises(ValueError, match="none of ours"):
        assert OK < "none of ours"


def test_a_registry_without_policies_is_fine(registry: mh.Registry) -> None:
    """Nothing has failed in it."""
    health = registry.health()
    assert health == Health(status=OK, ready=True, policies={})
    assert health.to_dict() == {"status": "ok", "ready": True, "policies": {}}


def test_the_worst_of_all_is_the_status(registry: mh.Registry) -> None:
    """By name and kind, as JSON too; frozen, and fit to be sent elsewhere."""
    mh.timeout(name="db", registry=registry)
    breaker = mh.circuit_breaker("db", critical=True, registry=registry)
    assert registry.health().status is OK
    breaker.disable()
    assert registry.health().status is DEGRADED
    breaker.force_open()
    health = registry.health()
    assert (health.status, health.ready, health.failing) == (FAILING, False, ["circuit_breaker/db"])
    assert json.loads(json.dumps(health.to_dict())) == {
        "status": "failing",
        "ready": False,
        "policies": {
            "timeout/db": {"status": "ok", "condition": "ok", "critical": False},
            "circuit_breaker/db": {
                "status": "failing",
                "condition": "forced_open",
                "critical": True,
            },
        },
    }
    assert type(health.to_dict()["status"]) is str
    assert pickle.loads(pickle.dumps(health)) == health
    with pytest.raises(dataclasses.FrozenInstanceError):
        health.ready = True  # type: ignore[misc]


def test_only_what_is_critical_and_failing_makes_it_not_ready(registry: mh.Registry) -> None:
    """A failing policy that is not critical, or a critical one that is degraded, does not."""
    other = mh.circuit_breaker("other", registry=registry)
    critical = mh.circuit_breaker("db", critical=True, registry=registry)
    other.force_open()
    critical.disable()
    health = registry.health()
    assert (health.status, health.ready, health.failing) == (FAILING, True, [])
    critical.force_open()
    assert not registry.health().ready


def test_policies_of_functions_count_while_somebody_has_them(registry: mh.Registry) -> None:
    """A function that is gone keeps nobody from being ready."""
    guarded = mh.circuit_breaker(critical=True, registry=registry)(fail)
    guarded.policies[0].force_open()
    assert not registry.health().ready
    del guarded
    gc.collect()
    assert registry.health().ready


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("closed", (OK, "closed")),
        ("open", (FAILING, "open")),
        ("half_open", (DEGRADED, "half_open")),
        ("forced_open", (FAILING, "forced_open")),
        ("disabled", (DEGRADED, "disabled")),
        ("metrics_only", (OK, "metrics_only")),
    ],
)
def test_circuits(state: str, expected: tuple[Status, str], registry: mh.Registry) -> None:
    """The state is the condition; it is failing where calls are refused."""
    mh.circuit_breaker("db", initial_state=state, registry=registry)
    assert health_of(registry) == expected


def test_a_circuit_whose_time_is_over_makes_nobody_unready(
    frozen: Any, registry: mh.Registry
) -> None:
    """A service that is not ready gets no calls, so no trial would ever come."""
    breaker = mh.circuit_breaker(
        "db", failure_threshold=1, reset_timeout=30, critical=True, registry=registry
    )
    attempt(breaker.call, fail)
    frozen.tick(29.9)
    assert not registry.health().ready
    frozen.tick(0.1)
    health = registry.health()
    assert (health.ready, health_of(registry)) == (True, (DEGRADED, "trial_due"))
    breaker.call(int)
    assert health_of(registry) == (OK, "closed")


def test_a_family_of_circuits_fails_when_all_of_them_do(frozen: Any, registry: mh.Registry) -> None:
    """One open circuit of many is no reason to send the service home."""
    breaker = mh.circuit_breaker(
        "db", key="{key}", failure_threshold=1, reset_timeout=30, registry=registry
    )

    @breaker
    def call(key: str, *, fails: bool) -> None:
        if fails:
            fail(key)

    assert health_of(registry) == (OK, "closed")
    call("good", fails=False)
    attempt(lambda: call("bad", fails=True))
    assert health_of(registry) == (DEGRADED, "partly_open")
    frozen.tick(10)
    attempt(lambda: call("good", fails=True))
    assert health_of(registry) == (FAILING, "open")
    assert breaker.stats().retry_after == 20
    frozen.tick(20)
    assert health_of(registry) == (DEGRADED, "trial_due")
    assert breaker.stats().retry_after == 0
    call("bad", fails=False)
    assert health_of(registry) == (DEGRADED, "partly_open")
    frozen.tick(10)
    call("good", fails=False)
    assert health_of(registry) == (OK, "closed")
    assert breaker.stats().retry_after is None


def test_a_family_without_a_key_yet_is_as_the_first_call_will_find_it(
    registry: mh.Registry,
) -> None:
    """Also by hand and for a time, and in the state of the policy."""
    breaker = mh.circuit_breaker("db", key="{key}", critical=True, registry=registry)
    call = breaker(lambda key: key)
    for by_hand, expected in (
        (breaker.force_open, (FAILING, "forced_open")),
        (breaker.disable, (DEGRADED, "disabled")),
        (breaker.metrics_only, (OK, "metrics_only")),
        (breaker.reset, (OK, "closed")),
    ):
        by_hand()
        assert (health_of(registry), breaker.state) == (expected, expected[1])
        assert registry.health().ready is (expected[0] is not FAILING)
    with breaker.isolated():
        assert (health_of(registry), breaker.stats().states) == ((FAILING, "forced_open"), {})
    assert health_of(registry) == (OK, "closed")
    breaker.force_open()
    with pytest.raises(mh.CircuitOpenError):
        call("new")
    assert health_of(registry) == (FAILING, "forced_open")


@pytest.mark.parametrize(
    ("state", "condition"), [("open", "trial_due"), ("half_open", "half_open")]
)
def test_a_family_whose_circuits_begin_open_may_be_ready(
    state: str, condition: str, registry: mh.Registry
) -> None:
    """Else the first call, from which on their time runs, would never come."""
    mh.circuit_breaker("db", key="{key}", initial_state=state, critical=True, registry=registry)
    assert (health_of(registry), registry.health().ready) == ((DEGRADED, condition), True)


def test_a_family_with_a_forced_circuit_may_have_a_trial_that_is_due() -> None:
    """The soonest of all decides, as long as any lets a call try."""
    stats = BreakerStats(
        policy="circuit_breaker",
        name="db",
        state="forced_open",
        seconds_in_state=1.0,
        calls=0,
        successes=0,
        failures=0,
        ignored=0,
        rejected=0,
        opened=0,
        consecutive_failures=0,
        retry_after=0.0,
        last_failure=None,
        window=None,
        latency=None,
        states={"forced_open": 1, "open": 1},
    )
    assert stats.health() == (DEGRADED, "trial_due")
    assert dataclasses.replace(stats, retry_after=1.0).health() == (FAILING, "forced_open")


def test_bulkheads_that_refuse_are_full(registry: mh.Registry) -> None:
    """While all slots are taken and nobody may wait, whatever was refused before."""
    slots = mh.bulkhead(1, name="db", registry=registry)
    assert health_of(registry) == (OK, "ok")
    with slots:
        assert health_of(registry) == (FAILING, "full")
        attempt(slots.call, int)
    assert slots.stats().rejected == 1
    assert health_of(registry) == (OK, "ok")


def test_bulkheads_with_a_queue_are_busy_first(registry: mh.Registry) -> None:
    """They are full when the queue is."""
    slots = mh.bulkhead(1, max_wait=None, max_queue=1, name="db", registry=registry)
    body = Held()
    with slots:
        assert health_of(registry) == (DEGRADED, "busy")
        waiter = Called("sync", slots(body))
        assert eventually(lambda: slots.stats().waiting)
        assert slots.stats().max_queue == 1
        assert health_of(registry) == (FAILING, "full")
    body.go.set()
    waiter.result()
    assert health_of(registry) == (OK, "ok")


def test_a_queue_is_as_long_as_there_are_slots_by_default(registry: mh.Registry) -> None:
    """The statistics say how long it is; without waiting there is none."""
    waits = mh.bulkhead(3, max_wait=1, name="db", registry=registry)
    assert waits.stats().max_queue == 3
    waits.resize(5)
    assert waits.stats().max_queue == 5
    assert mh.bulkhead(3, name="other", registry=registry).stats().max_queue == 0
    keyed = mh.bulkhead(3, max_wait=1, key="{key}", name="keyed", registry=registry)
    assert (keyed.stats().max_queue, keyed.stats().full) == (3, 0)


def test_a_family_of_bulkheads_is_full_when_all_keys_are(registry: mh.Registry) -> None:
    """One key at its limit is a part of the service."""
    slots = mh.bulkhead(1, key="{key}", name="db", registry=registry)
    bodies = {key: Held() for key in "ab"}

    @slots
    def call(key: str) -> None:
        if key in bodies:
            bodies[key](key)

    call("c")
    first = Called("sync", call, "a")
    assert eventually(lambda: slots.stats().full == 1)
    assert health_of(registry) == (DEGRADED, "partly_full")
    bodies["a"].go.set()
    first.result()
    assert health_of(registry) == (OK, "ok")


def test_a_family_where_somebody_waits_is_busy(registry: mh.Registry) -> None:
    """Each key has a queue of its own."""
    slots = mh.bulkhead(1, max_wait=None, max_queue=2, key="{key}", name="db", registry=registry)
    body = Held()
    call = slots(lambda key: body(key))
    calls = [Called("sync", call, "a") for _ in range(2)]
    assert eventually(lambda: slots.stats().waiting == 1)
    assert health_of(registry) == (DEGRADED, "busy")
    calls.append(Called("sync", call, "a"))
    assert eventually(lambda: slots.stats().waiting == 2)
    assert health_of(registry) == (FAILING, "full")
    body.go.set()
    for each in calls:
        each.result()


def test_throttles(frozen: Any, registry: mh.Registry) -> None:
    """They are throttling while anything is dropped, and failing while most is."""
    throttle = mh.throttle(name="db", window=10, minimum_calls=1, seed=1, registry=registry)
    assert health_of(registry) == (OK, "ok")
    for _ in range(10):
        throttle.call(int)
    for _ in range(15):
        attempt(throttle.call, fail)
    assert 0 < throttle.stats().chance < 0.5
    assert health_of(registry) == (DEGRADED, "throttling")
    for _ in range(100):
        attempt(throttle.call, fail)
    assert throttle.stats().chance >= 0.5
    assert health_of(registry) == (FAILING, "dropping_most")
    frozen.tick(20)
    assert health_of(registry) == (OK, "ok")


def test_a_family_of_throttles_fails_when_all_keys_do() -> None:
    """The key that does best decides."""
    stats = ThrottleStats(
        policy="throttle",
        name="db",
        calls=0,
        accepted=0,
        failures=0,
        ignored=0,
        rejected=0,
        window_requests=0,
        window_accepted=0,
        chance=0.9,
    )
    assert stats.health() == (DEGRADED, "throttling")
    assert dataclasses.replace(stats, lowest_chance=0.5).health() == (FAILING, "dropping_most")


def test_keys_of_a_throttle_are_read_one_by_one(registry: mh.Registry) -> None:
    """The highest and the lowest chance are told."""
    throttle = mh.throttle(name="db", minimum_calls=1, key="{key}", registry=registry)

    @throttle
    def call(key: str) -> None:
        if key == "bad":
            fail(key)

    for _ in range(10):
        attempt(call, "bad")
    assert throttle.stats().lowest_chance == throttle.stats().chance > 0
    call("good")
    assert throttle.stats().lowest_chance == 0 < throttle.stats().chance
    assert health_of(registry) == (DEGRADED, "throttling")


def test_rate_limits(frozen: Any, registry: mh.Registry) -> None:
    """A limit that is used up is limited, for as long as it is; it never fails."""
    limit = mh.rate_limit("2/10s", name="db", registry=registry)
    limit.call(int)
    assert health_of(registry) == (OK, "ok")
    limit.call(int)
    assert health_of(registry) == (DEGRADED, "limited")
    attempt(limit.call, int)
    frozen.tick(5)
    assert health_of(registry) == (OK, "ok")


def test_rate_limits_are_judged_by_the_cost_of_a_call(frozen: Any, registry: mh.Registry) -> None:
    """What is left is of no use if it is less; where the arguments tell the cost, it is 1."""
    limit = mh.rate_limit("5/10s", cost=3, name="db", registry=registry)
    assert (health_of(registry), limit.stats().retry_after) == ((OK, "ok"), 0)
    limit.call(int)
    assert (health_of(registry), limit.remaining()) == ((DEGRADED, "limited"), 2)
    assert limit.stats().retry_after == 2
    frozen.tick(2)
    assert health_of(registry) == (OK, "ok")
    limit.call(int)
    by_arguments = mh.rate_limit("5/10s", cost=lambda cost: cost, name="other", registry=registry)
    by_arguments(lambda cost: cost)(4)
    assert health_of(registry, "other") == (OK, "ok")
    by_arguments(lambda cost: cost)(1)
    assert health_of(registry, "other") == (DEGRADED, "limited")


@pytest.mark.parametrize("algorithm", ["gcra", "sliding_log", "fixed_window"])
def test_a_pause_limits(algorithm: Any, frozen: Any, registry: mh.Registry) -> None:
    """For as long as it takes."""
    limit = mh.rate_limit("5/s", algorithm=algorithm, name="db", registry=registry)
    limit.pause_for(60)
    assert health_of(registry) == (DEGRADED, "limited")
    frozen.tick(60)
    assert health_of(registry) == (OK, "ok")


def test_rate_limits_with_keys(registry: mh.Registry) -> None:
    """They are limited while somebody waits for a turn."""
    limit = mh.rate_limit("1/h", max_wait=None, key="{key}", name="db", registry=registry)
    call = limit(lambda key: key)
    call("a")
    assert health_of(registry) == (OK, "ok")
    waiter = threading.Thread(target=lambda: attempt(call, "a"), daemon=True)
    waiter.start()
    assert eventually(lambda: limit.stats().waiting == 1)
    assert health_of(registry) == (DEGRADED, "limited")
    limit.reset()
    waiter.join(10)


@pytest.mark.parametrize(
    ("running", "expected"),
    [(0, (OK, "ok")), (1, (OK, "ok")), (2, (DEGRADED, "abandoning")), (3, (DEGRADED, "abandoning")),
     (4, (FAILING, "full")), (5, (FAILING, "full"))],
)  # fmt: skip
def test_timeouts(running: int, expected: tuple[Status, str], registry: mh.Registry) -> None:
    """They tell of calls that go on past their time, before these make them refuse others."""
    stats = mh.timeout(name="db", max_abandoned=4, registry=registry).stats()
    assert stats.max_abandoned == 4
    assert dataclasses.replace(stats, abandoned=running).health() == expected


def test_a_timeout_that_does_not_know_its_limit_is_fine() -> None:
    """As statistics from before may be."""
    stats = TimeoutStats(
        policy="timeout", name="db", seconds=1.0, mode="auto", calls=0, successes=0, failures=0,
        ignored=0, timed_out=0, rejected=0, abandoned=99, abandoned_total=99,
    )  # fmt: skip
    assert stats.health() == (OK, "ok")


def test_retry_budgets(frozen: Any, registry: mh.Registry) -> None:
    """Exhausted means that a call which fails now is not tried again."""
    budget = RetryBudget(0.5, 0, 10, name="db", registry=registry)
    assert (budget.left(), health_of(registry)) == (0, (OK, "ok"))
    for _ in range(2):
        budget.count_call()
    assert budget.take() is not None
    assert health_of(registry) == (DEGRADED, "exhausted")
    assert budget.take() is None
    frozen.tick(30)
    stats = budget.stats()
    assert (stats.refused, health_of(registry)) == (1, (OK, "ok"))


def test_a_budget_that_is_not_used_is_not_exhausted() -> None:
    """Where nothing is free there is nothing left before the first calls."""
    stats = RetryBudget(0.5, 0, registry=mh.Registry()).stats()
    assert isinstance(stats, RetryBudgetStats)
    assert stats.health() == (OK, "ok")


def test_chaos(registry: mh.Registry) -> None:
    """It is active while it may strike: whoever looks for what is wrong has to see that."""
    chaos = mh.chaos("db", registry=registry)
    assert health_of(registry) == (OK, "ok")
    with chaos.inject(latency=0.001):
        assert health_of(registry) == (DEGRADED, "active")
    assert health_of(registry) == (OK, "ok")


def test_idempotent_functions_of_whom_the_store_failed(frozen: Any, registry: mh.Registry) -> None:
    """They are degraded for a while after the last failure: no counter keeps them so."""
    charge = mh.idempotent(key="{x}", name="db", registry=registry)
    assert health_of(registry) == (OK, "ok")
    charge.store_failed("begin", StoreUnavailableError("no"))
    assert health_of(registry) == (DEGRADED, "store_failing")
    frozen.tick(29)
    charge.store_failed("begin", StoreUnavailableError("no"))
    frozen.tick(29)
    assert health_of(registry) == (DEGRADED, "store_failing")
    frozen.tick(1)
    assert health_of(registry) == (OK, "ok")
    assert (charge.stats().store_errors, charge.stats().since_store_error) == (2, 30)


@pytest.mark.parametrize("kind", ["retry", "fallback", "hedge"])
def test_others_are_always_fine(kind: str, registry: mh.Registry) -> None:
    """What they do is what they are there for."""
    settings: dict[str, Any] = {
        "retry": {"max_attempts": 2, "base_delay": 0.001},
        "fallback": {"value": 0},
        "hedge": {"delay": 0.001, "idempotent": True},
    }
    policy = getattr(mh, kind)(**settings[kind], name="db", registry=registry)
    attempt(policy.call, fail)
    assert health_of(registry) == (OK, "ok")


def test_a_policy_that_cannot_be_read_hides_no_other(registry: mh.Registry) -> None:
    """It is degraded itself, and the rest is as it is."""

    class Odd(mh.Timeout):
        kind = "odd"

        def stats(self) -> Any:
            raise RuntimeError("secret")

    odd = Odd(mh.timeout(1).settings, registry)
    registry.adopt(odd, "db")
    mh.circuit_breaker("other", registry=registry)
    health = registry.health()
    assert health.policies["odd/db"] == PolicyHealth(status=DEGRADED, condition="unreadable")
    assert health.policies["circuit_breaker/other"].condition == "closed"
    assert "secret" not in json.dumps(health.to_dict())


def test_health_asks_no_store_and_blocks_no_call(registry: mh.Registry) -> None:
    """A store that hangs and 10,000 policies are looked at in bounded time."""

    class Hanging(mh.MemoryStore):
        async def begin(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("a probe asked the store")

    mh.idempotent(key="{x}", store=Hanging(), name="db", registry=registry)
    for number in range(10_000):
        mh.timeout(1, name=f"t{number}", registry=registry)
    began = time.thread_time()
    assert registry.health().status is OK
    assert time.thread_time() - began < 10


def test_conditions_are_of_every_kind_of_statistics() -> None:
    """The base says ok; nothing but a pair of a status and a word comes out."""
    assert Stats(policy="p", name="n").health() == (OK, "ok")
