"""What only RedisStore promises: its targets, its keys, and what it makes of odd replies."""

from __future__ import annotations

import asyncio
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from meshhook.errors import ConfigurationError, StoreError, StoreUnavailableError
from meshhook.stores import scripts
from meshhook.stores.protocol import (
    Acquired,
    Begin,
    Done,
    Finish,
    Force,
    Get,
    Renew,
    Running,
    Stored,
)
from meshhook.stores.redis import RedisStore
from tests.faultproxy import FaultProxy
from tests.servers import ENGINES, Server, running

SECRET = "canary-7f3a"
BEGIN = Begin("key", "a", "fp", 30.0, 3600.0)


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """Give an ordinary client of the server, to look behind the store."""
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def store(server: Server, connect: Callable[..., RedisStore]) -> RedisStore:
    """Give a store of its own namespace on the server."""
    return connect(server.url, timeout=5.0)


def key_of(store: RedisStore, key: Any = "key") -> str:
    """Return the key on the server."""
    return scripts.key_of("idempotent", store.namespace, key)


@pytest.mark.parametrize(
    "message",
    [
        BEGIN,
        Renew("key", "a", 30.0, 3600.0),
        Finish("key", "a", "value", "payload", 3600.0),
        Finish("key", "a", "opaque", None, 3600.0),
        Finish("key", "a", "released", None, 3600.0),
        Force("key"),
    ],
)
def test_every_record_has_a_time_to_live(
    message: Any, store: RedisStore, client: redis.Redis
) -> None:
    """Whatever is written last, the key expires by itself, and not before its time."""
    store.perform(BEGIN)
    store.perform(message)
    longest = (
        60_000 if message in (Finish("key", "a", "released", None, 3600.0), Force("key")) else 3.6e6
    )
    assert longest * 0.9 < client.pttl(key_of(store)) <= longest


def test_a_refusal_does_not_prolong_a_record(store: RedisStore, client: redis.Redis) -> None:
    """Who is refused, or only reads, leaves the time to live alone."""
    store.perform(BEGIN)
    client.pexpire(key_of(store), 90_000)
    store.perform(Begin("key", "b", "fp", 30.0, 3600.0))
    store.perform(Finish("key", "b", "value", None, 3600.0))
    store.perform(Renew("key", "b", 30.0, 3600.0))
    store.perform(Get("key"))
    store.perform(Force("key", 1))
    assert client.pttl(key_of(store)) <= 90_000
    store.perform(Finish("key", "a", "value", None, 3600.0))
    client.pexpire(key_of(store), 90_000)
    assert type(store.perform(BEGIN)) is Done
    store.perform(Finish("key", "a", "value", None, 3600.0))
    assert client.pttl(key_of(store)) <= 90_000


def test_a_renewal_never_shortens_the_time_to_live(store: RedisStore, client: redis.Redis) -> None:
    """A renewal with less retention leaves what is there."""
    store.perform(BEGIN)
    store.perform(Renew("key", "a", 1.0, 1.0))
    assert client.pttl(key_of(store)) > 3_000_000


def test_keys_show_neither_data_nor_braces(store: RedisStore, client: redis.Redis) -> None:
    """A key is hashed into a fixed shape with one hash tag, whatever the user's key holds."""
    key = ("}{", "a:b*\r\n", "x" * 10_000)
    store.perform(Begin(key, "a", None, 30.0, 60.0))
    name = key_of(store, key)
    assert client.exists(name) == 1
    assert re.fullmatch(r"mh1:\{idempotent:[0-9a-f]{32}:[0-9a-f]{32}\}", name)


def test_namespaces_are_apart(server: Server, connect: Callable[..., RedisStore]) -> None:
    """Two namespaces on one server share nothing; one namespace shares all."""
    one, same, other = (connect(server.url, namespace=name) for name in ("n1", "n1", "n2"))
    one.perform(Force("key"))
    other.perform(Force("key"))
    assert type(one.perform(BEGIN)) is Acquired
    assert type(same.perform(BEGIN._replace(owner="b"))) is Running
    assert type(other.perform(BEGIN._replace(owner="b"))) is Acquired


@pytest.mark.parametrize("namespace", ["", "a b", "{a}", "a\n", "x" * 101, None, 1, b"n"])
def test_a_wrong_namespace_is_refused(namespace: Any) -> None:
    """Braces, spaces and the like cannot get into a key."""
    with pytest.raises(ConfigurationError, match="namespace must be"):
        RedisStore("redis://localhost", namespace=namespace)


