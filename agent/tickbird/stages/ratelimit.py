"""At most so many lines a second of each service; what is above is dropped, and counted.

It comes after all other stages: they know which lines are errors and which go no further anyway,
and request and trace ids are learned from dropped lines too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

from ..logrecords import ERROR, Records

RATE_LIMITED = "rate_limited"
RESERVE = 10
"""One part in so many of the burst is kept for errors."""


class Bucket:
    """A token bucket: full at first, a line takes one token, ``rate`` come back each second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = 0.0

    def take(self, lines: int, now: float, leave: int = 0) -> int:
        """How many of ``lines`` may go on at ``now`` (monotonic seconds), so that ``leave`` tokens
        stay."""
        came = (now - self._at) * self._rate
        self._tokens = min(float(self._burst), self._tokens + came)
        self._at = now
        granted = max(0, min(lines, int(self._tokens) - leave))
        self._tokens -= granted
        return granted


class RateLimit:
    """A bucket for each service. One thread at a time."""

    def __init__(self, lines_per_second: int, burst: int) -> None:
        self._rate = lines_per_second
        self._burst = burst
        self._buckets: dict[str, Bucket] = {}

    def apply(self, found: Iterable[Records], service: str, now: float) -> Iterator[Records]:
        """``found``, all of one chunk, with those that are too many to be dropped. Errors go first
        and the earlier lines before the later. ``now``: monotonic seconds."""
        parts = list(found)
        errors, others = _lines(parts)
        bucket = self._buckets.get(service)
        if bucket is None:
            bucket = self._buckets[service] = Bucket(self._rate, self._burst)
        first = bucket.take(len(errors), now)
        then = bucket.take(len(others), now, leave=self._burst // RESERVE)
        over = {*sorted(errors)[first:], *sorted(others)[then:]}
        for records in parts:
            if records.drop or over.isdisjoint(records.lines):
                yield records
            else:
                yield from _parted(records, over)


def _lines(parts: Iterable[Records]) -> tuple[list[int], list[int]]:
    """Lines of errors, and the others, of those that are not dropped already."""
    errors: list[int] = []
    others: list[int] = []
    for records in parts:
        if records.drop:
            continue
        severities = records.severity or repeat((0, ""))
        for line, (number, _) in zip(records.lines, severities, strict=False):
            (errors if number >= ERROR else others).append(line)
    return errors, others


def _parted(records: Records, over: set[int]) -> Iterator[Records]:
    dropped, kept = records.split([line in over for line in records.lines])
    dropped.drop = RATE_LIMITED
    yield dropped
    if len(kept):
        yield kept
