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
_QUOTED = re.compile(r" '!?[\w-]*\w[\w-]*!?'")
"""What PyYAML shows of a file in its errors: a letter, or the name of an anchor or of a tag."""


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
        times = Counter(key for key, _ in pairs)
        raise _twin(next(key for key in times if times[key] > 1))
    return made


def _twin(key: str, at: str = "") -> ConfigurationError:
    """Build the error for a key that is there twice."""
    return ConfigurationError(f"the key {key[:100]!r} is there twice in one table{at}")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(
            "YAML needs PyYAML: pip install 'meshhook[yaml]', or write it as TOML"
        ) from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        data = None if root is None else _plain(root, loader, {})
    except yaml.MarkedYAMLError as error:
        problem = _QUOTED.sub("", str(error.problem).partition(", but found")[0])
        raise ConfigurationError(f"it is no YAML: {problem}{_at(error.problem_mark)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(
            f"it is no YAML: it has characters that cannot be read (at line {line})"
        ) from None
    return {} if data is None else data


def _plain(node: Any, loader: Any, known: dict[Any, Any]) -> Any:
    """Return the data that a node stands for, without anything that makes much of little.

    Keys are text, as they are written: YAML would read ``on`` as True.
    """
    _check_tag(node, loader)
    if node in known:
        return known[node]
    if node.id == "scalar":
        return _scalar(node, loader)
    if node.id == "sequence":
        items = known[node] = []
        items += [_plain(each, loader, known) for each in node.value]
        return items
    table = known[node] = {}
    for key, value in node.value:
        word = _key(key, loader)
        if word in table:
            raise _twin(word, _at(key.start_mark))
        table[word] = _plain(value, loader, known)
    return table


def _check_tag(node: Any, loader: Any) -> None:
    """Raise for a tag that makes something else of a node than what it looks like, but for text."""
    bare = node.id == "scalar" and node.style is None
    usual = loader.resolve(type(node), node.value, (bare, not bare))
    if node.tag != usual and not (node.id == "scalar" and node.tag == "tag:yaml.org,2002:str"):
        raise ConfigurationError(
            f"it has a tag that does not fit or is not known{_at(node.start_mark)}: leave it out"
        )


def _scalar(node: Any, loader: Any) -> Any:
    try:
        return loader.construct_object(node)
    except Exception:  # many kinds of errors, and what they say is text of the file
        raise ConfigurationError(
            f"it has a value that looks like a number or a date and is none{_at(node.start_mark)}: "
            "put it in quotes if it is text"
        ) from None


def _key(node: Any, loader: Any) -> str:
    if node.id != "scalar":
        raise ConfigurationError(f"it has a key that is no text{_at(node.start_mark)}")
    _check_tag(node, loader)
    if node.tag == "tag:yaml.org,2002:merge":
        raise ConfigurationError(
            f"it merges mappings with <<{_at(node.start_mark)}, which can make a flood of a few "
            "lines: use a profile"
        )
    return str(node.value)


def _at(mark: Any) -> str:
    return "" if mark is None else f" (at line {mark.line + 1}, column {mark.column + 1})"


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": _toml,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
}
