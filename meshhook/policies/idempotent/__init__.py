"""idempotent: execute a call once per key, and answer whoever comes later with its result."""

from meshhook.policies.idempotent.claim import current
from meshhook.policies.idempotent.decorator import idempotent
from meshhook.policies.idempotent.policy import Idempotent

__all__ = ["Idempotent", "current", "idempotent"]
