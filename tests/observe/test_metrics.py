"""What the metrics of a registry are, and where each number in them comes from."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.budgets import RetryBudgetStats
from meshhook.observe.catalogue import CATALOGUE, DEFINITIONS, SOURCES
from meshhook.observe.metrics import (
    BUCKETS,
    MAX_SERIES,
    HistogramSample,
    Metric,
    collect,
    prometheus_name,
)
from meshhook.policies.bulkhead.stats import BulkheadStats
from meshhook.policies.chaos.stats import ChaosStats
from meshhook.policies.circuit_breaker.stats import BreakerStats, WindowStats
from meshhook.policies.fallback.stats import FallbackStats
from meshhook.policies.hedge.stats import HedgeStats
from meshhook.policies.idempotent.stats import IdempotentStats
from meshhook.policies.rate_limit.stats import RateLimitStats
from meshhook.policies.retry.stats import RetryStats
from meshhook.policies.throttle.stats import ThrottleStats
from meshhook.policies.timeout.stats import TimeoutStats
from meshhook.registry import Registry
from meshhook.rules.phases import State
from meshhook.stats import Stats
from tests.observe.everything import SECRET, attempt, everything, fail

KINDS: dict[str, Any] = {
    "circuit_breaker": BreakerStats,
    "timeout": TimeoutStats,
    "retry": RetryStats,
    "retry_budget": RetryBudgetStats,
    "rate_limit": RateLimitStats,
    "bulkhead": BulkheadStats,
    "hedge": HedgeStats,
    "fallback": FallbackStats,
    "throttle": ThrottleStats,
    "chaos": ChaosStats,
    "idempotent": IdempotentStats,
}
NOT_COUNTED = {
    "circuit_breaker": {
        "calls": "the sum of its outcomes",
        "last_failure": "the name of a type",
        "window": "its fields are metrics",
        "latency": "meshhook.call.duration",
    },
    "timeout": {
        "calls": "the sum of its outcomes",
        "mode": "a setting",
        "per_item": "a setting, for streams",
    },
    "retry": {"attempts": "first attempts and retries"},
    "retry_budget": {
        "ratio": "a setting",
        "min_per_second": "a setting",
        "ttl": "a setting",
    },
    "rate_limit": {
        "calls": "the sum of its outcomes",
        "limit": "a setting",
        "algorithm": "a setting",
    },
    "bulkhead": {},
    "hedge": {"calls": "the sum of its outcomes", "latency": "meshhook.call.duration"},
    "fallback": {"calls": "the sum of its outcomes"},
    "throttle": {"calls": "the sum of its outcomes"},
    "chaos": {},
    "idempotent": {
        "calls": "the sum of its outcomes",
        "since_store_error": "meshhook.store.errors tells when it grows",
    },
}
"""The fields that feed no metric of their own, and why."""


@pytest.fixture(scope="module")
def metrics() -> dict[str, Metric]:
    return {metric.name: metric for metric in collect(everything())}


def value(found: list[Metric], metric: str, **labels: str) -> Any:
    """Return the one value of a metric that has these labels."""
    (sample,) = [
        sample
        for each in found
        if each.name == metric
        for sample in each.samples
        if labels.items() <= sample.labels.items()
    ]
    return sample if isinstance(sample, HistogramSample) else sample.value


def names_of(found: list[Metric]) -> set[str]:
    """Return the policies that have any metric."""
    return {
        sample.labels["name"]
        for metric in found
        for sample in metric.samples
        if "name" in sample.labels
    }


def series_of(found: list[Metric]) -> int:
    """Return how many series Prometheus makes of it."""
    return sum(
        len(sample.buckets) + 2 if isinstance(sample, HistogramSample) else 1
        for metric in found
        for sample in metric.samples
    )


def test_every_kind_of_policy_is_here() -> None:
    """What has statistics is in the table above, and has metrics."""

    def all_below(kind: type[Stats]) -> Iterator[type[Stats]]:
        for each in kind.__subclasses__():
            yield each
            yield from all_below(each)

    ours = {each.__name__ for each in all_below(Stats) if each.__module__.startswith("meshhook.")}
    assert {kind.__name__ for kind in KINDS.values()} == ours
    assert KINDS.keys() == SOURCES.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_is_counted_is_a_metric(kind: str) -> None:
    """Each field of the statistics feeds one, or it is said why not."""
    fed = {field for source in SOURCES[kind] for field in source.fields}
    fields = {field.name for field in dataclasses.fields(KINDS[kind])} - {"policy", "name"}
    if kind == "circuit_breaker":
        fields |= {f"window.{field.name}" for field in dataclasses.fields(WindowStats)}
    assert fed | NOT_COUNTED[kind].keys() == fields
    assert not fed & NOT_COUNTED[kind].keys() - {"calls"}


def test_every_metric_is_fed() -> None:
    """None is in the catalogue that no policy has."""
    fed = {source.metric for sources in SOURCES.values() for source in sources}
    own = {"call.duration", "circuit.transitions", "critical.failing", "policies", "series.dropped"}
    assert fed | {f"meshhook.{name}" for name in own} == CATALOGUE.keys()
    assert len(CATALOGUE) == len(DEFINITIONS)


def test_every_metric_is_there_with_its_labels(metrics: dict[str, Metric]) -> None:
    """A registry with every kind of policy has all metrics, each with all of its labels."""
    assert metrics.keys() == CATALOGUE.keys()
    for name, metric in metrics.items():
        defined = CATALOGUE[name]
        assert (metric.kind, metric.unit, metric.help) == defined[1:2] + defined[4:5] + defined[3:4]
        for sample in metric.samples:
            assert tuple(sample.labels) == defined.labels


def test_every_series_is_there_once(metrics: dict[str, Metric]) -> None:
    """No two samples of a metric have the same labels."""
    for metric in metrics.values():
        labels = [tuple(sample.labels.items()) for sample in metric.samples]
        assert len(set(labels)) == len(labels)


def test_every_value_is_a_number(metrics: dict[str, Metric]) -> None:
    """Also that of a switch, and none of them is below 0."""
    for metric in metrics.values():
        for sample in metric.samples:
            if metric.kind != "histogram":
                assert type(sample.value) in {int, float}
                assert sample.value >= 0


def test_nothing_of_the_calls_is_shown(metrics: dict[str, Metric]) -> None:
    """Neither keys nor arguments, results and texts of exceptions."""
    assert SECRET not in repr(metrics)


def test_counters_are_what_the_statistics_say(metrics: dict[str, Metric]) -> None:
    """One of each sort, by name."""
    found = list(metrics.values())
    opened = {"policy": "circuit_breaker", "name": "opened"}
    assert value(found, "meshhook.calls", **opened, outcome="failure") == 1
    assert value(found, "meshhook.calls", **opened, outcome="rejected") == 1
    assert value(found, "meshhook.circuit.opened", name="opened") == 1
    assert value(found, "meshhook.circuit.retry_after", name="opened") > 50
    assert value(found, "meshhook.calls", name="left", outcome="timeout") == 1
    assert value(found, "meshhook.timeout.abandonments", name="left") == 1
    assert value(found, "meshhook.calls", name="rate", outcome="rejected") == 1
    assert value(found, "meshhook.rate_limit.available", name="rate") == 0
    assert value(found, "meshhook.calls", name="full", outcome="rejected") == 1
    assert value(found, "meshhook.retry.ended", name="retried", reason="budget") == 2
    assert value(found, "meshhook.retry.budget.usage", name="budget") == 1
    assert value(found, "meshhook.fallback.used", name="fallback", source="value") == 1
    assert value(found, "meshhook.idempotency.hits", name="charge", kind="replay") == 1
    assert value(found, "meshhook.idempotency.hits", name="charge", kind="miss") == 1
    assert value(found, "meshhook.chaos.injections", name="struck", what="result") == 1
    assert value(found, "meshhook.keys.evicted", policy="circuit_breaker", name="keyed") == 1
    assert value(found, "meshhook.policies", policy="circuit_breaker") == 3


@pytest.mark.parametrize("state", list(State))
def test_the_state_of_a_circuit_is_one_of_all(registry: Registry, state: State) -> None:
    """Its own has 1, all others 0."""
    mh.circuit_breaker("db", initial_state=state, registry=registry)
    shown = {each: value(collect(registry), "meshhook.circuit.state", state=each) for each in State}
    assert shown == {each: int(each is state) for each in State}


def test_the_states_of_a_family_are_counted(registry: Registry) -> None:
    """How many of its circuits are in each."""

    @mh.circuit_breaker("hosts", key="{host}", failure_threshold=1, registry=registry)
    def ping(host: str) -> None:
        if host != "a":
            fail()

    for host in "abc":
        attempt(ping, host)
    found = collect(registry)
    assert value(found, "meshhook.circuit.keys", state="closed") == 1
    assert value(found, "meshhook.circuit.keys", state="open") == 2
    assert value(found, "meshhook.circuit.state", state="open") == 1


def test_transitions_are_counted(registry: Registry, frozen: Any) -> None:
    """The usual ones are there from the beginning; setting the state that is there is none."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    def counted() -> dict[tuple[str, str], int]:
        (metric,) = [each for each in collect(registry) if each.name.endswith("transitions")]
        return {(each.labels["from"], each.labels["to"]): each.value for each in metric.samples}

    assert counted() == {
        ("closed", "open"): 0,
        ("open", "half_open"): 0,
        ("half_open", "open"): 0,
        ("half_open", "closed"): 0,
    }
    for _ in range(2):
        attempt(breaker.call, fail)
        frozen.tick(61)
        breaker.call(int)
    breaker.force_open()
    breaker.force_open()
    with breaker.isolated():
        pass
    breaker.reset()
    breaker.reset()
    assert counted() == {
        ("closed", "open"): 2,
        ("open", "half_open"): 2,
        ("half_open", "open"): 0,
        ("half_open", "closed"): 2,
        ("closed", "forced_open"): 1,
        ("forced_open", "closed"): 1,
    }


