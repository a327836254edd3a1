"""The heartbeat: leases are renewed in time, in real time, and only as long as they are wanted.

The store here is a double that notes when it is asked and answers as it is told, where a real one
would have to break at the right moment; what a real one makes of it is in the tests of policies.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime.heartbeat import HEARTBEAT, Beat, Heartbeat
from meshhook.stores.pending import Pending
from meshhook.stores.protocol import Begin, Get, Lost, Renew, Renewed
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP, eventually, real_time

LEASE = 0.03
LONG = 60.0
RENEWED = Renewed(LEASE)


class NotedStore:
    """Notes each renewal with its time, and answers what it is told, or when it is told."""

    def __init__(self, answer: Any = RENEWED) -> None:
        self.answer = answer
        self.renewals: list[tuple[float, Renew]] = []
        self.replies: list[Pending] = []
        self.answers_later = False

    def submit(self, message: Renew) -> Pending:
        self.renewals.append((real_time(), message))
        if isinstance(self.answer, TypeError):
            raise self.answer
        reply = Pending(message, bound=GIVE_UP)
        self.replies.append(reply)
        if not self.answers_later:
            self.settle(reply)
        return reply

    def settle(self, reply: Pending) -> None:
        """Answer a renewal."""
        if isinstance(self.answer, Exception):
            reply.settle(error=self.answer)
        else:
            reply.settle(self.answer)

    def came(self, count: int) -> bool:
        """Tell whether so many renewals came."""
        return len(self.renewals) >= count

    def leases(self) -> list[float]:
        """Return the leases that were asked for."""
        return [renewal.lease for _, renewal in self.renewals]


class Kept(Beat):
    """A lease in a noted store, with what was heard of it."""

    __slots__ = ("began", "failures", "losses", "noted")

    def __init__(
        self, store: NotedStore, lease: float = LEASE, longest: float | None = None
    ) -> None:
        self.losses: list[int] = []
        self.failures: list[Exception] = []
        self.noted = store
        self.began = real_time()
        super().__init__(
            store,  # type: ignore[arg-type]
            Renew("key", "owner", lease, LONG),
            longest,
            lost=lambda: self.losses.append(threading.get_ident()),
            failed=self.failures.append,
        )


@pytest.fixture
def heart() -> Iterator[Heartbeat]:
    """Make a heartbeat that ends soon when it is idle, and see that it does."""
    made = Heartbeat(idle=0.005)
    yield made
    made._beats.clear()
    made._woken.set()
    assert eventually(lambda: made._thread is None)


def threads() -> list[str]:
    """Return the names of all threads of heartbeats."""
    return [each.name for each in threading.enumerate() if each.name == "meshhook heartbeat"]


def test_a_lease_is_renewed_each_third_of_it(heart: Heartbeat) -> None:
    """Not earlier, for the store is somebody's; the lease that is asked for is always whole."""
    kept = Kept(NotedStore())
    heart.add(kept)
    assert eventually(lambda: kept.noted.came(5))
    heart.drop(kept)
    times = [at for at, _ in kept.noted.renewals[:5]]
    for number, at in enumerate(times, start=1):
        assert at - kept.began >= number * LEASE / 3 - 1e-6
    assert set(kept.noted.leases()) == {LEASE}
    assert kept.noted.renewals[0][1] == Renew("key", "owner", LEASE, LONG)
    assert (kept.losses, kept.failures) == ([], [])


def test_nothing_runs_before_the_first_lease(heart: Heartbeat) -> None:
    """The thread starts with the first lease, ends after the last, and starts again."""
    before = len(threads())
    assert (heart._thread, len(heart)) == (None, 0)
    for _ in range(3):
        kept = Kept(NotedStore())
        heart.add(kept)
        assert (len(heart), len(threads())) == (1, before + 1)
        assert eventually(lambda kept=kept: kept.noted.came(2))
        heart.drop(kept)
        assert len(heart) == 0
        assert eventually(lambda: heart._thread is None and len(threads()) == before)


def test_one_thread_keeps_many_leases(heart: Heartbeat) -> None:
    """Fifty leases, each renewed, by one thread."""
    before = len(threads())
    kept = [Kept(NotedStore()) for _ in range(50)]
    for each in kept:
        heart.add(each)
    assert eventually(lambda: all(each.noted.came(3) for each in kept))
    assert (len(heart), len(threads())) == (50, before + 1)
    for each in kept:
        heart.drop(each)


