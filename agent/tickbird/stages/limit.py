"""Caps below Loki's defaults, so that what the Collector accepts is not refused further on.

Source: Loki's limits_config defaults: 256 KB per line, 128 entries and 64 KB of structured
metadata, samples refused beyond one week of age or ten minutes into the future.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..model import LogRecord
from . import Drop

MAX_BODY = 240 * 1024
"""Bytes of UTF-8."""
MAX_ATTRIBUTES = 100
MAX_METADATA = 56 * 1024
"""Bytes of all keys and values; what the resource adds fits in between."""
MAX_AGE_NS = (7 * 24 - 1) * 3600 * 10**9
MAX_AHEAD_NS = 9 * 60 * 10**9

TRUNCATED = "tickbird.log.truncated"
STATED_TIME = "tickbird.log.time"
"""The time that a line states of itself, where it lies too far ahead to be believed."""


def limit(record: LogRecord) -> LogRecord | Drop:
    """Cut what is too large and say so; drop a line whose stated time is over a week ago."""
    if record.time_ns:
        ahead = record.time_ns - record.observed_ns
        if ahead < -MAX_AGE_NS:
            return Drop("too_old")
        if ahead > MAX_AHEAD_NS:
            stated = datetime.fromtimestamp(record.time_ns // 10**9, UTC)
            record.attributes[STATED_TIME] = stated.isoformat()
            record.time_ns = 0
    if len(record.body) > MAX_BODY // 4 and len(body := record.body.encode()) > MAX_BODY:
        record.body = body[:MAX_BODY].decode(errors="ignore")
        record.attributes[TRUNCATED] = True
    _limit_attributes(record)
    return record


def _limit_attributes(record: LogRecord) -> None:
    kept: dict[str, Any] = {}
    room = MAX_METADATA
    for key, value in record.attributes.items():
        if value is None:
            continue
        room -= len(key) + _size(value)
        if room < 0 or len(kept) >= MAX_ATTRIBUTES:
            break
        kept[key] = value
    absent = sum(value is None for value in record.attributes.values())
    record.dropped_attributes = len(record.attributes) - absent - len(kept)
    record.attributes = kept


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(_size(one) for one in value) + 2 * len(value)
    if isinstance(value, dict):
        return sum(len(key) + _size(one) for key, one in value.items())
    return 20
