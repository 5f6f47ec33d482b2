"""Exact accounting of log lines: ``read = delivered + Σrefused + Σdropped + queued``, always.

A line counts as queued from when it is read until what became of it is final; only then does it
count as delivered, refused or dropped. So what is not queued is exactly what lies before the
acknowledged offsets, and both are saved in one checkpoint.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from msgspec import Struct

GONE = "(files that are gone)"


@dataclass(slots=True)
class Totals:
    """Counts of lines. ``redelivered``: those of ``delivered`` that may have arrived before, since
    they had been sent when an agent was killed (however often that was); ``correlated``: those of
    ``delivered`` that bear a trace or correlation ID."""

    read: int = 0
    delivered: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    queued: int = 0
    redelivered: int = 0
    correlated: int = 0

    def balanced(self) -> bool:
        """Whether the invariant holds."""
        final = self.delivered + sum(self.refused.values()) + sum(self.dropped.values())
        return self.read == final + self.queued

    def add(self, other: Totals) -> None:
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, more in ((self.refused, other.refused), (self.dropped, other.dropped)):
            for reason, count in more.items():
                mine[reason] = mine.get(reason, 0) + count

    def copy(self) -> Totals:
        result = Totals()
        result.add(self)
        return result


class Final(Struct, frozen=True):
    """What is final of a source's lines, as it is kept on disk."""

    target: str
    source: str
    delivered: int
    refused: dict[str, int]
    dropped: dict[str, int]
    redelivered: int
    correlated: int

    @property
    def lines(self) -> int:
        return self.delivered + sum(self.refused.values()) + sum(self.dropped.values())


_NUMBERS = tuple(f.name for f in fields(Totals) if f.name not in ("refused", "dropped"))


class Ledger:
    """Totals per target and source (file or stream), under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], Totals] = {}

    def totals(self, target_key: str) -> Totals:
        """All sources of one target; zeros for an unknown one."""
        result = Totals()
        with self._lock:
            for (target, _), totals in self._totals.items():
                if target == target_key:
                    result.add(totals)
        return result

    def sources(self) -> dict[str, Totals]:
        """Totals per file or stream; two targets that read one file share its entry."""
        result: dict[str, Totals] = {}
        with self._lock:
            for (_, source), totals in self._totals.items():
                result.setdefault(source, Totals()).add(totals)
        return result

    def balanced(self) -> bool:
        with self._lock:
            return all(totals.balanced() for totals in self._totals.values())

    def count_read(self, target: str, source: str, lines: int) -> None:
        """``lines`` were read; they are queued until settled."""
        with self._lock:
            totals = self._totals.setdefault((target, source), Totals())
            totals.read += lines
            totals.queued += lines

    def settle(self, target: str, source: str, final: Totals) -> Final:
        """What became of queued lines: the delivered, refused, dropped, redelivered and correlated
        of ``final``. Returns all that is final of the source."""
        lines = final.delivered + sum(final.refused.values()) + sum(final.dropped.values())
        with self._lock:
            totals = self._totals[target, source]
            totals.add(final)
            totals.queued -= lines
            return _final(target, source, totals)

    def retire(self, target: str, source: str) -> Final:
        """Fold the totals of a source that will not come back into one entry of its target, so
        that files with a date in their name do not add up for ever. Returns that entry."""
        with self._lock:
            gone = self._totals.setdefault((target, GONE), Totals())
            gone.add(self._totals.pop((target, source), Totals()))
            return _final(target, GONE, gone)

    def final(self) -> list[Final]:
        """What a checkpoint saves: the totals without what is queued."""
        with self._lock:
            return [_final(*key, totals) for key, totals in self._totals.items()]

    def restore(self, saved: Iterable[Final]) -> None:
        """The counterpart of ``final``."""
        with self._lock:
            for one in saved:
                self._totals[one.target, one.source] = Totals(
                    read=one.lines,
                    delivered=one.delivered,
                    refused=dict(one.refused),
                    dropped=dict(one.dropped),
                    redelivered=one.redelivered,
                    correlated=one.correlated,
                )


def _final(target: str, source: str, totals: Totals) -> Final:
    return Final(
        target,
        source,
        totals.delivered,
        dict(totals.refused),
        dict(totals.dropped),
        totals.redelivered,
        totals.correlated,
    )
