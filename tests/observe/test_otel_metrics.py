"""The statistics as instruments of OpenTelemetry, collected by its SDK."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View

import meshhook as mh
from meshhook.observe import instance, metrics
from meshhook.observe.catalogue import DEFINITIONS, DURATION
from meshhook.observe.opentelemetry import instrument, instruments
from meshhook.observe.opentelemetry.instruments import DURATIONS, INSTRUMENTS, kind_of


class Collected:
    """A provider with a reader, and what that has collected."""

    def __init__(self, **provider: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False, **provider)

    def metrics(self) -> dict[str, Any]:
        """Collect, and return what there is by name."""
        data = self.reader.get_metrics_data()
        found: dict[str, Any] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert metric.name not in found, f"{metric.name} is there twice"
                    found[metric.name] = metric
        return found

    def points(self) -> dict[tuple[Any, ...], float]:
        """Collect, and return each value by metric and attributes."""
        return {
            (name, *sorted(point.attributes.items())): point.value
            for name, metric in self.metrics().items()
            for point in metric.data.data_points
        }


def at(metric: str, /, **attributes: str) -> tuple[Any, ...]:
    """Return where a point is."""
    return (f"meshhook.{metric}", *sorted(attributes.items()))


@pytest.fixture
def collected() -> Iterator[Collected]:
    """Collect into memory."""
    made = Collected()
    yield made
    made.provider.shutdown()


@pytest.fixture
def told(collected: Collected, registry: mh.Registry) -> Iterator[Collected]:
    """Collect what the registry of the test has to tell."""
    with instrument(meter_provider=collected.provider, tracing=False):
        yield collected


def fail() -> None:
    raise ConnectionError("secret text")


def test_the_numbers_are_those_of_the_statistics(told: Collected) -> None:
    """What a policy has counted is there, under the names of the catalogue, with its labels."""
    breaker = mh.circuit_breaker("db", failure_threshold=1)
    breaker.call(int)
    with pytest.raises(ConnectionError):
        breaker.call(fail)
    for _ in range(3):
        with pytest.raises(mh.CircuitOpenError):
            breaker.call(int)
    points = told.points()
    calls = {"policy": "circuit_breaker", "name": "db"}
    assert points[at("calls", **calls, outcome="success")] == 1
    assert points[at("calls", **calls, outcome="failure")] == 1
    assert points[at("calls", **calls, outcome="rejected")] == 3
    assert points[at("circuit.state", name="db", state="open")] == 1
    assert points[at("circuit.state", name="db", state="closed")] == 0
    assert points[at("circuit.transitions", name="db", **{"from": "closed", "to": "open"})] == 1


def everything(registry: mh.Registry) -> list[Any]:
    """Make a policy of each kind, with all that it can tell of, and return them."""
    budget = mh.RetryBudget(name="budget", registry=registry)
    made = [
        mh.circuit_breaker(
            "c", failure_rate_threshold=0.5, slow_call_duration=1, key="{x}", registry=registry
        ),
        mh.circuit_breaker(
            "d", failure_rate_threshold=0.5, slow_call_duration=1, registry=registry
        ),
        mh.timeout(5, name="t", registry=registry),
        mh.retry(name="r", budget=budget, registry=registry),
        mh.rate_limit("500/s", name="l", registry=registry),
        mh.bulkhead(5, name="b", registry=registry),
        mh.hedge(name="h", idempotent=True, registry=registry),
        mh.fallback(value=1, name="f", registry=registry),
        mh.throttle(name="th", registry=registry),
        mh.chaos(rate=0.5, fault=ConnectionError, name="ch", registry=registry),
        mh.idempotent("{x}", name="i", registry=registry),
        budget,
    ]

    def book(x: int) -> int:
        return x

    guarded = made[0](made[10](book))
    for number in range(30):
        guarded(number)
        for policy in made[1:9]:
            policy.call(int)
    return [*made, guarded]


def test_every_metric_of_prometheus_is_there(
    told: Collected, registry: mh.Registry, frozen: Any
) -> None:
    """The two read the same catalogue: same names, same values; only durations differ in form."""
    kept = everything(registry)
    with_values = {metric.name: metric for metric in metrics.collect(registry)}
    found = told.metrics()
    durations = {each.name for each in DURATIONS}
    assert set(found) - durations == set(with_values) - {DURATION.name}
    for name, metric in with_values.items():
        if name != DURATION.name:
            assert sorted(
                (sorted(point.attributes.items()), point.value)
                for point in found[name].data.data_points
            ) == sorted((sorted(each.labels.items()), each.value) for each in metric.samples), name
            assert (found[name].unit, found[name].description) == (metric.unit, metric.help)
    assert kept


def test_what_adds_up_is_a_sum_and_what_does_not_is_a_gauge(
    told: Collected, registry: mh.Registry
) -> None:
    """Counters are monotonic; a number of calls can be added over processes; a share cannot."""
    kept = everything(registry)
    kinds = {
        name: (type(metric.data).__name__, getattr(metric.data, "is_monotonic", None))
        for name, metric in told.metrics().items()
    }
    assert kinds["meshhook.calls"] == ("Sum", True)
    assert kinds["meshhook.bulkhead.in_flight"] == ("Sum", False)
    assert kinds["meshhook.circuit.state"] == ("Sum", False)
    assert kinds["meshhook.throttle.chance"] == ("Gauge", None)
    assert kinds["meshhook.call.duration.quantile"] == ("Gauge", None)
    wanted = {"counter": ("Sum", True), "up_down_counter": ("Sum", False), "gauge": ("Gauge", None)}
    for each in INSTRUMENTS:
        assert kinds.get(each.name, wanted[kind_of(each)]) == wanted[kind_of(each)]
    assert kept


def test_durations_are_told_in_seconds(told: Collected) -> None:
    """Count, sum and quantiles since the start, each within 10 %."""
    breaker = mh.circuit_breaker("db", slow_call_duration=1)
    for seconds in (0.01, 0.01, 0.2):
        breaker._sketch.add(seconds)  # type: ignore[union-attr]
    labels = {"policy": "circuit_breaker", "name": "db"}
    points = told.points()
    assert points[at("call.duration.count", **labels)] == 3
    assert points[at("call.duration.sum", **labels)] == pytest.approx(0.22, rel=0.1)
    half = points[at("call.duration.quantile", **labels, quantile="0.5")]
    assert half == pytest.approx(0.01, rel=0.1)
    assert points[at("call.duration.quantile", **labels, quantile="0.99")] == pytest.approx(
        0.2, rel=0.1
    )
    assert half == breaker.stats().latency.p50  # type: ignore[union-attr]
    assert not any(name == "meshhook.call.duration.bucket" for name, *_ in points)


def test_what_has_no_number_is_left_out(told: Collected) -> None:
    """Quantiles of no calls, and what no exporter could send."""
    mh.circuit_breaker("idle", slow_call_duration=1)
    mh.timeout(5, name="endless").tally.successes = 10**400
    points = told.points()
    where = {"policy": "circuit_breaker", "name": "idle"}
    assert points[at("call.duration.count", **where)] == 0
    assert not any(name == "meshhook.call.duration.quantile" for name, *_ in points)


def test_durations_may_be_told_by_bucket(collected: Collected, registry: mh.Registry) -> None:
    """With buckets, each counts the calls that were at most so long."""
    breaker = mh.circuit_breaker("db", slow_call_duration=1)
    for seconds in (0.01, 0.01, 0.2):
        breaker._sketch.add(seconds)  # type: ignore[union-attr]
    with instrument(meter_provider=collected.provider, tracing=False, buckets=(0.1, 1)):
        points = collected.points()
    labels = {"policy": "circuit_breaker", "name": "db"}
    assert [points[at("call.duration.bucket", **labels, le=le)] for le in ("0.1", "1", "+Inf")] == [
        2,
        3,
        3,
    ]


def test_what_is_made_later_is_told_too(told: Collected) -> None:
    """A policy, and a kind of policy, that came after instrument()."""
    assert not any(name == "meshhook.retry.attempts" for name, *_ in told.points())
    guarded = mh.retry(name="late")(lambda: None)
    guarded()
    assert told.points()[at("retry.attempts", name="late", attempt="first")] == 1


def test_the_series_of_a_removed_policy_vanish(told: Collected) -> None:
    """What nobody holds any more has left the registry, and is told of no more."""

    def made() -> Any:
        return mh.timeout(5)(lambda: None)

    kept, gone = made(), made()
    kept(), gone()
    (first, second) = sorted(mh.registry.timeouts)
    assert {dict(rest)["name"] for name, *rest in told.points() if name == "meshhook.calls"} == {
        first,
        second,
    }
    del gone
    gc.collect()
    assert {dict(rest)["name"] for name, *rest in told.points() if name == "meshhook.calls"} == {
        first
    }


def test_series_are_capped(collected: Collected, registry: mh.Registry) -> None:
    """Beyond max_series whole policies are left out, and their number is told."""
    for number in range(100):
        mh.timeout(5, name=f"t{number}")
    with instrument(meter_provider=collected.provider, tracing=False, max_series=50):
        points = collected.points()
    assert len(points) <= 50
    assert points[at("series.dropped")] > 0
    assert points[at("policies", policy="timeout")] == 100


def test_keys_are_no_attributes(told: Collected) -> None:
    """A family is one set of series, however many keys there are."""

    @mh.rate_limit("5/s", key="{user}", name="l")
    def ask(user: str) -> None:
        pass

    for number in range(50):
        ask(f"secret-{number}")
    points = told.points()
    assert points[at("keys", policy="rate_limit", name="l")] == 50
    assert "secret" not in repr(points)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each reading of the statistics."""
    readings: list[int] = []
    collect = metrics.collect

    def counted(*args: Any, **kwargs: Any) -> Any:
        readings.append(1)
        return collect(*args, **kwargs)

    monkeypatch.setattr(metrics, "collect", counted)
    return readings


