"""What a retry does around a function, in both colours."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import random
import threading
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from tests.colours import Colour
from tests.policies.retry_calls import Flaky, Pauses, slept

__all__ = ["slept"]


def retry(registry: mh.Registry, **settings: Any) -> mh.Retry:
    """Make a retry named ``api`` with delays of one second."""
    given = {"backoff": "constant", "base_delay": 1.0, "jitter": None, **settings}
    return mh.retry(name="api", registry=registry, **given)


def test_a_call_that_goes_well_is_made_once(colour: Colour, registry: mh.Registry) -> None:
    """Results are returned as they are, falsy ones too."""
    for result in (1, None, "", [], {"a": 1}):
        call = Flaky(result)
        assert colour.call(retry(registry)(colour.paint(call))) is result
        assert call.calls == 1


def test_a_call_that_fails_is_made_again(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """Until it goes well, after a pause each time."""
    call = Flaky(OSError, ValueError, "ok")
    assert colour.call(retry(registry)(colour.paint(call))) == "ok"
    assert call.calls == 3
    assert slept == [1.0, 1.0]
    stats = registry.retries["api"].stats()
    assert (stats.calls, stats.successes, stats.recovered, stats.failures) == (1, 1, 1, 0)
    assert (stats.attempts, stats.retries) == (3, 2)


def test_arguments_are_the_same_for_each_attempt(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """Positional ones and keywords."""
    seen = []

    def call(*args: Any, **kwargs: Any) -> str:
        seen.append((args, kwargs))
        if len(seen) < 3:
            raise OSError
        return "ok"

    assert colour.call(retry(registry)(colour.paint(call)), 1, 2, key=3) == "ok"
    assert seen == [((1, 2), {"key": 3})] * 3


def test_max_attempts_counts_the_first(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """Three attempts are two retries, and one is none."""
    for most in (1, 2, 3, 7):
        call = Flaky(OSError)
        policy = mh.retry(max_attempts=most, jitter=None, registry=registry)
        with pytest.raises(OSError):
            colour.call(policy(colour.paint(call)))
        assert call.calls == most
        assert len(slept) == most - 1
        slept.clear()


def test_bare_it_has_three_attempts(colour: Colour, slept: Pauses) -> None:
    """``@mh.retry`` without anything is ``@mh.retry()``."""
    call = Flaky(OSError)
    with pytest.raises(OSError):
        colour.call(mh.retry(colour.paint(call)))
    assert call.calls == 3
    assert slept[0] <= 0.1
    assert slept[1] <= 0.2


def test_call_and_acall(registry: mh.Registry, slept: Pauses) -> None:
    """A policy runs calls itself."""
    policy = retry(registry)
    assert policy.call(Flaky(OSError, 1), "argument") == 1

    async def main() -> Any:
        async def call(result: Any) -> Any:
            return flaky(result)

        return await policy.acall(call, 2)

    flaky = Flaky(OSError, 2)
    assert asyncio.run(main()) == 2
    assert policy.stats().recovered == 2


ONLY_SOME: list[tuple[Any, Any, Exception, bool]] = [
    (OSError, (), ConnectionError(), True),
    (OSError, (), ValueError(), False),
    ((OSError, ValueError), (), ValueError(), True),
    ([OSError], (), OSError(), True),
    (BaseException, (), ValueError(), True),
    (Exception, (), asyncio.QueueEmpty(), True),
    (Exception, OSError, ConnectionError(), False),
    (Exception, (OSError, KeyError), ValueError(), True),
    (lambda error: "5" in str(error), (), OSError("503"), True),
    (lambda error: "5" in str(error), (), OSError("404"), False),
    (Exception, lambda error: "404" in str(error), OSError("404"), False),
    (OSError, (), ExceptionGroup("", [ValueError(), OSError()]), True),
    (OSError, (), ExceptionGroup("", [ExceptionGroup("", [OSError()])]), True),
    (OSError, (), ExceptionGroup("", [ValueError()]), False),
    (OSError, KeyError, ExceptionGroup("", [KeyError(), OSError()]), False),
    (Exception, (), mh.RejectedError("no"), False),
    (Exception, (), mh.CircuitOpenError(), False),
    (Exception, (), mh.NoTimeLeftError("no"), False),
    (Exception, (), mh.InProgressError("no"), False),
    (BaseException, (), mh.KeyReusedError("no"), False),
    (mh.MeshHookError, (), mh.RejectedError("no"), False),
    (lambda error: not isinstance(error, ValueError), (), mh.RejectedError("no"), False),
    (Exception, (), ExceptionGroup("", [mh.RejectedError("no")]), False),
    (Exception, (), ExceptionGroup("", [mh.RejectedError("no"), OSError()]), True),
    (mh.RejectedError, (), mh.CircuitOpenError(), True),
    ((OSError, mh.CircuitOpenError), (), mh.CircuitOpenError(), True),
    ((Exception, mh.CircuitOpenError), (), mh.RejectedError("no"), False),
    (mh.InProgressError, (), mh.InProgressError("no"), True),
    (Exception, (), mh.TimeoutError("late"), True),
    (Exception, (), mh.StoreUnavailableError("gone"), True),
    (Exception, (), FutureCancelledError(), False),
    (FutureCancelledError, (), FutureCancelledError(), True),
]


@pytest.mark.parametrize(("on", "abort_on", "error", "again"), ONLY_SOME)
def test_what_is_retried(
    on: Any,
    abort_on: Any,
    error: Exception,
    again: bool,
    colour: Colour,
    registry: mh.Registry,
    slept: Pauses,
) -> None:
    """Types and predicates say so; what policies refuse has to be named by a type."""
    call = Flaky(error, "ok")
    fn = retry(registry, on=on, abort_on=abort_on)(colour.paint(call))
    if again:
        assert colour.call(fn) == "ok"
    else:
        with pytest.raises(type(error)) as caught:
            colour.call(fn)
        assert caught.value is error
        assert not hasattr(error, "__notes__")
        assert slept == []
    assert call.calls == (2 if again else 1)


@pytest.mark.parametrize("on", [Exception, BaseException, lambda _: True])
@pytest.mark.parametrize(
    "raised",
    [
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
        BaseExceptionGroup("", [KeyboardInterrupt(), OSError()]),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("watched", [False, True])
def test_interrupts_and_cancellation_are_never_retried(
    on: Any, raised: Any, attempt: int, watched: bool, registry: mh.Registry, slept: Pauses
) -> None:
    """Whatever ``on`` says, in the first attempt and in a later one; they count as neither."""
    call = Flaky(*[OSError] * (attempt - 1), raised)
    settings: Any = {"on_result": lambda _: False} if watched else {}
    policy = retry(registry, on=on, **settings)
    with pytest.raises(type(raised) if isinstance(raised, BaseException) else raised):
        policy.call(call)
    assert call.calls == attempt
    stats = policy.stats()
    assert (stats.calls, stats.ignored, stats.failures, stats.successes) == (1, 1, 0, 0)
    assert stats.attempts == attempt


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("attempt", [1, 2])
def test_cancellation_of_a_task_ends_the_call(
    attempt: int, watched: bool, registry: mh.Registry, slept: Pauses
) -> None:
    """Wherever the function is waiting."""
    settings: Any = {"on_result": lambda _: False} if watched else {}
    calls = 0

    @retry(registry, **settings)
    async def call() -> None:
        nonlocal calls
        calls += 1
        if calls < attempt:
            raise OSError
        inside.set()
        await asyncio.sleep(60)

    inside = asyncio.Event()

    async def main() -> None:
        task = asyncio.create_task(call())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert calls == attempt
    assert registry.retries["api"].stats().ignored == 1


def test_predicates_that_fail_are_logged(
    colour: Colour, registry: mh.Registry, slept: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the error of the function, and nothing is retried."""
    call = Flaky(OSError("no"))

    def broken(_: Any) -> bool:
        raise KeyError

    for settings in ({"on": broken}, {"abort_on": broken}):
        fn = mh.retry(registry=registry, **settings)(colour.paint(call))
        with pytest.raises(OSError):
            colour.call(fn)
    assert call.calls == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "on or abort_on of retry" in caplog.text


