"""The real OpenTelemetry SDK, exporting into memory. Its providers are one per process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture(scope="session")
def _exported() -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    return spans, reader


@pytest.fixture
def spans(_exported: tuple[InMemorySpanExporter, InMemoryMetricReader]) -> Iterator[Any]:
    """Call it for the spans that ended in this test."""
    _exported[0].clear()
    yield _exported[0].get_finished_spans
    _exported[0].clear()


@pytest.fixture
def points(_exported: tuple[InMemorySpanExporter, InMemoryMetricReader]) -> Any:
    """Call it with a metric's name for its points."""

    def read(name: str) -> list[Any]:
        data = _exported[1].get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    return read
