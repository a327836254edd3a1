"""How an execution ends: what it gave is stored, or its key is given back.

It is written once for both colours, over the verbs of :mod:`meshhook.runtime`. Whoever is cancelled
in the middle leaves nothing behind: what has been sent lands its flight when the answer comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshhook.errors import (
    LeaseLostError,
    StoreError,
)
from meshhook.policies.idempotent.claim import Claim
from meshhook.policies.idempotent.obtaining import is_other_call
from meshhook.stores.protocol import (
    TOMBSTONE,
    Finish,
    Lost,
)

if TYPE_CHECKING:
    from meshhook.policies.idempotent import Idempotent
    from meshhook.policies.idempotent.results import Packed, Results
    from meshhook.runtime.protocol import Runtime

_BEFORE_SECOND_FINISH = 0.1


async def finish(
    policy: Idempotent, io: Runtime, claim: Claim, results: Results, result: Any, packed: Packed
) -> Any:
    """Store what the execution gave, and return what the caller gets."""
    claim.rest()
    if not claim.fence:
        return _executed(claim, result, packed)
    message = Finish(claim.at, claim.owner, *packed, policy.settings.ttl)
    reply: Any = None
    answer: Any = None
    last = False
    try:
        while answer is None:
            try:
                reply = policy.store.submit(message)
                answer = await io.answer(reply)
            except StoreError as error:
                reply = None
                if last:
                    policy.store_failed("finish", error)
                    return _executed(claim, result, packed)
                last = True
                await io.sleep(_BEFORE_SECOND_FINISH)
    except BaseException:
        if reply is None:
            reply = policy.store.submit(message)
        _when_answered(claim, reply, lambda answer: _finished(policy, claim, packed, answer))
        raise
    if isinstance(answer, Lost):
        return lost(policy, claim, results, answer)
    return _executed(claim, result, packed)


def _finished(policy: Idempotent, claim: Claim, packed: Packed, answer: Any) -> None:
    """End an execution whose caller has not waited for the answer of the store."""
    if isinstance(answer, Lost):
        claim.end("lost")
        claim.lose()
        return
    if isinstance(answer, StoreError):
        policy.store_failed("finish", answer)
    _executed(claim, None, packed)


def _executed(claim: Claim, result: Any, packed: Packed) -> Any:
    claim.end("executed")
    claim.land(*packed)
    return result


def lost(policy: Idempotent, claim: Claim, results: Results, answer: Lost) -> Any:
    """Return the result of whoever took the key over, if it is the same call's and is there."""
    claim.end("lost")
    claim.lose()
    winner = answer.record
    if winner is not None and not is_other_call(winner.fingerprint, claim.fingerprint):
        with contextlib.suppress(ValueError):
            return results.unpack(winner)
    raise policy.error(
        LeaseLostError,
        claim.at,
        "went to another call, was cleared, or was lost by the store, while this one was being "
        "executed; its result was dropped, so look at what it did before it is repeated",
    )


async def release(policy: Idempotent, io: Runtime, claim: Claim, exc: BaseException) -> None:
    """Give the key back after ``exc``, so that the next call is executed."""
    claim.rest()
    claim.end("released")
    message = Finish(claim.at, claim.owner, "released", None, TOMBSTONE)
    if not claim.started:
        # Nothing is there to be told of, and nobody needs to wait for that.
        if claim.fence or claim.asking:
            policy.store.submit(message)
        claim.land()
        return
    if not claim.fence:
        claim.land()
        return
    reply: Any = policy.store.submit(message)
    if isinstance(exc, GeneratorExit):
        # A coroutine that is thrown away cannot wait.
        _when_answered(claim, reply, lambda answer: _released(policy, claim, answer))
        return
    try:
        answer = await io.answer(reply)
    except StoreError as error:
        answer = error
    except BaseException:
        _when_answered(claim, reply, lambda answer: _released(policy, claim, answer))
        raise
    _released(policy, claim, answer)


def _released(policy: Idempotent, claim: Claim, answer: Any) -> None:
    if isinstance(answer, Lost):
        claim.lose()
    elif isinstance(answer, StoreError):
        policy.store_failed("release", answer)
    claim.land()


def _when_answered(claim: Claim, reply: Any, end: Callable[[Any], None]) -> None:
    """Call ``end`` with the answer of the store, or with the StoreError that came instead."""
    claim.thread = None  # it is the store that lands it

    def answered(_: Any) -> None:
        try:
            answer = reply.result(0)
        except StoreError as error:
            answer = error
        end(answer)

    reply.add_done_callback(answered)
