"""When a retry waits, for how long, and when it does not."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.runtime import pauses
from meshhook.testing.cancelling import MOMENTS, Moment, Stepped
from tests.colours import Colour
from tests.policies.retry_calls import Flaky, Pauses, slept

__all__ = ["slept"]


class Busy(Exception):  # noqa: N818 - it is what a client of some service raises
    """An error that says when to come back, in one of several ways."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def with_header(value: Any) -> Busy:
    """Make an error of an HTTP client, whose response has the header."""
    return Busy(response=SimpleNamespace(headers={"retry-after": value}))


def retry(registry: mh.Registry, **settings: Any) -> mh.Retry:
    """Make a retry named ``api`` with delays of one second."""
    given = {"backoff": "constant", "base_delay": 1.0, "jitter": None, **settings}
    return mh.retry(name="api", registry=registry, **given)


def ended_by(registry: mh.Registry) -> dict[str, int]:
    """Return the reasons that there were."""
    counts = registry.retries["api"].stats().ended_by
    return {reason: count for reason, count in counts.items() if count}


def note_of(error: BaseException) -> str:
    """Return the one note of an error."""
    (note,) = error.__notes__
    return str(note)


@pytest.mark.parametrize(
    "error",
    [
        Busy(retry_after=7),
        Busy(retry_after="7"),
        with_header("7"),
        Busy(headers={"Retry-After": "7"}),
        mh.RejectedError("no", retry_after=7.0),
        ExceptionGroup("", [Busy(retry_after=7), Busy(retry_after=3), OSError()]),
    ],
)
def test_retry_after_is_heeded(
    error: Exception, colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """The pause is what was asked for, without jitter exactly that."""
    policy = retry(registry, on=(Exception, mh.RejectedError))
    assert colour.call(policy(colour.paint(Flaky(error, 1)))) == 1
    assert slept == [7.0]


def test_a_date_is_heeded(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """In the past it says nothing."""
    late = with_header(formatdate(time.time() + 9, usegmt=True))
    past = with_header(formatdate(time.time() - 9, usegmt=True))
    policy = retry(registry)
    assert colour.call(policy(colour.paint(Flaky(late, past, 1)))) == 1
    assert slept == [9.0, 1.0]


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated", 0.5])
def test_jitter_only_adds_to_it(jitter: Any, registry: mh.Registry, slept: Pauses) -> None:
    """Nobody comes back before the time, and not all at once."""
    policy = mh.retry(
        max_attempts=200, backoff="constant", base_delay=2, jitter=jitter, registry=registry
    )
    with pytest.raises(Busy):
        policy.call(Flaky(Busy(retry_after=7)))
    assert 7.0 <= min(slept) < 7.5
    assert (7.5 if jitter == 0.5 else 8.5) < max(slept) <= (8.0 if jitter == 0.5 else 9.0)


def test_jitter_of_a_computed_delay_is_added(registry: mh.Registry, slept: Pauses) -> None:
    """At most that delay itself."""
    policy = mh.retry(backoff=lambda _: 3, max_attempts=2, registry=registry)
    policy.chance = lambda: 1.0
    with pytest.raises(Busy):
        policy.call(Flaky(Busy(retry_after=7)))
    assert slept == [10.0]


def test_who_asks_for_too_long_is_not_called_again(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """Coming earlier would break what was asked, so the error is raised at once."""
    error = Busy(retry_after=61)
    with pytest.raises(Busy) as caught:
        colour.call(retry(registry)(colour.paint(Flaky(error))))
    assert caught.value is error
    assert slept == []
    assert ended_by(registry) == {"retry_after": 1}
    assert note_of(error) == (
        "meshhook: 1 attempt; it asks to be left alone for 61 s, which is more than "
        "max_retry_after=60"
    )
    patient = retry(mh.Registry(), max_retry_after="2m")
    assert colour.call(patient(colour.paint(Flaky(error, 1)))) == 1
    assert slept == [61.0]


def test_retry_after_may_be_ignored(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """That of others; what a policy of ours says is true in any case."""
    refused = mh.RejectedError("no", retry_after=3.0)
    policy = retry(registry, respect_retry_after=False, on=(Busy, mh.RejectedError))
    assert colour.call(policy(colour.paint(Flaky(Busy(retry_after=7), refused, 1)))) == 1
    assert slept == [1.0, 3.0]


def test_a_hook_may_know_it(
    colour: Colour,
    registry: mh.Registry,
    slept: Pauses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the error or the result; where it does not, the attributes count."""

    def hook(outcome: Any) -> Any:
        if isinstance(outcome, OSError):
            return 1 / 0
        return getattr(outcome, "wait", None)

    outcomes = [
        Busy(wait=4),
        Busy(wait=None, retry_after=5),
        Busy(wait=-1, retry_after=6),
        SimpleNamespace(wait=7),
        OSError(),
        1,
    ]
    policy = retry(registry, retry_after=hook, max_attempts=9, on_result=lambda result: result != 1)
    assert colour.call(policy(colour.paint(Flaky(*outcomes)))) == 1
    assert slept == [4.0, 5.0, 6.0, 7.0, 1.0]
    assert "retry_after of retry 'api' failed" in caplog.text


def test_a_response_may_ask_for_it(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """A result that is refused is read as an error is."""
    busy = SimpleNamespace(status=429, headers={"Retry-After": "8"})
    fine = SimpleNamespace(status=200, headers={})
    policy = retry(registry, on_result=lambda response: response.status == 429)
    assert colour.call(policy(colour.paint(Flaky(busy, fine)))) is fine
    assert slept == [8.0]


def test_no_pause_begins_that_the_deadline_would_cut(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """The error is raised at once, with a note that says why; one that fits is slept."""
    error = OSError()
    fn = retry(registry, max_attempts=9)(colour.paint(Flaky(error)))
    with mh.deadline(2.5), pytest.raises(OSError) as caught:
        colour.call(fn)
    assert caught.value is error
    assert slept == [1.0, 1.0]
    assert note_of(error) == (
        "meshhook: 3 attempts, the last 2 s after the first had failed; "
        "a pause of 1 s would not end before the deadline"
    )
    assert ended_by(registry) == {"deadline": 1}


def test_a_pause_that_would_end_at_the_deadline_does_not_fit(
    registry: mh.Registry, slept: Pauses
) -> None:
    """Nothing is left for the attempt after it."""
    with mh.deadline(1.0), pytest.raises(OSError):
        retry(registry).call(Flaky(OSError))
    assert slept == []


def test_a_block_without_a_deadline_inside_one(registry: mh.Registry, slept: Pauses) -> None:
    """Has none."""
    with mh.deadline(0.5), mh.deadline(None):
        assert retry(registry).call(Flaky(OSError, 1)) == 1


def test_a_pause_that_takes_too_long_ends_the_call(
    colour: Colour, registry: mh.Registry, slept: Pauses, frozen: Any
) -> None:
    """No attempt begins past the deadline, and the budget gets back what was taken."""
    slept.at = lambda _: frozen.tick(5.0)
    budget = mh.RetryBudget(registry=registry)
    call = Flaky(OSError)
    with mh.deadline(2.0), pytest.raises(OSError) as caught:
        colour.call(retry(registry, budget=budget)(colour.paint(call)))
    assert call.calls == 1
    assert "past the deadline" in note_of(caught.value)
    assert budget.stats().given_back == 1
    assert ended_by(registry) == {"deadline": 1}


def test_max_elapsed_counts_from_the_start_of_the_call(
    colour: Colour, registry: mh.Registry, slept: Pauses, frozen: Any
) -> None:
    """The attempts included; none is interrupted, and none begins later."""
    calls = []

    def call() -> None:
        calls.append(time.monotonic())
        frozen.tick(2.0)
        raise OSError

    fn = retry(registry, max_attempts=None, max_elapsed=10)(colour.paint(call))
    with pytest.raises(OSError) as caught:
        colour.call(fn)
    assert [moment - calls[0] for moment in calls] == [0.0, 3.0, 6.0, 9.0]
    assert note_of(caught.value).endswith("a pause of 1 s would not end within max_elapsed=10")
    assert ended_by(registry) == {"max_elapsed": 1}


@pytest.fixture
def shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process be alive again after the test."""
    monkeypatch.setattr(pauses, "_shut_down", False)


def test_shutdown_wakes_a_thread(registry: mh.Registry, shut_down: None) -> None:
    """It raises the error that it has, at once, and gives back to the budget."""
    budget = mh.RetryBudget(registry=registry)
    sleeping = threading.Event()
    policy = retry(
        registry, base_delay=60, max_delay=60, budget=budget, before_sleep=lambda _: sleeping.set()
    )
    ended: list[BaseException] = []

    def work() -> None:
        try:
            policy.call(Flaky(OSError))
        except OSError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert sleeping.wait(10)
    mh.shutdown()
    thread.join(10)
    assert not thread.is_alive()
    assert note_of(ended[0]) == "meshhook: 1 attempt; the process shuts down"
    assert ended_by(registry) == {"shutdown": 1}
    assert (budget.stats().taken, budget.stats().given_back) == (1, 1)
    with pytest.raises(OSError):
        retry(mh.Registry(), base_delay=0).call(Flaky(OSError, 1))


def test_a_budget_bounds_the_retries(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """Of all who share it; who gets nothing raises the error that it has, at once."""
    budget = mh.RetryBudget(ratio=0.5, min_per_second=0, name="db", registry=registry)
    first = retry(registry, budget=budget)(colour.paint(Flaky(OSError)))
    other = mh.retry(budget=budget, base_delay=0, registry=registry)(colour.paint(Flaky(OSError)))
    told: list[events.Event] = []
    with mh.subscribe(told.append, events.RetriesExhausted):
        for _ in range(10):
            for fn in (first, other):
                with pytest.raises(OSError) as caught:
                    colour.call(fn)
    stats = budget.stats()
    assert (stats.calls, stats.taken, stats.given_back, stats.left) == (20, 10, 0, 0)
    attempts = sum(policy.stats().attempts for policy in registry.retries.values())
    assert attempts == 30
    assert stats.refused == sum(
        policy.stats().ended_by["budget"] for policy in registry.retries.values()
    )
    assert note_of(caught.value).endswith("retry budget 'db' is used up")
    assert "budget" in {event.reason for event in told}  # type: ignore[attr-defined]


def test_a_cancelled_pause_gives_back(registry: mh.Registry) -> None:
    """What was reserved for it; and the call counts as ignored."""
    budget = mh.RetryBudget(registry=registry)
    policy = retry(registry, base_delay=60, max_delay=60, budget=budget)

    @policy
    async def call() -> None:
        raise OSError

    async def main() -> None:
        task = asyncio.create_task(call())
        while not budget.stats().taken:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    stats = budget.stats()
    assert (stats.taken, stats.given_back, stats.left) == (1, 1, 10)
    assert policy.stats().ignored == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", range(1, 6))
def test_cancelled_at_every_await(point: int, moment: Moment, registry: mh.Registry) -> None:
    """In each attempt and in each pause: counts add up, and the budget is owed nothing."""
    budget = mh.RetryBudget(registry=registry)
    policy = mh.retry(base_delay=0, budget=budget, name="api", registry=registry)
    ended: list[BaseException] = []

    async def work() -> None:
        await asyncio.sleep(0)
        raise OSError

    async def main() -> None:
        call = policy.acall(work)
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.create_task(Stepped(call, [point], moment).run())
        ended.append(caught.value)

    asyncio.run(main())
    stats, money = policy.stats(), budget.stats()
    assert (stats.calls, stats.ignored) == (1, 1)
    # Points are: attempt, pause, attempt, pause, attempt.
    assert stats.retries == (point - 1) // 2
    assert (money.taken, money.given_back) == (point // 2, 1 - point % 2)


def test_an_interrupted_pause_gives_back(registry: mh.Registry, slept: Pauses) -> None:
    """Ctrl-C in the sleep, in the hook or in a listener."""

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    budget = mh.RetryBudget(registry=registry)
    slept.at = interrupt
    with pytest.raises(KeyboardInterrupt):
        mh.retry(budget=budget, registry=registry).call(Flaky(OSError))
    with pytest.raises(KeyboardInterrupt):
        mh.retry(budget=budget, before_sleep=interrupt, registry=registry).call(Flaky(OSError))
    policy = mh.retry(budget=budget, registry=registry)
    with mh.subscribe(interrupt, events.CallRetried), pytest.raises(KeyboardInterrupt):
        policy.call(Flaky(OSError))
    assert budget.stats().given_back == budget.stats().taken == 3
    assert policy.stats().ignored == 1


def test_a_call_thrown_away_in_its_pause_gives_back(registry: mh.Registry) -> None:
    """Nobody awaits it any more, and the collector closes it."""
    budget = mh.RetryBudget(registry=registry)
    policy = retry(registry, base_delay=60, max_delay=60, budget=budget)

    async def main() -> None:
        coroutine: Any = policy.acall(fail)
        coroutine.send(None)
        assert budget.stats().taken == 1
        del coroutine
        gc.collect()

    async def fail() -> None:
        raise OSError

    asyncio.run(main())
    assert budget.stats().given_back == 1


def test_a_real_pause_takes_its_time(colour: Colour, registry: mh.Registry) -> None:
    """In a thread and in a task, without anything replaced."""
    fn = retry(registry, base_delay=0.02)(colour.paint(Flaky(OSError, 1)))
    began = time.perf_counter()
    assert colour.call(fn) == 1
    assert 0.019 <= time.perf_counter() - began < 1.0


def test_other_tasks_run_in_the_pause(registry: mh.Registry) -> None:
    """A pause of no time gives them a turn, too."""
    ran = []

    async def other() -> None:
        ran.append(1)

    async def main() -> None:
        task = asyncio.create_task(other())
        flaky = Flaky(OSError, lambda: ran.copy())

        async def call() -> Any:
            return flaky()

        result = await retry(registry, base_delay=0).acall(call)
        assert result() == [1]
        await task

    asyncio.run(main())
