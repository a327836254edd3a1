"""timeout: let a call take so long and no longer."""

from meshhook.policies.timeout.policy import Timeout, timeout

__all__ = ["Timeout", "timeout"]
