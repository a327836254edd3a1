"""The callers: worker threads and asyncio tasks that never stop asking.

Half of each ask for prices. The others come in pairs, a thread and a task that want the same orders
charged: both ask for each order as soon as it is due, go on asking until they have its receipt, and
ask once more for every third, as if the answer had got lost.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import meshhook as mh
from meshhook.demo.calls import Calls
from meshhook.demo.journal import Journal
from meshhook.demo.transport import ServiceError

QUOTE_WORKERS = 4
CHARGE_PAIRS = 2
_QUOTE_PAUSE = 0.06
_ORDER_EVERY = 0.3
_PATIENCE = 0.15
_JOIN_PATIENCE = 10.0
_ASK_AGAIN_EVERY = 3

EXPECTED = (mh.MeshHookError, ServiceError, OSError)
"""What a caller of a failing service has to live with; anything else is a bug of the demo."""


class Workload:
    """The callers, from ``start()`` to ``stop()``."""

    def __init__(self, calls: Calls, journal: Journal) -> None:
        self._calls = calls
        self._journal = journal
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._run = uuid.uuid4().hex[:8]
        self._began = 0.0
        self.crash: Exception | None = None
        """What ended a caller that should have gone on."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Set the callers going."""
        self._began = time.monotonic()
        self._spawn("loop", lambda: asyncio.run(self._run_tasks()))
        for number in range(QUOTE_WORKERS):
            self._spawn(f"quote-{number}", self._ask_for_quotes)
        for pair in range(CHARGE_PAIRS):
            self._spawn(f"charge-{pair}", partial(self._ask_for_charges, pair))

    def stop(self) -> None:
        """Let each caller finish its call, and wait for it. May be called twice."""
        self._stop.set()
        give_up = time.monotonic() + _JOIN_PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as exc:
                self.crash = exc
                self._stop.set()

        thread = threading.Thread(target=run, name=f"demo-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _order(self, pair: int, number: int) -> str:
        return f"{self._run}-{pair}-{number}"

    def _due_in(self, number: int) -> float:
        return max(0.0, self._began + number * _ORDER_EVERY - time.monotonic())

    def _ask_for_quotes(self) -> None:
        while not self._stop.wait(_QUOTE_PAUSE * random.uniform(0.5, 1.5)):
            self._tried(self._calls.quote, random.choice("abcdef"))

    def _ask_for_charges(self, pair: int) -> None:
        number = 0
        while not self._stop.wait(self._due_in(number)):
            order = self._order(pair, number)
            if not self._tried(self._charge, order, number):
                self._stop.wait(_PATIENCE)
                continue
            if number % _ASK_AGAIN_EVERY == 0:
                self._tried(self._charge, order, number)
            number += 1

    def _charge(self, order: str, number: int) -> None:
        self._journal.ask()
        self._journal.confirm(order, self._calls.charge(order, _price(number)))

    def _tried(self, call: Callable[..., Any], *args: Any) -> bool:
        try:
            call(*args)
        except EXPECTED:
            return False
        return True

    async def _run_tasks(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(QUOTE_WORKERS):
                group.create_task(self._ask_for_quotes_async())
            for pair in range(CHARGE_PAIRS):
                group.create_task(self._ask_for_charges_async(pair))

    async def _ask_for_quotes_async(self) -> None:
        while not self._stop.is_set():
            await self._tried_async(self._calls.quote_async, random.choice("abcdef"))
            await asyncio.sleep(_QUOTE_PAUSE * random.uniform(0.5, 1.5))

    async def _ask_for_charges_async(self, pair: int) -> None:
        number = 0
        while not self._stop.is_set():
            order = self._order(pair, number)
            if due_in := self._due_in(number):
                await asyncio.sleep(due_in)
            elif not await self._tried_async(self._charge_async, order, number):
                await asyncio.sleep(_PATIENCE)
            else:
                if number % _ASK_AGAIN_EVERY == 0:
                    await self._tried_async(self._charge_async, order, number)
                number += 1

    async def _charge_async(self, order: str, number: int) -> None:
        self._journal.ask()
        self._journal.confirm(order, await self._calls.charge_async(order, _price(number)))

    async def _tried_async(self, call: Callable[..., Any], *args: Any) -> bool:
        try:
            await call(*args)
        except EXPECTED:
            return False
        return True


def _price(number: int) -> int:
    return 100 + number
