"""What chaos does to calls, in both colours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.observe.logging import log_events
from meshhook.policies.chaos import drivers, switch
from meshhook.runtime import pauses
from meshhook.testing import inject
from meshhook.testing.cancelling import MOMENTS, Stepped
from tests.colours import Colour
from tests.forking import in_a_fork


class Upstream:
    """Something to call, which counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any, **__: Any) -> str:
        self.calls += 1
        return "real"


@pytest.fixture
def upstream() -> Upstream:
    """Make an upstream that works."""
    return Upstream()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses instead of making them."""
    times: list[float] = []

    async def in_task(seconds: float) -> None:
        times.append(seconds)

    def in_thread(seconds: float) -> bool:
        times.append(seconds)
        return True

    monkeypatch.setattr(pauses, "in_task", in_task)
    monkeypatch.setattr(pauses, "in_thread", in_thread)
    return times


@pytest.fixture
def no_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid random numbers."""

    def draw() -> float:
        raise AssertionError("a random number was drawn")

    monkeypatch.setattr(random, "random", draw)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set the kill switch, and read it."""

    def set_to(value: str) -> bool:
        monkeypatch.setenv(switch.VARIABLE, value)
        return switch.read_environment()

    yield set_to
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    switch.read_environment()


def struck(policy: Any, upstream: Upstream, colour: Colour) -> Any:
    """Decorate a function of ``colour`` that calls ``upstream``."""

    def call(*args: Any, **kwargs: Any) -> str:
        return upstream(*args, **kwargs)

    return policy(colour.paint(call))


@pytest.mark.usefixtures("no_dice")
def test_nothing_strikes_by_default(
    colour: Colour, registry: mh.Registry, upstream: Upstream
) -> None:
    """Bare or with arguments, and no random number is drawn."""
    for policy in (mh.chaos, mh.chaos(fault=OSError, registry=registry)):
        fn = struck(policy, upstream, colour)
        assert [colour.call(fn), colour.call(fn, 1, more=2)] == ["real"] * 2
        assert fn.policies[0].stats().active is False


@pytest.mark.usefixtures("no_dice")
@pytest.mark.parametrize("enabled", [False, lambda: False, lambda: 1 / 0])
def test_disabled(colour: Colour, registry: mh.Registry, upstream: Upstream, enabled: Any) -> None:
    """Nothing strikes, no random number is drawn, and a function that fails disables too."""
    fn = struck(mh.chaos(rate=0.5, enabled=enabled, registry=registry), upstream, colour)
    assert colour.call(fn) == "real"
    assert fn.policies[0].stats().struck == 0


def test_enabled_is_asked_for_each_call(
    colour: Colour, registry: mh.Registry, upstream: Upstream
) -> None:
    """So that it can be a flag of the service."""
    flags = iter([True, False, True])
    fn = struck(
        mh.chaos(rate=1, result="wrong", enabled=lambda: next(flags), registry=registry),
        upstream, colour,
    )  # fmt: skip
    assert [colour.call(fn) for _ in range(3)] == ["wrong", "real", "wrong"]


class OwnError(Exception):
    """An error with a field."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


GIVEN = OwnError("down", code=503)


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (None, mh.InjectedFaultError, "chaos 'db' has injected this fault"),
        (mh.InjectedFaultError, mh.InjectedFaultError, "chaos 'db' has injected this fault"),
        (ConnectionError, ConnectionError, ""),
        (GIVEN, OwnError, "down"),
        (lambda: OwnError("made", 1), OwnError, "made"),
    ],
)
def test_faults(
    colour: Colour, registry: mh.Registry, upstream: Upstream, fault: Any, kind: Any, text: str
) -> None:
    """An error, its type or a function: a fresh one for each call, and nothing is called."""
    fn = struck(mh.chaos("db", rate=1.0, fault=fault, registry=registry), upstream, colour)
    raised = []
    for _ in range(2):
        with pytest.raises(kind) as failed:
            colour.call(fn)
        raised.append(failed.value)
    assert raised[0] is not raised[1]
    assert GIVEN not in raised
    assert [str(error) for error in raised] == [text, text]
    assert {type(error) for error in raised} == {kind}
    if fault is GIVEN:
        assert (raised[0].code, GIVEN.__traceback__) == (503, None)
    assert upstream.calls == 0
    assert fn.policies[0].stats().faults == 2


