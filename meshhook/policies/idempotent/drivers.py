"""The drivers of idempotent functions: find the record of a call, and replay or execute it.

With a store that answers at once, neither a first call nor a replay needs a coroutine of ours;
everything that may have to wait is in :mod:`meshhook.policies.idempotent.obtaining` and in
:mod:`meshhook.policies.idempotent.ending`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshhook import events, guard
from meshhook.errors import ResultUnavailableError
from meshhook.policies.idempotent.claim import Claim
from meshhook.policies.idempotent.ending import finish, release
from meshhook.policies.idempotent.obtaining import is_other_call, obtain, other_call, take
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.stores.protocol import Stored
from meshhook.tracebacks import hide_this_frame

if TYPE_CHECKING:
    from meshhook.policies.idempotent.names import At
    from meshhook.policies.idempotent.policy import Idempotent
    from meshhook.policies.idempotent.reading import Reading
    from meshhook.policies.idempotent.results import Results

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]

_RELEASED: Final = ("released", None)


def once(reading: Reading, call: Call) -> Call:
    """Execute ``call`` once per key."""
    policy, results = reading.policy, reading.results
    done, at_of, fingerprint_of = policy.done, reading.at_of, reading.fingerprint_of

    def guarded(*args: Any, **kwargs: Any) -> Any:
        at = at_of(args, kwargs)
        fingerprint = None if fingerprint_of is None else fingerprint_of(args, kwargs)
        kept = done(at)
        if kept is not None:
            return replay(policy, at, fingerprint, results, kept)
        return execute(policy, at, fingerprint, results, call, args, kwargs)

    reading.show_on(guarded)
    return guarded


def once_async(reading: Reading, call: AsyncCall) -> AsyncCall:
    """Execute ``call`` once per key, async."""
    policy, results = reading.policy, reading.results
    done, at_of, fingerprint_of = policy.done, reading.at_of, reading.fingerprint_of

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        at = at_of(args, kwargs)
        fingerprint = None if fingerprint_of is None else fingerprint_of(args, kwargs)
        kept = done(at)
        if kept is not None:
            return replay(policy, at, fingerprint, results, kept)
        return await execute_async(policy, at, fingerprint, results, call, args, kwargs)

    reading.show_on(guarded)
    return guarded


def answer(
    policy: Idempotent,
    at: At,
    fingerprint: str | None,
    results: Results,
    call: Call,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Answer one call, whose place is known."""
    kept = policy.done(at)
    if kept is not None:
        return replay(policy, at, fingerprint, results, kept)
    return execute(policy, at, fingerprint, results, call, args, kwargs)


async def answer_async(
    policy: Idempotent,
    at: At,
    fingerprint: str | None,
    results: Results,
    call: AsyncCall,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Answer one call, whose place is known, async."""
    kept = policy.done(at)
    if kept is not None:
        return replay(policy, at, fingerprint, results, kept)
    return await execute_async(policy, at, fingerprint, results, call, args, kwargs)


def execute(
    policy: Idempotent,
    at: At,
    fingerprint: str | None,
    results: Results,
    call: Call,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Execute the call, or wait for its result."""
    claim = Claim(policy, at, fingerprint)
    # From here to the end, for an interrupt may come at any bytecode.
    try:
        if not take(policy, claim):
            kept = run_blocking(obtain(policy, BLOCKING, claim))
            if kept is not None:
                return replay(policy, at, fingerprint, results, kept)
        claim.enter()
        result = call(*args, **kwargs)
        if type(result) not in guard.PLAIN:
            guard.check_result(result)
        packed = results.pack(result)
        claim.leave()
        if _ended_at_once(policy, claim, *packed):
            return result
        return run_blocking(finish(policy, BLOCKING, claim, results, result, packed))
    except BaseException as exc:
        claim.leave()
        if claim.is_to_be_released() and not _ended_at_once(policy, claim, *_RELEASED):
            run_blocking(release(policy, BLOCKING, claim, exc))
        hide_this_frame(exc)
        raise


async def execute_async(
    policy: Idempotent,
    at: At,
    fingerprint: str | None,
    results: Results,
    call: AsyncCall,
    args: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Execute the call, or wait for its result, async."""
    claim = Claim(policy, at, fingerprint)
    # From here to the end, for an interrupt may come at any bytecode.
    try:
        if not take(policy, claim):
            kept = await obtain(policy, ASYNCIO, claim)
            if kept is not None:
                return replay(policy, at, fingerprint, results, kept)
        claim.enter()
        result = await call(*args, **kwargs)
        packed = results.pack(result)
        claim.leave()
        if _ended_at_once(policy, claim, *packed):
            return result
        return await finish(policy, ASYNCIO, claim, results, result, packed)
    except BaseException as exc:
        claim.leave()
        if claim.is_to_be_released() and not _ended_at_once(policy, claim, *_RELEASED):
            await release(policy, ASYNCIO, claim, exc)
        hide_this_frame(exc)
        raise


def replay(policy: Idempotent, at: At, fingerprint: str | None, results: Results, kept: Any) -> Any:
    """Answer a call with what a record keeps, if it is of the same call."""
    if is_other_call(kept.fingerprint, fingerprint):
        raise other_call(policy, at)
    try:
        result = results.unpack(kept)
    except ValueError as error:
        raise policy.refused(
            ResultUnavailableError, at, f"was executed already, but of its result {error}"
        ) from None
    policy.counters.replay()
    if events.wanted(events.ResultReplayed):
        events.emit(
            events.ResultReplayed(
                policy=policy.kind, name=policy.name, key_hash=policy.key_hash(at)
            )
        )
    return result


def _ended_at_once(policy: Idempotent, claim: Claim, kind: Any, payload: Any) -> bool:
    """End an execution without waiting; False if there is more to it than that."""
    if policy.direct is None or not claim.fence:
        return False
    # First, so that no renewal finds the record ended and takes that for a loss.
    claim.rest()
    answer = policy.direct.finish(claim.at, claim.owner, kind, payload, policy.settings.ttl)
    if type(answer) is not Stored:
        return False
    if kind == "released":
        claim.end("released")
        claim.land()
    else:
        claim.end("executed")
        claim.land(kind, payload)
    return True
