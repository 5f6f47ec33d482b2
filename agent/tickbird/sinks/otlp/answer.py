"""What an answer of the Collector means. Pure: nothing here waits or sends.

Source: the OTLP/HTTP part of the OpenTelemetry protocol specification (response codes, partial
success, ``Retry-After``).
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import Enum, auto

import msgspec

MAX_RETRY_AFTER = 300.0
MAX_DETAIL = 200
CREDENTIALS = "correct collector.headers in the configuration, or the files that they come from"


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
    one bounded line for people, and ``remedy`` what they can do; ``retry_after`` is in seconds;
    ``slow``: the whole request was sent, and no answer came in time."""

    verdict: Verdict
    detail: str = ""
    reason: str = ""
    rejected: int = 0
    retry_after: float | None = None
    remedy: str = ""
    slow: bool = False


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    retried: Collection[int] = (),
) -> Reply:
    """What the specification makes of an answer. ``now`` (Unix seconds) is what a ``Retry-After``
    date counts from; ``retried`` are statuses to be tried again, though the specification calls
    them final. A redirect or a web page comes from something other than the Collector, so the data
    is kept and tried again; redirects are never followed, since the credentials would go along."""
    if 200 <= status < 300:
        return _success(headers.get("content-type", ""), body)
    text = body.decode(errors="replace")
    detail = f"HTTP {status} {one_line(text)}" if text else f"HTTP {status}"
    if status in (429, 502, 503, 504) or status in retried:
        wait = retry_after(headers.get("retry-after"), now)
        return Reply(Verdict.RETRY, detail, retry_after=wait)
    if status < 400:
        remedy = "correct collector.endpoint in the configuration"
        return Reply(Verdict.RETRY, f"HTTP {status}: redirects are not followed", remedy=remedy)
    if status in (401, 403):
        return Reply(Verdict.HOLD, detail, remedy=CREDENTIALS)
    verdict, reason = {
        400: (Verdict.SPLIT, "bad_request"),
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
    """Accepted, unless it is clear that no Collector said so: many a receiver answers with a word
    of its own, or says nothing of its kind, and means yes."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/html" or body[:1] == b"<":
        return Reply(Verdict.RETRY, "the answer is a web page, not OTLP")
    try:
        if body.lstrip()[:1] == b"{" or (body and kind == "application/json"):
            rejected, message = _partial_json(body)
        elif kind == "application/x-protobuf":
            rejected, message = _partial_protobuf(body)
        else:
            return Reply(Verdict.ACCEPTED)
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
    partial = msgspec.json.decode(body, type=_Answer).partial or {}
    rejected = next((n for key, n in partial.items() if key.startswith("rejected")), 0)
    return int(rejected or 0), str(partial.get("errorMessage") or "")


class _Answer(msgspec.Struct):
    partial: dict[str, str | int | None] | None = msgspec.field(name="partialSuccess", default=None)


def one_line(cause: object) -> str:
    """One bounded line for people, free of control characters."""
    text = str(cause) or type(cause).__name__
    if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
        text = cause.strerror
    return "".join(c if c.isprintable() else " " for c in text[:MAX_DETAIL]).strip()
