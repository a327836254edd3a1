"""What a real exporter sends over HTTP is what policies tell, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import meshhook as mh
from meshhook.observe.logging import log_events
from meshhook.observe.opentelemetry import instrument
from tests.observe.otlp_server import Collector, collecting


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with collecting() as made:
        yield made


def fail() -> None:
    raise ConnectionError("secret text")


def test_metrics_arrive_at_a_collector(collector: Collector, registry: mh.Registry) -> None:
    """Counters and gauges of the policies are in the body, with their attributes."""
    exporter = OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    breaker = mh.circuit_breaker("db", failure_threshold=1, slow_call_duration=1)
    breaker.call(int)
    with pytest.raises(ConnectionError):
        breaker.call(fail)
    # That is more than a whole number of the protocol can hold, and would break all of the body.
    mh.timeout(5, name="wide").tally.successes = 2**70
    with instrument(meter_provider=provider, tracing=False):
        assert provider.force_flush()
    provider.shutdown()
    points = collector.points()
    where = (("name", "db"), ("outcome", "success"), ("policy", "circuit_breaker"))
    assert points["meshhook.calls", *where] == 1
    assert points["meshhook.circuit.state", ("name", "db"), ("state", "open")] == 1
    assert 2.0**70 in points.values()
    assert (
        points["meshhook.call.duration.count", ("name", "db"), ("policy", "circuit_breaker")] == 2
    )


def test_spans_arrive_at_a_collector(collector: Collector, registry: mh.Registry) -> None:
    """Their events have names, attributes and times."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    breaker = mh.circuit_breaker("db", reset_timeout=30)
    with (
        instrument(metrics=False),
        provider.get_tracer("tests").start_as_current_span("request"),
    ):
        for _ in range(5):
            with pytest.raises(ConnectionError):
                breaker.call(fail)
        with pytest.raises(mh.CircuitOpenError):
            breaker.call(int)
    provider.shutdown()
    (span,) = collector.spans()
    assert [event.name for event in span.events] == [
        "meshhook.circuit_changed",
        "meshhook.call_rejected",
    ]
    refused = {each.key: each.value for each in span.events[1].attributes}
    assert refused["meshhook.reason"].string_value == "open"
    assert 29 < refused["meshhook.retry_after"].double_value <= 30
    (counted,) = span.attributes
    assert (counted.key, counted.value.int_value) == ("meshhook.rejections", 1)


@pytest.mark.fault
def test_a_collector_that_does_not_answer_holds_no_call_up(
    collector: Collector, registry: mh.Registry
) -> None:
    """Exporters wait on threads of their own; calls, and the statistics, go on."""
    collector.answers.clear()
    metrics = MeterProvider(
        [
            PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics", timeout=20),
                export_interval_millis=10,
            )
        ],
        shutdown_on_exit=False,
    )
    traces = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces", timeout=20)
    traces.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    breaker = mh.circuit_breaker("db")
    breaker.force_open()
    tracer = traces.get_tracer("tests")
    with instrument(meter_provider=metrics):
        assert collector.asked.wait(20)
        began = time.monotonic()
        for _ in range(2_000):
            with tracer.start_as_current_span("request"), pytest.raises(mh.CircuitOpenError):
                breaker.call(int)
        took = time.monotonic() - began
        assert breaker.stats().rejected == 2_000
        assert took < 10
        collector.answers.set()
    metrics.shutdown()
    traces.shutdown()


def test_the_secret_is_nowhere(
    collector: Collector, registry: mh.Registry, colour: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the arguments, keys, results and errors of calls, and not the address of the store."""
    canary = "canary-5a17"
    caplog.set_level(logging.DEBUG, "meshhook")
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics"),
        export_interval_millis=3_600_000,
    )
    meters = MeterProvider([reader], shutdown_on_exit=False)
    tracers = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces")
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    store = mh.RedisStore(f"redis://:{canary}@127.0.0.1:1/0", timeout="20ms")

    def ask(key: str, password: str, *, works: bool) -> str:
        if not works:
            raise ConnectionError(canary)
        return f"result {canary}"

    painted = colour.paint(ask)
    calls = [
        mh.idempotent("{key}", name="remote", store=store)(painted),
        mh.idempotent("{key}", name="local")(painted),
        mh.circuit_breaker("c", key="{key}", failure_threshold=1, slow_call_duration=1)(painted),
        mh.retry(max_attempts=2, base_delay="1ms", name="r")(painted),
        mh.rate_limit("1/h", key="{key}", name="l")(painted),
        mh.fallback(value=canary, name="f")(painted),
        mh.throttle(name="t", key="{key}")(painted),
        mh.chaos(rate=1.0, result=canary, name="ch")(painted),
    ]
    with instrument(meter_provider=meters), log_events():
        for works in (True, False, True, True):
            for number, call in enumerate(calls):
                # What is raised, and shows the key on purpose, is no business of the span.
                span = tracers.get_tracer("tests").start_as_current_span(
                    f"request {number}", record_exception=False, set_status_on_exception=False
                )
                with span:
                    try:
                        answer = call(canary, f"password {canary}", works=works)
                        if colour.name == "async":  # in the context of this span
                            asyncio.run(answer)
                    except (ConnectionError, mh.MeshHookError):
                        pass
        meters.force_flush()
    tracers.shutdown()
    meters.shutdown()
    store.close()
    told = {event.name for span in collector.spans() for event in span.events}
    assert len(told) >= 6
    assert len(collector.points()) > 50
    ours = [record for record in caplog.records if record.name.startswith("meshhook")]
    assert len({record.event for record in ours}) >= 9  # type: ignore[attr-defined]
    for record in ours:
        assert canary not in record.getMessage()
        assert canary not in repr(vars(record))
    for bodies in collector.bodies.values():
        assert bodies
        assert all(canary.encode() not in body for body in bodies)