@pytest.mark.parametrize("key", [1, None, ("a", 1), 1.5, frozenset()])
def test_a_key_that_is_no_text_is_refused(store: RedisStore, key: Any) -> None:
    """A remote key is str, bytes or a tuple of those: a number would meet its own text."""
    with pytest.raises(TypeError, match="a key must be str"):
        store.perform(Get(key))


@pytest.mark.parametrize("message", [BEGIN._replace(fingerprint=1), BEGIN._replace(owner=["a"])])
def test_what_cannot_be_sent_fails_at_its_caller(store: RedisStore, message: Any) -> None:
    """A wrong value raises where it was given, and breaks nobody's connection."""
    with pytest.raises(TypeError, match="a remote store keeps"):
        store.submit(message)
    assert type(store.perform(BEGIN)) is Acquired


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", [redis.Redis, redis.asyncio.Redis])
def test_a_client_lends_its_settings_only(
    kind: Any, protocol: int, decode: bool, server: Server, connect: Callable[..., RedisStore]
) -> None:
    """Any client gives the address, decoding or not; the client itself is never used or changed."""
    host, port = server.address
    client = kind(host=host, port=port, protocol=protocol, decode_responses=decode, db=3)
    before = dict(client.connection_pool.connection_kwargs)
    store = connect(client, timeout=5.0)
    assert store.name == f"redis 127.0.0.1:{port}/3"
    store.perform(Force("key"))
    assert type(store.perform(BEGIN)) is Acquired
    assert Stored() == store.perform(Finish("key", "a", "value", b"\xff", 60.0))
    assert store.perform(Get("key")).payload == b"\xff"
    assert before == client.connection_pool.connection_kwargs
    assert not client.connection_pool._available_connections
    closed = client.aclose() if kind is redis.asyncio.Redis else client.close()
    if closed is not None:
        asyncio.run(_finish(closed))


async def _finish(awaitable: Any) -> None:
    await awaitable


def test_a_unix_socket_is_a_target() -> None:
    """A URL of a socket's path, and TLS settings, reach the connection."""
    assert RedisStore("unix:///run/redis.sock?db=2").name == "redis /run/redis.sock/2"
    store = RedisStore("rediss://host:1/0?ssl_cert_reqs=none")
    connection = store._lane._wire._make_connection()
    assert type(connection) is redis.SSLConnection
    assert connection.cert_reqs == 0


@pytest.mark.parametrize(
    "target",
    [
        f"http://user:{SECRET}@host",
        f"redis//user:{SECRET}@host",
        f"redis://user:{SECRET}@host:port",
        "",
        None,
        7,
        object(),
        redis.ConnectionPool(connection_class=type("Odd", (redis.Connection,), {})),
        redis.Redis(connection_pool=redis.ConnectionPool(type("Odd", (redis.Connection,), {}))),
    ],
    ids=str,
)
def test_a_wrong_target_is_refused(target: Any) -> None:
    """What is no server fails at construction, says what is wanted, and shows no password."""
    with pytest.raises(ConfigurationError, match="target") as caught:
        RedisStore(target)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("timeout", [0, -1, "soon", None, float("nan")])
def test_a_wrong_timeout_is_refused(timeout: Any) -> None:
    """``timeout`` is a duration above 0."""
    with pytest.raises(ConfigurationError, match="timeout must be"):
        RedisStore("redis://localhost", timeout=timeout)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the redis package the error at construction says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'meshhook\[redis\]'"):
        RedisStore("redis://localhost")


def test_nothing_is_sent_before_the_first_message(proxy: FaultProxy) -> None:
    """Making a store, as a decorator does at import, opens no connection and starts no thread."""
    store = RedisStore(proxy.url)
    store._lane._wire.interrupt()
    assert proxy.connections == 0
    assert store._lane._thread is None


def test_round_trips(proxy: FaultProxy, connect: Callable[..., RedisStore]) -> None:
    """A first run takes 2 round trips and a replay 1, once the scripts are known."""
    store = connect(proxy.url, timeout=5.0)
    for number in ("warm", "counted"):
        before = proxy.round_trips
        store.perform(Begin(number, "a", None, 30.0, 60.0))
        store.perform(Finish(number, "a", "value", "1", 60.0))
        first_run = proxy.round_trips - before
        assert type(store.perform(Begin(number, "b", None, 30.0, 60.0))) is Done
        replay = proxy.round_trips - before - first_run
    assert (first_run, replay) == (2, 1)
    assert proxy.connections == 1


