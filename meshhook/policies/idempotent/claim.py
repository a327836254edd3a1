"""The claim: what a call holds while it executes an idempotent function.

A claim is a flight, so that others in this process wait for it, and a lease in the store, so that
others elsewhere do. Inside the function :func:`current` shows it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from meshhook import events
from meshhook.errors import LeaseLostError, StoreError
from meshhook.runtime.aio import ASYNCIO
from meshhook.runtime.blocking import BLOCKING, run_blocking
from meshhook.runtime.flights import Flight
from meshhook.runtime.heartbeat import HEARTBEAT, Beat
from meshhook.stores.protocol import Acquired, Key, Lost, Renew

if TYPE_CHECKING:
    from meshhook.policies.idempotent import Idempotent
    from meshhook.runtime.protocol import Runtime

_current: ContextVar[Claim | None] = ContextVar("meshhook_idempotent_claim", default=None)


def current() -> Claim:
    """Return the claim of the idempotent call that is being executed in this context.

    Raises RuntimeError outside of one. In a task that was started inside it, it shows the claim
    too, also after the call has ended.
    """
    claim = _current.get()
    if claim is None:
        raise RuntimeError("current() is for the inside of an idempotent function")
    return claim


class Claim(Flight):
    """The right to execute one key. Safe to share between threads and tasks.

    ``attempt`` counts the executions of this key, this one included; ``fence`` grows with each, so
    that a resource which keeps the largest it has seen can refuse a holder that came too late. Both
    are 0 for a call that runs unprotected, without its store. ``lost`` tells that the lease is over
    or that another execution has the key, as far as this process knows.
    """

    attempt = 0
    fence = 0
    running = False
    asking = False
    """Whether the store has been asked for the key and has not answered yet."""
    started = False
    has_ended = False
    """Whether its execution has been counted as what it came to."""
    _lost = False
    _beat: Beat | None = None
    _outer: Claim | None = None

    def __init__(self, policy: Idempotent, at: Key, fingerprint: str | None) -> None:
        Flight.__init__(self, policy.flights, at, fingerprint)
        self.policy = policy
        self.owner = policy.new_owner()

    @property
    def key(self) -> str:
        """The key as ``key_for`` has it: fit to be handed on as an idempotency key."""
        return self.policy.key_text(self.at)

    @property
    def lost(self) -> bool:
        """Whether the lease is over, or another has the key, as far as this process knows."""
        return self._lost or (self._beat is not None and self._beat.is_over())

    def check(self) -> None:
        """Renew the lease now, before what cannot be undone; in async functions use ``acheck``.

        Raises LeaseLostError if another execution may have the key, and StoreUnavailableError if
        the store does not answer. Returns at once in a call that runs unprotected.
        """
        run_blocking(self._check(BLOCKING))

    async def acheck(self) -> None:
        """Renew the lease now, as ``check`` does."""
        await self._check(ASYNCIO)

    async def _check(self, io: Runtime) -> None:
        if not self.fence:
            return
        if not self.done():
            if self._beat is not None:
                self._beat.sending()
            answer = await io.ask(self.policy.store, self._renewal())
            if isinstance(answer, Lost):
                self.lose()
            elif self._beat is not None:
                self._beat.renewed()
        if self.done():
            raise self.policy.error(
                LeaseLostError, self.at, "is not this call's any more; undo or leave what it began"
            )

    def _renewal(self) -> Renew:
        if self._beat is not None:
            return self._beat.renew  # for as long as it was granted, whatever is set by now
        return self._renewal_for(self.policy.settings.lease)

    def _renewal_for(self, lease: float) -> Renew:
        return Renew(self.at, self.owner, lease, self.policy.running_retention)

    def acquired(self, answer: Acquired, lease: float) -> None:
        """Take what the store has granted, for so many seconds, and see that it is kept."""
        self.fence, self.attempt = answer.fence, answer.attempt
        self.running = True
        self.asking = False
        if not self.policy.keeps_leases:
            return
        self._beat = Beat(
            self.policy.store,
            self._renewal_for(lease),
            self.policy.settings.max_run,
            lost=self.lose,
            failed=self._renewal_failed,
        )
        HEARTBEAT.add(self._beat)

    def _renewal_failed(self, error: StoreError) -> None:
        self.policy.store_failed("renew", error)

    def end(self, how: str) -> None:
        """Count what the execution came to, if there was one, once."""
        if self.started and not self.has_ended:
            if how == "executed":
                self.policy.counters.execute()
            else:
                self.policy.counters.add(how)
            self.has_ended = True

    def is_to_be_released(self) -> bool:
        """Tell whether a call that raises still has to give something back.

        Not if the answer of the store will land it, nor if it has ended and landed already.
        """
        return self.thread is not None and not (self.has_ended and self._landed)

    def rest(self) -> None:
        """Keep the lease no longer."""
        if self._beat is not None:
            HEARTBEAT.drop(self._beat)

    def lose(self) -> None:
        """Learn that the key is not ours any more; whoever waits for us tries for himself."""
        if self.done():
            return
        self._lost = True
        self.land()
        if events.wanted(events.LeaseLost):
            events.emit(
                events.LeaseLost(
                    policy=self.policy.kind,
                    name=self.policy.name,
                    key_hash=self.policy.key_hash(self.at),
                )
            )

    def enter(self) -> None:
        """Become the current claim of this context."""
        self._outer = _current.get()
        _current.set(self)
        self.started = True
        self.policy.counters.start()

    def leave(self) -> None:
        """Stop being it. Where a thrown-away coroutine is closed, the context is another's."""
        if _current.get() is self:
            _current.set(self._outer)

    def is_around_here(self) -> bool:
        """Tell whether this context is inside the execution of this claim."""
        claim = _current.get()
        while claim is not None and claim is not self:
            claim = claim._outer
        return claim is self
