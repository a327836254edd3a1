"""What an idempotent function does, in both colours and on every store."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import gc
import json
import threading
import uuid
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.runtime.flights import flights_of
from tests.colours import Colour


class Body:
    """Something to execute: returns what it was told to, or raises it."""

    def __init__(self, result: Any = "done") -> None:
        self.runs = 0
        self.result = result

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.runs += 1
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def charge_with(policy: mh.Idempotent, body: Body, colour: Colour) -> Any:
    """Decorate a function of ``colour`` that runs ``body``."""

    def charge(order: Any, amount: int = 5) -> Any:
        return body(order, amount)

    return policy(colour.paint(charge))  # type: ignore[call-overload]


def maybe(colour: Colour, fn: Any, *args: Any, **kwargs: Any) -> Any:
    """Call ``get`` or ``clear``, which have the colour of their function."""
    return colour.call(fn, *args, **kwargs)


RESULTS: list[Any] = [
    None,
    0,
    False,
    "",
    b"",
    [],
    {},
    0.0,
    (),
    (1, "two", (3,)),
    decimal.Decimal("1.10"),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    {"a": [1, {"b": None}]},
    {1, 2},
]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_any_result_is_replayed(result: Any, colour: Colour, store: Any) -> None:
    """Falsy results, None and typed ones are replayed as they are; the call runs once."""
    body = Body(result)
    fn = charge_with(mh.idempotent("{order}", store=store, name=uuid.uuid4().hex), body, colour)
    first, second = colour.call(fn, 1), colour.call(fn, 1)
    assert (first, second, type(second), body.runs) == (result, result, type(result), 1)


def test_nobody_changes_the_result_of_another(colour: Colour, store: Any) -> None:
    """Each caller gets an object of his own."""
    body = Body({"items": [1]})
    fn = charge_with(mh.idempotent("{order}", store=store, name=uuid.uuid4().hex), body, colour)
    colour.call(fn, 1)["items"].append(2)
    colour.call(fn, 1)["items"].append(3)
    body.result["items"].append(4)
    assert (colour.call(fn, 1), body.runs) == ({"items": [1]}, 1)


def test_spellings_of_one_call_are_one_key(colour: Colour, registry: mh.Registry) -> None:
    """Positional, keyword and defaulted arguments make the same call."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", registry=registry), body, colour)
    for args, kwargs in [((1,), {}), ((1, 5), {}), ((), {"order": 1}), ((1,), {"amount": 5})]:
        colour.call(fn, *args, **kwargs)
    assert (body.runs, fn.key_for(1)) == (1, fn.key_for(order=1))


@pytest.mark.parametrize("key", ["{order}", ("order",), lambda order, **_: order])
def test_forms_of_key(key: Any, colour: Colour, registry: mh.Registry) -> None:
    """A template, names or a callable say what tells calls apart."""
    body = Body()
    fn = charge_with(mh.idempotent(key, registry=registry), body, colour)
    for order in (1, 1, 2, "1", True):
        colour.call(fn, order)
    assert body.runs == 4


@pytest.mark.parametrize("order", [None, ""])
def test_a_missing_key_runs_nothing(order: Any, colour: Colour, registry: mh.Registry) -> None:
    """Without a key nothing would tell the call from another."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", registry=registry), body, colour)
    with pytest.raises(mh.MissingKeyError, match=f"has no key: it is {order!r}"):
        colour.call(fn, order)
    assert body.runs == 0


def test_a_key_without_its_attribute_is_missing(colour: Colour, registry: mh.Registry) -> None:
    """A path that leads nowhere is a missing key, with the reason."""
    fn = charge_with(mh.idempotent("{order.id}", registry=registry), Body(), colour)
    with pytest.raises(mh.MissingKeyError, match="has no attribute 'id'"):
        colour.call(fn, 7)


def test_a_key_comes_again_with_other_arguments(colour: Colour, store: Any) -> None:
    """The same key with another payload is refused, and the record is unharmed."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", store=store, name=uuid.uuid4().hex), body, colour)
    colour.call(fn, 1, 5)
    with pytest.raises(mh.KeyReusedError, match="belongs to a call with other arguments") as raised:
        colour.call(fn, 1, 6)
    assert (colour.call(fn, 1, 5), body.runs, raised.value.key) == ("done", 1, fn.key_for(1))


