"""What happens once a call is counted, and told in one record for each policy and interval."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.observe import summaries
from meshhook.observe.logging import log_events
from tests.forking import in_a_fork


class Collecting(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def summaries(self) -> list[tuple[str, str, int]]:
        """Return event, policy name and number of each summary."""
        return [
            (each.event.removesuffix("_summary"), each.policy_name, each.count)
            for each in self.records
            if each.event.endswith("_summary")
        ]

    def texts(self) -> list[str]:
        """Return the messages."""
        return [each.getMessage() for each in self.records]


@pytest.fixture
def log() -> Iterator[Collecting]:
    """Collect records of level INFO and above."""
    collecting = Collecting()
    logger = logging.getLogger("tests.summaries")
    logger.setLevel(logging.INFO)
    logger.addHandler(collecting)
    yield collecting
    logger.removeHandler(collecting)


def logged(**options: Any) -> Any:
    """Log to the logger of these tests."""
    return log_events(logging.getLogger("tests.summaries"), **options)


def refuse(name: str = "n", reason: str = "full", times: int = 1, policy: str = "bulkhead") -> None:
    for _ in range(times):
        events.emit(events.CallRejected(policy=policy, name=name, reason=reason, retry_after=None))


def other(name: str = "other") -> None:
    """Let something else happen."""
    events.emit(events.CallFailed(policy="p", name=name, error="E"))


def test_refusals_are_told_once_in_an_interval(log: Collecting, frozen: Any) -> None:
    """Singles are DEBUG; with the next event after the interval comes their number."""
    with logged():
        refuse(times=1_234)
        frozen.tick(59)
        refuse(times=1)
        assert log.records == []
        frozen.tick(1)
        refuse(times=2)
        (record,) = log.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "bulkhead 'n' refused 1,235 calls in the last 60 s: full"
        fields = {
            name: getattr(record, name)
            for name in ("event", "policy", "policy_name", "count", "seconds", "reasons")
        }
        assert fields == {
            "event": "call_rejected_summary",
            "policy": "bulkhead",
            "policy_name": "n",
            "count": 1_235,
            "seconds": 60.0,
            "reasons": {"full": 1_235},
        }
        assert json.loads(json.dumps(fields)) == fields
    assert log.summaries() == [("call_rejected", "n", 1_235), ("call_rejected", "n", 2)]


def test_any_event_tells_what_is_due(log: Collecting, frozen: Any) -> None:
    """Also one of another policy, and of another kind."""
    with logged():
        refuse()
        frozen.tick(3_600)
        other()
        assert log.texts() == ["bulkhead 'n' refused 1 call in the last 3600 s: full"]
    assert len(log.records) == 1


def test_the_end_tells_everything(log: Collecting, frozen: Any) -> None:
    """Whatever was counted is told when the subscription is closed, once."""
    subscription = logged()
    refuse("a")
    refuse("b", times=2)
    frozen.tick(0.25)
    subscription.close()
    subscription.close()
    assert log.texts() == [
        "bulkhead 'a' refused 1 call in the last 0.25 s: full",
        "bulkhead 'b' refused 2 calls in the last 0.25 s: full",
    ]


def test_a_circuit_that_changes_tells_at_once(
    log: Collecting, registry: mh.Registry, frozen: Any
) -> None:
    """How many calls it has refused comes before the record that it does so no more."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=5)
    with logged():
        with pytest.raises(ConnectionError):
            breaker.call(fail)
        for _ in range(3):
            with pytest.raises(mh.CircuitOpenError):
                breaker.call(int)
        refuse("another")
        frozen.tick(5)
        breaker.call(int)
        assert log.texts() == [
            "circuit 'db' went from closed to open: 1 failures in a row",
            "circuit_breaker 'db' refused 3 calls in the last 5 s: open",
            "circuit 'db' went from open to half_open: time to try again",
            "circuit 'db' went from half_open to closed: the trial calls succeeded",
        ]


