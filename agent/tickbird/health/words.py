"""Numbers as people say them."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds(value: float) -> str:
    """``850 µs``, ``12 ms``, ``1.4 s``, ``3 min``, ``2.5 h``."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.{0 if value >= 0.01 else 1}f} ms"
    if value < 120:
        return f"{_short(value)} s"
    return f"{_short(value / 60)} min" if value < 7_200 else f"{_short(value / 3_600)} h"


def size(value: float) -> str:
    """Bytes in decimal units: ``640 B``, ``12 kB``, ``84 MB``, ``1.2 GB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{_short(value / scale)} {unit}"
    return f"{value:.0f} B"


def share(value: float) -> str:
    """A ratio as per cent: ``0.31 %``, ``8.2 %``, ``97 %``."""
    percent = value * 100
    if percent == 0 or percent >= 10:
        return f"{percent:.0f} %"
    return f"{percent:.{1 if percent >= 1 else 2}f} %"


def count(number: int, thing: str, many: str | None = None) -> str:
    """``1 stall``, ``12,000 stalls``."""
    return f"{number:,} {thing if number == 1 else many or thing + 's'}"


def clock(at: float) -> str:
    """Time of day in UTC: ``14:03:22Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")


def route(method: str, path: str | None) -> str:
    return printable(f"{method} {path}" if path else f"{method} (the framework gave no route)")


def printable(text: str) -> str:
    """Without control characters: a route's name must not steer the reader's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
