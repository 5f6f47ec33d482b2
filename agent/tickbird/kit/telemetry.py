"""OpenTelemetry for a service in one call: traces and metrics over OTLP/HTTP.

Configured by the standard environment variables only (``OTEL_EXPORTER_OTLP_*``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``, ``OTEL_TRACES_EXPORTER=none``,
``OTEL_METRICS_EXPORTER=none``, ``OTEL_SDK_DISABLED``).
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

EXIT_SECONDS = 2.0


class Telemetry:
    """What ``setup`` started. ``shutdown`` sends what is left and may be called twice."""

    def __init__(self) -> None:
        self._ends: list[Callable[[int], None]] = []

    def add(self, end: Callable[[int], None]) -> None:
        """``end`` sends what is left, within the milliseconds that it is given."""
        self._ends.append(end)

    def shutdown(self, seconds: float = EXIT_SECONDS) -> None:
        """Send what is left, within ``seconds`` in all: a dead collector must not hold up the end
        of its service."""
        deadline = time.monotonic() + seconds
        while self._ends:
            share = max(0.0, deadline - time.monotonic()) / len(self._ends)
            self._ends.pop()(int(share * 1000))


def setup(service_name: str) -> Telemetry:
    """Install tracer and meter providers for this process. ``OTEL_SERVICE_NAME`` wins over
    ``service_name``. What is left is sent when the interpreter ends, within two seconds."""
    telemetry = Telemetry()
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return telemetry
    from opentelemetry.sdk.resources import Resource

    name = os.environ.get("OTEL_SERVICE_NAME") or service_name
    resource = Resource.create({"service.name": name})
    if _wanted("OTEL_TRACES_EXPORTER"):
        _trace(resource, telemetry)
    if _wanted("OTEL_METRICS_EXPORTER"):
        _measure(resource, telemetry)
    atexit.register(telemetry.shutdown)
    return telemetry


def _wanted(variable: str) -> bool:
    return os.environ.get(variable, "otlp").lower() != "none"


def _trace(resource: Resource, telemetry: Telemetry) -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor: SpanProcessor = BatchSpanProcessor(OTLPSpanExporter())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    # The processor's own shutdown waits up to 30 s; only the part behind it takes a limit.
    bounded = getattr(processor, "_batch_processor", None)
    telemetry.add(bounded.shutdown if bounded else lambda _milliseconds: processor.shutdown())


def _measure(resource: Resource, telemetry: Telemetry) -> None:
    from opentelemetry import metrics
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    telemetry.add(lambda milliseconds: reader.shutdown(timeout_millis=milliseconds))
