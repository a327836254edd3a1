"""What a circuit breaker does around a function, in both colours."""

from __future__ import annotations

import contextvars
import json
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from tests.colours import Colour


class Upstream:
    """Something to call: succeeds, or raises what it was told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self, result: Any = "ok") -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return result


@pytest.fixture
def upstream() -> Upstream:
    """Make an upstream that works."""
    return Upstream()


def guarded(breaker: mh.CircuitBreaker, upstream: Upstream, colour: Colour) -> Any:
    """Decorate a function of ``colour`` that calls ``upstream``."""

    def call(result: Any = "ok") -> Any:
        return upstream(result)

    return breaker(colour.paint(call))


def fail(fn: Any, upstream: Upstream, colour: Colour, times: int = 1) -> None:
    """Let ``fn`` fail ``times`` times and work again."""
    upstream.error = ConnectionError("down")
    for _ in range(times):
        with pytest.raises(ConnectionError):
            colour.call(fn)
    upstream.error = None


def test_passes_results_through(colour: Colour, upstream: Upstream, registry: mh.Registry) -> None:
    """A closed circuit returns what the function returns."""
    fn = guarded(mh.circuit_breaker(registry=registry), upstream, colour)
    assert [colour.call(fn, value) for value in (1, None, "", [])] == [1, None, "", []]


def test_opens_after_consecutive_failures(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """Five failures in a row open it, and the sixth call never starts."""
    fn = guarded(mh.circuit_breaker("db", registry=registry), upstream, colour)
    fail(fn, upstream, colour, 5)
    with pytest.raises(mh.CircuitOpenError, match=r"circuit 'db' is open; retry in \d+\.\d s"):
        colour.call(fn)
    assert upstream.calls == 5


def test_a_success_ends_the_row(colour: Colour, upstream: Upstream, registry: mh.Registry) -> None:
    """Failures that are not in a row do not open it."""
    fn = guarded(mh.circuit_breaker("db", failure_threshold=2, registry=registry), upstream, colour)
    for _ in range(5):
        fail(fn, upstream, colour)
        colour.call(fn)
    assert registry["db"].stats().state == "closed"  # type: ignore[attr-defined]


def test_reset_timeout_passes_by_tick(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """After the reset timeout one trial is made, and its success closes the circuit."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=60, registry=registry)
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour)
    frozen.tick(59.5)
    with pytest.raises(mh.CircuitOpenError) as refused:
        colour.call(fn)
    assert refused.value.retry_after == pytest.approx(0.5)
    assert refused.value.last_failure == "ConnectionError"
    frozen.tick(0.5)
    assert colour.call(fn) == "ok"
    assert breaker.state is mh.CircuitState.CLOSED


def test_failed_trial_opens_again(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """A trial that fails opens the circuit for another reset timeout."""
    breaker = mh.circuit_breaker("db", failure_threshold=3, reset_timeout=10, registry=registry)
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour, 3)
    frozen.tick(10)
    fail(fn, upstream, colour)
    frozen.tick(9)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(fn)
    assert (upstream.calls, breaker.stats().opened) == (4, 2)


