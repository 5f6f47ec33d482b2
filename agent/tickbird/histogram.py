"""The fine scale shared by the in-process probes and the agent.

Its edges contain the 14 bounds of the HTTP convention, each stretch between two of them cut into
equal ratios of at most 12 %, so re-bucketing to those bounds is exact and a quantile is at most
6 % off. The edges stand in ``runtimes/bounds.json``, which the probes read too.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .model import Distribution

FINE_BOUNDS: tuple[float, ...] = tuple(
    json.loads(Path(__file__).with_name("runtimes").joinpath("bounds.json").read_text())
)
"""Upper edges in seconds, 10 µs to 60 s; index len(FINE_BOUNDS) is the overflow."""

HTTP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds that the semantic conventions give for http.server.request.duration, seconds."""

LOOP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of tickbird.eventloop.iteration.duration, seconds."""


def index_of(seconds: float) -> int:
    """Index of the first edge that is not below ``seconds``."""
    return bisect.bisect_left(FINE_BOUNDS, seconds)


def merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add up sparse histograms of the fine scale."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram.items():
            total[index] = total.get(index, 0) + count
    return total


def difference(now: Mapping[int, int], before: Mapping[int, int]) -> dict[int, int]:
    """``now - before`` of two running totals; empty buckets are left out."""
    return {i: n - before.get(i, 0) for i, n in now.items() if n - before.get(i, 0) > 0}


def quantile(histogram: Mapping[int, int], q: float, maximum: float | None = None) -> float | None:
    """Value at rank ``q`` (0..1), interpolated inside its bucket; None for no values.
    ``maximum`` is the largest value seen, when known: no quantile lies above it."""
    total = sum(histogram.values())
    if total == 0:
        return None
    rank, seen = q * total, 0
    for index in sorted(histogram):
        count = histogram[index]
        if seen + count >= rank:
            low = FINE_BOUNDS[index - 1] if index > 0 else 0.0
            high = FINE_BOUNDS[index] if index < len(FINE_BOUNDS) else max(maximum or 0.0, low)
            value = low + (high - low) * (rank - seen) / count
            return value if maximum is None else min(value, maximum)
        seen += count
    return maximum


def distribution(
    histogram: Mapping[int, int], bounds: tuple[float, ...], total: float
) -> Distribution:
    """The same counts on coarser ``bounds``; ``total`` is the exact sum of the values, seconds."""
    counts = [0] * (len(bounds) + 1)
    for index, count in histogram.items():
        edge = FINE_BOUNDS[index] if index < len(FINE_BOUNDS) else float("inf")
        counts[bisect.bisect_left(bounds, edge)] += count
    return Distribution(tuple(counts), total, sum(counts))