def fail() -> None:
    raise ConnectionError("secret text")


def test_one_circuit_of_many_does_not_tell_for_all(log: Collecting, frozen: Any) -> None:
    """The circuits of a family share a count, and one that changes leaves it alone."""
    with logged():
        refuse("db", policy="circuit_breaker")
        events.emit(
            events.CircuitChanged(
                policy="circuit_breaker",
                name="db",
                old="open",
                new="closed",
                reason="r",
                keyed=True,
            )
        )
        assert log.summaries() == []


def test_reasons_are_told_by_number(log: Collecting, frozen: Any) -> None:
    """The one that was most often comes first."""
    with logged():
        refuse(reason="queue_full")
        refuse(reason="max_wait", times=1_500)
        refuse(reason="full", times=1)
        frozen.tick(60)
        other()
    assert log.texts() == [
        "bulkhead 'n' refused 1,502 calls in the last 60 s: max_wait 1,500, full 1, queue_full 1"
    ]


def test_timeouts_and_calls_that_failed_for_good_are_summed_up_too(
    log: Collecting, frozen: Any
) -> None:
    """And calls that end after they were given up, and further failures of a store."""
    with logged():
        for abandoned in (True, False, False):
            events.emit(
                events.CallTimedOut(policy="timeout", name="t", timeout=1.0, abandoned=abandoned)
            )
        events.emit(events.AbandonedCallEnded(policy="timeout", name="t", late=1.0))
        for reason in ("attempts", "budget", "attempts"):
            events.emit(
                events.RetriesExhausted(
                    policy="retry", name="r", attempts=3, elapsed=1.0, error="E", reason=reason
                )
            )
        for name in ("a", "b", "a", "a", "b"):
            events.emit(events.StoreFailed(policy="idempotent", name=name, verb="begin", error="E"))
        frozen.tick(60)
        other()
    assert [(each.levelname, each.getMessage()) for each in log.records] == [
        ("WARNING", "idempotent 'a': its store failed in begin with E"),
        ("WARNING", "idempotent 'b': its store failed in begin with E"),
        (
            "WARNING",
            "timeout 't': 3 calls did not end in time in the last 60 s: stopped 2, abandoned 1",
        ),
        ("INFO", "timeout 't': 1 call ended after being given up, in the last 60 s"),
        ("WARNING", "retry 'r': 3 calls failed for good in the last 60 s: attempts 2, budget 1"),
        ("WARNING", "idempotent 'a': its store failed 2 times more in the last 60 s: E"),
        ("WARNING", "idempotent 'b': its store failed once more in the last 60 s: E"),
    ]


@pytest.mark.parametrize("every", [5, "5s", 5.0])
def test_the_interval_may_be_another(log: Collecting, frozen: Any, every: Any) -> None:
    """It is a duration like any other."""
    with logged(summary_every=every):
        refuse()
        frozen.tick(5)
        other()
        assert log.summaries() == [("call_rejected", "n", 1)]


def test_there_may_be_no_summaries(log: Collecting, frozen: Any) -> None:
    """With None nothing is counted."""
    with logged(summary_every=None):
        refuse()
        frozen.tick(600)
        other()
    assert log.records == []


@pytest.mark.parametrize("every", [0, -1, "soon", True, float("inf")])
def test_an_interval_is_a_duration(every: Any) -> None:
    """Anything else is refused, and nobody listens."""
    with pytest.raises(mh.ConfigurationError, match="summary_every must be a duration"):
        log_events(summary_every=every)
    assert not events.wanted(events.CallRejected)


def test_a_level_above_leaves_summaries_out(log: Collecting, frozen: Any) -> None:
    """What is not wanted by then is forgotten, not kept."""
    logger = logging.getLogger("tests.summaries")
    with logged():
        refuse()
        logger.setLevel(logging.ERROR)
        frozen.tick(60)
        other()
        logger.setLevel(logging.INFO)
    assert log.records == []


