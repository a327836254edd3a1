"""Families: bounded in number, and nobody who matters is evicted."""

from __future__ import annotations

import concurrent.futures
import random
import threading
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from meshhook.family import LOOK, Family


class Member:
    """A state that counts what was done to it."""

    def __init__(self) -> None:
        self.touched = True
        self.users = 0
        self.idle = True
        self.count = 0


def family(max_keys: int = 3, make: Callable[[], Member] = Member) -> Family[Member]:
    """Make a family of members that are idle unless they say otherwise."""
    return Family(make, lambda member: member.idle, max_keys)


def use(members: Family[Member], key: Hashable) -> Member:
    """Hold a member for a moment."""
    member = members.hold(key)
    members.let_go(member)
    return member


def test_a_key_has_one_state() -> None:
    """The same key gives the same state, equal keys are the same, others are not."""
    members = family()
    assert members.get("a") is use(members, "a") is members.find("a")
    assert members.get(1) is members.get(1.0)
    assert members.get("a") is not members.get("b")
    assert members.find("c") is None


@pytest.mark.parametrize("key", [None, 0, "", (), frozenset(), ("a", None)])
def test_any_hashable_is_a_key(key: Hashable) -> None:
    """None and empty things are keys as any others."""
    members = family()
    assert members.get(key) is members.find(key)


@pytest.mark.parametrize("key", [[], {}, set(), ("a", [])])
def test_a_key_is_hashable(key: Any) -> None:
    """Anything else is an error that says what to do, and leaves nothing behind."""
    members = family()
    for ask in (members.get, members.hold, members.find):
        with pytest.raises(
            TypeError, match=r"key must be hashable: unhashable type: .*'\{user.id\}'"
        ):
            ask(key)
    assert members.members() == []


@pytest.mark.parametrize("max_keys", [1, 2, 10, 1000])
def test_the_number_of_states_is_bounded(max_keys: int) -> None:
    """However many keys come, there are no more states than allowed, and the overflow."""
    members = family(max_keys)
    for key in range(3 * max_keys + 100):
        use(members, key)
    assert len(members.members()) <= max_keys + 1
    assert members.evicted >= max_keys


def test_the_one_that_was_not_asked_for_goes() -> None:
    """A key that was used since the last look stays, one that was not makes room."""
    members = family(3)
    for key in "abc":
        use(members, key)
    use(members, "d")
    assert members.find("a") is None
    use(members, "b")
    use(members, "e")
    assert members.find("b") is not None
    assert members.find("c") is None
    assert members.evicted == 2


def test_one_that_is_not_idle_stays() -> None:
    """What its owner does not call idle is never evicted; the newcomers share one state."""
    members = family(3)
    kept = [members.get(key) for key in "abc"]
    for member in kept:
        member.idle = False
    overflow = members.get("d")
    assert overflow is members.get("e") is use(members, "f")
    assert overflow not in kept
    assert [members.find(key) for key in "abcd"] == [*kept, None]
    assert members.members() == [*kept, overflow]
    assert members.evicted == 0


def test_one_that_is_held_stays() -> None:
    """A state that a call holds is not evicted before it is let go as often as it was held."""
    members = family(1)
    held = members.hold("a")
    members.hold("a")
    members.let_go(held)
    assert use(members, "b") is not held
    assert members.hold("a") is held
    for _ in range(2):
        members.let_go(held)
    use(members, "c")
    assert members.find("a") is None
    assert members.find("c") is not None


def test_overflow_ends_when_there_is_room_again() -> None:
    """A key that shared the overflow gets a state of its own once another has gone."""
    members = family(1)
    members.get("a").idle = False
    overflow = members.get("b")
    first = members.find("a")
    assert first is not None
    first.idle = True
    assert members.get("b") is not overflow
    assert members.find("a") is None


def test_a_newcomer_looks_at_few_others() -> None:
    """Finding room costs a bounded number of looks, however large the family is."""
    looks = 0

    def is_idle(_: Member) -> bool:
        nonlocal looks
        looks += 1
        return False

    members: Family[Member] = Family(Member, is_idle, 1_000)
    for key in range(1_000):
        members.get(key)
    for key in range(1_000, 1_100):
        before = looks
        members.get(key)
        assert looks - before <= LOOK


def test_a_small_family_finds_room_at_the_first_try() -> None:
    """All are touched at first; a newcomer goes round twice before it gives up."""
    members = family(2)
    for key in "ab":
        members.get(key)
    members.get("c")
    assert members.find("c") is not None
    assert members.evicted == 1


def test_states_are_made_with_the_lock_free() -> None:
    """Whatever makes a state may use the family, from another thread too."""
    seen: list[Any] = []

    def make() -> Member:
        if not seen:
            seen.append("first")
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(members.get, "inside").result(timeout=5))
        return Member()

    members = family(make=make)
    outside = members.get("outside")
    assert seen == ["first", members.find("inside")]
    assert outside is members.find("outside")


def test_hashing_may_come_back() -> None:
    """A key whose hash or comparison uses the family does not wait for itself."""

    class Curious:
        def __hash__(self) -> int:
            members.get("other")
            return 5

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Curious)

    members = family()
    assert members.get(Curious()) is members.get(Curious())


def test_a_state_that_was_made_in_vain_is_dropped() -> None:
    """Of several threads that want a new key at once, all get the one state."""
    for _ in range(20):
        gate = threading.Barrier(4)

        def make(gate: threading.Barrier = gate) -> Member:
            gate.wait(timeout=5)
            return Member()

        members = family(make=make)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = [pool.submit(use, members, "key") for _ in range(4)]
            assert len({id(each.result()) for each in found}) == 1
        assert len(members.members()) == 1
        assert members.members()[0].users == 0


def test_those_who_are_evicted_are_taken_leave_of() -> None:
    """Each once, under the lock, and while it is a member still; nobody else."""
    left: list[Member] = []

    def say_farewell(member: Member) -> None:
        assert members._lock._is_owned()  # type: ignore[attr-defined]
        assert member in members.members()
        left.append(member)

    members = Family(Member, lambda member: member.idle, 2, farewell=say_farewell)
    first = [use(members, key) for key in "ab"]
    use(members, "c")
    use(members, "d")
    assert left == first
    assert members.evicted == 2


def test_storms_lose_nothing() -> None:
    """8 threads over more keys than fit: nothing held is ever evicted, and users return to 0."""
    members = family(8)
    start = threading.Barrier(8)
    wrong: list[Any] = []

    def storm(seed: int) -> None:
        chance = random.Random(seed)
        start.wait()
        for _ in range(400):
            key = chance.randrange(24)
            member = members.hold(key)
            found = members.find(key)
            if found is not None and found is not member and member not in members.members()[-1:]:
                wrong.append(key)
            members.members()
            members.let_go(member)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(storm, seed) for seed in range(8)]:
            each.result()
    assert wrong == []
    assert len(members.members()) <= 9
    assert {member.users for member in members.members()} == {0}


def test_reading_never_misses_a_state() -> None:
    """What is not evicted is there at every moment, also while a newcomer looks for room."""
    members = family(4)
    for key in range(4):
        members.get(key).idle = False
    done = threading.Event()

    def read() -> int:
        rounds = 0
        while not done.is_set() or not rounds:
            assert [members.find(key) for key in range(4)].count(None) == 0
            assert len(members.members()) >= 4
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for key in range(4, 3_000):
            members.get(key)
        done.set()
        assert reader.result() > 0
