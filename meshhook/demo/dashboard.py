"""The dashboard of the demo: the page on the policies of the demo while they are at work."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

import meshhook as mh

_AUTHOR = "whoever watches the demo"


@contextmanager
def open_dashboard(registry: mh.Registry) -> Iterator[str]:
    """Serve the page on a free port, show it where there is a screen, and give its address.

    Whoever is on this machine may act on the policies of a demo, for that is what they are for.
    """
    with mh.serve(port=0, registry=registry, authorize=lambda _request: _AUTHOR) as server:
        if _has_a_screen():
            webbrowser.open(server.url)
        yield server.url


def _has_a_screen() -> bool:
    """Tell whether a browser can open a window; one of text would take the terminal over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
