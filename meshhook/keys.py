"""What ``key=`` means: which arguments of a call tell it from other calls.

A key is a template (``"{host}"``, ``"order:{order.id}"``), a tuple of names (``("tenant",
"user.id")``) or a callable over the arguments. It is compiled once, at decoration, against the
signature of the function; a name that is no argument of it is an error there and then. Positional,
keyword and defaulted spellings of one call give the same key.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias

from meshhook.colour import is_async
from meshhook.errors import ConfigurationError
from meshhook.settings import unfit, wrong

Key: TypeAlias = str | tuple[str, ...] | Callable[..., Any]
KeyOf: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""A compiled key: from positional and keyword arguments to the value that tells calls apart."""

_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_FROM_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def compile_key(key: Key, fn: Callable[..., Any], setting: str = "key") -> KeyOf:
    """Compile ``key`` for calls of ``fn``: one field gives its value, several give a tuple.

    ``setting`` is what errors call it.
    """
    return Callee(fn).compile_key(key, setting)


class Callee:
    """A function whose calls are read. Its signature is looked at once, when it is needed."""

    __slots__ = ("_signature", "fn")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self._signature: inspect.Signature | None = None

    def signature(self, setting: str = "key") -> inspect.Signature:
        """Return the signature, which a key needs."""
        if self._signature is None:
            try:
                self._signature = inspect.signature(self.fn)
            except (TypeError, ValueError):
                raise ConfigurationError(
                    f"{setting} needs the signature of {self.fn!r}, which has none: wrap it in a "
                    "function of your own"
                ) from None
        return self._signature

    def compile_key(self, key: Key, setting: str = "key") -> KeyOf:
        """Compile ``key``: one field gives its value, several give a tuple."""
        if callable(key):
            if is_async(key):
                raise ConfigurationError(
                    f"{setting} must be a plain function, not an async one, got {key!r}"
                )
            return self._compile_callable(key, setting)
        getters = [self.compile_field(field, key, setting) for field in fields_of(key)]
        if len(getters) == 1:
            return getters[0]
        return lambda args, kwargs: tuple([getter(args, kwargs) for getter in getters])

    def compile_field(self, field: str, key: object, setting: str = "key") -> KeyOf:
        """Compile one name of a key, such as ``order.id``; ``key`` is for the error."""
        name, _, path = field.partition(".")
        parameters = self.signature(setting).parameters
        parameter = parameters.get(name)
        if (
            parameter is None
            or parameter.kind in VARIADIC
            or not all(part.isidentifier() for part in field.split("."))
        ):
            possible = [each.name for each in parameters.values() if each.kind not in VARIADIC]
            raise ConfigurationError(
                f"{setting} {key!r} names {field!r}, which is no argument of "
                f"{getattr(self.fn, '__qualname__', self.fn)}; it has "
                f"{', '.join(possible) or 'none'}"
            )
        get = _argument(parameter, list(parameters).index(name))
        if not path:
            return get
        dig = attrgetter(path)
        return lambda args, kwargs: dig(get(args, kwargs))

    def _compile_callable(self, key: Callable[..., Any], setting: str) -> KeyOf:
        """Hand a callable the arguments that it names; if it names others, as many as it takes.

        They are the same for each spelling of a call: by position, and with defaults filled in.
        """
        try:
            wanted = inspect.signature(key).parameters
        except (TypeError, ValueError):
            return lambda args, kwargs: key(*args, **kwargs)
        names = {name for name, each in wanted.items() if each.kind not in VARIADIC}
        kinds = [each.kind for each in wanted.values()]
        takes_rest = inspect.Parameter.VAR_KEYWORD in kinds
        signature = self.signature(setting)
        if not names <= set(signature.parameters) or not _FROM_POSITION.isdisjoint(kinds):
            most = None
            if inspect.Parameter.VAR_POSITIONAL not in kinds:
                most = sum(kind in _BY_POSITION for kind in kinds)

            def by_position(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                named = bound.kwargs.items() if takes_rest else ()
                return key(*bound.args[:most], **dict(named))

            return by_position

        def by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            arguments = bind_arguments(signature, args, kwargs)
            return key(**(arguments if takes_rest else {name: arguments[name] for name in names}))

        return by_name


def bind_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of one call by name, defaults applied; TypeError as the call has it."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def check_key(key: Any) -> Key:
    """Return ``key`` if it is one for some function."""
    if not callable(key):
        fields_of(key)
    return key  # type: ignore[no-any-return]


def fields_of(key: str | tuple[str, ...]) -> list[str]:
    """Return the names in a key that is a template or a tuple."""
    if isinstance(key, str):
        try:
            parts = list(string.Formatter().parse(key))
        except ValueError as error:
            raise unfit("key", f"key {key!r} is not a template: {error}") from None
        if any(conversion or spec for _, field, spec, conversion in parts if field is not None):
            raise unfit(
                "key",
                f"key {key!r} formats its fields; write the bare names, such as '{{order.id}}'",
            )
        fields = [field for _, field, _, _ in parts if field is not None]
    elif isinstance(key, tuple):
        fields = list(key)
        if not all(map(_is_text, fields)):
            raise unfit("key", f"key must hold names of arguments, got {key!r}")
    else:
        raise wrong("key", key, "a template such as '{order.id}', a tuple of names or a callable")
    if not fields:
        raise unfit(
            "key",
            f"key {key!r} names no argument, so that all calls would share it; "
            "write a name in braces, such as '{order.id}'",
        )
    return fields


def literal_of(key: Key) -> str:
    """Return the text of a template with its fields left open, or "" if it is nothing but fields.

    Templates of one literal text name the same things, whatever their arguments are called.
    """
    if not isinstance(key, str):
        return ""
    parts = list(string.Formatter().parse(key))
    if not any(literal for literal, *_ in parts):
        return ""
    return "".join(
        literal.replace("{", "{{").replace("}", "}}") + ("" if field is None else "{}")
        for literal, field, *_ in parts
    )


def _is_text(field: object) -> bool:
    return isinstance(field, str)


def _argument(parameter: inspect.Parameter, index: int) -> KeyOf:
    """Read one argument as a call would: by position, by name, or its default."""
    name, default = parameter.name, parameter.default
    by_position = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    # What comes by the name of a positional-only argument belongs to the function's **kwargs.
    by_name = parameter.kind is not inspect.Parameter.POSITIONAL_ONLY

    def read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if by_position and len(args) > index:
            return args[index]
        value = kwargs.get(name, default) if by_name else default
        if value is inspect.Parameter.empty:
            raise TypeError(f"missing a required argument: {name!r}")
        return value

    return read
