"""rate_limit: let so many calls start in a time and no more."""

from meshhook.policies.rate_limit.decorator import rate_limit
from meshhook.policies.rate_limit.policy import RateLimit

__all__ = ["RateLimit", "rate_limit"]
