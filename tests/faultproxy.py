"""A TCP proxy that breaks connections on purpose, and counts round trips.

It stands between a client and a real server. What it does can be changed at any time:
pass everything, delay or slice the replies, drop a reply after the server has executed the request,
swallow everything (as a network that is gone does), reset connections, or refuse new ones.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Self

_TICK = 0.01


class FaultProxy:
    """Forward connections to ``target``; ``address`` is where to connect to instead.

    Attributes that may be set at any time:
        delay: Seconds that each chunk of a reply is held back.
        slices: Send each reply a byte at a time, with this pause in seconds in between.
        drop_replies: How many of the next replies are dropped, each with its connection.
        blackhole: Swallow what either side sends, and keep connections open.

    Counted: ``round_trips`` (requests that came after a reply, or first) and ``connections``.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = 0.0
        self.slices: float | None = None
        self.drop_replies = 0
        self.blackhole = False
        self.round_trips = 0
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._listener: socket.socket | None = None
        self._listen(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of the proxy for a client of Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    def reset(self) -> None:
        """End each connection with a RST."""
        with self._lock:
            victims = list(self._open)
        for client in victims:
            _reset(client)

    def refuse(self) -> None:
        """Stop listening, so that new connections are refused; reset those that are there."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()

    def accept_again(self) -> None:
        """Listen on the same port again."""
        self._listen(self.port)

    def close(self) -> None:
        """End everything, and wait for the threads."""
        self._closing = True
        self.refuse()
        for thread in self._threads:
            thread.join(5)

    def _listen(self, port: int) -> None:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._start(self._accept, listener)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        with contextlib.closing(client), contextlib.suppress(OSError, ValueError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(self.target, 5)
            with contextlib.closing(server):
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open.add(client)
                try:
                    self._pump(client, server)
                finally:
                    with self._lock:
                        self._open.discard(client)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        asking = False
        while not self._closing:
            readable, _, _ = select.select([client, server], [], [], _TICK)
            for source in readable:
                chunk = source.recv(1 << 16)
                if not chunk:
                    return
                if self.blackhole:
                    continue
                if source is client:
                    self.round_trips += not asking
                    asking = True
                    server.sendall(chunk)
                elif self._drops_a_reply():
                    _reset(client)
                    return
                else:
                    asking = False
                    self._reply(client, chunk)

    def _drops_a_reply(self) -> bool:
        with self._lock:
            if self.drop_replies <= 0:
                return False
            self.drop_replies -= 1
            return True

    def _reply(self, client: socket.socket, chunk: bytes) -> None:
        if self.delay:
            time.sleep(self.delay)
        pause = self.slices
        if pause is None:
            client.sendall(chunk)
            return
        for at in range(len(chunk)):
            if self._closing:
                return
            client.sendall(chunk[at : at + 1])
            time.sleep(pause)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Without this a thread that is reading would keep the connection open.
        connection.shutdown(socket.SHUT_RD)
        connection.close()
