"""Slots: taken and given back by threads and tasks, also in the middle of each other's steps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import pytest

from meshhook.runtime.slots import USED, Slots, Turn


def reached() -> bool:
    """Wake somebody who can be reached."""
    return True


def unreachable() -> bool:
    """Wake somebody whose loop has been closed."""
    return False


def taken(slots: Slots, count: int) -> list[Turn]:
    """Take so many slots."""
    turns = [Turn() for _ in range(count)]
    assert all(slots.take(turn) for turn in turns)
    return turns


def joined(slots: Slots, wake: Callable[[], bool] = reached) -> Turn:
    """Join the queue."""
    turn = Turn()
    assert slots.join(turn, wake, 100)
    return turn


def test_a_turn_that_holds_nothing_gives_nothing_back() -> None:
    """Twice is once."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    for _ in range(3):
        slots.give_back(turn)
        slots.give_back(Turn())
    assert slots.gauges() == (1, 0, 0, 1)


def test_the_peak_is_the_most_that_ever_were_in_use() -> None:
    """However they were given back, and whatever the limit is by now."""
    slots = Slots(10)
    for count in (3, 1, 2):
        for turn in taken(slots, count):
            slots.give_back(turn)
    assert slots.gauges().peak == 3
    slots.set_limit(2)
    slots.settle()
    assert slots.gauges().peak == 3
    slots.set_limit(20)
    slots.settle()
    assert slots.gauges() == (20, 0, 0, 3)
    turns = taken(slots, 8)
    assert slots.gauges().peak == 8
    slots.set_limit(1)
    for turn in turns:
        slots.give_back(turn)
    assert slots.gauges() == (1, 0, 0, 8)


def test_drivers_see_no_free_slot_while_somebody_waits() -> None:
    """Though one was just given back, and nobody has looked after it yet."""
    slots = Slots(1)
    free = slots.free
    del free[-1]
    waits = joined(slots)
    free.append(USED)
    with pytest.raises(IndexError):
        del slots.free[-1]
    assert slots.watch
    slots.settle()
    assert waits.slot is free
    assert not slots.watch


def test_who_begins_to_wait_finds_a_slot_that_was_given_back_meanwhile() -> None:
    """The one who gave it back did not see him."""
    slots = Slots(1)
    del slots.free[-1]
    slots.free.append(USED)
    assert joined(slots).slot is not None


def test_a_slot_in_debt_is_not_to_be_had() -> None:
    """Not by the lock either."""
    slots = Slots(2)
    first, second = taken(slots, 2)
    slots.set_limit(1)
    waits = joined(slots)
    assert not slots.take(Turn())
    slots.give_back(first)
    assert not slots.take(Turn())
    assert waits.slot is None
    slots.give_back(second)
    assert waits.slot is not None


def test_whoever_cannot_be_reached_is_passed_over() -> None:
    """Thousands of them, too."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    for _ in range(50):
        waits = joined(slots, unreachable)
    last = joined(slots)
    slots.give_back(turn)
    assert (waits.slot, slots.waiting) == (None, 0)
    assert last.slot is not None
    slots.give_back(waits)
    assert slots.in_use == 1


def test_a_slot_of_one_who_gave_up_before_he_was_woken() -> None:
    """It has been given back by then."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    waits = Turn()

    def give_up() -> bool:
        slots.give_back(waits)
        return False

    slots.join(waits, give_up, 5)
    slots.give_back(turn)
    assert slots.gauges()[:3] == (1, 0, 0)


class Collected(OrderedDict[Turn, None]):
    """A queue, in whose steps the collector runs and ends coroutines."""

    work: list[Callable[[], object]]

    def __iter__(self) -> Iterator[Turn]:
        found = super().__iter__()
        while self.work:
            self.work.pop()()
        return found


def collected(slots: Slots, *work: Callable[[], object]) -> None:
    """Have the collector do some work in the next look at the queue."""
    queue = Collected(slots._queue)
    queue.work = list(work)
    slots._queue = queue


def test_the_collector_may_run_in_the_middle_of_a_hand_over() -> None:
    """It ends coroutines that hold slots or wait for one, in the thread that has the lock."""
    slots = Slots(3)
    held = taken(slots, 3)
    waits = [joined(slots) for _ in range(4)]
    collected(slots, lambda: slots.give_back(held[1]), lambda: slots.give_back(waits[0]))
    slots.give_back(held[0])
    assert [turn.slot is not None for turn in waits] == [False, True, True, False]
    assert slots.gauges()[:3] == (3, 3, 1)
    for turn in (*held, *waits):
        slots.give_back(turn)
    assert slots.gauges()[:3] == (3, 0, 0)


def test_the_last_who_waits_gives_up_in_the_middle_of_the_hand_over() -> None:
    """The slot is free again."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    waits = joined(slots)
    collected(slots, lambda: slots.give_back(waits))
    slots.give_back(turn)
    assert slots.gauges()[:3] == (1, 0, 0)
    assert slots.take(Turn())


def test_an_interrupted_wake_up_is_made_up_for() -> None:
    """By whoever comes next."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    woken: list[int] = []

    def wake(number: int) -> bool:
        woken.append(number)
        if len(woken) == 1:
            raise KeyboardInterrupt
        return True

    joined(slots, lambda: wake(1))
    joined(slots, lambda: wake(2))
    slots.set_limit(2)
    with pytest.raises(KeyboardInterrupt):
        slots.give_back(turn)
    assert woken == [1]
    slots.settle()
    assert woken == [1, 1, 2]


def test_a_call_whose_last_step_was_interrupted_takes_it_again() -> None:
    """So that the one who has the slot already is woken."""
    slots = Slots(1)
    (turn,) = taken(slots, 1)
    woken: list[int] = []

    def wake() -> bool:
        woken.append(1)
        if len(woken) == 1:
            raise KeyboardInterrupt
        return True

    waits = joined(slots, wake)
    with pytest.raises(KeyboardInterrupt):
        slots.give_back(turn)
    slots.give_back(turn)
    assert len(woken) == 2
    assert slots.gauges()[:3] == (1, 1, 0)
    slots.give_back(waits)
    assert slots.gauges()[:3] == (1, 0, 0)


def test_after_a_fork_what_was_taken_goes_nowhere() -> None:
    """And nobody waits."""
    slots = Slots(2)
    turns = taken(slots, 2)
    waits = joined(slots)
    slots.renew()
    assert slots.gauges()[:3] == (2, 0, 0)
    for turn in (*turns, waits):
        slots.give_back(turn)
    assert slots.gauges()[:3] == (2, 0, 0)
    assert len(slots.free) == 2


def test_threads_that_settle_together_wake_everybody() -> None:
    """Some of them twice: one thread may do what the other has just done."""
    for _ in range(50):
        slots = Slots(8)
        turns = taken(slots, 8)
        woken: list[int] = []

        def wake(number: int, woken: list[int] = woken) -> bool:
            woken.append(number)
            return True

        for number in range(8):
            joined(slots, lambda number=number, wake=wake: wake(number))
        threads = [
            threading.Thread(target=slots.give_back, args=(turn,), daemon=True) for turn in turns
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(woken) == set(range(8))