def test_a_collection_reads_the_statistics_once(
    told: Collected, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All instruments of a collection tell of one moment, and the next one of another."""
    readings = counting(monkeypatch)
    timeout = mh.timeout(5, name="t")
    for number in range(1, 4):
        timeout.call(int)
        assert told.points()[at("calls", policy="timeout", name="t", outcome="success")] == number
        assert len(readings) == number


def test_two_readers_of_a_provider_get_the_same(registry: mh.Registry) -> None:
    """Each of their collections is complete."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    mh.timeout(5, name="t").call(int)
    with instrument(meter_provider=provider, tracing=False):
        sizes = []
        for reader in readers * 2:
            (resource,) = reader.get_metrics_data().resource_metrics  # type: ignore[union-attr]
            sizes.append(len(resource.scope_metrics[0].metrics))
    assert len(set(sizes)) == 1
    provider.shutdown()


def test_instruments_that_are_not_asked_for_do_not_keep_a_reading_alive(
    registry: mh.Registry, frozen: Any
) -> None:
    """A view that drops instruments leaves the others right, also after a while."""
    collected = Collected(
        views=[View(instrument_name="meshhook.policies", aggregation=DropAggregation())]
    )
    timeout = mh.timeout(5, name="t")
    with instrument(meter_provider=collected.provider, tracing=False):
        for number in range(1, 4):
            timeout.call(int)
            points = collected.points()
            assert points[at("calls", policy="timeout", name="t", outcome="success")] == number
            frozen.tick(60)
    collected.provider.shutdown()


def test_an_instrument_alone_reads_anew(registry: mh.Registry, frozen: Any) -> None:
    """What was not asked for is forgotten after some seconds, and when the clock is set back."""
    made = instruments.Instruments(Collected().provider)
    made.begin(instruments.Told(registry, {}, None, 100))
    mh.timeout(5, name="a")
    assert [each.value for each in made._observe("meshhook.policies", None)] == [1]  # type: ignore[arg-type]
    mh.timeout(5, name="b")
    assert len(made._observe("meshhook.timeout.limit", None)) == 1  # type: ignore[arg-type]
    for seconds in (6, -60):
        frozen.tick(seconds)
        assert len(made._observe("meshhook.timeout.abandoned", None)) == 2  # type: ignore[arg-type]
        made._asked.clear()


def test_instrumenting_twice_tells_once(collected: Collected, registry: mh.Registry) -> None:
    """Counters are not added to themselves, and the last one that is closed ends it."""
    mh.timeout(5, name="t").call(int)
    success = at("calls", policy="timeout", name="t", outcome="success")
    first = instrument(meter_provider=collected.provider)
    second = instrument(meter_provider=collected.provider)
    assert collected.points()[success] == 1
    first.close()
    first.close()
    assert collected.points()[success] == 1
    second.close()
    assert collected.points() == {}
    with instrument(meter_provider=collected.provider):
        assert collected.points()[success] == 1
    assert collected.points() == {}


def test_registries_are_told_apart_by_attributes(collected: Collected) -> None:
    """Two registries may have policies of one name."""
    here, there = mh.Registry(), mh.Registry()
    mh.timeout(5, name="t", registry=here).call(int)
    mh.timeout(5, name="t", registry=there)
    options: dict[str, Any] = {"meter_provider": collected.provider, "tracing": False}
    with (
        instrument(here, attributes={"shop.shard": "a"}, **options),
        instrument(there, attributes={"shop.shard": "b"}, **options),
    ):
        points = collected.points()
    where = {"policy": "timeout", "name": "t", "outcome": "success"}
    assert points[at("calls", **where, **{"shop.shard": "a"})] == 1
    assert points[at("calls", **where, **{"shop.shard": "b"})] == 0


def test_nothing_is_left_behind(registry: mh.Registry) -> None:
    """A provider that is gone takes its instruments along; a registry is not held after the end."""
    collected = Collected()
    provider, own = weakref.ref(collected.provider), mh.Registry()
    told_of = weakref.ref(own)
    with instrument(own, meter_provider=collected.provider):
        collected.points()
    made = weakref.ref(instruments._all[collected.provider])
    del own
    gc.collect()
    assert told_of() is None
    collected.provider.shutdown()
    del collected
    gc.collect()
    assert provider() is None
    assert made() is None


def test_many_beginnings_and_ends_leave_nothing(collected: Collected) -> None:
    """Threads may begin and end while others collect."""
    own = mh.Registry()
    mh.timeout(5, name="t", registry=own)

    def work() -> None:
        for _ in range(50):
            with instrument(own, meter_provider=collected.provider):
                collected.points()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert instruments._all[collected.provider]._told == ()
    assert collected.points() == {}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (True, 1),
        (5, 5),
        (0.5, 0.5),
        (2**63 - 1, 2**63 - 1),
        (2**63, 2.0**63),
        (-(2**63), -(2**63)),
        (10**400, None),
        (math.inf, None),
        (math.nan, None),
    ],
)
def test_only_what_can_be_sent_is_given(value: Any, sent: Any) -> None:
    """An endless budget has no number, and one beyond all measure is about right."""
    given = instruments._sendable(value)
    assert given == sent
    assert type(given) is type(sent)


