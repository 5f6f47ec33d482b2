"""What every record has (message, severity, time, stack trace), taken out of the attributes by the
keys that loggers use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..logrecords import Column, Records, Severity
from .formats import keys
from .formats.severity import python_severity, severity
from .formats.times import MOST_NS, time_ns
from .shape import json_text

ENVELOPE_TIME = "tickbird.log.envelope.time"
"""The time that a container's runtime noted, for lines that state none."""
Found = Sequence[Any | None]


class Role(NamedTuple):
    """What a record has once: ``convert`` gives, for every value under one of ``names``, what it
    means or None; ``put`` takes the meanings into the records. The first name counts under which
    there is one."""

    names: tuple[str, ...]
    convert: Callable[[Column], Found]
    put: Callable[[Records, Found], None]


def promoted(records: Records, roles: Sequence[Role]) -> Iterator[Records]:
    """``records`` with their roles filled; what has no meaning stays an attribute. Split where a
    name has one in some of the records only."""
    for place, (names, convert, put) in enumerate(roles):
        for name in names:
            column = records.columns.get(name)
            if column is None:
                continue
            found = convert(column)
            absent = found.count(None)
            if absent == 0:
                del records.columns[name]
                put(records, found)
                break
            if absent < len(found):
                for part in records.split([one is not None for one in found]):
                    yield from promoted(part, roles[place:])
                return
    yield records


def parse(records: Records) -> Iterator[Records]:
    """The stage: message, severity, time and stack trace out of the attributes."""
    for part in promoted(records, _ROLES):
        part.columns.pop(ENVELOPE_TIME, None)
        yield part


def _times(column: Column) -> Found:
    values = column.values
    if column.kind is int:
        least, most = min(values), max(values)
        for low, high, factor in _RANGES:
            if low <= least and most < high:
                return [value * factor for value in values]
    if column.kind is str:
        return [_iso(value) or time_ns(value) or None for value in values]
    return [time_ns(value) or None for value in values]


# 1e11 seconds is the year 5138; 1e11 milliseconds is 1973.
_RANGES = (
    (10**11, 10**14, 10**6), (10**14, 10**17, 10**3), (1, 10**11, 10**9), (10**17, MOST_NS, 1),
)  # fmt: skip


def _iso(text: str) -> int:
    """``2026-01-02T03:04:05.123456Z`` and shorter; 0 for what has to be looked at more closely."""
    if len(text) > 27 or text[-1:] != "Z" or text[10:11] != "T":
        return 0
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0
    return round(seconds * 1e6) * 1000 if seconds > 0 else 0


class _Known(dict[Any, Severity | None]):
    """Severities of values of one type; of different types, ``True`` would be 1."""

    def __missing__(self, value: Any) -> Severity | None:
        found = severity(value)
        if len(self) < 256:
            self[value] = found
        return found


_OF_WORDS, _OF_NUMBERS = _Known(), _Known()


def _severities(column: Column) -> Found:
    if column.kind is str:
        return list(map(_OF_WORDS.__getitem__, column.values))
    if column.kind is int:
        return list(map(_OF_NUMBERS.__getitem__, column.values))
    return [severity(value) for value in column.values]


def _python_severities(column: Column) -> Found:
    return [python_severity(value) for value in column.values]


def _texts(column: Column) -> Found:
    if column.kind is str and "" not in column.values:
        return column.values
    return [None if value in (None, "") else _text(value) for value in column.values]


def _stacks(column: Column) -> Found:
    if column.kind is str:
        return _texts(column)
    return [
        None if isinstance(value, bool) or value in (None, "") else _text(value)
        for value in column.values
    ]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return json_text(value)


def _put_time(records: Records, found: Found) -> None:
    records.time_ns = found  # type: ignore[assignment]


def _put_severity(records: Records, found: Found) -> None:
    if records.severity is None:
        records.severity = found  # type: ignore[assignment]


def _put_body(records: Records, found: Found) -> None:
    records.body = found  # type: ignore[assignment]


def _put_stack(records: Records, found: Found) -> None:
    if records.body is None:
        records.body = found  # type: ignore[assignment]
    else:
        records.body = [f"{b}\n{s}" for b, s in zip(records.body, found, strict=True)]


_ROLES = (
    Role((*keys.TIME, ENVELOPE_TIME), _times, _put_time),
    Role(keys.LEVEL, _severities, _put_severity),
    Role(keys.PYTHON_LEVEL, _python_severities, _put_severity),
    Role(keys.MESSAGE, _texts, _put_body),
    Role(keys.STACK, _stacks, _put_stack),
)