def test_a_fault_keeps_nothing_alive(colour: Colour, registry: mh.Registry) -> None:
    """It is gone when it has been handled, with the arguments of the call, without a collector."""

    class Order:
        pass

    fn = struck(mh.chaos(rate=1, registry=registry), lambda _: None, colour)

    def fail() -> weakref.ref[Order]:
        order = Order()
        with contextlib.suppress(mh.InjectedFaultError):
            fn(order)
        return weakref.ref(order)

    async def fail_async() -> weakref.ref[Order]:
        order = Order()
        with contextlib.suppress(mh.InjectedFaultError):
            await fn(order)
        return weakref.ref(order)

    gc.collect()
    gc.disable()
    try:
        assert colour.call(fail if colour.name == "sync" else fail_async)() is None
    finally:
        gc.enable()


def test_an_injected_fault_is_no_refusal(registry: mh.Registry) -> None:
    """A breaker counts it, a retry retries it."""
    breaker = mh.circuit_breaker("db", registry=registry)
    fn = breaker(mh.chaos(rate=1, registry=registry)(lambda: 1))
    with pytest.raises(mh.InjectedFaultError) as failed:
        fn()
    assert breaker.stats().failures == 1
    assert not isinstance(failed.value, mh.RejectedError)
    again = pickle.loads(pickle.dumps(failed.value))
    assert (str(again), again.name) == (str(failed.value), failed.value.name)
    assert str(mh.InjectedFaultError()) == "an injected fault"


def test_latency(
    colour: Colour, registry: mh.Registry, upstream: Upstream, slept: list[float]
) -> None:
    """The call is made after it; a function gives it for each call."""
    fn = struck(mh.chaos(rate=1, latency="50ms", registry=registry), upstream, colour)
    assert colour.call(fn) == "real"
    waits = iter([0.02, "30ms", 0])
    fn = struck(mh.chaos(rate=1, latency=lambda: next(waits), registry=registry), upstream, colour)
    assert [colour.call(fn) for _ in range(3)] == ["real"] * 3
    assert slept == [0.05, 0.02, 0.03]
    numbers = fn.policies[0].stats()
    assert (numbers.struck, numbers.latencies, numbers.faults) == (2, 2, 0)


def test_a_thread_sleeps_in_pieces(
    registry: mh.Registry, upstream: Upstream, slept: list[float], monkeypatch: Any
) -> None:
    """An interrupt comes between two of them; a shutdown ends the delay."""
    fn = struck(mh.chaos(rate=1, latency=0.25, registry=registry), upstream, Colour("sync"))
    fn()
    assert slept == pytest.approx([0.1, 0.1, 0.05])
    woken: list[float] = []
    monkeypatch.setattr(pauses, "in_thread", lambda seconds: woken.append(seconds))
    assert fn() == "real"
    assert woken == [drivers.PIECE]


def test_latency_ends_with_a_timeout(registry: mh.Registry, upstream: Upstream) -> None:
    """As a slow call does, in a task and in a thread that is interrupted."""
    policy = mh.chaos(rate=1, latency=30, registry=registry)
    quick = mh.timeout(0.02, registry=registry)
    sync_quick = mh.timeout(0.02, mode="interrupt", registry=registry)
    began = time.monotonic()
    with pytest.raises(mh.TimeoutError):
        asyncio.run(quick(struck(policy, upstream, Colour("async")))())
    with pytest.raises(mh.TimeoutError):
        sync_quick(struck(policy, upstream, Colour("sync")))()
    assert time.monotonic() - began < 5
    assert upstream.calls == 0


def test_latency_then_fault(
    colour: Colour, registry: mh.Registry, upstream: Upstream, slept: list[float]
) -> None:
    """A call may wait first and then fail."""
    fn = struck(mh.chaos(rate=1, latency=0.01, fault=OSError, registry=registry), upstream, colour)
    with pytest.raises(OSError):
        colour.call(fn)
    numbers = fn.policies[0].stats()
    assert (slept, numbers.struck, numbers.latencies, numbers.faults) == ([0.01], 1, 1, 1)


