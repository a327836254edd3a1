"""fallback: give something else where a call fails."""

from meshhook.policies.fallback.decorator import fallback
from meshhook.policies.fallback.policy import Fallback

__all__ = ["Fallback", "fallback"]
