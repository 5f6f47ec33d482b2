"""Memory that grows without end, by the slope that half of all pairs of points agree on.

Nothing is said before a process is 5 s old and was then looked at for 15 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

from ...model import Finding, Status
from ...recorder import TargetView
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook

Point = tuple[float, float]

WARM_UP = 5.0
"""Seconds after the start of a process in which growth is just loading."""
SHORTEST = 15.0
"""Seconds of data below which nothing is said."""
LOOK_BACK = 300.0
POINTS = 60
"""Points at most; more would cost their square and change nothing."""
STEADY = 0.7
"""Least excess of rising over falling pairs (Kendall's tau) that counts as steady growth."""
SOON = 600.0
"""Seconds to the memory limit from which a warning becomes a failure."""


def judge(subject: Subject, limits: Limits) -> Finding | None:
    series = {"rss": _points(subject.view, "rss"), "heap_used": _points(subject.view, "heap_used")}
    judged = {name: trend(points) for name, points in series.items() if _long_enough(points)}
    if not judged:
        return None
    growing = {n: s for n, (s, tau) in judged.items() if s >= limits.growth and tau >= STEADY}
    if not growing:
        return Finding(
            "memory_growth", Status.OK, f"{subject.name}: memory is steady", subject.name
        )
    name = max(growing, key=lambda key: growing[key])
    slope, points = growing[name], series[name]
    left = _seconds_left(subject.view, slope)
    soon = f", and meets its limit in {words.seconds(left)}" if left is not None else ""
    what = "resident memory" if name == "rss" else "the heap"
    return Finding(
        "memory_growth",
        Status.FAIL if left is not None and left <= SOON else Status.WARN,
        f"{subject.name}: {what} grows by {words.size(slope * 60)} per minute{soon}",
        subject.name,
        {
            "measure": name,
            "bytes_per_minute": slope * 60,
            "from_bytes": points[0][1],
            "to_bytes": points[-1][1],
            "seconds": points[-1][0] - points[0][0],
            "limit_bytes": subject.view.last.get("memory_limit"),
        },
        "Take two heap snapshots (Node) or tracemalloc snapshots (Python) a minute apart and "
        "compare: look for caches without a bound, listeners and timers that are never removed.",
        runbook("MemoryGrowth"),
    )


def _points(view: TargetView, name: str) -> list[Point]:
    begun = view.target.identity.started_at + WARM_UP if view.target.identity else 0.0
    oldest = max(begun, view.now - LOOK_BACK)
    points = [
        (window.start, value)
        for window in view.windows
        if window.start >= oldest and (value := getattr(window, name)) is not None
    ]
    step = -(-len(points) // POINTS) or 1
    return [
        (points[i][0], median(value for _, value in points[i : i + step]))
        for i in range(0, len(points), step)
    ]


def _long_enough(points: Sequence[Point]) -> bool:
    return len(points) >= 5 and points[-1][0] - points[0][0] >= SHORTEST


def trend(points: Sequence[Point]) -> tuple[float, float]:
    """Theil-Sen slope (units per second) and Kendall's tau (-1..1) of points in order of time."""
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(points, 2)]
    rising = sum(slope > 0 for slope in slopes) - sum(slope < 0 for slope in slopes)
    return median(slopes), rising / len(slopes)


def _seconds_left(view: TargetView, slope: float) -> float | None:
    limit, rss = view.last.get("memory_limit"), view.last.get("rss")
    if limit is None or rss is None:
        return None
    return max(0.0, limit - rss) / slope


CHECK = Check("memory_growth", judge)
