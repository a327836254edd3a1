"""Errors: the tree, fields, copies, messages."""

from __future__ import annotations

import asyncio
import builtins
import copy
import functools
import inspect
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import meshhook as mh
from meshhook import errors

EVERY_ERROR = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MeshHookError)
]
VALUES: dict[str, Any] = {
    "name": "payments",
    "policy": "circuit_breaker",
    "retry_after": 4.2,
    "state": "half_open",
    "last_failure": "ConnectionError",
    "timeout": 2.5,
    "key": "order:5",
    "fence": 7,
    "attempt": 3,
    "attempts": 3,
    "reason": "deadline",
    "max_concurrent": 4,
    "waiting": 2,
    "limit": "5/s",
    "remaining": 2,
    "reset_after": 3.5,
    "chance": 0.4,
}


def again(error: Any, protocol: int) -> Any:
    """Pickle and unpickle."""
    return pickle.loads(pickle.dumps(error, protocol))


COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
COPIES += [
    functools.partial(again, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
]
IDS = ["copy", "deepcopy", *(f"pickle {each}" for each in range(pickle.HIGHEST_PROTOCOL + 1))]


def fields_of(kind: type[BaseException]) -> dict[str, Any]:
    """Return a value for each field of an error that is not the default one."""
    if not inspect.isfunction(kind.__init__):
        return {}
    parameters = inspect.signature(kind).parameters.values()
    return {
        each.name: VALUES[each.name]
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("duplicate", COPIES, ids=IDS)
def test_every_error_copies_and_pickles_whole(kind: Any, duplicate: Callable[[Any], Any]) -> None:
    """Type, message, arguments, all fields, notes and attributes of one's own come along."""
    fields = fields_of(kind)
    error = kind("what happened; what to do", **fields)
    error.add_note("seen by the caller")
    error.extra = ["anything"]
    twin = duplicate(error)
    assert type(twin) is kind
    assert twin is not error
    assert str(twin) == "what happened; what to do"
    assert twin.args == error.args == ("what happened; what to do",)
    assert vars(twin) == vars(error)
    assert {name: getattr(twin, name) for name in fields} == fields
    assert twin.__notes__ == ["seen by the caller"]


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_needs_no_more_than_a_message(kind: Any) -> None:
    """All fields have defaults, and the message is what it prints."""
    error = kind("message")
    assert str(error) == "message"
    for name in fields_of(kind):
        assert hasattr(error, name)


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_is_documented_and_drawn(kind: Any) -> None:
    """Each has a docstring, and its place in the tree that the module shows."""
    assert kind.__doc__
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("duplicate", COPIES, ids=IDS)
def test_errors_of_users_copy_too(duplicate: Callable[[Any], Any]) -> None:
    """A subclass with a constructor of its own copies without running it again."""
    error = Custom(5, reason="because")
    twin = duplicate(error)
    assert type(twin) is Custom
    assert (str(twin), twin.number, twin.reason) == ("number 5", 5, "because")


class Custom(mh.RejectedError):
    """An error of a user."""

    def __init__(self, number: int, *, reason: str) -> None:
        super().__init__(f"number {number}", name="custom")
        self.number = number
        self.reason = reason


@pytest.mark.parametrize("args", [(), ("a", 1)])
def test_arguments_come_along_as_they_are(args: tuple[Any, ...]) -> None:
    """A bare error stays bare, and several arguments stay several."""
    assert copy.copy(mh.MeshHookError(*args)).args == args


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retry_after": 4.21}, "circuit 'db' is open; retry in 4.2 s"),
        ({"state": "forced_open"}, "circuit 'db' is forced-open until it is reset"),
        (
            {"state": "half_open", "retry_after": 2.0},
            "circuit 'db' is half-open: its trial calls are still running; retry in 2.0 s",
        ),
    ],
)
@pytest.mark.parametrize("duplicate", [lambda error: error, *COPIES], ids=["same", *IDS])
def test_an_open_circuit_words_its_own_message(
    fields: Any, message: str, duplicate: Callable[[Any], Any]
) -> None:
    """Without a text of its own the error says who refused, why and until when, copied or not."""
    error = duplicate(mh.CircuitOpenError(name="db", **fields))
    assert str(error) == message
    assert repr(error) == f"CircuitOpenError({message!r})"
    assert traceback.format_exception_only(error)[-1].endswith(f"CircuitOpenError: {message}\n")


def test_the_tree() -> None:
    """Errors are what they say they are also to those who do not know meshhook."""
    assert issubclass(mh.TimeoutError, builtins.TimeoutError)
    assert issubclass(mh.TimeoutError, OSError)
    assert issubclass(mh.ConfigurationError, ValueError)
    assert issubclass(mh.CircuitOpenError, mh.RejectedError)
    assert issubclass(errors.StoreUnavailableError, errors.StoreError)
    assert not issubclass(mh.RejectedError, builtins.TimeoutError)
    for kind in (
        errors.MissingKeyError,
        errors.KeyReusedError,
        errors.InProgressError,
        errors.LeaseLostError,
        errors.ResultUnavailableError,
        errors.ReentrantCallError,
    ):
        assert issubclass(kind, errors.IdempotencyError)
    assert all(issubclass(kind, mh.MeshHookError) for kind in EVERY_ERROR)


def test_our_timeout_is_caught_as_any_other() -> None:
    """``except TimeoutError`` catches it, in asyncio code too."""
    assert asyncio.TimeoutError is builtins.TimeoutError
    with pytest.raises(builtins.TimeoutError) as caught:
        raise mh.TimeoutError("too late", name="n", timeout=1.5)
    assert caught.value.errno is None
    assert isinstance(caught.value, mh.TimeoutError)
    assert caught.value.timeout == 1.5


def test_a_rejection_tells_what_is_needed(registry: mh.Registry, colour: Any) -> None:
    """It names the circuit, its state, when to try again, and the type of the last failure."""
    breaker = mh.circuit_breaker("db", failure_threshold=1, reset_timeout=5, registry=registry)

    def fail() -> None:
        raise ConnectionError("password")

    guard = breaker(colour.paint(fail))
    with pytest.raises(ConnectionError):
        colour.call(guard)
    with pytest.raises(mh.CircuitOpenError) as caught:
        colour.call(guard)
    error = caught.value
    assert (error.name, error.policy, error.state) == ("db", "circuit_breaker", "open")
    assert error.last_failure == "ConnectionError"
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 5
    assert str(error) == f"circuit 'db' is open; retry in {error.retry_after:.1f} s"
    assert "password" not in repr(vars(error))


def test_every_raise_is_a_fresh_object(registry: mh.Registry, colour: Any) -> None:
    """Two rejections share neither object nor traceback, nor do they chain what is unrelated."""
    breaker = mh.circuit_breaker("db", initial_state="forced_open", registry=registry)
    guard = breaker(colour.paint(lambda: None))
    caught = []
    for _ in range(2):
        with pytest.raises(mh.CircuitOpenError) as info:
            colour.call(guard)
        caught.append(info.value)
    assert caught[0] is not caught[1]
    lengths = [len(traceback.extract_tb(each.__traceback__)) for each in caught]
    assert lengths[0] == lengths[1]
    assert [each.__context__ for each in caught] == [None, None]
