"""Resilience for Python functions, sync and async: stackable decorators over shared state."""

import typing

from meshhook import errors, events
from meshhook.budgets import RetryBudget
from meshhook.canonical import idempotency_key
from meshhook.composition.explanation import Explanation, explain
from meshhook.composition.pipeline import Pipeline
from meshhook.composition.resilient import resilient
from meshhook.deadline import check_deadline, deadline, remaining
from meshhook.errors import (
    BulkheadFullError,
    CircuitOpenError,
    ConfigurationError,
    IdempotencyError,
    InjectedFaultError,
    InProgressError,
    KeyReusedError,
    LeaseLostError,
    MeshHookError,
    MissingKeyError,
    NoTimeLeftError,
    RateLimitedError,
    ReentrantCallError,
    RejectedError,
    ResultUnavailableError,
    RetryExhaustedError,
    StoreError,
    StoreUnavailableError,
    TimeoutError,
)
from meshhook.events import subscribe
from meshhook.guard import Guard
from meshhook.policies.bulkhead import AIMD, Bulkhead, Gradient, bulkhead
from meshhook.policies.chaos import Chaos, chaos
from meshhook.policies.circuit_breaker import CircuitBreaker, circuit_breaker
from meshhook.policies.fallback import Fallback, fallback
from meshhook.policies.hedge import Hedge, hedge
from meshhook.policies.idempotent import Idempotent, idempotent
from meshhook.policies.idempotent.claim import current
from meshhook.policies.rate_limit import RateLimit, rate_limit
from meshhook.policies.retry import Retry, RetryPause, attempts_of, retry, retrying
from meshhook.policies.timeout import Timeout, timeout
from meshhook.registry import Registry
from meshhook.rules.phases import State as CircuitState
from meshhook.runtime.pauses import shutdown
from meshhook.stores.memory import MemoryStore
from meshhook.stores.redis import RedisStore

registry = Registry.default

__all__ = [
    "AIMD",
    "Bulkhead",
    "BulkheadFullError",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "ConfigurationError",
    "Explanation",
    "Fallback",
    "Gradient",
    "Guard",
    "Hedge",
    "IdempotencyError",
    "Idempotent",
    "InProgressError",
    "InjectedFaultError",
    "KeyReusedError",
    "LeaseLostError",
    "MemoryStore",
    "MeshHookError",
    "MissingKeyError",
    "NoTimeLeftError",
    "Pipeline",
    "RateLimit",
    "RateLimitedError",
    "RedisStore",
    "ReentrantCallError",
    "Registry",
    "RejectedError",
    "ResultUnavailableError",
    "Retry",
    "RetryBudget",
    "RetryExhaustedError",
    "RetryPause",
    "StoreError",
    "StoreUnavailableError",
    "Timeout",
    "TimeoutError",
    "attempts_of",
    "bulkhead",
    "chaos",
    "check_deadline",
    "circuit_breaker",
    "current",
    "deadline",
    "errors",
    "events",
    "explain",
    "fallback",
    "hedge",
    "idempotency_key",
    "idempotent",
    "rate_limit",
    "registry",
    "remaining",
    "resilient",
    "retry",
    "retrying",
    "shutdown",
    "subscribe",
    "timeout",
]

if typing.TYPE_CHECKING:
    from meshhook import testing as testing
else:

    def __getattr__(name: str) -> typing.Any:
        """Import the testing kit when it is first asked for."""
        if name == "testing":
            import importlib

            return importlib.import_module("meshhook.testing")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
