"""Times as loggers write them, to Unix nanoseconds.

A time that names no zone is one of this machine's zone: the service that wrote it runs here.
"""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache

_ZONE = r"(?P<zone>Z|z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)?"
_FRACTION = r"(?:[.,](?P<fraction>\d{1,9})\d*+)?"
_ISO = re.compile(
    r"(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)"
    rf"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d){_FRACTION})?\ ?{_ZONE})?"
)
_BASIC = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[Tt](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
    rf"{_FRACTION}{_ZONE}"
)
_CLF = re.compile(
    r"(?P<day>\d\d)/(?P<name>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<hour>\d\d):(?P<minute>\d\d)"
    rf":(?P<second>\d\d){_FRACTION}(?:\ {_ZONE})?"
)
_MAIL = re.compile(
    r"(?:[A-Z][a-z]{2},\ )?(?P<day>\d{1,2})\ (?P<name>[A-Z][a-z]{2})\ (?P<year>\d{4})"
    rf"\ (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d){_FRACTION}(?:\ {_ZONE})?"
)
_FORMS = (_ISO, _CLF, _BASIC, _MAIL)
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}

MOST_NS = 2**63 - 1
"""The last time that readers of OTLP in signed integers know: the year 2262."""


def time_ns(value: object) -> int:
    """Unix nanoseconds; 0 when ``value`` is no time or none after 1970. Taken are ISO 8601 and RFC
    3339 with ``T`` or a space, ``.`` or ``,``, with or without a zone; the Common Log Format's; RFC
    5322's; numbers (or digits) of seconds, milli-, micro- or nanoseconds, told by magnitude."""
    if isinstance(value, str):
        text = value.strip()
        for form in _FORMS:
            if found := form.fullmatch(text):
                return _of_match(found)
        if not text.isascii():
            return 0
        try:
            value = int(text) if text.isdigit() else float(text)
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # 1e11 seconds is the year 5138; 1e11 milliseconds is 1973.
    for limit, factor in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (MOST_NS, 1)):
        if 0 < value < limit:
            whole = int(value)
            return min(MOST_NS, whole * factor + round((value - whole) * 1e6) * factor // 10**6)
    return 0


def _of_match(found: re.Match[str]) -> int:
    named = found.groupdict()
    month = _MONTHS.get(named["name"], 0) if "name" in named else int(named["month"])
    parts = (int(named["year"]), month, int(named["day"]))
    clock = (int(named["hour"] or 0), int(named["minute"] or 0))
    zone = named["zone"]
    minute = _minute(*parts, *clock, None if zone is None else _offset(zone))
    second = int(named["second"] or 0)
    if minute is None or second > 60:  # 60 is a leap second: the second that follows it
        return 0
    fraction = int((named["fraction"] or "").ljust(9, "0"))
    return min(MOST_NS, max(0, (minute + second) * 10**9 + fraction))


@lru_cache(512)
def _minute(  # noqa: PLR0917 - the parts of a date
    year: int, month: int, day: int, hour: int, minute: int, offset: int | None
) -> int | None:
    """Unix seconds of a minute, kept since consecutive lines share it; None when there is no such
    minute. ``offset``: seconds east of UTC, None for this machine's zone."""
    if not (year and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60):
        return None
    if day > calendar.monthrange(year, month)[1]:
        return None
    if offset is not None:
        return calendar.timegm((year, month, day, hour, minute, 0)) - offset
    try:
        return int(time.mktime((year, month, day, hour, minute, 0, 0, 0, -1)))
    except (OverflowError, ValueError):
        return None


@lru_cache(64)
def _offset(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[0] == "-" else seconds
