"""Canaries: one metric, one log line and one span that carry an id nobody else uses.

They are sent by the OpenTelemetry SDK, an encoder that is not ours, and looked for in the backends.
The SDK is imported when the first canary is sent: it is large, and the agent never needs it.
"""

from __future__ import annotations

import importlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import Unreachable
from . import ask

Signal = Literal["metric", "log", "span"]

SERVICE = "tickbird-verify"
METRIC = "tickbird.verify.canary"
_METRIC_IN_PROMETHEUS = "tickbird_verify_canary"
_SEND_TIMEOUT = 5.0
_EXPORTERS: dict[Signal, str] = {
    "metric": "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "log": "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "span": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}


@dataclass(frozen=True, slots=True)
class Canary:
    """What is sent and looked for. ``text`` is the log line's message."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def text(self) -> str:
        return f"tickbird canary {self.id}"


@dataclass(frozen=True, slots=True)
class Door:
    """Where OTLP/HTTP is taken: base URL, and what the transport needs."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def load_sdk() -> None:
    """Import what ``send`` needs, so that the first signal does not wait for it."""
    for name in _EXPORTERS.values():
        importlib.import_module(name)


def send(canary: Canary, signal: Signal, door: Door) -> None:
    """Send one signal of ``canary`` by the SDK; Unreachable unless it was accepted."""
    with _listening(signal) as said:
        accepted = _SENDERS[signal](canary, door)
    if not accepted:
        reason = f": {said[-1]}" if said else ""
        raise Unreachable(f"{door.endpoint} did not accept the {signal}{reason}")


def find(canary: Canary, signal: Signal, url: str) -> bool:
    """Whether the backend at ``url`` has this signal of the canary; Unreachable when it cannot
    be asked, or when it has the log line without its trace id."""
    return _FINDERS[signal](canary, url)


@contextmanager
def _listening(signal: Signal) -> Iterator[list[str]]:
    """What the SDK logs while it sends: the reason of a failure, kept off the terminal. Each
    exporter has a logger of its own, so signals that are sent side by side stay apart."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage()[:300])  # type: ignore[method-assign]
    logger = logging.getLogger(_EXPORTERS[signal])
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _arguments(door: Door, signal_path: str) -> dict[str, Any]:
    import requests  # noqa: PLC0415 - comes with the SDK's exporter

    session = requests.Session()
    session.trust_env = False  # no proxy between this machine and its own Collector
    return {
        "endpoint": f"{door.endpoint}/v1/{signal_path}",
        "headers": dict(door.headers) or None,
        "certificate_file": door.ca,
        "client_certificate_file": door.cert,
        "client_key_file": door.key,
        "timeout": _SEND_TIMEOUT,
        "session": session,
    }


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    return Resource({"service.name": SERVICE, "service.instance.id": "canary"})


def _send_span(canary: Canary, door: Door) -> bool:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

    context = SpanContext(
        int(canary.trace_id, 16), int(canary.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED)
    )
    now = time.time_ns()
    span = ReadableSpan(
        "tickbird canary",
        context=context,
        resource=_resource(),
        kind=SpanKind.INTERNAL,
        attributes={"tickbird.canary": canary.id},
        start_time=now - 1_000_000,
        end_time=now,
    )
    exporter = OTLPSpanExporter(**_arguments(door, "traces"))
    try:
        return exporter.export([span]) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


def _send_metric(canary: Canary, door: Door) -> bool:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        InMemoryMetricReader,
        MetricExportResult,
    )

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
    gauge = provider.get_meter("tickbird").create_gauge(METRIC)
    gauge.set(time.time(), {"canary": canary.id})
    batch = reader.get_metrics_data()
    exporter = OTLPMetricExporter(**_arguments(door, "metrics"))
    try:
        return batch is not None and exporter.export(batch) is MetricExportResult.SUCCESS
    finally:
        exporter.shutdown()
        provider.shutdown()


def _send_log(canary: Canary, door: Door) -> bool:
    from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http._log_exporter import (  # noqa: PLC0415
        OTLPLogExporter,
    )
    from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import LogRecordExportResult  # noqa: PLC0415
    from opentelemetry.trace import TraceFlags  # noqa: PLC0415

    record = LogRecord(
        timestamp=time.time_ns(),
        trace_id=int(canary.trace_id, 16),
        span_id=int(canary.span_id, 16),
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body=canary.text,
    )
    exporter = OTLPLogExporter(**_arguments(door, "logs"))
    try:
        readable = ReadableLogRecord(record, _resource())
        return exporter.export([readable]) is LogRecordExportResult.SUCCESS
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


def _find_metric(canary: Canary, url: str) -> bool:
    query = f'{_METRIC_IN_PROMETHEUS}{{canary="{canary.id}",job=~"(.+/)?{SERVICE}"}}'
    answer = ask.document(f"{url}/api/v1/query", {"query": query})
    return bool(answer.get("data", {}).get("result"))


def _find_log(canary: Canary, url: str) -> bool:
    now = time.time()
    query = {
        "query": f'{{service_name="{SERVICE}"}} |= "{canary.id}"',
        "start": str(int(now - 3600)),
        "end": str(int(now + 60)),
        "limit": "10",
    }
    answer = ask.document(f"{url}/loki/api/v1/query_range", query)
    streams = answer.get("data", {}).get("result") or []
    if streams and all(s["stream"].get("trace_id") != canary.trace_id for s in streams):
        raise Unreachable("Loki has the line, but without its trace id")
    return bool(streams)


def _find_span(canary: Canary, url: str) -> bool:
    try:
        answer = ask.document(f"{url}/api/traces/{canary.trace_id}")
    except Unreachable as error:
        if "answers 404" in str(error):  # a trace that Jaeger does not have
            return False
        raise
    return any(
        span["spanID"] == canary.span_id for t in answer["data"] or [] for span in t["spans"]
    )


_SENDERS: dict[Signal, Callable[[Canary, Door], bool]] = {
    "metric": _send_metric,
    "log": _send_log,
    "span": _send_span,
}
_FINDERS: dict[Signal, Callable[[Canary, str], bool]] = {
    "metric": _find_metric,
    "log": _find_log,
    "span": _find_span,
}
