"""Metrics: what the policies of a registry have counted, in the form that monitoring wants.

They are read when somebody asks, so calls pay for nothing but their own counters. Which metrics
there are is in :mod:`meshhook.observe.catalogue`; nothing here knows where they go.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from meshhook.health import PolicyHealth, Status, is_critical
from meshhook.observe.catalogue import (
    CATALOGUE,
    CRITICAL,
    DEFINITIONS,
    DROPPED,
    DURATION,
    POLICIES,
    SOURCES,
    TRANSITIONS,
    Definition,
    Kind,
    Source,
)
from meshhook.registry import Entry, Registry
from meshhook.rules.sketch import Sketch
from meshhook.settings import count, wrong

_log = logging.getLogger("meshhook")

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Where the buckets of histograms end, in seconds, unless others are asked for."""

MAX_SERIES = 10_000
"""The most series that are given at once, over all metrics, unless told otherwise."""

_OF_OUR_OWN = len(SOURCES) + 1
"""Series that tell of the reading itself."""
_UNITS = {"s": "_seconds"}


class Sample(NamedTuple):
    """One value of a counter or a gauge."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """One histogram. ``buckets`` are pairs of an end and how many were at most so long.

    The last end is infinity. ``sum`` is made of the middles of slices, so it is within 10 %.
    """

    labels: Mapping[str, str]
    buckets: tuple[tuple[float, int], ...]
    count: int
    sum: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric and its values at this moment."""

    name: str
    kind: Kind
    unit: str
    help: str
    samples: Sequence[Any]
    """Of :class:`Sample`, or of :class:`HistogramSample` for a histogram."""

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus form, with its unit; counters get ``_total`` behind it."""
        return prometheus_name(self.name, self.unit)


def prometheus_name(name: str, unit: str) -> str:
    """Return the name of a metric in Prometheus form, without what its samples get behind it."""
    return name.replace(".", "_") + _UNITS.get(unit, "")


def collect(
    registry: Registry, *, buckets: Sequence[float] | None = None, max_series: int = MAX_SERIES
) -> list[Metric]:
    """Return the metrics of all policies in ``registry`` that have any values.

    Where there are more than ``max_series`` series, whole policies are left out, those that were
    made last: the same ones each time, as long as none is made or removed. Policies with a name
    come before those that were named after their functions. One that cannot be read is left out,
    and the log says so. Safe to call from any thread.
    """
    reading = _Reading(check_buckets(buckets), count("max_series", max_series))
    for policy in registry:
        try:
            reading.add(policy)
        except Exception as error:
            # One that cannot be read is no reason to tell nothing of all the others.
            _log.warning(
                "the metrics of %s %r could not be read: %s",
                policy.kind,
                policy._name,
                type(error).__name__,
            )
    return reading.metrics()


def check_buckets(buckets: Any) -> tuple[float, ...]:
    """Return the ends of the buckets; infinity at the end is taken for granted."""
    if buckets is None:
        return BUCKETS
    wanted = "ends of buckets in seconds, ascending and more than 0, such as (0.1, 0.5, 1)"
    try:
        ends = tuple(float(each) for each in buckets)
    except (TypeError, ValueError, OverflowError):
        raise wrong("buckets", buckets, wanted) from None
    if ends and ends[-1] == math.inf:
        ends = ends[:-1]
    rising = all(low < high for low, high in zip((0.0, *ends), (*ends, math.inf), strict=True))
    if not ends or not rising or isinstance(buckets, str):
        raise wrong("buckets", buckets, wanted)
    return ends


class _Reading:
    """Values as they are read, policy by policy."""

    def __init__(self, ends: tuple[float, ...], max_series: int) -> None:
        self._ends = ends
        self._left = max_series - _OF_OUR_OWN
        self._dropped = 0
        self._policies: dict[str, int] = {}
        self._samples: dict[str, list[Any]] = {each.name: [] for each in DEFINITIONS}

    def add(self, policy: Any) -> None:
        """Read one policy, if its series have room, and none was left out before it."""
        kind = policy.kind
        self._policies[kind] = self._policies.get(kind, 0) + 1
        values = _values_of(kind, _settings_given(policy))
        durations = durations_of(policy)
        transitions = policy.transitions() if kind == "circuit_breaker" else {}
        series = values.series + len(transitions)
        series += 0 if durations is None else len(self._ends) + 3
        series += (critical := is_critical(policy))
        if self._dropped or series > self._left:
            self._dropped += series
            return
        self._left -= series
        name = _shown(policy.name)
        stats = policy.stats()
        values.read(stats, kind, name, self._samples)
        if critical:
            failing = PolicyHealth.of(policy, stats).status is Status.FAILING
            labels = {"policy": kind, "name": name}
            self._samples[CRITICAL.name].append(Sample(labels, int(failing)))
        for (old, new), times in transitions.items():
            labels = {"name": name, "from": str(old), "to": str(new)}
            self._samples[TRANSITIONS.name].append(Sample(labels, times))
        if durations is not None:
            histogram = _histogram({"policy": kind, "name": name}, durations, self._ends)
            self._samples[DURATION.name].append(histogram)

    def metrics(self) -> list[Metric]:
        """Return what was read."""
        self._samples[POLICIES.name] = [
            Sample({"policy": kind}, number) for kind, number in self._policies.items()
        ]
        self._samples[DROPPED.name] = [Sample({}, self._dropped)]
        return [
            metric_of(CATALOGUE[name], samples)
            for name, samples in self._samples.items()
            if samples
        ]


def metric_of(definition: Definition, samples: Sequence[Any] = ()) -> Metric:
    """Return a metric as it is defined, with these values."""
    return Metric(definition.name, definition.kind, definition.unit, definition.help, samples)


def _shown(name: str) -> str:
    """Return a name as a label: one taken from a function may hold what no encoding knows."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def durations_of(policy: Entry) -> Sketch | None:
    """Return how long calls took, if the policy times them."""
    read = getattr(policy, "durations", None)  # budgets have none
    return None if read is None else cast("Sketch | None", read())


