"""Idempotency in memory: first runs, and replays of what ran before."""

from __future__ import annotations

import warnings
from typing import Any

from benchmarks import ours, plain
from benchmarks.harness import Case, Options, measure
from benchmarks.loops import Answered, AnsweredAsync, Call
from benchmarks.table import Table

_RECEIPT = {"id": 17, "amount": 1250, "currency": "EUR", "status": "paid"}


def charge(order: int, amount: int = 1250) -> dict[str, Any]:  # noqa: ARG001 - the key is made of it
    """Return what a payment service answers. The key is the order, so the amount is compared."""
    return _RECEIPT


async def charge_async(order: int, amount: int = 1250) -> dict[str, Any]:  # noqa: ARG001 - as above
    """Return the same, from an async function."""
    return _RECEIPT


def status(order: int) -> str:  # noqa: ARG001 - as above
    """Return something that nobody can change, for the only argument there is."""
    return "paid"


async def status_async(order: int) -> str:  # noqa: ARG001 - as above
    """Return the same, from an async function."""
    return "paid"


def full(options: Options) -> Table:
    """Measure sync calls with the arguments compared and the result decoded for each caller."""
    cases = [
        *plain.baselines(charge),
        Case("meshhook replay", lambda: ours.idempotent(charge), goal=30.0),
        Case("meshhook first run", lambda: ours.idempotent(charge), goal=45.0, fresh=True),
        Case("powertools replay", lambda: _powertools(charge)),
        Case("powertools first run", lambda: _powertools(charge), fresh=True),
    ]
    table = Table("idempotent", "sync, in memory: arguments compared, JSON decoded for each caller")
    return measure(table, charge, cases, Answered(), options)


def full_async(options: Options) -> Table:
    """Measure async calls with the arguments compared and the result decoded for each caller."""
    cases = [
        *plain.baselines(charge_async),
        Case("meshhook replay", lambda: ours.idempotent(charge_async), goal=20.0),
        Case("meshhook first run", lambda: ours.idempotent(charge_async), goal=30.0, fresh=True),
    ]
    table = Table("idempotent-async", "the same for an async function")
    return measure(table, charge_async, cases, AnsweredAsync(), options)


def short(options: Options) -> Table:
    """Measure sync replays with nothing to compare and nothing to decode."""
    cases = [
        *plain.baselines(status),
        Case("meshhook replay", lambda: ours.idempotent_by_argument(status), goal=8.0),
        Case("powertools replay", lambda: _powertools(status)),
    ]
    table = Table("idempotent-short", "sync, in memory: the argument is the key, text the result")
    return measure(table, status, cases, Answered(), options)


def short_async(options: Options) -> Table:
    """Measure async replays with nothing to compare and nothing to decode."""
    cases = [
        *plain.baselines(status_async),
        Case("meshhook replay", lambda: ours.idempotent_by_argument(status_async), goal=6.0),
    ]
    table = Table("idempotent-short-async", "the same for an async function")
    return measure(table, status_async, cases, AnsweredAsync(), options)


def _powertools(function: Call) -> Call:
    from aws_lambda_powertools.utilities.idempotency import idempotent_function

    # It knows how long it may run only inside a Lambda, and says so.
    warnings.filterwarnings("ignore", message="Couldn't determine the remaining time")
    guarded = idempotent_function(
        function, data_keyword_argument="order", persistence_store=_powertools_memory()
    )
    return lambda order: guarded(order=order)


def _powertools_memory() -> Any:
    """Return a persistence layer over a dict, the fastest one that powertools can have."""
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyItemAlreadyExistsError,
        IdempotencyItemNotFoundError,
    )
    from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer

    class Memory(BasePersistenceLayer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._records: dict[str, Any] = {}

        def _get_record(self, idempotency_key: str) -> Any:
            try:
                return self._records[idempotency_key]
            except KeyError:
                raise IdempotencyItemNotFoundError from None

        def _put_record(self, data_record: Any) -> None:
            old = self._records.setdefault(data_record.idempotency_key, data_record)
            if old is not data_record:
                raise IdempotencyItemAlreadyExistsError(old_data_record=old)

        def _update_record(self, data_record: Any) -> None:
            self._records[data_record.idempotency_key] = data_record

        def _delete_record(self, data_record: Any) -> None:
            self._records.pop(data_record.idempotency_key, None)

    return Memory()
