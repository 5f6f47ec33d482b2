"""Levels as loggers write them, to OpenTelemetry's severity numbers 1..24.

Source: the mappings in the appendix of OpenTelemetry's logs data model; where a logger has finer
steps than it, the steps between.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Severity(NamedTuple):
    """``text`` is the level as the line has it, or the name behind its number."""

    number: int
    text: str


NAMES = {
    "trace": 1, "silly": 1, "finest": 1, "verbose": 5, "debug": 5, "fine": 5, "info": 9,
    "information": 9, "informational": 9, "http": 9, "log": 9, "notice": 10, "success": 10,
    "warn": 13, "warning": 13, "error": 17, "err": 17, "severe": 17, "fail": 17, "critical": 21,
    "crit": 21, "fatal": 21, "alert": 22, "emergency": 24, "emerg": 24, "panic": 24,
}  # fmt: skip

_STEPS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
"""pino and bunyan; a level of one's own lies above the next lower one."""
_SYSLOG = dict(enumerate(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")))
"""RFC 5424, and GELF after it."""
_PYTHON = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def severity(value: object) -> Severity | None:
    """The severity that ``value`` names: a word in any case, also with colours around it, or the
    number of pino, bunyan (10 to 69) or syslog (0 to 7), also in digits. None for what is none."""
    if isinstance(value, str):
        text = value
        if "\x1b" in value:
            text = _COLOUR.sub("", value[:64])
        if number := NAMES.get(text.lower()):
            return Severity(number, text)
        value = int(text) if len(text) <= 2 and text.isascii() and text.isdigit() else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    name = _SYSLOG.get(value) or _STEPS.get(value - value % 10)
    return Severity(NAMES[name] + (value >= 10 and value % 10 > 0), name) if name else None


def python_severity(value: object) -> Severity | None:
    """Of the ``levelno`` of Python's logging, 1 to 59: a level of one's own lies above the next
    lower one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 60:
        return None
    name = _PYTHON.get(value - value % 10, "trace")
    return Severity(NAMES[name] + (value % 10 > 0), name)
