"""The stalls of one target: several reports of one stall become one."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ..model import Stall

HEARD = 0.5
"""Seconds without a word about an ongoing stall, told of every 0.1 s, after which it is over."""

SETTLED = 3.0
"""Seconds after its end from which on nothing more is heard of a stall: a probe tells of its length
with the window in which it ended."""

MAX_STALLS = 1_000

_STALL_BYTES = sys.getsizeof(Stall(0.0, 0.0, "")) + 100
_CULPRIT_BYTES = 3_000


class Stalls:
    """Each with the time at which it was last heard of."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Stall, float]] = deque(maxlen=MAX_STALLS)
        self._told = 0.0

    @property
    def bytes(self) -> int:
        """Estimate of the memory held."""
        culprits = sum(1 for stall, _ in self._kept if stall.culprit)
        return len(self._kept) * _STALL_BYTES + culprits * _CULPRIT_BYTES

    def take(self, stall: Stall, now: float) -> None:
        """A stall that was ongoing is replaced by what is known of it now."""
        for index in range(len(self._kept) - 1, max(-1, len(self._kept) - 5), -1):
            known = self._kept[index][0]
            if known.method == stall.method and _same(known, stall):
                self._kept[index] = (_joined(known, stall), now)
                return
        self._kept.append((stall, now))

    def expire(self, before: float) -> None:
        while self._kept and self._kept[0][0].start + self._kept[0][0].duration < before:
            self._kept.popleft()

    def settled(self, method: str | None, now: float) -> list[Stall]:
        """Those of ``method`` that ended some time ago, so that all that will be heard of them has
        been; each is given once."""
        since, self._told = self._told, now - SETTLED
        found = self.of(method, since, now, None)
        return [s for s in found if not s.ongoing and since < s.start + s.duration <= self._told]

    def of(
        self, method: str | None, since: float, now: float, silence: Stall | None
    ) -> list[Stall]:
        """Those of ``method`` that reach beyond ``since``, in order, each with the culprit that
        another method named. ``silence``: what has lasted since the last word of a probe, which is
        a stall too, unless its watchdog speaks for it."""
        recent = [(s, seen) for s, seen in self._kept if s.start + s.duration >= since]
        named = [s for s, _ in recent if s.culprit and s.method != method]
        found = [
            replace(lent(stall, named), ongoing=stall.ongoing and now - seen <= HEARD)
            for stall, seen in recent
            if stall.method == method
        ]
        if silence is not None and not any(stall.ongoing for stall in found):
            # What a watchdog said before it was held up too is a part of it.
            covered = [s for s in found if _overlap(s, silence) > s.duration / 2]
            found = [s for s in found if s not in covered] + [lent(silence, covered)]
        return sorted(found, key=lambda stall: stall.start)


def _overlap(one: Stall, other: Stall) -> float:
    """Seconds; negative for two that lie apart."""
    end = min(one.start + one.duration, other.start + other.duration)
    return end - max(one.start, other.start)


def _same(known: Stall, stall: Stall) -> bool:
    """Whether two reports of one method are of one stall. A watchdog sees only the last sign of
    life before it, so that their starts may lie apart."""
    if abs(known.start - stall.start) < 0.05:
        return True
    shorter = min(known.duration, stall.duration)
    return (known.ongoing or stall.ongoing) and _overlap(known, stall) > shorter / 2


def _joined(known: Stall, stall: Stall) -> Stall:
    """What is known of one stall after another report of it. Its end is the last word on its
    length; the culprit may be heard of later."""
    if stall.ongoing and not known.ongoing:
        return lent(known, [stall])
    if stall.ongoing or stall.cause:
        return replace(stall, culprit=stall.culprit or known.culprit)
    return _explained(stall, known)


def lent(stall: Stall, named: Sequence[Stall]) -> Stall:
    """``stall`` with the culprit and cause of the one of ``named`` that is the same stall."""
    best = max(named, key=lambda other: _overlap(stall, other), default=None)
    if best is None or _overlap(stall, best) <= 0:
        return stall
    return _explained(stall, best)


def _explained(stall: Stall, by: Stall) -> Stall:
    """``stall`` with what ``by`` knows of it and it does not; a cause comes with its evidence."""
    culprit = stall.culprit or by.culprit
    if stall.cause:
        return replace(stall, culprit=culprit)
    return replace(
        stall, culprit=culprit, cause=by.cause, certainty=by.certainty, evidence=by.evidence
    )
