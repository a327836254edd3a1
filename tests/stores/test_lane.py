"""The lane's promises, with real servers that are slow, stopped, killed, or lose replies."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from freezegun import freeze_time

from meshhook.errors import StoreError, StoreUnavailableError
from meshhook.stores import lane as lane_module
from meshhook.stores.lane import BATCH, BATCH_BYTES, Lane
from meshhook.stores.protocol import Acquired, Begin, Done, Finish, Get, Running, Stored
from meshhook.stores.redis import RedisStore
from tests.faultproxy import FaultProxy
from tests.servers import Server

LIMIT = 0.5  # how long any caller waits for a store that is down
Connect = Callable[..., RedisStore]


def begin(key: str, owner: str = "a") -> Begin:
    """Make a begin with a lease that no test sees the end of."""
    return Begin(key, owner, None, 30.0, 3600.0)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for a condition; False if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def works(store: RedisStore) -> bool:
    """Tell whether the store answers."""
    with contextlib.suppress(StoreUnavailableError):
        store.perform(Get("any"))
        return True
    return False


def failure(store: RedisStore) -> float:
    """Return after how many seconds a call fails with StoreUnavailableError."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.perform(begin("fails"))
    return time.monotonic() - started


async def results(replies: Sequence[Any]) -> list[Any]:
    """Await replies together."""

    async def one(reply: Any) -> Any:
        return await reply

    return await asyncio.gather(*map(one, replies), return_exceptions=True)


@pytest.mark.fault
def test_what_is_queued_goes_as_one_batch(proxy: FaultProxy, connect: Connect) -> None:
    """While one answer is under way 20 commands queue up, and share the next round trip."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))
    proxy.delay = 0.2
    before = proxy.round_trips
    first = store.submit(begin("first"))
    assert eventually(lambda: proxy.round_trips == before + 1)
    replies = [store.submit(begin(str(number))) for number in range(20)]
    assert {"Acquired"} == {type(reply.result()).__name__ for reply in [first, *replies]}
    assert proxy.round_trips - before == 2
    assert proxy.connections == 1


def test_a_lost_reply_is_sent_for_again(proxy: FaultProxy, connect: Connect) -> None:
    """A begin that was executed before its reply was lost is Acquired by the same owner, once."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))
    store.perform(Finish("warm", "a", "value", "1", 60.0))
    proxy.drop_replies = 1
    answer = store.perform(begin("key"))
    assert type(answer) is Acquired
    assert proxy.connections == 2
    assert answer == store.perform(begin("key"))
    proxy.drop_replies = 1
    assert Stored(before=True) == store.perform(Finish("key", "a", "value", "1", 60.0))
    assert store.perform(begin("key", "b")).record.attempt == 1


@pytest.mark.fault
def test_what_may_have_been_taken_is_given_back(proxy: FaultProxy, connect: Connect) -> None:
    """A begin that failed for its caller, but was executed, does not hold the key for a lease."""
    store = connect(proxy.url, timeout=1.0)
    store.perform(begin("warm"))
    proxy.drop_replies = 2  # of the second try, too
    with pytest.raises(StoreUnavailableError):
        store.perform(begin("key", "gone"))
    # The lane sees to it by itself, without another call.
    other = connect(proxy.url, timeout=5.0)
    assert eventually(lambda: type(other.perform(begin("key", "next"))) is Acquired)
    assert other.perform(begin("key", "next")).attempt == 2


@pytest.mark.fault
def test_a_connection_that_was_reset_while_idle_is_no_error(
    proxy: FaultProxy, connect: Connect
) -> None:
    """The next call opens another connection and goes on."""
    store = connect(proxy.url, timeout=5.0)
    for _ in range(3):
        assert store.perform(Get("key")) is None
        proxy.reset()
        assert eventually(lambda: not proxy._open)
    assert store.perform(Get("key")) is None