def test_what_a_policy_does_not_have_is_no_series(registry: Registry) -> None:
    """No window, no keys, no durations: no metrics of them."""
    mh.circuit_breaker("plain", registry=registry)
    mh.bulkhead(name="plain", registry=registry)
    mh.hedge(1, name="plain", idempotent=True, registry=registry)
    names = {each.name for each in collect(registry)}
    assert not names & {
        "meshhook.circuit.failure_rate",
        "meshhook.circuit.keys",
        "meshhook.keys",
        "meshhook.keys.evicted",
        "meshhook.call.duration",
    }


def test_a_critical_policy_that_fails_is_told(registry: Registry) -> None:
    """As it decides whether the service is ready; others have no such series."""
    breaker = mh.circuit_breaker("db", critical=True, registry=registry)
    mh.circuit_breaker("mail", registry=registry).force_open()
    labels = {"policy": "circuit_breaker", "name": "db"}

    def told() -> list[Any]:
        return next(each for each in collect(registry) if each.name.endswith("failing")).samples

    assert told() == [(labels, 0)]
    breaker.force_open()
    assert told() == [(labels, 1)]
    assert not registry.health().ready


def test_a_registry_without_policies_has_nothing(registry: Registry) -> None:
    """But that nothing was left out."""
    (dropped,) = collect(registry)
    assert (dropped.name, dropped.samples[0].value) == ("meshhook.series.dropped", 0)


