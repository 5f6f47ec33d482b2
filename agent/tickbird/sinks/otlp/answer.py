"""What an answer of the Collector means. Pure: nothing here waits or sends.

Source: the OTLP/HTTP part of the OpenTelemetry protocol specification (response codes, partial
success, ``Retry-After``).
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import Enum, auto

import msgspec

MAX_RETRY_AFTER = 300.0
MAX_DETAIL = 200


class Verdict(Enum):
    """What an answer asks the sender to do with the payload."""

    ACCEPTED = auto()
    RETRY = auto()
    HOLD = auto()
    """Retry slowly: a person has to act (credentials)."""
    SPLIT = auto()
    """Send it in parts; a part of one item is refused."""
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """A verdict with what belongs to it. ``reason`` names a refusal in the ledger; ``detail`` is
    one bounded line for people; ``retry_after`` is in seconds."""

    verdict: Verdict
    detail: str = ""
    reason: str = ""
    rejected: int = 0
    retry_after: float | None = None


def classify(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
    """What the specification makes of an answer. ``now`` (Unix seconds) is what a ``Retry-After``
    date counts from. A redirect or a page that is no OTLP comes from something other than the
    Collector, so the data is kept and tried again; redirects are never followed, since the
    credentials would go along."""
    if 200 <= status < 300:
        return _success(headers.get("content-type", ""), body)
    text = body.decode(errors="replace")
    detail = f"HTTP {status} {one_line(text)}" if text else f"HTTP {status}"
    if status in (429, 502, 503, 504):
        wait = retry_after(headers.get("retry-after"), now)
        return Reply(Verdict.RETRY, detail, retry_after=wait)
    if status < 400:
        return Reply(Verdict.RETRY, f"HTTP {status}: redirects are not followed")
    verdict, reason = {
        400: (Verdict.SPLIT, "bad_request"),
        401: (Verdict.HOLD, ""),
        403: (Verdict.HOLD, ""),
        413: (Verdict.SPLIT, "too_large"),
    }.get(status, (Verdict.REFUSED, f"http_{status}"))
    return Reply(verdict, detail, reason)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds asked for by a ``Retry-After`` header (seconds or a date), 0 to 300; None if absent
    or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rare

        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _success(content_type: str, body: bytes) -> Reply:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            rejected, message = _partial_json(body)
        elif kind == "application/x-protobuf" or (not body and kind != "text/html"):
            rejected, message = _partial_protobuf(body)
        else:
            return Reply(Verdict.RETRY, f"the answer is {kind or 'untyped'}, not OTLP")
    except ValueError:
        return Reply(Verdict.RETRY, "the answer is not OTLP: it cannot be read")
    detail = one_line(message) if message else ""
    return Reply(Verdict.ACCEPTED, detail, rejected=max(0, rejected))


def _partial_protobuf(body: bytes) -> tuple[int, str]:
    if not body:
        return 0, ""
    # Protobuf costs 60 ms to import, and an empty answer, as most are, needs none of it.
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2  # noqa: PLC0415

    # The answers of all three signals have the same fields on the wire.
    try:
        partial = logs_service_pb2.ExportLogsServiceResponse.FromString(body).partial_success
    except DecodeError as error:
        raise ValueError from error
    return partial.rejected_log_records, partial.error_message


def _partial_json(body: bytes) -> tuple[int, str]:
    partial = msgspec.json.decode(body or b"{}", type=dict[str, dict[str, str | int]])
    fields = partial.get("partialSuccess", {})
    rejected = next((n for key, n in fields.items() if key.startswith("rejected")), 0)
    return int(rejected), str(fields.get("errorMessage", ""))


def one_line(cause: object) -> str:
    """One bounded line for people, free of control characters."""
    text = str(cause) or type(cause).__name__
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        text = cause.strerror
    return "".join(c if c.isprintable() else " " for c in text[:MAX_DETAIL]).strip()
