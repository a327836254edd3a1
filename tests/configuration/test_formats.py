"""Formats: TOML, JSON and YAML say the same, and hostile files say what is wrong."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshhook as mh
from meshhook.configuration import formats
from meshhook.configuration.kinds import KINDS, arguments_of
from tests.configuration.conftest import configure, dumped

SUFFIXES = [".toml", ".json", ".yaml", ".yml"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_configures(
    registry: mh.Registry, write: Callable[..., Path], suffix: str
) -> None:
    """With numbers, texts, truths, lists and tables."""
    data = {
        "profile": "production",
        "defaults": {"circuit_breaker": {"reset_timeout": "10s", "critical": True}},
        "profiles": {"production": {"retry": {"max_attempts": 5, "on": ["OSError", "KeyError"]}}},
        "policies": {
            "bulkhead": {"shop.prices.price": {"limit": {"kind": "aimd", "backoff": 0.5}}}
        },
    }
    configure(write(f"shop{suffix}", data))
    breaker = mh.circuit_breaker("db").settings
    assert (breaker.rules.reset_timeout, breaker.critical) == (10.0, True)
    retry = mh.retry(name="db").settings
    assert (retry.max_attempts, retry.on) == (5, (OSError, KeyError))
    limit = mh.AIMD(backoff=0.5)
    assert mh.bulkhead(name="shop.prices.price").settings.limit == limit


words = st.text("abcdefghijklmnop.- _#é", min_size=1, max_size=8)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["C"]), max_size=8),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(
    st.recursive(
        st.dictionaries(words, values, max_size=3),
        lambda inside: st.dictionaries(words, inside, max_size=3),
        max_leaves=9,
    )
)
def test_all_formats_say_the_same(data: dict[str, Any]) -> None:
    """Whatever is written in one of them is read from each of them."""
    read = {
        suffix: formats.parse(dumped(data, suffix) + "\n#" * (suffix != ".json"), suffix)
        for suffix in SUFFIXES
    }
    assert read[".json"] == data
    assert read[".toml"] == data
    assert (read[".yaml"] or {}) == data


BROKEN = [
    ("a.toml", "[defaults", "it is no TOML: Expected ']'"),
    ("a.toml", "a = 1\na = 2", "it is no TOML: Cannot overwrite a value (at "),
    ("a.toml", "a = " + "[" * 100_000, "it is nested too deeply"),
    ("a.toml", "a." * 200_000 + "a = 1", "it is nested too deeply"),
    ("a.toml", "[" + "'a' . " * 100_000 + "a]", "it is nested too deeply"),
    ("a.toml", "a = { " + '"a".' * 200_000 + "a = 1}", "it is nested too deeply"),
    ("a.toml", "a = " + "9" * 5_000, "it cannot be read: Exceeds the limit (4300 digits)"),
    ("a.json", "{", "it is no JSON: Expecting property name"),
    ("a.json", '{"a": 1, "a": 2}', "the key 'a' is there twice in one table"),
    ("a.json", '{"a": ' + "[" * 100_000, "it is nested too deeply"),
    ("a.json", '{"a": ' + "9" * 5_000 + "}", "it cannot be read: Exceeds the limit"),
    ("a.json", "[]", "must be a table (a mapping, an object)"),
    ("a.yaml", "a: [", "it is no YAML: expected the node content"),
    ("a.yaml", "a: 1\na: 2", "the key 'a' is there twice in one table"),
    ("a.yaml", "a: &b {x: 1}\nc: {<<: *b}", "it merges mappings with <<"),
    ("a.yaml", "a: !!python/object/apply:os.system ['true']", "it has a tag that does not"),
    ("a.yaml", "a: " + "[" * 100_000, "it is nested too deeply"),
    ("a.yaml", "a: " + "9" * 5_000, "looks like a number or a date and is none (at line 1,"),
    ("a.yaml", "a: 2026-99-99", "looks like a number or a date and is none (at line 1, column 4)"),
    ("a.yaml", "#\na: b\x07", "it is no YAML: it has characters that cannot be read (at line 2)"),
    ("a.yaml", "a: 1\n---\nb: 2", "it is no YAML: but found another document"),
    ("a.yaml", "[a]: 1", "it has a key that is no text (at line 1, column 1)"),
    ("a.yaml", "just text", "must be a table (a mapping, an object)"),
    ("a.yaml", "1: 2", "a.yaml, line 1: 1: no such table or setting; there are"),
    ("a.toml", "", "it is empty: half written, perhaps"),
    ("a.json", " \n", "it is empty: half written, perhaps"),
    ("a.toml", b"\xff\xfe", "it is no text in UTF-8"),
    ("a.toml", b"#" * (1 << 20) + b"##", "it has more than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=lambda each: repr(each)[:30])
def test_broken_files(
    registry: mh.Registry, write: Callable[..., Path], name: str, content: Any, message: str
) -> None:
    """The error names the file and what is wrong, and shows nothing that is in it."""
    with pytest.raises(mh.ConfigurationError) as caught:
        configure(write(name, content))
    text = str(caught.value)
    assert name in text
    assert message in text
    assert len(text) < 400


def test_a_file_may_begin_with_a_byte_order_mark(
    registry: mh.Registry, write: Callable[..., Path]
) -> None:
    """As some editors write it."""
    configure(write("a.toml", "\ufeff[defaults.timeout]\nseconds = 5\n"))
    assert mh.timeout(name="db").settings.seconds == 5.0


def test_a_flood_of_a_few_lines(registry: mh.Registry, write: Callable[..., Path]) -> None:
    """Is refused before anybody looks at it."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "\n".join(lines) + "\ndefaults: {timeout: {seconds: *a11}}\n"
    with pytest.raises(mh.ConfigurationError, match="the value has too much in it"):
        configure(write("a.yaml", bomb))
    with pytest.raises(mh.ConfigurationError, match="the value has too much in it"):
        configure(write("a.yaml", "defaults: {timeout: {seconds: &a [*a]}}"))


