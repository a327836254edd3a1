"""Isolation: a default registry for one test, and nothing left of it in the one of the program.

A policy that a module makes when it is imported stays in the registry of the program, and in the
functions that it decorates, for good. What can be done for such a policy is to begin and to leave
it as if it were new.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator

import meshhook
from meshhook.registry import Registry
from meshhook.stores.memory import MemoryStore
from meshhook.testing.scoped import scoped

_lock = threading.RLock()
_defaults: list[Registry] = []  # guarded by _lock; the first is that of the program


@scoped
def isolated_registry() -> Iterator[Registry]:
    """Have a new default registry until the block ends, and every policy of the old one reset.

    What the block makes goes into the new registry, which is ``mh.registry`` meanwhile and is what
    the block gives; names that exist outside are free in it. The policies of the old registry are
    those of functions that are there already: they are reset when the block begins and when it
    ends, and so are the records that they keep in a :class:`~meshhook.MemoryStore`, which come back
    afterwards. Their counters go on. Registries that a program has beside ``mh.registry``, and
    other stores, are left alone, and ``from meshhook import registry`` keeps what it has imported.
    """
    fresh = Registry()
    with _lock:
        if not _defaults:
            _defaults.append(Registry.default)
        outer = _defaults[-1]
        _defaults.append(fresh)
        _make_default(fresh)
    try:
        with contextlib.ExitStack() as records:
            for store in _memories(outer):
                records.enter_context(_set_aside(store))
            outer.reset()
            try:
                yield fresh
            finally:
                outer.reset()
    finally:
        with _lock:
            _defaults[:] = [each for each in _defaults if each is not fresh]
            _make_default(_defaults[-1])
            if len(_defaults) == 1:
                _defaults.clear()


def _make_default(registry: Registry) -> None:
    Registry.default = meshhook.registry = registry


def _memories(registry: Registry) -> set[MemoryStore]:
    stores = {getattr(policy, "store", None) for policy in registry}
    return {store for store in stores if isinstance(store, MemoryStore)}


@contextlib.contextmanager
def _set_aside(store: MemoryStore) -> Iterator[None]:
    """Have ``store`` empty in the block; what it had comes back."""
    with store._lock:
        kept = store._running, store._settled, store._turns
        store._running, store._settled, store._turns = {}, OrderedDict(), deque()
    try:
        yield
    finally:
        with store._lock:
            store._running, store._settled, store._turns = kept
