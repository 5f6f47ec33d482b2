"""Folds the epoll events of one thread into loop iterations, and these into windows and stalls."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from ..causes import Verdict
from ..histogram import FINE_BOUNDS
from ..linux.perf import Stretch
from ..model import LoopWindow, Stall

METHOD = "trace"
ERROR = 0.001
"""Seconds; measured against in-process truth: half within 0.3 ms, 99 % within 1 ms."""

_index_of = partial(bisect_left, [round(edge * 1e9) for edge in FINE_BOUNDS])
"""As ``histogram.index_of``, for nanoseconds."""


class Turns:
    """Times in are CLOCK_MONOTONIC nanoseconds; times out are Unix seconds: ``offset`` (of the
    wall clock to the monotonic one, ns) is taken anew for each window, so that a step of the wall
    clock bends no duration."""

    def __init__(
        self,
        threshold: float,
        now: int,
        offset: int,
        judge: Callable[[int, int, bool], Verdict] | None = None,
        active: bool | None = None,
    ) -> None:
        """``judge`` tells what a stall was spent on: of its start, its end, and whether it is
        over. ``active``: whether the thread is in a callback ``now`` (True) or in epoll (False),
        where that is known; the turn that goes on then is told as a stall, and counted in no
        window, since nobody knows when it began."""
        self._judge = judge
        self.seen = active is False
        """Whether the thread has ever been in epoll."""
        self.lost = 0
        """Events that the kernel could not record, since the beginning."""
        self._threshold = round(threshold * 1e9)
        self._offset = offset
        self._since: int | None = None if active is None else now
        self._active = active is True
        self._found_active = now if active else None
        self._ongoing: float | None = None
        self._gap = False
        self._begin(now)

    def _begin(self, now: int) -> None:
        self._start = self._accounted = now
        self._histogram: Counter[int] = Counter()
        self._sum = self._max = self._busy = self._idle = self._unknown = 0
        self._min: int | None = None

    def feed(self, stretch: Stretch) -> list[Stall]:
        """Take events in order; return the stalls that ended."""
        stalls: list[Stall] = []
        for left, at in stretch.before:
            self._take(left, at, stalls)
        if stretch.pairs:
            self._take_pairs(stretch.pairs, stalls)
        for left, at in stretch.after:
            self._take(left, at, stalls)
        return stalls

    def _take(self, left: bool | None, at: int, stalls: list[Stall]) -> None:
        if left is None:
            self.lose(at)
            return
        self._account(at)
        if self._since is not None and self._active and not left:
            self._finish(self._since, at, stalls)
        self._since, self._active, self.seen, self._gap = at, left, True, False

    def _take_pairs(self, times: Sequence[int], stalls: list[Stall]) -> None:
        begins, ends = times[::2], times[1::2]
        self._take(True, begins[0], stalls)
        lengths = list(map(operator.sub, ends, begins))
        busy, longest, last = sum(lengths), max(lengths), ends[-1]
        self._busy += busy
        self._idle += max(0, last - self._accounted - busy)
        self._accounted = max(self._accounted, last)
        self._count(lengths, busy, longest)
        if longest >= self._threshold:
            turns = zip(begins, ends, lengths, strict=True)
            stalls += [self._stall(b, e, True) for b, e, long in turns if long >= self._threshold]
        self._since, self._active, self._ongoing = last, False, None

    def lose(self, count: int) -> None:
        """``count`` events were not recorded. Between the two ends of such a gap nothing is known,
        so that they make no iteration, and the window's error is as large as the gap."""
        self.lost += count
        self._gap = True
        self._since = self._ongoing = None

    def resume(self, now: int, active: bool | None) -> None:
        """The gap ends ``now`` with the thread in a callback or in epoll, as far as is known."""
        self._account(now)
        self._since = None if active is None else now
        self._active = active is True
        self._found_active = now if active else None
        self.seen = self.seen or active is False
        self._gap = active is None

    def _account(self, now: int) -> None:
        """Time up to ``now`` was spent as the last event left it."""
        passed = max(0, now - self._accounted)
        if self._since is None:
            self._unknown += passed if self._gap else 0
        elif self._active:
            self._busy += passed
        else:
            self._idle += passed
        self._accounted += passed

    def _count(self, lengths: Sequence[int], total: int, longest: int) -> None:
        self._histogram.update(map(_index_of, lengths))
        self._sum += total
        self._max = max(self._max, longest)
        shortest = min(lengths)
        self._min = shortest if self._min is None else min(self._min, shortest)

    def _finish(self, began: int, ended: int, stalls: list[Stall]) -> None:
        length = ended - began
        if began == self._found_active:
            self._found_active = None
        else:
            self._count((length,), length, length)
        if length >= self._threshold:
            stalls.append(self._stall(began, ended, True))
        self._ongoing = None

    def _stall(self, began: int, ended: int, over: bool) -> Stall:
        start = self._wall(began) if self._ongoing is None else self._ongoing
        found = self._judge(began, ended, over) if self._judge else Verdict()
        seconds = (ended - began) / 1e9
        return Stall(
            start, seconds, METHOD, not over, found.cause, None, found.certainty, found.evidence
        )

    @property
    def turn(self) -> int | None:
        """When the turn that is under way began; None while the loop waits."""
        return self._since if self._active else None

    def ongoing(self, now: int) -> Stall | None:
        """The stall that lasts at ``now``; it keeps its start until it ends."""
        if self.turn is None or now - self.turn < self._threshold:
            return None
        if self._ongoing is None:
            self._ongoing = self._wall(self.turn)
        return self._stall(self.turn, now, False)

    def close_window(self, now: int, offset: int) -> LoopWindow:
        """The window up to ``now``; the next one begins there."""
        self._account(now)
        window = LoopWindow(
            start=self._wall(self._start),
            duration=(self._accounted - self._start) / 1e9,
            method=METHOD,
            error=max(ERROR, self._unknown / 1e9),
            count=self._histogram.total(),
            sum=self._sum / 1e9,
            min=(self._min or 0) / 1e9,
            max=self._max / 1e9,
            histogram=dict(self._histogram),
            active=self._busy / 1e9,
            idle=self._idle / 1e9,
        )
        self._offset = offset
        self._begin(self._accounted)
        return window

    def _wall(self, monotonic: int) -> float:
        return (monotonic + self._offset) / 1e9
