"""What the callers call: quote and charge, each for threads and for tasks.

Every request goes through a breaker and a timeout. To ask for a price does no harm, so a quote that
fails or is slow is asked for again, within a budget, and all of that within a rate and a number of
requests at a time. A charge is idempotent by its order, so
of all who ask for it at the same time one does it, and who asks later gets the same receipt.

That alone cannot save an order whose charge failed in doubt: the request was sent, and a timeout, a
broken connection or an error came back. meshhook gives the key back after a failure, so it is for
the charge itself to find out before it tries again. Each attempt has a number of its own; before
the next one, the service is told to settle those in doubt: it says whether they were executed, and
refuses them if they arrive after that. So each order is charged once for certain, as long as one
call at a time runs for each order, and that is what ``idempotent`` sees to.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import meshhook as mh
from meshhook.demo.doubts import Doubts
from meshhook.demo.journal import Call, Journal
from meshhook.demo.policies import Policies
from meshhook.demo.transport import Request, exchange, exchange_async

_SILENCE = 2.0
"""Seconds past its limit for which a thread that was given up goes on listening for its answer."""

_NEVER_SENT = (mh.RejectedError, ConnectionRefusedError)

Answer = dict[str, Any]
Send = Callable[[Call, Request], Answer]
SendAsync = Callable[[Call, Request], Awaitable[Answer]]


def guarded_send(port: int, policies: Policies) -> tuple[Send, SendAsync]:
    """Make the two functions that reach the network; they share a breaker and a limit."""

    @policies.breaker
    @policies.timeout
    def send(call: Call, request: Request) -> Answer:
        call.reached = time.monotonic()
        return exchange(port, request, policies.limit + _SILENCE)

    @policies.breaker
    @policies.timeout
    async def send_async(call: Call, request: Request) -> Answer:
        call.reached = time.monotonic()
        return await exchange_async(port, request)

    return send, send_async


def guarded_ask(port: int, policies: Policies, journal: Journal) -> tuple[Send, SendAsync]:
    """Make the two functions that ask for a price: the same, within limits of their own."""

    @policies.breaker
    @policies.limits
    def ask(call: Call, request: Request) -> Answer:
        with journal.slot():
            return within_limit(call, request)

    @policies.timeout
    def within_limit(call: Call, request: Request) -> Answer:
        call.reached = time.monotonic()
        return exchange(port, request, policies.limit + _SILENCE)

    @policies.breaker
    @policies.limits
    async def ask_async(call: Call, request: Request) -> Answer:
        with journal.slot():
            return await within_limit_async(call, request)

    @policies.timeout
    async def within_limit_async(call: Call, request: Request) -> Answer:
        call.reached = time.monotonic()
        return await exchange_async(port, request)

    return ask, ask_async


class Calls:
    """The guarded functions of one demo. Safe to share between threads and tasks."""

    def __init__(self, port: int, policies: Policies, journal: Journal) -> None:
        self.doubts = Doubts()
        self._limit = policies.limit
        self._patience = policies.patience
        self._journal = journal
        self._send, self._send_async = guarded_send(port, policies)
        self._ask_price, self._ask_price_async = guarded_ask(port, policies, journal)
        self._quote = policies.again(self._quote_once)
        self._quote_async = policies.again(self._quote_once_async)
        self.charge = policies.once(self._charge)
        self.charge_async = policies.once(self._charge_async)

    def _ask(self, kind: str, request: Request) -> Answer:
        with self._journal.call(kind, "threads", self._limit) as call:
            return self._send(call, request)

    async def _ask_async(self, kind: str, request: Request) -> Answer:
        with self._journal.call(kind, "tasks", self._limit) as call:
            return await self._send_async(call, request)

    def quote(self, item: str) -> Answer:
        """Ask for a price, more than once if need be."""
        self._journal.ask_for_price()
        return self._quote(item)

    async def quote_async(self, item: str) -> Answer:
        """Ask for a price, more than once if need be."""
        self._journal.ask_for_price()
        return await self._quote_async(item)

    def _quote_once(self, item: str) -> Answer:
        with self._journal.call("quote", "threads", self._patience) as call:
            return self._ask_price(call, _quote(item))

    async def _quote_once_async(self, item: str) -> Answer:
        with self._journal.call("quote", "tasks", self._patience) as call:
            return await self._ask_price_async(call, _quote(item))

    def _charge(self, order: str, cents: int) -> str:
        for doubtful in self.doubts.of(order):
            answer = self._ask("settle", _settle(doubtful))
            self.doubts.close(order, doubtful)
            if answer["executed"]:
                return str(answer["receipt"])
        attempt = self.doubts.open(order)
        try:
            answer = self._ask("charge", _charge(order, cents, attempt))
        except _NEVER_SENT:
            self.doubts.close(order, attempt)
            raise
        self.doubts.close(order, attempt)
        return str(answer["receipt"])

    async def _charge_async(self, order: str, cents: int) -> str:
        for doubtful in self.doubts.of(order):
            answer = await self._ask_async("settle", _settle(doubtful))
            self.doubts.close(order, doubtful)
            if answer["executed"]:
                return str(answer["receipt"])
        attempt = self.doubts.open(order)
        try:
            answer = await self._ask_async("charge", _charge(order, cents, attempt))
        except _NEVER_SENT:
            self.doubts.close(order, attempt)
            raise
        self.doubts.close(order, attempt)
        return str(answer["receipt"])


def _quote(item: str) -> Request:
    return Request("GET", f"/quote?item={item}")


def _charge(order: str, cents: int, attempt: str) -> Request:
    return Request("POST", "/charge", {"order": order, "cents": cents, "attempt": attempt})


def _settle(attempt: str) -> Request:
    return Request("POST", "/settle", {"attempt": attempt})
