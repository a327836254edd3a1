"""retry: call again what has failed, after a while and not too often."""

from meshhook.policies.retry.decorator import retry, retrying
from meshhook.policies.retry.history import attempts_of
from meshhook.policies.retry.policy import Retry
from meshhook.policies.retry.series import RetryPause

__all__ = ["Retry", "RetryPause", "attempts_of", "retry", "retrying"]