def test_fingerprint_may_be_off(colour: Colour, registry: mh.Registry) -> None:
    """Without a fingerprint the key alone decides."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", fingerprint=False, registry=registry), body, colour)
    colour.call(fn, 1, 5)
    colour.call(fn, 1, 6)
    assert body.runs == 1


@pytest.mark.parametrize("raised", [ValueError("no"), mh.RejectedError("full")])
def test_an_exception_releases_the_key(raised: Exception, colour: Colour, store: Any) -> None:
    """A call that raised is forgotten: the next one is executed, as attempt 2."""
    body = Body(raised)
    fn = charge_with(mh.idempotent("{order}", store=store, name=uuid.uuid4().hex), body, colour)
    with pytest.raises(type(raised)):
        colour.call(fn, 1)
    body.result = "fine"
    assert colour.call(fn, 1) == "fine"
    outcome = maybe(colour, fn.get, 1)
    assert (outcome.state, outcome.attempt, outcome.result()) == ("done", 2, "fine")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, StopIteration])
def test_interrupts_pass_and_release(
    raised: type[BaseException], store: Any, registry: mh.Registry
) -> None:
    """What is no error of the call passes unchanged, and the key is free."""
    body = Body(raised())
    fn = mh.idempotent("{order}", store=store, name=uuid.uuid4().hex)(lambda order: body(order))
    with pytest.raises(raised):
        fn(1)
    body.result = "fine"
    assert fn(1) == "fine"


class Odd:
    """A result without any form that could be kept."""


@pytest.mark.parametrize(
    ("result", "settings"),
    [(Odd(), {}), ("x" * 100, {"max_result_bytes": 50})],
    ids=["odd", "long"],
)
def test_what_cannot_be_kept_is_not_executed_again(
    result: Any, settings: Any, colour: Colour, store: Any
) -> None:
    """The first caller gets the result; later ones learn that it was executed."""
    body = Body(result)
    fn = charge_with(
        mh.idempotent("{order}", store=store, name=uuid.uuid4().hex, **settings), body, colour
    )
    assert colour.call(fn, 1) is result
    with pytest.raises(mh.ResultUnavailableError, match="was executed already"):
        colour.call(fn, 1)
    assert body.runs == 1
    with pytest.raises(mh.ResultUnavailableError, match="no result of"):
        maybe(colour, fn.get, 1).result()


def test_the_body_may_change_its_arguments(colour: Colour, registry: mh.Registry) -> None:
    """Key and fingerprint are taken before the call."""
    runs = []

    def charge(order: dict[str, Any]) -> str:
        runs.append(order.pop("id"))
        return "ok"

    fn: Any = mh.idempotent(lambda order: order["id"], registry=registry)(colour.paint(charge))
    assert [colour.call(fn, {"id": 7}), colour.call(fn, {"id": 7}), runs] == ["ok", "ok", [7]]


def test_ttl_ends_by_tick(colour: Colour, registry: mh.Registry, frozen: Any) -> None:
    """A result is forgotten after its time, and the call is executed again."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", ttl="10m", registry=registry), body, colour)
    colour.call(fn, 1)
    frozen.tick(599)
    colour.call(fn, 1)
    assert body.runs == 1
    frozen.tick(2)
    colour.call(fn, 1)
    assert body.runs == 2


def test_clear_forgets(colour: Colour, store: Any) -> None:
    """After clear the next call is executed, with a larger fence."""
    body = Body()
    fn = charge_with(mh.idempotent("{order}", store=store, name=uuid.uuid4().hex), body, colour)
    assert maybe(colour, fn.get, 1) is None
    colour.call(fn, 1)
    first = maybe(colour, fn.get, 1)
    maybe(colour, fn.clear, 1)
    assert maybe(colour, fn.get, 1) is None
    colour.call(fn, 1)
    second = maybe(colour, fn.get, 1)
    assert (body.runs, second.fence > first.fence) == (2, True)


def test_a_cleared_run_ends_without_its_record(colour: Colour, store: Any) -> None:
    """A run that was cleared meanwhile has lost its key: its result is dropped, and it is told."""
    policy = mh.idempotent("{order}", store=store, name=uuid.uuid4().hex)
    seen: list[Any] = []

    def clears(order: int) -> str:
        store.perform(mh_force(policy, order))
        seen.append(mh.current())
        return "late"

    fn: Any = policy(colour.paint(clears))
    with pytest.raises(mh.LeaseLostError, match="went to another call, was cleared, or was lost"):
        colour.call(fn, 1)
    assert (maybe(colour, fn.get, 1), seen[0].lost) == (None, True)