def test_scripts_that_the_server_forgot_are_sent_again(
    store: RedisStore, client: redis.Redis
) -> None:
    """After SCRIPT FLUSH each verb goes on, alone and inside of one batch."""
    first = store.perform(BEGIN)
    client.script_flush()
    assert first == store.perform(BEGIN)
    client.script_flush()
    keys = [str(number) for number in range(50)]
    replies = [store.submit(Begin(key, "a", None, 30.0, 60.0)) for key in keys]
    replies += [store.submit(Get(key)) for key in keys]
    kinds = [type(reply.result()).__name__ for reply in replies]
    assert kinds[:50] == ["Acquired"] * 50
    assert set(kinds[50:]) <= {"Record", "NoneType"}


@pytest.mark.parametrize("message", [BEGIN, Get("key"), Renew("key", "a", 1.0, 1.0)])
def test_another_type_at_the_key(message: Any, store: RedisStore, client: redis.Redis) -> None:
    """A key that holds no hash is an error of that call alone, and can be cleared."""
    client.set(key_of(store), "planted")
    with pytest.raises(StoreError, match="something else than a record"):
        store.perform(message)
    assert type(store.perform(BEGIN._replace(key="other"))) is Acquired
    assert Stored() == store.perform(Force("key"))
    assert type(store.perform(BEGIN)) is Acquired


@pytest.mark.parametrize(
    "fields",
    [
        {"s": "Z"},
        {"s": "R"},
        {"s": "R", "o": "a", "n": "x", "a": "1", "f": "", "t": "1", "e": "1", "l": "1"},
        {"s": "R", "o": "a", "n": "1", "a": "1", "f": "", "t": "1"},
        {"s": "V", "o": "a", "n": "1", "a": "1", "f": "?", "t": "1"},
        {"s": "V", "o": "a", "n": "1", "a": "1", "f": "", "t": "1", "p": "\xff"},
        {"s": "V", "o": "a", "n": "nan", "a": "1", "f": "", "t": "1"},
        {"s": "V", "o": "a", "n": "1", "a": "inf", "f": "", "t": "1"},
    ],
)
def test_garbage_at_the_key(fields: Any, store: RedisStore, client: redis.Redis) -> None:
    """A hash that is no record is a StoreError, neither a crash nor an execution."""
    client.hset(key_of(store), mapping=fields)
    with pytest.raises(StoreError) as caught:
        store.perform(BEGIN._replace(owner="b"))
    assert not isinstance(caught.value, StoreUnavailableError)
    assert type(store.perform(Force("key"))) is Stored
    assert type(store.perform(BEGIN)) is Acquired
    assert 0 < client.pttl(key_of(store)) <= 3_600_000


def test_garbage_is_not_compared_with_a_fence(store: RedisStore, client: redis.Redis) -> None:
    """Clearing one known record leaves what is no record alone."""
    client.hset(key_of(store), "s", "Z")
    with pytest.raises(StoreError, match="not a record"):
        store.perform(Force("key", 1))
    assert client.hget(key_of(store), "s") == b"Z"


def test_a_lease_from_the_far_future_is_cut(store: RedisStore, client: redis.Redis) -> None:
    """After a leap back of the server's clock a lease lasts its length, not the leap."""
    store.perform(BEGIN)
    client.hset(key_of(store), "e", 10**15 * 9)
    assert store.perform(BEGIN._replace(owner="b")).remaining <= 30.0
    client.hset(key_of(store), mapping={"e": 10**15 * 9, "l": 1})
    store.perform(Get("key"))
    assert type(store.perform(BEGIN._replace(owner="b"))) is Acquired


def test_fences_are_whole_microseconds(store: RedisStore, client: redis.Redis) -> None:
    """A fence is exact to the last digit, and follows the server's clock."""
    seconds, micros = client.time()
    fence = store.perform(BEGIN).fence
    assert 0 <= fence - (seconds * 1_000_000 + micros) < 60_000_000
    assert str(fence).encode() == client.hget(key_of(store), "n")


def test_a_fence_grows_when_the_clock_leaps_back(store: RedisStore, client: redis.Redis) -> None:
    """The next fence is larger than the last one, whatever the clock says."""
    store.perform(BEGIN)
    client.hset(key_of(store), "n", ahead := 4 * 10**15 + 1)
    store.perform(Finish("key", "a", "released", None, 60.0))
    assert store.perform(BEGIN).fence == ahead + 1


