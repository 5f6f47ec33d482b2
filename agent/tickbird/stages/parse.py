"""A line's text into fields: JSON of the usual loggers, logfmt, or plain text.

Formats taken: pino, winston, bunyan, structlog, python-json-logger and what resembles them. What
cannot be read as such stays the body, whole: a strange line is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..model import LogRecord
from . import Stage

MAX_DEPTH = 6
"""Levels of nesting that become dotted keys; what lies deeper is kept as JSON text."""
MAX_NESTING = 64
"""Brackets open at once in a line that is still parsed as JSON."""

_LEVELS = {
    "trace": 1, "silly": 1, "verbose": 5, "debug": 5, "info": 9, "information": 9, "http": 9,
    "notice": 10, "warn": 13, "warning": 13, "error": 17, "err": 17, "severe": 17, "critical": 21,
    "crit": 21, "fatal": 21, "alert": 22, "emergency": 24, "emerg": 24, "panic": 24,
}  # fmt: skip
_NODE_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
_PYTHON_LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}

_MESSAGE = ("msg", "message", "event", "@message")
_LEVEL = ("level", "severity", "levelname", "lvl", "log.level", "loglevel")
_TIME = ("time", "timestamp", "@timestamp", "ts", "asctime", "datetime", "date")
_STACK = (
    "err.stack", "error.stack", "error.stack_trace", "stack", "exc_info", "exception",
    "exception.stacktrace", "stack_info",
)  # fmt: skip

_LOGFMT = re.compile(r'([A-Za-z_@][\w.@/-]{0,127})=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?:\s+|$)')
_decode = msgspec.json.Decoder().decode


def parser(form: str) -> Stage:
    """The stage for ``logs.format``: ``json``, ``logfmt`` and ``plain`` say what lines are;
    anything else looks at each line."""
    if form == "plain":
        return lambda record: record

    def parse(record: LogRecord) -> LogRecord:
        text = record.body.lstrip()
        fields = None
        if form != "logfmt" and text.startswith("{"):
            fields = json_fields(text)
        elif form != "json" and "=" in text:
            fields = logfmt_fields(text)
        return record if fields is None else fill(record, fields)

    return parse


def json_fields(text: str) -> dict[str, Any] | None:
    """A JSON object with nested objects as dotted keys; None when it is not one, or too deep. Of
    a key that stands twice the last value counts, and the others go nowhere."""
    if text.count("{") + text.count("[") > MAX_NESTING and _nesting(text) > MAX_NESTING:
        return None
    try:
        value = _decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return dict(_flat(value, "", 1)) if isinstance(value, dict) else None


def logfmt_fields(text: str) -> dict[str, Any] | None:
    """``key=value key="quoted value"``; None unless the whole line is that."""
    fields: dict[str, Any] = {}
    position = 0
    for found in _LOGFMT.finditer(text):
        if found.start() != position:
            return None
        position = found.end()
        key, quoted, bare = found.groups()
        fields[key] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return fields if position == len(text.rstrip()) or position == len(text) else None


def fill(record: LogRecord, fields: dict[str, Any]) -> LogRecord:
    """Move message, level, time and stack trace out of ``fields``; the rest becomes attributes."""
    record.time_ns = _take_time(fields)
    _take_level(record, fields)
    message = _take(fields, _MESSAGE)
    stack = _take(fields, _STACK)
    record.body = "" if message is None else _text(message)
    if stack is not None and not isinstance(stack, bool):
        record.body = f"{record.body}\n{_text(stack)}".lstrip("\n")
    # What the reader knows stands first and cannot be forged by the line.
    record.attributes = {**record.attributes, **fields, **record.attributes}
    return record


def time_ns(value: object) -> int:
    """Unix nanoseconds of a time as loggers write it: ISO 8601 (UTC when it names no zone), or
    seconds, milliseconds, microseconds or nanoseconds by magnitude; 0 when it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # 1e11 seconds is the year 5138; 1e11 milliseconds is 1973.
    for limit, factor in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000), (9e18, 1)):
        if 0 < value < limit:
            return (
                value * factor if isinstance(value, int) else round(value * 1e6) * factor // 10**6
            )
    return 0


def _iso(text: str) -> int:
    try:
        when = datetime.fromisoformat(text.strip())
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        since = when - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return 0
    return max(0, ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000)


def _take_time(fields: dict[str, Any]) -> int:
    for key in _TIME:
        if key in fields and (found := time_ns(fields[key])):
            del fields[key]
            return found
    return 0


def _take_level(record: LogRecord, fields: dict[str, Any]) -> None:
    for key in _LEVEL:
        value = fields.get(key)
        if isinstance(value, str) and (number := _LEVELS.get(value.lower())):
            _set_level(record, number, value)
        elif isinstance(value, int) and (name := _NODE_LEVELS.get(value)):
            _set_level(record, _LEVELS[name], name)
        else:
            continue
        del fields[key]
        fields.pop("levelno", None)
        return
    if name := _PYTHON_LEVELS.get(_integer(fields.get("levelno"))):
        _set_level(record, _LEVELS[name], name)
        del fields["levelno"]


def _set_level(record: LogRecord, number: int, text: str) -> None:
    record.severity_number = number
    record.severity_text = text


def _integer(value: object) -> int:
    return value if isinstance(value, int) else -1


def _take(fields: dict[str, Any], keys: tuple[str, ...]) -> object | None:
    for key in keys:
        if fields.get(key) not in (None, ""):
            found: object = fields.pop(key)
            return found
    return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return msgspec.json.encode(value).decode()


def _flat(fields: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        name = prefix + key
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            yield from _flat(value, f"{name}.", depth + 1)
        elif isinstance(value, dict):
            yield name, msgspec.json.encode(value).decode()
        else:
            yield name, value


def _nesting(text: str) -> int:
    """An upper bound of how deep brackets nest: those inside strings are counted too."""
    deepest = depth = 0
    for character in text:
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest
