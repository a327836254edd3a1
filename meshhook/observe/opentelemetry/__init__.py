"""OpenTelemetry: the statistics as observable instruments, and what happens to a call on its span.

Nothing is imported from OpenTelemetry before :func:`instrument` is called, and only in here. It
needs ``pip install 'meshhook[otel]'``, which is the API alone; the SDK and its exporters are the
program's to choose.
"""

from meshhook.observe.opentelemetry.instrumentation import Instrumentation, instrument

__all__ = ["Instrumentation", "instrument"]
