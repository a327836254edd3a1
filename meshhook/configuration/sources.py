"""Sources: what a configuration is read from, each time anew: files, dicts and the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from meshhook.configuration import formats
from meshhook.configuration.places import line_of
from meshhook.configuration.problems import path_of
from meshhook.errors import ConfigurationError
from meshhook.settings import wrong

OneSource: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
SourceLike: TypeAlias = OneSource | Sequence[OneSource] | None
"""The path of a file, a dict, or several of them, the later over the earlier."""

MOST_BYTES = 1 << 20
"""A file of more bytes is no configuration."""


class Document:
    """What a source had in it when it was read."""

    def __init__(self, name: str, data: Any, text: str = "", suffix: str = "") -> None:
        self.name = name
        self.data = data
        self._text = text
        self._suffix = suffix

    def path_of(self, words: tuple[Any, ...]) -> str:
        """Return words as a file has them."""
        return path_of(*words)

    def line_of(self, words: tuple[Any, ...]) -> int | None:
        """Return the line in which they are, if it can be found."""
        return line_of(self._text, self._suffix, words) if self._text and words else None


class Readable(Protocol):
    """Something to read a configuration from."""

    name: str

    def read(self) -> Document:
        """Return what is in it now."""


class File:
    """A file. It is looked for where it was when it was named, wherever the process goes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fsdecode(path)
        self._path = Path(self.name).absolute()
        formats.check(self.name)

    def read(self) -> Document:
        """Return what is in the file."""
        suffix = self._path.suffix
        try:
            text = self.content().decode("utf-8-sig")
            return Document(self.name, formats.parse(text, suffix), text, suffix)
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.name}: it is no text in UTF-8") from None
        except OSError as error:
            raise ConfigurationError(
                f"{self.name}: it cannot be read: {error.strerror or type(error).__name__}"
            ) from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name}: {error}") from None

    def content(self) -> bytes:
        """Return the bytes in the file; OSError if there are none to be had."""
        # What is no regular file may have no end, or wait for somebody.
        try:
            descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except ValueError:  # with a NUL in it, or half a character
            raise ConfigurationError("it cannot be read: no file has such a name") from None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigurationError("it is no regular file")
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigurationError(f"it has more than {MOST_BYTES:,} bytes")
        return content


class Given:
    """A dict that the program gave. It is read each time, so changes to it count."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.name = "dict"
        self._data = data

    def read(self) -> Document:
        """Return the dict."""
        return Document(self.name, self._data)


def sources_of(given: Any) -> tuple[Readable, ...]:
    """Return what ``given`` stands for."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return (Given(given),)
    if isinstance(given, (str, os.PathLike)):
        return (File(given),)
    if isinstance(given, (list, tuple)) and not any(
        each is None or isinstance(each, (list, tuple)) for each in given
    ):
        return tuple(source for each in given for source in sources_of(each))
    raise wrong("source", given, "the path of a file, a dict, a list of those, or None")
