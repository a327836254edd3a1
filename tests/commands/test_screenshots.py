"""The pages show what ``top`` draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.commands.screenshots import SCREENS, shown


@pytest.mark.parametrize(("page", "screen"), SCREENS.items())
def test_the_page_shows_what_top_draws(page: str, screen: Callable[[], str]) -> None:
    """Run ``python -m tests.commands.screenshots`` after a change that is meant."""
    assert shown(page) == screen()
