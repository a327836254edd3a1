"""Flights: one leads, the others meet at its flight, and it lands once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import meshhook as mh
from meshhook.runtime.flights import Flight, Flights, flights_of
from tests.forking import in_a_fork
from tests.waiting import GIVE_UP


def flight_in(table: Flights, at: Any = "key", fingerprint: str | None = None) -> Flight:
    """Make a flight that joins its table."""
    made = Flight(table, at, fingerprint)
    assert table.join_or_get(at, made) is made
    return made


def test_who_comes_first_leads() -> None:
    """Whoever comes later meets the same flight, until it has landed."""
    table = Flights()
    first = flight_in(table)
    assert table.join_or_get("key", Flight(table, "key", None)) is first
    assert (table.find("key"), table.find("other"), len(table)) == (first, None, 1)
    first.land()
    second = flight_in(table)
    assert (table.find("key"), len(table)) == (second, 1)


def test_keys_are_apart() -> None:
    """A flight of one key is none of another."""
    table = Flights()
    flights = [flight_in(table, at) for at in (("f", 1), ("f", "1"), ("g", 1))]
    flights[1].land()
    assert [table.find(each.at) for each in flights] == [flights[0], None, flights[2]]


def test_a_flight_lands_once() -> None:
    """What it landed with first stays, whatever is said later."""
    table = Flights()
    flight = flight_in(table)
    assert (flight.done(), flight.kind, flight.payload) == (False, None, None)
    flight.land("value", "result")
    flight.land("opaque", None)
    flight.land()
    assert (flight.done(), flight.kind, flight.payload, len(table)) == (True, "value", "result", 0)


def test_a_late_landing_leaves_the_flight_of_another() -> None:
    """Whoever lands after his key has been taken by another removes only himself."""
    table = Flights()
    late = Flight(table, "key", None)  # not in the table
    other = flight_in(table)
    late.land()
    assert table.find("key") is other


def test_whoever_waits_is_called_once_with_the_flight() -> None:
    """In order, in the thread that lands; who comes later is called at once."""
    flight = flight_in(Flights())
    told: list[Any] = []
    flight.add_done_callback(lambda landed: told.append((1, landed, threading.get_ident())))
    flight.add_done_callback(lambda landed: told.append((2, landed, threading.get_ident())))
    thread = threading.Thread(target=flight.land)
    thread.start()
    thread.join()
    assert told == [(1, flight, thread.ident), (2, flight, thread.ident)]
    flight.land()
    flight.add_done_callback(lambda landed: told.append((3, landed, threading.get_ident())))
    assert told[2:] == [(3, flight, threading.get_ident())]


def test_whoever_stops_waiting_is_not_called() -> None:
    """Nor is it an error to stop twice, without having waited, or after the landing."""
    flight = flight_in(Flights())
    told: list[Any] = []
    flight.remove_done_callback(told.append)
    flight.add_done_callback(told.append)
    flight.remove_done_callback(told.append)
    flight.remove_done_callback(told.append)
    flight.land()
    flight.remove_done_callback(told.append)
    assert told == []


def test_a_callback_may_stop_others_from_waiting() -> None:
    """Once it lands all who waited are called: nobody is forgotten on the way."""
    flight = flight_in(Flights())
    told: list[Any] = []

    def stops_the_other(_: Flight) -> None:
        flight.remove_done_callback(told.append)

    flight.add_done_callback(stops_the_other)
    flight.add_done_callback(told.append)
    flight.land()
    assert told == [flight]


def test_threads_that_land_and_wait_at_once_miss_nothing() -> None:
    """Eight who wait for each of 300 flights are called once each, however close the landing."""
    table = Flights()
    for number in range(300):
        flight = flight_in(table, number)
        called: list[int] = []
        barrier = threading.Barrier(3)

        def wait(
            flight: Flight = flight, called: list[int] = called, barrier: Any = barrier
        ) -> None:
            barrier.wait(GIVE_UP)
            for each in range(4):
                flight.add_done_callback(lambda _, each=each: called.append(each))

        def land(flight: Flight = flight, barrier: Any = barrier) -> None:
            barrier.wait(GIVE_UP)
            flight.land()

        threads = [threading.Thread(target=each) for each in (wait, wait, land)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(called) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_one_of_many_threads_leads() -> None:
    """Of 8 threads that come at once exactly one leads, and all of them see the same flight."""
    table = Flights()
    for _ in range(200):
        seen: list[Flight] = []
        barrier = threading.Barrier(8)

        def come(seen: list[Flight] = seen, barrier: Any = barrier) -> None:
            mine = Flight(table, "key", None)
            barrier.wait(GIVE_UP)
            seen.append(table.join_or_get("key", mine))

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(seen) == {table.find("key")}
        seen[0].land()


def test_a_store_has_one_table() -> None:
    """All who use a store meet in one table, and those of another store in another."""
    store, other = mh.MemoryStore(), mh.MemoryStore()
    assert flights_of(store) is flights_of(store)
    assert flights_of(store) is not flights_of(other)


def test_a_table_does_not_keep_its_store() -> None:
    """A store that nobody has any more is collected, and its table with it."""
    store = mh.MemoryStore()
    seen = weakref.ref(store), weakref.ref(flights_of(store))
    del store
    gc.collect()
    assert [each() for each in seen] == [None, None]


def test_a_flight_lands_while_its_table_is_in_use() -> None:
    """The collector may land a flight in the very thread that holds the lock."""
    table = Flights()
    flight = flight_in(table)

    def land() -> None:
        with table.lock:
            flight.land()

    thread = threading.Thread(target=land, daemon=True)
    thread.start()
    thread.join(GIVE_UP)
    assert (flight.done(), len(table)) == (True, 0)


@pytest.mark.fault
def test_a_forked_child_has_no_flights() -> None:
    """Those who would land them are in the parent; locks that are held there are free here."""
    store = mh.MemoryStore()
    table = flights_of(store)
    flight = flight_in(table)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with table.lock:
            held.set()
            over.wait(GIVE_UP)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(GIVE_UP)

    def in_child() -> bool:
        empty = len(table) == 0 and flights_of(store) is table
        own = flight_in(table)
        own.land("value", 1)
        flight.land()  # by whoever goes on with a copy of the call
        return empty and own.payload == 1 and flights_of(mh.MemoryStore()) is not table

    try:
        assert in_a_fork(in_child) == 0
    finally:
        over.set()
        thread.join()
    assert table.find("key") is flight
    flight.land()
