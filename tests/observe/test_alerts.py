"""The rules and the board in the examples name what is exported, and speak when they should."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text

import meshhook as mh
from meshhook.observe.catalogue import CATALOGUE, DEFINITIONS, STATES
from meshhook.observe.metrics import prometheus_name
from meshhook.observe.prometheus import exposition
from meshhook.policies.retry.stats import REASONS
from meshhook.registry import Registry
from tests.observe.everything import attempt, everything, fail
from tests.observe.promql import Labels, Moment, Vector, evaluate, groupings, selectors
from tests.servers import free_port
from tests.waiting import Called, Held

EXAMPLES = Path(__file__).parents[2] / "examples"
RULES: Any = yaml.safe_load((EXAMPLES / "prometheus" / "alerts.yml").read_text())
BOARD: Any = json.loads((EXAMPLES / "grafana" / "meshhook.json").read_text())

RECORDED = {
    rule["record"]: rule["expr"]
    for group in RULES["groups"]
    for rule in group["rules"]
    if "record" in rule
}
ALERTS: dict[str, Any] = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
TARGET = {"job", "instance"}
"""Labels that Prometheus gives to what it scrapes."""

WORDS = {
    "state": set(STATES),
    "from": set(STATES),
    "to": set(STATES),
    "reason": {*REASONS, "budget", "limit"},
    "attempt": {"first", "retry"},
}
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
EXPORTED: dict[str, set[str]] = {
    f"{prometheus_name(each.name, each.unit)}{suffix}": {
        *each.labels,
        *(["le"] if suffix == "_bucket" else []),
    }
    for each in DEFINITIONS
    for suffix in SUFFIXES[each.kind]
}


def labels_of(metric: str) -> set[str]:
    """Return the labels of a metric that is exported or recorded."""
    if metric in RECORDED:
        (outermost, *_) = groupings(promql.parse(RECORDED[metric]))
        return set(outermost[1]) - {"le"}
    return EXPORTED[metric] | TARGET


def panels() -> Iterator[Any]:
    for panel in BOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions_of_the_board() -> list[tuple[str, str]]:
    """Return title and expression of each query, with something in the place of the variables."""
    found = [
        (panel["title"], target["expr"])
        for panel in panels()
        for target in panel.get("targets", [])
    ]
    found += [(each["name"], each["expr"]) for each in BOARD["annotations"]["list"]]
    return [
        (title, re.sub(r"\$\w+", "x", expr.replace("$__rate_interval", "5m")))
        for title, expr in found
    ]


EVERY = [
    *RECORDED.items(),
    *((name, rule["expr"]) for name, rule in ALERTS.items()),
    *expressions_of_the_board(),
]


@pytest.mark.parametrize(
    ("what", "text"), EVERY, ids=[f"{at}-{each[0]}" for at, each in enumerate(EVERY)]
)
def test_expressions_name_what_is_exported(what: str, text: str) -> None:
    """Metrics, labels, the words in them, and what is grouped by."""
    expr = promql.parse(text)
    found = list(selectors(expr))
    assert found
    for selector in found:
        assert selector.name in EXPORTED or selector.name in RECORDED
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels_of(selector.name), (
                f"{selector.name} has no {matcher.name}"
            )
            if matcher.name not in {"job", "name", "policy"}:
                words = matcher.value.split("|")
                assert set(words) <= words_of(matcher.name), words
    for inner, by in groupings(expr):
        for selector in selectors(inner):
            assert set(by) <= labels_of(selector.name), f"{selector.name} has not all of {by}"


@functools.cache
def everything_scraped() -> list[Any]:
    """Return the samples of a registry with every kind of policy."""
    body, _ = exposition(everything())
    return [sample for family in parse_text(body.decode()) for sample in family.samples]


def words_of(label: str) -> set[str]:
    """Return the values that a label has anywhere."""
    shown = {each.labels[label] for each in everything_scraped() if label in each.labels}
    return shown | WORDS.get(label, set())


def test_the_catalogue_is_what_is_exported() -> None:
    """The names and labels above are those of a real scrape."""
    real: dict[str, set[str]] = {}
    for sample in everything_scraped():
        real.setdefault(sample.name, set()).update(sample.labels)
    assert real == EXPORTED
    assert len(CATALOGUE) > 60


def test_rules_have_their_form() -> None:
    """What promtool would look at: the names, and that nothing else is in a group or rule."""
    assert RULES.keys() == {"groups"}
    names = [group["name"] for group in RULES["groups"]]
    assert len(set(names)) == len(names)
    for group in RULES["groups"]:
        assert group.keys() <= {"name", "interval", "rules", "labels", "limit"}
        for rule in group["rules"]:
            allowed = (
                {"record", "expr", "labels"}
                if "record" in rule
                else {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
            )
            assert rule.keys() <= allowed
    assert all(re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name) for name in RECORDED)
    assert all(name.startswith("meshhook:") for name in RECORDED)
    in_all = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(in_all) == len(RECORDED) + len(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_tell_what_to_do(name: str) -> None:
    """Each has a time, a severity, a summary and a runbook, and uses labels that it has."""
    rule = ALERTS[name]
    assert re.fullmatch(r"Meshhook[A-Z]\w+", name)
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["runbook"]) > 60
    (expr,) = [promql.parse(rule["expr"])]
    has = next((set(by) for _, by in groupings(expr)), None)
    if has is None:
        has = labels_of(next(selectors(expr)).name)
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= has


def test_the_board_has_its_form() -> None:
    """Variables, rows in order, panels that do not overlap and have an id of their own."""
    assert [each["name"] for each in BOARD["templating"]["list"]] == [
        "datasource",
        "job",
        "policy",
        "name",
    ]
    assert "__inputs" not in BOARD
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    for wanted in ("Circuits", "Calls", "Latency", "Retries", "Limits", "Bulkheads", "Idempotency"):
        assert wanted in rows
    assert [panel["type"] for panel in panels() if panel["title"] == "Durations"] == ["heatmap"]
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
    for variable in BOARD["templating"]["list"][1:]:
        match = re.fullmatch(
            r"label_values\((\w+)(?:\{(.*)\})?, (\w+)\)", variable["query"]["query"]
        )
        assert match
        assert match[3] in labels_of(match[1])


def test_legends_name_labels_that_there_are() -> None:
    """What a query is grouped by."""
    for panel in panels():
        for target in panel.get("targets", []):
            expr = promql.parse(
                re.sub(r"\$\w+", "x", target["expr"].replace("$__rate_interval", "5m"))
            )
            (_, by) = next(groupings(expr))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(by)


def moment_of(registry: Registry) -> Moment:
    """Scrape a registry as Prometheus does."""
    body, _ = exposition(registry)
    found: dict[str, Vector] = {}
    for family in parse_text(body.decode()):
        for sample in family.samples:
            labels: Labels = frozenset({**sample.labels, "job": "shop", "instance": "a:1"}.items())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def firing(before: Moment, after: Moment) -> set[str]:
    """Return the alerts whose expression gives something, each with the name it is about."""
    with_recorded = dict(after)
    for name, text in RECORDED.items():
        with_recorded[name] = evaluate(promql.parse(text), before, with_recorded)
    return {
        name
        for name, rule in ALERTS.items()
        if evaluate(promql.parse(rule["expr"]), before, with_recorded)
    }


def some(number: int, call: Callable[..., Any], *args: Any) -> None:
    for _ in range(number):
        attempt(call, *args)


def calm(registry: Registry) -> None:
    """Everything works, and now and then something fails."""
    breaker = mh.circuit_breaker(
        "db", slow_call_duration=10, slow_call_rate_threshold=1, window=60, registry=registry
    )
    retry = mh.retry(
        name="db",
        base_delay=0,
        budget=mh.RetryBudget(name="db", registry=registry),
        registry=registry,
    )
    fallback = mh.fallback(value=0, name="db", registry=registry)
    limits = [
        mh.rate_limit("1000/s", name="db", registry=registry),
        mh.bulkhead(name="db", registry=registry),
        mh.timeout(10, name="db", registry=registry),
        mh.throttle(name="db", registry=registry),
        mh.chaos("db", registry=registry),
    ]
    for policy in (breaker, retry, fallback, *limits):
        some(60, policy.call, int)
    for policy in (breaker, retry, fallback, limits[3]):
        some(1, policy.call, fail)
    charge = mh.idempotent("{order}", name="db", registry=registry)(lambda order: order)
    some(60, charge, 1)


def an_open_circuit(registry: Registry) -> None:
    some(5, mh.circuit_breaker("bad", registry=registry).call, fail)


def a_critical_circuit_that_is_open(registry: Registry) -> None:
    some(5, mh.circuit_breaker("bad", critical=True, registry=registry).call, fail)


def a_flapping_circuit(registry: Registry) -> None:
    breaker = mh.circuit_breaker("bad", failure_threshold=1, reset_timeout="1us", registry=registry)
    for _ in range(40):
        attempt(breaker.call, fail)
        attempt(breaker.call, int)


def a_circuit_set_by_hand(registry: Registry) -> None:
    mh.circuit_breaker("bad", registry=registry).disable()


def many_rejected(registry: Registry) -> None:
    some(100, mh.rate_limit("1/h", name="bad", registry=registry).call, int)


def many_failing(registry: Registry) -> None:
    some(60, mh.timeout(1, name="bad", registry=registry).call, fail)


def many_slow(registry: Registry) -> None:
    breaker = mh.circuit_breaker(
        "bad",
        slow_call_duration="1us",
        slow_call_rate_threshold=1,
        minimum_calls=100,
        window_calls=100,
        registry=registry,
    )
    some(20, breaker.call, time.sleep, 0.0001)


def many_retries(registry: Registry) -> None:
    some(10, mh.retry(name="bad", base_delay=0, registry=registry).call, fail)


def an_empty_budget(registry: Registry) -> None:
    budget = mh.RetryBudget(0.01, 0, name="bad", registry=registry)
    retry = mh.retry(name="bad", base_delay=0, budget=budget, registry=registry)
    some(10, retry.call, fail)


def a_failing_store(registry: Registry) -> None:
    store = mh.RedisStore(f"redis://127.0.0.1:{free_port()}")
    charge = mh.idempotent(
        "{order}", name="bad", store=store, on_store_error="run", registry=registry
    )(lambda order: order)
    some(3, charge, 1)
    store.close()


def a_lost_lease(registry: Registry) -> None:
    policy: Any = mh.idempotent("{order}", name="bad", registry=registry)
    policy(lambda order: order)
    policy.counters.add("lost")


def a_dropping_throttle(registry: Registry) -> None:
    throttle = mh.throttle(name="bad", registry=registry)
    some(20, throttle.call, fail)


def used_fallbacks(registry: Registry) -> None:
    some(10, mh.fallback(value=0, name="bad", registry=registry).call, fail)


def active_chaos(registry: Registry) -> None:
    some(10, mh.chaos("bad", rate=0.5, result=1, registry=registry).call, int)


def too_many_series(registry: Registry) -> None:
    for at in range(2_000):
        mh.timeout(1, name=f"t{at}", registry=registry)


OPEN = {"MeshhookCircuitOpen", "MeshhookCircuitOpenEverywhere"}
STORIES: list[tuple[Callable[[Registry], None], set[str]]] = [
    (calm, set()),
    (an_open_circuit, OPEN),
    (a_critical_circuit_that_is_open, OPEN | {"MeshhookNotReady"}),
    (a_flapping_circuit, {"MeshhookCircuitFlapping", "MeshhookCallsFail"}),
    (a_circuit_set_by_hand, {"MeshhookCircuitSetByHand"}),
    (many_rejected, {"MeshhookCallsRejected"}),
    (many_failing, {"MeshhookCallsFail"}),
    (many_slow, {"MeshhookCallsSlow"}),
    (many_retries, {"MeshhookManyRetries"}),
    (an_empty_budget, {"MeshhookRetryBudgetExhausted"}),
    (a_failing_store, {"MeshhookStoreFailing", "MeshhookCallsUnprotected"}),
    (a_lost_lease, {"MeshhookLeasesLost"}),
    (a_dropping_throttle, {"MeshhookThrottling"}),
    (used_fallbacks, {"MeshhookFallbacksServed"}),
    (active_chaos, {"MeshhookChaosActive"}),
    (too_many_series, {"MeshhookSeriesDropped"}),
]


@pytest.mark.parametrize(
    ("story", "alerts"), STORIES, ids=lambda each: getattr(each, "__name__", "")
)
def test_alerts_fire_when_they_should(
    registry: Registry, story: Callable[[Registry], None], alerts: set[str]
) -> None:
    """Over what happens in five minutes, beside a part of the service that is well.

    Of a circuit that nobody calls, none does.
    """
    calm(registry)
    before = moment_of(registry)
    calm(registry)
    story(registry)
    after = moment_of(registry)
    assert firing(before, after) == alerts
    assert not firing(after, after) - still_so()


def still_so() -> set[str]:
    """Return the alerts about how things are, and not about what is happening."""
    return {
        name
        for name, rule in ALERTS.items()
        if "rate" not in rule["expr"] and "increase" not in rule["expr"]
    } | {"MeshhookCallsSlow"}


def test_alerts_about_what_is_held(registry: Registry) -> None:
    """A bulkhead that is full, and threads that are left behind."""
    limit = mh.timeout("1ms", mode="thread", max_abandoned=1, name="bad", registry=registry)
    full = mh.bulkhead(1, name="bad", registry=registry)
    with contextlib.ExitStack() as ending:
        held, left = Held(), Held()
        ending.callback(held.go.set)
        ending.callback(left.go.set)
        inside = Called("sync", full.call, held)
        attempt(limit.call, left)
        assert held.inside.wait(10)
        moment = moment_of(registry)
        assert firing(moment, moment) == {"MeshhookBulkheadFull", "MeshhookAbandonedThreads"}
    inside.result()


def test_every_alert_is_told_of_above() -> None:
    """No alert is in the file that no story shows."""
    told = {name for _, alerts in STORIES for name in alerts}
    assert told | {"MeshhookBulkheadFull", "MeshhookAbandonedThreads"} == ALERTS.keys()


def test_quantiles_are_recorded(registry: Registry) -> None:
    """From the buckets of the histogram."""
    before = moment_of(registry)
    calm(registry)
    after = moment_of(registry)
    expr = promql.parse(RECORDED["meshhook:call_duration_seconds:p95_5m"])
    ((labels, seconds),) = evaluate(expr, before, after).items()
    assert dict(labels) == {"job": "shop", "policy": "circuit_breaker", "name": "db"}
    assert 0 < seconds <= 10
