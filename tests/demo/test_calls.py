"""A charge of the demo is executed once, however its attempts end."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import meshhook as mh
from meshhook.demo.calls import Calls
from meshhook.demo.doubts import Doubts
from meshhook.demo.journal import Journal
from meshhook.demo.processes import ServiceProcess
from meshhook.demo.transport import ServiceError
from tests.demo.scenes import make_policies

LIMIT = 0.2
Charge = Callable[[str], str]


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with ServiceProcess() as process:
        yield process


@pytest.fixture
def calls(service: ServiceProcess) -> Iterator[Calls]:
    service.set_faults(delay=0.0, error_rate=0.0)
    with Journal() as journal:
        yield Calls(service.port, make_policies(LIMIT), journal)


@pytest.fixture(params=["threads", "tasks"])
def charge(request: pytest.FixtureRequest, calls: Calls) -> Charge:
    if request.param == "threads":
        return lambda order: calls.charge(order, 100)

    async def charge_async(order: str) -> str:
        return await calls.charge_async(order, 100)

    return lambda order: asyncio.run(charge_async(order))


@pytest.fixture
def order(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def executed(service: ServiceProcess, order: str) -> int:
    service.ledger.read()
    return service.ledger.per_order.get(order, 0)


def until_answered(charge: Charge, order: str) -> collections.Counter[str]:
    """Charge until it succeeds; return how the attempts before ended."""
    failures: collections.Counter[str] = collections.Counter()
    while True:
        try:
            charge(order)
        except (mh.MeshHookError, ServiceError) as exc:
            failures[type(exc).__name__] += 1
        else:
            return failures


def test_asking_again_gives_the_same_receipt(
    charge: Charge, service: ServiceProcess, order: str
) -> None:
    """The second call for an order is answered with the receipt of the first."""
    assert charge(order) == charge(order)
    assert executed(service, order) == 1


def test_both_colours_share_their_orders(calls: Calls, service: ServiceProcess, order: str) -> None:
    """What a thread has charged, a task is not charged for again."""
    receipt = calls.charge(order, 100)
    assert asyncio.run(async_charge(calls, order)) == receipt
    assert executed(service, order) == 1


async def async_charge(calls: Calls, order: str) -> str:
    return await calls.charge_async(order, 100)


@pytest.mark.fault
def test_a_charge_that_timed_out_is_settled_before_it_is_tried_again(
    charge: Charge, calls: Calls, service: ServiceProcess, order: str
) -> None:
    """Of attempts that may have been executed, at most one was, and the next call finds out."""
    service.set_faults(delay=2 * LIMIT, error_rate=0.0)
    with pytest.raises(mh.TimeoutError):
        while True:
            charge(order)
            order += "+"
    assert len(calls.doubts) == 1
    service.set_faults(delay=0.0, error_rate=0.0)
    assert until_answered(charge, order).total() == 0
    assert executed(service, order) == 1
    assert len(calls.doubts) == 0


@pytest.mark.fault
def test_charges_that_end_in_errors_are_executed_once(
    charge: Charge, calls: Calls, service: ServiceProcess, order: str
) -> None:
    """Errors before and after the charge was executed, and failed settlements, add up to one."""
    service.set_faults(delay=0.0, error_rate=0.4)
    orders = [f"{order}-{number}" for number in range(6)]
    for each in orders:
        assert until_answered(charge, each).keys() <= {"ServiceError", "CircuitOpenError"}
    assert [executed(service, each) for each in orders] == [1] * len(orders)
    assert len(calls.doubts) == 0


def test_a_refused_connection_leaves_no_doubt(order: str) -> None:
    """Where nobody listens nothing was sent, so there is nothing to settle."""
    with Journal() as journal:
        calls = Calls(1, make_policies(LIMIT), journal)
        with pytest.raises(ConnectionRefusedError):
            calls.charge(order, 1)
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(async_charge(calls, order))
        assert len(calls.doubts) == 0
        assert [call.outcome for call in journal.calls] == ["failed", "failed"]


def test_doubts_are_closed_one_by_one() -> None:
    """Closing a doubt twice, or one that was never opened, changes nothing else."""
    doubts = Doubts()
    first, second = doubts.open("o"), doubts.open("o")
    assert doubts.of("o") == [first, second]
    doubts.close("o", first)
    doubts.close("o", first)
    doubts.close("other", second)
    assert (doubts.of("o"), doubts.of("other"), len(doubts)) == ([second], [], 1)


def outcome_of(journal: Journal, exc: Any) -> str:
    with pytest.raises(type(exc)), journal.call("quote", "threads", 1.0):
        raise exc
    return journal.calls[-1].outcome


def test_the_journal_tells_how_calls_end() -> None:
    """Refused, timed out, failed and cut off are told apart."""
    journal = Journal()
    endings = [
        mh.CircuitOpenError("open"),
        mh.TimeoutError("late"),
        TimeoutError("from inside"),
        KeyboardInterrupt(),
    ]
    assert [outcome_of(journal, each) for each in endings] == [
        "refused",
        "timed out",
        "failed",
        "cut off",
    ]
