"""How a call waits for its turn: the path of whoever may not start at once, for both colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhook.policies.rate_limit.limiter import SECOND, Limiter, Turn
from meshhook.runtime import pauses

if TYPE_CHECKING:
    from meshhook.policies.rate_limit.policy import RateLimit
    from meshhook.runtime.protocol import Runtime


async def wait_for_turn(limit: RateLimit, limiter: Limiter, turn: Turn, runtime: Runtime) -> None:
    """Wait until the call of ``turn`` has started, or raise RateLimitedError.

    However this ends, ``turn`` is out of the queue then.
    """
    try:
        if runtime.blocks_a_loop():
            raise limit.would_block()
        await _wait(limit, limiter, turn, runtime)
    finally:
        limiter.leave(turn)
    limit.has_waited((turn.looked_at - turn.asked_at) / SECOND)


async def _wait(limit: RateLimit, limiter: Limiter, turn: Turn, runtime: Runtime) -> None:
    while not turn.has_started:
        try:
            goes_on = await _sleep(turn, runtime)
        except BaseException:
            limit.tally.cancelled += 1
            raise
        refused = limiter.ask_again(turn) if goes_on else limiter.peek(turn.cost)
        if refused is not None:
            raise limit.refusal(refused)


async def _sleep(turn: Turn, runtime: Runtime) -> bool:
    """Sleep until the turn should come, or somebody wakes us; False if the process shuts down."""
    seconds = turn.sleep / SECOND
    if pauses.are_replaced():
        return await runtime.sleep(seconds)
    waiter = runtime.waiter()
    turn.wake = waiter.wake
    if not turn.is_woken:
        await waiter.wait(seconds)
    return not pauses.is_shut_down()