def mh_force(policy: mh.Idempotent, key: Any) -> Any:
    """Build the message that clears ``key``."""
    from meshhook.stores.protocol import Force

    return Force(policy.scope.at(key))


def test_versions_and_names_are_apart(colour: Colour, registry: mh.Registry) -> None:
    """Name and version are part of every key."""
    bodies, store = [Body(), Body(), Body()], mh.MemoryStore()
    settings: list[Any] = [
        {"name": "a", "version": 1},
        {"name": "b", "version": 1},
        {"name": "c", "version": 2},
    ]
    for body, each in zip(bodies, settings, strict=True):
        policy = mh.idempotent("{order}", store=store, registry=registry, **each)
        fn = charge_with(policy, body, colour)
        colour.call(fn, 1)
    assert [body.runs for body in bodies] == [1, 1, 1]


def test_unnamed_functions_never_share(registry: mh.Registry) -> None:
    """Two functions of one name do not see each other's results."""

    def make(result: int) -> Any:
        @mh.idempotent("{order}", registry=registry)
        def charge(order: int) -> int:
            return result

        return charge

    assert [make(1)(7), make(2)(7)] == [1, 2]


def test_current_is_the_claim(colour: Colour, registry: mh.Registry) -> None:
    """Inside, ``current()`` tells key, attempt and fence; outside there is none."""

    def charge(order: int) -> tuple[str, int]:
        claim = mh.current()
        claim.check()
        return claim.key, claim.attempt

    fn: Any = mh.idempotent("{order}", registry=registry)(colour.paint(charge))
    assert colour.call(fn, 1) == (fn.key_for(1), 1)
    with pytest.raises(RuntimeError, match="inside of an idempotent function"):
        mh.current()


def test_a_call_of_itself_is_an_error(colour: Colour, registry: mh.Registry) -> None:
    """The same key inside of its own execution would wait for itself."""
    policy = mh.idempotent("{order}", name="self", registry=registry)
    if colour.name == "sync":

        @policy
        def fn(order: int) -> Any:
            return fn(order)
    else:

        @policy
        async def fn(order: int) -> Any:
            return await fn(order)

    with pytest.raises(mh.ReentrantCallError, match="would wait for itself"):
        colour.call(fn, 1)


def test_direct_form(registry: mh.Registry) -> None:
    """``run`` and ``arun`` take the key instead of finding it in the arguments."""
    payments = mh.idempotent(name="payments", registry=registry)
    body = Body(1)

    async def abody() -> Any:
        return body()

    assert [payments.run("k", body), payments.run("k", body)] == [1, 1]
    assert asyncio.run(payments.arun("k", abody)) == 1
    payments.clear("k")
    assert asyncio.run(payments.arun("k", abody)) == 1
    asyncio.run(payments.aclear("k"))
    payments.run("k", body)
    assert body.runs == 3
    with pytest.raises(mh.MissingKeyError):
        payments.run("", body)
    with pytest.raises(TypeError, match="use `await policy.arun"):
        payments.run("k", abody)
    with pytest.raises(mh.KeyReusedError):
        payments.run("other", body, 1) and payments.run("other", body, 2)
    with pytest.raises(mh.ConfigurationError, match="key is needed to decorate"):
        payments(lambda x: x)


def test_threads_and_tasks_share_one_execution(registry: mh.Registry) -> None:
    """Fifty threads and fifty tasks on two loops: one execution, a result of his own for each."""
    inside, go = threading.Event(), threading.Event()
    body = Body()
    policy = mh.idempotent("{order}", name="shared", registry=registry)

    @policy
    def in_thread(order: int) -> Any:
        inside.set()
        go.wait(timeout=10)
        body()
        return {"items": []}

    @policy
    async def in_task(order: int) -> Any:
        body()
        return {"items": []}

    results: list[Any] = []
    lock = threading.Lock()

    def work() -> None:
        result = in_thread(1)
        with lock:
            results.append(result)

    async def tasks() -> None:
        found = await asyncio.gather(*[in_task(1) for _ in range(25)])
        with lock:
            results.extend(found)

    leader = threading.Thread(target=work)
    leader.start()
    assert inside.wait(timeout=10)
    threads = [threading.Thread(target=work) for _ in range(49)]
    threads += [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(2)]
    for each in threads:
        each.start()
    while policy.stats().waited < 99:
        threading.Event().wait(0.001)
    go.set()
    for each in [leader, *threads]:
        each.join()
    assert (body.runs, len(results)) == (1, 100)
    assert len({id(each["items"]) for each in results}) == 100
    stats = policy.stats()
    assert (stats.calls, stats.executed, stats.replayed, stats.running) == (100, 1, 99, 0)


