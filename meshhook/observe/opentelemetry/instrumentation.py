"""instrument: begin to tell OpenTelemetry, and stop again."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, Self

from meshhook.errors import ConfigurationError
from meshhook.observe.catalogue import DEFINITIONS
from meshhook.observe.metrics import MAX_SERIES, check_buckets
from meshhook.registry import Registry
from meshhook.settings import count, flag, wrong

_LABELS: Final = {label for each in DEFINITIONS for label in each.labels} | {"le", "quantile"}
"""What metrics have of their own."""


class MeterProvider(Protocol):
    """What ``opentelemetry.metrics.MeterProvider`` is to those who do not have it."""

    def get_meter(self, name: str, version: str | None = None) -> Any:
        """Return a meter."""


class Instrumentation:
    """What :func:`instrument` returns: ``close()`` it, or use it as a context manager."""

    def __init__(self, undo: list[Callable[[], object]]) -> None:
        self._undo = undo
        self._lock = threading.RLock()

    def close(self) -> None:
        """Tell OpenTelemetry nothing more. Safe to call more than once."""
        with self._lock:
            while self._undo:
                self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def instrument(
    registry: Registry | None = None,
    *,
    meter_provider: MeterProvider | None = None,
    metrics: bool = True,
    tracing: bool = True,
    attributes: Mapping[str, str] | None = None,
    buckets: Sequence[float] | None = None,
    max_series: int = MAX_SERIES,
) -> Instrumentation:
    """Tell OpenTelemetry what the policies do, until what this returns is closed.

    The statistics are read by observable instruments when a reader of the SDK collects, so calls
    pay nothing for them. What happens to a call - rejections, retries, timeouts, hedges, fallbacks,
    replays, transitions - becomes an event of the span that is current there, if it is recorded.

    Args:
        registry: whose policies the metrics are of. Default ``meshhook.registry``. Spans get what
            happens to policies of any registry.
        meter_provider: where the instruments are made. Default the global one, which may be set
            afterwards.
        metrics: whether there are metrics. Default True.
        tracing: whether events go to spans. Default True.
        attributes: what all metrics are to have beside their own, so as to tell registries apart
            that have policies of the same names. Default nothing.
        buckets: ends of buckets in seconds, for durations to be told by bucket as well. Default
            None: count, sum and quantiles only.
        max_series: the most series of the registry; whole policies are left out beyond, the last
            made first. Default 10,000.

    Raises:
        ConfigurationError: for a setting that is wrong, or when opentelemetry-api is not installed.

    Safe to call from any thread, and more than once: nothing is told twice.
    """
    registry = Registry.given(registry)
    flag("metrics", metrics)
    flag("tracing", tracing)
    own = _attributes(attributes)
    ends = None if buckets is None else check_buckets(buckets)
    count("max_series", max_series)
    instruments = _ours("instruments")
    instruments.check_provider(meter_provider)
    undo: list[Callable[[], object]] = []
    if metrics:
        made = instruments.of(meter_provider)
        told = instruments.Told(registry, own, ends, max_series)
        made.begin(told)
        undo.append(lambda: made.end(told))
    if tracing:
        spans = _ours("spans")
        spans.begin()
        undo.append(spans.end)
    return Instrumentation(undo)


def _attributes(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    wanted = "text by name, such as {'shop.shard': 'a'}, and no name of a label of ours"
    if not isinstance(given, Mapping):
        raise wrong("attributes", given, wanted)
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not name or name in _LABELS:
            raise wrong("attributes", given, wanted)
    return dict(given)


def _ours(module: str) -> Any:
    """Import a module of this package, which imports OpenTelemetry."""
    try:
        import opentelemetry.metrics
        import opentelemetry.trace  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "instrument needs the package opentelemetry-api, which is not installed: "
            "pip install 'meshhook[otel]'"
        ) from None
    return importlib.import_module(f"{__package__}.{module}")