def test_results_are_retried(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """As long as ``on_result`` says so; errors are retried beside them."""
    call = Flaky(None, OSError, None, 5)
    fn = retry(registry, max_attempts=4, on_result=lambda result: result is None)
    assert colour.call(fn(colour.paint(call))) == 5
    assert slept == [1.0] * 3
    assert registry.retries["api"].stats().recovered == 1


def test_a_result_that_never_comes_is_an_error_of_ours(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """It has the last result, which it does not show."""
    call = Flaky("secret")
    fn = retry(registry, on_result=lambda _: True)(colour.paint(call))
    with pytest.raises(mh.RetryExhaustedError) as caught:
        colour.call(fn)
    error = caught.value
    assert (error.name, error.attempts, error.reason) == ("api", 3, "attempts")
    assert error.last_result == "secret"
    assert str(error) == (
        "retry 'api': no result was accepted: 3 attempts, the last 2 s after the first had failed"
    )
    assert "secret" not in f"{error!r} {error}"
    assert mh.attempts_of(error) == (error,)
    assert registry.retries["api"].stats().ended_by["attempts"] == 1


def test_the_last_outcome_decides(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """An error after refused results is raised itself; errors before a result are reachable."""
    first, last = OSError(1), OSError(2)
    policy = retry(registry, max_attempts=2, on_result=lambda _: True)
    with pytest.raises(OSError) as caught:
        colour.call(policy(colour.paint(Flaky("no", last))))
    assert caught.value is last
    with pytest.raises(mh.RetryExhaustedError) as ended:
        colour.call(policy(colour.paint(Flaky(first, "no"))))
    assert mh.attempts_of(ended.value) == (first, ended.value)


def test_a_judge_of_results_that_fails_is_logged(
    colour: Colour, registry: mh.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is returned."""
    fn = retry(registry, on_result=lambda result: result.nothing)(colour.paint(Flaky(5)))
    assert colour.call(fn) == 5
    assert "on_result of retry 'api' failed" in caplog.text


@pytest.mark.parametrize("first", [None, OSError])
@pytest.mark.parametrize("settings", [{}, {"on_result": lambda _: False}])
def test_a_sync_function_that_returns_an_awaitable_is_refused(
    settings: Any, first: Any, registry: mh.Registry, slept: Pauses
) -> None:
    """At once, and at a later attempt too; nothing of it would be retried."""
    before = Flaky(first, None)

    async def forgotten() -> None:
        """Never awaited."""

    def call() -> Any:
        before()
        return forgotten()

    with pytest.raises(TypeError, match="returned an awaitable"):
        mh.retry(registry=registry, **settings).call(call)


def test_events(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """One for each retry, and one for the end; with types and not texts of errors."""
    told: list[events.Event] = []
    fn = retry(registry)(colour.paint(Flaky(OSError("secret"), ValueError("secret"))))
    with mh.subscribe(told.append), pytest.raises(ValueError):
        colour.call(fn)
    common: Any = {"policy": "retry", "name": "api"}
    assert told == [
        events.CallRetried(**common, attempt=1, delay=1.0, error="OSError"),
        events.CallRetried(**common, attempt=2, delay=1.0, error="ValueError"),
        events.RetriesExhausted(
            **common, attempts=3, elapsed=2.0, error="ValueError", reason="attempts"
        ),
    ]
    told.clear()
    refused = retry(mh.Registry(), max_attempts=2, on_result=lambda _: True)
    with mh.subscribe(told.append), pytest.raises(mh.RetryExhaustedError):
        colour.call(refused(colour.paint(Flaky("secret"))))
    assert [getattr(event, "error", None) for event in told] == ["result", "result"]


def test_an_error_that_is_not_retried_is_no_event(colour: Colour, registry: mh.Registry) -> None:
    """Nor is it in the reasons."""
    told: list[events.Event] = []
    fn = retry(registry, on=OSError)(colour.paint(Flaky(ValueError)))
    with mh.subscribe(told.append), pytest.raises(ValueError):
        colour.call(fn)
    assert told == []
    stats = registry.retries["api"].stats()
    assert (stats.failures, sum(stats.ended_by.values())) == (1, 0)


def test_before_sleep_is_told(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """A frozen object: attempt, delay, error, and the time since the first failure."""
    told: list[mh.RetryPause] = []
    error = OSError()
    call = Flaky(error, None, 1)
    policy = retry(
        registry, before_sleep=told.append, base_delay=0.5, on_result=lambda result: result is None
    )
    assert colour.call(policy(colour.paint(call))) == 1
    assert told == [
        mh.RetryPause(attempt=1, delay=0.5, error=error, elapsed=0.0),
        mh.RetryPause(attempt=2, delay=0.5, error=None, elapsed=0.5),
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        told[0].attempt = 2  # type: ignore[misc]


def test_a_before_sleep_that_fails_is_logged(
    colour: Colour, registry: mh.Registry, slept: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """It changes nothing else."""
    fn = retry(registry, before_sleep=lambda _: 1 / 0)(colour.paint(Flaky(OSError, 1)))
    assert colour.call(fn) == 1
    assert "before_sleep of retry 'api' failed" in caplog.text


def test_delays_grow_and_are_spread(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """By the rule, with a chance for each retry."""
    policy = mh.retry(max_attempts=5, name="api", registry=registry)
    policy.chance = random.Random(7).random
    chances = random.Random(7)
    with pytest.raises(OSError):
        colour.call(policy(colour.paint(Flaky(OSError))))
    assert slept == [0.1 * 2**retry * chances.random() for retry in range(4)]


@pytest.mark.parametrize(
    ("settings", "delays"),
    [
        ({"backoff": "linear", "jitter": None}, [0.1, 0.2, 0.3, 0.4]),
        ({"backoff": "fibonacci", "jitter": "none"}, [0.1, 0.1, 0.2, 0.3]),
        ({"jitter": 0.0, "factor": 3}, [0.1, 0.3, 0.9, 2.7]),
        ({"max_delay": 0.3, "jitter": None}, [0.1, 0.2, 0.3, 0.3]),
        ({"jitter": "equal"}, [0.1, 0.2, 0.4, 0.8]),
        ({"jitter": 0.5}, [0.15, 0.3, 0.6, 1.2]),
        ({"jitter": "decorrelated"}, [0.1, 0.3, 0.9, 2.7]),
        ({"base_delay": 0}, [0.0, 0.0, 0.0, 0.0]),
        ({"backoff": lambda attempt: attempt, "jitter": None}, [1.0, 2.0, 3.0, 4.0]),
        ({"backoff": lambda _attempt: "90ms", "jitter": None}, [0.09] * 4),
        ({"backoff": lambda _: 9, "max_delay": 2, "jitter": None}, [2.0] * 4),
        ({"backoff": lambda _: 9, "max_delay": 20}, [9.0] * 4),
    ],
)
def test_every_kind_of_delay(
    settings: Any, delays: list[float], registry: mh.Registry, slept: Pauses
) -> None:
    """At the upper end of the jitter."""
    policy = mh.retry(max_attempts=5, registry=registry, **settings)
    policy.chance = lambda: 1.0
    with pytest.raises(OSError):
        policy.call(Flaky(OSError))
    assert slept == pytest.approx(delays)


def test_a_function_may_know_the_error(
    colour: Colour, registry: mh.Registry, slept: Pauses
) -> None:
    """One that needs two arguments gets it; one that can do with one does not."""
    seen: list[Any] = []

    def by_error(attempt: int, error: Exception | None) -> float:
        seen.append((attempt, error))
        return 0.5

    def by_attempt(attempt: int, base: float = 0.25) -> float:
        return base * attempt

    error = OSError()
    policy = mh.retry(
        backoff=by_error, jitter=None, on_result=lambda result: result == 0, registry=registry
    )
    assert colour.call(policy(colour.paint(Flaky(error, 0, 1)))) == 1
    assert seen == [(1, error), (2, None)]
    plain = mh.retry(backoff=by_attempt, jitter=None, registry=registry)
    assert colour.call(plain(colour.paint(Flaky(error, error, 1)))) == 1
    assert slept == [0.5, 0.5, 0.25, 0.5]


@pytest.mark.parametrize("given", [-1, math.nan, math.inf, None, "soon", lambda: 1])
def test_a_function_that_gives_no_delay_is_logged(
    given: Any, registry: mh.Registry, slept: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """The delay is the exponential one then."""
    policy = mh.retry(backoff=lambda _: given, jitter=None, registry=registry)
    assert policy.call(Flaky(OSError, OSError, 1)) == 1
    assert slept == [0.1, 0.2]
    assert caplog.text.count("backoff of retry") >= 2


@pytest.mark.parametrize("with_gil", [True, False])
def test_calls_side_by_side_know_nothing_of_each_other(
    with_gil: bool, registry: mh.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads and a hundred tasks: each call has its own attempts, and the sums are right."""
    monkeypatch.setattr(guard, "GIL_ENABLED", with_gil)
    policy = mh.retry(max_attempts=4, base_delay=0, name="api", registry=registry)
    lock = threading.Lock()
    made: dict[int, int] = {}

    def call(number: int) -> int:
        with lock:
            made[number] = made.get(number, 0) + 1
        if made[number] <= number % 5:
            raise OSError(number)
        return number

    fn = policy(call)

    @policy
    async def call_async(number: int) -> int:
        await asyncio.sleep(0)
        return call(number)

    def sync_side(thread: int) -> list[Any]:
        return [outcome(fn, number) for number in range(1_000 * thread, 1_000 * thread + 200)]

    def outcome(fn: Any, number: int) -> Any:
        try:
            return fn(number)
        except OSError as error:
            return error

    async def async_side() -> list[Any]:
        numbers = range(100_000, 100_100)
        return await asyncio.gather(*map(call_async, numbers), return_exceptions=True)

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(sync_side, thread) for thread in range(8)]
        results = asyncio.run(async_side())
        for each in running:
            results += each.result()
    assert len(results) == len(made) == 1_700
    for number, count in made.items():
        assert count == min(number % 5 + 1, 4)
    failed = [each for each in results if isinstance(each, OSError)]
    assert sorted(each.args[0] for each in failed) == sorted(n for n in made if n % 5 == 4)
    assert all(len(mh.attempts_of(each)) == 4 for each in failed)
    stats = policy.stats()
    assert stats.calls == 1_700
    assert stats.attempts == sum(made.values())
    assert (stats.successes, stats.failures) == (1_360, 340)
    assert (stats.recovered, stats.retries) == (1_020, stats.attempts - 1_700)
    assert stats.ended_by["attempts"] == 340


def test_calls_within_calls(colour: Colour, registry: mh.Registry, slept: Pauses) -> None:
    """A retried function that calls itself has a series for each call."""
    calls: list[int] = []

    def inner(depth: int) -> int:
        calls.append(depth)
        if calls.count(depth) < 3:
            raise OSError(depth)
        return depth

    fn = retry(registry)(colour.paint(inner))

    def outer() -> int:
        return sum(colour.call(fn, depth) for depth in (1, 2))

    assert outer() == 3
    assert calls == [1, 1, 1, 2, 2, 2]


def test_statistics_are_fit_for_json(registry: mh.Registry) -> None:
    """Numbers, text and a dict of numbers."""
    policy = retry(registry)
    policy.call(Flaky(1))
    told = json.loads(json.dumps(registry.stats().to_dict()))
    assert told["retry/api"]["successes"] == 1
    assert told["retry/api"]["ended_by"] == dict.fromkeys(
        ["attempts", "aborted", "deadline", "max_elapsed", "budget", "retry_after", "shutdown"], 0
    )


@pytest.mark.parametrize(
    ("settings", "inner", "longest"),
    [
        ({"max_attempts": 3, "jitter": None}, 2.0, 6.0 + 0.1 + 0.2),
        ({"max_attempts": 1}, 2.0, 2.0),
        ({"max_attempts": 3, "backoff": "linear"}, 0.0, 0.3),
        ({"max_attempts": 4, "backoff": lambda _: 1.0}, 1.0, 4.0 + 15.0),
        ({"max_attempts": 3, "max_elapsed": 5}, 2.0, 6.3),
        ({"max_attempts": 3, "max_elapsed": 1}, 2.0, 3.0),
        ({"max_attempts": None, "max_elapsed": 10}, 2.0, 12.0),
        ({"max_attempts": 3}, math.inf, math.inf),
        ({"max_attempts": 10_001, "base_delay": 5}, 0.0, 50_000.0),
    ],
)
def test_longest(settings: Any, inner: float, longest: float, registry: mh.Registry) -> None:
    """All attempts, and the longest pauses between them."""
    policy = mh.retry(registry=registry, **settings)
    assert policy.longest(inner) == pytest.approx(longest)


def test_describe(registry: mh.Registry) -> None:
    """In a few words."""
    budget = mh.RetryBudget(name="db", registry=registry)
    assert repr(mh.retry(name="a", registry=registry)) == (
        "<retry('a', 3 attempts, exponential 0.1 s to 5 s)>"
    )
    named = mh.retry(
        max_attempts=None,
        max_elapsed=30,
        backoff=lambda _: 1,
        budget=budget,
        name="b",
        registry=registry,
    )
    assert repr(named) == "<retry('b', within 30 s, computed 0.1 s to 5 s, budget 'db')>"
    assert repr(mh.retry(registry=registry)) == "<retry without a name>"
    assert repr(budget) == "<retry_budget('db', 0.2 of calls, 1/s free, 10 s)>"


def test_names(registry: mh.Registry) -> None:
    """A name is shared; a retry that runs calls itself without one stays out of the registry."""
    policy = mh.retry(name="api", registry=registry)
    assert mh.retry(name="api", registry=registry) is policy
    assert registry.retries == {"api": policy}
    with pytest.raises(mh.ConfigurationError, match="max_attempts=3, and here .*max_attempts=4"):
        mh.retry(max_attempts=4, name="api", registry=registry)
    for _ in range(3):
        nameless = mh.retry(registry=registry)
        nameless.call(int)
        assert nameless.name == "retry"
    assert list(registry) == [policy]
