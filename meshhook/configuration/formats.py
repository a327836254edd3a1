"""Formats: TOML, JSON and YAML to plain data, all of it or an error that shows none of it."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from meshhook.errors import ConfigurationError

_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){50}""")
"""More parts than a key of ours ever has, with dots between them."""


def parse(text: str, suffix: str) -> Any:
    """Return the data in ``text``; ``suffix`` tells what it is written in.

    Raises ConfigurationError with what is wrong and in which line.
    """
    if not text.strip():
        raise ConfigurationError(
            "it is empty: half written, perhaps; write a comment or {} to configure nothing"
        )
    try:
        return _READERS[suffix.lower()](text)
    except RecursionError:
        raise ConfigurationError("it is nested too deeply") from None


def check(name: str) -> None:
    """Raise ConfigurationError if the suffix of the file ``name`` tells of no format."""
    suffix = PurePath(name).suffix
    if suffix.lower() not in _READERS:
        raise ConfigurationError(
            f"source must be the path of a file that ends in {', '.join(_READERS)}, got {name!r}"
        )


def _toml(text: str) -> Any:
    if _LONG_KEY.search(text):
        # The memory that the reader takes grows with the square of the parts of a key.
        raise ConfigurationError("it is nested too deeply")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"it is no TOML: {error}") from None
    except ValueError as error:  # such as a number of more digits than Python reads
        raise ConfigurationError(f"it cannot be read: {error}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"it is no JSON: {error.msg} (at line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"it cannot be read: {error}") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _twin([key for key, _ in pairs])
    return made


def _twin(keys: list[str]) -> ConfigurationError:
    """Build the error for keys of which one is there twice."""
    twin = next(key for key, times in Counter(keys).items() if times > 1)
    return ConfigurationError(f"the key {twin[:100]!r} is there twice in one table")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(
            "YAML needs PyYAML: pip install 'meshhook[yaml]', or write it as TOML"
        ) from None
    try:
        _refuse_tricks(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = "" if mark is None else f" (at line {mark.line + 1}, column {mark.column + 1})"
        raise ConfigurationError(f"it is no YAML: {error.problem}{at}") from None
    except yaml.YAMLError:
        raise ConfigurationError("it is no YAML: it has characters that cannot be read") from None
    except (ValueError, TypeError) as error:  # a date that is none, a key that is a list
        raise ConfigurationError(f"it cannot be read: {error}") from None


def _refuse_tricks(root: Any) -> None:
    """Raise for a key that is in one mapping twice, and for what makes much of little."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))
        if node.id == "sequence":
            nodes += node.value
            continue
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if len(set(keys)) < len(keys):
            raise _twin(keys)
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ConfigurationError(
                "it merges mappings with <<, which can make a flood of a few lines: use a profile"
            )
        for pair in node.value:
            nodes += pair


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": _toml,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
}
