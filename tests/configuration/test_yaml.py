"""YAML: what is in it is read as it is written, and nothing of it is in what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook import events
from meshhook.configuration import formats
from tests.configuration.conftest import configure

SECRET = "CANARY"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"a: 1\nb: !!bool {SECRET}", 2),
        (f"a: 1\nb: !!int {SECRET}", 2),
        (f"a: 1\nb: !!float {SECRET}", 2),
        (f"a: 1\nb: !!null {SECRET}", 2),
        (f"a: 1\nb: !!timestamp {SECRET}", 2),
        (f"a: 1\nb: !!binary {SECRET}*", 2),
        (f"a: 1\nb: !!int '{SECRET}'", 2),
        (f"a: 1\nb: !{SECRET} 5", 2),
        (f"a: 1\nb: !{SECRET}!x 5", 2),
        (f"a: 1\nb: !<{SECRET}> 5", 2),
        (f"a: 1\n!!int {SECRET}: 5", 2),
        (f"a: 1\nb: !!set {{{SECRET}}}", 2),
        (f"a: 1\nb: !!str [{SECRET}]", 2),
        (f"a: 1\nb: !!omap [{SECRET}: 1]", 2),
        (f"a: 1\nb: !!python/name:{SECRET} ''", 2),
        (f"!{SECRET}\na: 1", 1),
        (f"a: 1\nb: *{SECRET}", 2),
        (f"a: &{SECRET} 1\nb: &{SECRET} 2", 2),
        (f"a: &{SECRET}.x 1", 1),
        (f"%TAG !{SECRET}! x\n%TAG !{SECRET}! y\n---\na: 1", 2),
        (f"%YAML {SECRET}\n---\na: 1", 1),
        (f'a: 1\nb: "\\C{SECRET}"', 2),
        (f"a: 1\nb: '{SECRET}", 2),
        (f"a: 1\n  b: {SECRET}", 2),
        (f"a: 1\nb: [{SECRET}: 1: 2]", 2),
        (f"a: 1\nb: |{SECRET}", 2),
        (f"a: 1\n? {{{SECRET}: 1}}\n: 2", 2),
        (f"a: 1\n--- {SECRET}", 2),
        ("a: 1\nb: 2026-99-99", 2),
        ("a: 1\nb: 2026-01-01 10:00:00 +99:00", 2),
        ("a: 1\nb: 0b_", 2),
        ("a: 1\nb: " + "9" * 5_000, 2),
        ("a: 1\nb: 1" + ":59" * 300 + ".5", 2),
        ("a: 1\nb: =", 2),
        ("a: 1\n2: 3\n'2': 4", 3),
        ("a: 1\nb: {<<: {}}", 2),
        ("a: 1\nb: \x07", 2),
    ],
)
def test_what_is_wrong_is_told_with_the_line(
    registry: mh.Registry, write: Callable[..., Path], text: str, line: int
) -> None:
    """As a ConfigurationError, whatever a reader of YAML makes of it, and with no text of it."""
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(write("a.yaml", text))
    said = str(caught.value)
    assert f"(at line {line}" in said
    assert SECRET not in said
    assert "'C'" not in said
    assert caught.value.__cause__ is None
    assert len(said) < 400


def test_a_reload_of_it_is_rejected(
    registry: mh.Registry, write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """With an event, and the settings stay."""
    seen: list[Any] = []
    limit = mh.timeout(5, name="db")
    configure(write("a.yaml", "policies: {timeout: {db: {seconds: 7}}}"))
    write("a.yaml", f"policies: {{timeout: {{db: {{seconds: 9}}}}}}\nx: !!bool {SECRET}")
    rejected = mh.subscribe(seen.append, events.ConfigurationRejected)
    with rejected, pytest.raises(mh.ConfigurationError, match="it has a tag"):
        mh.reload()
    assert len(seen) == 1
    assert limit.settings.seconds == 7
    assert SECRET not in caplog.text


def test_keys_are_text_as_they_are_written(
    registry: mh.Registry, write: Callable[..., Path]
) -> None:
    """A setting ``on`` needs no quotes, nor do policies whose names look like other values."""
    names = ["on", "off", "no", "Yes", "null", "~", "404", "1.5", "2026-01-01", "0x1F", "="]
    policies = "".join(f"    {name}: {{on: OSError, max_attempts: 7}}\n" for name in names)
    configure(
        write("a.yaml", f"policies:\n  retry:\n{policies}defaults: {{retry: {{on: KeyError}}}}")
    )
    for name in names:
        settings = mh.retry(name=name).settings
        assert (settings.on, settings.max_attempts) == ((OSError,), 7)
    assert mh.retry(name="another").settings.on == (KeyError,)


def test_a_wrong_setting_of_such_a_name_is_told_with_its_line(
    registry: mh.Registry, write: Callable[..., Path]
) -> None:
    """And with its path."""
    file = write("a.yaml", "policies:\n  retry:\n    off:\n      max_attempts: 0")
    with pytest.raises(mh.ConfigurationError, match=r"line 4: policies\.retry\.off\.max_attempts"):
        configure(file)


@pytest.mark.parametrize(
    "text", ["# nothing so far", "---\n# nothing", "{}", "# one\n---\n...\n", "%YAML 1.1\n---\n"]
)
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_file_may_say_nothing(
    registry: mh.Registry, write: Callable[..., Path], text: str, suffix: str
) -> None:
    """As with a comment and nothing else."""
    configure(write(f"a{suffix}", text))
    assert mh.timeout(name="db").settings.seconds == 30


def test_values_are_what_yaml_makes_of_them() -> None:
    """Anchors, too; a tag may say that a value is text, or what it is anyway."""
    text = (
        "a: [on, off, 5, 1.5, ~, 'on', text, 0x1F, 1_000]\n"
        "b: {c: !!str 404, d: !!int 5, e: !!map {f: !!seq []}}\n"
        "h: &it {i: &list [1]}\n"
        "j: [*it, *list]\n"
        "<k>: |\n  two\n  lines\n"
        "'<<': 1\n"
    )
    assert formats.parse(text, ".yaml") == {
        "a": [True, False, 5, 1.5, None, "on", "text", 31, 1000],
        "b": {"c": "404", "d": 5, "e": {"f": []}},
        "h": {"i": [1]},
        "j": [{"i": [1]}, [1]],
        "<k>": "two\nlines\n",
        "<<": 1,
    }


def test_what_is_its_own_part() -> None:
    """Is read once, and refused later where it stands."""
    for text in ("a: &a [*a]", "a: &a {b: *a}"):
        assert isinstance(formats.parse(text, ".yaml"), dict)
