"""Changes: other settings for policies that are at work, which keep their state.

All changes of one go are checked before the first is made: each against the state that there is,
and all of them together by making the drivers of every function that has one of the policies. Then
each policy adapts its state, and the functions get new drivers. A call that runs ends in the driver
in which it began, and is counted in the same state. Where that was broken off, as in a child that
was forked in the middle of it, the next change makes the drivers that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias

from meshhook import guard
from meshhook.errors import ConfigurationError

OF_KEYS = "its state is kept by key"
"""Why the ``key`` of a policy is fixed."""

Change: TypeAlias = tuple["Changeable", Any]
"""A policy, and the settings that it gets."""


_unbound: frozenset[Changeable] = frozenset()
"""Policies that have adapted, or soon will, and whose functions may still have old drivers."""


def check(changes: Sequence[Change]) -> None:
    """Raise ConfigurationError if not all of these can be made. Nothing changes."""
    with guard.lock:
        for policy, new in changes:
            policy._check(new)
        guard.try_out({policy: policy._twin(new) for policy, new in changes})


def apply(changes: Sequence[Change]) -> None:
    """Make all of these changes, or raise ConfigurationError and make none."""
    global _unbound  # noqa: PLW0603 - one set for the process, as there is one lock
    changes = [(policy, new) for policy, new in changes if new != policy.settings]
    if not changes and not _unbound:
        return
    with guard.lock:
        check(changes)
        policies = _unbound | {policy for policy, _ in changes}
        _unbound = policies
        tell_all = [policy._adapt(new) for policy, new in changes]
        try:
            guard.rebind(policies)
        finally:
            _unbound = frozenset()  # one that cannot be bound is not to spoil every later change
    for tell in tell_all:
        tell()


def nothing_to_tell() -> None:
    """Tell nobody, for nothing has changed that there is an event for."""


class Changeable:
    """Something that has settings, and can go by others while it is at work."""

    kind: ClassVar[str]
    settings: Any
    _name: str | None

    fixed: ClassVar[Mapping[str, str]] = {}
    """The settings that cannot be changed while it is at work, and why, as errors say it."""

    def check_settings(self, new: Any) -> None:
        """Raise ConfigurationError if ``new`` cannot take the place of the settings.

        Nothing changes. The functions that have this policy are looked at as well.
        """
        check([(self, new)])

    def apply(self, new: Any) -> None:
        """Go by the settings ``new`` from now on, and keep the state. Calls that run go on.

        Raises:
            ConfigurationError: when they cannot take the place of those it has; nothing changes.
        """
        apply([(self, new)])

    def _check(self, new: Any) -> None:
        if type(new) is not type(self.settings):
            raise TypeError(f"{self.kind} {self._name!r} cannot go by {new!r}")
        for argument, why in self.fixed.items():
            if getattr(new, argument) != getattr(self.settings, argument):
                raise self._cannot_change(argument, why)

    def _cannot_change(self, argument: str, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{argument} of {self.kind} {self._name!r} cannot be changed while it is at work: "
            f"{why}; leave {argument} as it is, or restart the process"
        )

    def _twin(self, _new: Any) -> Self:
        """Make one that has these settings and no state, to try out its drivers."""
        return self

    def _adapt(self, new: Any) -> Callable[[], object]:
        """Take the settings on, and change the state to fit them.

        Return what tells of it, to be called when no lock is held.
        """
        self.settings = new
        return nothing_to_tell