def test_memory_that_is_full_is_unavailable(
    own_server: Server, connect: Callable[..., RedisStore]
) -> None:
    """A server that cannot take writes for now is StoreUnavailableError, and nothing is run."""
    store = connect(own_server.url, timeout=5.0)
    store.perform(BEGIN)
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailableError, match="cannot serve now"):
            store.perform(BEGIN._replace(key="new"))
        client.config_set("maxmemory", 0)
    assert type(store.perform(BEGIN._replace(key="new"))) is Acquired


@pytest.mark.parametrize("engine", ENGINES)
def test_a_replica_is_left(engine: str, connect: Callable[..., RedisStore]) -> None:
    """A server that has become a replica is StoreUnavailableError, until it is primary again."""
    with running(engine) as server, redis.Redis.from_url(server.url) as client:
        store = connect(server.url, timeout=1.0)
        store.perform(BEGIN)
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreUnavailableError):
            store.perform(BEGIN._replace(key="new"))
        client.replicaof("NO", "ONE")
        assert type(store.perform(BEGIN._replace(key="new"))) is Acquired


def test_the_least_rights_are_enough(
    own_server: Server, connect: Callable[..., RedisStore]
) -> None:
    """A user who may only do what the scripts do, on keys of meshhook, can run every verb."""
    rights = (
        "reset on >pw ~mh1:* -@all +eval +evalsha +ping +time +hget +hmget +hset +hdel +del +type "
        "+pexpire +pttl +hello +auth +select +client"
    )
    with redis.Redis.from_url(own_server.url) as client:
        client.execute_command("ACL", "SETUSER", "least", *rights.split())
    store = connect(f"redis://least:pw@127.0.0.1:{own_server.port}/0", timeout=5.0)
    assert type(store.perform(BEGIN)) is Acquired
    store.perform(Renew("key", "a", 30.0, 60.0))
    assert type(store.perform(Begin("key", "b", "fp", 30.0, 60.0))) is Running
    assert Stored() == store.perform(Finish("key", "a", "value", "1", 60.0))
    assert store.perform(Get("key")).payload == "1"
    assert Stored() == store.perform(Force("key"))


def test_the_password_is_never_shown() -> None:
    """No repr, error or traceback has the password: right, wrong, or with the server gone."""
    with running("valkey", password=SECRET) as server:
        store = RedisStore(server.url, timeout=1.0)
        assert type(store.perform(BEGIN)) is Acquired
        shown = [repr(store), store.name]
        wrong = RedisStore(server.url.replace(SECRET, SECRET + "x"), timeout=1.0)
        shown += [_failure(wrong), repr(wrong)]
        server.kill()
        shown += [_failure(store), _failure(store), _failure(RedisStore(server.url))]
    assert all("unavailable" in text for text in shown[2::2])
    assert not [text for text in shown if SECRET in text]
    store.close()
    wrong.close()


@pytest.mark.parametrize(
    "target",
    [
        f"default:{SECRET}@host:6379",
        f"redis://host?password={SECRET}&socket_timeout=abc",
        f"redis://:p@{SECRET}@host:notaport",
        f"https://user:{SECRET}@host",
    ],
)
def test_a_target_that_is_wrong_is_not_shown_whole(target: str) -> None:
    """Wherever in it the password is."""
    with pytest.raises(ConfigurationError, match="target must be a URL such as") as caught:
        RedisStore(target)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def _failure(store: RedisStore) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        store.perform(BEGIN)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        b"acquired",
        [b"acquired"],
        [b"acquired", b"x", b"1"],
        [b"done"],
        [b"done", b"R", b"", b"", b"1", b"1", b"1", b"1"],
        [b"done", b"Z", b"", b"", b"1", b"1", b"1", b"1"],
        [b"lost", b"V"],
        [b"running", b"1", b"2", b"\xff"],
        [b"record", b"V", b"s\xff", b"", b"1", b"1", b"1", b"1"],
        [b"what"],
        [[b"acquired"]],
        7,
    ],
)
def test_a_reply_without_sense_is_a_store_error(reply: Any) -> None:
    """Whatever a server says, the answer is an answer or a StoreError."""
    assert type(scripts.decode(reply)) is StoreError