def test_rejecting_instead_of_waiting(registry: mh.Registry) -> None:
    """With ``on_running="reject"`` a second call is refused at once, and told when to come back."""

    @mh.idempotent("{order}", on_running="reject", lease=9, registry=registry)
    async def charge(order: int) -> str:
        await asyncio.sleep(0.01)
        return "done"

    async def main() -> Any:
        first = asyncio.create_task(charge(1))
        await asyncio.sleep(0)
        with pytest.raises(mh.InProgressError, match="is being executed by another") as refused:
            await charge(1)
        return refused.value.retry_after, await first

    retry_after, result = asyncio.run(main())
    assert (0 < retry_after <= 9, result) == (True, "done")


@pytest.mark.parametrize("bound", ["wait_timeout", "deadline"])
def test_waiting_is_bounded(bound: str, registry: mh.Registry) -> None:
    """A wait ends at ``wait_timeout`` or at the deadline, and the holder is unharmed."""
    settings: Any = {"wait_timeout": "20ms"} if bound == "wait_timeout" else {}
    go = asyncio.Event()

    @mh.idempotent("{order}", registry=registry, **settings)
    async def charge(order: int) -> str:
        await go.wait()
        return "done"

    async def main() -> Any:
        first = asyncio.create_task(charge(1))
        await asyncio.sleep(0)
        with pytest.raises(mh.InProgressError), mh.deadline(0.02 if bound == "deadline" else 10):
            await charge(1)
        go.set()
        return await first

    assert asyncio.run(main()) == "done"


def test_a_cancelled_leader_leaves_the_lead(store: Any) -> None:
    """When the leader is cancelled one of ten followers takes over; none of them is cancelled."""
    body = Body()
    policy = mh.idempotent("{order}", store=store, name=uuid.uuid4().hex)

    async def main() -> Any:
        release = asyncio.Event()

        @policy
        async def charge(order: int) -> str:
            body()
            await release.wait()
            return "done"

        leader = asyncio.create_task(charge(1))
        while not body.runs:
            await asyncio.sleep(0.001)
        followers = [asyncio.create_task(charge(1)) for _ in range(10)]
        while policy.stats().waited < 10:
            await asyncio.sleep(0.001)
        leader.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await leader
        return await asyncio.gather(*followers)

    assert (asyncio.run(main()), body.runs) == (["done"] * 10, 2)
    assert len(flights_of(store)) == 0


def test_cancelling_at_every_await_leaves_nothing(store: Any) -> None:
    """Whenever a call is cancelled, the next one is executed or replayed, and nothing is left."""
    policy = mh.idempotent("{order}", store=store, name=uuid.uuid4().hex)

    @policy
    async def charge(order: int) -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "done"

    async def sweep(order: int) -> bool:
        task = asyncio.create_task(charge(order))
        for _ in range(order):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await asyncio.wait_for(charge(order), 5) == "done"
        return task.cancelled()

    async def main() -> list[bool]:
        found = [await sweep(order) for order in range(1, 30)]
        assert len(asyncio.all_tasks()) == 1
        return found

    assert any(asyncio.run(main()))
    assert (len(flights_of(store)), policy.stats().running) == (0, 0)


def test_a_sync_wait_on_the_loop_of_the_holder_is_refused(registry: mh.Registry) -> None:
    """A sync call that would block the very loop it waits for raises at once."""
    policy = mh.idempotent("{order}", name="both", registry=registry)

    @policy
    def sync_charge(order: int) -> str:
        return "sync"

    @policy
    async def charge(order: int) -> str:
        await asyncio.sleep(0.01)
        return "async"

    async def main() -> str:
        task = asyncio.create_task(charge(1))
        await asyncio.sleep(0)
        with pytest.raises(mh.InProgressError, match="await the async form"):
            sync_charge(1)
        return await task

    assert asyncio.run(main()) == "async"


