"""Imports: what a file names is found, or it is told what is not there, in words of our own."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import meshhook as mh
from meshhook.cli import main
from tests.configuration.conftest import configure

SECRET = "postgres://u:CANARY@h"
FAILED = "the module failed with"

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a module, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source: str) -> str:
        name = f"named_by_a_file_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return make


@pytest.mark.parametrize(
    ("source", "path", "why"),
    [
        (f"raise ImportError({SECRET!r})", "x", f"{FAILED} ImportError"),
        (f"raise ModuleNotFoundError({SECRET!r})", "x", f"{FAILED} ModuleNotFoundError"),
        (f"raise AttributeError({SECRET!r})", "x", f"{FAILED} AttributeError"),
        (f"raise ValueError({SECRET!r})", "x", f"{FAILED} ValueError"),
        (f"raise SystemExit({SECRET!r})", "x", f"{FAILED} SystemExit"),
        ("import os; os.CANARY", "x", f"{FAILED} AttributeError"),
        ("from os import CANARY", "x", f"{FAILED} ImportError"),
        ("CANARY CANARY", "x", f"{FAILED} SyntaxError"),
        ("import no_such_package.part", "x", "No module named 'no_such_package'"),
        ("x = 1", "y", "has no attribute 'y'"),
        ("x = 1", "x.y.z", "has no attribute 'x.y.z'"),
        (f"def __getattr__(name): raise AttributeError({SECRET!r})", "x", "has no attribute 'x'"),
        (f"def __getattr__(name): raise ImportError({SECRET!r})", "x", f"{FAILED} ImportError"),
        (f"def __getattr__(name): raise KeyError({SECRET!r})", "x", f"{FAILED} KeyError"),
        (f"def __getattr__(name): raise SystemExit({SECRET!r})", "x", f"{FAILED} SystemExit"),
    ],
)
def test_a_module_that_fails_is_told_by_the_type_of_its_error(
    registry: mh.Registry,
    module: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
    source: str,
    path: str,
    why: str,
) -> None:
    """Not by what that says, which the module may have from anywhere."""
    name = f"{module(source)}:{path}"
    with pytest.raises(mh.ConfigurationError) as caught:
        configure({"defaults": {"retry": {"on": name}}})
    said = str(caught.value)
    assert f"{name!r} cannot be imported: " in said
    assert said.endswith(why)
    assert "CANARY" not in said + caplog.text


def test_what_is_named_may_be_inside_of_something(
    registry: mh.Registry, module: Callable[[str], str]
) -> None:
    """Or come from a function of the module, when it is asked for."""
    inside = module("class Out:\n    class Err(Exception): pass")
    asked = module(
        "def __getattr__(name):\n    if name == 'Err': return OSError\n    raise KeyError"
    )
    configure({"defaults": {"retry": {"on": [f"{inside}:Out.Err", f"{asked}:Err"]}}})
    assert mh.retry(name="db").settings.on == (sys.modules[inside].Out.Err, OSError)


def test_config_check_says_no_more_of_a_module(
    module: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Than a configuration does."""
    name = module(f"raise ImportError({SECRET!r})")
    assert main(["config", "check", str(tmp_path / "a.toml"), "--import", name]) == 1
    out, err = capsys.readouterr()
    assert f"cannot import {name}: {FAILED} ImportError" in err
    assert "CANARY" not in out + err