def test_what_fails_while_it_is_read_is_told_once(
    told: Collected, registry: mh.Registry, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """The collection goes on without our numbers, and the next one has them again."""
    mh.timeout(5, name="t")
    assert told.points()
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "collect", lambda *_, **__: 1 / 0)
        assert told.points() == {}
    assert [record.name for record in caplog.records] == ["meshhook.events"]
    assert told.points()


def test_the_sdk_has_nothing_to_complain_of(
    told: Collected, registry: mh.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Names, units, kinds and values are as it wants them."""
    caplog.set_level(logging.WARNING)
    kept = everything(registry)
    assert len(told.points()) > 100
    assert caplog.records == []
    assert kept


def test_a_copy_that_is_not_installed_has_no_version(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scope of the metrics tells the version of meshhook, where that is known."""

    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    def version() -> str | None:
        collected = Collected()
        with instrument(meter_provider=collected.provider, tracing=False):
            data: Any = collected.reader.get_metrics_data()
        collected.provider.shutdown()
        return data.resource_metrics[0].scope_metrics[0].scope.version  # type: ignore[no-any-return]

    monkeypatch.setattr(instruments, "version", instance.version.__wrapped__)  # nothing is kept
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"1.2.3 of {name}")
    assert version() == "1.2.3 of meshhook"
    monkeypatch.setattr(importlib.metadata, "version", unknown)
    assert not version()


