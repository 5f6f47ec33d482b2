"""One watched target: its sources, when each is due, and what came of the last read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

from .clock import Ticker
from .errors import NoData, SourceError, TargetGone
from .meters import LOOP_METRICS, Meter
from .model import LOOP_METHODS, Item, LoopWindow, RuntimeInfo, Sample, Stall, Target
from .recorder.track import IN_PROCESS, SILENCE
from .sources import Context, Source, SourceType

_OF_LOOP = (LoopWindow, Stall)
METHOD_HELD = 10.0
"""Seconds that a method must be silent before a lesser one takes its place, and its values end; two
and a half of its windows, where these are longer."""
RETRY_OPEN = 30.0
"""Seconds after which a source that could not be opened is tried again."""

Deliver = Callable[[Target, SourceType, list[Item], list[Sample]], None]
"""Takes what a source of a target said: the items, and the series that they move."""
Release = Callable[[Target, Collection[str]], None]
"""Takes the metrics of a target that another source speaks of from now on."""


def _words(error: SourceError) -> str:
    return f"{error}; {error.remedy}" if error.remedy else str(error)


def _defect(error: Exception) -> str:
    return f"failed by a defect of the agent: {error!r}"


@dataclass(slots=True)
class SourceState:
    """``problem`` is what the last read failed of, None when it did not."""

    kind: SourceType
    source: Source | None
    ticker: Ticker
    problem: str | None = None
    errors: int = 0
    reading: bool = False

    def fail(self, problem: str) -> None:
        self.problem = problem
        self.errors += 1


@dataclass(slots=True)
class Watch:
    """Reads the sources of one identity of one target; a restart makes a new watch.
    A source is read by one thread at a time, different sources by different ones."""

    target: Target
    context: Context
    deliver: Deliver
    release: Release
    meter: Meter
    gone: bool = False
    states: dict[str, SourceState] = field(default_factory=dict)
    loop_method: str | None = None
    pace: int = 1
    """How many times their interval patient sources wait between two reads."""
    loop_until: float = float("inf")
    """Monotonic time at which what is known of the loop is too old to be believed."""
    _loop_end: float | None = None
    _looks: int = 0
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, kinds: Iterable[SourceType]) -> None:
        """Open every source that the target has; one that cannot be opened is tried again."""
        for kind in kinds:
            state = SourceState(kind, None, Ticker(self.context.clock, RETRY_OPEN))
            state.ticker.advance(self.context.clock.monotonic())
            self._open(state)
            if state.source is not None or state.problem is not None:
                self.states = {**self.states, kind.name: state}  # others may be reading it

    def become(self, target: Target, kinds: Iterable[SourceType]) -> None:
        """The same process turned out to be something else: it was only starting, or it ran
        another program (exec). What it has now and had not before is opened."""
        self.target = target
        self.meter.observe(RuntimeInfo(target.runtime, ""))
        self.open(kind for kind in kinds if kind.name not in self.states)

    def _open(self, state: SourceState) -> None:
        try:
            state.source = state.kind.open(self.target, self.context)
        except TargetGone:
            self.gone = True
        except SourceError as error:
            state.fail(_words(error))
        except Exception as error:
            state.fail(_defect(error))
        else:
            if state.source is not None:
                state.problem = None
                state.ticker = Ticker(self.context.clock, self._interval(state.kind, state.source))

    def _interval(self, kind: SourceType, source: Source) -> float:
        return source.interval * (self.pace if kind.patient else 1)

    def slow(self, pace: int) -> None:
        """Read patient sources at ``pace`` times their interval from their next reads on."""
        self.pace = pace
        for state in self.states.values():
            if state.source is not None:
                state.ticker.interval = self._interval(state.kind, state.source)

    def due(self, now: float) -> list[str]:
        """Names of the sources whose time has come and that are not being read already."""
        return [n for n, one in self.states.items() if not one.reading and one.ticker.is_due(now)]

    def next_due(self) -> float:
        """Monotonic time at which the next source is due; infinity when there is none."""
        waiting = (one.ticker.due for one in self.states.values() if not one.reading)
        return min(waiting, default=float("inf"))

    def reserve(self, name: str) -> None:
        """The source waits for a worker; it is not due until it has been read."""
        self.states[name].reading = True

    def read(self, name: str) -> int:
        """Read one source and deliver what it says; return how many ticks were missed."""
        state = self.states[name]
        state.reading = True
        missed = state.ticker.advance(self.context.clock.monotonic())
        try:
            if state.source is None:
                self._open(state)
            else:
                self._deliver(state.kind, list(state.source.read()))
                state.problem = None
                if problem := "; ".join(state.source.problems):
                    state.fail(problem)
        except TargetGone:
            self.gone = True
        except NoData:
            state.problem = None
        except SourceError as error:
            state.fail(_words(error))
        except Exception as error:
            state.fail(_defect(error))
        finally:
            state.reading = False
            if self._closed and state.source is not None:
                state.source.close()
        return missed

    def tell(self, kind: SourceType, items: list[Item]) -> None:
        """Take what came by a way of its own, as if a source of ``kind`` had been read."""
        self._deliver(kind, items)

    def _deliver(self, kind: SourceType, items: list[Item]) -> None:
        with self._lock:
            if self._closed:
                return
            items = self._of_best_loop(items)
            samples = [sample for item in items for sample in self.meter.observe(item)]
            samples += self._silence(kind.name, items)
            self.deliver(self.target, kind, items, samples)

    def _silence(self, kind: str, items: list[Item]) -> list[Sample]:
        """What a probe cannot say while its loop hangs. Two looks at the process must have passed
        since its last word, so that a suspended agent accuses nobody."""
        if kind == "process":
            self._looks += 1
        if kind != "probe":
            return []
        for item in items:
            if isinstance(item, LoopWindow):
                self._loop_end, self._looks = item.start + item.duration, 0
            elif isinstance(item, RuntimeInfo) and item.runtime == "python":
                self._loop_end, self.loop_until = None, 0.0  # its loop has stopped
        if self._loop_end is None or self._looks < 2 or self.loop_method not in IN_PROCESS:
            return []
        silent = self.context.clock.time() - self._loop_end
        return self.meter.silence(silent) if silent > SILENCE else []

    def _of_best_loop(self, items: list[Item]) -> list[Item]:
        """Without the loop data of methods that a better one makes superfluous."""
        if not any(isinstance(item, _OF_LOOP) for item in items):
            return items
        now = self.context.clock.monotonic()
        for method in {item.method for item in items if isinstance(item, LoopWindow)}:
            known = self.loop_method
            better = known is None or LOOP_METHODS.index(method) <= LOOP_METHODS.index(known)
            if better or now > self.loop_until:
                if known not in (None, method):
                    self.release(self.target, LOOP_METRICS)
                self.loop_method = method
        long = [item.duration for item in items if self._is_believed(item)]
        if long:
            self.loop_until = now + max(METHOD_HELD, 2.5 * max(long))
        return [
            item
            for item in items
            if not isinstance(item, _OF_LOOP) or item.method == self.loop_method
        ]

    def _is_believed(self, item: Item) -> TypeGuard[LoopWindow]:
        return isinstance(item, LoopWindow) and item.method == self.loop_method

    def let_loop_go(self) -> None:
        """``loop_until`` has passed: values of a source that fell silent do not stay. The silence
        of a probe is a value, as long as its process lives."""
        with self._lock:
            self.loop_until = float("inf")
            if self.loop_method in IN_PROCESS and self._loop_end is not None:
                return
            self.loop_method = None
            self.release(self.target, LOOP_METRICS)

    def close(self) -> None:
        """Nothing is delivered afterwards; a source that is being read closes after its read."""
        with self._lock:
            self._closed = True
        for state in self.states.values():
            if state.source is not None and not state.reading:
                state.source.close()
