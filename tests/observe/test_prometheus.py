"""What Prometheus gets of the metrics, read with the parsers of prometheus_client."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

import meshhook as mh
from meshhook.observe.catalogue import DEFINITIONS
from meshhook.observe.metrics import HistogramSample, collect, prometheus_name
from meshhook.observe.prometheus import PrometheusCollector, exposition
from tests.observe.everything import ODD, SECRET, attempt, everything, fail

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FORMS: dict[str, tuple[str, Callable[[str], Iterable[Any]]]] = {
    "text": ("text/plain", parse_text),
    "openmetrics": (OPENMETRICS, parse_openmetrics),
    "both": (f"{OPENMETRICS};escaping=allow-utf-8;q=0.5,text/plain;q=0.3", parse_openmetrics),
    "nothing": ("", parse_text),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment of the tests says, this process is the only one."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture
def full() -> mh.Registry:
    return everything()


def values(families: Iterable[Any]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def expected(registry: mh.Registry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the same, as the metrics themselves say it."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for metric in collect(registry):
        name = metric.prometheus_name
        for sample in metric.samples:
            labels = frozenset(sample.labels.items())
            if isinstance(sample, HistogramSample):
                found[f"{name}_count", labels] = sample.count
                found[f"{name}_sum", labels] = sample.sum
                for end, number in sample.buckets:
                    le = "+Inf" if end == float("inf") else str(end)
                    found[f"{name}_bucket", labels | {("le", le)}] = number
            else:
                suffix = "_total" if metric.kind == "counter" else ""
                found[f"{name}{suffix}", labels] = sample.value
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("frozen")
def test_a_parser_reads_what_the_metrics_say(full: mh.Registry, form: str) -> None:
    """Every series, with its labels and its value, in each form that is asked for."""
    accept, parse = FORMS[form]
    body, media_type = exposition(full, accept)
    found = values(parse(body.decode()))
    wanted = expected(full)
    assert found.keys() == wanted.keys()
    times = {key for key in found if key[0].endswith("_seconds")}  # the real clock ran before
    assert {key: found[key] for key in found.keys() - times} == {
        key: wanted[key] for key in wanted.keys() - times
    }
    assert media_type.startswith("application/open" if parse is parse_openmetrics else "text/plain")


def test_families_say_what_they_are(full: mh.Registry) -> None:
    """Kind, help and unit of each."""
    body, _ = exposition(full, OPENMETRICS)
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    for definition in DEFINITIONS:
        family = families[prometheus_name(definition.name, definition.unit)]
        assert family.type == definition.kind
        assert family.documentation == definition.help
        assert family.unit == ("seconds" if definition.unit else "")
    assert len(families) == len(DEFINITIONS)


def test_odd_names_come_through(full: mh.Registry) -> None:
    """Quotes, backslashes and letters of any language."""
    body, _ = exposition(full)
    names = {dict(labels).get("name") for _, labels in values(parse_text(body.decode()))}
    assert ODD in names


def test_nothing_of_the_calls_is_shown(full: mh.Registry) -> None:
    """Neither keys nor arguments, results and texts of exceptions."""
    assert SECRET.encode() not in exposition(full)[0]


def test_being_registered_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And claims the names: a second one is refused."""
    monkeypatch.setattr(
        "meshhook.observe.prometheus.collect", lambda *_, **__: pytest.fail("read too early")
    )
    theirs = CollectorRegistry(auto_describe=True)
    theirs.register(PrometheusCollector(mh.Registry()))
    with pytest.raises(ValueError, match="meshhook_calls"):
        theirs.register(PrometheusCollector(mh.Registry()))


def test_it_is_read_with_what_else_there_is(full: mh.Registry) -> None:
    """By the usual functions of prometheus_client, and a part of it by name."""
    theirs = CollectorRegistry()
    prometheus_client.Counter("theirs", "help", registry=theirs).inc()
    collector = PrometheusCollector(full)
    theirs.register(collector)
    body = generate_latest(theirs).decode()
    assert "theirs_total 1.0" in body
    assert "meshhook_calls_total{" in body
    assert theirs.get_sample_value("meshhook_policies", {"policy": "chaos"}) == 1
    part = theirs.restricted_registry(["meshhook_calls_total"])
    assert {family.name for family in parse_text(generate_latest(part).decode())} == {
        "meshhook_calls"
    }
    theirs.unregister(collector)
    assert "meshhook" not in generate_latest(theirs).decode()


def test_buckets_and_cap_are_chosen(full: mh.Registry) -> None:
    """For the collector as for the answer to a scrape."""
    theirs = CollectorRegistry()
    theirs.register(PrometheusCollector(full, buckets=(0.5, 2), max_series=60))
    body, _ = exposition(full, buckets=(0.5, 2), max_series=60)
    assert values(parse_text(body.decode())).keys() == (
        values(parse_text(generate_latest(theirs).decode())).keys()
    )
    ends = {dict(labels).get("le") for _, labels in values(parse_text(body.decode()))}
    assert ends == {None, "0.5", "2.0", "+Inf"}
    assert theirs.get_sample_value("meshhook_series_dropped") > 0


@pytest.mark.parametrize("settings", [{"buckets": (2, 1)}, {"max_series": 0}, {"registry": "db"}])
@pytest.mark.parametrize("make", [PrometheusCollector, exposition])
def test_wrong_settings(make: Any, settings: Any) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=f"{next(iter(settings))} must be"):
        make(**settings)


def test_the_default_registry(registry: mh.Registry) -> None:
    """It is read unless another is given."""
    mh.timeout(1, name="mine")
    assert b'name="mine"' in exposition()[0]


def test_without_prometheus_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    for make in (PrometheusCollector, exposition):
        with pytest.raises(mh.ConfigurationError, match="pip install 'meshhook\\[prometheus\\]'"):
            make()


def test_it_is_imported_when_it_is_needed() -> None:
    """The module alone loads nothing foreign."""
    program = (
        "import sys, meshhook.observe.prometheus as p; name = 'prometheus_client'; "
        "assert name not in sys.modules; p.exposition(); assert name in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.fault
def test_calls_go_on_while_ten_thousand_policies_are_scraped() -> None:
    """In the time of each scrape."""
    registry = mh.Registry()
    for at in range(5_000):
        mh.circuit_breaker(f"c{at}", registry=registry)
        mh.timeout(1, name=f"t{at}", registry=registry)
    breaker = registry.circuit_breakers["c0"]
    ended = threading.Event()
    calls = 0
    meanwhile: list[int] = []

    def scrape() -> None:
        while not ended.is_set():
            before = calls
            exposition(registry)
            meanwhile.append(calls - before)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    while len(meanwhile) < 5:
        attempt(breaker.call, fail)
        calls += 1
    ended.set()
    scraper.join()
    assert min(meanwhile[:5]) > 10
    assert breaker.stats().rejected > 10
