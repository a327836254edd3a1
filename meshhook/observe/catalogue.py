"""The catalogue: every metric that meshhook has, and which statistics of which policy feed it.

All of it is data, so that what reads metrics, what writes about them and what tests them cannot
disagree. Labels are the kind and name of a policy and words from short lists, never keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from meshhook.policies.retry.stats import REASONS
from meshhook.rules.phases import State

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

STATES = tuple(str(state) for state in State)


class Definition(NamedTuple):
    """One metric. ``across`` says what the values of several processes make together."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    across: Literal["sum", "max"] = "sum"


class Source(NamedTuple):
    """Where the values of a metric come from, for one kind of policy.

    ``fields`` of the statistics are added up; a dot leads into what a field holds, and None gives
    no value. With ``by`` there is one value for each of ``values``: the field is then a mapping
    with these keys, or it is one of them, which then gets 1 and the others 0. ``where`` names
    settings: a policy with none of them does not have the metric.
    """

    fields: tuple[str, ...]
    metric: str
    labels: Mapping[str, str] = {}
    by: str = ""
    values: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


def _counter(name: str, labels: str, text: str) -> Definition:
    return Definition(f"meshhook.{name}", "counter", tuple(labels.split()), text)


def _gauge(name: str, labels: str, text: str, unit: str = "") -> Definition:
    return Definition(f"meshhook.{name}", "gauge", tuple(labels.split()), text, unit)


def _highest(name: str, labels: str, text: str, unit: str = "") -> Definition:
    return Definition(f"meshhook.{name}", "gauge", tuple(labels.split()), text, unit, "max")


DURATION = Definition(
    "meshhook.call.duration",
    "histogram",
    ("policy", "name"),
    "How long calls took: all of a breaker with slow_call_duration, "
    "first attempts of a hedge that learns its delay.",
    "s",
)
TRANSITIONS = _counter(
    "circuit.transitions", "name from to", "How often a circuit went from one state to another."
)
POLICIES = _highest("policies", "policy", "Policies that there are, of each kind.")
CRITICAL = _highest(
    "critical.failing",
    "policy name",
    "1 while a critical policy is failing, and the service not ready; of others there is none.",
)
DROPPED = _highest(
    "series.dropped", "", "Series that are left out because there are more than max_series."
)

