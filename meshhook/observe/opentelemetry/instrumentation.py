"""instrument: begin to tell OpenTelemetry, and stop again."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from meshhook.errors import ConfigurationError
from meshhook.registry import Registry
from meshhook.settings import flag

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider


class Instrumentation:
    """What :func:`instrument` returns: ``close()`` it, or use it as a context manager."""

    def __init__(self, undo: list[Callable[[], object]]) -> None:
        self._undo = undo

    def close(self) -> None:
        """Tell OpenTelemetry nothing more. Safe to call more than once."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def instrument(
    registry: Registry | None = None,
    *,
    meter_provider: MeterProvider | None = None,
    tracing: bool = True,
) -> Instrumentation:
    """Begin."""
    registry = Registry.given(registry)
    flag("tracing", tracing)
    undo: list[Callable[[], object]] = []
    if tracing:
        spans = _ours("spans")
        spans.begin()
        undo.append(spans.end)
    return Instrumentation(undo)


def _ours(module: str) -> Any:
    """Import a module of this package, which imports OpenTelemetry."""
    try:
        import opentelemetry.metrics
        import opentelemetry.trace  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "instrument needs the package opentelemetry-api, which is not installed: "
            "pip install 'meshhook[otel]'"
        ) from None
    return importlib.import_module(f"{__package__}.{module}")
