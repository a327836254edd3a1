"""The drivers of a timeout: one closure for each way of keeping a limit.

Each works out what is left of the time, makes it the deadline of the call, and stops the call in
its own way. The lines before the call are the same in all of them and are not shared: a function
call would cost more than they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

from meshhook import guard
from meshhook.deadline import current as deadline
from meshhook.errors import MeshHookError, TimeoutError
from meshhook.runtime.alarm import Alarm
from meshhook.runtime.expiry import Expired
from meshhook.runtime.workers import Job
from meshhook.tracebacks import hide_this_frame

if TYPE_CHECKING:
    from meshhook.policies.timeout import Timeout
    from meshhook.runtime.processes import Worker

Call: TypeAlias = Callable[..., Any]
_MISSING: Any = object()


def cooperative(policy: Timeout, call: Call, fn: Call) -> Call:
    """Set the deadline and let the function see to it."""
    limit, tally, plain = policy.settings.seconds, policy.tally, guard.PLAIN
    get, set_, reset = deadline.get, deadline.set, deadline.reset

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        latest = began + limit
        outer = get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        token = set_(latest)
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            policy.count_cooperative_error(exc, began, latest, limit)
            raise
        finally:
            reset(token)
        tally.successes += 1
        return result

    return guarded


def threaded(policy: Timeout, call: Call, fn: Call) -> Call:
    """Make the call in a worker thread, and stop waiting for it at the deadline."""
    limit, tally, plain = policy.settings.seconds, policy.tally, guard.PLAIN
    current = deadline
    abandoned, most = policy.abandoned, policy.settings.max_abandoned

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        latest = began + limit
        outer = current.get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        if abandoned.running >= most:
            raise policy.too_many_abandoned(fn)
        context = copy_context()
        context.run(current.set, latest)
        job = Job(context, call, args, kwargs)
        try:
            job.start()
            ended = job.wait(latest - began)
        except BaseException as exc:
            abandoned.take(job, policy.on_late_end(latest))
            policy.count_error(exc)
            raise
        if not ended and abandoned.take(job, policy.on_late_end(latest)):
            raise policy.expired(fn, began, latest, limit, abandoned=True)
        try:
            result = job.outcome()
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            policy.count_error(exc)
            raise
        tally.successes += 1
        return result

    return guarded


def signalled(  # noqa: C901 - one function, because another would be a frame of its own
    policy: Timeout, call: Call, fn: Call, *, or_threaded: bool = False
) -> Call:
    """Interrupt the main thread by a signal; make the call in a worker where that cannot be."""
    limit, tally, plain = policy.settings.seconds, policy.tally, guard.PLAIN
    get, set_, reset = deadline.get, deadline.set, deadline.reset
    over_others = not or_threaded
    in_worker: Call | None = None

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        latest = began + limit
        outer = get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        alarm = Alarm()
        token = set_(latest)
        try:
            if alarm.start(latest - began, over_others):
                result = call(*args, **kwargs) if kwargs else call(*args)
                if type(result) not in plain:
                    guard.check_result(result)
                tally.successes += 1
                return result
        except Expired as exc:
            if exc.limit is not alarm:
                policy.count_error(exc)
                raise
            raise policy.expired(fn, began, latest, limit) from exc
        except BaseException as exc:
            policy.count_error(exc)
            raise
        finally:
            alarm.stop()
            reset(token)
        if not or_threaded:
            raise policy.no_signal(fn)
        nonlocal in_worker
        if in_worker is None:
            in_worker = threaded(policy, call, fn)
        try:
            return in_worker(*args, **kwargs)
        except BaseException as exc:
            hide_this_frame(exc)
            raise

    return guarded


def interrupted(policy: Timeout, call: Call, fn: Call) -> Call:
    """Have the watchdog raise in the calling thread at the deadline."""
    # Not before it is needed: it imports ctypes.
    from meshhook.runtime.watchdog import keys, watchdog

    limit, tally, plain = policy.settings.seconds, policy.tally, guard.PLAIN
    get, set_, reset = deadline.get, deadline.set, deadline.reset
    watched, clock = watchdog.watched, watchdog.clock

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        latest = began + limit
        outer = get()
        if outer is not None and outer < latest:
            latest = policy.latest_within(fn, latest, outer)
        key = next(keys)
        result = _MISSING
        token = set_(latest)
        # The exception may come at any bytecode until the entry is out, or taken and settled.
        try:
            try:
                # A second look at the clock only if it is not the real one.
                due = latest if time.monotonic is clock else clock() + (latest - began)
                watched[key] = (get_ident(), due)
                if due < watchdog.wakes_at:
                    watchdog.wake()
                result = call(*args, **kwargs) if kwargs else call(*args)
            finally:
                if watched.pop(key, None) is None:
                    watchdog.settle(key)
            if type(result) not in plain:
                guard.check_result(result)
        except Expired as exc:
            if not watchdog.has_fired(key, exc):
                policy.count_error(exc)
                raise
            if result is _MISSING:
                raise policy.expired(fn, began, latest, limit) from exc
        except BaseException as exc:
            policy.count_error(exc)
            raise
        finally:
            reset(token)
        tally.successes += 1
        return result

    return guarded


def in_process(policy: Timeout, call: Call, fn: Call) -> Call:
    """Make the call in a worker process, and kill that at the deadline."""
    # Not before it is needed: it imports multiprocessing.
    from meshhook.runtime import processes

    policy.refuse_process(call, fn)
    limit, tally, plain = policy.settings.seconds, policy.tally, guard.PLAIN
    current = deadline

    def guarded(*args: Any, **kwargs: Any) -> Any:
        target = processes.target_of(fn)
        arguments = processes.pack(args, kwargs)
        worker = _ready_worker(policy, fn, target)
        try:
            began = time.monotonic()
            latest = began + limit
            outer = current.get()
            if outer is not None and outer < latest:
                latest = policy.latest_within(fn, latest, outer)
            answer = worker.call(target, arguments, latest - began)
        except BaseException as exc:
            worker.kill()
            if not isinstance(exc, TimeoutError):  # that one is ours, and counted
                policy.count_error(exc)
            raise
        if answer is None:
            worker.kill()
            raise policy.expired(fn, began, latest, limit)
        processes.give_back(worker)
        try:
            result = processes.open_answer(answer, worker.process.pid)
            if type(result) not in plain:
                guard.check_result(result)
        except BaseException as exc:
            policy.count_error(exc)
            raise
        tally.successes += 1
        return result

    return guarded


def _ready_worker(policy: Timeout, fn: Call, target: bytes) -> Worker:
    """Return a process that can call ``target``. Its start is no part of the limit of the call."""
    from meshhook.runtime import processes

    patience = processes.START_SECONDS
    outer = deadline.get()
    if outer is not None:
        now = time.monotonic()
        patience = policy.latest_within(fn, now + patience, outer) - now
    worker = processes.take(target)
    try:
        is_ready = worker.load(target, patience)
    except BaseException:
        worker.kill()
        raise
    if is_ready:
        return worker
    worker.kill()
    if patience < processes.START_SECONDS:
        raise policy.no_time_left(fn)
    raise MeshHookError(
        f"no worker process was ready for {policy.default_name(fn)} within {patience:g} s; "
        "see what the modules of the function and of the program do when they are imported"
    )