def test_a_policy_of_another_kind_is_counted_and_left_alone(registry: Registry) -> None:
    """One that somebody else has made."""

    class Own(mh.Timeout):
        kind = "own"

    Own.shared("mine", mh.timeout(1).settings, registry)
    found = collect(registry)
    assert value(found, "meshhook.policies", policy="own") == 1
    assert not names_of(found)


def test_removed_policies_vanish(registry: Registry) -> None:
    """With the function that had one."""

    def make() -> Any:
        @mh.timeout(1, registry=registry)
        def fn() -> None: ...

        return fn

    fn = make()
    assert names_of(collect(registry)) == {f"{__name__}.{make.__qualname__}.<locals>.fn"}
    del fn
    gc.collect()
    assert not names_of(collect(registry))


def test_a_name_that_cannot_be_shown_is_escaped(registry: Registry) -> None:
    """One taken from a function may be anything."""

    def fn() -> None: ...

    fn.__module__, fn.__qualname__ = "m", "a\nb\ud800"
    kept = mh.timeout(1, registry=registry)(fn)
    assert names_of(collect(registry)) == {"m.a\\nb\\ud800"}
    del kept


def durations(registry: Registry, *seconds: float, **settings: Any) -> HistogramSample:
    """Let calls of a circuit take so long; return the histogram."""
    breaker = mh.circuit_breaker(
        "timed", slow_call_duration=1000, slow_call_rate_threshold=1, registry=registry
    )
    for each in seconds:
        breaker.call(time.sleep, each)
    found: HistogramSample = value(collect(registry, **settings), "meshhook.call.duration")
    return found


