"""What a Redis or Valkey server is asked: one Lua script a verb, and how to read its reply.

A policy that shares other things adds its messages to ``VERBS`` and its scripts to ``lua/``; the
store and the lane know no verb. No driver is imported here. Replies are not trusted: what is not
the shape of an answer is a StoreError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from meshhook.errors import StoreError
from meshhook.stores.protocol import (
    RUNNING_FLOOR,
    TOMBSTONE,
    Acquired,
    Begin,
    Conflict,
    Done,
    Finish,
    Force,
    Get,
    Key,
    Lost,
    Record,
    Renew,
    Renewed,
    Running,
    Stored,
)

Argument = str | bytes | int
_LETTERS = {"value": "V", "opaque": "O", "released": "X"}
_KINDS = {b"R": "running", b"V": "value", b"O": "opaque"}


class Verb(NamedTuple):
    """How one message is sent: its family of keys, its script, and the arguments of that."""

    family: str
    script: str
    arguments: Callable[[Any], list[Argument]]
    undo: Callable[[Any, Any], Any] = lambda _message, _answer: None


class Script(NamedTuple):
    """The text of a script and the digest by which a server knows it."""

    text: str
    digest: str


class ScriptCommand:
    """One message as a lane carries it."""

    __slots__ = ("_namespace", "arguments", "key", "message", "script", "size", "verb")

    def __init__(self, message: Any, namespace: str) -> None:
        self.message = message
        self._namespace = namespace
        self.verb = verb = VERBS[type(message)]
        self.script = load(verb.script)
        self.key = key_of(verb.family, namespace, message.key)
        self.arguments = verb.arguments(message)
        self.size = 200 + sum(len(each) for each in self.arguments if not isinstance(each, int))

    def undo(self, answer: Any) -> ScriptCommand | None:
        """Return the command that gives back what this one took, if it took anything."""
        message = self.verb.undo(self.message, answer)
        return None if message is None else ScriptCommand(message, self._namespace)


@functools.cache
def load(name: str) -> Script:
    """Read a script of this package, with the common part in front."""
    import hashlib  # neither of these before a store is used
    from importlib import resources

    folder = resources.files("meshhook.stores") / "lua"
    text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    # The digest is the server's name for a script, not a protection.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def key_of(family: str, namespace: str, key: Key) -> str:
    """Return the server's key: the parts of ``key`` are hashed, each with its type and length."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    if isinstance(key, tuple):
        digest.update(b"t%d:" % len(key))
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, str):
            digest.update(b"s%d:" % len(raw := part.encode("utf-8", "surrogatepass")))
        elif isinstance(part, bytes):
            digest.update(b"b%d:" % len(raw := part))
        else:
            raise TypeError(f"a key must be str, bytes or a tuple of those, got {part!r} in it")
        digest.update(raw)
    return f"mh1:{{{family}:{namespace}:{digest.hexdigest()}}}"


def pack(value: str | bytes | None) -> bytes:
    """Return ``value`` as bytes that remember its type; None is empty."""
    if value is None:
        return b""
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"b" + value
    raise TypeError(f"a remote store keeps str, bytes or None, got {type(value).__qualname__}")


def unpack(raw: bytes) -> str | bytes | None:
    """Return what :func:`pack` was given."""
    if not raw:
        return None
    if raw[:1] == b"s":
        return raw[1:].decode("utf-8", "surrogatepass")
    if raw[:1] == b"b":
        return raw[1:]
    raise ValueError("no type in front of a value")


def _micro(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))


def _milli(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


def _while_running(message: Begin | Renew) -> int:
    return _milli(max(message.retention, message.lease + RUNNING_FLOOR))


def _begin(message: Begin) -> list[Argument]:
    lease, retention = _micro(message.lease), _while_running(message)
    return [pack(message.owner), pack(message.fingerprint), lease, retention]


def _undo_begin(message: Begin, answer: Any) -> Finish | None:
    if answer is None or isinstance(answer, Acquired):
        return Finish(message.key, message.owner, "released", None, TOMBSTONE)
    return None


def _renew(message: Renew) -> list[Argument]:
    return [pack(message.owner), _micro(message.lease), _while_running(message)]


def _finish(message: Finish) -> list[Argument]:
    retention = TOMBSTONE if message.kind == "released" else message.retention
    least = 0 if message.kind == "released" else _milli(RUNNING_FLOOR)
    letter = _LETTERS[message.kind]
    return [pack(message.owner), letter, pack(message.payload), _milli(retention), least]


def _force(message: Force) -> list[Argument]:
    expected = "" if message.expected_fence is None else str(message.expected_fence)
    return [expected, _milli(TOMBSTONE)]


VERBS: dict[type, Verb] = {
    Begin: Verb("idempotent", "begin", _begin, _undo_begin),
    Renew: Verb("idempotent", "renew", _renew),
    Finish: Verb("idempotent", "finish", _finish),
    Get: Verb("idempotent", "get", lambda _: []),
    Force: Verb("idempotent", "force", _force),
}


def _seconds(raw: bytes) -> float:
    return int(raw) / 1_000_000


def _record(fields: list[bytes]) -> Record | None:
    if not fields:
        return None
    letter, payload, fingerprint, fence, attempt, age, remaining = fields
    return Record(
        _KINDS[letter],  # type: ignore[arg-type]
        unpack(payload),
        unpack(fingerprint),
        int(fence),
        int(attempt),
        _seconds(age),
        _seconds(remaining),
    )


def _done(fields: list[bytes]) -> Done:
    record = _record(fields)
    if record is None or record.kind == "running":
        raise ValueError("done without a result")
    return Done(record)


_ANSWERS: dict[bytes, Callable[[list[bytes]], Any]] = {
    b"acquired": lambda fields: Acquired(int(fields[0]), int(fields[1]), fields[2] == b"1"),
    b"running": lambda fields: Running(int(fields[0]), _seconds(fields[1]), unpack(fields[2])),
    b"done": _done,
    b"renewed": lambda fields: Renewed(_seconds(fields[0])),
    b"stored": lambda fields: Stored(before=fields[0] == b"1"),
    b"lost": lambda fields: Lost(_record(fields)),
    b"conflict": lambda fields: Conflict(_record(fields)),
    b"record": _record,
}


def decode(reply: Any) -> Any:
    """Return the answer that a reply means, or a StoreError for a reply that means nothing."""
    try:
        return _ANSWERS[reply[0]](reply[1:])
    except (ValueError, KeyError, IndexError, TypeError):
        return StoreError(
            "the store's reply makes no sense: something else writes under its keys, or another "
            "version of meshhook does; give this one a namespace of its own"
        )
