"""The policy of idempotent functions: its names, its keys, and what it says when it refuses.

At least once, with one recorded outcome: a call that raised, or whose process died, is executed
again; while one is being executed, the others wait for it or are refused. The drivers answer calls;
how keys are obtained and given back is in ``obtaining`` and ``ending``.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, overload

from meshhook import events, guard
from meshhook.canonical import digest
from meshhook.colour import is_async, refuse_streams
from meshhook.errors import (
    ConfigurationError,
    IdempotencyError,
    MeshHookError,
    MissingKeyError,
    StoreError,
)
from meshhook.keys import Callee
from meshhook.policies.idempotent import drivers
from meshhook.policies.idempotent.claim import Claim
from meshhook.policies.idempotent.fingerprint import (
    LONGEST,
    compile_fingerprint,
    fingerprint_of_call,
)
from meshhook.policies.idempotent.names import Scope
from meshhook.policies.idempotent.reading import Reading
from meshhook.policies.idempotent.results import Outcome, Results
from meshhook.policies.idempotent.settings import (
    IdempotentSettings,
)
from meshhook.policies.idempotent.signatures import AsyncIdempotentFunction, IdempotentFunction
from meshhook.policies.idempotent.stats import IdempotentStats, make_counters
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.flights import flights_of
from meshhook.runtime.protocol import Runtime
from meshhook.stores.protocol import Force, Get, Record, as_direct

P = ParamSpec("P")
R = TypeVar("R")
ErrorT = TypeVar("ErrorT", bound=IdempotencyError)
RejectionT = TypeVar("RejectionT", bound=MeshHookError)

_OF_RECORDS = "the records that are there would not be found"

_numbers = itertools.count(1)


def _reason(error: MeshHookError) -> str:
    """Return what an error is about, as events say it: ``key_reused`` for a KeyReusedError."""
    words = re.findall("[A-Z][a-z]+", type(error).__name__.removesuffix("Error"))
    return "_".join(words).lower()


def _token() -> str:
    return os.urandom(16).hex()


def _nothing_done(_at: Any) -> None:
    return None


class Idempotent(Policy):
    """What makes functions idempotent. Made by :func:`meshhook.idempotent`.

    Safe to share between threads, tasks and event loops.
    """

    kind = "idempotent"
    why_no_streams = "there is no result to keep, and items that were given cannot be given again"
    fixed: ClassVar = {
        "key": _OF_RECORDS,
        "store": _OF_RECORDS,
        "version": _OF_RECORDS,
        "fingerprint": "the records that are there were made with it",
        "codec": "the records that are there were made with it",
    }
    settings: IdempotentSettings

    def __init__(self, settings: IdempotentSettings, registry: Registry) -> None:
        super().__init__(settings, registry)
        self.store = settings.store
        self.local = self.store.local
        self._set_times(settings)
        self.flights = flights_of(self.store)
        # Numbers tell the owners in one memory apart. Elsewhere forks and copied machines meet.
        self.new_owner: Callable[[], Any] = _numbers.__next__ if self.local else _token
        self.counters = make_counters()
        # Arguments are nobody's business outside of this process.
        self.longest_fingerprint = LONGEST if self.local else 0
        self.direct = as_direct(self.store)
        self.done = _nothing_done if self.direct is None else self.direct.done
        self._scope: Scope | None = None

    def _set_times(self, settings: IdempotentSettings) -> None:
        # Here whoever executes a key is in this process: its flight keeps the others off.
        self.keeps_leases = not self.local or settings.max_run is not None
        self.running_retention = math.inf if self.local else settings.ttl

    def _adapt(self, new: IdempotentSettings) -> Callable[[], object]:
        """Keep records by other times from now on; those that are there stay as they are."""
        self._set_times(new)
        return super()._adapt(new)

    def _twin(self, new: IdempotentSettings) -> Self:
        twin = super()._twin(new)
        twin._scope = self._scope
        return twin

    def renew_locks(self) -> None:
        """Make the lock anew, in a forked child."""
        self.counters.renew_locks()

    @classmethod
    def shared(cls, name: str | None, settings: Any, registry: Registry | None) -> Self:
        """Return the policy of ``name``, or a pattern if there is no name."""
        policy = super().shared(name, settings, registry)
        if name is not None:
            policy._scope = Scope(name, policy.settings.version, local=policy.local)
        return policy

    def _for_function(self, fn: Callable[..., Any]) -> Policy:
        if self.settings.key is None:
            raise ConfigurationError(
                "key is needed to decorate a function: say which arguments tell its calls apart, "
                "such as key='{order.id}'"
            )
        if self._scope is not None:
            return self
        name = self.default_name(fn)
        own = self._adopted(name)
        version = own.settings.version
        if self.local:
            own._scope = Scope.of_own(own.name, version)
        else:
            own._scope = Scope.of_function(self.store, name, version, fn)
        return own

    @property
    def scope(self) -> Scope:
        """Where the records are."""
        if self._scope is None:
            raise ConfigurationError(
                "name is needed to use idempotent() without decorating a function: records are "
                "kept under it"
            )
        return self._scope

    def bind(self, call: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
        """Make the sync driver."""
        return drivers.once(Reading(self, fn), call)

    def bind_async(
        self, call: Callable[..., Awaitable[Any]], fn: Callable[..., Any]
    ) -> Callable[..., Awaitable[Any]]:
        """Make the async driver."""
        return drivers.once_async(Reading(self, fn), call)

    def run(self, key: Any, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Execute the sync ``fn`` once for ``key``, which is given here and not by a template."""
        if is_async(fn):
            raise TypeError(f"{fn!r} is async: use `await policy.arun(key, fn, ...)`")
        refuse_streams(fn, self.kind)
        reading = self._direct(key, fn, args, kwargs)
        return drivers.answer(self, *reading, fn, args, kwargs)  # type: ignore[no-any-return]

    async def arun(
        self, key: Any, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Execute the async ``fn`` once for ``key``."""
        reading = self._direct(key, fn, args, kwargs)
        return await drivers.answer_async(  # type: ignore[no-any-return]
            self, *reading, fn, args, kwargs
        )

    def clear(self, key: Any) -> None:
        """Forget ``key`` as :meth:`run` knows it; a call that runs under it now loses it."""
        run_blocking(self.forget(BLOCKING, self._at(key)))

    async def aclear(self, key: Any) -> None:
        """Forget ``key`` as :meth:`arun` knows it; a call that runs under it now loses it."""
        await self.forget(ASYNCIO, self._at(key))

    def _direct(
        self, key: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, str | None, Results]:
        setting = self.settings.fingerprint
        if setting == "auto":
            fingerprint = fingerprint_of_call(fn, args, kwargs, longest=self.longest_fingerprint)
        else:
            read = compile_fingerprint(setting, Callee(fn), (), longest=self.longest_fingerprint)
            fingerprint = None if read is None else read(args, kwargs)
        return self._at(key), fingerprint, Results(self.settings, fn)

    def _at(self, key: Any) -> Any:
        at = self.scope.at(key)
        if at is None:
            raise self.missing(f"it is {key!r}")
        return at

    async def look_up(self, io: Runtime, at: Any, results: Results) -> Outcome | None:
        """Return what is known of a key."""
        return self._outcome(at, results, await io.ask(self.store, Get(at)))

    async def forget(self, io: Runtime, at: Any) -> None:
        """Forget a key; a call that runs under it now loses it."""
        # Found before, for whoever takes the free key right afterwards has lost nothing.
        flight = self.flights.find(at)
        loses = flight if isinstance(flight, Claim) and flight.running else None
        await io.ask(self.store, Force(at))
        if loses is not None:
            # Whoever waits for it would be given what has just been cleared.
            loses.lose()

    def _outcome(self, at: Any, results: Results, record: Record | None) -> Outcome | None:
        if record is None:
            return None

        def read() -> Any:
            if record.kind == "running":
                raise ValueError("it is being executed")
            return results.unpack(record)

        return Outcome(
            key=self.key_text(at),
            state="running" if record.kind == "running" else "done",
            attempt=record.attempt,
            fence=record.fence,
            age=record.age,
            remaining=record.remaining,
            _read=read,
        )

    def key_text(self, at: Any) -> str:
        """Return the key of a record with its name and version in it."""
        return self.scope.key_text(at)

    def key_hash(self, at: Any) -> str:
        """Return what events show of a key."""
        return digest(self.key_text(at))

    def error(self, kind: type[ErrorT], at: Any, what: str, **fields: Any) -> ErrorT:
        """Build an error about the key of a record."""
        message = f"idempotent {self.name!r}: key {Scope.shown(at)} {what}"
        return kind(message, name=self.name, key=self.key_text(at), **fields)

    def refused(self, kind: type[ErrorT], at: Any, what: str, **fields: Any) -> ErrorT:
        """Build the error for a call that was refused, and count it."""
        return self.rejected(self.error(kind, at, what, **fields))

    def missing(self, why: str) -> MissingKeyError:
        """Build the error for a call without a key, and count it."""
        return self.rejected(
            MissingKeyError(
                f"idempotent {self.name!r}: this call has no key: {why}; "
                "give it one, or call the function without this guard",
                name=self.name,
            )
        )

    def rejected(self, error: RejectionT) -> RejectionT:
        """Count a call that ends in ``error`` and was not executed, and tell of it."""
        self.counters.add("rejected")
        if events.wanted(events.CallRejected):
            events.emit(
                events.CallRejected(
                    policy=self.kind,
                    name=self.name,
                    reason=_reason(error),
                    retry_after=getattr(error, "retry_after", None),
                )
            )
        return error

    def store_failed(self, verb: str, error: StoreError) -> None:
        """Count a failure of the store, and tell of it."""
        self.counters.store_failed()
        if events.wanted(events.StoreFailed):
            events.emit(
                events.StoreFailed(
                    policy=self.kind, name=self.name, verb=verb, error=type(error).__qualname__
                )
            )

    def stats(self) -> IdempotentStats:
        """Return what became of the calls."""
        return self.counters.stats(self.kind, self.name)

    def longest(self, inner: float) -> float:
        """Return the time of a call that waits for another as long as it may, and is then run.

        What a store takes to answer comes on top.
        """
        waits = self.settings.on_running == "wait"
        return inner + self.settings.wait_timeout if waits else inner

    def describe(self) -> str:
        """Return kind, name and how long results are kept, and where."""
        return f"idempotent({self.name!r}, ttl {self.settings.ttl:g} s, in {self.store.name})"

    @overload  # type: ignore[override]
    def __call__(  # type: ignore[overload-overlap]  # async functions are sync ones, too
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncIdempotentFunction[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> IdempotentFunction[P, R]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a function idempotent."""
        if len(args) != 1 or kwargs or not guard.is_target(args[0]):
            raise TypeError(
                "@idempotent needs a key and decorates a function: write @idempotent('{order.id}') "
                "above it, with the arguments that tell its calls apart"
            )
        return super().__call__(args[0])