@pytest.mark.fault
def test_a_stopped_server_holds_nobody(own_server: Server, connect: Connect) -> None:
    """Threads and tasks that call a stopped server all fail within half a second, then at once."""
    store = connect(own_server.url)
    assert type(store.perform(begin("before"))) is Acquired
    own_server.pause()
    waits: list[float] = []

    def call() -> None:
        waits.extend(failure(store) for _ in range(3))

    async def call_async() -> None:
        started = time.monotonic()
        replies = [store.submit(begin(f"task {number}")) for number in range(100)]
        answers = await results(replies)
        assert {StoreUnavailableError} == set(map(type, answers))
        waits.append(time.monotonic() - started)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(call_async())
    for thread in threads:
        thread.join()
    assert len(waits) == 25
    assert max(waits) < LIMIT
    # Now the lane knows, and alone goes on asking.
    assert eventually(lambda: failure(store) < 0.05)
    assert max(failure(store) for _ in range(50)) < 0.05
    own_server.resume()
    assert eventually(lambda: works(store), 3.0)
    assert type(store.perform(begin("after"))) is Acquired


@pytest.mark.fault
def test_a_stopped_server_keeps_no_key(own_server: Server, connect: Connect) -> None:
    """Begins that it executes late, for callers that were told it is down, are given back."""
    store = connect(own_server.url)
    store.perform(begin("warm"))
    own_server.pause()
    failure(store)
    own_server.resume()
    assert eventually(lambda: works(store))
    assert eventually(lambda: type(store.perform(begin("fails", "next"))) is Acquired)


@pytest.mark.fault
def test_a_killed_server_is_found_again(own_server: Server, connect: Connect) -> None:
    """Gone: calls fail at once. Started again on its port, empty: calls work again."""
    store = connect(own_server.url)
    first = store.perform(begin("key"))
    own_server.kill()
    assert max(failure(store) for _ in range(20)) < LIMIT
    own_server.start()
    assert eventually(lambda: works(store), 3.0)
    again = store.perform(begin("key"))
    assert again.fence > first.fence
    own_server.restart()  # while idle: nobody notices
    assert type(store.perform(begin("key"))) is Acquired


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["blackhole", "refuse", "delay", "slices"])
def test_a_broken_network_holds_nobody(fault: str, proxy: FaultProxy, connect: Connect) -> None:
    """Swallowed, refused, late and dribbling replies end within the bound; then it works again."""
    store = connect(proxy.url)
    assert eventually(lambda: works(store))
    if fault == "refuse":
        proxy.refuse()
    else:
        setattr(proxy, fault, {"blackhole": True, "delay": 1.0, "slices": 0.05}[fault])
    assert max(failure(store) for _ in range(4)) < LIMIT
    if fault == "refuse":
        proxy.accept_again()
    else:
        setattr(proxy, fault, {"blackhole": False, "delay": 0.0, "slices": None}[fault])
    assert eventually(lambda: works(store))


@pytest.mark.fault
def test_replies_that_dribble_in_are_cut_off(proxy: FaultProxy, connect: Connect) -> None:
    """A batch whose replies come in time one by one, but not together, ends within the bound."""
    store = connect(proxy.url)
    assert eventually(lambda: works(store))
    proxy.slices = 0.02
    started = time.monotonic()
    replies = [store.submit(Get(str(number))) for number in range(50)]
    assert StoreUnavailableError in set(map(type, asyncio.run(results(replies))))
    assert time.monotonic() - started < LIMIT
    proxy.slices = None
    assert eventually(lambda: works(store))


@pytest.mark.fault
def test_while_down_only_the_lane_asks(proxy: FaultProxy, connect: Connect) -> None:
    """A thousand calls to a store that is down open no connection; the lane opens one at a time."""
    store = connect(proxy.url, timeout=0.05)
    store.perform(Get("key"))
    proxy.blackhole = True
    for _ in range(4):
        failure(store)
    before = proxy.connections
    started = time.monotonic()
    for _ in range(1_000):
        failure(store)
    assert proxy.connections - before <= 3 + (time.monotonic() - started) / 0.05


