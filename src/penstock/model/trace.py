"""W3C trace context from whoever triggers a run to its steps, and spans for OpenTelemetry where that is set up.

Without its variables (`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`) the SDK of OpenTelemetry is not imported; the
context is handed on all the same.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

TRACEPARENT = "TRACEPARENT"
"""Environment variable that has the context in the processes of a run."""

log = logging.getLogger("penstock.traces")

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_WANTED = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def context_of(text: str | None) -> str | None:
    """`text` if it is a `traceparent` (https://www.w3.org/TR/trace-context/), else None: what is none is ignored there."""
    match = _FORM.fullmatch(text or "")
    if match is None:
        return None
    version, trace, span, _, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return text


class Traces:
    """The spans of one process. `end` them in the order in which you like; `close` sends what has not been sent."""

    def __init__(self, service: str, exporters: list[Any]) -> None:
        # OpenTelemetry is optional, and slow to import.
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or service})
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("penstock")

    def begin(self, name: str, parent: str | None, attributes: Mapping[str, Any]) -> Any:
        """A new span below the one that `parent` names; the caller ends it."""
        # As above.
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": parent} if parent else {}
        context = TraceContextTextMapPropagator().extract(carrier)
        return self._tracer.start_span(name, context=context, attributes=dict(attributes))

    def close(self) -> None:
        """Send what is there, for two seconds at most: nobody waits long for who looks on."""
        self._provider.force_flush(2000)
        self._provider.shutdown()


def name_of(span: Any) -> str:
    """The `traceparent` that names this span."""
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def failed(span: Any, error: str) -> None:
    """Note on the span that it failed. Of an error only its kind is told: its words may hold what is secret."""
    # As above.
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, error))


def traces(service: str) -> Traces | None:
    """Where this process sends spans; None if nobody wants them, or if OpenTelemetry is not installed."""
    if not any(os.environ.get(name) for name in _WANTED) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        exporters = [_exporter(name.strip()) for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")]
        found = [one for one in exporters if one is not None]
        return Traces(service, found) if found else None
    except ImportError as error:
        log.warning("no traces are sent: %s. Install penstock[tracing] and an exporter.", error)
        return None


def _exporter(name: str) -> Any:
    """The exporter that goes by this name; OpenTelemetry's own are entry points of their packages."""
    if name in ("", "none"):
        return None
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        return found.load()()
    raise ImportError(f"there is no exporter '{name}' (opentelemetry-exporter-{name} may be missing)")
