"""Trace and request ids out of the attributes, column by column; ``correlate`` says what is one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..logrecords import Column, Records
from . import correlate as rules
from .parse import Found, Role, promoted


def identify(records: Records) -> Iterator[Records]:
    """The stage. What is no valid id stays an attribute as it was, and so does a span without its
    trace."""
    spelled = {name.lower(): name for name in records.columns if name.lower() in rules._INTERESTING}
    if not spelled:
        yield records
        return
    for part in promoted(records, _roles(spelled, _OF_TRACE)):
        if part.trace_id is None or part.span_id is not None:
            yield part
        else:
            yield from promoted(part, _roles(spelled, _OF_SPAN))


def _roles(spelled: dict[str, str], roles: tuple[Role, ...]) -> list[Role]:
    """``roles`` with the names as these records spell them."""
    return [
        role._replace(names=tuple(spelled[name] for name in role.names if name in spelled))
        for role in roles
    ]


def _hex(column: Column, digits: int) -> Found:
    values = column.values
    if column.kind is str and set(map(len, values)) == {digits} and _all_hex(values, digits // 2):
        return values
    return [rules.hex_id(value, digits) for value in values]


def _all_hex(values: Found, size: int) -> bool:
    """Whether the ``values`` are lowercase hex digits of ``size`` bytes each, none of them zero."""
    joined = "".join(values)  # type: ignore[arg-type]
    try:
        raw = bytes.fromhex(joined)
    except ValueError:
        return False
    # As many zero bytes in a row are rare, in one id or two: then they are looked at one by one.
    return len(raw) == size * len(values) and bytes(size) not in raw and joined == joined.lower()


def _put_trace(records: Records, found: Found) -> None:
    if records.trace_id is None:
        records.trace_id = found  # type: ignore[assignment]


def _put_span(records: Records, found: Found) -> None:
    if records.span_id is None:
        records.span_id = found  # type: ignore[assignment]


def _put_parent(records: Records, found: Found) -> None:
    records.trace_id, records.span_id = zip(*found, strict=True)


def _put_request(records: Records, found: Found) -> None:
    records.correlation_id = found  # type: ignore[assignment]


def _parents(column: Column) -> Found:
    return [rules.traceparent(value) for value in column.values]


def _requests(column: Column) -> Found:
    values = column.values
    if column.kind is str:
        joined = "\n".join(values)
        if _ALL_REQUESTS.fullmatch(joined) and joined.count("\n") == len(values) - 1:
            return values
    return [rules.correlation_id(value) for value in column.values]


def _decimal(column: Column, digits: int) -> Found:
    return [rules.hex_id(v, digits) or rules._datadog_id(v, digits) for v in column.values]


_ALL_REQUESTS = re.compile(rf"{rules._ID.pattern}(?:\n{rules._ID.pattern})*+")
_DATADOG_TRACE, _DATADOG_SPAN = ("dd.trace_id",), ("dd.span_id",)
_OF_TRACE = (
    Role(rules._PARENT, _parents, _put_parent),
    Role(rules._TRACE, lambda column: _hex(column, 32), _put_trace),
    Role(_DATADOG_TRACE, lambda column: _decimal(column, 32), _put_trace),
    Role(rules._CORRELATION, _requests, _put_request),
)
_OF_SPAN = (
    Role(rules._SPAN, lambda column: _hex(column, 16), _put_span),
    Role(_DATADOG_SPAN, lambda column: _decimal(column, 16), _put_span),
)
