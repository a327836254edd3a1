"""Types of the public surface. Never executed: mypy and pyright read it.

Every assertion says what a user's function or call is to a type checker after meshhook had it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, assert_type

import meshhook as mh
from meshhook.events import CircuitChanged, Event, Subscription
from meshhook.health import Health, Status
from meshhook.observe.control import Control
from meshhook.observe.feed import Feed, Listener, Occurrence
from meshhook.observe.fleet import Announcement, Fleet, FleetFolder
from meshhook.observe.logging import log_events
from meshhook.observe.multiprocess import Writer
from meshhook.observe.opentelemetry import Instrumentation, instrument
from meshhook.observe.prometheus import PrometheusCollector, exposition, start_multiprocess
from meshhook.observe.snapshot import Changes, Snapshots
from meshhook.observe.web.asgi import AsgiApp
from meshhook.observe.web.exchange import Request
from meshhook.observe.web.server import Server
from meshhook.observe.web.wsgi import WsgiApp
from meshhook.policies.bulkhead.stats import BulkheadStats
from meshhook.policies.circuit_breaker.stats import BreakerStats
from meshhook.policies.hedge.stats import HedgeStats
from meshhook.registry import RegistryStats
from meshhook.stats import Stats

breaker = mh.circuit_breaker("name", failure_threshold=3, reset_timeout="30s")
assert_type(breaker, mh.CircuitBreaker)


def plain(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return [text] * number if flag else []


async def plain_async(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return [text] * number if flag else []


# A breaker around a function keeps its signature and colour, however it is written.


@mh.circuit_breaker
def bare(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.circuit_breaker()
def called(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.circuit_breaker("name", window_calls=10, failure_rate_threshold=0.5)
def named(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@breaker
def applied(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.timeout
@mh.circuit_breaker
@mh.timeout(2.0)
@breaker
def stacked(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.circuit_breaker
@mh.timeout(None, per_item="2s")
def stream(number: int) -> Iterator[str]:
    yield str(number)


@mh.retry
@mh.timeout(30, per_item=2)
async def async_stream(number: int) -> AsyncIterator[str]:
    yield str(number)


assert_type(stream(1), Iterator[str])
assert_type(async_stream(number=1), AsyncIterator[str])
stream("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(bare(1, "a", flag=True), list[str])
assert_type(called(1, text="a"), list[str])
assert_type(named(1), list[str])
assert_type(applied(1, "a"), list[str])
assert_type(stacked(1, "a", flag=True), list[str])
bare("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
called(1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
named(number=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
applied(1, colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
stacked()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@mh.circuit_breaker
async def bare_async(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return await plain_async(number, text, flag=flag)


@mh.timeout("500ms")
@breaker
async def stacked_async(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return await plain_async(number, text, flag=flag)


async def use_async_functions() -> None:
    assert_type(await bare_async(1, "a", flag=True), list[str])
    assert_type(await stacked_async(1, text="a"), list[str])
    coroutine: Coroutine[Any, Any, list[str]] = bare_async(1)
    await coroutine
    await bare_async("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await stacked_async()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# In a class the object, the class or nothing is bound as without a guard.


class Service:
    @mh.circuit_breaker
    def bare(self, number: int) -> list[str]:
        return [str(number)]

    @mh.circuit_breaker(key="{number}")
    def called(self, number: int) -> list[str]:
        return [str(number)]

    @breaker
    async def method_async(self, number: int) -> list[str]:
        return [str(number)]

    @classmethod
    @breaker
    def of_class_outside(cls, number: int) -> list[str]:
        return [str(number)]

    @breaker
    @classmethod
    def of_class_inside(cls, number: int) -> list[str]:
        return [str(number)]

    @mh.circuit_breaker
    @classmethod
    def of_class_bare(cls, number: int) -> list[str]:
        return [str(number)]

    @staticmethod
    @mh.timeout
    def static_outside(number: int) -> list[str]:
        return [str(number)]

    @breaker
    @staticmethod
    def static_inside(number: int) -> list[str]:
        return [str(number)]

    @mh.timeout
    @staticmethod
    def static_bare(number: int) -> list[str]:
        return [str(number)]

    @property
    @breaker
    def got(self) -> list[str]:
        return []


async def use_methods(service: Service) -> None:
    assert_type(service.bare(1), list[str])
    assert_type(service.called(number=1), list[str])
    assert_type(await service.method_async(1), list[str])
    assert_type(Service.of_class_outside(1), list[str])
    assert_type(service.of_class_inside(1), list[str])
    assert_type(Service.of_class_bare(1), list[str])
    assert_type(Service.static_outside(1), list[str])
    assert_type(service.static_inside(1), list[str])
    assert_type(service.static_bare(1), list[str])
    assert_type(service.got, list[str])
    assert_type(Service.bare(service, 1), list[str])
    service.bare("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service.called()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Service.of_class_inside("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Policies are objects, too.


class Adder:
    def __call__(self, number: int) -> int:
        return number + 1


async def use_policies(limit: mh.Timeout) -> None:
    assert_type(breaker.call(plain, 1, "a", flag=True), list[str])
    assert_type(breaker.call(lambda: 5), int)
    assert_type(await breaker.acall(plain_async, 1, "a", flag=True), list[str])
    assert_type(limit.call(plain, 1), list[str])
    assert_type(await limit.acall(plain_async, 1), list[str])
    breaker.call(plain, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await breaker.acall(plain, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(breaker(Adder()), Adder)
    with breaker as entered:
        assert_type(entered, mh.CircuitBreaker)
    async with breaker as entered_async:
        assert_type(entered_async, mh.CircuitBreaker)
    with breaker.isolated():
        pass
    assert_type(breaker.stats(), BreakerStats)
    assert_type(breaker.state, mh.CircuitState)
    assert_type(breaker.name, str)


# A bulkhead likewise; its adaptive limits are plain objects, and it opens blocks.

bulkhead = mh.bulkhead(3, max_queue=5, max_wait="1s", order="lifo", key="{number}")
assert_type(bulkhead, mh.Bulkhead)
assert_type(mh.bulkhead(limit=mh.AIMD(max=50, latency_threshold="250ms")), mh.Bulkhead)
assert_type(mh.bulkhead(limit=mh.Gradient(tolerance=1.2), max_wait=None), mh.Bulkhead)


@mh.bulkhead
def slotted_bare(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return [text] * number


@mh.bulkhead(3)
async def slotted(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return [text] * number


assert_type(slotted_bare(1, "a", flag=True), list[str])
assert_type(bulkhead.call(plain, 1, "a"), list[str])
assert_type(bulkhead.stats(), BulkheadStats)
assert_type(bulkhead.stats("key").keys, int | None)
assert_type(bulkhead.resize(5), None)


async def use_slotted() -> None:
    assert_type(await slotted(1, "a"), list[str])
    assert_type(await bulkhead.acall(plain_async, 1), list[str])
    with bulkhead as entered:
        assert_type(entered, mh.Bulkhead)
    async with bulkhead as entered:
        assert_type(entered, mh.Bulkhead)
    await slotted("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


mh.bulkhead("3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
mh.bulkhead(3, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
mh.bulkhead(limit=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# A hedge likewise; it is given an object, a tuple of functions and a budget.

hedge = mh.hedge("50ms", idempotent=True, alternatives=(plain,), budget=mh.RetryBudget())
assert_type(hedge, mh.Hedge)


@mh.hedge
def hedged_bare(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.hedge(idempotent=True, on=(ConnectionError, TimeoutError), on_discard=print)
async def hedged(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return await plain_async(number, text, flag=flag)


assert_type(hedged_bare(1, "a", flag=True), list[str])
assert_type(hedge.call(plain, 1, "a"), list[str])
assert_type(hedge.stats(), HedgeStats)
assert_type(hedge.stats().delay, float | None)


async def use_hedged() -> None:
    assert_type(await hedged(1, "a"), list[str])
    assert_type(await hedge.acall(plain_async, 1), list[str])
    await hedged("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


mh.hedge(idempotent="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# Retries: bare, with settings, as an object and as a loop.

retry = mh.retry(
    max_attempts=None,
    on=(ConnectionError, TimeoutError),
    abort_on=lambda error: bool(error.args),
    on_result=lambda result: result is None,
    backoff=lambda attempt: 2**attempt,
    jitter="equal",
    max_elapsed="30s",
    retry_after=lambda outcome: None,
    budget=mh.RetryBudget(0.1, 2, "20s", name="typed"),
    before_sleep=lambda pause: (pause.attempt, pause.delay),
)
assert_type(retry, mh.Retry)


@mh.retry
def retried_bare(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


@mh.retry(max_attempts=5, backoff="fibonacci", jitter=0.2)
async def retried(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return await plain_async(number, text, flag=flag)


assert_type(retried_bare(1, "a", flag=True), list[str])
assert_type(retry.call(plain, 1, "a"), list[str])
assert_type(retry.stats().ended_by, dict[str, int])
assert_type(mh.RetryBudget(), mh.RetryBudget)
assert_type(mh.RetryBudget().take(), int | None)
assert_type(mh.attempts_of(OSError()), tuple[BaseException, ...])


async def use_retried() -> None:
    assert_type(await retried(1, "a"), list[str])
    assert_type(await retry.acall(plain_async, 1), list[str])
    await retried("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for attempt in mh.retrying(on=OSError):
        with attempt:
            assert_type(attempt.number, int)
            assert_type(attempt.previous, Exception | None)
    for attempt in mh.retrying(max_attempts=2):
        with attempt:
            pass


mh.retry(max_attempts="3")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
mh.retry(backoff="exp")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# Rate limits.

rate_limit = mh.rate_limit(
    "10/s burst 20; 1000/h",
    algorithm="gcra",
    key="{number}",
    max_keys=100,
    cost=len,
    max_wait="1s",
    pause_on=(OSError, ValueError),
    name="typed",
)
assert_type(rate_limit, mh.RateLimit)


@mh.rate_limit(10, "1m", burst=20, cost=2, max_wait=None, pause_on=lambda error: None)
def limited_in_rate(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return plain(number, text, flag=flag)


assert_type(limited_in_rate(1, "a", flag=True), list[str])
assert_type(rate_limit.call(plain, 1, "a"), list[str])
assert_type(rate_limit.stats().remaining, int | None)
assert_type(rate_limit.try_acquire(2, key=1), bool)
assert_type(rate_limit.remaining(key=1), int)
assert_type(rate_limit.retry_after(2, key=1), float)
assert_type(mh.RateLimitedError().limit, str)
rate_limit.pause_for("20s", key=1)
rate_limit.change(20, "1m", burst=5)
limited_in_rate("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mh.rate_limit(2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mh.rate_limit("2/s", algorithm="leaky")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def use_rate_limit() -> None:
    assert_type(await rate_limit.acall(plain_async, 1), list[str])
    async with mh.rate_limit("2/s") as entered:
        assert_type(entered, mh.RateLimit)


# Fallbacks, throttles, chaos, and deadlines across the wire.


@mh.fallback([])
@mh.throttle
@mh.chaos
def defended(number: int, /, text: str = "", *, flag: bool = False) -> list[str]:
    return [text]


async def handle(error: Exception | None, number: int) -> list[str]:
    return [str(error)] * number


@mh.fallback(handler=[handle, repr], last_good="5m", key="{number}", on=OSError)
@mh.throttle(1.5, "1m", on=(OSError, ValueError), key=("number",), seed="seed")
@mh.chaos("place", rate=lambda: 0.5, fault=ConnectionError("down"), latency="10ms")
async def defended_async(number: int) -> list[str]:
    return [str(number)]


assert_type(defended(1, "a", flag=True), list[str])
assert_type(mh.fallback(0), mh.Fallback)
mh.fallback(handler=lambda *_: 0)
assert_type(mh.fallback(0).stats().from_value, int)
assert_type(mh.throttle(), mh.Throttle)
assert_type(mh.throttle().stats(key="host").chance, float)
assert_type(mh.chaos(), mh.Chaos)
assert_type(mh.chaos().stats().struck, int)
assert_type(mh.ThrottledError().chance, float)
assert_type(mh.deadline_headers("grpc-timeout", reserve="10ms"), dict[str, str])
defended("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mh.fallback(on_result=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
mh.throttle("2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
mh.chaos(rate="0.5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def use_defended() -> None:
    assert_type(await defended_async(1), list[str])
    with mh.chaos("place").inject(fault=lambda: None, result=1, rate=0.5):
        pass
    with mh.testing.inject("place", latency=1) as place:
        assert_type(place, mh.Chaos)
    with mh.deadline_from({"grpc-timeout": "1S"}, max=30) as nothing:
        assert_type(nothing, None)
    with mh.deadline_from([(b"grpc-timeout", b"1S")], default="2s"):
        pass


def wrong_settings() -> None:
    mh.circuit_breaker(failure_threshold="5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    mh.circuit_breaker(treshold=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    mh.timeout(mode="never")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# The registry, events, deadlines and errors.


def look_and_act() -> None:
    feed = Feed().start()
    assert_type(feed.recent(), list[Occurrence])
    assert_type(feed.listen(["circuit_changed", CircuitChanged]), Listener)
    assert_type(feed.listen().drain(), tuple[list[Occurrence], int])
    control = Control(mh.registry)
    assert_type(control.actions(mh.registry["name"]), tuple[str, ...])
    assert_type(control.remaining(mh.registry["name"]), float | None)
    assert_type(Snapshots(mh.registry, control).policies(), list[dict[str, Any]])
    assert_type(Snapshots().changes_since(None), Changes)


def use_the_rest(registry: mh.Registry, error: mh.CircuitOpenError, late: mh.TimeoutError) -> None:
    assert_type(mh.registry, mh.Registry)
    assert_type(registry.stats(), RegistryStats)
    assert_type(registry.health(), Health)
    assert_type(registry.health().status, Status)
    assert_type(registry.health().policies["name"].condition, str)
    assert_type(mh.circuit_breaker("name", critical=True), mh.CircuitBreaker)
    assert_type(mh.bulkhead(5, critical=True), mh.Bulkhead)
    assert_type(mh.throttle(critical=True), mh.Throttle)
    assert_type(registry.stats()["name"], Stats)
    assert_type(registry.stats().to_dict(), dict[str, Any])
    assert_type(registry.circuit_breakers["name"], mh.CircuitBreaker)
    assert_type(registry.bulkheads["name"], mh.Bulkhead)
    assert_type(registry.timeouts["name"], mh.Timeout)
    assert_type(registry.hedges["name"], mh.Hedge)
    assert_type(registry.fallbacks["name"], mh.Fallback)
    assert_type(registry.throttles["name"], mh.Throttle)
    assert_type(registry.chaos["name"], mh.Chaos)
    assert_type(registry.retries["name"], mh.Retry)
    assert_type(registry.retry_budgets["name"], mh.RetryBudget)
    assert_type(mh.remaining(), float | None)
    assert_type(mh.deadline("2s"), AbstractContextManager[None])
    assert_type(error.retry_after, float | None)
    assert_type(error.last_failure, str | None)
    assert_type(late.timeout, float | None)
    assert_type(log_events(), Subscription)
    assert_type(log_events(summary_every="30s"), Subscription)
    log_events(summary_every=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with instrument(attributes={"shop.shard": "a"}, buckets=(0.1, 1)) as instrumentation:
        assert_type(instrumentation, Instrumentation)
    assert_type(instrument(mh.registry, metrics=False, max_series=100), Instrumentation)
    assert_type(PrometheusCollector(mh.registry, buckets=(0.1, 1)), PrometheusCollector)
    PrometheusCollector(buckets="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(exposition(mh.registry, "text/plain", max_series=100), tuple[bytes, str])
    assert_type(start_multiprocess(directory="/run", interval="2s"), Writer)
    assert_type(Fleet(["http://a"], "2s", token="t", header="X-Key").read(), dict[str, Any])
    assert_type(Fleet(FleetFolder("/run/shop")), Fleet)
    assert_type(FleetFolder("/run/shop").announce("http://a"), Announcement)
    Fleet(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    instrument(meter_provider="p")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def listener(event: CircuitChanged) -> None:
        assert_type(event.new, str)

    assert_type(mh.subscribe(listener, CircuitChanged), Subscription)

    def on_any(event: Event) -> int:
        return len(event.name)

    with mh.subscribe(on_any) as subscription:
        assert_type(subscription, Subscription)


# What a user writes around a guarded function.


def higher(fn: Callable[[int], list[str]]) -> list[str]:
    return fn(1)


def higher_async(fn: Callable[[int], Awaitable[list[str]]]) -> Awaitable[list[str]]:
    return fn(1)


assert_type(higher(bare), list[str])
assert_type(higher(stacked), list[str])
assert_type(higher_async(bare_async), Awaitable[list[str]])
higher(bare_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Several policies together.


async def several() -> None:
    pipeline = mh.Pipeline(mh.timeout(2), mh.Pipeline(mh.circuit_breaker("db")), strict_order=True)

    @pipeline
    def in_order(number: int) -> list[str]:
        return [str(number)]

    @mh.resilient(
        fallback=[],
        idempotent="{number}",
        timeout="2s",
        retry=3,
        hedge=0.1,
        circuit_breaker={"failure_threshold": 3},
        throttle=True,
        rate_limit="100/s",
        bulkhead=mh.bulkhead(5),
        attempt_timeout=1,
        chaos=False,
        name="all",
    )
    async def with_all(number: int) -> list[str]:
        return [str(number)]

    assert_type(in_order(1), list[str])
    assert_type(await with_all(1), list[str])
    assert_type(pipeline.call(in_order, 1), list[str])
    assert_type(await pipeline.acall(with_all, number=1), list[str])
    assert_type(mh.explain(in_order), mh.Explanation)
    assert_type(mh.explain(with_all).check().longest, float)
    assert_type(mh.explain(pipeline).warnings[0].code, str)
    assert_type(pipeline.policies[0].name, str)
    mh.Pipeline(mh.timeout)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mh.resilient(retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    mh.resilient(timeout=mh.retry())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipeline.call(in_order, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# The endpoints over HTTP.


def authorize(request: Request) -> str | None:
    return request.headers.get("x-user")


async def authorize_async(request: Request) -> str | None:
    return request.headers.get("x-user")


def endpoints() -> None:
    assert_type(mh.asgi_app(authorize=authorize), AsgiApp)
    assert_type(mh.asgi_app(mh.registry, authorize=authorize_async, hosts=["a.org"]), AsgiApp)
    assert_type(mh.wsgi_app(authorize=authorize, authorize_read=authorize), WsgiApp)
    with mh.serve(0, fleet=["http://localhost:9465"]) as server:
        assert_type(server, Server)
        assert_type(server.url, str)
        assert_type(server.port, int)
    mh.wsgi_app(authorize=authorize_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mh.serve("9464")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Configuration from outside.


def configuration(path: Path) -> None:
    assert_type(mh.configure(), mh.Configuration)
    mh.configure("shop.toml", profile="production", environment=False, watch=True)
    mh.configure([path, "shop.toml", {"defaults": {"retry": {"max_attempts": 5}}}], watch="5s")
    with mh.configure({"profile": "calm"}, strict=False, registry=mh.Registry()) as configured:
        assert_type(configured.sources(mh.timeout(2)), dict[str, str])
        assert_type(configured.pending(), tuple[str, ...])
        assert_type(configured.profile, str | None)
        assert_type(configured.reload(), int)
    assert_type(mh.reload(), int)
    mh.configure(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    mh.configure(strict="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
