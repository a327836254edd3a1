"""The drivers of a bulkhead: the path of a call, once for each colour.

Under the GIL taking a free slot and giving it back is one step each, see
:mod:`meshhook.runtime.slots`, and takes no lock. The straight drivers do that for a fixed number of
slots, the timed ones for an adaptive limit, which learns from how long each call takes. Whoever
finds no slot free goes the long way, and so do all calls of a family.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.family import Family
from meshhook.keys import KeyOf
from meshhook.policies.bulkhead.place import Place
from meshhook.policies.bulkhead.waiting import obtain
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.slots import Turn
from meshhook.tracebacks import hide_this_frame

if TYPE_CHECKING:
    from meshhook.policies.bulkhead.policy import Bulkhead

Call: TypeAlias = Callable[..., Any]
AsyncCall: TypeAlias = Callable[..., Awaitable[Any]]


def straight(bulkhead: Bulkhead, place: Place, call: Call) -> Call:
    """Take a free slot, without a lock."""
    slots, watch, tally, plain = place.slots, place.slots.watch, place.tally, guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        free = slots.free
        try:
            del free[-1]
        except IndexError:
            pass
        else:
            try:
                tally.admitted += 1
                result = call(*args, **kwargs) if kwargs else call(*args)
                if type(result) not in plain:
                    guard.check_result(result)
            finally:
                try:
                    free.append(True)
                finally:
                    if watch:
                        slots.settle()
            return result
        return _run(bulkhead, place, call, args, kwargs)

    return guarded


def straight_async(bulkhead: Bulkhead, place: Place, call: AsyncCall) -> AsyncCall:
    """Take a free slot, without a lock, async."""
    slots, watch, tally = place.slots, place.slots.watch, place.tally

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        free = slots.free
        try:
            del free[-1]
        except IndexError:
            pass
        else:
            try:
                tally.admitted += 1
                coroutine = call(*args, **kwargs) if kwargs else call(*args)
                del args, kwargs  # a call that is suspended needs them no more
                return await coroutine
            finally:
                try:
                    free.append(True)
                finally:
                    if watch:
                        slots.settle()
        return await _run_async(bulkhead, place, call, args, kwargs)

    return guarded


def timed(bulkhead: Bulkhead, place: Place, call: Call) -> Call:
    """Take a free slot, without a lock, and time the call."""
    slots, watch, tally, plain = place.slots, place.slots.watch, place.tally, guard.PLAIN

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()  # before the slot is taken, so that no interrupt loses it
        free = slots.free
        try:
            del free[-1]
        except IndexError:
            pass
        else:
            try:
                tally.admitted += 1
                result = call(*args, **kwargs) if kwargs else call(*args)
                if type(result) not in plain:
                    guard.check_result(result)
            except Exception as exc:
                bulkhead.learn_error(place, began, exc)
                raise
            else:
                bulkhead.learn(place, began)
                return result
            finally:
                try:
                    free.append(True)
                finally:
                    if watch:
                        slots.settle()
        return _run(bulkhead, place, call, args, kwargs)

    return guarded


def timed_async(bulkhead: Bulkhead, place: Place, call: AsyncCall) -> AsyncCall:
    """Take a free slot, without a lock, and time the call, async."""
    slots, watch, tally = place.slots, place.slots.watch, place.tally

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        free = slots.free
        try:
            del free[-1]
        except IndexError:
            pass
        else:
            try:
                tally.admitted += 1
                coroutine = call(*args, **kwargs) if kwargs else call(*args)
                del args, kwargs  # a call that is suspended needs them no more
                result = await coroutine
            except Exception as exc:
                bulkhead.learn_error(place, began, exc)
                raise
            else:
                bulkhead.learn(place, began)
                return result
            finally:
                try:
                    free.append(True)
                finally:
                    if watch:
                        slots.settle()
        return await _run_async(bulkhead, place, call, args, kwargs)

    return guarded


def careful(bulkhead: Bulkhead, place: Place, call: Call) -> Call:
    """Take a slot under the lock, where there is no GIL."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        return _run(bulkhead, place, call, args, kwargs)

    return guarded


def careful_async(bulkhead: Bulkhead, place: Place, call: AsyncCall) -> AsyncCall:
    """Take a slot under the lock, where there is no GIL, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await _run_async(bulkhead, place, call, args, kwargs)

    return guarded


def keyed(bulkhead: Bulkhead, family: Family[Place], key_of: KeyOf, call: Call) -> Call:
    """Find the slots of the key, and keep them while the call is in there."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        place = family.hold(key_of(args, kwargs))
        try:
            return _run(bulkhead, place, call, args, kwargs)
        finally:
            family.let_go(place)

    return guarded


def keyed_async(
    bulkhead: Bulkhead, family: Family[Place], key_of: KeyOf, call: AsyncCall
) -> AsyncCall:
    """Find the slots of the key, and keep them while the call is in there, async."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        place = family.hold(key_of(args, kwargs))
        try:
            return await _run_async(bulkhead, place, call, args, kwargs)
        finally:
            family.let_go(place)

    return guarded


def _run(bulkhead: Bulkhead, place: Place, call: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    turn, began = Turn(), None
    try:
        if not place.slots.take(turn):
            run_blocking(obtain(bulkhead, place, turn, BLOCKING))
        place.tally.admitted += 1
        began = time.monotonic() if bulkhead.is_adaptive else None
        result = call(*args, **kwargs) if kwargs else call(*args)
        if type(result) not in guard.PLAIN:
            guard.check_result(result)
    except Exception as exc:
        if began is not None:
            bulkhead.learn_error(place, began, exc)
        hide_this_frame(exc)
        raise
    else:
        if began is not None:
            bulkhead.learn(place, began)
        return result
    finally:
        try:
            place.slots.give_back(turn)
        except BaseException:
            place.slots.give_back(turn)  # an interrupt came before it was done
            raise


async def _run_async(
    bulkhead: Bulkhead, place: Place, call: AsyncCall, args: Any, kwargs: dict[str, Any]
) -> Any:
    turn, began = Turn(), None
    try:
        if not place.slots.take(turn):
            await obtain(bulkhead, place, turn, ASYNCIO)
        place.tally.admitted += 1
        began = time.monotonic() if bulkhead.is_adaptive else None
        coroutine = call(*args, **kwargs) if kwargs else call(*args)
        del args, kwargs  # a call that is suspended needs them no more
        result = await coroutine
    except Exception as exc:
        if began is not None:
            bulkhead.learn_error(place, began, exc)
        hide_this_frame(exc)
        raise
    else:
        if began is not None:
            bulkhead.learn(place, began)
        return result
    finally:
        try:
            place.slots.give_back(turn)
        except BaseException:
            place.slots.give_back(turn)  # an interrupt came before it was done
            raise
