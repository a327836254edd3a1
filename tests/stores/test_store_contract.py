"""The contract of a store, for each store that there is: every transition of a record."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from meshhook.stores.protocol import (
    RUNNING_FLOOR,
    Acquired,
    Begin,
    Conflict,
    Done,
    Finish,
    Force,
    Get,
    Lost,
    Record,
    Renew,
    Renewed,
    Running,
    Store,
    Stored,
    is_store,
)

LEASE = 30.0
KEPT = 3600.0
SHORT = 0.02  # a lease that a test waits for


class Keyring:
    """One key of a store, with the verbs as methods."""

    def __init__(self, store: Store, key: Any = "key") -> None:
        self.store = store
        self.key = key

    def begin(
        self, owner: str, fingerprint: Any = "fp", lease: float = LEASE, kept: float = KEPT
    ) -> Any:
        return self.store.perform(Begin(self.key, owner, fingerprint, lease, kept))

    def renew(self, owner: str, lease: float = LEASE, kept: float = KEPT) -> Any:
        return self.store.perform(Renew(self.key, owner, lease, kept))

    def finish(
        self, owner: str, kind: Any = "value", payload: Any = "1", kept: float = KEPT
    ) -> Any:
        return self.store.perform(Finish(self.key, owner, kind, payload, kept))

    def get(self) -> Record | None:
        return self.store.perform(Get(self.key))  # type: ignore[no-any-return]

    def force(self, fence: int | None = None) -> Any:
        return self.store.perform(Force(self.key, fence))


@pytest.fixture
def key(store: Store) -> Keyring:
    """Give an unused key of an empty store."""
    return Keyring(store)


def about(seconds: float) -> Any:
    """Match a remaining span: at most ``seconds``, and less only by what a busy machine takes."""
    return pytest.approx(seconds - 5.0, abs=5.001)


def test_what_is_absent_is_acquired(key: Keyring) -> None:
    """The first owner gets the key, with a fence and attempt 1."""
    answer = key.begin("a")
    assert type(answer) is Acquired
    assert answer.attempt == 1
    assert answer.fence > 0


def test_the_same_owner_acquires_again(key: Keyring) -> None:
    """A begin whose reply was lost is answered again, with the same fence and attempt."""
    assert key.begin("a") == key.begin("a")


def test_the_same_owner_keeps_the_key_past_its_lease(key: Keyring) -> None:
    """Nobody took the key over, so its owner still has it, also past the lease."""
    first = key.begin("a", lease=SHORT)
    time.sleep(SHORT)
    assert first == key.begin("a")
    assert Renewed(LEASE) == key.renew("a")
    assert type(key.begin("b")) is Running


def test_another_owner_finds_it_running(key: Keyring) -> None:
    """While the lease lasts others learn fence, fingerprint and the time left."""
    fence = key.begin("a").fence
    answer = key.begin("b")
    assert Running(fence, about(LEASE), "fp") == answer
    assert type(answer) is Running


def test_a_lease_that_is_over_is_taken_over(key: Keyring) -> None:
    """The next owner is told, and gets a larger fence and attempt 2; the first one has lost."""
    first = key.begin("a", lease=SHORT)
    time.sleep(SHORT)
    second = key.begin("b")
    assert type(second) is Acquired
    assert (first.taken_over, second.taken_over) == (False, True)
    assert second.fence > first.fence
    assert second.attempt == 2
    assert type(key.renew("a")) is Lost
    assert type(key.finish("a")) is Lost
    assert type(key.finish("a", "released")) is Lost
    assert Stored() == key.finish("b")


def test_another_call_does_not_take_over(key: Keyring) -> None:
    """With another fingerprint an orphan stays, and shows its own fingerprint."""
    fence = key.begin("a", "mine", lease=SHORT).fence
    time.sleep(SHORT)
    assert Running(fence, 0.0, "mine") == key.begin("b", "other")
    assert type(key.begin("c", "mine")) is Acquired


def test_the_fingerprint_survives_a_takeover_without_one(key: Keyring) -> None:
    """Whoever brings no fingerprint leaves the one that is there."""
    key.begin("a", "mine", lease=SHORT)
    time.sleep(SHORT)
    assert type(key.begin("b", None)) is Acquired
    key.finish("b")
    record = key.get()
    assert record is not None
    assert record.fingerprint == "mine"


@pytest.mark.parametrize("fingerprint", [None, "", "fp", b"\x00\xff", "\N{SNOWMAN}"])
def test_fingerprints_come_back_as_they_were(key: Keyring, fingerprint: Any) -> None:
    """None, text and bytes keep their type through running and done."""
    key.begin("a", fingerprint)
    assert fingerprint == key.begin("b").fingerprint
    key.finish("a")
    assert fingerprint == key.begin("b").record.fingerprint


@pytest.mark.parametrize(
    "payload", [None, "", b"", "text", b"\x00\xff\r\n", "\ud800", "x" * 300_000]
)
def test_payloads_come_back_as_they_were(key: Keyring, payload: Any) -> None:
    """None, empty, large and binary payloads keep value and type."""
    key.begin("a")
    assert Stored() == key.finish("a", payload=payload)
    record = key.begin("b").record
    assert payload == record.payload
    assert type(record.payload) is type(payload)


def test_done_is_shown_whole(key: Keyring) -> None:
    """A finished record has payload, fingerprint, fence, attempt, age and what remains."""
    fence = key.begin("a").fence
    key.finish("a", payload="result")
    answer = key.begin("b")
    assert type(answer) is Done
    expected = Record("value", "result", "fp", fence, 1, pytest.approx(5, abs=5), about(KEPT))
    assert expected == answer.record
    assert type(key.begin("a")) is Done


def test_opaque_is_done_without_a_result(key: Keyring) -> None:
    """A result that could not be kept is done all the same, and may say why."""
    key.begin("a")
    assert Stored() == key.finish("a", "opaque", "a socket")
    record = key.begin("b").record
    assert (record.kind, record.payload, record.fingerprint) == ("opaque", "a socket", "fp")


def test_finish_is_stored_once_and_answered_again(key: Keyring) -> None:
    """A finish whose reply was lost is Stored again and changes nothing."""
    key.begin("a")
    assert Stored(before=False) == key.finish("a", payload="first")
    assert Stored(before=True) == key.finish("a", payload="second")
    assert Stored(before=True) == key.finish("a", "released")
    assert key.begin("b").record.payload == "first"


def test_only_the_owner_finishes(key: Keyring) -> None:
    """Whoever does not hold the key changes nothing, and sees who does."""
    fence = key.begin("a").fence
    lost = key.finish("b", payload="not mine")
    assert (
        Lost(Record("running", None, "fp", fence, 1, pytest.approx(5, abs=5), about(LEASE))) == lost
    )
    key.finish("a", payload="mine")
    assert key.finish("b", payload="late").record.payload == "mine"
    assert key.renew("b").record.payload == "mine"
    assert Lost(None) == Keyring(key.store, "nothing here").finish("a")
    assert Lost(None) == Keyring(key.store, "nothing here").renew("a")


def test_renew_moves_the_end_of_the_lease(key: Keyring) -> None:
    """A renewed lease counts from now, and others see the new end."""
    key.begin("a", lease=10)
    assert Renewed(20.0) == key.renew("a", lease=20)
    assert about(20) == key.begin("b").remaining
    assert key.begin("b").remaining > 10


def test_a_finished_record_is_not_renewed(key: Keyring) -> None:
    """Renewing after the end is Lost and brings no running record back."""
    key.begin("a")
    key.finish("a", payload="end")
    lost = key.renew("a")
    assert type(lost) is Lost
    assert lost.record.payload == "end"
    assert type(key.begin("b")) is Done


def test_released_is_free_at_once(key: Keyring) -> None:
    """After a release the next owner starts, with a larger fence and the next attempt."""
    first = key.begin("a", "one")
    assert Stored(before=False) == key.finish("a", "released", None)
    assert Stored(before=True) == key.finish("a", "released", None)
    assert Lost(None) == key.finish("a")
    assert Lost(None) == key.renew("a")
    assert key.get() is None
    second = key.begin("b", "two")
    assert second.attempt == 2
    assert second.fence > first.fence
    assert key.begin("c").fingerprint == "two"


def test_get_changes_nothing(key: Keyring) -> None:
    """Reading shows each state and leaves it."""
    assert key.get() is None
    fence = key.begin("a", lease=SHORT).fence
    running = key.get()
    assert Record("running", None, "fp", fence, 1, running.age, running.remaining) == running
    assert running.remaining <= SHORT
    time.sleep(SHORT)
    assert key.get().remaining == 0.0
    assert Stored() == key.finish("a")
    assert key.get().kind == "value"


def test_clear_makes_a_late_finish_lost(key: Keyring) -> None:
    """A cleared key is free; who ran under it cannot bring its result back."""
    first = key.begin("a")
    assert type(key.force()) is Stored
    assert key.get() is None
    assert Lost(None) == key.finish("a")
    assert Lost(None) == key.renew("a")
    second = key.begin("b")
    assert second.attempt == 2
    assert second.fence > first.fence
    assert type(key.finish("a")) is Lost


def test_clear_of_a_result_forgets_it(key: Keyring) -> None:
    """A cleared result never comes back."""
    key.begin("a")
    key.finish("a", payload="old")
    key.force()
    assert key.get() is None
    key.begin("b")
    key.finish("b", "opaque", None)
    assert key.get().payload is None


def test_clear_of_nothing_is_no_error(key: Keyring) -> None:
    """Clearing twice, or what is absent, is Stored."""
    assert type(key.force()) is Stored
    key.begin("a")
    assert type(key.force()) is Stored
    assert type(key.force()) is Stored


def test_clear_with_a_fence_compares(key: Keyring) -> None:
    """Only the record of the expected fence is cleared; a repeated clear is answered again."""
    assert Conflict(None) == key.force(1)
    fence = key.begin("a").fence
    conflict = key.force(fence - 1)
    assert type(conflict) is Conflict
    assert conflict.record.fence == fence
    assert type(key.force(fence)) is Stored
    assert type(key.force(fence)) is Stored
    assert Conflict(None) == key.force(fence + 1)
    assert key.get() is None


def test_a_result_is_forgotten_after_its_retention(key: Keyring) -> None:
    """When retention is over the key is absent: attempt 1 again, and a larger fence."""
    first = key.begin("a")
    key.finish("a", kept=SHORT)
    time.sleep(SHORT + 0.005)
    assert key.get() is None
    second = key.begin("b")
    assert second.attempt == 1
    assert second.fence > first.fence


def test_a_running_record_outlives_its_lease(key: Keyring) -> None:
    """A retention below the lease does not make a running record vanish."""
    key.begin("a", lease=SHORT, kept=SHORT / 2)
    time.sleep(SHORT)
    assert key.get().kind == "running"
    key.renew("a", lease=SHORT, kept=SHORT / 2)
    time.sleep(SHORT)
    assert Stored() == key.finish("a")


def test_a_result_that_somebody_waits_for_stays_a_while(key: Keyring) -> None:
    """Who was told that the key is running finds the result, also with next to no retention."""
    key.begin("a")
    key.begin("b")
    key.finish("a", kept=SHORT)
    time.sleep(SHORT + 0.005)
    answer = key.begin("b")
    assert type(answer) is Done
    assert about(RUNNING_FLOOR) == answer.record.remaining


def test_who_waits_is_remembered_over_a_takeover(key: Keyring) -> None:
    """The result of the second owner stays for those who began to wait for the first."""
    key.begin("a", lease=SHORT)
    key.begin("b")
    time.sleep(SHORT)
    assert type(key.begin("c")) is Acquired
    key.finish("c", kept=SHORT)
    time.sleep(SHORT + 0.005)
    assert type(key.begin("b")) is Done


def test_keys_are_apart(store: Store) -> None:
    """Keys that look alike are different records: parts, types and separators count."""
    keys = [
        "a:b",
        b"a:b",
        ("a", "b"),
        ("a:b",),
        ("a:b", ""),
        ("ab",),
        ("a", "b", ""),
        "",
        ("",),
        (),
    ]
    for number, key in enumerate(keys):
        assert type(store.perform(Begin(key, str(number), None, LEASE, KEPT))) is Acquired


def test_submit_answers_as_perform_does(store: Store) -> None:
    """A reply has the answer, calls back once, and says that it is done."""
    seen: list[Any] = []
    done = threading.Event()
    reply = store.submit(Begin("key", "a", None, LEASE, KEPT))
    reply.add_done_callback(lambda reply: (seen.append(reply), done.set()))
    assert type(reply.result()) is Acquired
    assert done.wait(5)
    assert reply.done()
    assert seen == [reply]


async def awaited(reply: Any) -> Any:
    """Await a reply."""
    return await reply


def test_a_reply_can_be_awaited(store: Store) -> None:
    """Awaiting gives the answer, on each event loop."""
    first = asyncio.run(awaited(store.submit(Begin("key", "a", None, LEASE, KEPT))))
    assert type(first) is Acquired

    async def begin(owner: str) -> Any:
        return await store.submit(Begin("key", owner, None, LEASE, KEPT))

    assert first == asyncio.run(begin("a"))
    assert type(asyncio.run(begin("b"))) is Running


def test_one_owner_of_many_threads(store: Store) -> None:
    """Of 16 threads that begin at once exactly one acquires, on each of 20 keys."""
    for number in range(20):
        barrier = threading.Barrier(16)
        answers: list[Any] = []

        def begin(owner: str, number: int = number) -> None:
            barrier.wait()  # noqa: B023 - each round joins its threads
            answers.append(store.perform(Begin(("race", str(number)), owner, None, LEASE, KEPT)))  # noqa: B023

        threads = [threading.Thread(target=begin, args=(str(n),)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (
            sorted(type(answer).__name__ for answer in answers) == ["Acquired"] + ["Running"] * 15
        )


def test_it_is_a_store(store: Store) -> None:
    """Each store has what the protocol asks for, and a repr that names it."""
    assert is_store(store)
    assert store.local == (store.name == "memory")
    assert type(store).__name__ in repr(store)
    store.close()
    store.close()