@pytest.mark.parametrize("result", [None, 0, "wrong", []])
def test_results(colour: Colour, registry: mh.Registry, upstream: Upstream, result: Any) -> None:
    """They are returned in the place of a call."""
    fn = struck(mh.chaos(rate=1, result=result, registry=registry), upstream, colour)
    assert colour.call(fn) is result
    assert (upstream.calls, fn.policies[0].stats().results) == (0, 1)


def test_a_callable_makes_results(
    colour: Colour, registry: mh.Registry, upstream: Upstream
) -> None:
    """A fresh one for each call."""
    fn = struck(mh.chaos(rate=1, result=dict, registry=registry), upstream, colour)
    first, second = colour.call(fn), colour.call(fn)
    assert (first, second) == ({}, {})
    assert first is not second


def test_a_fault_that_is_none_leaves_the_result(
    colour: Colour, registry: mh.Registry, upstream: Upstream
) -> None:
    """A function may say that there is no fault this time."""
    faults = iter([OSError(), None])
    fn = struck(
        mh.chaos(rate=1, fault=lambda: next(faults), result="wrong", registry=registry),
        upstream, colour,
    )  # fmt: skip
    with pytest.raises(OSError):
        colour.call(fn)
    assert colour.call(fn) == "wrong"


def count_struck(fn: Any, colour: Colour, times: int) -> list[bool]:
    """Tell which of so many calls were struck."""
    return [colour.call(fn) == "wrong" for _ in range(times)]


def test_rates(colour: Colour, registry: mh.Registry, upstream: Upstream) -> None:
    """About so many calls are struck; the same ones with the same seed."""
    runs = []
    for seed in (1, 1, 2):
        policy = mh.chaos(rate=0.2, result="wrong", seed=seed, registry=registry)
        runs.append(count_struck(struck(policy, upstream, colour), colour, 1_000))
    assert runs[0] == runs[1] != runs[2]
    assert all(150 < sum(run) < 250 for run in runs)


def test_seeds_do_not_touch_the_random_numbers_of_others(
    registry: mh.Registry, upstream: Upstream
) -> None:
    """They are numbers of the policy's own."""
    random.seed(7)
    expected = random.random()
    random.seed(7)
    struck(mh.chaos(rate=0.5, seed="x", registry=registry), upstream, Colour("sync"))
    count_struck(
        mh.chaos(rate=0.5, result="wrong", seed=b"x", registry=registry)(lambda: 1),
        Colour("sync"), 10,
    )  # fmt: skip
    assert random.random() == expected


@pytest.mark.usefixtures("no_dice")
@pytest.mark.parametrize(
    ("rate", "strikes"),
    [
        (1, True),
        (1.0, True),
        (7, True),
        ("1", True),
        (0, False),
        (-1, False),
        (float("nan"), False),
        ("much", False),
        (None, False),
    ],
)
def test_a_rate_that_is_a_function(
    colour: Colour, registry: mh.Registry, upstream: Upstream, rate: Any, strikes: bool
) -> None:
    """It is asked for each call; what is no number is none, and 0 and 1 need no random number."""
    fn = struck(mh.chaos(rate=lambda: rate, result="wrong", registry=registry), upstream, colour)
    assert colour.call(fn) == ("wrong" if strikes else "real")


@pytest.mark.parametrize("setting", ["rate", "latency", "fault", "result", "enabled"])
def test_a_function_that_fails(
    colour: Colour, registry: mh.Registry, upstream: Upstream, setting: str, caplog: Any
) -> None:
    """It is logged, and nothing of it strikes."""
    settings: dict[str, Any] = {"rate": 1.0, setting: lambda: 1 / 0}
    if setting in ("rate", "enabled"):
        settings["fault"] = OSError
    fn = struck(mh.chaos("db", registry=registry, **settings), upstream, colour)
    assert colour.call(fn) == "real"
    assert [record.message for record in caplog.records] == [f"{setting} of chaos 'db' failed"]
    assert registry.chaos["db"].stats().struck == 0