def test_a_clock_that_is_set_back_loses_nothing(log: Collecting, frozen: Any) -> None:
    """What began in the future is told with the next event."""
    with logged():
        refuse()
        frozen.tick(-600)
        other()
        assert log.texts() == ["bulkhead 'n' refused 1 call in the last 0 s: full"]
        refuse(times=2)
        frozen.tick(60)
        other()
    assert log.summaries() == [("call_rejected", "n", 1), ("call_rejected", "n", 2)]


def test_many_that_are_due_are_told_bit_by_bit(log: Collecting, frozen: Any) -> None:
    """No call writes more than a few; the longest due come first."""
    with logged():
        for number in range(25):
            refuse(f"n{number}")
        frozen.tick(60)
        told = []
        for _ in range(4):
            before = len(log.records)
            other()
            told.append(len(log.records) - before)
    assert told == [summaries.AT_ONCE, summaries.AT_ONCE, 5, 0]
    assert [name for _, name, _ in log.summaries()] == [f"n{number}" for number in range(25)]


def test_memory_is_bounded(log: Collecting, frozen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more policies than there is room for, the oldest are told early; none is lost."""
    monkeypatch.setattr(summaries, "MOST_COUNTS", 50)
    with logged() as subscription:
        for number in range(500):
            refuse(f"n{number}")
            assert len(subscription._scribe._summaries._counts) <= 51
    assert sorted(log.summaries()) == sorted(
        ("call_rejected", f"n{number}", 1) for number in range(500)
    )


def test_reasons_are_bounded_too(log: Collecting, frozen: Any) -> None:
    """A policy of somebody else may have any number of them."""
    with logged():
        for number in range(500):
            refuse(reason=f"reason {number}")
    (record,) = log.records
    assert record.count == 500
    assert len(record.reasons) == summaries.MOST_REASONS + 1
    assert record.reasons["other"] == 500 - summaries.MOST_REASONS


def test_stores_that_were_warned_of_are_bounded(
    log: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more policies than there is room for, some are warned of again."""
    monkeypatch.setattr("meshhook.observe.logging._MOST_WARNED", 10)
    with logged() as subscription:
        for number in range(100):
            events.emit(events.StoreFailed(policy="i", name=f"n{number}", verb="begin", error="E"))
            assert len(subscription._scribe._warned) <= 10
    assert len(log.records) == 100


def test_ten_thousand_policies_are_counted(log: Collecting) -> None:
    """Each has its own count, and in sum there is one for each refusal."""
    with logged():
        for _ in range(2):
            for number in range(10_000):
                refuse(f"n{number}")
        assert log.records == []
    assert sorted(log.summaries()) == sorted(
        ("call_rejected", f"n{number}", 2) for number in range(10_000)
    )


def test_threads_lose_no_count(log: Collecting) -> None:
    """Whatever comes in between: due summaries, transitions, other policies."""

    def work(at: int) -> None:
        for number in range(2_000):
            refuse(f"n{(at + number) % 7}", policy="circuit_breaker")
            if number % 100 == 0:
                events.emit(
                    events.CircuitChanged(
                        policy="circuit_breaker", name="n1", old="open", new="closed", reason="r"
                    )
                )

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with logged(summary_every="10us"):
        threads = [threading.Thread(target=work, args=(at,)) for at in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    sys.setswitchinterval(interval)
    assert sum(number for _, _, number in log.summaries()) == 16_000
    assert len(log.summaries()) > 7


def test_what_ends_in_the_middle_of_counting_is_counted(
    log: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may run anywhere, and end a coroutine whose policy refuses something."""
    make = summaries._Count

    def and_one_more(began: float) -> Any:
        monkeypatch.setattr(summaries, "_Count", make)
        refuse("n")
        return make(began)

    monkeypatch.setattr(summaries, "_Count", and_one_more)
    with logged():
        refuse("n")
    assert [number for _, _, number in log.summaries()] == [2]


def test_a_handler_that_fails_stops_neither_the_others_nor_the_call(
    log: Collecting, frozen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each record is tried on its own."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError

    failing = Failing()
    logger = logging.getLogger("tests.summaries")
    with logged():
        refuse("a")
        refuse("b")
        logger.addHandler(failing)
        frozen.tick(60)
        refuse("c")
        logger.removeHandler(failing)
    assert [name for _, name, _ in log.summaries()] == ["a", "b", "c"]
    assert [each.name for each in caplog.records if each.exc_info] == ["meshhook.events"] * 2


@pytest.mark.fault
def test_a_handler_that_blocks_blocks_no_refusal(log: Collecting, registry: mh.Registry) -> None:
    """At INFO, refusals are counted only; whoever writes a record holds no lock of ours."""
    go_on, blocked = threading.Event(), threading.Event()

    class Blocking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            blocked.set()
            go_on.wait(20)

    blocking = Blocking()
    logger = logging.getLogger("tests.summaries")
    logger.addHandler(blocking)
    refusing = mh.circuit_breaker("refusing")
    refusing.force_open()
    with logged():
        changing = threading.Thread(target=mh.circuit_breaker("changing").force_open)
        changing.start()
        assert blocked.wait(10)
        for _ in range(1_000):
            with pytest.raises(mh.CircuitOpenError):
                refusing.call(int)
        assert changing.is_alive()
        go_on.set()
        changing.join()
        logger.removeHandler(blocking)
    assert log.summaries() == [("call_rejected", "refusing", 1_000)]


def test_a_forked_child_tells_of_its_own(log: Collecting) -> None:
    """What the parent has counted is the parent's to tell."""

    def child() -> bool:
        refuse(times=2)
        log.records.clear()
        subscription.close()
        return log.summaries() == [("call_rejected", "n", 2)]

    subscription = logged()
    refuse(times=5)
    assert in_a_fork(child) == 0
    subscription.close()
    assert log.summaries() == [("call_rejected", "n", 5)]


def run(program: str) -> str:
    """Run a program of its own; return what it has logged."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


BEGIN = """
import logging
import meshhook as mh
from meshhook.observe.logging import log_events
logging.basicConfig(level=logging.INFO, format="%(message)s")
subscription = log_events()
bulkhead = mh.bulkhead(1, name="b")
def nested():
    try:
        bulkhead.call(int)
    except mh.BulkheadFullError:
        pass
bulkhead.call(nested)
"""


def test_the_end_of_the_program_tells_everything() -> None:
    """A subscription that nobody closes tells at exit, and only then."""
    told = "bulkhead 'b' refused 1 call in the last "
    assert run(BEGIN).startswith(told)
    assert run(BEGIN + "subscription.close()").count(told) == 1


def test_a_closed_subscription_is_not_kept_for_the_end(log: Collecting) -> None:
    """Programs may open and close as many as they like."""
    import weakref

    subscription = logged()
    gone = weakref.ref(subscription)
    subscription.close()
    del subscription
    gc.collect()
    assert gone() is None


def test_a_handler_that_refuses_itself_is_not_counted(
    log: Collecting, registry: mh.Registry, frozen: Any
) -> None:
    """What handlers cause is not logged, so that the log does not go on for ever."""
    breaker = mh.circuit_breaker("shipping")
    breaker.force_open()

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with contextlib.suppress(mh.CircuitOpenError):
                breaker.call(int)

    shipping = Shipping()
    logger = logging.getLogger("tests.summaries")
    logger.addHandler(shipping)
    with logged():
        refuse()
        frozen.tick(60)
        other()
    logger.removeHandler(shipping)
    assert breaker.stats().rejected == 1
    assert log.summaries() == [("call_rejected", "n", 1)]
