"""The same three keys on every log line: trace_id, span_id (hex, as W3C has them), correlation_id.

For structlog, a processor; for the standard library's logging, a python-json-logger formatter.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from pythonjsonlogger.json import JsonFormatter as _JsonFormatter

from .context import correlation_id


def correlation() -> dict[str, str]:
    """The keys of the request at hand; those that are not known are left out."""
    from opentelemetry import trace

    keys = {}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        keys["trace_id"] = trace.format_trace_id(span.trace_id)
        keys["span_id"] = trace.format_span_id(span.span_id)
    if (bound := correlation_id()) is not None:
        keys["correlation_id"] = bound
    return keys


def add_correlation(
    logger: Any,  # noqa: ARG001 - structlog's signature of a processor
    method: str,  # noqa: ARG001
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """structlog processor; keys that the event has already are kept."""
    for key, value in correlation().items():
        event.setdefault(key, value)
    return event


class JsonFormatter(_JsonFormatter):
    """python-json-logger's formatter with the same keys, for logging's dictConfig."""

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        for key, value in correlation().items():
            log_data.setdefault(key, value)
