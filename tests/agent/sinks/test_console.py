"""The status lines of ``tickbird run``."""

from __future__ import annotations

from typing import Any

from tickbird.clock import SystemClock
from tickbird.sinks.console import INTERVAL, Console, line

UNKNOWN: dict[str, Any] = {
    "key": "shop",
    "workers": [],
    "cpu": {"utilization": None},
    "memory": {"rss_bytes": None},
    "loop": None,
    "http": None,
    "logs": None,
}
KNOWN: dict[str, Any] = {
    **UNKNOWN,
    "cpu": {"utilization": 0.123},
    "memory": {"rss_bytes": 85_000_000},
    "loop": {"exact": True, "delay_seconds": {"p99": 0.0012, "max": 0.31}, "stalls": []},
    "http": {"requests": 120, "error_ratio": 0.083, "duration_seconds": {"p99": 1.25}},
    "logs": {"read": 1200, "queued": 3, "refused": {"late": 1}, "dropped": {"deep": 1}},
}


class StillClock(SystemClock):
    @staticmethod
    def monotonic() -> float:
        return 100.0


def test_a_line_says_everything_that_is_known() -> None:
    assert line(KNOWN).split("  ", 1)[1].strip() == (
        "cpu 12%  rss 85MB  loop p99 1.2ms max 310ms  req 120 err 8.3% p99 1.2s  "
        "logs 1200 (3 queued, 2 lost)"
    )


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    assert line(UNKNOWN).endswith("nothing measured yet")


def test_an_ongoing_stall_stands_first() -> None:
    loop = {**KNOWN["loop"], "stalls": [{"ongoing": True, "duration_seconds": 3.2}]}
    assert line({**KNOWN, "loop": loop}).split(maxsplit=1)[1].startswith("BLOCKED for 3.2s")


def test_an_estimate_is_marked() -> None:
    assert "max ~310ms" in line({**KNOWN, "loop": {**KNOWN["loop"], "exact": False}})


def test_lines_come_once_per_interval_workers_after_their_master() -> None:
    said: list[str] = []
    document = {"targets": [{**UNKNOWN, "workers": [{**UNKNOWN, "key": "shop/0"}]}]}
    console = Console(lambda seconds: document, said.append, StillClock())
    for now in (100.0, 100.0 + INTERVAL, 101.0 + INTERVAL):
        console.poll(now)
    assert [text.split()[0] for text in said] == ["shop", "shop/0"]
