"""What a stall was spent on, by the kernel's books of the thread that it held: no probe needed.

The books are read only while a turn of the loop lasts suspiciously long, and once when it has
ended. What happened before the first look is not known, so every answer says how sure it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .linux.thread import FAULT, Look

SUSPECT = 10_000_000
"""Nanoseconds that a turn must have lasted to be looked at."""

HALF, MORE, MOST = 0.5, 0.6, 0.8
"""Shares of a stall."""

LEAST = 20_000_000
"""Nanoseconds of a stall that must have been observed for its books to say anything."""

MEASURED, LIKELY = "measured", "likely"
"""Certainty: the books cover most of the stall, or a part of it that stands for the rest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``cause`` and ``certainty`` are None when the evidence does not tell."""

    cause: str | None = None
    certainty: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Inquest:
    """Looks at one thread; ``look`` gives its books now, None when it has ended."""

    def __init__(self, look: Callable[[], Look | None]) -> None:
        self._look = look
        self._turn: int | None = None
        self._looks: list[Look] = []

    def watch(self, turn: int | None, now: int) -> None:
        """To be told often of the turn that is under way since ``turn`` (None: there is none)."""
        if self._turn is not None and turn != self._turn:
            self._turn, self._looks = None, []
        if turn is None or now - turn < SUSPECT:
            return
        self._turn = turn
        self._take()

    def judge(self, began: int, ended: int, over: bool) -> Verdict:
        """Of the turn from ``began`` to ``ended``; ``over`` when it is not going on any more."""
        if began != self._turn:
            return Verdict()
        if over:
            self._take()
        return verdict(began, ended, self._looks)

    def _take(self) -> None:
        found = self._look()
        if found is not None:
            # the first, and the last ones: what a sleeping thread sleeps in is asked of all
            self._looks = [*self._looks[:1], *self._looks[1:][-30:], found]


def verdict(began: int, ended: int, looks: Sequence[Look]) -> Verdict:
    """Pure: times in nanoseconds of CLOCK_MONOTONIC. The last look may be later than the end: what
    the thread did in between is not known and widens the bounds of what it did before."""
    if len(looks) < 2 or (observed := min(ended, looks[-1].at) - looks[0].at) < LEAST:
        return Verdict()
    shares = _shares(looks, observed, max(0, looks[-1].at - ended))
    inside = [look for look in looks if look.at <= ended]
    asleep = _asleep_in(inside)
    cause, certainty = _by_books(shares, asleep), LIKELY
    coverage = observed / (ended - began)
    if inside and all(look.state in "Tt" for look in inside[1:] or inside):
        cause, certainty = "stopped", MEASURED
    elif cause is None:
        cause = _by_states(shares, asleep, inside)
    elif coverage >= MOST:
        certainty = MEASURED
    evidence = {
        "observed_ratio": coverage,
        "cpu_ratio": shares.ran,
        "system_ratio": _system(looks),
        "runqueue_ratio": shares.waited,
        "call": asleep.call if asleep else None,
        "path": asleep.path if asleep else None,
    }
    return Verdict(cause, certainty if cause else None, evidence)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of the observed time: the likeliest value, and how far it may be off."""

    ran: float
    waited: float
    slack: float

    @property
    def asleep(self) -> float:
        return max(0.0, 1.0 - self.ran - self.waited)


def _shares(looks: Sequence[Look], observed: int, after: int) -> _Shares:
    first, last = looks[0], looks[-1]
    whole = last.at - first.at
    ran, waited = last.ran - first.ran, last.waited - first.waited
    if not after:
        waited += _still_waits(looks[-2], last)
    # What came after the end counts as in proportion to the whole, but may be all or nothing.
    slack = min(after, ran + waited, whole - min(whole, ran + waited)) / observed
    scale = 1.0 / whole
    return _Shares(min(1.0, ran * scale), min(1.0, waited * scale), slack)


def _still_waits(before: Look, now: Look) -> int:
    """Time without a CPU that is in no book yet: the kernel enters it when the wait is over."""
    if before.state != "R" or now.state != "R":
        return 0
    booked = now.ran - before.ran + now.waited - before.waited
    missing = now.at - before.at - booked
    return missing if missing > HALF * (now.at - before.at) else 0


def _by_books(shares: _Shares, asleep: Look | None) -> str | None:
    """None where the books allow more than one answer."""
    if shares.ran + shares.waited - shares.slack >= MORE:
        return "cpu" if shares.ran >= shares.waited else "starved"
    return _call(asleep) if shares.asleep - shares.slack >= MORE else None


def _by_states(shares: _Shares, asleep: Look | None, inside: Sequence[Look]) -> str | None:
    """Where the books hold too much of what came after the stall: what it was doing whenever it
    was looked at, if that was always the same."""
    if shares.slack == 0 or not inside:
        return None
    if all(look.state == "R" for look in inside):
        return "cpu" if shares.ran >= shares.waited else "starved"
    return _call(asleep) if all(look.state in "SD" for look in inside) else None


def _call(asleep: Look | None) -> str:
    call = asleep.call if asleep and asleep.call else ""
    if call == FAULT:
        return "paging"
    return "lock" if "futex" in call else "blocking call"


def _asleep_in(looks: Sequence[Look]) -> Look | None:
    """The look that shows the call in which it was found most often."""
    calls = Counter(look.call for look in looks if look.call is not None)
    if not calls:
        return None
    most = calls.most_common(1)[0][0]
    return next(look for look in reversed(looks) if look.call == most)


def _system(looks: Sequence[Look]) -> float | None:
    """Share of its computing that was the kernel's; None for less than 50 ms of it, since clock
    ticks are coarse."""
    user, system = looks[-1].user - looks[0].user, looks[-1].system - looks[0].system
    return system / (user + system) if user + system >= 0.05 else None
