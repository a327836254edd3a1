"""What a timeout does around a function, in both colours and in every mode."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.deadline import current
from meshhook.testing import record_events
from tests.colours import Colour

SYNC_MODES = ("auto", "thread", "signal", "interrupt")
"""Those that stop a sync function within this process."""
LIMIT = 0.02
both_colours_in_every_mode = pytest.mark.parametrize(
    ("colour", "mode"),
    [
        *(("sync", mode) for mode in (*SYNC_MODES, "cooperative")),
        ("async", "auto"),
        ("async", "cooperative"),
    ],
    indirect=["colour"],
)


class Work:
    """Something that goes on until it is told to end, or is interrupted."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.ended = threading.Event()
        self.result: Any = "done"

    def __call__(self) -> Any:
        self.started.set()
        try:
            while not self.release.is_set():
                time.sleep(0.001)
            return self.result
        finally:
            self.ended.set()

    async def wait(self) -> Any:
        """Go on in a task."""
        self.started.set()
        try:
            while not self.release.is_set():
                await asyncio.sleep(0.001)
            return self.result
        finally:
            self.ended.set()


@pytest.fixture
def work() -> Iterator[Work]:
    """Make work that never ends by itself; it is released after the test."""
    made = Work()
    yield made
    made.release.set()


@pytest.fixture(params=["async", *SYNC_MODES])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call work under a timeout: in a task, or in one of the sync modes."""
    mode = request.param

    def call(work: Work, seconds: Any = LIMIT, **settings: Any) -> Any:
        if mode == "async":

            async def main() -> Any:
                return await mh.timeout(seconds, **settings).acall(work.wait)

            return asyncio.run(main())
        return mh.timeout(seconds, mode=mode, **settings).call(work)

    return call


def test_a_call_that_ends_in_time_passes(run: Callable[..., Any], work: Work) -> None:
    """Results are returned as they are, falsy ones too."""
    work.release.set()
    for result in (1, None, "", [], {"a": 1}):
        work.result = result
        assert run(work, 5.0) is result


def test_a_call_that_takes_too_long_is_stopped(run: Callable[..., Any], work: Work) -> None:
    """The caller gets a TimeoutError of ours, a builtin one too, soon after the limit."""
    began = time.perf_counter()
    with pytest.raises(mh.TimeoutError) as caught:
        run(work)
    taken = time.perf_counter() - began
    assert isinstance(caught.value, builtins.TimeoutError)
    assert caught.value.timeout == LIMIT
    assert taken >= LIMIT
    assert taken < 1.0


def test_the_error_tells_what_took_how_long(run: Callable[..., Any], work: Work) -> None:
    """The message names the policy, what was called and the limit."""
    with pytest.raises(mh.TimeoutError, match=r"timeout 'db': .*Work.* did not end within 0\.02 s"):
        run(work, name="db", registry=mh.Registry())


def test_the_message_can_be_replaced(run: Callable[..., Any], work: Work) -> None:
    """``message=`` is the whole text."""
    with pytest.raises(mh.TimeoutError) as caught:
        run(work, message="too slow")
    assert str(caught.value) == "too slow"


def test_the_message_of_a_call_that_was_not_started_can_be_replaced(colour: Colour) -> None:
    """It is the text of that error as well."""
    fn = mh.timeout(5.0, message="too slow")(colour.paint(lambda: None))
    with mh.deadline(0), pytest.raises(mh.NoTimeLeftError, match="^too slow$"):
        colour.call(fn)


def test_an_exception_of_the_function_keeps_its_traceback(
    run: Callable[..., Any], work: Work
) -> None:
    """It is the same object, and shows where it was raised."""
    error = ValueError("no")

    class Failing(Work):
        def __call__(self) -> Any:
            raise error

        async def wait(self) -> Any:
            raise error

    with pytest.raises(ValueError, match="no") as caught:
        run(Failing(), 5.0)
    assert caught.value is error
    assert caught.traceback[-1].name in {"__call__", "wait"}


def test_an_earlier_deadline_from_outside_counts(run: Callable[..., Any], work: Work) -> None:
    """The limit in force is what is left of it, and the message says so."""
    with (
        pytest.raises(
            mh.TimeoutError, match="all that an outer deadline left of its 5 s"
        ) as caught,
        mh.deadline(LIMIT),
    ):
        run(work, 5.0)
    assert caught.value.timeout is not None
    assert 0 < caught.value.timeout <= LIMIT


def test_a_later_deadline_from_outside_does_not(run: Callable[..., Any], work: Work) -> None:
    """The own limit is the one that ran out."""
    with pytest.raises(mh.TimeoutError) as caught, mh.deadline(5.0):
        run(work)
    assert caught.value.timeout == LIMIT


def test_a_deadline_that_has_passed_starts_nothing(
    run: Callable[..., Any], work: Work, frozen: Any
) -> None:
    """The function is not even called."""
    with mh.deadline(1.0):
        frozen.tick(1.0)
        with pytest.raises(mh.TimeoutError, match="was not started") as caught:
            run(work, 5.0)
    assert caught.value.timeout == 0.0
    assert not work.started.is_set()


@both_colours_in_every_mode
def test_the_limit_is_the_deadline_inside(colour: Colour, mode: Any, frozen: Any) -> None:
    """``remaining()`` tells the function what is left, and outside nothing has changed."""

    def remaining() -> list[float | None]:
        before = mh.remaining()
        frozen.tick(0.5)
        return [before, mh.remaining()]

    fn = mh.timeout(2.0, mode=mode)(colour.paint(remaining))
    assert colour.call(fn) == [pytest.approx(2.0), pytest.approx(1.5)]
    assert mh.remaining() is None


@both_colours_in_every_mode
def test_the_deadline_outside_is_restored_after_an_error(colour: Colour, mode: Any) -> None:
    """An outer deadline is in force again after a call that failed."""

    def fail() -> None:
        raise ValueError

    fn = mh.timeout(2.0, mode=mode)(colour.paint(fail))
    with mh.deadline(9.0):
        before = current.get()
        with pytest.raises(ValueError):
            colour.call(fn)
        assert current.get() == before


def test_nested_limits_take_the_earliest(colour: Colour) -> None:
    """An inner limit that is longer leaves the outer deadline as it is."""
    inner = mh.timeout(60.0)(colour.paint(mh.remaining))
    if colour.name == "sync":
        outer = mh.timeout(1.0, mode="cooperative")(lambda: inner())
    else:

        async def call_inner() -> Any:
            return await inner()

        outer = mh.timeout(1.0, mode="cooperative")(call_inner)
    assert 0.5 < colour.call(outer) <= 1.0


def test_cooperative_stops_nothing(colour: Colour, frozen: Any) -> None:
    """A result that comes late is returned; the function may look at the clock itself."""
    policy = mh.timeout(1.0, mode="cooperative")

    def late() -> str:
        frozen.tick(2.0)
        return "late"

    def careful() -> None:
        frozen.tick(2.0)
        mh.check_deadline()

    assert colour.call(policy(colour.paint(late))) == "late"
    fn = policy(colour.paint(careful))
    with pytest.raises(mh.TimeoutError, match="the deadline passed 1 s ago"):
        colour.call(fn)
    assert fn.policies[0].stats().timed_out == 1  # type: ignore[attr-defined]


def test_a_cooperative_block_sees_to_its_time_itself(frozen: Any) -> None:
    """The same for a block: it has timed out if it says so, and its limit is the one in force."""
    policy = mh.timeout(10.0, mode="cooperative")
    told: list[Any] = []
    with (
        mh.subscribe(told.append, mh.events.CallTimedOut),
        mh.deadline(2.0),
        pytest.raises(mh.TimeoutError, match="the deadline passed 1 s ago"),
        policy,
    ):
        frozen.tick(3.0)
        mh.check_deadline()
    with pytest.raises(ValueError), policy:
        raise ValueError
    assert (policy.stats().timed_out, policy.stats().failures) == (1, 1)
    assert [event.timeout for event in told] == [2.0]


def test_statistics_add_up(run: Callable[..., Any], registry: mh.Registry) -> None:
    """Calls are successes, failures, ignored and timed out ones; all of it goes into JSON."""
    released = Work()
    released.release.set()

    class Failing(Work):
        def __call__(self) -> Any:
            raise ValueError

        async def wait(self) -> Any:
            raise ValueError

    settings = {"name": "db", "registry": registry}
    hanging = Work()
    run(released, **settings)
    with pytest.raises(ValueError):
        run(Failing(), **settings)
    with pytest.raises(mh.TimeoutError):
        run(hanging, **settings)
    hanging.release.set()
    stats = registry.stats()["db"]
    told = json.loads(json.dumps(stats.to_dict()))
    assert told["calls"] == 3
    assert (told["successes"], told["failures"], told["timed_out"]) == (1, 1, 1)
    assert (told["ignored"], told["rejected"]) == (0, 0)
    assert told["seconds"] == LIMIT


def test_events_are_told(run: Callable[..., Any], work: Work) -> None:
    """A call that ran out of time is told to whoever listens."""
    with record_events() as told, pytest.raises(mh.TimeoutError):
        run(work, name="db", registry=mh.Registry())
    told.assert_one(events.CallTimedOut, policy="timeout", name="db", timeout=LIMIT)


def test_bare_and_called_and_as_an_object(colour: Colour) -> None:
    """The three ways to use it give the same."""

    def two() -> int:
        return 2

    painted = colour.paint(two)
    assert colour.call(mh.timeout(painted)) == 2
    assert colour.call(mh.timeout()(painted)) == 2
    assert colour.call(mh.timeout("250ms")(painted)) == 2
    assert colour.call(mh.timeout(timedelta(seconds=2))(painted)) == 2
    policy = mh.timeout(2)
    assert colour.call(policy.call if colour.name == "sync" else policy.acall, painted) == 2


def test_a_bare_timeout_has_thirty_seconds() -> None:
    """The defaults are those that are documented."""
    policy = mh.timeout(lambda: None).policies[0]  # type: ignore[attr-defined]
    settings = policy.settings
    assert (settings.seconds, settings.mode, settings.max_abandoned) == (30.0, "auto", 32)


def test_arguments_go_through(colour: Colour) -> None:
    """Positional and keyword ones, in every mode."""

    def take(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    modes = ("auto", "cooperative") if colour.name == "async" else (*SYNC_MODES, "cooperative")
    for mode in modes:
        fn = mh.timeout(5.0, mode=mode)(colour.paint(take))
        assert colour.call(fn, 1, a=2) == ((1,), {"a": 2})
        assert colour.call(fn) == ((), {})


def test_a_shared_name_shares_the_policy(registry: mh.Registry) -> None:
    """Same name, same settings, same counters; other settings are an error."""
    first = mh.timeout(1.0, name="db", registry=registry)
    assert mh.timeout("1s", name="db", registry=registry) is first
    assert registry.timeouts["db"] is first
    with pytest.raises(mh.ConfigurationError, match="exists with other settings"):
        mh.timeout(2.0, name="db", registry=registry)


def test_it_describes_itself(registry: mh.Registry) -> None:
    """Kind, name, limit and mode."""
    policy = mh.timeout(2.5, mode="thread", name="db", registry=registry)
    assert policy.describe() == "timeout('db', 2.5 s, thread)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, r"seconds must be a duration of more than 0 seconds.*got 0"),
        ({"seconds": -1.5}, r"seconds must be .*got -1\.5"),
        ({"seconds": float("nan")}, r"seconds must be .*got nan"),
        ({"seconds": float("inf")}, r"seconds must be .*got inf"),
        ({"seconds": "soon"}, r"seconds must be .*'250ms' \(.*, got 'soon'"),
        ({"seconds": None}, r"seconds must be .*got None"),
        ({"mode": "fork"}, r"mode must be one of 'auto', 'thread',.*got 'fork'"),
        ({"message": ""}, r"message must be text that is not empty, or None, got ''"),
        ({"message": 3}, r"message must be text"),
        ({"max_abandoned": 0}, r"max_abandoned must be a whole number of 1 or more, got 0"),
        ({"name": ""}, r"name must be"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    """The error names argument, value and fix, where the setting is written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.timeout(**settings)