def test_an_abandoned_task_breaks_nothing(proxy: FaultProxy, connect: Connect) -> None:
    """A cancelled task costs no connection, and what its begin took is given back."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))

    async def cancelled_before_the_reply() -> None:
        proxy.delay = 0.04
        task = asyncio.create_task(results_of(store.submit(begin("key", "gone"))))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.delay = 0.0

    asyncio.run(cancelled_before_the_reply())
    assert eventually(lambda: type(store.perform(begin("key", "next"))) is Acquired)
    assert proxy.connections == 1


async def results_of(reply: Any) -> Any:
    """Await one reply."""
    return await reply


def test_a_task_cancelled_with_the_answer_there_gives_it_back(
    proxy: FaultProxy, connect: Connect
) -> None:
    """Between the answer and its reader nothing gets lost either."""
    store = connect(proxy.url, timeout=5.0)

    async def cancelled_after_the_reply() -> None:
        reply = store.submit(begin("key", "gone"))
        task = asyncio.create_task(results_of(reply))
        await asyncio.sleep(0)
        assert eventually(reply.done)  # blocks the loop, so the task has not seen it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled_after_the_reply())
    assert eventually(lambda: type(store.perform(begin("key", "next"))) is Acquired)


def test_an_abandoned_refusal_takes_nothing(proxy: FaultProxy, connect: Connect) -> None:
    """Who left while being told that another runs gives back nothing of that other."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("key"))
    reply = store.submit(begin("key", "gone"))
    assert eventually(reply.done)
    reply.abandon()
    reply.abandon()
    assert type(store.perform(begin("key", "b"))) is Running


def test_an_answer_that_was_read_is_kept(proxy: FaultProxy, connect: Connect) -> None:
    """Abandoning afterwards, as a finally might, takes nothing away."""
    store = connect(proxy.url, timeout=5.0)
    reply = store.submit(begin("key"))
    assert type(reply.result()) is Acquired
    reply.abandon()
    assert type(store.perform(begin("key", "b"))) is Running


def test_what_is_abandoned_in_the_queue_is_never_sent(proxy: FaultProxy, connect: Connect) -> None:
    """A command whose caller left before its turn costs the server nothing."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))
    proxy.delay = 0.04
    before = proxy.round_trips
    first = store.submit(begin("first"))
    assert eventually(lambda: proxy.round_trips == before + 1)
    left = store.submit(begin("left"))
    left.abandon()
    first.result()
    proxy.delay = 0.0
    assert store.perform(begin("left", "b")).attempt == 1


def test_a_reply_not_in_time_is_abandoned(proxy: FaultProxy, connect: Connect) -> None:
    """``result(timeout)`` raises when its time is over, and gives back what comes later."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))
    proxy.delay = 0.04
    with pytest.raises(StoreUnavailableError, match="did not answer within"):
        store.submit(begin("key", "gone")).result(0.005)
    proxy.delay = 0.0
    assert eventually(lambda: type(store.perform(begin("key", "next"))) is Acquired)


