"""The lint of a stack: orders and settings that defeat themselves.

Each rule looks for pairs of policies, one outside of the other, of which one undoes what the other
is for. A rule says nothing where there may be a reason: what it reports is never meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from meshhook.errors import ConfigurationError, MeshHookError
from meshhook.judges import names_our_own
from meshhook.policy import Policy

Stack: TypeAlias = Sequence[Policy]
"""Policies, outermost first."""
Found: TypeAlias = Iterator[tuple[Policy, Policy]]
"""Pairs that a rule has found: the outer policy and the inner one."""

REFUSING = frozenset({"circuit_breaker", "rate_limit", "bulkhead", "throttle", "idempotent"})
"""Kinds that refuse calls, and for which errors of our own stand."""


@dataclass(frozen=True, slots=True)
class StackWarning:
    """An order or a setting in a stack that defeats itself."""

    code: str
    """The name of the rule."""
    outer: Policy
    """The outer one of the two policies that do not go together."""
    inner: Policy
    happens: str
    """What comes of it."""
    fix: str
    """What to write instead."""

    def __str__(self) -> str:
        return f"{self.code}: {self.happens}; {self.fix}"


class Rule(NamedTuple):
    """One rule: ``{outer}`` and ``{inner}`` in its texts stand for the policies it has found."""

    code: str
    find: Callable[[Stack], Found]
    happens: str
    fix: str

    def about(self, outer: Policy, inner: Policy) -> StackWarning:
        """Return what the rule has to say about two policies."""
        names = {"outer": _called(outer), "inner": _called(inner)}
        return StackWarning(
            self.code, outer, inner, self.happens.format(**names), self.fix.format(**names)
        )


def lint(stack: Stack) -> tuple[StackWarning, ...]:
    """Return what is wrong with the stack."""
    return tuple(rule.about(outer, inner) for rule in RULES for outer, inner in rule.find(stack))


def check_order(stack: Stack) -> None:
    """Raise ConfigurationError if anything is wrong with the stack."""
    raise_for(lint(stack))


def raise_for(warnings: Sequence[StackWarning]) -> None:
    """Raise ConfigurationError that lists ``warnings``, if there are any."""
    if warnings:
        listed = "".join(f"\n- {warning}" for warning in warnings)
        raise ConfigurationError(f"this stack of policies defeats itself:{listed}")


def _called(policy: Policy) -> str:
    kind = policy.kind.replace("_", " ")
    return f"the {kind}" if policy._name is None else f"the {kind} {policy._name!r}"


def pairs(stack: Stack, outer: str, inner: str) -> Found:
    """Give each policy of the kind ``outer`` with each of the kind ``inner`` inside of it."""
    for place, policy in enumerate(stack):
        if policy.kind == outer:
            for other in stack[place + 1 :]:
                if other.kind == inner:
                    yield policy, other


def inside(stack: Stack, policy: Policy) -> Stack:
    """Return what is inside of ``policy``."""
    return stack[_place(stack, policy) + 1 :]


def between(stack: Stack, outer: Policy, inner: Policy) -> Stack:
    """Return what is between two policies."""
    return stack[_place(stack, outer) + 1 : _place(stack, inner)]


def _place(stack: Stack, policy: Policy) -> int:
    return next(place for place, each in enumerate(stack) if each is policy)


def has(stack: Stack, kind: str) -> bool:
    """Tell whether there is a policy of the kind."""
    return any(policy.kind == kind for policy in stack)


def covers(wide: Any, narrow: Any) -> bool:
    """Tell whether every type of the judge ``narrow`` is one of ``wide``; predicates never are."""
    if not (isinstance(wide, tuple) and isinstance(narrow, tuple)):
        return False
    return all(issubclass(kind, wide) for kind in narrow)


def backoff(retry: Policy) -> float:
    """Return how long the delays of all attempts take at the most; 0 if that is not known.

    It is not of delays that a function makes, and of attempts without number.
    """
    settings = retry.settings
    is_known = settings.delay_of is None and settings.max_attempts is not None
    return retry.longest(0.0) if is_known else 0.0


def fallback_inside_retry(stack: Stack) -> Found:
    """Find retries that never see an error, for a fallback answers all that they repeat."""
    for retry, fallback in pairs(stack, "retry", "fallback"):
        if retry.settings.on_result is None and covers(fallback.settings.on, retry.settings.on):
            yield retry, fallback


def fallback_inside_breaker(stack: Stack) -> Found:
    """Find circuits that never open, for a fallback answers all that they count."""
    for breaker, fallback in pairs(stack, "circuit_breaker", "fallback"):
        settings = breaker.settings
        by_errors = settings.record_result is None and settings.rules.slow_call_duration is None
        if by_errors and covers(fallback.settings.on, settings.record):
            yield breaker, fallback


def fallback_inside_idempotent(stack: Stack) -> Found:
    """Find fallbacks whose answer is kept as the result of the key."""
    return pairs(stack, "idempotent", "fallback")


def retry_inside_breaker(stack: Stack) -> Found:
    """Find circuits that see one call for many attempts, and none inside that sees them all."""
    for breaker, retry in pairs(stack, "circuit_breaker", "retry"):
        if not has(inside(stack, retry), "circuit_breaker"):
            yield breaker, retry


def retry_inside_retry(stack: Stack) -> Found:
    """Find retries that repeat what another has just given up."""
    for outer, inner in pairs(stack, "retry", "retry"):
        if covers(outer.settings.on, inner.settings.on):
            yield outer, inner


def retry_outside_idempotent(stack: Stack) -> Found:
    """Find retries that let go of the key between attempts; those of our own errors may."""
    for retry, idempotent in pairs(stack, "retry", "idempotent"):
        if not covers((MeshHookError,), retry.settings.on):
            yield retry, idempotent


def timeout_shorter_than_attempt(stack: Stack) -> Found:
    """Find limits on attempts that the limit on the whole comes before."""
    for total, attempt in pairs(stack, "timeout", "timeout"):
        limit, own = total.settings.seconds, attempt.settings.seconds
        is_longer = own > limit or (own == limit and has(between(stack, total, attempt), "retry"))
        if is_longer and attempt.settings.per_item is None:
            yield total, attempt


def backoff_over_timeout(stack: Stack) -> Found:
    """Find delays between attempts that take longer than there is, all together."""
    for timeout, retry in pairs(stack, "timeout", "retry"):
        if backoff(retry) >= timeout.settings.seconds:
            yield timeout, retry


def timeout_outside_breaker(stack: Stack) -> Found:
    """Find circuits that no call opens that hangs: it is given up outside, where they do not see.

    One that counts calls as slow while they run does see them.
    """
    for timeout, breaker in pairs(stack, "timeout", "circuit_breaker"):
        counts_slow_calls = breaker.settings.rules.slow_call_rate_threshold is not None
        if not counts_slow_calls and not has(inside(stack, breaker), "timeout"):
            yield timeout, breaker


def breaker_counts_refusals(stack: Stack) -> Found:
    """Find circuits that are told to count what policies inside of them refuse."""
    for breaker in stack:
        if breaker.kind == "circuit_breaker" and names_our_own(breaker.settings.record):
            for other in inside(stack, breaker):
                if other.kind in REFUSING:
                    yield breaker, other


def limit_outside_retry(stack: Stack) -> Found:
    """Find limits that count one call for many attempts, and none inside that counts them all."""
    for kind in ("rate_limit", "throttle"):
        for limit, retry in pairs(stack, kind, "retry"):
            if not has(inside(stack, retry), kind):
                yield limit, retry


def bulkhead_outside_retry(stack: Stack) -> Found:
    """Find slots that are held while nothing is done but waiting for the next attempt."""
    for bulkhead, retry in pairs(stack, "bulkhead", "retry"):
        if backoff(retry) > 0 and not has(inside(stack, retry), "bulkhead"):
            yield bulkhead, retry


def hedge_of_unrepeatable(stack: Stack) -> Found:
    """Find hedges of what nothing declares safe to repeat."""
    for place, hedge in enumerate(stack):
        if hedge.kind != "hedge" or hedge.settings.idempotent:
            continue
        if not has(stack[:place], "idempotent"):
            yield hedge, hedge


def hedge_outside_idempotent(stack: Stack) -> Found:
    """Find hedges whose second call only waits for the first; alternatives may be other calls."""
    for hedge, idempotent in pairs(stack, "hedge", "idempotent"):
        if not hedge.settings.alternatives:
            yield hedge, idempotent


def chaos_outermost(stack: Stack) -> Found:
    """Find faults that no policy of the stack gets to see."""
    if len(stack) > 1 and stack[0].kind == "chaos":
        yield stack[0], stack[1]


RULES: tuple[Rule, ...] = (
    Rule(
        "fallback-inside-retry",
        fallback_inside_retry,
        "{inner} answers every error that {outer} would repeat, so nothing is ever repeated",
        "put the fallback outside of the retry",
    ),
    Rule(
        "fallback-inside-breaker",
        fallback_inside_breaker,
        "{inner} answers every error that {outer} counts, so the circuit never opens",
        "put the fallback outside of the circuit breaker",
    ),
    Rule(
        "fallback-inside-idempotent",
        fallback_inside_idempotent,
        "what {inner} gives is kept by {outer} as the result of its key, for as long as a real one",
        "put the fallback outside of idempotent",
    ),
    Rule(
        "retry-inside-breaker",
        retry_inside_breaker,
        "{outer} sees one call for all attempts of {inner}: it opens that much later, and attempts "
        "go on after it has opened",
        "put the retry outside, or another circuit breaker inside of the retry",
    ),
    Rule(
        "retry-inside-retry",
        retry_inside_retry,
        "{outer} repeats what {inner} has given up, so their attempts multiply",
        "leave one of them out, or have them repeat after different errors",
    ),
    Rule(
        "retry-outside-idempotent",
        retry_outside_idempotent,
        "{inner} lets go of the key after each failed attempt, so others may execute it between "
        "the attempts of {outer}, each with attempts of its own",
        "put idempotent outside of the retry",
    ),
    Rule(
        "hedge-of-unrepeatable",
        hedge_of_unrepeatable,
        "{outer} would run a call several times, and nothing says that it may, so it refuses all",
        "give the hedge idempotent=True if calls may be repeated, or put idempotent outside of it",
    ),
    Rule(
        "hedge-outside-idempotent",
        hedge_outside_idempotent,
        "the second call of {outer} has the key of the first, so {inner} lets it wait for that one",
        "put idempotent outside of the hedge",
    ),
    Rule(
        "timeout-shorter-than-attempt",
        timeout_shorter_than_attempt,
        "{outer} ends before {inner} can, so that one never does anything",
        "give the outer one more time than one attempt may take",
    ),
    Rule(
        "backoff-over-timeout",
        backoff_over_timeout,
        "the delays of {inner} alone may take all the time of {outer}, so the last attempts are "
        "never made",
        "give the timeout more time, or the retry fewer attempts or shorter delays",
    ),
    Rule(
        "timeout-outside-breaker",
        timeout_outside_breaker,
        "a call that hangs is given up by {outer}, where {inner} does not see it, so it never "
        "opens the circuit",
        "put a timeout inside of the circuit breaker",
    ),
    Rule(
        "breaker-counts-refusals",
        breaker_counts_refusals,
        "{outer} counts it as a failure when {inner} refuses a call, so a full limit opens the "
        "circuit of a service that is well",
        "take errors of meshhook out of record",
    ),
    Rule(
        "limit-outside-retry",
        limit_outside_retry,
        "{outer} counts one call for all attempts of {inner}, so more get through than it says",
        "put it inside of the retry",
    ),
    Rule(
        "bulkhead-outside-retry",
        bulkhead_outside_retry,
        "a call holds its slot of {outer} also while {inner} waits for the next attempt",
        "put the bulkhead inside of the retry",
    ),
    Rule(
        "chaos-outermost",
        chaos_outermost,
        "what {outer} does is seen by no policy, so nothing is shown by it",
        "put chaos innermost",
    ),
)
