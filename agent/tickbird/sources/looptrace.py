"""Exact event loop lag from outside: every iteration of Node, asyncio and uvloop, by perf events
on the epoll calls of the loop's thread. The target is neither changed nor paused.

The only source that sees a stall while it lasts: a thread that left epoll and has not come back
is in a callback. A turn of many small callbacks counts as one iteration, as it does for a timer
that waits for its end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

from ..causes import Inquest
from ..errors import SourceError, TargetGone
from ..linux import perf, proc
from ..linux.loopthread import in_callback, loop_thread
from ..linux.thread import look
from ..linux.traceaccess import open_trace
from ..model import Identity, Item, Stall, Target
from ..paths import state_home, trace_home
from . import Context, SourceType
from .turns import Turns

WINDOW = 1.0
SILENCE = 2.0
"""Seconds without one event after which the loop is looked for in another thread."""


class LoopTraceSource:
    """One loop. The reader looks at its ring often; a read closes the window, once a second."""

    interval = WINDOW

    def __init__(self, target: Target, identity: Identity, context: Context) -> None:
        """Raises SourceError with what this host lacks, TargetGone when the process ended."""
        self.pid = identity.pid
        self.problems: Sequence[str] = ()
        self._identity = identity
        self._runtime = target.runtime
        self._clock = context.clock
        self._threshold = context.spec.loop.stall_threshold if context.spec else 0.1
        self._folders = (context.config.state_dir, state_home(), trace_home())
        self._reader = context.tracer
        self._lock = threading.Lock()
        self._stalls: list[Stall] = []
        self._resting = self._hung_up = False
        self._stat: proc.KeptFile | None = None
        self._trace: perf.EpollTrace | None = None
        try:
            self._stat = proc.KeptFile(f"/proc/{self.pid}/stat")
            self._check_alive()
            self._follow(loop_thread(self.pid, self._runtime))
        except proc.GoneError as error:
            raise self._gone() from error
        except SourceError:
            self.close()
            raise
        if self._reader is not None:
            self._reader.add(self)

    def _follow(self, thread: int) -> None:
        # the one before stays where this fails
        trace = open_trace(thread, self._folders, trace_home())
        if self._trace is not None:
            self._trace.close()
        trace.pause(self._resting)
        self._thread, self._trace, self._hung_up = thread, trace, False
        now = time.monotonic_ns()
        offset = self._wall_offset(now)
        active = in_callback(self.pid, thread, self._runtime)
        self._inquest = Inquest(partial(look, self.pid, thread))
        self._turns = Turns(self._threshold, now, offset, self._inquest.judge, active)
        self._lost = 0
        self._window_ends = self._clock.monotonic() + WINDOW
        self._look_again = self._clock.monotonic() + SILENCE

    def fileno(self) -> int | None:
        with self._lock:
            return None if self._trace is None or self._hung_up else self._trace.fileno()

    def hang_up(self) -> None:
        self._hung_up = True

    def look(self, now: int) -> Sequence[Stall]:
        with self._lock:
            return self._look(now)

    def _look(self, now: int) -> list[Stall]:
        if self._trace is None or not (self._turns.turn or self._trace.pending()):
            return []
        ended = self._turns.feed(self._trace.read())
        self._inquest.watch(self._turns.turn, now)
        self._stalls += ended
        ongoing = self._turns.ongoing(now)
        if ongoing is None:
            return ended
        if self._trace.ended():  # the kernel woke it from epoll only to end it
            self._turns.lose(0)
            return ended
        return [*ended, ongoing]

    def rest(self, resting: bool) -> None:
        with self._lock:
            self._resting = resting
            if self._trace is None:
                return
            self._trace.pause(resting)
            # What was told before the gap would else close it.
            self._stalls += self._turns.feed(self._trace.read())
            self._turns.lose(0)
            if not resting:
                active = in_callback(self.pid, self._thread, self._runtime)
                self._turns.resume(time.monotonic_ns(), active)

    def read(self) -> list[Item]:
        with self._lock:
            if self._trace is None:
                return []
            now = time.monotonic_ns()
            ongoing = [stall for stall in self._look(now) if stall.ongoing]
            items: list[Item] = [*self._stalls, *ongoing]
            self._stalls.clear()
            if self._clock.monotonic() >= self._window_ends:
                items += self._end_of_window(now)
            return items

    def _end_of_window(self, now: int) -> list[Item]:
        self._window_ends += WINDOW
        if self._clock.monotonic() >= self._window_ends:  # slept through: one gap, no burst
            self._window_ends = self._clock.monotonic() + WINDOW
        window = self._turns.close_window(now, self._wall_offset(now))
        seen, lost = self._turns.seen, self._turns.lost
        self.problems = _losses(lost - self._lost, lost)
        self._lost = lost
        self._check_alive()
        self._check_thread()
        return [window] if seen else []

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
        thread = loop_thread(self.pid, self._runtime, None if ended else self._thread)
        if ended or thread != self._thread:
            self._follow(thread)

    def _wall_offset(self, monotonic: int) -> int:
        return int(self._clock.time() * 1e9) - monotonic

    def _gone(self) -> TargetGone:
        return TargetGone(f"process {self.pid} has ended")

    def close(self) -> None:
        if self._reader is not None:
            self._reader.remove(self)
        with self._lock:
            if self._trace is not None:
                self._trace.close()
                self._trace = None
            if self._stat is not None:
                self._stat.close()
                self._stat = None


def _losses(now: int, ever: int) -> Sequence[str]:
    if not now:
        return ()
    return (
        f"{now} events of its loop were lost in the last second ({ever} so far), which is not "
        "measured exactly: the agent got too little CPU time to take them in, or too little memory "
        "for them; raise its share, or kernel.perf_event_mlock_kb",
    )


def open_source(target: Target, context: Context) -> LoopTraceSource | None:
    """None for what has no loop to trace, and where another method is configured."""
    if target.identity is None or target.runtime == "other" or sys.platform != "linux":
        return None
    if context.spec is not None and context.spec.loop.method not in ("auto", "trace", "attach"):
        return None
    return LoopTraceSource(target, target.identity, context)


SOURCE = SourceType("looptrace", (), open_source)