@pytest.mark.parametrize("made", [5, KeyboardInterrupt(), OSError])
def test_a_fault_that_is_no_error(
    colour: Colour, registry: mh.Registry, upstream: Upstream, made: Any, caplog: Any
) -> None:
    """A function that makes something else is logged."""
    fn = struck(mh.chaos("db", rate=1, fault=lambda: made, registry=registry), upstream, colour)
    assert colour.call(fn) == "real"
    assert "fault of chaos 'db' failed" in caplog.text


# At run time.


def test_inject(colour: Colour, registry: mh.Registry, upstream: Upstream) -> None:
    """All calls of the block are struck, also where nothing strikes by the settings."""
    policy = mh.chaos("db", enabled=False, registry=registry)
    fn = struck(policy, upstream, colour)
    with policy.inject(fault=ConnectionError("down")):
        assert policy.stats().active
        assert policy.stats().injections == 1
        with pytest.raises(ConnectionError):
            colour.call(fn)
    assert colour.call(fn) == "real"
    assert policy.stats().active is False


def test_inject_by_name(colour: Colour, registry: mh.Registry, upstream: Upstream) -> None:
    """The testing kit finds the policy; without a name of its own it has that of the function."""
    fn = struck(mh.chaos("db", registry=registry), upstream, colour)
    own = struck(mh.chaos(registry=registry), upstream, colour)
    with inject("db", result="wrong", registry=registry) as found:
        assert found is fn.policies[0]
        assert (colour.call(fn), colour.call(own)) == ("wrong", "real")
    with inject(own.policies[0].name, registry=registry), pytest.raises(mh.InjectedFaultError):
        colour.call(own)
    with inject(own.policies[0], result="wrong"):
        assert colour.call(own) == "wrong"
    with pytest.raises(KeyError, match=r"no chaos is named 'x'; the registry has 'db', "):
        inject("x", registry=registry).__enter__()
    with pytest.raises(KeyError, match="none at all"):
        inject("x", registry=mh.Registry()).__enter__()


def test_inject_around_a_test(registry: mh.Registry, upstream: Upstream) -> None:
    """It decorates functions too, async ones as well."""
    fn = struck(mh.chaos("db", registry=registry), upstream, Colour("async"))

    @inject("db", result="wrong", registry=registry)
    async def scenario() -> Any:
        return await fn()

    assert asyncio.run(scenario()) == "wrong"
    assert asyncio.run(fn()) == "real"


def test_injections_nest(
    colour: Colour, registry: mh.Registry, upstream: Upstream, slept: list[float]
) -> None:
    """The innermost is asked first; delays add up, and the first that ends the call ends it."""
    policy = mh.chaos("db", rate=1, latency=0.01, registry=registry)
    fn = struck(policy, upstream, colour)
    with policy.inject(latency=0.02):
        assert colour.call(fn) == "real"
        with policy.inject(result="inner", latency=0.04), policy.inject(rate=0):
            assert colour.call(fn) == "inner"
        assert colour.call(fn) == "real"
    assert slept == pytest.approx([0.03, 0.04, 0.03])


def test_blocks_may_overlap(registry: mh.Registry) -> None:
    """They end in any order."""
    policy = mh.chaos("db", registry=registry)
    fn = policy(lambda: "real")
    first, second = policy.inject(result=1), policy.inject(result=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert fn() == 2
    second.__exit__(None, None, None)
    assert fn() == "real"


def test_a_pattern_has_nothing_to_inject_into(registry: mh.Registry) -> None:
    """Each function that it decorated has a policy of its own."""
    policy = mh.chaos(registry=registry)
    policy(lambda: 1)
    with pytest.raises(mh.ConfigurationError, match="has no name"):
        policy.inject().__enter__()


# The kill switch.


@pytest.mark.parametrize(
    ("value", "strikes"),
    [("off", False), ("OFF ", False), ("0", False), ("", True), ("on", True)],
)
def test_the_kill_switch(
    colour: Colour, registry: mh.Registry, upstream: Upstream, environment: Any, value: str,
    strikes: bool, caplog: Any,
) -> None:  # fmt: skip
    """It stops settings and injections alike, and says so to who injects."""
    fn = struck(mh.chaos("db", rate=1, result="wrong", registry=registry), upstream, colour)
    assert environment(value) is strikes
    assert colour.call(fn) == ("wrong" if strikes else "real")
    policy = registry.chaos["db"]
    with policy.inject(result="injected"):
        assert colour.call(fn) == ("injected" if strikes else "real")
        assert policy.stats().active is strikes
    assert (caplog.messages == []) is strikes


@pytest.mark.usefixtures("no_dice")
def test_the_kill_switch_draws_no_random_number(
    colour: Colour, registry: mh.Registry, upstream: Upstream, environment: Any
) -> None:
    """Nothing at all is asked."""
    fn = struck(mh.chaos(rate=0.5, registry=registry), upstream, colour)
    environment("off")
    assert colour.call(fn) == "real"


def test_the_kill_switch_is_read_at_the_start() -> None:
    """A process that is started with it has no chaos."""
    code = "import meshhook as mh; print(mh.chaos('db', rate=1, result=2).call(lambda: 1))"
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, switch.VARIABLE: value},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for value in ("off", "on")
    ]  # fmt: skip
    assert said == ["1", "2"]


