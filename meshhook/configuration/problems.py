"""Problems: what is wrong with a configuration, where, and what may have been meant.

All problems are gathered, so that a file is put right in one go. A problem shows a value only where
the value itself is what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from meshhook.errors import ConfigurationError
from meshhook.guessing import hint

_LONGEST, _LONGEST_WORD = 600, 100
MOST_SHOWN = 50
_MOST_LISTED = 12


class Place(NamedTuple):
    """Where something is written: in which source, and under which words in it."""

    source: Source
    words: tuple[Any, ...] = ()

    @property
    def path(self) -> str:
        """The words, as a file may write them."""
        return self.source.path_of(self.words)

    @property
    def line(self) -> int | None:
        """The line of a file, if it can be found."""
        return self.source.line_of(self.words)

    def __str__(self) -> str:
        line, path = self.line, self.path
        at = self.source.name if line is None else f"{self.source.name}, line {line}"
        return f"{at}: {path}" if path else at


class Source(Protocol):
    """What a configuration is read from."""

    name: str

    def path_of(self, words: tuple[Any, ...]) -> str:
        """Return the words as the source has them."""

    def line_of(self, words: tuple[Any, ...]) -> int | None:
        """Return the line in which they are, if there are lines and it can be found."""


class Problem(NamedTuple):
    """Something that is wrong at some places; at none in particular, if it is all of it."""

    places: tuple[Place, ...]
    text: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= _LONGEST else f"{self.text[: _LONGEST - 3]}..."
        return ": ".join([*filter(None, [" and ".join(map(str, self.places))]), text])


class Problems(list[Problem]):
    """What is wrong so far."""

    def add(self, text: str, *places: Place) -> None:
        """Remember that something is wrong."""
        self.append(Problem(places, text))

    def raise_if_any(self) -> None:
        """Raise one ConfigurationError that tells of them all, if there are any."""
        if self:
            raise self.error()

    def error(self) -> ConfigurationError:
        """Build the error that tells of them all."""
        if len(self) == 1:
            return ConfigurationError(str(self[0]))
        lines = [f"{len(self)} things are wrong with the configuration:"]
        lines += [f"- {each}" for each in self[:MOST_SHOWN]]
        if len(self) > MOST_SHOWN:
            lines.append(f"- and {len(self) - MOST_SHOWN} more")
        return ConfigurationError("\n".join(lines))


def unknown(what: str, known: Iterable[str], word: Any) -> str:
    """Return what is said of a word that is none of those known, and which may have been meant."""
    words = sorted(known)
    if not isinstance(word, str):
        return f"no such {what}: it must be text"
    meant = hint(word, words)
    if meant:
        return f"no such {what}{meant}"
    if not words:
        return f"no such {what}; there is none"
    shown = ", ".join(words[:_MOST_LISTED]) + (", ..." if len(words) > _MOST_LISTED else "")
    return f"no such {what}; there {'is' if len(words) == 1 else 'are'} {shown}"


def shown(word: Any) -> str:
    """Return a word of a path, in quotes where it is more than a bare word."""
    text = str(word)
    if len(text) > _LONGEST_WORD:
        text = f"{text[: _LONGEST_WORD - 3]}..."
    bare = text and all(each.isalnum() or each in "_-" for each in text)
    return text if bare else f'"{text}"' if text.isprintable() else repr(text)


def path_of(*words: Any) -> str:
    """Return the path of words, as a file may write it."""
    return ".".join(map(shown, words))
