"""Results: how what a function returned is kept, and given to those who come later.

Everybody gets an object of his own, so nobody can change another's result. What cannot be kept
is remembered as such: the call has been executed, and will not be again.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from meshhook.errors import ResultUnavailableError

if TYPE_CHECKING:
    from meshhook.policies.idempotent.settings import IdempotentSettings, ResultCodec

IMMUTABLE: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes, complex})
"""Types whose values a local store may keep as they are."""

Packed = tuple[Literal["value", "opaque"], Any]


class Results:
    """The results of one function. Stateless but for a codec that is made when first needed."""

    def __init__(self, settings: IdempotentSettings, fn: Callable[..., Any]) -> None:
        self._local = settings.store.local
        self._limit = settings.max_result_bytes
        self._given = settings.codec
        self._fn = fn

    @functools.cached_property
    def _codec(self) -> ResultCodec:
        if self._given != "auto":
            return self._given
        from meshhook.stores.codecs import Codec  # not before it is needed: it imports a lot

        # Annotations are looked up late: at decoration they may name what does not exist yet.
        return Codec.for_type(_return_type(self._fn))

    # In a local store, what must be decoded is in a tuple; everything else is the result itself.

    def pack(self, result: Any) -> Packed:
        """Return what a record keeps of ``result``; never raises an Exception."""
        if self._local and type(result) in IMMUTABLE and self._given == "auto":
            too_large = type(result) in (str, bytes) and self._is_too_large(result)
            return ("opaque", self._too_large()) if too_large else ("value", result)
        try:
            kept = self._codec.encode(result)
        except Exception:
            kept = None
        if not isinstance(kept, (str, bytes)):
            what = f"a {type(result).__qualname__} has no form to be kept in"
            return "opaque", f"{what}; return plain data, or give codec="
        if self._is_too_large(kept):
            return "opaque", self._too_large()
        return "value", (kept,) if self._local else kept

    def _too_large(self) -> str:
        return f"it is larger than max_result_bytes={self._limit}"

    def _is_too_large(self, kept: str | bytes) -> bool:
        limit = self._limit
        if len(kept) > limit:
            return True
        # No character takes more than four bytes.
        return (
            4 * len(kept) > limit
            and isinstance(kept, str)
            and (len(kept.encode("utf-8", "surrogatepass")) > limit)
        )

    def unpack(self, kept: Any) -> Any:
        """Return the result in a record, or raise ValueError."""
        if kept.kind != "value":
            raise ValueError(f"nothing could be kept: {kept.payload}")
        payload = kept.payload
        if not self._local:
            return self._decode(payload)
        return self._decode(payload[0]) if type(payload) is tuple else payload

    def _decode(self, payload: str | bytes) -> Any:
        try:
            return self._codec.decode(payload)
        except Exception as error:
            raise ValueError(f"it cannot be read back: {error}") from error


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of a key, at the moment of asking.

    ``age`` is the seconds since the execution began or, if ``state`` is ``"done"``, since it ended;
    ``remaining`` the seconds until the lease is over, or until the result is forgotten.
    """

    key: str
    state: Literal["running", "done"]
    attempt: int
    fence: int
    age: float
    remaining: float
    _read: Callable[[], Any] = dataclasses.field(repr=False, compare=False)

    def result(self) -> Any:
        """Return the result, a new object at each call.

        Raises ResultUnavailableError if it is not there yet, or could not be kept or read back.
        """
        try:
            return self._read()
        except ValueError as error:
            raise ResultUnavailableError(
                f"no result of {self.key!r}: {error}", key=self.key
            ) from None


def _return_type(fn: Any) -> Any:
    """Return what ``fn`` says that it returns; None where that cannot be found out."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004 - the method itself is wanted
    try:
        return typing.get_type_hints(fn).get("return")
    except Exception:
        return None
