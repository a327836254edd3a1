"""RedisStore: records on a Redis (6.2 or newer) or Valkey server, shared by every process.

The only module that imports redis, and only when a store is made. The store opens connections of
its own, without retries and with its own timeout; a client that it is given lends nothing but its
settings, and is never touched. The password appears in no repr and in no error.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Sequence
from socket import SHUT_RDWR
from typing import Any

from meshhook.errors import ConfigurationError, StoreError, StoreUnavailableError
from meshhook.settings import Duration, duration, wrong
from meshhook.stores.lane import Lane, NeverSentError
from meshhook.stores.pending import Pending
from meshhook.stores.scripts import ScriptCommand, decode

_KEPT_SETTINGS = frozenset(
    {
        "client_name",
        "credential_provider",
        "db",
        "host",
        "password",
        "path",
        "port",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_type",
        "username",
    }
)
_NAMESPACE = re.compile(r"[A-Za-z0-9._:/-]{1,100}")
_NOT_NOW = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM")
"""Words of a server that cannot serve for a while, wherever they stand in its message."""


class RedisStore:
    """Keep records on a Redis or Valkey server. Safe to share between threads, tasks and loops.

    Args:
        target: A URL (``redis://``, ``rediss://``, ``unix://``), or a ``redis.Redis`` or
            ``redis.asyncio.Redis`` client to take the address and the credentials from.
        namespace: Stands in front of every key; stores of one namespace share their records.
        timeout: How long one round trip may take, in seconds. A call waits at most four times as
            long, which covers queueing and reconnecting.

    Raises ConfigurationError for a target that cannot be used, or if redis is not installed.
    Nothing is sent before the first message.
    """

    local = False

    def __init__(
        self, target: Any, *, namespace: str = "meshhook", timeout: Duration = 0.1
    ) -> None:
        driver = _import_driver()
        seconds = duration("timeout", timeout)
        make_connection, address = _settings(driver, target, seconds)
        self.name = f"redis {address}"
        self.namespace = _checked_namespace(namespace)
        self._lane = Lane(self.name, lambda: RedisWire(driver, make_connection), timeout=seconds)

    def __repr__(self) -> str:
        return f"<RedisStore {self.name.removeprefix('redis ')} namespace={self.namespace!r}>"

    def perform(self, message: Any) -> Any:
        """Send a message and wait for its answer, at most four timeouts."""
        return self.submit(message).result()

    def submit(self, message: Any) -> Pending:
        """Send a message; the reply can be awaited, waited for or left alone."""
        return self._lane.submit(ScriptCommand(message, self.namespace))

    def close(self) -> None:
        """Send what is queued, for at most a second, and let go of thread and connection."""
        self._lane.close()


class RedisWire:
    """One connection to the server, opened at first use."""

    def __init__(
        self,
        driver: Any,
        make_connection: Callable[[], Any],
        # Captured on purpose: a server does not freeze with the tests.
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._errors = driver.exceptions
        self._make_connection = make_connection
        self._connection: Any = None

    def ping(self) -> None:
        """Raise what ``exchange`` would raise if the store cannot be used."""
        self._round_trip([("PING",)], math.inf)

    def exchange(self, commands: Sequence[ScriptCommand], deadline: float) -> list[Any]:
        """Run the scripts and return an answer, or a StoreError, for each."""
        no_script = self._errors.NoScriptError
        replies = self._round_trip([_by_digest(command) for command in commands], deadline)
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, no_script)]
        if missing:
            loaded: set[str] = set()
            again = [_by_text_once(commands[at], loaded) for at in missing]
            for at, reply in zip(missing, self._round_trip(again, deadline), strict=True):
                replies[at] = reply
        return [self._answer(reply) for reply in replies]

    def drop(self) -> None:
        """Close the connection, if there is one; the next exchange opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def interrupt(self) -> None:
        """Make an exchange that another thread is in end soon, with an error."""
        # Closing it here would free its number for another file, which the read would then watch.
        socket = getattr(self._connection, "_sock", None)
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.shutdown(SHUT_RDWR)

    def _round_trip(self, requests: list[tuple[Any, ...]], deadline: float) -> list[Any]:
        connection = self._connection or self._open()
        replies: list[Any] = []
        try:
            connection.send_packed_command(connection.pack_commands(requests))
            for _ in requests:
                replies.append(self._read(connection))
                if self._monotonic() > deadline and len(replies) < len(requests):
                    break
        except (self._errors.TimeoutError, TimeoutError):
            raise TimeoutError("it did not answer in time") from None
        except Exception as error:
            # `interrupt` in another thread makes a read fail in whatever way.
            raise ConnectionError(f"the connection broke ({type(error).__name__})") from None
        if len(replies) < len(requests):
            raise TimeoutError("it did not answer everything in time")
        return replies

    def _read(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except self._errors.ResponseError as error:
            if isinstance(error, self._errors.ReadOnlyError) or "READONLY" in str(error):
                # The server has become a replica: only a new connection finds the new primary.
                raise
            return error

    def _open(self) -> Any:
        connection = self._connection = self._make_connection()
        try:
            connection.connect()
        except (self._errors.AuthenticationError, self._errors.ResponseError) as error:
            # Its message may repeat what was sent, the password too.
            reason = f"it refused the credentials or the database ({type(error).__name__})"
        except Exception as error:
            reason = str(error) or type(error).__name__
        else:
            return connection
        raise NeverSentError(reason)

    def _answer(self, reply: Any) -> Any:
        if not isinstance(reply, Exception):
            return decode(reply)
        text = str(reply)
        if "WRONGTYPE" in text:
            return StoreError("the key holds something else than a record: is it shared?")
        if any(word in text for word in _NOT_NOW) or isinstance(reply, self._unavailable()):
            return StoreUnavailableError(f"the store cannot serve now: {text}")
        return StoreError(f"the store refused: {text}")

    def _unavailable(self) -> tuple[type[Exception], ...]:
        errors = self._errors
        return (
            errors.ClusterDownError,
            errors.MasterDownError,
            errors.NoScriptError,
            errors.OutOfMemoryError,
            errors.TryAgainError,
        )


def _by_digest(command: ScriptCommand) -> tuple[Any, ...]:
    return ("EVALSHA", command.script.digest, 1, command.key, *command.arguments)


def _by_text_once(command: ScriptCommand, loaded: set[str]) -> tuple[Any, ...]:
    if command.script.digest in loaded:
        return _by_digest(command)
    loaded.add(command.script.digest)
    return ("EVAL", command.script.text, 1, command.key, *command.arguments)


def _checked_namespace(namespace: Any) -> str:
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise wrong("namespace", namespace, "1 to 100 letters, digits or any of . _ - : /")
    return namespace


def _import_driver() -> Any:
    try:
        import redis
    except ImportError:
        raise ConfigurationError(
            "RedisStore needs the redis package, which is not installed: "
            "pip install 'meshhook[redis]'"
        ) from None
    return redis


def _settings(driver: Any, target: Any, timeout: float) -> tuple[Callable[[], Any], str]:
    """Return what makes a connection to ``target``, and its address without credentials."""
    pool = _pool_of(driver, target)
    given = dict(pool.connection_kwargs)
    kind = _sync_kind(driver, pool.connection_class)
    kept = {name: each for name, each in given.items() if name in _KEPT_SETTINGS or "ssl" in name}
    kept.update(
        protocol=given.get("protocol") or 2,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=driver.retry.Retry(driver.backoff.NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
    )
    place = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
    return lambda: kind(**kept), f"{place}/{given.get('db') or 0}"


def _pool_of(driver: Any, target: Any) -> Any:
    if isinstance(target, str):
        try:
            return driver.ConnectionPool.from_url(target)
        except ValueError:
            raise ConfigurationError(
                "target must be a URL such as 'redis://host:6379/0', 'rediss://host' or "
                f"'unix:///path', got one that starts with {target.partition(':')[0][:10]!r}; the "
                "rest is not shown, for it may hold a password"
            ) from None
    if isinstance(target, (driver.Redis, driver.asyncio.Redis)):
        return target.connection_pool
    raise ConfigurationError(
        "target must be a redis:// URL, a redis.Redis client or a redis.asyncio.Redis client, got "
        f"{type(target).__qualname__}"
    )


def _sync_kind(driver: Any, kind: type) -> Any:
    for sync, asynchronous in (
        (driver.UnixDomainSocketConnection, driver.asyncio.UnixDomainSocketConnection),
        (driver.SSLConnection, driver.asyncio.SSLConnection),
        (driver.Connection, driver.asyncio.Connection),
    ):
        if kind in (sync, asynchronous):
            return sync
    raise ConfigurationError(
        f"target has connections of type {kind.__qualname__}, which the store cannot make itself: "
        "give the URL of the server instead"
    )