DEFINITIONS = (
    _counter("calls", "policy name outcome", "Calls that have ended, by what became of them."),
    DURATION,
    _gauge(
        "circuit.state", "name state", "1 for the state that a circuit is in, 0 for the others."
    ),
    _gauge("circuit.keys", "name state", "Circuits of a family, by state."),
    TRANSITIONS,
    _counter("circuit.opened", "name", "How often a circuit has opened by its rules."),
    _highest("circuit.time_in_state", "name", "For how long the state has lasted.", "s"),
    _highest("circuit.consecutive_failures", "name", "Failures in a row by now."),
    _highest("circuit.retry_after", "name", "Time until an open circuit is tried again.", "s"),
    _highest("circuit.failure_rate", "name", "Failures as a share of the calls in the window."),
    _highest("circuit.slow_call_rate", "name", "Slow calls as a share of those in the window."),
    _gauge("circuit.buffered_calls", "name", "Calls in the window."),
    _gauge("circuit.buffered_failures", "name", "Failures in the window."),
    _gauge("circuit.buffered_slow_calls", "name", "Slow calls in the window."),
    _gauge("circuit.overdue_calls", "name", "Calls that run past slow_call_duration now."),
    _counter("retry.attempts", "name attempt", "Attempts: the first of each call, and retries."),
    _counter("retry.recovered", "name", "Calls that ended well after more than one attempt."),
    _counter("retry.ended", "name reason", "Calls that failed for good, by why no retry followed."),
    _highest("retry.budget.usage", "name", "Share of the allowed extra attempts that was used."),
    _gauge("retry.budget.left", "name", "Extra attempts that could be made now."),
    _counter("retry.budget.calls", "name", "Calls that the budget was told of."),
    _counter("retry.budget.taken", "name", "Extra attempts that were reserved."),
    _counter("retry.budget.given_back", "name", "Reserved extra attempts that were not made."),
    _counter("retry.budget.refused", "name", "Extra attempts that there was nothing left for."),
    _gauge("rate_limit.available", "name", "Calls that could start at once."),
    _gauge("rate_limit.waiting", "name", "Calls that wait for their turn now."),
    _counter("rate_limit.waited", "name", "Calls that were let through after a wait."),
    _highest("rate_limit.retry_after", "name", "Time until the next call may start.", "s"),
    _highest("rate_limit.reset_after", "name", "Time until the limit is as good as new.", "s"),
    _gauge("bulkhead.in_flight", "name", "Calls that run now."),
    _gauge("bulkhead.limit", "name", "Calls that may run at a time by now."),
    _gauge("bulkhead.queued", "name", "Calls that wait for a slot now."),
    _gauge("bulkhead.queue_limit", "name", "Calls that may wait for a slot."),
    _gauge("bulkhead.full", "name", "1 if the next call would be refused; of a family, keys."),
    _highest("bulkhead.peak", "name", "The most calls that ever ran together."),
    _counter("bulkhead.waited", "name", "Calls that got a slot after a wait."),
    _highest("timeout.limit", "name", "How long a call may take.", "s"),
    _gauge("timeout.abandoned", "name", "Calls that go on in threads though their callers left."),
    _gauge("timeout.abandoned_limit", "name", "Such calls from which on others are refused."),
    _counter("timeout.abandonments", "name", "Calls that ever went on after their callers left."),
    _counter("hedge.attempts", "name", "Attempts beyond the first of each call."),
    _counter("hedge.wins", "name", "Those of them that gave the result."),
    _counter("hedge.discarded", "name", "Results that nobody got, for another was first."),
    _counter("hedge.suppressed", "name reason", "Hedges that were not started."),
    _gauge("hedge.running_on", "name", "Attempts that run now and nobody waits for."),
    _highest("hedge.delay", "name", "Time after which a hedge would start now.", "s"),
    _counter("fallback.used", "name source", "Calls that got something else, by where from."),
    _counter("fallback.handler_failures", "name", "How often a handler raised."),
    _gauge("fallback.kept", "name", "Last good results that are kept now."),
    _highest("throttle.chance", "name", "Share of the calls that is dropped now."),
    _highest("throttle.lowest_chance", "name", "The lowest such share of any key."),
    _gauge("throttle.requests", "name", "Calls in the window, dropped ones included."),
    _gauge("throttle.accepts", "name", "Calls in the window that were accepted."),
    _highest("chaos.active", "name", "1 if chaos may strike now."),
    _gauge("chaos.blocks", "name", "Blocks of inject that are open."),
    _counter("chaos.struck", "name", "Calls that chaos has hit."),
    _counter("chaos.injections", "name what", "What chaos has injected."),
    _counter(
        "idempotency.hits",
        "name kind",
        "Calls by what was found under their key: a result, another execution, a reason to refuse, "
        "nothing.",
    ),
    _gauge("idempotency.running", "name", "Executions that run now."),
    _counter("idempotency.unprotected", "name", "Calls that ran without their store."),
    _counter("store.errors", "policy name", "Failures of the store of a policy."),
    _gauge("keys", "policy name", "Keys that a policy with key= has a state for."),
    _counter("keys.evicted", "policy name", "Keys that have made room for others."),
    CRITICAL,
    POLICIES,
    DROPPED,
)
CATALOGUE = {definition.name: definition for definition in DEFINITIONS}


def _plain(prefix: str, **fields: str) -> tuple[Source, ...]:
    """Return sources of metrics below ``prefix``, each fed by one field."""
    return tuple(Source((field,), f"meshhook.{prefix}.{name}") for field, name in fields.items())


def _calls(**fields: str) -> tuple[Source, ...]:
    """Return sources of ``meshhook.calls``, by outcome."""
    return tuple(
        Source((field,), "meshhook.calls", {"outcome": outcome})
        for field, outcome in fields.items()
    )


def _labelled(metric: str, label: str, **fields: str) -> tuple[Source, ...]:
    """Return sources of one metric, each field under its word."""
    return tuple(
        Source((field,), f"meshhook.{metric}", {label: word}) for field, word in fields.items()
    )


def _windowed(field: str, name: str) -> Source:
    """Return the source of a metric about the window of a circuit."""
    return Source(
        (f"window.{field}",),
        f"meshhook.circuit.{name}",
        where=("rules.window", "rules.window_calls"),
    )


_EVICTED = Source(("evicted",), "meshhook.keys.evicted", where=("key",))
_KEYS = Source(("keys",), "meshhook.keys", where=("key",))

