"""Stalls as log records: one for each, with its cause and culprit, beside the service's own lines.

They are events of the agent's, no lines of a file, so the ledger of lines does not count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import __version__
from .health import words
from .health.stalls import why
from .model import Stall, Target
from .recorder import Recorder
from .sinks.otlp.delivery import Lane, Payload

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

EVENT = "tickbird.eventloop.stall"
_WARN = 13
"""SEVERITY_NUMBER_WARN of the protocol."""


class StallLog:
    """Sends what ``recorder`` has settled; not thread-safe. A stall that finds no room in the queue
    is lost: the recorder and the metrics have it."""

    def __init__(self, recorder: Recorder, lane: Lane) -> None:
        self._recorder = recorder
        self._lane = lane

    def send(self, now: float) -> None:
        for target, stalls in self._recorder.settled(now):
            self._lane.offer(Payload(encode(target, stalls, now), len(stalls)))


def encode(target: Target, stalls: Iterable[Stall], now: float) -> bytes:
    """An ExportLogsServiceRequest; ``now`` in Unix seconds."""
    from opentelemetry.proto.collector.logs.v1 import (  # noqa: PLC0415 - for the first stall
        logs_service_pb2,
    )

    request = logs_service_pb2.ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    _put(resource.resource.attributes, target.attributes.items())
    scope = resource.scope_logs.add()
    scope.scope.name, scope.scope.version = "tickbird", __version__
    for stall in stalls:
        _fill(scope.log_records.add(), stall, now)
    encoded: bytes = request.SerializeToString()
    return encoded


def _fill(record: LogRecord, stall: Stall, now: float) -> None:
    record.time_unix_nano = int(stall.start * 1e9)
    record.observed_time_unix_nano = int(now * 1e9)
    record.severity_number, record.severity_text = _WARN, "WARN"  # type: ignore[assignment]
    lasted = words.seconds(stall.duration)
    record.body.string_value = f"the event loop was blocked for {lasted}{why(stall)}"
    record.event_name = EVENT
    _put(record.attributes, attributes(stall))


def attributes(stall: Stall) -> Iterator[tuple[str, Any]]:
    """Names of the conventions for code; what is not known is left out."""
    culprit, evidence = stall.culprit or {}, stall.evidence or {}
    found = {
        "event.name": EVENT,
        "tickbird.eventloop.method": stall.method,
        "tickbird.eventloop.blocked.duration": stall.duration,
        "tickbird.eventloop.cause": stall.cause or "unknown",
        "tickbird.eventloop.certainty": stall.certainty,
        "tickbird.eventloop.call": evidence.get("call"),
        "tickbird.eventloop.path": evidence.get("path"),
        "code.function.name": culprit.get("function"),
        "code.file.path": culprit.get("file"),
        "code.line.number": culprit.get("line"),
        "code.stacktrace": "\n".join(culprit.get("stack") or ()) or None,
    }
    return ((name, value) for name, value in found.items() if value is not None)


def _put(into: Any, pairs: Iterable[tuple[str, Any]]) -> None:
    for name, value in pairs:
        told = into.add(key=name).value
        if isinstance(value, int):
            told.int_value = value
        elif isinstance(value, float):
            told.double_value = value
        else:
            told.string_value = str(value)
