"""A collector of OpenTelemetry: a real HTTP server that keeps what exporters send to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What was sent: bodies by path. While ``hangs`` is set, requests get no answer."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {"/v1/metrics": [], "/v1/traces": []}
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.asked.set()
                collector.answers.wait(30)
                collector.bodies[self.path].append(body)
                with contextlib.suppress(OSError):  # whoever asked may have left
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def points(self) -> dict[tuple[Any, ...], float]:
        """Return the values that came last, by metric and attributes."""
        found: dict[tuple[Any, ...], float] = {}
        request = ExportMetricsServiceRequest.FromString(self.bodies["/v1/metrics"][-1])
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    for point in points:
                        value = getattr(point, point.WhichOneof("value"))
                        at = {each.key: each.value.string_value for each in point.attributes}
                        found[(metric.name, *sorted(at.items()))] = value
        return found

    def spans(self) -> list[Any]:
        """Return all spans."""
        return [
            span
            for body in self.bodies["/v1/traces"]
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        """Stop the server."""
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""
    made = Collector()
    try:
        yield made
    finally:
        made.close()
