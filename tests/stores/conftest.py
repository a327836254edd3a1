"""Servers and stores that the store tests share. Servers live as long as the test session."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshhook.stores.memory import MemoryStore
from meshhook.stores.redis import RedisStore
from tests.faultproxy import FaultProxy
from tests.servers import ENGINES, Server, running

# A busy machine may hold a process up for longer than the default timeout of a store: where no
# fault is tested, none shall be found.
PATIENT = 5.0


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """Start a shared server of an engine at its first use."""
    started: dict[str, Any] = {}

    def server(engine: str) -> Server:
        if engine not in started:
            context = running(engine)
            started[engine] = (context, context.__enter__())
        return started[engine][1]

    yield server
    for context, _ in started.values():
        context.__exit__(None, None, None)


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """Give a shared server of each engine; the test leaves it as it was."""
    return servers(request.param)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a Valkey server that the test may break."""
    with running("valkey") as server:
        yield server


@pytest.fixture
def proxy(servers: Callable[[str], Server]) -> Iterator[FaultProxy]:
    """Give a proxy in front of the shared Valkey server."""
    with FaultProxy(servers("valkey").address) as proxy:
        yield proxy


@pytest.fixture
def connect() -> Iterator[Callable[..., RedisStore]]:
    """Make RedisStores with a namespace of their own, which are closed after the test."""
    made: list[RedisStore] = []
    namespace = uuid.uuid4().hex

    def make(target: Any, **settings: Any) -> RedisStore:
        store = RedisStore(target, **{"namespace": namespace, **settings})
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture(params=["memory", *ENGINES])
def store(
    request: pytest.FixtureRequest,
    servers: Callable[[str], Server],
    connect: Callable[..., RedisStore],
) -> MemoryStore | RedisStore:
    """Give an empty store of each kind."""
    if request.param == "memory":
        return MemoryStore()
    return connect(servers(request.param).url, timeout=PATIENT)