@pytest.fixture
def ticking(frozen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleep by moving the frozen clock."""
    monkeypatch.setattr(time, "sleep", frozen.tick)


def test_a_policy_that_cannot_be_read_hides_no_other(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of it, and not what its error says."""

    class Odd(mh.Timeout):
        def stats(self) -> Any:
            raise OSError(SECRET)

    odd = registry.make("timeout", "odd", mh.timeout(1).recipe, lambda new: Odd(new, registry))
    mh.timeout(2, name="fine", registry=registry)
    found = collect(registry)
    (limit,) = next(each for each in found if each.name == "meshhook.timeout.limit").samples
    assert (limit.labels, limit.value) == ({"name": "fine"}, 2)
    assert caplog.messages == ["the metrics of timeout 'odd' could not be read: OSError"]
    assert odd.name == "odd"


@pytest.mark.usefixtures("ticking")
def test_durations_fall_into_buckets(registry: Registry) -> None:
    """Each end has all that took no longer; the sum is within 10 %."""
    found = durations(registry, 0.02, 0.02, 0.3, 0.3, 0.3, 7.0, 100.0, buckets=(0.1, 1, 10))
    assert found.buckets == ((0.1, 2), (1.0, 5), (10.0, 6), (math.inf, 7))
    assert found.count == 7
    assert found.sum == pytest.approx(107.94, rel=0.1)
    assert dict(found.labels) == {"policy": "circuit_breaker", "name": "timed"}


@pytest.mark.usefixtures("ticking")
def test_the_ends_of_buckets_are_off_by_a_tenth_at_most(registry: Registry) -> None:
    """A duration further than that from an end is on its side of it."""
    seconds = [0.001 * 1.07**number for number in range(200)]
    found = durations(registry, *seconds)
    for end, number in found.buckets:
        assert sum(each <= end / 1.1 for each in seconds) <= number
        assert number <= sum(each <= end * 1.1 for each in seconds)


@pytest.mark.usefixtures("ticking")
def test_buckets_never_shrink(registry: Registry) -> None:
    """Nor do count and sum, whatever is added and reset."""
    last = durations(registry)
    for seconds in (5.0, 0.001, 0.0, 0.3, 1e-9, 40.0, 0.3):
        registry.reset()
        found = durations(registry, seconds)
        assert all(new[1] >= old[1] for new, old in zip(found.buckets, last.buckets, strict=True))
        assert found.sum > last.sum
        assert found.count == last.count + 1
        last = found
    assert [end for end, _ in last.buckets] == [*BUCKETS, math.inf]


@pytest.mark.usefixtures("ticking")
def test_durations_of_a_hedge_are_of_all_times(registry: Registry, frozen: Any) -> None:
    """Its delay forgets what is older than its window, and after reset; the histogram does not."""
    hedge = mh.hedge(
        minimum_samples=100, window=10, name="quotes", idempotent=True, registry=registry
    )
    pace: Any = hedge.pace
    for number in range(1, 30):
        pace.add(time.monotonic(), 0.3)
        frozen.tick((0.1, 3, 6, 11, 40)[number % 5])
        if number % 7 == 0:
            hedge.reset()
        found = value(collect(registry), "meshhook.call.duration")
        assert found.count == number
    assert pace.sketch(time.monotonic()).count < 10


@pytest.mark.parametrize(
    "buckets",
    [
        (),
        (1, 1),
        (2, 1),
        (0, 1),
        (-1,),
        ("a",),
        "123",
        5,
        (math.inf,),
        (math.nan,),
        (1e400, 2),
    ],
)
def test_wrong_buckets(registry: Registry, buckets: Any) -> None:
    """The error says what they must be."""
    with pytest.raises(mh.ConfigurationError, match="buckets must be ends of buckets in seconds"):
        collect(registry, buckets=buckets)


@pytest.mark.parametrize("most", [0, -1, 1.5, None, "many", True])
def test_wrong_numbers_of_series(registry: Registry, most: Any) -> None:
    """The same for the limit."""
    with pytest.raises(mh.ConfigurationError, match="max_series must be a whole number"):
        collect(registry, max_series=most)


def test_infinity_at_the_end_of_the_buckets_is_no_other(registry: Registry) -> None:
    """Who writes it gets what others get."""
    assert durations(registry, buckets=[1, math.inf]) == durations(registry, buckets=[1])


def many(number: int) -> Registry:
    """Make a registry with so many policies, of three kinds."""
    registry = Registry()
    for at in range(number // 2):
        mh.circuit_breaker(
            f"c{at}", slow_call_duration=1, slow_call_rate_threshold=1, registry=registry
        )
        mh.timeout(1, name=f"t{at}", registry=registry)
    return registry


def test_series_are_capped() -> None:
    """Whole policies fall out, and are counted."""
    registry = many(20)
    all_of_them = collect(registry)
    assert value(all_of_them, "meshhook.series.dropped") == 0
    for most in range(1, series_of(all_of_them) + 30, 7):
        found = collect(registry, max_series=most)
        assert series_of(found) <= max(most, 3)
        dropped = value(found, "meshhook.series.dropped")
        assert bool(dropped) == (len(names_of(found)) < 20)
        assert value(found, "meshhook.policies", policy="timeout") == 10
        for name in names_of(found):
            whole, part = (
                [s for m in each for s in m.samples if s.labels.get("name") == name]
                for each in (all_of_them, found)
            )
            assert len(whole) == len(part)


def test_the_same_policies_fall_out_each_time() -> None:
    """Those that were made last, whatever states the others are in by now."""
    registry = many(20)
    in_order = [name for at in range(10) for name in (f"c{at}", f"t{at}")]

    def kept() -> set[str]:
        return names_of(collect(registry, max_series=300))

    first = kept()
    assert 0 < len(first) < 20
    assert first == set(in_order[: len(first)])
    for breaker in registry.circuit_breakers.values():
        breaker.call(int)
    for at in range(10, 20):
        mh.timeout(1, name=f"t{at}", registry=registry)
    assert kept() == first
    for breaker in registry.circuit_breakers.values():
        breaker.force_open()  # a transition that was not there before is a series more
    fewer = kept()
    assert fewer == set(in_order[: len(fewer)])
    for breaker in registry.circuit_breakers.values():
        attempt(breaker.call, int)
    assert kept() == fewer


def test_those_with_names_come_first(registry: Registry) -> None:
    """What was named after functions falls out before."""
    fns = [mh.timeout(1, registry=registry)(fn) for fn in (len, max, fail)]
    mh.timeout(1, name="named", registry=registry)
    found = collect(registry, max_series=25)
    assert names_of(found) == {"named"}
    del fns


def test_ten_thousand_policies_are_read_in_bounded_time() -> None:
    """Those beyond the cap are not even read: a tenth of a second on a machine that is not busy."""
    registry = many(10_000)
    best = min(timed(registry) for _ in range(3))
    assert best < 2
    assert series_of(collect(registry)) <= MAX_SERIES


def timed(registry: Registry) -> float:
    began = time.perf_counter()
    collect(registry)
    return time.perf_counter() - began


def test_names_for_prometheus() -> None:
    """Dots are underscores, and seconds are said."""
    assert prometheus_name("meshhook.call.duration", "s") == "meshhook_call_duration_seconds"
    metric = Metric("meshhook.calls", "counter", "", "help", ())
    assert metric.prometheus_name == "meshhook_calls"


def counters(found: list[Metric]) -> dict[tuple[Any, ...], float]:
    """Return everything that must never go backwards."""
    numbers: dict[tuple[Any, ...], float] = {}
    for metric in found:
        for sample in metric.samples:
            at = metric.name, *sample.labels.items()
            if metric.kind == "counter":
                numbers[at] = sample.value
            elif metric.kind == "histogram":
                numbers[*at, "count"], numbers[*at, "sum"] = sample.count, sample.sum
                numbers.update({(*at, end): number for end, number in sample.buckets})
    return numbers


@pytest.mark.fault
def test_counters_never_go_backwards() -> None:
    """While threads call, keys come and go and states change, each reading is at least the last."""
    registry = Registry()
    keys = itertools.count()
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=3,
        slow_call_duration=1,
        slow_call_rate_threshold=1,
        reset_timeout="1ms",
        registry=registry,
    )
    families: list[Any] = [
        make(key="{key}", max_keys=3, name="keyed", registry=registry)
        for make in (mh.bulkhead, mh.throttle)
    ]
    families.append(mh.circuit_breaker("keyed", key="{key}", max_keys=3, registry=registry))
    families.append(mh.rate_limit("1000/s", key="{key}", max_keys=3, name="k", registry=registry))

    def keyed(key: int) -> int:
        return 1 // (key % 3)

    guarded = [family(keyed) for family in families]
    stack = mh.fallback(value=0, name="f", registry=registry)(
        mh.retry(name="r", base_delay=0, registry=registry)(
            mh.hedge(idempotent=True, name="h", registry=registry)(breaker(keyed))
        )
    )
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            key = next(keys)
            for fn in (*guarded, stack):
                attempt(fn, key)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    last: dict[tuple[Any, ...], float] = {}
    end = time.perf_counter() + 1
    readings = 0
    while time.perf_counter() < end:
        found = counters(collect(registry))
        assert all(found[at] >= number for at, number in last.items())
        last = found
        readings += 1
    ended.set()
    for thread in threads:
        thread.join()
    assert readings > 10
    assert last["meshhook.calls", ("policy", "fallback"), ("name", "f"), ("outcome", "success")] > 0