def test_what_is_no_file(registry: mh.Registry, tmp_path: Path) -> None:
    """Is not read: it might never end."""
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(mh.ConfigurationError, match=r"folder\.toml: it (cannot be read|is no reg)"):
        configure(folder)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")
        with pytest.raises(mh.ConfigurationError, match=r"pipe\.toml: it is no regular file"):
            configure(tmp_path / "pipe.toml")
        (tmp_path / "link.toml").symlink_to("/dev/zero")
        with pytest.raises(mh.ConfigurationError, match=r"link\.toml: it is no regular file"):
            configure(tmp_path / "link.toml")


@pytest.mark.parametrize("name", ["a\0.toml", "a\ud800.toml"])
def test_what_is_no_name_of_a_file(registry: mh.Registry, tmp_path: Path, name: str) -> None:
    """Is refused like one that is not there."""
    with pytest.raises(mh.ConfigurationError, match="it cannot be read: "):
        configure(tmp_path / name)


def test_without_pyyaml(
    registry: mh.Registry, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(mh.ConfigurationError, match=r"pip install 'meshhook\[yaml\]'"):
        configure(write("a.yaml", {"defaults": {}}))


ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 10**300, -(10**4_000), 1 << 20_000, 1e308, -0.0),
    *(float("inf"), float("nan"), "", " ", "none", "x", "5", "1s", "-1s", "9" * 4_000, "a:b"),
    *(
        "{",
        "{x}",
        "{x!r}",
        "\x00",
        "\ud800",
        "builtins:print",
        "builtins:int",
        "os:sep",
        "a" * 10_000,
    ),
    *([], [None], [[]], ["x"], [1], {}, {"x": 1}, {"kind": None}, {"kind": "aimd", "min": "x"}),
    *(b"x", object(), ..., (), {1}, len, int, ValueError, ValueError("x")),
]


def refusal(data: Any, **options: Any) -> str:
    """Return what is said of a configuration; nothing, if it is accepted."""
    try:
        configure(data, **options)
    except mh.ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_odd_values_of_every_setting(registry: mh.Registry, kind: str) -> None:
    """Are taken, or refused with an error that names their place; nothing else is raised."""
    for argument in arguments_of(kind):
        for odd in ODD:
            said = refusal({"defaults": {kind: {argument: odd}}})
            assert said.startswith(f"dict: defaults.{kind}.{argument}: ") or not said
            assert len(said) < 700
            configure({})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        values | st.none() | st.binary(max_size=3),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "defaults",
                        "profiles",
                        "policies",
                        "retry",
                        "timeout",
                        "profile",
                        "seconds",
                        "on",
                        "p",
                    ]
                ),
                inside,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_odd_shapes(data: Any) -> None:
    """Any data at all is a configuration, or has an error that says what it is not."""
    registry = mh.Registry()
    mh.timeout(2, name="p", registry=registry)
    if data is None or isinstance(data, (str, list)):
        data = {"policies": data}
    refusal(data, registry=registry)


def test_secrets_in_a_file_are_not_told(
    registry: mh.Registry, write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is right, or unknown, or in a file that cannot be read is not in errors and logs."""
    secret = "s3cret-t0ken"
    caplog.set_level("DEBUG")
    for name, content in {
        "a.toml": f'[policies.idempotent.db]\nstore = "redis://user:{secret}@host"',
        "b.toml": f'[policies.retry.db]\npassword = "{secret}"',
        "c.toml": f'[policies.retry.db]\nmax_attempts = "x"\n[other]\ntoken = "{secret}"',
        "d.toml": f"token = {secret}",
        "d.json": f'{{"token": {secret}',
        "d.yaml": f"token: '{secret}",
        "e.yaml": f"{{token: !!{secret} x",
        "f.toml": f'token = "{secret}"',
    }.items():
        with pytest.raises(mh.ConfigurationError) as caught:
            configure(write(name, content))
        assert secret not in str(caught.value)
    configure({"defaults": {"timeout": {"message": secret}}})
    assert secret not in caplog.text


def test_a_key_that_is_there_twice_among_very_many() -> None:
    """Is found at once, not by comparing each with all."""
    keys = [*range(60_000), 59_999]
    text = "{" + ", ".join(f'"k{number}": 1' for number in keys) + "}"
    began = time.process_time()
    with pytest.raises(mh.ConfigurationError, match="the key 'k59999' is there twice"):
        formats.parse(text, ".json")
    assert time.process_time() - began < 20
