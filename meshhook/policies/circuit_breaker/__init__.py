"""circuit_breaker: stop calling what keeps failing, and try it again with care."""

from meshhook.policies.circuit_breaker.decorator import circuit_breaker
from meshhook.policies.circuit_breaker.policy import CircuitBreaker

__all__ = ["CircuitBreaker", "circuit_breaker"]
