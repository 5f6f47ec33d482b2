"""A service of several processes as one: times and counts are added up, maxima stay maxima, and
quantiles come from the histograms of all together, since quantiles cannot be averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..recorder import TargetView
from .subject import Http, Loop, Subject, cpu_of, http_of, loop_of


@dataclass(frozen=True, slots=True)
class LoopOfMany:
    """The loops that one method measures: two methods never share a quantile."""

    loop: Loop
    subjects: Sequence[Subject]

    @property
    def blocked(self) -> Iterable[float]:
        """Durations of all stalls, seconds."""
        return [stall.duration for one in self.subjects for stall in one.stalls]

    @property
    def ongoing(self) -> int:
        return sum(stall.ongoing for one in self.subjects for stall in one.stalls)

    @property
    def worst(self) -> str:
        """Key of the process with the longest iteration."""
        return max(self.subjects, key=lambda one: (one.loop and one.loop.max) or 0.0).name


@dataclass(frozen=True, slots=True)
class RollUp:
    """None: not known of any of them. What is used now is that of the living ones."""

    name: str
    subjects: Sequence[Subject]
    cpu: float | None
    rss: float | None
    fds: float | None
    loops: Sequence[LoopOfMany]
    http: Http | None


def roll_up(name: str, subjects: Sequence[Subject]) -> RollUp:
    views = [one.view for one in subjects]
    alive = [view for view in views if view.ended_at is None]
    by_method: dict[str, list[Subject]] = {}
    for one in subjects:
        if one.loop is not None:
            by_method.setdefault(one.loop.method, []).append(one)
    counted = [view for view in views if view.http_source is not None]
    return RollUp(
        name,
        subjects,
        _sum(cpu_of(view) for view in alive),
        _sum(view.last.get("rss") for view in alive),
        _sum(view.last.get("fds") for view in alive),
        [_loops(some) for some in by_method.values()],
        http_of(_joined(counted)) if counted else None,
    )


def _loops(subjects: Sequence[Subject]) -> LoopOfMany:
    loop = loop_of(_joined([one.view for one in subjects]))
    assert loop is not None  # each of them has one
    return LoopOfMany(loop, subjects)


def _joined(views: Sequence[TargetView]) -> TargetView:
    """All that is counted of them in one view; what describes a single process is the first's."""
    return replace(
        views[0],
        windows=tuple(chain.from_iterable(view.windows for view in views)),
        stalls=tuple(chain.from_iterable(view.stalls for view in views)),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
