"""A service for several workers: each request is a call, and /metrics is everybody's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector

import meshhook as mh
from meshhook.observe.prometheus import PrometheusCollector, exposition

prometheus_client.REGISTRY.register(PrometheusCollector())
THEIRS = prometheus_client.Counter("requests", "Requests.")
RUNNING = prometheus_client.Gauge("workers", "Workers.", multiprocess_mode="livesum")


@mh.bulkhead(5, name="slots")
@mh.circuit_breaker("upstream", slow_call_duration=1, slow_call_rate_threshold=1)
def call(path: str) -> bytes:
    RUNNING.set(1)
    THEIRS.inc()
    if path == "/fail":
        raise ConnectionError
    return str(os.getpid()).encode()


if os.environ.get("CALL_AT_IMPORT"):
    call("/")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/metrics":
        together = prometheus_client.CollectorRegistry()
        MultiProcessCollector(together)
        body = prometheus_client.generate_latest(together)
    elif path == "/ours":
        body, _ = exposition()
    elif path == "/own":
        body = prometheus_client.generate_latest()
    elif path == "/pid":
        body = str(os.getpid()).encode()
    else:
        try:
            body = call(path)
        except Exception as error:
            body = type(error).__name__.encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