def test_a_thousand_policies_are_told_of(registry: mh.Registry) -> None:
    """With room for their series in the reader, all are there, and soon."""
    reader = InMemoryMetricReader(cardinality_limits={ObservableCounter: 100_000})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for number in range(1_000):
        mh.timeout(5, name=f"t{number}").call(int)
    with instrument(meter_provider=provider, tracing=False, max_series=100_000):
        began = time.monotonic()
        (resource,) = reader.get_metrics_data().resource_metrics  # type: ignore[union-attr]
        took = time.monotonic() - began
    (calls,) = (each for each in resource.scope_metrics[0].metrics if each.name == "meshhook.calls")
    successes = [
        point.value
        for point in calls.data.data_points
        if point.attributes["outcome"] == "success"  # type: ignore[index]
    ]
    assert successes == [1] * 1_000
    assert took < 5
    provider.shutdown()


WRONG = [
    ({"registry": "r"}, "registry must be"),
    ({"meter_provider": "p"}, "meter_provider must be a MeterProvider of OpenTelemetry"),
    ({"metrics": 1}, "metrics must be True or False"),
    ({"tracing": None}, "tracing must be True or False"),
    ({"attributes": "a"}, "attributes must be text by name"),
    ({"attributes": {"a": 1}}, "attributes must be text by name"),
    ({"attributes": {"": "a"}}, "attributes must be text by name"),
    ({"attributes": {"policy": "a"}}, "attributes must be text by name"),
    ({"buckets": (2, 1)}, "buckets must be"),
    ({"max_series": 0}, "max_series must be a whole number of 1 or more"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_settings_are_refused(given: Any, message: str) -> None:
    """Each names the argument, the value and what to write instead; nothing has begun."""
    with pytest.raises(mh.ConfigurationError, match=message):
        instrument(**given)
    assert not mh.events.wanted(mh.events.CallRejected)


def test_metrics_may_be_left_out(collected: Collected, registry: mh.Registry) -> None:
    """With metrics=False no instrument is made."""
    with instrument(meter_provider=collected.provider, metrics=False):
        assert collected.points() == {}
    assert collected.provider not in instruments._all


def run(program: str) -> str:
    """Run a program of its own, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_global_provider_may_be_set_afterwards() -> None:
    """Before, in between and after: it is told of everything once, until the last one is closed."""
    assert (
        run("""
import meshhook as mh
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from meshhook.observe.opentelemetry import instrument
mh.timeout(5, name="t").call(int)
before = instrument()
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
after = instrument()
given = instrument(meter_provider=provider)
for each in (before, after, given):
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    names = [metric.name for metric in scope.metrics]
    assert len(names) == len(set(names))
    (calls,) = (metric for metric in scope.metrics if metric.name == "meshhook.calls")
    print(scope.scope.name, sum(point.value for point in calls.data.data_points))
    each.close()
assert reader.get_metrics_data() is None
""")
        == "meshhook 1\n" * 3
    )


def test_without_opentelemetry_it_says_what_to_install() -> None:
    """The error names the extra; the module itself can be imported."""
    said = run("""
import sys
sys.modules["opentelemetry"] = None
import meshhook as mh
from meshhook.observe.opentelemetry import instrument
try:
    instrument()
except mh.ConfigurationError as error:
    print(error)
""")
    assert "pip install 'meshhook[otel]'" in said


def test_opentelemetry_is_not_imported_before_it_is_wanted() -> None:
    """Neither by meshhook nor by the module."""
    assert (
        run("""
import sys
import meshhook
import meshhook.observe.opentelemetry
print([name for name in sys.modules if name.startswith("opentelemetry")])
""")
        == "[]\n"
    )


def test_every_metric_has_an_instrument() -> None:
    """One each, but for the histogram, which has several."""
    names = [each.name for each in INSTRUMENTS]
    assert len(names) == len(set(names))
    others = {each.name for each in DEFINITIONS if each.kind != "histogram"}
    assert set(names) - others == {each.name for each in DURATIONS}
    assert [each.name for each in DEFINITIONS if each.kind == "histogram"] == [DURATION.name]
