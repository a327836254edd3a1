"""circuit_breaker: stop calling what keeps failing, and try it again with care."""

from meshhook.policies.circuit_breaker.decorator import circuit_breaker
from meshhook.policies.circuit_breaker.policy import CircuitBreaker
from meshhook.rules.phases import State as CircuitState

__all__ = ["CircuitBreaker", "CircuitState", "circuit_breaker"]
