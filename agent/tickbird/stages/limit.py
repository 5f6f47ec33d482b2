"""Caps below Loki's defaults, so that what the Collector accepts is not refused further on.

Source: Loki's limits_config defaults: 256 KB per line, 128 entries and 64 KB of structured
metadata, samples refused beyond one week of age or ten minutes into the future.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ..logrecords import Column, Records

MAX_BODY = 240 * 1024
"""Bytes of UTF-8."""
MAX_ATTRIBUTES = 100
MAX_METADATA = 56 * 1024
"""Bytes of all keys and values; what the resource adds fits in between."""
MAX_AGE_NS = (7 * 24 - 1) * 3600 * 10**9
MAX_AHEAD_NS = 9 * 60 * 10**9

TRUNCATED = "tickbird.log.truncated"
STATED_TIME = "tickbird.log.time"
"""The time that a line states of itself, where that is too old or too far ahead to be taken."""


def limit(records: Records, observed_ns: int, longest: int) -> Iterator[Records]:
    """Cut what is too large, give up times that would be refused, and say so. ``longest``: bytes of
    the longest line."""
    for part in _limit_time(records, observed_ns):
        _limit_body(part, longest)
        _limit_attributes(part, longest)
        yield part


def _limit_time(records: Records, observed_ns: int) -> Iterator[Records]:
    """What lies outside gets the time at which it was read, and keeps its own as an attribute."""
    times = records.time_ns
    oldest, latest = observed_ns - MAX_AGE_NS, observed_ns + MAX_AHEAD_NS
    if times and (min(times) < oldest or max(times) > latest):
        outside, records = records.split([not oldest <= time <= latest for time in times])
        stated = [_written(time) for time in outside.time_ns or ()]
        outside.columns[STATED_TIME] = Column(stated)
        outside.time_ns = None
        yield outside
    if len(records):
        yield records


def _written(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat()


def _limit_body(records: Records, longest: int) -> None:
    body = records.body
    if body is None or longest <= MAX_BODY // 4:
        return
    cut = [_cut(one) for one in body]
    if any(one is not None for one in cut):
        records.body = [was if one is None else one for was, one in zip(body, cut, strict=True)]
        records.columns[TRUNCATED] = Column([None if one is None else True for one in cut])


def _cut(text: str) -> str | None:
    raw = text.encode(errors="replace")
    return raw[:MAX_BODY].decode(errors="ignore") if len(raw) > MAX_BODY else None


def _limit_attributes(records: Records, longest: int) -> None:
    """At most ``MAX_ATTRIBUTES`` attributes and ``MAX_METADATA`` bytes: the first that fit."""
    columns = records.columns
    # Decoded text is never longer than the line, but names of nested objects repeat.
    bound = longest + sum(map(len, columns)) + 20 * len(columns)
    if len(columns) <= MAX_ATTRIBUTES and bound <= MAX_METADATA:
        return
    room = [MAX_METADATA] * len(records)
    kept, dropped = [0] * len(records), [0] * len(records)
    for name, column in list(columns.items()):
        values = list(column.values)
        for index, value in enumerate(values):
            if value is None:
                continue
            room[index] -= len(name) + _size(value)
            if room[index] < 0 or kept[index] >= MAX_ATTRIBUTES:
                room[index] = -1
                dropped[index] += 1
                values[index] = None
            else:
                kept[index] += 1
        columns[name] = Column(values)
    if any(dropped):
        records.dropped_attributes = dropped


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(_size(one) for one in value) + 2 * len(value)
    if isinstance(value, dict):
        return sum(len(key) + _size(one) for key, one in value.items())
    return 20
