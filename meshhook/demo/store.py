"""Where the demo's charges keep their records: memory, or a Redis that somebody or we run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import meshhook as mh
from meshhook.demo import store_server
from meshhook.demo.processes import Child, DemoError
from meshhook.stores.protocol import Get, Store

LOCAL_REDIS = "redis://localhost:6379"
_SCHEMES = ("redis", "rediss", "unix")
_PATIENCE = 15.0
_POLL = 0.02


def is_choice(text: str) -> bool:
    """Tell whether ``text`` names a store: ``memory``, ``redis`` or a URL."""
    scheme, separator, _ = text.partition("://")
    return text in ("memory", "redis") or (bool(separator) and scheme in _SCHEMES)


@contextmanager
def open_store(choice: str) -> Iterator[Store]:
    """Open ``memory``, ``redis`` (one of our own if a server is installed), or a URL."""
    if choice == "memory":
        yield mh.MemoryStore()
    elif choice == "redis" and store_server.is_available():
        with _own_server() as url, _connected(url) as store:
            yield store
    else:
        with _connected(LOCAL_REDIS if choice == "redis" else choice) as store:
            yield store


@contextmanager
def _connected(url: str) -> Iterator[Store]:
    try:
        store = mh.RedisStore(url)
    except mh.ConfigurationError as exc:
        raise DemoError(str(exc)) from exc
    try:
        store.perform(Get("meshhook-demo"))
    except mh.StoreError as exc:
        store.close()
        raise DemoError(
            f"{exc}; start a Redis, name one with --store redis://host:port, or use --store memory"
        ) from exc
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _own_server() -> Iterator[str]:
    """Run a server and wait for its URL."""
    with tempfile.TemporaryFile(buffering=0) as output:
        server = Child(store_server.__name__, [], output.fileno())
        try:
            give_up = time.monotonic() + _PATIENCE
            while not (url := os.pread(output.fileno(), 4096, 0).decode()).endswith("\n"):
                if not server.is_running():
                    raise DemoError(f"the Redis server did not start: {server.complaint()}")
                if time.monotonic() > give_up:
                    raise DemoError(f"the Redis server did not start within {_PATIENCE:g} s")
                time.sleep(_POLL)
            yield url.strip()
        finally:
            server.stop()