# What is told.


def test_events(
    colour: Colour, registry: mh.Registry, upstream: Upstream, slept: list[float]
) -> None:
    """One for a delay, one for what ended the call; nothing of what was injected."""
    heard: list[Any] = []
    policy = mh.chaos("db", registry=registry)
    fn = struck(policy, upstream, colour)
    with mh.subscribe(heard.append):
        with policy.inject(latency=0.01), policy.inject(rate=0):
            colour.call(fn)
        with policy.inject(latency=0.01, result=2):
            colour.call(fn)
        with policy.inject(), pytest.raises(mh.InjectedFaultError):
            colour.call(fn)
    assert heard == [
        events.ChaosInjected(policy="chaos", name="db", what=what)
        for what in ("latency", "latency", "result", "fault")
    ]


def test_log_records(caplog: pytest.LogCaptureFixture, registry: mh.Registry) -> None:
    """One at DEBUG for each strike."""
    caplog.set_level("DEBUG", "meshhook")
    with log_events():
        mh.chaos("db", rate=1, result=2, registry=registry).call(print)
    (record,) = caplog.records
    assert record.getMessage() == "chaos 'db' struck a call on purpose: result"
    assert record.event == "chaos_injected"  # type: ignore[attr-defined]


def test_statistics(registry: mh.Registry) -> None:
    """Frozen, and fit for JSON."""
    mh.chaos("db", rate=1, result=2, registry=registry).call(print)
    assert json.loads(json.dumps(registry.stats()["db"].to_dict())) == {
        "policy": "chaos", "name": "db", "active": True, "injections": 0, "struck": 1,
        "latencies": 0, "faults": 0, "results": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said", "longest"),
    [
        ({}, "idle", 3.0),
        ({"rate": 0.25, "latency": 2}, "rate 0.25", 5.0),
        ({"rate": 0.25, "latency": 2, "enabled": False}, "idle", 3.0),
        ({"latency": 2}, "idle", 3.0),
        ({"rate": lambda: 0.5, "latency": lambda: 2}, "at a rate of its own", float("inf")),
        ({"rate": 1, "fault": OSError}, "rate 1", 3.0),
    ],
)
def test_describe(registry: mh.Registry, settings: Any, said: str, longest: float) -> None:
    """How often it strikes, and for how long."""
    policy = mh.chaos("db", registry=registry, **settings)
    assert policy.describe() == f"chaos('db', {said})"
    assert policy.longest(3.0) == longest


