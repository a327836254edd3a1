"""serve: the endpoints of a process that has no web server of its own."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from meshhook import forks
from meshhook.errors import ConfigurationError
from meshhook.observe.web.security import LOOPBACK, Authorize, checked_hosts, is_loopback
from meshhook.observe.web.wsgi import WsgiApp, wsgi_app
from meshhook.registry import Registry
from meshhook.settings import count, printable, wrong

if TYPE_CHECKING:
    from meshhook.observe.web.listening import HttpServer

_HIGHEST_PORT = 65535
_OTHER_THREADS = 12


class Server:
    """A server in a thread of its own. ``close()`` it, or use it as a context manager.

    It ends with the process, and no forked child has it.
    """

    def __init__(self, http: HttpServer, application: WsgiApp) -> None:
        self._http = http
        self._application = application
        self._is_closed = False
        # It holds this object, so forked children let go of the port of a server nobody keeps.
        self._thread = threading.Thread(target=self._serve, name="meshhook-serve", daemon=True)
        forks.enrol(self)
        try:
            self._thread.start()
        except RuntimeError:  # there are too many
            http.server_close()
            application.close()
            raise

    def _serve(self) -> None:
        self._http.serve_forever(poll_interval=0.05)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Where the dashboard is, such as ``http://127.0.0.1:9464``."""
        host = str(self._http.server_address[0])
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def close(self) -> None:
        """Listen no longer, and end the streams. Safe to call more than once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._application.close()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def renew_locks(self) -> None:
        """Let go of the port, in a forked child: the thread that listened is not there."""
        if not self._is_closed:
            self._is_closed = True
            self._http.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<meshhook server {'that is closed' if self._is_closed else self.url}>"


def serve(
    port: int = 9464,
    host: str = "127.0.0.1",
    *,
    registry: Registry | None = None,
    authorize: Authorize | None = None,
    authorize_read: Authorize | None = None,
    dashboard: bool = True,
    fleet: Any = (),
    hosts: Iterable[str] | None = None,
    trust_forwarded: bool = False,
    max_streams: int = 20,
) -> Server:
    """Serve the endpoints in a daemon thread, for a process that has no web server.

    Args:
        port: where to listen, 0 for any port that is free. Default 9464.
        host: the address to listen on. Default the loopback, which nobody but this machine
            reaches. Others have to be given, such as ``"0.0.0.0"`` in a container.
        registry: whose policies are shown. Default ``meshhook.registry``.
        authorize: who may change something: a function of the request (``method``, ``path``,
            ``headers`` by name in lower case, ``client``) that returns the name of who acts, or
            None for nobody who may. Without it nothing can be changed.
        authorize_read: the same for reading. Without it everybody may read who reaches the port.
            The probes ``/health/live`` and ``/health/ready`` are open in any case.
        dashboard: whether the page is served at ``/``.
        fleet: the URLs of other processes to show at ``/fleet``.
        hosts: which names the ``Host`` of a request may have, without ports. Default those of the
            loopback where that is listened on, and else all. The probes, which come by address,
            are answered in any case.
        trust_forwarded: whether ``X-Forwarded-Host`` comes from a proxy of yours and can be
            trusted.
        max_streams: so many clients may follow the events at a time; each holds a thread.

    Raises:
        ConfigurationError: for settings that cannot be used, and when the port is taken.

    Safe to call from any thread. A forked child has no server; call it there anew.
    """
    from meshhook.observe.web.listening import HttpServer, place_of

    count("port", port, least=0)
    if port > _HIGHEST_PORT:
        raise wrong("port", port, f"a number up to {_HIGHEST_PORT}, or 0 for one that is free")
    printable("host", host)
    try:
        place = place_of(host, port)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    # Judged by the address: 127.1, or the name of this machine, may be the loopback as well.
    if is_loopback(place.address):
        named = () if hosts is None else checked_hosts(hosts)
        hosts = [host, place.address, *LOOPBACK, *named]
    application = wsgi_app(
        registry,
        authorize=authorize,
        authorize_read=authorize_read,
        dashboard=dashboard,
        fleet=fleet,
        hosts=hosts,
        trust_forwarded=trust_forwarded,
        max_streams=max_streams,
    )
    try:
        http = HttpServer(place, application, max_streams + _OTHER_THREADS)
    except OSError as error:
        application.close()
        raise _cannot_listen(host, port, error) from error
    return Server(http, application)


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigurationError:
    way_out = "choose another port=, or port=0 for one that is free"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        way_out = "host= must be an address of this machine, such as '127.0.0.1', or '0.0.0.0'"
    return ConfigurationError(
        f"cannot listen on port {port} of {host}: {error.strerror or error}; {way_out}"
    )
