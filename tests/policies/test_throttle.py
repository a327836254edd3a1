"""What a throttle does around a function, in both colours."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import random
import threading
from typing import Any

import pytest

import meshhook as mh
from meshhook import events, guard
from meshhook.testing.cancelling import MOMENTS, Stepped
from tests.colours import Colour
from tests.forking import in_a_fork


class Service:
    """Something to call: works, or raises what it was told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None

    def __call__(self, *_: Any, **__: Any) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "ok"


@pytest.fixture
def service() -> Service:
    """Make a service that works."""
    return Service()


@pytest.fixture(params=["straight", "locked"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with a GIL, and as without one."""
    if request.param == "locked":
        monkeypatch.setattr(guard, "GIL_ENABLED", False)
    return str(request.param)


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the next random number be the one in here; without one, none may be drawn."""
    numbers: list[float] = []

    def draw() -> float:
        assert numbers, "a random number was drawn"
        return numbers[0]

    monkeypatch.setattr(random, "random", draw)
    return numbers


def throttled(policy: Any, service: Service, colour: Colour) -> Any:
    """Decorate a function of ``colour`` that calls ``service``."""

    def call(*args: Any, **kwargs: Any) -> str:
        return service(*args, **kwargs)

    return policy(colour.paint(call))


def call(fn: Any, colour: Colour, times: int = 1) -> str:
    """Call ``fn`` so many times; return how each call ended: ok, failed or dropped."""
    ended = ""
    for _ in range(times):
        try:
            colour.call(fn)
            ended += "o"
        except mh.ThrottledError:
            ended += "d"
        except (Exception, KeyboardInterrupt):
            ended += "f"
    return ended


@pytest.mark.usefixtures("dice", "path")
def test_a_service_that_works_is_left_alone(
    colour: Colour, registry: mh.Registry, service: Service
) -> None:
    """Everything is sent, and no random number is drawn."""
    for policy in (mh.throttle, mh.throttle(3, "1m", registry=registry)):
        fn = throttled(policy, service, colour)
        assert colour.call(fn, 1, more=2) == "ok"
        assert call(fn, colour, 50) == "o" * 50
        numbers = fn.policies[0].stats()
        assert (numbers.accepted, numbers.window_requests, numbers.chance) == (51, 51, 0.0)


@pytest.mark.usefixtures("path")
def test_drops_by_the_formula(
    colour: Colour, registry: mh.Registry, service: Service, dice: list[float]
) -> None:
    """Requests count from their beginning on, dropped ones included."""
    fn = throttled(mh.throttle(registry=registry), service, colour)
    service.error = ConnectionError("down")
    assert call(fn, colour, 9) == "f" * 9
    dice.append(0.95)
    assert call(fn, colour) == "f"
    dice[0] = 0.85
    assert call(fn, colour, 3) == "ddd"
    numbers = fn.policies[0].stats()
    assert (numbers.window_requests, numbers.window_accepted, numbers.chance) == (13, 0, 0.9)
    assert (numbers.failures, numbers.rejected, numbers.calls) == (10, 3, 10)
    assert service.calls == 10


@pytest.mark.usefixtures("path")
def test_the_chance_is_of_the_books(
    colour: Colour, registry: mh.Registry, service: Service, dice: list[float]
) -> None:
    """(requests - k * accepted) / (requests + 1), with the request that asks among them."""
    fn = throttled(mh.throttle(k=1.5, registry=registry), service, colour)
    call(fn, colour, 20)
    service.error = ConnectionError("down")
    assert call(fn, colour, 11) == "f" * 11  # 11 > 0.5 * 20: from now on
    dice.append((32 - 30) / 33)
    assert call(fn, colour) == "f"
    dice[0] = (33 - 30) / 34 - 1e-9
    with pytest.raises(mh.ThrottledError) as dropped:
        colour.call(fn)
    assert dropped.value.chance == (33 - 30) / 34


@pytest.mark.usefixtures("path")
def test_dropped_calls_weigh_until_they_leave_the_window(
    colour: Colour, registry: mh.Registry, service: Service, dice: list[float]
) -> None:
    """More good answers than bad ones are not enough while most requests were dropped."""
    fn = throttled(mh.throttle(registry=registry), service, colour)
    service.error = ConnectionError("down")
    dice.append(1.0)
    call(fn, colour, 10)
    dice[0] = 0.0
    assert call(fn, colour, 30) == "d" * 30
    service.error = None
    dice[0] = 1.0
    assert call(fn, colour, 15) == "o" * 15
    assert fn.policies[0].stats().chance == (55 - 30) / 56


@pytest.mark.usefixtures("path")
def test_it_recovers(
    colour: Colour, registry: mh.Registry, service: Service, dice: list[float], frozen: Any
) -> None:
    """With what is accepted, and with what leaves the window."""
    fn = throttled(mh.throttle(window=100, max_rejection=0.5, registry=registry), service, colour)
    service.error = ConnectionError("down")
    dice.append(1.0)
    call(fn, colour, 20)
    service.error = None
    dice[0] = 0.6
    assert call(fn, colour, 20) == "o" * 20
    dice.clear()  # half of it was accepted: nothing to draw
    assert call(fn, colour, 10) == "o" * 10
    service.error = ConnectionError("down")
    dice.append(0.0)
    call(fn, colour, 11)
    assert call(fn, colour, 5) == "d" * 5
    frozen.tick(100)
    dice.clear()
    assert call(fn, colour, 9) == "f" * 9
    assert fn.policies[0].stats().window_requests == 9


@pytest.mark.usefixtures("path")
def test_the_settings_count(
    colour: Colour, registry: mh.Registry, service: Service, dice: list[float]
) -> None:
    """Few requests say nothing, and so many are always sent."""
    policy = mh.throttle(minimum_calls=3, max_rejection=0.25, registry=registry)
    fn = throttled(policy, service, colour)
    service.error = ConnectionError("down")
    assert call(fn, colour, 2) == "ff"
    dice.append(0.25)
    assert call(fn, colour, 5) == "f" * 5
    dice[0] = 0.24
    assert call(fn, colour) == "d"


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("settings", "error", "counts_as"),
    [
        ({}, ConnectionError(), "failures"),
        ({"on": ConnectionError}, ValueError(), "accepted"),
        ({"on": (KeyError, ConnectionError)}, ConnectionResetError(), "failures"),
        ({"on": lambda error: "busy" in str(error)}, OSError("busy"), "failures"),
        ({"on": lambda error: "busy" in str(error)}, OSError("lost"), "accepted"),
        ({}, mh.TimeoutError("late"), "failures"),
        ({}, mh.CircuitOpenError(name="db"), "ignored"),
        ({}, ExceptionGroup("all", [mh.CircuitOpenError()]), "ignored"),
        ({}, mh.InProgressError("other"), "ignored"),
        ({"on": mh.CircuitOpenError}, mh.CircuitOpenError(name="db"), "failures"),
        ({"on": BaseException}, KeyboardInterrupt(), "ignored"),
    ],
)
def test_what_counts(
    registry: mh.Registry, service: Service, settings: Any, error: Any, counts_as: str
) -> None:
    """Not accepted, accepted, or nothing at all: such a request has never been."""
    for colour in (Colour("sync"), Colour("async")):
        policy = mh.throttle(registry=registry, **settings)
        fn = throttled(policy, service, colour)
        service.error = error
        if isinstance(error, KeyboardInterrupt) and repr(colour) == "async":
            with pytest.raises(KeyboardInterrupt):
                fn().send(None)
        else:
            assert call(fn, colour) == "f"
        numbers = fn.policies[0].stats()
        assert {"failures", "accepted", "ignored"} == {
            name for name in ("failures", "accepted", "ignored")
            if getattr(numbers, name) == (name == counts_as)
        }  # fmt: skip
        assert numbers.calls == 1
        assert numbers.window_requests == (counts_as != "ignored")
        assert numbers.window_accepted == (counts_as == "accepted")
        colour.close()


def test_a_predicate_that_fails(
    colour: Colour, registry: mh.Registry, service: Service, caplog: Any
) -> None:
    """It is logged, and the call counts as not accepted."""
    fn = throttled(mh.throttle(on=lambda _: 1 / 0, registry=registry), service, colour)
    service.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        colour.call(fn)
    assert fn.policies[0].stats().failures == 1
    assert "on of throttle" in caplog.text


@pytest.mark.usefixtures("path")
def test_calls_under_way_prove_nothing(registry: mh.Registry, dice: list[float]) -> None:
    """A hundred at once are no overload; they weigh as soon as answers are bad."""

    @mh.throttle(registry=registry)
    async def fn(gate: asyncio.Event | None = None, error: Exception | None = None) -> None:
        if gate is not None:
            await gate.wait()
        if error is not None:
            raise error

    async def main() -> None:
        gate = asyncio.Event()
        held = [asyncio.create_task(fn(gate)) for _ in range(100)]
        await asyncio.sleep(0)
        await fn()
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await fn(None, ConnectionError())
        dice.append(0.89)
        with pytest.raises(mh.ThrottledError):
            await fn()
        gate.set()
        await asyncio.gather(*held)
        dice.clear()
        await fn()

    asyncio.run(main())


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("moment", MOMENTS)
def test_cancelled_at_every_await(registry: mh.Registry, moment: str) -> None:
    """A request that was cancelled has never been."""

    @mh.throttle(name="db", registry=registry)
    async def fn() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "ok"

    async def main() -> int:
        for point in range(1, 10):
            try:
                await Stepped(fn(), [point], moment).run()
            except asyncio.CancelledError:
                continue
            return point
        raise AssertionError

    assert asyncio.run(main()) == 3
    numbers = registry.throttles["db"].stats()
    assert (numbers.ignored, numbers.accepted, numbers.window_requests) == (2, 1, 1)


def test_an_overloaded_service(registry: mh.Registry, frozen: Any) -> None:
    """It takes 10 calls a second of 100: it gets about 20, and all of them when it is well."""
    left = 0

    @mh.throttle(max_rejection=0.98, seed=1, registry=registry)
    def fn() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("busy")

    def second(capacity: int) -> int:
        nonlocal left
        left = capacity
        frozen.tick(1)
        sent = 0
        for _ in range(100):
            try:
                fn()
                sent += 1
            except mh.ThrottledError:
                pass
            except ConnectionError:
                sent += 1
        return sent

    sent = [second(10) for _ in range(240)]
    assert 18 < sum(sent[120:]) / 120 < 22
    well = [second(1_000) for _ in range(240)]
    assert well[-1] == 100


def test_seeds(registry: mh.Registry) -> None:
    """The same calls are dropped in each run."""
    runs = []
    for seed in (1, 1, 2):
        fn = mh.throttle(seed=seed, registry=registry)(Service())
        fn.__wrapped__.error = ConnectionError()
        runs.append(call(fn, Colour("sync"), 200))
    assert runs[0] == runs[1] != runs[2]


# Keys.


def test_each_key_has_numbers_of_its_own(
    colour: Colour, registry: mh.Registry, dice: list[float]
) -> None:
    """One host that is down is no reason to spare another."""
    policy = mh.throttle(key="{host}", name="hosts", registry=registry)

    def ask(host: str) -> str:
        if host == "down":
            raise ConnectionError
        return host

    fn = policy(colour.paint(ask))
    for _ in range(10):
        colour.call(fn, "up")
        dice[:] = [1.0]
        with pytest.raises(ConnectionError):
            colour.call(fn, "down")
        dice.clear()
    dice.append(0.0)
    with pytest.raises(mh.ThrottledError):
        colour.call(fn, "down")
    assert colour.call(fn, "up") == "up"
    numbers = policy.stats()
    assert (numbers.accepted, numbers.failures, numbers.rejected) == (11, 10, 1)
    assert (numbers.window_requests, numbers.window_accepted, numbers.chance) == (22, 11, 0.9)
    assert policy.stats(key="up").chance == 0.0
    assert policy.stats(key="down").window_requests == 11
    with pytest.raises(KeyError, match="has seen no call with key 'x'"):
        policy.stats(key="x")
    policy.reset()
    assert policy.stats().window_requests == 0
    assert policy.stats().calls == 21


def test_keys_are_bounded(colour: Colour, registry: mh.Registry, dice: list[float]) -> None:
    """What is being dropped is not forgotten; what makes room stays in the sums."""
    policy = mh.throttle(key="{host}", max_keys=2, name="hosts", registry=registry)

    def ask(host: str) -> str:
        if host == "down":
            raise ConnectionError
        return host

    fn = policy(colour.paint(ask))
    dice.append(1.0)
    for _ in range(10):
        with pytest.raises(ConnectionError):
            colour.call(fn, "down")
    for number in range(20):
        colour.call(fn, f"host {number}")
    numbers = policy.stats()
    assert (numbers.accepted, numbers.failures, numbers.evicted) == (20, 10, 19)
    dice[:] = [0.0]
    with pytest.raises(mh.ThrottledError):
        colour.call(fn, "down")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_key_that_leaves_while_it_is_counted_is_counted_once(
    registry: mh.Registry, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Whether it goes just before the others are looked at or just after."""
    policy = mh.throttle(key="{host}", max_keys=1, name="hosts", registry=registry)
    fn = policy(lambda host: host)
    family: Any = policy._family
    look = family.members

    def look_and_evict() -> list[Any]:
        found = look()
        fn(object())
        return look() if before else found

    fn("first")
    monkeypatch.setattr(family, "members", look_and_evict)
    for number in range(1, 10):
        assert policy.stats().accepted == number + before  # the call of the new key, if it is seen


def test_no_key_has_no_statistics_by_key(registry: mh.Registry) -> None:
    """There is none."""
    with pytest.raises(TypeError, match="has no key="):
        mh.throttle(name="db", registry=registry).stats(key="x")


# What is told.


def test_the_error(registry: mh.Registry) -> None:
    """It names the policy, says what is wrong, pickles and copies."""
    error = mh.ThrottledError(name="db", chance=0.42)
    assert str(error) == (
        "throttle 'db' dropped the call: what is called accepts too few of them, so 42% are not "
        "sent; call again later, and less often"
    )
    assert repr(error) == f"ThrottledError({str(error)!r})"
    assert str(mh.ThrottledError("mine")) == "mine"
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert vars(again) == vars(error)
        assert (again.policy, again.retry_after, str(again)) == ("throttle", None, str(error))
    assert isinstance(error, mh.RejectedError)


def test_events(colour: Colour, registry: mh.Registry, service: Service, dice: list[float]) -> None:
    """A call that was not accepted, and a call that was dropped."""
    heard: list[Any] = []
    fn = throttled(mh.throttle(minimum_calls=1, name="db", registry=registry), service, colour)
    service.error = ConnectionError("down")
    dice.append(0.0)
    with mh.subscribe(heard.append):
        assert call(fn, colour, 2) == "fd"
    assert heard == [
        events.CallFailed(policy="throttle", name="db", error="ConnectionError"),
        events.CallRejected(policy="throttle", name="db", reason="throttled", retry_after=None),
    ]


def test_statistics(registry: mh.Registry) -> None:
    """Frozen, and fit for JSON."""
    mh.throttle(name="db", registry=registry).call(str)
    assert json.loads(json.dumps(registry.stats()["db"].to_dict())) == {
        "policy": "throttle", "name": "db", "calls": 1, "accepted": 1, "failures": 0, "ignored": 0,
        "rejected": 0, "window_requests": 1, "window_accepted": 1, "chance": 0.0, "evicted": 0,
        "lowest_chance": 0.0,
    }  # fmt: skip
    policy = registry.throttles["db"]
    assert policy.describe() == "throttle('db', k=2, 120 s)"
    assert policy.longest(3.0) == 3.0


def test_a_pattern_has_no_state(registry: mh.Registry) -> None:
    """Each function that it decorated has one of its own."""
    pattern = mh.throttle(registry=registry)
    pattern(lambda: 1)
    with pytest.raises(mh.ConfigurationError, match="has no name"):
        pattern.reset()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"critical": 1}, "critical must be True or False, got 1"),
    ({"k": 0.5}, "k must be a number of 1 or more"),
    ({"k": "2"}, "k must be"),
    ({"k": True}, "k must be"),
    ({"k": float("inf")}, "k must be"),
    ({"k": float("nan")}, "k must be"),
    ({"k": 10**400}, "k must be"),
    ({"window": 0}, "window must be a duration"),
    ({"minimum_calls": 0}, "minimum_calls must be"),
    ({"max_rejection": 0}, "max_rejection must be a share"),
    ({"max_rejection": 90}, "for 90 % write 0.9"),
    ({"on": asyncio.CancelledError}, "on must be types of errors"),
    ({"on": ()}, "on must be types of errors"),
    ({"key": 5}, "key must be a template"),
    ({"max_keys": 5}, "there is no key"),
    ({"key": "{x}", "max_keys": 0}, "max_keys must be"),
    ({"seed": 1.5}, "seed must be"),
    ({"seed": "\ud800"}, "seed must be"),
    ({"name": ""}, "name must be"),
    ({"registry": 5}, "registry must be"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    """They fail where they are written."""
    with pytest.raises(mh.ConfigurationError, match=message):
        mh.throttle(**settings)


@pytest.mark.usefixtures("path")
def test_a_sync_function_that_returns_an_awaitable(registry: mh.Registry) -> None:
    """It raises as everywhere."""

    async def late() -> None: ...

    with pytest.raises(TypeError, match="returned an awaitable"):
        mh.throttle(registry=registry)(lambda: late())()


def test_acall(registry: mh.Registry) -> None:
    """Without a decorator; the state is that of the policy."""

    async def late() -> str:
        return "ok"

    policy = mh.throttle(name="db", registry=registry)
    assert asyncio.run(policy.acall(late)) == "ok"
    assert policy.stats().accepted == 1


@pytest.mark.parametrize("settings", [{}, {"key": "{item}", "max_keys": 3}])
def test_threads_and_tasks_together(registry: mh.Registry, settings: Any) -> None:
    """8 threads and 100 tasks: every call is counted once."""
    policy = mh.throttle(name="db", registry=registry, **settings)
    ended: list[str] = []

    @policy
    def fn(item: int) -> None:
        if item % 5 < 3:
            raise ConnectionError

    @policy
    async def fn_async(item: int) -> None:
        await asyncio.sleep(0)
        if item % 5 < 3:
            raise ConnectionError

    def in_thread() -> None:
        for item in range(500):
            try:
                fn(item)
                ended.append("accepted")
            except ConnectionError:
                ended.append("failures")
            except mh.ThrottledError:
                ended.append("rejected")

    async def in_tasks() -> None:
        async def work() -> None:
            for item in range(20):
                try:
                    await fn_async(item)
                    ended.append("accepted")
                except ConnectionError:
                    ended.append("failures")
                except mh.ThrottledError:
                    ended.append("rejected")

        await asyncio.gather(*(work() for _ in range(100)))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(in_tasks())
    for thread in threads:
        thread.join()
    numbers = policy.stats()
    assert len(ended) == 8 * 500 + 100 * 20
    for name in ("accepted", "failures", "rejected"):
        assert getattr(numbers, name) == ended.count(name) > 0
    assert numbers.calls + numbers.rejected == len(ended)
    if not settings:
        assert numbers.window_requests == len(ended)


@pytest.mark.parametrize("settings", [{}, {"key": lambda: None}])
def test_a_forked_child_has_its_own_lock(registry: mh.Registry, settings: Any) -> None:
    """A thread of the parent that was counting does not block it."""
    policy = mh.throttle(name="db", registry=registry, **settings)
    service = Service()
    service.error = ConnectionError()
    fn = policy(lambda: service())
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with policy._lock:
            held.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        assert in_a_fork(lambda: call(fn, Colour("sync"), 3) == "fff") == 0
    finally:
        go.set()
        thread.join()
