"""Exact event loop lag from outside: every iteration of Node, asyncio and uvloop, by perf events
on the epoll calls of the loop's thread. The target is neither changed nor paused.

The only source that sees a stall while it lasts: a thread that left epoll and has not come back
is in a callback. A turn of many small callbacks counts as one iteration, as it does for a timer
that waits for its end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from ..causes import Inquest, Verdict
from ..errors import SourceError, TargetGone
from ..histogram import index_of
from ..linux import perf, proc, tracepoints
from ..linux.thread import look
from ..model import Identity, Item, LoopWindow, Stall, Target
from ..paths import trace_home
from . import Context, SourceType

METHOD = "trace"
ERROR = 0.001
"""Seconds; measured against in-process truth: half within 0.3 ms, 99 % within 1 ms."""

READ_INTERVAL = 0.1
"""Seconds; how late a stall that still lasts is seen, beyond the threshold."""

WINDOW = 1.0
SILENCE = 2.0
"""Seconds without one event after which the loop is looked for in another thread."""


class Turns:
    """Folds epoll events into iterations, and iterations into windows and stalls.

    Times in are CLOCK_MONOTONIC nanoseconds; times out are Unix seconds: ``offset`` (of the wall
    clock to the monotonic one, ns) is taken anew for each window, so that a step of the wall
    clock bends no duration.
    """

    def __init__(
        self,
        threshold: float,
        now: int,
        offset: int,
        judge: Callable[[int, int, bool], Verdict] | None = None,
    ) -> None:
        """``judge`` tells what a stall was spent on: of its start, its end, and whether it is
        over."""
        self._judge = judge
        self.seen = False
        """Whether the thread has ever been in epoll."""
        self._threshold = threshold
        self._offset = offset
        self._since: int | None = None
        self._active = False
        self._ongoing: float | None = None
        self._begin(now)

    def _begin(self, now: int) -> None:
        self._start = now
        self._histogram: dict[int, int] = {}
        self._count = 0
        self._sum = self._max = 0.0
        self._min = float("inf")
        self._busy = self._idle = 0
        self._accounted = now

    def feed(self, events: Iterable[perf.Event]) -> list[Stall]:
        """Take events in order; return the stalls that ended."""
        stalls = []
        since, active, accounted = self._since, self._active, self._accounted
        for left, at in events:
            if left is None:
                since = self._ongoing = None
                continue
            if since is not None:
                passed = max(0, at - accounted)
                if active:
                    self._busy += passed
                else:
                    self._idle += passed
                if active and not left and (stall := self._finish(since, at)):
                    stalls.append(stall)
            since, active, accounted = at, left, max(accounted, at)
            self.seen = True
        self._since, self._active, self._accounted = since, active, accounted
        return stalls

    def _account(self, now: int) -> None:
        if self._since is not None and now > self._accounted:
            if self._active:
                self._busy += now - self._accounted
            else:
                self._idle += now - self._accounted
        self._accounted = max(self._accounted, now)

    def _finish(self, began: int, ended: int) -> Stall | None:
        seconds = (ended - began) / 1e9
        index = index_of(seconds)
        self._histogram[index] = self._histogram.get(index, 0) + 1
        self._count += 1
        self._sum += seconds
        self._min, self._max = min(self._min, seconds), max(self._max, seconds)
        start, self._ongoing = self._ongoing, None
        if seconds < self._threshold:
            return None
        return self._stall(self._wall(began) if start is None else start, began, ended, True)

    def _stall(self, start: float, began: int, ended: int, over: bool) -> Stall:
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
        if self._since is None or not self._active:
            return None
        seconds = (now - self._since) / 1e9
        if seconds < self._threshold:
            return None
        if self._ongoing is None:
            self._ongoing = self._wall(self._since)
        return self._stall(self._ongoing, self._since, now, False)

    def close_window(self, now: int, offset: int) -> LoopWindow:
        """The window up to ``now``; the next one begins there."""
        self._account(now)
        window = LoopWindow(
            start=self._wall(self._start),
            duration=(self._accounted - self._start) / 1e9,
            method=METHOD,
            error=ERROR,
            count=self._count,
            sum=self._sum,
            min=self._min if self._count else 0.0,
            max=self._max,
            histogram=self._histogram,
            active=self._busy / 1e9,
            idle=self._idle / 1e9,
        )
        self._offset = offset
        self._begin(self._accounted)
        return window

    def _wall(self, monotonic: int) -> float:
        return (monotonic + self._offset) / 1e9


def loop_thread(pid: int, runtime: str) -> int:
    """The thread that runs the loop: Node's is the main one; Python's is the one that waits in
    epoll now, where this user may see that, else the main one."""
    if runtime == "node":
        return pid
    waiting = [thread for thread in _threads(pid) if _waits_in_epoll(pid, thread)]
    return pid if pid in waiting or not waiting else waiting[0]


def _threads(pid: int) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _waits_in_epoll(pid: int, thread: int) -> bool:
    """By the system call it is in; where only debuggers may see that (Yama), by the kernel
    function it sleeps in, which every user may see of his own processes."""
    folder = f"/proc/{pid}/task/{thread}"
    numbers = perf.EPOLL_NUMBERS.get(os.uname().machine, ())
    try:
        call = proc.read_once(f"{folder}/syscall", 256).split()
        return bool(call) and call[0].isdigit() and int(call[0]) in numbers
    except proc.DeniedError:
        return _sleeps_in_epoll(folder)
    except (OSError, proc.GoneError):
        return False


def _sleeps_in_epoll(folder: str) -> bool:
    try:
        place = proc.read_once(f"{folder}/wchan", 256)
        return b"ep_poll" in place or b"epoll_wait" in place  # by the kernel's inlining
    except (OSError, proc.GoneError, proc.DeniedError):
        return False


class LoopTraceSource:
    """One loop. Reads often, so that a stall is seen while it lasts; windows stay whole seconds."""

    interval = READ_INTERVAL

    problems: Sequence[str] = ()

    def __init__(self, target: Target, identity: Identity, context: Context) -> None:
        """Raises SourceError with what this host lacks, TargetGone when the process ended."""
        self._identity = identity
        self._runtime = target.runtime
        self._clock = context.clock
        self._threshold = context.spec.loop.stall_threshold if context.spec else 0.1
        self._ids = tracepoints.tracepoint_ids([context.config.state_dir, trace_home()])
        self._stat: proc.KeptFile | None = None
        self._trace: perf.EpollTrace | None = None
        try:
            self._stat = proc.KeptFile(f"/proc/{identity.pid}/stat")
            self._check_alive()
            self._follow(loop_thread(identity.pid, self._runtime))
        except proc.GoneError as error:
            raise self._gone() from error
        except SourceError:
            self.close()
            raise

    def _follow(self, thread: int) -> None:
        trace = perf.EpollTrace(thread, self._ids)  # the one before stays where this fails
        if self._trace is not None:
            self._trace.close()
        self._thread, self._trace = thread, trace
        now = time.monotonic_ns()
        self._inquest = Inquest(partial(look, self._identity.pid, thread))
        offset = self._wall_offset(now)
        self._turns = Turns(self._threshold, now, offset, self._inquest.judge)
        self._window_ends = self._clock.monotonic() + WINDOW
        self._look_again = self._clock.monotonic() + SILENCE

    def read(self) -> list[Item]:
        if self._trace is None:
            return []
        now = time.monotonic_ns()
        items: list[Item] = list(self._turns.feed(self._trace.read()))
        self._inquest.watch(self._turns.turn, now)
        if stall := self._turns.ongoing(now):
            items.append(stall)
        if self._clock.monotonic() >= self._window_ends:
            items += self._end_of_window(now)
        return items

    def _end_of_window(self, now: int) -> list[Item]:
        self._window_ends += WINDOW
        if self._clock.monotonic() >= self._window_ends:  # slept through: one gap, no burst
            self._window_ends = self._clock.monotonic() + WINDOW
        window = self._turns.close_window(now, self._wall_offset(now))
        self._check_alive()
        self._check_thread()
        return [window] if self._turns.seen else []

    def _check_alive(self) -> None:
        """A kept file of another process answers ESRCH, so a reused pid is never followed."""
        try:
            if self._stat is None:
                return
            stat = proc.parse_stat(self._stat.read(1024))
        except (proc.GoneError, ValueError) as error:
            raise self._gone() from error
        if stat.start_ticks != self._identity.start_ticks or stat.state == "Z":
            raise self._gone()

    def _check_thread(self) -> None:
        """Look for the loop elsewhere when its thread ended or was never in epoll."""
        ended = self._trace is not None and self._trace.ended()
        silent = not self._turns.seen and self._clock.monotonic() >= self._look_again
        if not ended and not silent:
            return
        self._look_again = self._clock.monotonic() + SILENCE
        thread = loop_thread(self._identity.pid, self._runtime)
        if ended or thread != self._thread:
            self._follow(thread)

    def _wall_offset(self, monotonic: int) -> int:
        return int(self._clock.time() * 1e9) - monotonic

    def _gone(self) -> TargetGone:
        return TargetGone(f"process {self._identity.pid} has ended")

    def close(self) -> None:
        if self._trace is not None:
            self._trace.close()
            self._trace = None
        if self._stat is not None:
            self._stat.close()
            self._stat = None


def open_source(target: Target, context: Context) -> LoopTraceSource | None:
    """None for what has no loop to trace, and where another method is configured."""
    if target.identity is None or target.runtime == "other" or sys.platform != "linux":
        return None
    if context.spec is not None and context.spec.loop.method not in ("auto", "trace"):
        return None
    return LoopTraceSource(target, target.identity, context)


SOURCE = SourceType("looptrace", (), open_source)
