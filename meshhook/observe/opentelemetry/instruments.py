"""The metrics of registries as observable instruments, read when a reader of the SDK collects.

A provider keeps its instruments for good, and ignores a second one of the same name. So each has
one set of them, made when it is first asked for, which tells of the registries that it is to tell
of at the moment; without any it tells nothing, and the series are gone.
"""

from __future__ import annotations

import functools
import math
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry import metrics as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from meshhook import forks
from meshhook.events import logger
from meshhook.observe import metrics
from meshhook.observe.catalogue import DEFINITIONS, DURATION, Definition
from meshhook.observe.instance import version
from meshhook.registry import Registry
from meshhook.rules.sketch import Sketch
from meshhook.settings import wrong

QUANTILES: Final = (0.5, 0.95, 0.99)

_TIMED = ("policy", "name")
_NAME = DURATION.name
DURATIONS: Final = (
    Definition(f"{_NAME}.count", "counter", _TIMED, f"Calls that were timed. {DURATION.help}"),
    Definition(f"{_NAME}.sum", "counter", _TIMED, "How long they took together.", "s"),
    Definition(
        f"{_NAME}.bucket", "counter", (*_TIMED, "le"), "Those that took so many seconds at most."
    ),
    Definition(
        f"{_NAME}.quantile",
        "gauge",
        (*_TIMED, "quantile"),
        "How long such a share of them took at most, since the start.",
        "s",
        "max",
    ),
)
"""No instrument of OpenTelemetry observes a histogram, so its numbers are told one by one."""

INSTRUMENTS: Final = (*(each for each in DEFINITIONS if each is not DURATION), *DURATIONS)

_READ_AGAIN_AFTER = 5.0
"""What an instrument has not asked for in so many seconds is of another collection."""
_LARGEST = 2**63
"""Whole numbers from here on cannot be sent as such."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """A registry that is told of, and how."""

    registry: Registry
    attributes: Mapping[str, str]
    buckets: tuple[float, ...] | None
    max_series: int


def kind_of(definition: Definition) -> str:
    """Return which kind of observable instrument a metric is."""
    if definition.kind == "counter":
        return "counter"
    return "up_down_counter" if definition.across == "sum" else "gauge"


class Instruments:
    """The instruments of one provider. Safe to use from any thread."""

    def __init__(self, provider: MeterProvider) -> None:
        # Replaced whole: who begins or ends to be told of does not wait for a reading.
        self._told: tuple[Told, ...] = ()
        self._values: dict[str, list[Observation]] = {}  # guarded by _lock, as those below
        self._asked: set[str] = set()
        self._read_at = -math.inf
        self.renew_locks()
        forks.enrol(self)
        meter = provider.get_meter("meshhook", version())
        for each in INSTRUMENTS:
            make = getattr(meter, f"create_observable_{kind_of(each)}")
            observe = functools.partial(self._observe, each.name)
            make(each.name, [observe], unit=each.unit, description=each.help)

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child."""
        self._lock = threading.RLock()
        self._telling = threading.RLock()

    def begin(self, told: Told) -> None:
        """Tell of a registry from now on."""
        with self._telling:
            self._told = (*self._told, told)

    def end(self, told: Told) -> None:
        """Undo one :meth:`begin`."""
        with self._telling:
            self._told = tuple(each for each in self._told if each is not told)

    def _observe(self, name: str, _options: CallbackOptions) -> list[Observation]:
        """Give the values of one instrument; all that a collection asks for are of one moment."""
        with self._lock:
            now = time.monotonic()
            if name in self._asked or not 0 <= now - self._read_at < _READ_AGAIN_AFTER:
                self._values = self._read()
                self._asked = set()
                self._read_at = now
            self._asked.add(name)
            return self._values.pop(name, [])

    def _read(self) -> dict[str, list[Observation]]:
        values: dict[str, list[Observation]] = {}
        # Who is told of twice in the same words is told of once.
        unique = {
            (id(each.registry), *sorted(each.attributes.items())): each for each in self._told
        }
        for each in unique.values():
            try:
                _add(values, each)
            except Exception:  # the SDK would tell so once for each instrument
                logger.exception("the statistics could not be read for OpenTelemetry")
        return values


def _add(values: dict[str, list[Observation]], told: Told) -> None:
    """Add what one registry has to tell."""
    buckets = metrics.BUCKETS if told.buckets is None else told.buckets
    for metric in metrics.collect(told.registry, buckets=buckets, max_series=told.max_series):
        if metric.kind == "histogram":
            triples = _histograms(metric.samples, told)
        else:
            triples = ((metric.name, each.labels, each.value) for each in metric.samples)
        for name, labels, value in triples:
            sendable = _sendable(value)
            if sendable is not None:
                observation = Observation(sendable, {**told.attributes, **labels})
                values.setdefault(name, []).append(observation)


_Triple = tuple[str, Mapping[str, str], float]


def _histograms(samples: Iterable[metrics.HistogramSample], told: Told) -> Iterator[_Triple]:
    count, total, bucket, quantile = (each.name for each in DURATIONS)
    sketches = _sketches(told.registry)
    for sample in samples:
        labels = sample.labels
        yield count, labels, sample.count
        yield total, labels, sample.sum
        if told.buckets is not None:
            for end, number in sample.buckets:
                le = "+Inf" if end == math.inf else f"{end:g}"
                yield bucket, {**labels, "le": le}, number
        sketch = sketches.get((labels["policy"], labels["name"]))
        for share in QUANTILES:
            seconds = None if sketch is None else sketch.quantile(share)
            if seconds is not None:
                yield quantile, {**labels, "quantile": f"{share:g}"}, seconds


def _sketches(registry: Registry) -> dict[tuple[str, str], Sketch]:
    found = {}
    for policy in registry:
        sketch = metrics.durations_of(policy)
        if sketch is not None:
            found[policy.kind, str(policy._name)] = sketch
    return found


def _sendable(value: float) -> float | None:
    """Return a value that an exporter can send: finite, and no larger than it has room for."""
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return int(value)
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def check_provider(provider: object) -> None:
    """Refuse what is no meter provider."""
    if provider is not None and not isinstance(provider, MeterProvider):
        raise wrong("meter_provider", provider, "a MeterProvider of OpenTelemetry, or left out")


_all: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()
_global: Instruments | None = None
_lock = threading.RLock()  # guards both


def of(provider: MeterProvider | None) -> Instruments:
    """Return the instruments of ``provider``, or of the global one, also if that is yet to be set.

    Until then a stand-in of the API is the global one, and hands its instruments on.
    """
    global _global  # noqa: PLW0603 - there is one global provider
    with _lock:
        current = otel.get_meter_provider()
        is_global = provider is None or provider is current
        if is_global and _global is not None:
            return _global
        provider = current if provider is None else provider
        made = _all.get(provider)
        if made is None:
            made = _all[provider] = Instruments(provider)
        if is_global:
            _global = made
        return made


def _make_lock_anew() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it while forking
    _lock = threading.RLock()


forks.after_in_child(_make_lock_anew)
