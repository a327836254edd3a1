"""A real Chromium for the tests: one that is on the machine, without a window.

Nothing is ever downloaded. Where there is none the tests are skipped and say so; under CI=true they
fail, for there it is a mistake.

A page does nothing at once: what it shows is checked with `expect`, which waits for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import expect, sync_playwright

__all__ = ["Tab", "chromium", "chromium_or_skip", "expect", "find_chromium"]

PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)

VARIABLE = "MESHHOOK_CHROMIUM"
NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_OF_THE_NETWORK = "net::ERR_"


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None; ``MESHHOOK_CHROMIUM`` names one."""
    given = os.environ.get(VARIABLE)
    names = (given,) if given else NAMES
    return next((path for path in map(shutil.which, names) if path), None)


def chromium_or_skip() -> str:
    """Return the path of a Chromium; without one the test fails in CI, and is skipped elsewhere."""
    path = find_chromium()
    if path is not None:
        return path
    looked = os.environ.get(VARIABLE) or ", ".join(NAMES)
    why = f"no Chromium found: looked for {looked}; {VARIABLE} may name one"
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser. While it is there, its thread has an event loop that runs."""
    path = chromium_or_skip()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that remembers what went wrong in it: errors, and violations of its policy."""

    def __init__(
        self,
        browser: Any,
        *,
        width: int = 1440,
        height: int = 900,
        theme: Literal["dark", "light"] = "dark",
        still: bool = False,
    ) -> None:
        self.problems: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            reduced_motion="reduce" if still else "no-preference",
        )
        self.page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.page.on("dialog", self._refuse)

    def _hear(self, message: Any) -> None:
        # A service that is not there is no fault of the page.
        if message.type in ("error", "warning") and _OF_THE_NETWORK not in message.text:
            self.problems.append(f"{message.type}: {message.text}")

    def _refuse(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def shoot(self, path: Path) -> None:
        """Write what is seen to a file."""
        self.page.screenshot(path=path, animations="disabled", caret="hide")

    def close(self) -> None:
        """Close the page, and all that it kept."""
        self._context.close()
