"""How a call waits for a slot: the path of whoever finds none free, for both colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from meshhook.deadline import remaining
from meshhook.runtime import pauses

if TYPE_CHECKING:
    from meshhook.policies.bulkhead.place import Place
    from meshhook.policies.bulkhead.policy import Bulkhead
    from meshhook.runtime.protocol import Runtime
    from meshhook.runtime.slots import Turn


async def obtain(bulkhead: Bulkhead, place: Place, turn: Turn, runtime: Runtime) -> None:
    """Wait until ``turn`` has a slot, or raise BulkheadFullError.

    However this ends, ``turn`` has to be given back.
    """
    slots = place.slots
    if slots.take(turn):
        return
    settings = bulkhead.settings  # once, for others may come in their place at any time
    if not settings.waits:
        raise bulkhead.refusal(place, "full")
    most = settings.max_queue
    if most is None:
        most = slots.limit
    left = remaining()
    if left == 0:
        raise bulkhead.refusal(place, "deadline")
    if slots.waiting >= most:
        raise bulkhead.refusal(place, "queue_full")
    if runtime.blocks_a_loop():
        raise bulkhead.would_block()
    waiter = runtime.waiter()
    if not slots.join(turn, waiter.wake, most):
        raise bulkhead.refusal(place, "queue_full")
    try:
        await waiter.wait(min(settings.max_wait, math.inf if left is None else left))
    except BaseException:
        place.tally.abandoned += 1
        raise
    if not slots.leave(turn):
        raise bulkhead.refusal(place, _why(settings.max_wait, left))
    place.tally.waited += 1


def _why(max_wait: float, left: float | None) -> str:
    if pauses.is_shut_down():
        return "shutdown"
    return "max_wait" if left is None or max_wait <= left else "deadline"