@pytest.mark.parametrize("window", [{"window_calls": 10}, {"window": 10}], ids=["calls", "seconds"])
def test_failure_rate_opens(
    window: Any, colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """The circuit opens when the share of failures reaches the threshold, judged with >=."""
    breaker = mh.circuit_breaker(
        "db", failure_rate_threshold=0.5, minimum_calls=10, registry=registry, **window
    )
    fn = guarded(breaker, upstream, colour)
    for _ in range(5):
        colour.call(fn)
    fail(fn, upstream, colour, 4)
    assert breaker.state == "closed"
    fail(fn, upstream, colour)
    assert breaker.state == "open"


@pytest.mark.parametrize("window", [{"window_calls": 10}, {"window": 10}], ids=["calls", "seconds"])
def test_success_that_completes_the_minimum_is_judged(
    window: Any, colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """Rates are judged on every outcome: a success may be the one that makes them count."""
    breaker = mh.circuit_breaker(
        "db", failure_rate_threshold=0.5, minimum_calls=4, registry=registry, **window
    )
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour, 3)
    assert breaker.state == "closed"
    colour.call(fn)
    assert breaker.state == "open"


def test_time_window_forgets(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """Failures older than the window do not count, however long the circuit was idle."""
    breaker = mh.circuit_breaker(
        "db", failure_rate_threshold=0.5, window=10, minimum_calls=2, registry=registry
    )
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour)
    frozen.tick(3600)
    colour.call(fn)
    fail(fn, upstream, colour, 0)
    stats = breaker.stats()
    assert stats.window is not None
    assert (stats.state, stats.window.calls, stats.window.failures) == ("closed", 1, 0)


def test_with_both_rules_the_first_to_trip_opens(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """Given together, the consecutive rule may open it before the rate may."""
    breaker = mh.circuit_breaker(
        "db", failure_threshold=2, failure_rate_threshold=0.9, registry=registry
    )
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour, 2)
    assert breaker.state == "open"


def test_a_rate_turns_the_consecutive_rule_off(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """With a rate alone, five failures in a row are too few calls to judge."""
    breaker = mh.circuit_breaker("db", failure_rate_threshold=0.5, registry=registry)
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour, 9)
    assert breaker.state == "closed"
    fail(fn, upstream, colour)
    assert breaker.state == "open"


def test_slow_calls_open(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """Calls that succeed slowly open the circuit when they are too large a share."""
    breaker = mh.circuit_breaker(
        "db",
        slow_call_duration=1.0,
        slow_call_rate_threshold=0.5,
        minimum_calls=4,
        registry=registry,
    )

    def slow(seconds: float) -> None:
        frozen.tick(seconds)

    fn = breaker(colour.paint(slow))
    for seconds in (0.5, 1.0, 1.1):
        colour.call(fn, seconds)
    assert breaker.state == "closed"
    colour.call(fn, 2.0)
    assert breaker.state == "open"
    assert breaker.stats().latency is not None


def test_calls_still_running_count_as_slow(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """A call that hangs counts as slow before it returns."""
    breaker = mh.circuit_breaker(
        "db",
        slow_call_duration=1.0,
        slow_call_rate_threshold=0.5,
        minimum_calls=2,
        registry=registry,
    )
    inner = guarded(breaker, upstream, colour)
    hung = [breaker._admit(breaker._circuit) for _ in range(2)]
    frozen.tick(1.5)
    with pytest.raises(mh.CircuitOpenError):
        colour.call(inner)
    assert (len(hung), upstream.calls) == (2, 0)


def test_result_can_be_a_failure(colour: Colour, upstream: Upstream, registry: mh.Registry) -> None:
    """``record_result`` makes a failure of a result, which is returned all the same."""
    breaker = mh.circuit_breaker(
        "db", failure_threshold=2, record_result=lambda result: result == 503, registry=registry
    )
    fn = guarded(breaker, upstream, colour)
    assert [colour.call(fn, 503), colour.call(fn, 503)] == [503, 503]
    assert (breaker.state, breaker.stats().last_failure) == ("open", "result")


def test_unlisted_exceptions_are_successes(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """With ``record`` given, what is not in it says that the upstream answered."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, record=OSError, registry=registry)
    fn = guarded(breaker, upstream, colour)
    upstream.error = LookupError()
    with pytest.raises(LookupError):
        colour.call(fn)
    stats = breaker.stats()
    assert (stats.state, stats.successes, stats.failures) == ("closed", 1, 0)


def test_ignored_exceptions_count_as_nothing(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """An ignored exception neither fails nor ends a row of failures."""
    breaker = mh.circuit_breaker("db", failure_threshold=2, ignore=LookupError, registry=registry)
    fn = guarded(breaker, upstream, colour)
    fail(fn, upstream, colour)
    upstream.error = KeyError()
    with pytest.raises(KeyError):
        colour.call(fn)
    fail(fn, upstream, colour)
    stats = breaker.stats()
    assert (stats.state, stats.ignored, stats.failures) == ("open", 1, 2)


@pytest.mark.parametrize("judge", ["record", "ignore"])
def test_judges_may_be_predicates(
    judge: str, colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """``record`` and ``ignore`` take a function of the exception as well."""
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=1,
        registry=registry,
        **{judge: lambda exc: isinstance(exc, ConnectionError)},  # type: ignore[arg-type]
    )
    fail(guarded(breaker, upstream, colour), upstream, colour)
    assert breaker.state == ("open" if judge == "record" else "closed")


def test_members_of_a_group_are_judged(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """An exception group is a failure if anything in it is."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, record=OSError, registry=registry)
    fn = guarded(breaker, upstream, colour)
    upstream.error = ExceptionGroup("both", [ValueError(), ExceptionGroup("in", [OSError()])])
    with pytest.raises(ExceptionGroup):
        colour.call(fn)
    assert breaker.state == "open"


@pytest.mark.parametrize("own", [mh.RejectedError, mh.KeyReusedError, mh.InProgressError])
def test_what_other_policies_refuse_is_ignored(
    own: type[mh.MeshHookError], colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """It says nothing about what is called, unless it is asked for by name."""
    quiet = mh.circuit_breaker("quiet", failure_threshold=1, registry=registry)
    asking = mh.circuit_breaker(
        "asking", failure_threshold=1, record=(own, OSError), registry=registry
    )
    upstream.error = own("no")
    for breaker in (quiet, asking):
        with pytest.raises(own):
            colour.call(guarded(breaker, upstream, colour))
    assert (quiet.state, quiet.stats().ignored, asking.state) == ("closed", 1, "open")


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ([KeyError(), ConnectionError()], "open"),
        ([KeyError(), ExceptionGroup("all of them", [KeyError()])], "closed"),
        ([mh.CircuitOpenError(name="a"), mh.RejectedError("b")], "closed"),
        ([mh.CircuitOpenError(name="a"), ConnectionError()], "open"),
    ],
    ids=["one ignored", "all ignored", "all refused", "one refused"],
)
def test_a_group_is_ignored_if_all_of_it_is(
    members: list[Exception],
    state: str,
    colour: Colour,
    upstream: Upstream,
    registry: mh.Registry,
) -> None:
    """A service that is down is not hidden by what happened beside it."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, ignore=KeyError, registry=registry)
    upstream.error = ExceptionGroup("tasks", members)
    with pytest.raises(ExceptionGroup):
        colour.call(guarded(breaker, upstream, colour))
    assert breaker.state == state


@pytest.mark.parametrize("judge", ["record", "ignore"])
def test_a_judge_that_fails_is_logged_and_does_not_matter(
    judge: str,
    colour: Colour,
    upstream: Upstream,
    registry: mh.Registry,
    frozen: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller gets what the call raised, the call is a failure, and its trial is given back."""
    settings: Any = {judge: lambda error: error.code == 503}
    breaker = mh.circuit_breaker(
        "db", failure_threshold=1, reset_timeout=10, registry=registry, **settings
    )
    fn = guarded(breaker, upstream, colour)
    for _ in range(2):
        fail(fn, upstream, colour)
        assert breaker.state == "open"
        frozen.tick(10)
    colour.call(fn)
    assert breaker.state == "closed"
    assert [record.message for record in caplog.records] == [
        "record or ignore of circuit 'db' failed"
    ] * 2


def test_a_judge_of_results_that_fails_fails_no_call(
    colour: Colour,
    upstream: Upstream,
    registry: mh.Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The result is the caller's, and counts as a success."""
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=1,
        record_result=lambda result: result.code == 503,
        registry=registry,
    )
    assert colour.call(guarded(breaker, upstream, colour), "fine") == "fine"
    assert (breaker.state, breaker.stats().successes) == ("closed", 1)
    assert [record.message for record in caplog.records] == ["record_result of circuit 'db' failed"]


class ToldError(Exception):
    """An error that says when to come again."""

    def __init__(self, retry_after: Any) -> None:
        self._told = retry_after

    @property
    def retry_after(self) -> Any:
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


@pytest.mark.parametrize(
    "attributes",
    [{"retry_after": "30"}, {"response": SimpleNamespace(headers={"retry-after": "30"})}],
)
def test_a_retry_after_is_read_as_a_retry_reads_it(
    attributes: Any, colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """From the text of an attribute, and from the header of a response."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=0.5, registry=registry)
    upstream.error = OSError()
    vars(upstream.error).update(attributes)
    with pytest.raises(OSError):
        colour.call(guarded(breaker, upstream, colour))
    assert breaker.stats().retry_after == pytest.approx(30.0)


@pytest.mark.parametrize("told", [True, "soon", None, -5, float("nan"), ValueError("no header")])
def test_what_is_no_retry_after_changes_nothing(
    told: Any, colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """Neither the time that the circuit is open for, nor what the caller gets."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=0.5, registry=registry)
    upstream.error = ToldError(told)
    with pytest.raises(ToldError):
        colour.call(guarded(breaker, upstream, colour))
    assert breaker.stats().retry_after == pytest.approx(0.5)


def test_a_breaker_without_keys_has_no_circuit_of_a_key(registry: mh.Registry) -> None:
    """Who asks for one is told, instead of being shown the only one there is."""
    breaker = mh.circuit_breaker("db", registry=registry)
    with pytest.raises(TypeError, match="circuit 'db' has no key=, so there is none for 'eu'"):
        breaker.stats("eu")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_are_neutral(
    raised: type[BaseException], upstream: Upstream, registry: mh.Registry
) -> None:
    """An interrupted call is neither success nor failure."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    upstream.error = raised()
    with pytest.raises(raised):
        breaker.call(upstream)
    stats = breaker.stats()
    assert (stats.state, stats.ignored, stats.calls) == ("closed", 1, 1)


def test_reset_timeout_may_be_a_function(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """A callable gets the number of openings in a row and the last exception."""
    seen: list[tuple[int, str]] = []

    def wait(attempt: int, exc: Exception | None) -> float:
        seen.append((attempt, type(exc).__name__))
        return 10.0 * attempt

    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=wait, registry=registry)
    fn = guarded(breaker, upstream, colour)
    for seconds in (10, 20, 30):
        fail(fn, upstream, colour)
        assert breaker.stats().retry_after == pytest.approx(seconds)
        frozen.tick(seconds)
    colour.call(fn)
    fail(fn, upstream, colour)
    assert breaker.stats().retry_after == pytest.approx(10)
    assert seen == [(n, "ConnectionError") for n in (1, 2, 3, 1)]


@pytest.mark.parametrize("answer", [90, 90.0, timedelta(seconds=90), "90s", "1.5m"])
def test_a_computed_reset_timeout_may_be_any_duration(
    answer: Any, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """What may be written as the setting may be returned by the function."""
    breaker = mh.circuit_breaker(
        "db", initial_state="open", reset_timeout=lambda *_: answer, registry=registry
    )
    assert breaker.stats().retry_after == pytest.approx(90)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), -1.0, "soon", None])
def test_a_broken_reset_timeout_falls_back(
    answer: Any, upstream: Upstream, registry: mh.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A callable that fails or gives no finite number leaves a minute, and the call unharmed."""
    breaker = mh.circuit_breaker(
        "db", failure_threshold=1, reset_timeout=lambda *_: answer, registry=registry
    )
    upstream.error = ConnectionError()
    with caplog.at_level(logging.CRITICAL), pytest.raises(ConnectionError):
        breaker.call(upstream)
    assert breaker.stats().retry_after == pytest.approx(60, abs=1)


def test_retry_after_of_the_exception_is_honoured(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """A server that says when to come back is left alone for so long, but no more than an hour."""

    class TooBusyError(Exception):
        retry_after = 90.0

    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    fn = guarded(breaker, upstream, colour)
    upstream.error = TooBusyError()
    with pytest.raises(TooBusyError):
        colour.call(fn)
    assert breaker.stats().retry_after == pytest.approx(90, abs=1)
    breaker.reset()
    TooBusyError.retry_after = 1e9
    with pytest.raises(TooBusyError):
        colour.call(fn)
    assert breaker.stats().retry_after == pytest.approx(3600, abs=1)


def test_states_set_by_hand(colour: Colour, upstream: Upstream, registry: mh.Registry) -> None:
    """Forced open refuses without a time; disabled and metrics_only let all pass."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    fn = guarded(breaker, upstream, colour)
    breaker.force_open()
    with pytest.raises(mh.CircuitOpenError, match="is forced-open until it is reset") as refused:
        colour.call(fn)
    assert (refused.value.retry_after, refused.value.state) == (None, "forced_open")
    breaker.disable()
    fail(fn, upstream, colour, 3)
    assert breaker.state == "disabled"
    breaker.metrics_only()
    fail(fn, upstream, colour, 3)
    assert (breaker.state, breaker.stats().consecutive_failures) == ("metrics_only", 3)
    breaker.reset()
    assert colour.call(fn) == "ok"
    stats = breaker.stats()
    assert (stats.failures, stats.rejected, stats.successes) == (6, 1, 1)


@pytest.mark.parametrize("state", list(mh.CircuitState))
def test_initial_state(state: mh.CircuitState, registry: mh.Registry) -> None:
    """A breaker begins in the state that it is told."""
    assert mh.circuit_breaker(initial_state=state.value, registry=registry).state is state


def test_isolated_is_counted(colour: Colour, upstream: Upstream, registry: mh.Registry) -> None:
    """Calls are refused until the last of nested blocks ends, and the state is as before."""
    breaker = mh.circuit_breaker("db", registry=registry)
    fn = guarded(breaker, upstream, colour)
    with breaker.isolated():
        with breaker.isolated():
            pass
        with pytest.raises(mh.CircuitOpenError):
            colour.call(fn)
    assert colour.call(fn) == "ok"


def test_isolated_restores_an_open_circuit(
    upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """An open circuit is open again afterwards, and its time has gone on."""
    breaker = mh.circuit_breaker("db", initial_state="open", registry=registry)
    frozen.tick(20)
    with breaker.isolated():
        frozen.tick(10)
    assert (breaker.state, breaker.stats().retry_after) == ("open", pytest.approx(30))


def test_what_kept_a_circuit_open_outlives_isolation(
    upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """The time that was worked out when it opened is not worked out again."""
    asked: list[int] = []

    def longer(attempt: int, exc: Exception | None) -> float:
        asked.append(attempt)
        return 5.0

    class BusyError(Exception):
        retry_after = 40.0

    def busy() -> None:
        raise BusyError

    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=longer, registry=registry)
    with pytest.raises(BusyError):
        breaker.call(busy)
    with breaker.isolated():
        frozen.tick(10)
    assert (breaker.stats().retry_after, asked) == (pytest.approx(30), [1])


def test_isolation_holds_for_keys_that_come_during_it(registry: mh.Registry) -> None:
    """A new key is refused as well, and is as any other when the block ends."""
    breaker = mh.circuit_breaker("api", key="{host}", registry=registry)
    fetch = breaker(lambda host: host)
    fetch("known")
    with breaker.isolated(), breaker.isolated():
        for host in ("known", "new"):
            with pytest.raises(mh.CircuitOpenError) as caught:
                fetch(host)
            assert caught.value.state == "forced_open"
    assert [fetch("known"), fetch("new"), fetch("later")] == ["known", "new", "later"]
    assert breaker.stats().states == {"closed": 3}


def test_a_state_set_during_isolation_holds_for_new_keys_too(registry: mh.Registry) -> None:
    """What somebody sets wins for all keys, known or new."""
    breaker = mh.circuit_breaker("api", key="{host}", registry=registry)
    fetch = breaker(lambda host: host)
    fetch("known")
    with breaker.isolated():
        breaker.disable()
        assert [fetch("known"), fetch("new")] == ["known", "new"]
    assert breaker.stats().states == {"disabled": 2}


def test_a_circuit_that_joins_late_begins_as_it_was_set_meanwhile(registry: mh.Registry) -> None:
    """It was made before somebody forced all circuits open, and joined after that."""
    breaker = mh.circuit_breaker("api", key="{host}", registry=registry)
    fetch = breaker(lambda host: host)
    family = breaker._family
    assert family is not None
    make = family._make

    def make_slowly() -> Any:
        made = make()
        breaker.force_open()
        return made

    family._make = make_slowly
    with pytest.raises(mh.CircuitOpenError, match="forced-open"):
        fetch("a")


def test_reset_during_isolation_wins(upstream: Upstream, registry: mh.Registry) -> None:
    """What somebody sets during isolation stays when it ends, and a new block isolates again."""
    breaker = mh.circuit_breaker("db", registry=registry)
    with breaker.isolated():
        breaker.disable()
        with breaker.isolated():
            assert breaker.state == "forced_open"
        assert breaker.state == "forced_open"
    assert breaker.state == "disabled"


def test_keys_have_circuits_of_their_own(
    colour: Colour, upstream: Upstream, registry: mh.Registry
) -> None:
    """With ``key=`` one failing host does not shut out another."""
    breaker = mh.circuit_breaker("api", key="{host}", failure_threshold=1, registry=registry)

    def fetch(path: str, host: str = "a") -> str:
        if host == "a":
            raise ConnectionError
        return host + path

    fn = breaker(colour.paint(fetch))
    with pytest.raises(ConnectionError):
        colour.call(fn, "/")
    with pytest.raises(mh.CircuitOpenError):
        colour.call(fn, "/", "a")
    assert colour.call(fn, "/", host="b") == "b/"
    stats = breaker.stats()
    assert (stats.state, stats.states) == ("open", {"open": 1, "closed": 1})
    assert breaker.stats(key="b").state == "closed"
    with pytest.raises(KeyError, match="has seen no call with key 'c'"):
        breaker.stats(key="c")


def test_families_are_bounded_and_keep_open_circuits(
    upstream: Upstream, registry: mh.Registry
) -> None:
    """A full family forgets idle closed circuits, never an open one."""
    breaker = mh.circuit_breaker(
        "api", key="{host}", failure_threshold=1, max_keys=10, registry=registry
    )

    @breaker
    def fetch(host: str) -> None:
        if host == "bad":
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fetch("bad")
    for n in range(1000):
        fetch(f"host-{n}")
    assert breaker._family is not None
    assert len(breaker._family.members()) == 10
    assert breaker.stats(key="bad").state == "open"
    with pytest.raises(mh.CircuitOpenError):
        fetch("bad")


def test_block_forms(registry: mh.Registry) -> None:
    """``with`` judges the block as a call."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    with breaker:
        pass
    with pytest.raises(ValueError, match="no"), breaker:
        raise ValueError("no")
    with pytest.raises(mh.CircuitOpenError), breaker:
        pytest.fail("the block ran")
    stats = breaker.stats()
    assert (stats.successes, stats.failures, stats.rejected) == (1, 1, 1)


async def _blocks(breaker: mh.CircuitBreaker) -> None:
    async with breaker, breaker:
        pass
    with pytest.raises(ValueError, match="no"):
        async with breaker:
            raise ValueError("no")
    with pytest.raises(mh.CircuitOpenError):
        async with breaker:
            pytest.fail("the block ran")


def test_async_block_forms(registry: mh.Registry) -> None:
    """``async with`` judges the block as a call, nested ones apart."""
    import asyncio

    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)
    asyncio.run(_blocks(breaker))
    stats = breaker.stats()
    assert (stats.successes, stats.failures, stats.rejected) == (2, 1, 1)


def test_a_block_is_left_where_it_was_entered(registry: mh.Registry) -> None:
    """Elsewhere it is found while it is the only one; of several none is guessed."""
    breaker = mh.circuit_breaker("db", registry=registry)
    homes = [contextvars.copy_context() for _ in range(2)]
    homes[0].run(breaker.__enter__)
    breaker.__exit__(None, None, None)
    for home in homes:
        home.run(breaker.__enter__)
    with pytest.raises(RuntimeError, match="block of <circuit_breaker.*left in another context"):
        breaker.__exit__(None, None, None)
    for home in homes:
        home.run(breaker.__exit__, None, None, None)
    assert breaker.stats().successes == 3


def test_a_family_has_no_block_form(registry: mh.Registry) -> None:
    """Without arguments nothing tells which circuit is meant."""
    breaker = mh.circuit_breaker("db", key="{x}", registry=registry)
    with pytest.raises(TypeError, match="has a circuit per key"), breaker:
        pass


def test_call_and_acall(registry: mh.Registry) -> None:
    """A breaker is an object too: ``call`` for sync functions, ``acall`` for async ones."""
    import asyncio

    breaker = mh.circuit_breaker("db", failure_threshold=1, registry=registry)

    async def answer(value: int) -> int:
        return value

    assert breaker.call(divmod, 7, 2) == (3, 1)
    assert asyncio.run(breaker.acall(answer, 5)) == 5
    with pytest.raises(TypeError, match="is async: use `await policy.acall"):
        breaker.call(answer, 5)
    assert breaker.stats().successes == 2


def test_events_tell_the_story(
    colour: Colour, upstream: Upstream, registry: mh.Registry, frozen: Any
) -> None:
    """Failures, refusals and changes of state are told in order; listeners may use the breaker."""
    told: list[Any] = []
    breaker = mh.circuit_breaker("db", failure_threshold=2, reset_timeout=10, registry=registry)

    def listen(event: events.Event) -> None:
        told.append((type(event).__name__, breaker.stats().state))

    fn = guarded(breaker, upstream, colour)
    with mh.subscribe(listen):
        fail(fn, upstream, colour, 2)
        with pytest.raises(mh.CircuitOpenError):
            colour.call(fn)
        frozen.tick(10)
        colour.call(fn)
    assert told == [
        ("CallFailed", "closed"),
        ("CircuitChanged", "open"),
        ("CallFailed", "open"),
        ("CallRejected", "open"),
        ("CircuitChanged", "half_open"),
        ("CircuitChanged", "closed"),
    ]


def test_stats_are_json(registry: mh.Registry) -> None:
    """Statistics go through json.dumps as they are."""
    breaker = mh.circuit_breaker("db", failure_rate_threshold=0.5, registry=registry)
    breaker.call(int)
    told = json.loads(json.dumps(breaker.stats().to_dict()))
    assert (told["name"], told["state"], told["window"]["calls"]) == ("db", "closed", 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"critical": 1}, "critical must be True or False, got 1"),
    ({"failure_threshold": 0}, r"failure_threshold must be a whole number of 1 or more, got 0"),
    ({"failure_threshold": -3}, r"failure_threshold .* got -3"),
    ({"failure_threshold": 2.5}, r"failure_threshold .* got 2.5"),
    ({"failure_threshold": True}, r"failure_threshold .* got True"),
    ({"failure_rate_threshold": 50}, r"failure_rate_threshold .* got 50|for 50 % write 0.5"),
    ({"failure_rate_threshold": float("nan")}, r"failure_rate_threshold .* got nan"),
    ({"failure_rate_threshold": 0}, r"failure_rate_threshold .* got 0"),
    ({"slow_call_rate_threshold": 0.5}, r"slow_call_rate_threshold needs slow_call_duration"),
    ({"slow_call_duration": 0}, r"slow_call_duration .* got 0"),
    ({"window": -1}, r"window .* got -1"),
    ({"window": float("inf")}, r"window .* got inf"),
    ({"window": 5, "window_calls": 5}, r"window and window_calls exclude each other"),
    ({"window_calls": 10, "minimum_calls": 100}, r"minimum_calls=100 is more than window_calls=10"),
    ({"reset_timeout": "soon"}, r"reset_timeout .* got 'soon'"),
    ({"half_open_max_calls": 0}, r"half_open_max_calls .* got 0"),
    ({"success_threshold": 2}, r"success_threshold=2 is more than half_open_max_calls=1"),
    ({"half_open_max_concurrent": 2}, r"half_open_max_concurrent=2 is more than"),
    ({"half_open_timeout": 0}, r"half_open_timeout .* got 0"),
    ({"record": "OSError"}, r"record must be an exception type"),
    ({"ignore": [int]}, r"ignore must be an exception type"),
    ({"record_result": 503}, r"record_result must be a function of result, got 503"),
    ({"initial_state": "ajar"}, r"initial_state must be one of 'closed', .* got 'ajar'"),
    ({"max_keys": 0}, r"max_keys .* got 0"),
    ({"name": ""}, r"name must be printable text that is not empty, got ''"),
    ({"name": 5}, r"name must be printable text"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_wrong_settings_are_errors_at_once(
    wrong: dict[str, Any], said: str, registry: mh.Registry
) -> None:
    """A wrong setting fails where it is written, naming argument, value and fix."""
    with pytest.raises(mh.ConfigurationError, match=said):
        mh.circuit_breaker(**wrong, registry=registry)


def test_a_key_that_names_no_argument_is_an_error(registry: mh.Registry) -> None:
    """A key template is checked when the function is decorated."""
    with pytest.raises(mh.ConfigurationError, match=r"names 'host', which is no argument of .*url"):

        @mh.circuit_breaker("api", key="{host}", registry=registry)
        def fetch(url: str) -> None: ...


def test_same_name_with_other_settings_is_an_error(registry: mh.Registry) -> None:
    """Sharing is on purpose: the same name and settings give the same breaker."""
    first = mh.circuit_breaker("db", registry=registry)
    assert mh.circuit_breaker("db", registry=registry) is first
    with pytest.raises(mh.ConfigurationError, match="failure_threshold=5.*failure_threshold=3"):
        mh.circuit_breaker("db", failure_threshold=3, registry=registry)


def test_description_and_repr(registry: mh.Registry) -> None:
    """A breaker says in one line what it is."""
    breaker = mh.circuit_breaker(
        "db",
        failure_threshold=5,
        failure_rate_threshold=0.5,
        slow_call_duration=1,
        slow_call_rate_threshold=0.25,
        registry=registry,
    )
    assert repr(breaker) == (
        "<circuit_breaker('db', opens at 5 failures in a row or failure rate 50% or "
        "slow call rate 25%)>"
    )
