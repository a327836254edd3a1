"""A client of two services in tasks: one deadline for all, and one circuit for each host.

Run it: python examples/async_client.py
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import meshhook as mh


async def serve(delay: float) -> asyncio.Server:
    """Start a server that answers after ``delay`` seconds, unless the client has gone by then."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), delay)
        writer.write(b"in stock")
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@mh.circuit_breaker("stock", key="{port}", failure_threshold=3)
@mh.timeout("150ms")
async def stock(port: int) -> str:
    """Ask the service on ``port`` what is in stock."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def ask(port: int) -> str:
    """Ask, and put what went wrong into words."""
    try:
        return await stock(port)
    except mh.MeshHookError as exc:
        return f"{type(exc).__name__}: {exc}"


async def main() -> None:
    """Ask a quick and a slow service side by side; only the circuit of the slow one opens."""
    quick, slow = await serve(0.01), await serve(1.0)
    ports = [server.sockets[0].getsockname()[1] for server in (quick, slow)]
    began = time.monotonic()
    with mh.deadline("5ms"):
        print(f"with 5 ms left:  {await ask(ports[0])}", end="")
    print(f" (took {1000 * (time.monotonic() - began):.0f} ms)")
    for number in range(5):
        answers = await asyncio.gather(*map(ask, ports))
        print(f"round {number}:  quick: {answers[0]}   slow: {answers[1]}")
    for name, port in zip(("quick", "slow"), ports, strict=True):
        print(f"{name}: {mh.registry.circuit_breakers['stock'].stats(key=port).state}")
    for server in (quick, slow):
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
