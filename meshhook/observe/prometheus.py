"""Metrics for Prometheus: a collector for prometheus_client, and the text that a scrape gets.

The only module that imports prometheus_client, and only when a collector is made. Policies are read
when Prometheus asks, outside of every lock that a call takes for longer than a moment. Several
processes that answer as one are in :mod:`meshhook.observe.multiprocess`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshhook.errors import ConfigurationError
from meshhook.observe.catalogue import DEFINITIONS
from meshhook.observe.metrics import (
    MAX_SERIES,
    HistogramSample,
    Metric,
    check_buckets,
    collect,
    metric_of,
)
from meshhook.observe.multiprocess import start_multiprocess
from meshhook.observe.process_files import directory_from_environment, files_in
from meshhook.registry import Registry
from meshhook.settings import count

if TYPE_CHECKING:
    import prometheus_client.core

__all__ = ["PrometheusCollector", "exposition", "start_multiprocess"]


class PrometheusCollector:
    """The metrics of a registry, for a registry of prometheus_client.

    ``prometheus_client.REGISTRY.register(PrometheusCollector())`` is all that is needed. With
    ``PROMETHEUS_MULTIPROC_DIR`` set, making one starts :func:`start_multiprocess`, and the metrics
    of all processes come with those of prometheus_client, by its ``MultiProcessCollector``; the
    collector itself gives none then.

    Args:
        registry: whose policies are read. Default ``meshhook.registry``.
        buckets: where the buckets of histograms end, in seconds, ascending. Default: 14 from 1 ms
            to 30 s.
        max_series: the most series at a time; policies beyond it are left out, and counted.

    Raises:
        ConfigurationError: when a setting is wrong or prometheus_client is not installed.

    Safe to use from any thread.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        buckets: Sequence[float] | None = None,
        max_series: int = MAX_SERIES,
    ) -> None:
        self._client = _import_client()
        self._registry = Registry.given(registry)
        self._buckets = check_buckets(buckets)
        self._max_series = count("max_series", max_series)
        self._through_files = directory_from_environment() is not None
        if self._through_files:
            start_multiprocess(self._registry, buckets=buckets, max_series=max_series)

    def describe(self) -> Iterator[prometheus_client.core.Metric]:
        """Yield every metric there may be, without values: being registered reads nothing."""
        for definition in DEFINITIONS:
            yield _family(self._client, metric_of(definition))

    def collect(self) -> Iterator[prometheus_client.core.Metric]:
        """Yield the metrics with their values at this moment."""
        if self._through_files:
            return
        found = collect(self._registry, buckets=self._buckets, max_series=self._max_series)
        for metric in found:
            yield _family(self._client, metric)


def exposition(
    registry: Registry | None = None,
    accept: str | None = None,
    *,
    buckets: Sequence[float] | None = None,
    max_series: int = MAX_SERIES,
) -> tuple[bytes, str]:
    """Return what a scrape is answered, and its content type.

    With ``PROMETHEUS_MULTIPROC_DIR`` set it speaks for all processes; of others it knows what they
    wrote last, which is a second old at most.

    Args:
        registry: whose policies are read. Default ``meshhook.registry``.
        accept: the header ``Accept`` of the request, which decides between the text format and
            OpenMetrics.
        buckets: as for the collector; with several processes, those that they began with count.
        max_series: likewise.

    Raises:
        ConfigurationError: when a setting is wrong or prometheus_client is not installed.
    """
    client = _import_client()
    source: Any = PrometheusCollector(registry, buckets=buckets, max_series=max_series)
    if directory_from_environment() is not None:
        writer = start_multiprocess(registry)
        writer.write()
        source = _Together(client, writer.directory)
    encode, content_type = client.exposition.choose_encoder(accept or "")
    return encode(source), content_type


class _Together:
    """What all processes have written to a directory, as prometheus_client adds it up."""

    def __init__(self, client: Any, directory: Path) -> None:
        self._client = client
        self._directory = directory

    def collect(self) -> Any:
        """Return the metrics of the processes together."""
        files = files_in(self._directory)
        found = self._client.multiprocess.MultiProcessCollector.merge(files, accumulate=True)
        for metric in found:
            if metric.type == "histogram":
                # Not every version leaves those of one histogram together, as OpenMetrics wants.
                metric.samples.sort(key=_without_end)
        return found


def _without_end(sample: Any) -> list[tuple[str, str]]:
    return sorted((label, value) for label, value in sample.labels.items() if label != "le")


def _import_client() -> types.ModuleType:
    try:
        import prometheus_client.core
        import prometheus_client.exposition
        import prometheus_client.multiprocess
        import prometheus_client.utils
    except ImportError:
        raise ConfigurationError(
            "metrics for Prometheus need the prometheus_client package, which is not installed: "
            "pip install 'meshhook[prometheus]'"
        ) from None
    return prometheus_client


def _family(client: Any, metric: Metric) -> Any:
    """Turn a metric into one of prometheus_client."""
    name = metric.prometheus_name
    unit = "seconds" if metric.unit == "s" else ""
    family = client.core.Metric(name, metric.help, metric.kind, unit)
    sample = client.core.Sample
    if metric.kind == "histogram":
        go_string = client.utils.floatToGoString
        for each in metric.samples:
            family.samples += _histogram(sample, go_string, name, each)
        return family
    if metric.kind == "counter":
        name += "_total"
    family.samples = [sample(name, dict(labels), value) for labels, value in metric.samples]
    return family


def _histogram(sample: Any, go_string: Any, name: str, each: HistogramSample) -> Iterator[Any]:
    labels = dict(each.labels)
    for end, number in each.buckets:
        shown = "+Inf" if end == math.inf else go_string(end)
        yield sample(f"{name}_bucket", {**labels, "le": shown}, number)
    yield sample(f"{name}_count", labels, each.count)
    yield sample(f"{name}_sum", labels, each.sum)
