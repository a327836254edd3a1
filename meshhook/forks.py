"""Locks after a fork: a child gets new ones, for nobody is left in it to release those held.

A fork copies a lock as it is, and of the threads only the one that forked. Whoever owns locks that
another thread may hold at that moment enrols here, and is asked to make them anew in the child.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import Protocol


class OwnsLocks(Protocol):
    """Anything that can make its locks anew."""

    def renew_locks(self) -> None:
        """Replace every lock by a free one."""


_owners: weakref.WeakSet[OwnsLocks] = weakref.WeakSet()


def enrol(owner: OwnsLocks) -> None:
    """Have ``owner`` renew its locks in forked children, for as long as it lives."""
    _owners.add(owner)


def _renew_all() -> None:
    with contextlib.ExitStack() as each_of_them:  # the others too, where one fails
        for owner in list(_owners):
            each_of_them.callback(owner.renew_locks)


def after_in_child(work: Callable[[], object]) -> None:
    """Have ``work`` done in each forked child; a system that cannot fork has none."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=work)


def around(before: Callable[[], object], after_in_parent: Callable[[], object]) -> None:
    """Have work done by the process that forks, before and after each time."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent)


after_in_child(_renew_all)