@pytest.mark.parametrize("mode", ["thread", "signal", "interrupt", "process"])
def test_async_functions_have_no_such_mode(mode: Any) -> None:
    """A mode for sync functions is refused when an async one is decorated."""

    async def fn() -> None: ...

    with pytest.raises(
        mh.ConfigurationError, match=f"mode='{mode}' cannot stop the async function"
    ):
        mh.timeout(1.0, mode=mode)(fn)


@pytest.mark.parametrize("mode", [*SYNC_MODES, "cooperative"])
def test_a_sync_function_must_not_return_an_awaitable(mode: Any) -> None:
    """Nothing of what it does would be limited."""

    async def inner() -> None: ...

    fn = mh.timeout(5.0, mode=mode)(lambda: inner())
    with pytest.raises(TypeError, match="returned an awaitable"):
        fn()
    assert fn.policies[0].stats().failures == 1


@pytest.mark.parametrize("mode", [*SYNC_MODES, "cooperative"])
def test_leaving_exceptions_pass_and_count_as_ignored(mode: Any) -> None:
    """SystemExit and KeyboardInterrupt reach the caller, and are no failures."""

    def leave(kind: type[BaseException]) -> None:
        raise kind

    fn = mh.timeout(5.0, mode=mode)(leave)
    for kind in (SystemExit, KeyboardInterrupt):
        with pytest.raises(kind):
            fn(kind)
    stats = fn.policies[0].stats()
    assert (stats.calls, stats.ignored, stats.failures) == (2, 2, 0)


@pytest.mark.parametrize(
    ("mode", "each"), [("cooperative", 2_000), ("thread", 100), ("interrupt", 2_000), ("auto", 100)]
)
def test_counters_lose_nothing_under_eight_threads(mode: Any, each: int) -> None:
    """Every call of every thread is counted once."""
    fail = mh.timeout(30.0, mode=mode)(lambda number: 1 // (number % 4))

    def hammer() -> None:
        for number in range(each):
            with contextlib.suppress(ZeroDivisionError):
                fail(number)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = fail.policies[0].stats()  # type: ignore[attr-defined]
    assert (stats.calls, stats.successes, stats.failures) == (8 * each, 6 * each, 2 * each)


def test_a_context_variable_reaches_the_function(run: Callable[..., Any]) -> None:
    """What the caller has set is there inside, whatever runs it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Looking(Work):
        def __call__(self) -> Any:
            return variable.get()

        async def wait(self) -> Any:
            return variable.get()

    token = variable.set("set")
    try:
        assert run(Looking(), 5.0) == "set"
    finally:
        variable.reset(token)
