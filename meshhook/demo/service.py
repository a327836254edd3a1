"""The flaky service: a price list and a till, in a process of its own.

    GET  /quote          {"cents": 1299}
    POST /charge         {"order", "cents", "attempt"} -> {"receipt"}; executes whatever it is sent
    POST /settle         {"attempt"} -> {"executed", "receipt"}; if not executed by now, it is void
    POST /admin/faults   {"delay", "error_rate", "slow_share"}; how slow and broken it is now

Charges are not deduplicated: an order that is sent twice is charged twice. Each is written to the
ledger, which is standard output (a file), before it is answered, so a killed service forgets none.
Faults are as nasty as real ones: a slow charge waits before and after it is executed, and half of
the charges that end in an error have been executed.

It ends when standard input does, that is with the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

from meshhook.demo.ledger import Ledger
from meshhook.demo.transport import HOST

_REASONS = {200: "OK", 404: "Not Found", 409: "Conflict", 500: "Internal Server Error"}
_BASE_DELAY = 0.004
_PORT_PATIENCE = 5.0

Answer = tuple[int, dict[str, Any]]


class Service:
    """The price list and the till. All of it runs on one event loop, so each step is atomic."""

    def __init__(self, ledger: int, write: Callable[[int, bytes], int] = os.write) -> None:
        self._ledger = ledger
        self._write = write
        self.delay = 0.0
        self.error_rate = 0.0
        self.slow_share = 1.0
        past = Ledger(ledger)
        past.read()
        self._receipts = {charge.attempt: charge.receipt for charge in past.charges}
        self._void = set(past.void)

    def record(self, kind: str, **facts: Any) -> None:
        """Write one line to the ledger: a single write, so it is there whole or not at all."""
        self._write(self._ledger, json.dumps({"kind": kind, **facts}).encode() + b"\n")

    async def answer(self, path: str, body: dict[str, Any]) -> Answer:
        """Do what is asked for."""
        if path == "/admin/faults":
            self.delay, self.error_rate = float(body["delay"]), float(body["error_rate"])
            self.slow_share = float(body.get("slow_share", 1.0))
            return 200, {}
        pause = _BASE_DELAY
        if random.random() < self.slow_share:
            pause += self.delay * random.uniform(0.1, 2.0)
        broken = random.random() < self.error_rate
        if path == "/quote":
            await asyncio.sleep(pause)
            return (500, {}) if broken else (200, {"cents": random.randrange(100, 10_000)})
        if path == "/charge":
            return await self._charge(body, pause, broken=broken)
        if path == "/settle":
            await asyncio.sleep(pause)
            return (500, {}) if broken else self._settle(body["attempt"])
        return 404, {}

    async def _charge(self, body: dict[str, Any], pause: float, *, broken: bool) -> Answer:
        before = pause * random.random()
        await asyncio.sleep(before)
        if broken and random.random() < 0.5:  # noqa: PLR2004 - half of them fail first
            return 500, {}
        if body["attempt"] in self._void:
            return 409, {}
        receipt = self._receipts[body["attempt"]] = uuid.uuid4().hex[:12]
        self.record("charged", order=body["order"], attempt=body["attempt"], receipt=receipt)
        await asyncio.sleep(pause - before)
        return (500, {}) if broken else (200, {"receipt": receipt})

    def _settle(self, attempt: str) -> Answer:
        receipt = self._receipts.get(attempt)
        if receipt is None and attempt not in self._void:
            self._void.add(attempt)
            self.record("void", attempt=attempt)
        return 200, {"executed": receipt is not None, "receipt": receipt}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request of a connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *fields = head.lower().split("\r\n")
            length = next((int(f[15:]) for f in fields if f.startswith("content-length:")), 0)
            body = json.loads(await reader.readexactly(length) or b"{}")
            status, answer = await self.answer(start.split(" ")[1].partition("?")[0], body)
            content = json.dumps(answer).encode()
            writer.write(f"HTTP/1.1 {status} {_REASONS[status]}\r\n\r\n".encode() + content)
            await writer.drain()
        writer.close()


async def serve(port: int, service: Service, stop: asyncio.Event) -> None:
    """Listen on ``port`` (0: any) until ``stop`` is set."""
    server = await _listen(port, service)
    service.record("started", pid=os.getpid(), port=server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()


async def _listen(port: int, service: Service) -> asyncio.Server:
    """Take the port; a connection of the process before may still be in it for a moment."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PORT_PATIENCE
    while True:
        try:
            return await asyncio.start_server(service.handle, HOST, port, backlog=256)
        except OSError:
            if loop.time() > give_up:
                raise
            await asyncio.sleep(0.05)


async def main(port: int) -> None:
    """Serve until standard input ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await serve(port, Service(sys.stdout.fileno()), stop)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
