"""The decorator ``idempotent``: what it may be told, and what that means."""

from __future__ import annotations

from typing import Literal

from meshhook.keys import Key
from meshhook.policies.idempotent.fingerprint import Fingerprint
from meshhook.policies.idempotent.policy import Idempotent
from meshhook.policies.idempotent.settings import ResultCodec, idempotent_settings, memory_of
from meshhook.recipes import Recipes
from meshhook.registry import Registry
from meshhook.settings import Duration
from meshhook.stores.protocol import Store


def idempotent(
    key: Key | None = None,
    *,
    store: Store | None = None,
    name: str | None = None,
    version: int = 1,
    fingerprint: Fingerprint = "auto",
    ttl: Duration = 86400,
    lease: Duration = 30,
    max_run: Duration | None = None,
    on_running: Literal["wait", "reject"] = "wait",
    wait_timeout: Duration = 10,
    on_store_error: Literal["raise", "run"] = "raise",
    codec: ResultCodec | Literal["auto"] = "auto",
    max_result_bytes: int = 1 << 20,
    registry: Registry | None = None,
) -> Idempotent:
    """Execute a call once per key; answer later calls of that key with its result.

    At least once, with one recorded outcome: a call that raised is forgotten and the next one is
    executed; a holder that died is taken over when its lease is over. Durations are seconds (or
    ``timedelta``, or text such as ``"250ms"``). A decorated function gets ``key_for``, ``get`` and
    ``clear``, awaitable for async functions but for ``key_for``; inside it, ``meshhook.current()``
    shows the claim. Without ``key``, use ``run(key, fn, ...)`` and ``arun(key, fn, ...)``.

    Args:
        key: a template, names or a callable over the arguments.
        store: where records are. Default: the memory of this process, one for each registry.
        name: part of every key. Default: module and name of the function.
        version: part of every key as well; a new one begins anew. Default 1.
        fingerprint: which arguments must be the same when a key comes again: ``"auto"``, all that
            the key does not cover; names, a callable, or False for none.
        ttl: for how long a result is kept. Default 86,400.
        lease: for how long a holder that shows no life keeps its key. Default 30.
        max_run: how long a lease is renewed at the most. Default: as long as the call runs.
        on_running: ``"wait"`` for another execution and share its result, or ``"reject"``.
        wait_timeout: how long to wait for it; the deadline may end it earlier. Default 10.
        on_store_error: ``"raise"`` StoreUnavailableError, or ``"run"`` without protection.
        codec: an object with ``encode`` and ``decode``. Default: JSON, with types kept.
        max_result_bytes: a larger result is not kept, but the key is done. Default 1 MiB.
        registry: where the name lives. Default ``meshhook.registry``.

    Raises:
        MissingKeyError: by the call, when its key is missing, None or empty.
        KeyReusedError: when the key belongs to a call with other arguments.
        InProgressError: when another execution did not end in time; ``retry_after`` says when.
        NoTimeLeftError: when the deadline passed before the store answered; nothing was executed.
        ReentrantCallError: when a call would wait for itself.
        ResultUnavailableError: when the call was executed, but its result could not be kept.
        LeaseLostError: when the key went to another while this call was executed.
        StoreUnavailableError: when the store does not answer; nothing was executed.
        ConfigurationError: here, when a setting is wrong.

    Safe to share between threads, tasks, event loops, and processes where the store allows it.
    """
    registry = Registry.given(registry)
    recipe = recipes(
        key=key,
        store=memory_of(registry) if store is None else store,
        version=version,
        fingerprint=fingerprint,
        ttl=ttl,
        lease=lease,
        max_run=max_run,
        on_running=on_running,
        wait_timeout=wait_timeout,
        on_store_error=on_store_error,
        codec=codec,
        max_result_bytes=max_result_bytes,
    )
    return Idempotent.shared(name, recipe, registry)


recipes = Recipes(idempotent_settings, idempotent)
