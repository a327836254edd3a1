"""A small HTTP server over the standard library's, for the endpoints of one process.

Each connection carries one request and has a thread, of which there are so many and no more. A
request has to be there after some seconds, however slowly it comes, and a client has to take what
it asked for. Nothing is written to stderr.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from meshhook.observe.web.exchange import refused
from meshhook.observe.web.failures import report

REQUEST_WITHIN: Final = 10.0
TAKEN_WITHIN: Final = 10.0
HEARD_OUT_WITHIN: Final = 0.5
NEXT_TRY_AFTER: Final = 0.05
_PIECES = 16


class _InTime(io.RawIOBase):
    """What a client sends; all of it has to come within the time that one request may take."""

    def __init__(self, connection: socket.socket, monotonic: Callable[[], float]) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._until = monotonic() + REQUEST_WITHIN

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(TAKEN_WITHIN)


class _Answering(SimpleHandler):
    """Runs the application for one request."""

    server_software = "meshhook"
    # What a client sends is all there is: the environment of the process is nobody's business.
    os_environ: dict[str, str] = {}  # noqa: RUF012 - as the base has it
    wsgi_file_wrapper = None

    def log_exception(self, exc_info: Any) -> None:
        """Tell the log, without the text; a client that has left is not worth a word."""
        if not isinstance(exc_info[1], OSError):
            report("a request could not be answered", exc_info[1])

    def error_output(self, _environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer that something went wrong, and not what."""
        answer = refused(500, "this could not be answered; the log says where it failed")
        start_response("500 Internal Server Error", answer.all_headers())
        return [answer.body]


class Handler(WSGIRequestHandler):
    """Reads one request of one connection."""

    server: HttpServer
    server_version = "meshhook"
    sys_version = ""

    def setup(self) -> None:
        """Take the connection."""
        super().setup()
        self.connection.settimeout(TAKEN_WITHIN)
        self.rfile.close()
        self.rfile = io.BufferedReader(_InTime(self.connection, self.server.monotonic))

    def handle(self) -> None:
        """Answer one request."""
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:  # noqa: PLR2004 - as the base has it
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif not self.raw_requestline or not self.parse_request():
            return
        elif self.request_version == "HTTP/0.9":
            self.send_error(505)  # its answers have no headers, so nothing would protect them
        else:
            read, written = cast("Any", self.rfile), cast("Any", self.wfile)
            _Answering(read, written, io.StringIO(), self.get_environ(), multithread=True).run(
                self.server.endpoints
            )

    def get_environ(self) -> dict[str, Any]:
        """Return the request as WSGI wants it, without names that could be taken for others."""
        for name in [name for name in self.headers if "_" in name]:
            del self.headers[name]
        environ = super().get_environ()
        lengths = self.headers.get_all("Content-Length", ())
        if len(lengths) > 1:
            environ["CONTENT_LENGTH"] = ", ".join(lengths)  # which of them is it?
        return environ

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer that the request is none, without repeating it."""
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # whatever it was, the answer has headers
        answer = refused(code, "this is no request that can be read")
        self.send_response(code)
        for name, value in answer.all_headers():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self._hear_out()

    def _hear_out(self) -> None:
        """Take in what comes still: to hang up over it could cost the client our answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(HEARD_OUT_WITHIN)
            for _ in range(_PIECES):
                if not self.connection.recv(65536):
                    return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base
        """Say nothing."""


class Place(NamedTuple):
    """Where to listen: an address, which has many names and spellings."""

    family: int
    address: str
    port: int


def place_of(host: str, port: int) -> Place:
    """Return the place that ``host`` means. Raises OSError for a name that nobody knows."""
    family, *_, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return Place(family, str(address[0]), port)


class HttpServer(socketserver.ThreadingMixIn, WSGIServer):
    """Listens, and gives each connection a thread, as long as there are not too many."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    # On Windows this would let two servers listen on one port.
    allow_reuse_address = os.name == "posix"

    def __init__(
        self,
        place: Place,
        application: Any,
        max_threads: int,
        # Captured on purpose: clients take real time.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.monotonic = monotonic
        self._places = threading.BoundedSemaphore(max_threads)
        self.address_family = place.family
        super().__init__((place.address, place.port), Handler)
        self.endpoints = application

    def server_bind(self) -> None:
        """Bind, without asking a name server for the name of this host."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> Any:
        """Take a connection; where that fails, the process may have no more files to open."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(NEXT_TRY_AFTER)  # it is there still, so we would be asked at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have a thread answer, or say that all are taken."""
        if not self._places.acquire(blocking=False):
            self._turn_away(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread, and free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def _turn_away(self, request: Any) -> None:
        answer = refused(503, "too many requests at a time", ("Retry-After", "5"))
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.all_headers())
        try:
            request.setblocking(False)
            head = f"HTTP/1.0 503 Service Unavailable\r\n{head}\r\n"
            request.send(head.encode() + answer.body)
        except OSError:
            pass
        finally:
            self.shutdown_request(request)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Say nothing of clients that leave or are too slow."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            report("a connection broke off", error)
