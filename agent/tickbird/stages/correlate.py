"""Trace, span and request ids out of the attributes, by the spellings in use; never invented.

Source of the rules: W3C Trace Context (lowercase hex, not all zero, version ff is invalid, version
00 has exactly 55 characters), with upper case taken for lower where a logger wrote an id by itself.
What is no valid id stays an attribute as it was, and so does a span without its trace. Costs about
half a microsecond for a record that has a trace, a span and a request id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..logrecords import Column, Records
from .parse import Found, Role, promoted

_PLACES = (
    "", "req.", "request.", "req.headers.", "request.headers.", "headers.", "http.request.header.",
    "ctx.", "context.", "mdc.", "extra.", "meta.", "metadata.", "labels.", "fields.", "otel.",
    "trace.", "span.", "spancontext.", "span_context.", "properties.", "res.headers.",
)  # fmt: skip
"""Objects of a line whose ids are the line's own, those that say more first."""
_TRACE = ("traceid", "trace.id", "oteltraceid", "logging.googleapis.com/trace")
_SPAN = ("spanid", "span.id", "otelspanid", "logging.googleapis.com/spanid")
_FLAGS = ("traceflags", "trace.flags", "oteltraceflags")
_REQUEST = (
    "correlationid", "xcorrelationid", "requestid", "xrequestid", "reqid", "req.id", "request.id",
    "correlation.id",
)  # fmt: skip
_PARENT = ("traceparent",)
_DATADOG_TRACE, _DATADOG_SPAN = ("dd.traceid",), ("dd.spanid",)

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IDS = re.compile(rf"{_ID.pattern}(?:\n{_ID.pattern})*+")
_REMEMBERED = 4096


class Parent(NamedTuple):
    """What a ``traceparent`` says: ids in hex, flags as a number."""

    trace_id: str
    span_id: str
    flags: int


def identify(records: Records) -> Iterator[Records]:
    """The stage. It gives parts of which all records have an id, or none has."""
    spelled = sorted((*place, name) for name in records.columns if (place := _PLACE[name]))
    if not spelled:
        yield records
        return
    roles = {role: [name for r, _, name in spelled if r == role] for role, _, _ in spelled}
    of_trace = [_ROLES[role]._replace(names=tuple(roles[role])) for role in roles if role < _FIRST]
    of_span = [_ROLES[role]._replace(names=tuple(roles[role])) for role in roles if role >= _FIRST]
    for part in promoted(records, of_trace):
        if part.trace_id is None:
            yield part
        else:
            yield from promoted(part, of_span)


def put_correlation_id(records: Records, ids: Sequence[str]) -> None:
    """Give ``records`` their ids. An attribute of that name, which was no id, goes: the id becomes
    one, and OTLP takes each key once."""
    records.columns.pop("correlation_id", None)
    records.correlation_id = ids


def names_request(name: str) -> bool:
    """Whether an attribute of this name bears a request or correlation id."""
    place = _PLACE[name]
    return place is not None and _ROLES[place[0]].convert is _requests


def traceparent(value: object) -> Parent | None:
    """What a ``traceparent`` header says; None when it is invalid."""
    found = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace, span = hex_id(found[2], 32), hex_id(found[3], 16)
    return Parent(trace, span, int(found[4], 16)) if trace and span else None


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
    underscores. A list of one, as headers are told by the semantic conventions, is its value."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def datadog_id(value: object, digits: int) -> str | None:
    """Datadog's tracers write 64-bit IDs in decimal, and whole ones in hex."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return hex_id(value, digits)
    number = int(text)
    return f"{number:0{digits}x}" if 0 < number < 2**64 else hex_id(value, digits)


def _parents(column: Column) -> Found:
    return [traceparent(v[0] if type(v) is list and len(v) == 1 else v) for v in column.values]


def _hex(column: Column, digits: int) -> Found:
    values = column.values
    if column.kind is str and set(map(len, values)) == {digits} and _all_hex(values, digits // 2):
        return values
    return [hex_id(value, digits) for value in values]


def _all_hex(values: Found, size: int) -> bool:
    """Whether the ``values`` are lowercase hex digits of ``size`` bytes each, none of them zero."""
    joined = "".join(values)  # type: ignore[arg-type]
    try:
        raw = bytes.fromhex(joined)
    except ValueError:
        return False
    # As many zero bytes in a row are rare, in one id or two: then they are looked at one by one.
    return len(raw) == size * len(values) and bytes(size) not in raw and joined == joined.lower()


def _requests(column: Column) -> Found:
    values = column.values
    if column.kind is str:
        joined = "\n".join(values)
        if _IDS.fullmatch(joined) and joined.count("\n") == len(values) - 1:
            return values
    return [correlation_id(value) for value in values]


def _flags(column: Column) -> Found:
    return [_flag(value) for value in column.values]


def _flag(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{2}", value):
        return int(value, 16)
    return value if type(value) is int and 0 <= value <= 255 else None


def _put_trace(records: Records, found: Found) -> None:
    if records.trace_id is None:
        records.trace_id = found  # type: ignore[assignment]


def _put_span(records: Records, found: Found) -> None:
    if records.span_id is None:
        records.span_id = found  # type: ignore[assignment]


def _put_flags(records: Records, found: Found) -> None:
    if records.trace_flags is None:
        records.trace_flags = found  # type: ignore[assignment]


def _put_parent(records: Records, found: Found) -> None:
    records.trace_id, records.span_id, records.trace_flags = zip(*found, strict=True)


def _put_request(records: Records, found: Found) -> None:
    put_correlation_id(records, found)  # type: ignore[arg-type]


_ROLES = (
    Role(_PARENT, _parents, _put_parent),
    Role(_TRACE, lambda column: _hex(column, 32), _put_trace),
    Role(_DATADOG_TRACE, lambda column: [datadog_id(v, 32) for v in column.values], _put_trace),
    Role(_REQUEST, _requests, _put_request),
    Role(_SPAN, lambda column: _hex(column, 16), _put_span),
    Role(_DATADOG_SPAN, lambda column: [datadog_id(v, 16) for v in column.values], _put_span),
    Role(_FLAGS, _flags, _put_flags),
)
_FIRST = 4
"""From here on, roles mean nothing without a trace."""


def _places() -> Iterator[tuple[str, tuple[int, int]]]:
    """Plain name to role and rank among the names of that role, the first that counts last."""
    for role, (names, _, _) in enumerate(_ROLES):
        ranked = [_plain(place) + name for place in _PLACES for name in names]
        yield from reversed([(name, (role, rank)) for rank, name in enumerate(ranked)])


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


_KNOWN = dict(_places())


class _Places(dict[str, tuple[int, int] | None]):
    """Role and rank of an attribute's name; None for one that bears no id."""

    def __missing__(self, name: str) -> tuple[int, int] | None:
        place = _KNOWN.get(_plain(name))
        if len(self) < _REMEMBERED:
            self[name] = place
        return place


_PLACE = _Places()