def test_a_shorter_lease_is_not_held_up_by_a_longer_one(heart: Heartbeat) -> None:
    """The thread that sleeps until the long one is due is woken for the short one."""
    long, short = Kept(NotedStore(), LONG), Kept(NotedStore())
    heart.add(long)
    assert eventually(lambda: heart._sleeps_until < math.inf)
    heart.add(short)
    assert eventually(lambda: short.noted.came(3))
    assert not long.noted.renewals


def test_a_longer_lease_does_not_wake_the_thread(heart: Heartbeat) -> None:
    """Who is due later than what it sleeps for can wait for the next round."""
    heart.add(Kept(NotedStore(), LONG))
    assert eventually(lambda: heart._sleeps_until < math.inf and not heart._woken.is_set())
    heart.add(Kept(NotedStore(), 2 * LONG))
    assert not heart._woken.is_set()


def test_what_was_dropped_is_not_renewed(heart: Heartbeat) -> None:
    """Dropping twice, or what was never added, is no error either."""
    kept, other = Kept(NotedStore()), Kept(NotedStore())
    heart.add(kept)
    heart.drop(kept)
    heart.drop(kept)
    heart.add(other)
    assert eventually(lambda: other.noted.came(3))
    assert kept.noted.renewals == []


def test_losing_the_lease_is_told_once(heart: Heartbeat) -> None:
    """The store says that the key is another's: the holder is told, and asks no more."""
    kept, other = Kept(NotedStore(Lost(None))), Kept(NotedStore())
    heart.add(kept)
    heart.add(other)
    assert eventually(lambda: kept.losses)
    seen = len(other.noted.renewals)
    assert eventually(lambda: other.noted.came(seen + 3))
    assert (len(kept.losses), len(kept.noted.renewals), len(heart)) == (1, 1, 1)


@pytest.mark.parametrize("answer", [Lost(None), mh.StoreUnavailableError("gone"), Renewed(LEASE)])
def test_an_answer_after_the_end_is_nobody_s(answer: Any, heart: Heartbeat) -> None:
    """A renewal that is under way when the call ends may well be refused: that is no loss."""
    store = NotedStore(answer)
    store.answers_later = True
    kept = Kept(store)
    heart.add(kept)
    assert eventually(lambda: store.replies)
    heart.drop(kept)
    store.settle(store.replies[0])
    assert (kept.losses, kept.failures, len(heart)) == ([], [], 0)


def test_a_failed_renewal_is_told_and_tried_again_soon(heart: Heartbeat) -> None:
    """After a tenth of the lease, so that several tries fit into what is left of it."""
    lease = 2.0
    store = NotedStore(mh.StoreUnavailableError("gone"))
    kept = Kept(store, lease)
    kept.due = kept.began
    heart.add(kept)
    assert eventually(lambda: store.came(3))
    store.answer = Renewed(lease)
    first, second, third = [at for at, _ in store.renewals[:3]]
    assert min(second - first, third - second) >= lease / 10 - 1e-6
    # Otherwise the third would come after two thirds of it.
    assert third - first < lease / 2
    assert [str(each) for each in kept.failures[:2]] == ["gone", "gone"]
    assert (kept.losses, len(heart)) == ([], 1)


def test_a_lease_is_kept_for_so_long_and_no_longer(heart: Heartbeat) -> None:
    """At the end of its time the lease is over in the store too, and the holder is told."""
    longest = 2.5 * LEASE
    kept = Kept(NotedStore(), longest=longest)
    heart.add(kept)
    assert eventually(lambda: kept.losses)
    told = real_time()
    assert told - kept.began >= longest
    assert (len(kept.losses), len(heart)) == (1, 0)
    assert max(kept.noted.leases(), default=0.0) <= LEASE


def test_the_last_renewal_is_for_what_is_left() -> None:
    """With less than a lease to go there is one more renewal, and it ends with the time."""
    clock = [100.0]
    heart = Heartbeat(monotonic=lambda: clock[0])
    store = NotedStore()
    kept = Beat(
        store,  # type: ignore[arg-type]
        Renew("key", "owner", 9.0, LONG),
        20.0,
        lost=lambda: lost.append(clock[0]),
        failed=lambda _: None,
        _monotonic=lambda: clock[0],
    )
    lost: list[float] = []
    heart._beats[kept] = None
    due = []
    while kept in heart._beats:
        clock[0] = kept.due
        due.append(clock[0])
        heart._beat(kept, clock[0])
    assert due == [103.0, 106.0, 109.0, 112.0, 120.0]
    assert (store.leases(), lost) == ([9.0, 9.0, 9.0, 8.0], [120.0])