_WHERE = {
    kind: tuple(sorted({where for source in sources for where in source.where}))
    for kind, sources in SOURCES.items()
}
"""The settings that decide which metrics a policy has, by its kind."""


def _settings_given(policy: Entry) -> tuple[str, ...]:
    """Return which of the settings that matter here are set."""
    wheres = _WHERE.get(policy.kind, ())
    return tuple(where for where in wheres if _at(policy.settings, where) is not None)


def _at(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = None if thing is None else getattr(thing, name)
    return thing


class _Values:
    """How the statistics of one sort of policy become samples."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._readers: list[_Reader] = [_Reader(source) for source in sources]
        self.series = sum(reader.series for reader in self._readers)

    def read(self, stats: Any, kind: str, name: str, samples: dict[str, list[Any]]) -> None:
        """Add the samples of one policy."""
        with_kind = {"policy": kind, "name": name}
        alone = {"name": name}
        for reader in self._readers:
            value = reader.read(stats)
            if value is not None:
                base = with_kind if reader.tells_kind else alone
                samples[reader.metric] += reader.spread(base, value)


class _Reader:
    """How the samples of one source are made."""

    def __init__(self, source: Source) -> None:
        self.metric = source.metric
        self.series = len(source.values) or 1
        self.tells_kind = "policy" in CATALOGUE[source.metric].labels
        self.read = _getter(source.fields)
        self._labels = source.labels
        self._by = source.by
        self._values = source.values

    def spread(self, base: dict[str, str], value: Any) -> list[Sample]:
        """Return the samples that a value makes."""
        if not self._by:
            return [Sample({**base, **self._labels}, +value)]  # a number, also of True
        if isinstance(value, str):
            value = {value: 1}
        return [Sample({**base, self._by: each}, value.get(each, 0)) for each in self._values]


def _getter(fields: tuple[str, ...]) -> Callable[[Any], Any]:
    if len(fields) > 1:
        return lambda stats: sum(getattr(stats, field) for field in fields)
    (field,) = fields
    if "." in field:
        return functools.partial(_at, path=field)
    return lambda stats: getattr(stats, field)


@functools.cache
def _values_of(kind: str, given: tuple[str, ...]) -> _Values:
    return _Values(
        source
        for source in SOURCES.get(kind, ())
        if not source.where or not set(given).isdisjoint(source.where)
    )


def _histogram(labels: dict[str, str], sketch: Sketch, ends: tuple[float, ...]) -> HistogramSample:
    """Sort the slices into buckets, each by its middle: always the same, so no bucket shrinks."""
    slices = sketch.slices()
    cumulative, total, at = 0, 0.0, 0
    buckets: list[tuple[float, int]] = []
    for end in (*ends, math.inf):
        while at < len(slices) and slices[at][0] <= end:
            middle, number = slices[at]
            cumulative += number
            total += middle * number
            at += 1
        buckets.append((end, cumulative))
    return HistogramSample(labels, tuple(buckets), cumulative, total)
