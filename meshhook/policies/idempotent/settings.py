"""The settings of idempotent functions: what may be said, and what it means when little is said."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from meshhook.errors import ConfigurationError
from meshhook.keys import Key, check_key
from meshhook.policies.idempotent.fingerprint import Fingerprint, check_fingerprint
from meshhook.registry import Registry
from meshhook.settings import Duration, choice, count, duration, wrong
from meshhook.stores.memory import MemoryStore
from meshhook.stores.protocol import Store, is_store

_memories: weakref.WeakKeyDictionary[Registry, MemoryStore] = weakref.WeakKeyDictionary()


def memory_of(registry: Registry) -> MemoryStore:
    """Return what keeps records when no store is given: in this process, one for each registry."""
    known = _memories.get(registry)
    return _memories.setdefault(registry, MemoryStore()) if known is None else known


class ResultCodec(Protocol):
    """What ``codec=`` may be: results to text or bytes, and back."""

    def encode(self, value: Any) -> str | bytes:
        """Return ``value`` as text or bytes; raise what is no matter if it has no such form."""

    def decode(self, kept: Any, /) -> Any:
        """Return a new object equal to the one that was encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentSettings:
    """What an idempotent function was given, checked. Durations are seconds."""

    key: Key | None
    store: Store
    version: int
    fingerprint: Fingerprint
    ttl: float
    lease: float
    max_run: float | None
    on_running: str
    wait_timeout: float
    on_store_error: str
    codec: ResultCodec | Literal["auto"]
    max_result_bytes: int


def idempotent_settings(
    *,
    key: Key | None,
    store: Store,
    version: int,
    fingerprint: Fingerprint,
    ttl: Duration,
    lease: Duration,
    max_run: Duration | None,
    on_running: str,
    wait_timeout: Duration,
    on_store_error: str,
    codec: ResultCodec | Literal["auto"],
    max_result_bytes: int,
) -> IdempotentSettings:
    """Check all settings of an idempotent function against each other."""
    if not is_store(store):
        raise wrong("store", store, "a store, such as RedisStore('redis://localhost')")
    lease_seconds = duration("lease", lease)
    longest = None if max_run is None else duration("max_run", max_run)
    if longest is not None and longest < lease_seconds:
        raise ConfigurationError(
            f"max_run={max_run!r} is less than lease={lease!r}, which every run has for certain; "
            "shorten the lease or let it run for longer"
        )
    return IdempotentSettings(
        key=None if key is None else check_key(key),
        store=store,
        version=count("version", version, least=0),
        fingerprint=check_fingerprint(fingerprint),
        ttl=duration("ttl", ttl),
        lease=lease_seconds,
        max_run=longest,
        on_running=choice("on_running", on_running, ("wait", "reject")),
        wait_timeout=duration("wait_timeout", wait_timeout, zero=True),
        on_store_error=choice("on_store_error", on_store_error, ("raise", "run")),
        codec=_codec(codec),
        max_result_bytes=count("max_result_bytes", max_result_bytes, least=0),
    )


def _codec(codec: Any) -> Any:
    if codec == "auto" or all(
        callable(getattr(codec, each, None)) for each in ("encode", "decode")
    ):
        return codec
    raise wrong("codec", codec, "'auto' or an object with encode(value) and decode(kept)")
