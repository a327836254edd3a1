"""Tracebacks: what they show of policies, which is one frame for each."""

from __future__ import annotations


def hide_this_frame(exc: BaseException) -> None:
    """Take the frame that has caught ``exc`` out of its traceback.

    For the second function of a driver, before it raises ``exc`` once more with a bare ``raise``:
    the traceback of a stack then names each policy once. A frame that raised it stays.
    """
    here = exc.__traceback__
    if here is not None and here.tb_next is not None:
        exc.__traceback__ = here.tb_next
