"""One short line per target, for a person who watches ``tickbird run`` in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..clock import Clock, Ticker

INTERVAL = 10.0
"""Seconds between two rounds of lines."""


class Console:
    """Calls ``say`` with the lines of ``report`` every ``INTERVAL``; ``report`` gives a document of
    docs/json.md over the seconds that it is asked for."""

    def __init__(
        self,
        report: Callable[[float], Mapping[str, Any]],
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._report = report
        self._say = say
        self._ticker = Ticker(clock, INTERVAL)
        self._ticker.due += INTERVAL

    def poll(self, now: float) -> None:
        """Say what there is to say when its time has come; ``now`` is monotonic."""
        if not self._ticker.is_due(now):
            return
        self._ticker.advance(now)
        for entry in self._report(INTERVAL)["targets"]:
            self._say(line(entry))
            for worker in entry["workers"]:
                self._say(line(worker))


def line(entry: Mapping[str, Any]) -> str:
    """``checkout  cpu 12%  rss 85MB  loop p99 1.2ms max 310ms  req 120 err 8.3%  logs 1200``; what
    is not known is left out, and an ongoing stall stands first."""
    parts = [
        *_stalled(entry["loop"]),
        *_shown("cpu", entry["cpu"]["utilization"], _share),
        *_shown("rss", entry["memory"]["rss_bytes"], lambda value: f"{value / 1e6:.0f}MB"),
        *_loop(entry["loop"]),
        *_http(entry["http"]),
        *_logs(entry["logs"]),
    ]
    return f"{entry['key']:<16} " + ("  ".join(parts) if parts else "nothing measured yet")


def _shown(name: str, value: float | None, form: Callable[[float], str]) -> list[str]:
    return [] if value is None else [f"{name} {form(value)}"]


def _stalled(loop: Mapping[str, Any] | None) -> list[str]:
    ongoing = [stall for stall in loop["stalls"] if stall["ongoing"]] if loop else []
    return [f"BLOCKED for {_time(ongoing[-1]['duration_seconds'])}"] if ongoing else []


def _loop(loop: Mapping[str, Any] | None) -> list[str]:
    if loop is None or (delay := loop["delay_seconds"])["p99"] is None:
        return []
    mark = "" if loop["exact"] else "~"
    return [f"loop p99 {mark}{_time(delay['p99'])} max {mark}{_time(delay['max'])}"]


def _http(http: Mapping[str, Any] | None) -> list[str]:
    if http is None or not http["requests"]:
        return []
    p99 = http["duration_seconds"]["p99"]
    return [f"req {http['requests']} err {_share(http['error_ratio'])} p99 {_time(p99)}"]


def _logs(logs: Mapping[str, Any] | None) -> list[str]:
    if logs is None:
        return []
    lost = sum(logs["refused"].values()) + sum(logs["dropped"].values())
    return [f"logs {logs['read']} ({logs['queued']} queued{f', {lost} lost' if lost else ''})"]


def _share(value: float) -> str:
    return f"{value * 100:.{0 if value >= 0.1 or not value else 1}f}%"


def _time(value: float) -> str:
    return f"{value:.1f}s" if value >= 1 else f"{value * 1e3:.{0 if value >= 0.01 else 1}f}ms"
