"""The plots of the documentation are what their scripts draw."""

from __future__ import annotations

import importlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

PLOTS = Path(__file__).parents[2] / "docs" / "plots"
SCRIPTS = sorted(path.stem for path in PLOTS.glob("*.py") if path.stem not in {"__init__", "svg"})


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_image_is_what_the_script_draws(script: str) -> None:
    """Run ``python -m docs.plots.<script>`` after a change that is meant."""
    plot = importlib.import_module(f"docs.plots.{script}")
    drawn = plot.draw()
    assert plot.IMAGE.read_text(encoding="utf-8") == drawn
    assert ET.fromstring(drawn).tag.endswith("svg")


def test_every_image_has_a_script() -> None:
    """And a page that shows it."""
    images = {path.name for path in (PLOTS.parent / "images").glob("*.svg")}
    drawn = {importlib.import_module(f"docs.plots.{script}").IMAGE.name for script in SCRIPTS}
    assert images == drawn
    pages = "".join(path.read_text(encoding="utf-8") for path in PLOTS.parent.glob("*.md"))
    assert all(f"images/{image}" in pages for image in images)