SOURCES: Mapping[str, tuple[Source, ...]] = {
    "circuit_breaker": (
        *_calls(successes="success", failures="failure", ignored="ignored", rejected="rejected"),
        Source(("state",), "meshhook.circuit.state", by="state", values=STATES),
        Source(("states",), "meshhook.circuit.keys", by="state", values=STATES, where=("key",)),
        *_plain(
            "circuit",
            opened="opened",
            seconds_in_state="time_in_state",
            consecutive_failures="consecutive_failures",
            retry_after="retry_after",
        ),
        _windowed("failure_rate", "failure_rate"),
        _windowed("slow_rate", "slow_call_rate"),
        _windowed("calls", "buffered_calls"),
        _windowed("failures", "buffered_failures"),
        _windowed("slow", "buffered_slow_calls"),
        _windowed("overdue", "overdue_calls"),
        _EVICTED,
    ),
    "timeout": (
        *_calls(
            successes="success",
            failures="failure",
            ignored="ignored",
            timed_out="timeout",
            rejected="rejected",
        ),
        *_plain(
            "timeout",
            seconds="limit",
            abandoned="abandoned",
            max_abandoned="abandoned_limit",
            abandoned_total="abandonments",
        ),
    ),
    "retry": (
        *_calls(successes="success", failures="failure", ignored="ignored"),
        *_labelled("retry.attempts", "attempt", calls="first", retries="retry"),
        *_plain("retry", recovered="recovered"),
        Source(("ended_by",), "meshhook.retry.ended", by="reason", values=REASONS),
    ),
    "retry_budget": _plain(
        "retry.budget",
        usage="usage",
        left="left",
        calls="calls",
        taken="taken",
        given_back="given_back",
        refused="refused",
    ),
    "rate_limit": (
        *_calls(admitted="admitted", rejected="rejected", cancelled="cancelled"),
        *_plain(
            "rate_limit",
            remaining="available",
            waiting="waiting",
            waited="waited",
            retry_after="retry_after",
            reset_after="reset_after",
        ),
        _KEYS,
        _EVICTED,
    ),
    "bulkhead": (
        *_calls(admitted="admitted", rejected="rejected", abandoned="cancelled"),
        *_plain(
            "bulkhead",
            in_use="in_flight",
            max_concurrent="limit",
            waiting="queued",
            max_queue="queue_limit",
            full="full",
            peak="peak",
            waited="waited",
        ),
        _KEYS,
        _EVICTED,
    ),
    "hedge": (
        *_calls(successes="success", failures="failure", ignored="ignored"),
        *_plain(
            "hedge",
            hedges="attempts",
            wins="wins",
            discarded="discarded",
            running_on="running_on",
            delay="delay",
        ),
        *_labelled(
            "hedge.suppressed",
            "reason",
            suppressed_by_budget="budget",
            suppressed_by_limit="limit",
        ),
    ),
    "fallback": (
        *_calls(successes="success", used="fallback", failures="failure", ignored="ignored"),
        *_labelled(
            "fallback.used",
            "source",
            from_value="value",
            from_handler="handler",
            from_last_good="last_good",
        ),
        *_plain("fallback", handler_failures="handler_failures", kept="kept"),
    ),
    "throttle": (
        *_calls(accepted="success", failures="failure", ignored="ignored", rejected="rejected"),
        *_plain("throttle", chance="chance", window_requests="requests", window_accepted="accepts"),
        Source(("lowest_chance",), "meshhook.throttle.lowest_chance", where=("key",)),
        _EVICTED,
    ),
    "chaos": (
        *_plain("chaos", active="active", injections="blocks", struck="struck"),
        *_labelled(
            "chaos.injections", "what", latencies="latency", faults="fault", results="result"
        ),
    ),
    "idempotent": (
        *_calls(
            executed="success",
            replayed="replayed",
            rejected="rejected",
            released="failure",
            lost="lost",
        ),
        *_labelled(
            "idempotency.hits", "kind", replayed="replay", waited="wait", rejected="rejected"
        ),
        Source(("executed", "released", "lost"), "meshhook.idempotency.hits", {"kind": "miss"}),
        *_plain("idempotency", running="running", unprotected="unprotected"),
        Source(("store_errors",), "meshhook.store.errors"),
    ),
}
"""What feeds which metric, by kind of policy. Durations, transitions and health are no counts."""