def test_an_end_that_comes_as_the_lease_is_dropped_is_not_told() -> None:
    """The call has ended, so nobody has lost anything, though the time of its lease is over."""
    kept = Kept(NotedStore(), longest=LEASE)
    Heartbeat()._beat(kept, kept.ends + 1)
    assert (kept.losses, kept.noted.renewals) == ([], [])


def test_a_lease_that_cannot_be_renewed_ends_no_other(
    heart: Heartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a store raises instead of a reply is logged, and the others go on."""
    broken, other = Kept(NotedStore(TypeError("broken"))), Kept(NotedStore())
    heart.add(broken)
    heart.add(other)
    assert eventually(lambda: broken.noted.came(2) and other.noted.came(2))
    assert "a lease could not be renewed" in caplog.text


def test_a_holder_who_raises_ends_no_other(
    heart: Heartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    """What the holder does when told is his: an error in it is logged."""
    bad, other = Kept(NotedStore(), longest=LEASE), Kept(NotedStore())
    bad.lost = lambda: 1 / 0
    heart.add(bad)
    heart.add(other)
    assert eventually(lambda: "a lease could not be renewed" in caplog.text)
    seen = len(other.noted.renewals)
    assert eventually(lambda: other.noted.came(seen + 2))
    assert len(heart) == 1


def test_a_thread_that_cannot_start_is_logged_and_tried_again(
    heart: Heartbeat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on without renewals; the next lease tries again, for both."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    first, second = Kept(NotedStore()), Kept(NotedStore())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        heart.add(first)
    assert "leases are not renewed: can't start new thread" in caplog.text
    assert (heart._thread, len(heart)) == (None, 1)
    heart.add(second)
    assert eventually(lambda: first.noted.came(2) and second.noted.came(2))


def test_a_lease_that_comes_as_the_thread_ends_is_kept(heart: Heartbeat) -> None:
    """Two hundred times a lease comes at about the moment at which the thread gives up."""
    for number in range(200):
        kept = Kept(NotedStore(), 0.003)
        heart.add(kept)
        assert eventually(lambda kept=kept: kept.noted.came(1)), number
        heart.drop(kept)
        time.sleep(0.005 * (number % 3) / 2)


def test_leases_that_come_and_go_in_many_threads_are_kept(heart: Heartbeat) -> None:
    """Eight threads, each with fifty leases one after the other: every one is renewed."""
    missed: list[int] = []

    def work() -> None:
        for number in range(50):
            kept = Kept(NotedStore(), 0.003)
            heart.add(kept)
            if not eventually(lambda kept=kept: kept.noted.came(2)):
                missed.append(number)
            heart.drop(kept)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert (missed, len(heart)) == ([], 0)


@pytest.mark.usefixtures("frozen")
def test_leases_are_kept_under_a_frozen_clock(heart: Heartbeat) -> None:
    """A test that freezes time does not let the lease of a real store end."""
    kept = Kept(NotedStore())
    heart.add(kept)
    assert eventually(lambda: kept.noted.came(3))


def test_a_real_store_is_renewed(heart: Heartbeat) -> None:
    """A lease in memory is still running after three times its length."""
    store = mh.MemoryStore()
    store.perform(Begin("key", "owner", None, 0.1, LONG))
    lost: list[Any] = []
    beat = Beat(
        store,
        Renew("key", "owner", 0.1, LONG),
        None,
        lost=lambda: lost.append("lost"),
        failed=lost.append,
    )
    heart.add(beat)
    end = real_time() + 0.3
    assert eventually(lambda: real_time() > end)
    # A busy machine may hold up a renewal, but there is another one.
    assert eventually(lambda: store.perform(Get("key")).remaining > 0)
    assert lost == []


@pytest.mark.fault
def test_a_forked_child_keeps_its_own_leases_only() -> None:
    """Those of the parent are the parent's; the thread starts with the first lease of the child."""
    theirs = Kept(NotedStore())
    HEARTBEAT.add(theirs)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with HEARTBEAT._lock:
            held.set()
            over.wait(GIVE_UP)

    assert eventually(lambda: theirs.noted.came(1))
    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(GIVE_UP)

    def in_child() -> bool:
        empty = len(HEARTBEAT) == 0 and HEARTBEAT._thread is None
        seen = len(theirs.noted.renewals)
        mine = Kept(NotedStore())
        HEARTBEAT.add(mine)
        kept = eventually(lambda: mine.noted.came(3))
        return empty and kept and len(theirs.noted.renewals) == seen

    try:
        assert in_a_fork(in_child) == 0
    finally:
        over.set()
        holder.join()
    seen = len(theirs.noted.renewals)
    assert eventually(lambda: theirs.noted.came(seen + 2)), "the parent goes on"
    HEARTBEAT.drop(theirs)
