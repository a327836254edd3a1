"""Whether the server that runs us is about to stop, so that streams end and do not hold it up.

Servers tell their applications too late: uvicorn waits for every open connection before it says
anything, and gunicorn says nothing. But both handle SIGTERM by a method of an object that notes it,
and who asks for the handler finds that object.
"""

from __future__ import annotations

import signal
import threading


def is_stopping() -> bool:
    """Tell whether the server has been asked to stop, or the interpreter waits for its threads."""
    if not threading.main_thread().is_alive():
        return True
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    should_exit = getattr(server, "should_exit", False)  # uvicorn
    alive = getattr(server, "alive", True)  # a worker of gunicorn
    return should_exit is True or alive is False