class NeedyError(Exception):
    """An error that cannot be copied."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


class OddError(Exception):
    """An error whose copy is something else."""

    def __reduce__(self) -> Any:
        return ValueError, ()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rate": 1.5}, "rate must be a share from 0 to 1"),
    ({"rate": -0.1}, "rate must be"),
    ({"rate": float("nan")}, "rate must be"),
    ({"rate": True}, "rate must be"),
    ({"rate": "0.5"}, "rate must be"),
    ({"rate": lambda x: x}, "rate must be a function of"),
    ({"fault": 5}, "fault must be an error"),
    ({"fault": dict}, "fault must be an error"),
    ({"fault": KeyboardInterrupt}, "fault must be an error"),
    ({"fault": asyncio.CancelledError()}, "fault must be an error"),
    ({"fault": lambda x: x}, "fault must be a function of"),
    ({"fault": NeedyError}, r"cannot be made anew .*give a function"),
    ({"fault": NeedyError(1, 2)}, r"cannot be made anew .*give a function"),
    ({"fault": OddError()}, r"cannot be made anew"),
    ({"fault": OSError, "result": 1}, "exclude each other"),
    ({"fault": OSError(), "result": 1}, "exclude each other"),
    ({"latency": -1}, "latency must be a duration"),
    ({"latency": lambda x: x}, "latency must be a function of"),
    ({"result": lambda x: x}, "result must be a function of"),
    ({"enabled": "yes"}, "enabled must be True, False"),
    ({"enabled": lambda x: x}, "enabled must be a function of"),
    ({"seed": 1.5}, "seed must be"),
    ({"seed": True}, "seed must be"),
    ({"name": ""}, "name must be"),
    ({"registry": 5}, "registry must be"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.chaos(**settings)


def test_sharing(registry: mh.Registry) -> None:
    """One name, one policy; other settings are an error."""
    policy = mh.chaos("db", rate=0.5, registry=registry)
    assert mh.chaos("db", rate=0.5, registry=registry) is policy
    assert registry.chaos == {"db": policy}
    with pytest.raises(mh.ConfigurationError, match=r"it has rate=0\.5, and here it gets rate=0"):
        mh.chaos("db", registry=registry)


def test_a_sync_function_that_returns_an_awaitable(registry: mh.Registry) -> None:
    """It raises as everywhere."""

    async def late() -> None: ...

    with pytest.raises(TypeError, match="returned an awaitable"):
        mh.chaos(registry=registry)(lambda: late())()


def test_acall(registry: mh.Registry) -> None:
    """Without a decorator."""

    async def late() -> str:
        return "real"

    policy = mh.chaos("db", registry=registry)
    assert asyncio.run(policy.acall(late)) == "real"


@pytest.mark.parametrize("moment", MOMENTS)
def test_cancelled_at_every_await(registry: mh.Registry, moment: str) -> None:
    """In the delay and in the call: nothing stays behind."""

    @mh.chaos("db", rate=1, latency=0.001, registry=registry)
    async def fn() -> str:
        await asyncio.sleep(0)
        return "real"

    async def main() -> int:
        for point in range(1, 10):
            try:
                await Stepped(fn(), [point], moment).run()
            except asyncio.CancelledError:
                continue
            return point
        raise AssertionError

    assert asyncio.run(main()) == 3
    assert registry.chaos["db"].stats().latencies == 3


def test_threads_and_tasks_together(registry: mh.Registry) -> None:
    """8 threads and 100 tasks, and injections that come and go: every strike is counted once."""
    policy = mh.chaos("db", rate=0.5, result="wrong", registry=registry)
    seen: list[str] = []

    @policy
    def fn() -> str:
        return "real"

    @policy
    async def fn_async() -> str:
        await asyncio.sleep(0)
        return "real"

    def in_thread() -> None:
        for _ in range(200):
            with policy.inject(result="injected", rate=0.5):
                seen.extend(fn() for _ in range(5))

    async def in_tasks() -> None:
        async def work() -> None:
            seen.extend([await fn_async() for _ in range(30)])

        await asyncio.gather(*(work() for _ in range(100)))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(in_tasks())
    for thread in threads:
        thread.join()
    numbers = policy.stats()
    assert len(seen) == 8 * 1_000 + 100 * 30
    assert numbers.results == numbers.struck == sum(each != "real" for each in seen)
    assert 0 < numbers.results < len(seen)
    assert numbers.injections == 0


def test_a_forked_child_has_its_own_lock(registry: mh.Registry) -> None:
    """A thread of the parent that was injecting does not block it."""
    policy = mh.chaos("db", registry=registry)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with policy._lock:
            held.set()
            go.wait(30)

    def inject_and_call() -> bool:
        with policy.inject(result="injected"):
            return policy.call(str) == "injected"

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        assert in_a_fork(inject_and_call) == 0
    finally:
        go.set()
        thread.join()