def test_two_loops_and_threads_share_one_connection(proxy: FaultProxy, connect: Connect) -> None:
    """Two event loops and 4 threads at once: one owner for each key, and one connection."""
    store = connect(proxy.url, timeout=5.0)
    owners: list[Any] = []

    def in_loop(name: str) -> None:
        async def work() -> None:
            replies = [store.submit(begin(str(number % 40), name)) for number in range(80)]
            owners.extend(await results(replies))

        asyncio.run(work())

    def in_thread(name: str) -> None:
        owners.extend(store.perform(begin(str(number), name)) for number in range(40))

    threads = [threading.Thread(target=in_loop, args=(f"loop {n}",)) for n in range(2)]
    threads += [threading.Thread(target=in_thread, args=(f"thread {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fences = {answer.fence for answer in owners if type(answer) is Acquired}
    assert {"Acquired", "Running"} == {type(answer).__name__ for answer in owners}
    assert len(fences) == 40
    assert proxy.connections == 1


@pytest.mark.fault
def test_a_forked_child_has_a_lane_of_its_own(proxy: FaultProxy, connect: Connect) -> None:
    """After a fork with calls under way parent and child go on, each over its own connection."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("warm"))
    proxy.delay = 0.1
    under_way = [store.submit(begin(str(number))) for number in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if type(store.perform(begin("child"))) is Acquired else 2
            store.close()
        os._exit(code)
    assert {"Acquired"} == {type(reply.result()).__name__ for reply in under_way}
    assert (child, 0) == os.waitpid(child, 0)
    proxy.delay = 0.0
    assert type(store.perform(begin("child", "parent"))) is Running
    assert type(store.perform(begin("parent"))) is Acquired
    assert proxy.connections == 2


def test_close_sends_what_is_queued(proxy: FaultProxy, connect: Connect) -> None:
    """Commands that were submitted before ``close`` are executed; later ones are refused."""
    store = connect(proxy.url, timeout=5.0)
    store.perform(begin("key"))
    proxy.delay = 0.02
    replies = [store.submit(begin(str(number))) for number in range(300)]
    finish = store.submit(Finish("key", "a", "value", "kept", 60.0))
    store.close()
    store.close()
    assert Stored() == finish.result()
    assert all(type(reply.result()) is Acquired for reply in replies)
    with pytest.raises(StoreUnavailableError, match="it is closed"):
        store.perform(Get("key"))
    proxy.delay = 0.0
    assert type(connect(proxy.url, timeout=5.0).perform(begin("key", "b"))) is Done


@pytest.mark.fault
@pytest.mark.parametrize("calls", [1, 5])
def test_close_is_bounded_when_the_server_is_stopped(
    calls: int, own_server: Server, connect: Connect
) -> None:
    """Closing waits at most a second, before and after the lane has given up on the server."""
    store = connect(own_server.url, timeout=10.0 if calls == 1 else 0.05)
    store.perform(begin("warm"))
    own_server.pause()
    if calls > 1:
        for _ in range(calls):
            failure(store)
    replies = [store.submit(begin(str(number))) for number in range(calls)]
    started = time.monotonic()
    store.close()
    assert time.monotonic() - started < 1.5
    assert {StoreUnavailableError} == set(map(type, asyncio.run(results(replies))))


EXITS = """
import os, sys
from meshhook.stores.protocol import Begin, Finish
from meshhook.stores.redis import RedisStore

store = RedisStore(sys.argv[1], namespace="exits", timeout=5.0 if len(sys.argv) < 3 else 0.1)
store.perform(Begin("key", "a", None, 30.0, 60.0))
if len(sys.argv) > 2:
    os.kill(int(sys.argv[2]), 19)
store.submit(Finish("key", "a", "value", "sent at exit", 60.0))
print("end")
"""


def exit_of(*arguments: str) -> float:
    """Run a program that leaves a command behind, and return how long it took after its end."""
    command = [sys.executable, "-W", "error", "-c", EXITS, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"end\n"
        started = time.monotonic()
        _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (0, b"")
    return time.monotonic() - started


@pytest.mark.fault
def test_the_interpreter_ends_with_the_lane_busy(own_server: Server, connect: Connect) -> None:
    """At exit what is queued is sent; a server that is stopped does not hold the exit up."""
    exit_of(own_server.url)
    store = connect(own_server.url, namespace="exits", timeout=5.0)
    assert store.perform(Get("key")).payload == "sent at exit"
    store.close()
    own_server.restart()
    assert own_server._process is not None
    assert exit_of(own_server.url, str(own_server._process.pid)) < 3.0


def test_frozen_time_does_not_disturb_the_lane(proxy: FaultProxy, connect: Connect) -> None:
    """Entering, ticking and leaving frozen time times nothing out, and delays nothing."""
    store = connect(proxy.url, timeout=5.0)
    with freeze_time("2050-01-01", real_asyncio=True) as clock:
        assert type(store.perform(begin("frozen"))) is Acquired
        clock.tick(3600)
        assert [type(asyncio.run(results_of(store.submit(begin("frozen", "b")))))] == [Running]
    assert type(store.perform(begin("after"))) is Acquired
    assert proxy.connections == 1


class Command:
    """A command of nothing but its size."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def undo(self, answer: Any) -> None:
        return None


class ScriptedWire:
    """A connection that does as the test says; real servers cannot be told to be this odd."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.behave: Callable[[Sequence[Any]], list[Any]] = lambda commands: [True] * len(commands)

    def exchange(self, commands: Sequence[Any], deadline: float) -> list[Any]:
        self.gate.wait(10)
        self.batches.append(len(commands))
        return self.behave(commands)

    def ping(self) -> None:
        """Be there."""

    def drop(self) -> None:
        """Be dropped."""

    def interrupt(self) -> None:
        """Be interrupted."""


@pytest.fixture
def wire() -> ScriptedWire:
    """Give a wire that does as it is told."""
    return ScriptedWire()


@pytest.fixture
def lane(wire: ScriptedWire) -> Any:
    """Give a lane over that wire."""
    lane = Lane("scripted", lambda: wire, timeout=1.0)
    yield lane
    wire.gate.set()
    lane.close()


@pytest.mark.parametrize(("size", "largest"), [(1, BATCH), (BATCH_BYTES // 4, 4), (10**9, 1)])
def test_a_batch_is_bounded(size: int, largest: int, lane: Lane, wire: ScriptedWire) -> None:
    """A batch ends at 200 commands, or at the command that makes it large."""
    replies = [lane.submit(Command(size)) for _ in range(500)]
    wire.gate.set()
    assert all(reply.result() for reply in replies)
    assert sum(wire.batches) == 500
    assert max(wire.batches) == largest


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_whose_thread_dies_answers_and_starts_again(lane: Lane, wire: ScriptedWire) -> None:
    """Whatever ends the thread, who waits is told, and the next command has a new one."""

    def die(_: Sequence[Any]) -> list[Any]:
        raise GeneratorExit("the end of a thread")

    wire.behave = die
    replies = [lane.submit(Command()) for _ in range(BATCH + 5)]
    thread = lane._thread
    assert thread is not None
    wire.gate.set()
    for reply in replies:
        with pytest.raises(StoreUnavailableError):
            reply.result()
    thread.join(10)
    wire.behave = lambda commands: [True] * len(commands)
    assert lane.submit(Command()).result() is True


def test_a_wire_that_answers_too_little_fails_its_batch(lane: Lane, wire: ScriptedWire) -> None:
    """Nobody gets the answer of another, and nobody waits for ever."""
    wire.gate.set()
    wire.behave = lambda commands: []
    with pytest.raises(StoreUnavailableError):
        lane.submit(Command()).result()
    wire.behave = lambda commands: [True] * len(commands)
    assert lane.submit(Command()).result() is True


def test_an_error_in_one_answer_is_that_caller_s(lane: Lane, wire: ScriptedWire) -> None:
    """In a batch each command has its own answer or error."""
    wire.behave = lambda commands: [StoreError("odd")] + [True] * (len(commands) - 1)
    replies = [lane.submit(Command()) for _ in range(3)]
    wire.gate.set()
    outcomes = asyncio.run(results(replies))
    assert [type(each).__name__ for each in outcomes] == ["StoreError", "bool", "bool"]


def test_a_callback_that_raises_harms_nobody(
    lane: Lane, wire: ScriptedWire, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged; the batch and the lane go on."""
    replies = [lane.submit(Command()) for _ in range(3)]
    replies[0].add_done_callback(lambda _: 1 / 0)
    wire.gate.set()
    assert [reply.result() for reply in replies] == [True] * 3
    assert eventually(lambda: "callback" in caplog.text)
    assert lane.submit(Command()).result() is True


def test_closing_from_a_callback_does_not_wait_for_itself(lane: Lane, wire: ScriptedWire) -> None:
    """The lane's own thread may close it."""
    closed = threading.Event()
    reply = lane.submit(Command())
    reply.add_done_callback(lambda _: (lane.close(), closed.set()))
    wire.gate.set()
    assert reply.result() is True
    assert closed.wait(10)


def test_a_loop_that_is_gone_is_no_error(lane: Lane, wire: ScriptedWire) -> None:
    """The answer for a task of a closed loop is dropped, others get theirs."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(results_of(gone := lane.submit(Command())))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    other = lane.submit(Command())
    wire.gate.set()
    assert other.result() is True
    assert eventually(gone.done)
    task._log_destroy_pending = False  # it is what a closed loop leaves behind
    with contextlib.suppress(RuntimeError):  # its clean-up asks the loop, too
        task.get_coro().close()


def test_an_idle_lane_has_no_thread(
    lane: Lane, wire: ScriptedWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ends when idle, comes back for the next command, and keeps no store alive."""
    monkeypatch.setattr(lane_module, "_IDLE", 0.01)
    wire.gate.set()
    for _ in range(3):
        assert lane.submit(Command()).result() is True
        assert eventually(lambda: lane._thread is None)
    forgotten = Lane("forgotten", lambda: wire, timeout=1.0)
    assert forgotten.submit(Command()).result() is True
    reference = weakref.ref(forgotten)
    del forgotten

    def is_gone() -> bool:
        gc.collect()
        return reference() is None

    assert eventually(is_gone)


def test_a_thread_that_cannot_start_is_unavailable(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be had the caller is told so."""

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StoreUnavailableError, match="can't start new thread"):
        lane.submit(Command()).result()
