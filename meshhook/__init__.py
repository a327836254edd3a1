"""Resilience for Python functions, sync and async: stackable decorators over shared state.

What a program does not use is not imported: a policy is, with all that it needs, when its name is
first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from meshhook import errors
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
    ThrottledError,
    TimeoutError,
)
from meshhook.registry import Registry

if TYPE_CHECKING:
    from meshhook import events
    from meshhook import testing as testing
    from meshhook.budgets import RetryBudget
    from meshhook.canonical import idempotency_key
    from meshhook.composition.explanation import Explanation, explain
    from meshhook.composition.pipeline import Pipeline
    from meshhook.composition.resilient import resilient
    from meshhook.configuration import Configuration, configure, reload
    from meshhook.events import subscribe
    from meshhook.guard import Guard
    from meshhook.observe.web.asgi import asgi_app
    from meshhook.observe.web.server import serve
    from meshhook.observe.web.wsgi import wsgi_app
    from meshhook.policies.bulkhead import AIMD, Bulkhead, Gradient, bulkhead
    from meshhook.policies.chaos import Chaos, chaos
    from meshhook.policies.circuit_breaker import CircuitBreaker, CircuitState, circuit_breaker
    from meshhook.policies.fallback import Fallback, fallback
    from meshhook.policies.hedge import Hedge, hedge
    from meshhook.policies.idempotent import Idempotent, idempotent
    from meshhook.policies.idempotent.claim import current
    from meshhook.policies.rate_limit import RateLimit, rate_limit
    from meshhook.policies.retry import Retry, RetryPause, attempts_of, retry, retrying
    from meshhook.policies.throttle import Throttle, throttle
    from meshhook.policies.timeout import Timeout, timeout
    from meshhook.runtime.pauses import shutdown
    from meshhook.stores.memory import MemoryStore
    from meshhook.stores.redis import RedisStore
    from meshhook.wire import deadline_from, deadline_headers

registry = Registry.default

_HOMES = {
    "meshhook.budgets": "RetryBudget",
    "meshhook.canonical": "idempotency_key",
    "meshhook.composition.explanation": "Explanation explain",
    "meshhook.composition.pipeline": "Pipeline",
    "meshhook.composition.resilient": "resilient",
    "meshhook.configuration": "Configuration configure reload",
    "meshhook.events": "subscribe",
    "meshhook.guard": "Guard",
    "meshhook.observe.web.asgi": "asgi_app",
    "meshhook.observe.web.server": "serve",
    "meshhook.observe.web.wsgi": "wsgi_app",
    "meshhook.policies.bulkhead": "AIMD Bulkhead Gradient bulkhead",
    "meshhook.policies.chaos": "Chaos chaos",
    "meshhook.policies.circuit_breaker": "CircuitBreaker CircuitState circuit_breaker",
    "meshhook.policies.fallback": "Fallback fallback",
    "meshhook.policies.hedge": "Hedge hedge",
    "meshhook.policies.idempotent": "Idempotent idempotent",
    "meshhook.policies.idempotent.claim": "current",
    "meshhook.policies.rate_limit": "RateLimit rate_limit",
    "meshhook.policies.retry": "Retry RetryPause attempts_of retry retrying",
    "meshhook.policies.throttle": "Throttle throttle",
    "meshhook.policies.timeout": "Timeout timeout",
    "meshhook.runtime.pauses": "shutdown",
    "meshhook.stores.memory": "MemoryStore",
    "meshhook.stores.redis": "RedisStore",
    "meshhook.wire": "deadline_from deadline_headers",
}
"""Where the names live that are imported when they are first asked for."""

_MODULES = ("events", "testing")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AIMD",
    "Bulkhead",
    "BulkheadFullError",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "Configuration",
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
    "Throttle",
    "ThrottledError",
    "Timeout",
    "TimeoutError",
    "asgi_app",
    "attempts_of",
    "bulkhead",
    "chaos",
    "check_deadline",
    "circuit_breaker",
    "configure",
    "current",
    "deadline",
    "deadline_from",
    "deadline_headers",
    "errors",
    "events",
    "explain",
    "fallback",
    "hedge",
    "idempotency_key",
    "idempotent",
    "rate_limit",
    "registry",
    "reload",
    "remaining",
    "resilient",
    "retry",
    "retrying",
    "serve",
    "shutdown",
    "subscribe",
    "throttle",
    "timeout",
    "wsgi_app",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_MODULES})
