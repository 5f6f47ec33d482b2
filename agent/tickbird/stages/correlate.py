"""Trace and correlation IDs out of attributes, by the spellings in use; never invented.

Source of the rules: W3C Trace Context (lowercase hex, not all zero, version ff is invalid, version
00 has exactly 55 characters).
"""

from __future__ import annotations

import re

from ..model import LogRecord

_TRACE = (
    "trace_id", "traceid", "trace.id", "oteltraceid", "otel.trace_id", "dd.trace_id",
    "logging.googleapis.com/trace",
)  # fmt: skip
_SPAN = (
    "span_id", "spanid", "span.id", "otelspanid", "otel.span_id", "dd.span_id",
    "logging.googleapis.com/spanid",
)  # fmt: skip
_CORRELATION = (
    "correlation_id", "correlationid", "x-correlation-id", "x_correlation_id", "request_id",
    "requestid", "x-request-id", "x_request_id", "reqid", "req_id", "req.id", "request.id",
    "req.headers.x-request-id", "req.headers.x-correlation-id",
)  # fmt: skip
_PARENT = ("traceparent", "req.headers.traceparent", "headers.traceparent")
_INTERESTING = frozenset((*_TRACE, *_SPAN, *_CORRELATION, *_PARENT))

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def correlate(record: LogRecord) -> LogRecord:
    """Move valid IDs from the attributes into the record's own fields. What is no valid ID stays
    an attribute as it was."""
    names = {name.lower(): name for name in record.attributes if name.lower() in _INTERESTING}
    if not names:
        return record
    _take_parent(record, names)
    record.trace_id = record.trace_id or _take(record, names, _TRACE, 32)
    record.span_id = record.span_id or _take(record, names, _SPAN, 16)
    if record.trace_id is None:
        record.span_id = None  # a span means nothing without its trace
    for spelling in _CORRELATION:
        if spelling in names and (found := correlation_id(record.attributes[names[spelling]])):
            record.correlation_id = found
            del record.attributes[names[spelling]]
            break
    return record


def traceparent(value: object) -> tuple[str, str] | None:
    """Trace and span ID of a ``traceparent`` header; None when it is invalid."""
    found = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[4]):
        return None
    trace, span = hex_id(found[2], 32), hex_id(found[3], 16)
    return (trace, span) if trace and span else None


def hex_id(value: object, digits: int) -> str | None:
    """``value`` as an ID of so many hex digits; None when it is none or all zero."""
    if not isinstance(value, str):
        return None
    text = value.lower().rpartition("/")[2]
    if len(text) != digits or text.strip("0") == "" or text.strip("0123456789abcdef"):
        return None
    return text


def correlation_id(value: object) -> str | None:
    """``value`` when it may serve as a correlation ID: 1 to 128 letters, digits, dots, dashes and
    underscores."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _take_parent(record: LogRecord, names: dict[str, str]) -> None:
    for spelling in _PARENT:
        if spelling in names and (found := traceparent(record.attributes[names[spelling]])):
            record.trace_id, record.span_id = found
            del record.attributes[names[spelling]]
            return


def _take(
    record: LogRecord, names: dict[str, str], spellings: tuple[str, ...], digits: int
) -> str | None:
    for spelling in spellings:
        if spelling not in names:
            continue
        value = record.attributes[names[spelling]]
        found = hex_id(value, digits)
        if found is None and spelling.startswith("dd."):
            found = _datadog_id(value, digits)
        if found:
            del record.attributes[names[spelling]]
            return found
    return None


def _datadog_id(value: object, digits: int) -> str | None:
    """Datadog's tracers write 64-bit IDs in decimal."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return f"{number:0{digits}x}" if 0 < number < 2**64 else None