def test_events_and_stats(colour: Colour, registry: mh.Registry) -> None:
    """Replays are told with a hash of the key; statistics add up and are JSON."""
    body = Body()
    policy = mh.idempotent("{order}", store=mh.MemoryStore(), name="charge", registry=registry)
    fn = charge_with(policy, body, colour)
    told: list[Any] = []
    with mh.subscribe(told.append, events.ResultReplayed):
        colour.call(fn, "secret")
        colour.call(fn, "secret")
    body.result = ValueError()
    with pytest.raises(ValueError):
        colour.call(fn, 2)
    with pytest.raises(mh.KeyReusedError):
        colour.call(fn, "secret", 9)
    assert (len(told), "secret" in repr(told)) == (1, False)
    stats = json.loads(json.dumps(registry.stats()["charge"].to_dict()))
    assert [stats[each] for each in ("calls", "executed", "replayed", "released", "rejected")] == [
        4,
        1,
        1,
        1,
        1,
    ]
    assert repr(policy) == "<idempotent('charge', ttl 86400 s, in memory)>"


def test_methods_keep_their_objects_apart(registry: mh.Registry) -> None:
    """A method is a function of its object as well; key_for is asked on the class."""

    class Shop:
        @mh.idempotent("{order}", fingerprint=False, registry=registry)
        def charge(self, order: int) -> str:
            return f"order {order}"

    shop = Shop()
    assert [shop.charge(1), shop.charge(1)] == ["order 1"] * 2
    assert isinstance(Shop.charge.key_for(shop, 1), str)


def test_ten_thousand_keys_leave_nothing(registry: mh.Registry) -> None:
    """After many keys there are no flights and no threads of ours."""
    before = threading.active_count()
    fn = mh.idempotent("{order}", registry=registry)(lambda order: order)
    for order in range(10_000):
        fn(order)
    gc.collect()
    assert threading.active_count() <= before
    policy: Any = fn.policies[0]
    assert len(policy.flights) == 0


@dataclasses.dataclass
class Receipt:
    """A result with a type of its own."""

    order: int


def test_annotated_types_come_back(store: Any) -> None:
    """A dataclass that the function is annotated with is replayed as one."""

    @mh.idempotent("{order}", store=store, name=uuid.uuid4().hex)
    def charge(order: int) -> Receipt:
        return Receipt(order)

    assert [charge(1), charge(1)] == [Receipt(1), Receipt(1)]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"key": "{order.id!r}"}, "formats its fields"),
    ({"key": "order"}, "names no argument"),
    ({"key": "{nobody}"}, "is no argument of"),
    ({"key": "{order}", "ttl": 0}, "ttl .* got 0"),
    ({"key": "{order}", "lease": float("nan")}, "lease .* got nan"),
    ({"key": "{order}", "max_run": 1}, "max_run=1 is less than lease=30"),
    ({"key": "{order}", "on_running": "queue"}, "on_running must be one of"),
    ({"key": "{order}", "on_store_error": "ignore"}, "on_store_error must be one of"),
    ({"key": "{order}", "wait_timeout": -1}, "wait_timeout .* got -1"),
    ({"key": "{order}", "version": "1"}, "version .* got '1'"),
    ({"key": "{order}", "codec": "pickle"}, "codec must be 'auto' or"),
    ({"key": "{order}", "store": "redis://x"}, "store must be a store"),
    ({"key": "{order}", "fingerprint": 5}, "fingerprint must be"),
    ({"key": "{order}", "max_result_bytes": -1}, "max_result_bytes .* got -1"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_wrong_settings_are_errors_at_decoration(
    wrong: dict[str, Any], said: str, registry: mh.Registry
) -> None:
    """A wrong setting names the argument, the value and the fix, before any call."""
    with pytest.raises(mh.ConfigurationError, match=said):
        mh.idempotent(**wrong, registry=registry)(lambda order: order)


def test_local_functions_need_a_name_on_a_lasting_store(connect: Any, servers: Any) -> None:
    """Records outlive a lambda, so on a remote store it has to say what it is called."""
    remote = connect(servers("valkey").url)
    with pytest.raises(mh.ConfigurationError, match="give it a name="):
        mh.idempotent("{order}", store=remote)(lambda order: order)
