"""The log path: files → lines → stages → batches → lane, and back as acknowledged offsets.

The file is the queue: when the lane is full, reading stops. An offset moves only when what lies
before it was accepted or refused for good, and it moves in order. One batch holds lines of one
file, so that what is refused is counted where it came from.

Without a Collector the recorder is the sink: a line counts as delivered when it was recorded, no
offset is saved, and a drained spool segment is removed, since nobody else would ever read it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .batching import BATCH_AGE, Batcher
from .clock import Clock, Deadline, Ticker
from .config import Config
from .deliveries import Deliveries
from .journal import Journal, Marks
from .ledger import Ledger
from .logbatch import Watched
from .model import Target
from .sinks.otlp.delivery import Lane
from .sinks.otlp.logs import resource_bytes
from .sources.changes import Changes
from .sources.descriptors import Descriptors
from .sources.logfile import Tailer
from .stages.join import Pairs
from .state import State

if TYPE_CHECKING:
    from .recorder import Recorder

ROUND_BYTES = 1024 * 1024
"""Bytes read in one round, over all files: 64 KiB of each in turn."""
PAUSE = 0.25
"""Seconds between two looks at files that the kernel does not tell of, and at a full lane."""
SAVE_INTERVAL = 5.0
"""Seconds between two checkpoints, so of repeats after a loss of power; a kill costs none of it."""
OFFER_WAIT = 0.2


class LogPipeline:
    """``poll`` belongs to one thread; ``watch`` and ``unwatch`` may come from another, and lanes
    settle from theirs."""

    def __init__(  # noqa: PLR0917 - wires the parts
        self,
        config: Config,
        clock: Clock,
        state: State,
        ledger: Ledger,
        lane: Lane | None,
        recorder: Recorder | None,
        pairs: Pairs | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._state = state
        self._journal = Journal(state, ledger, durable=lane is not None)
        self._changes = Changes()
        self._descriptors = Descriptors(state.folder if config.logs.compressed else None)
        self._deliveries = Deliveries(lane, self._journal, self.wake)
        self._batcher = Batcher(config, clock, ledger, recorder, self._deliveries.add, pairs)
        self._lock = threading.Lock()
        self._watched: dict[str, Watched] = {}
        self._parked: Marks = self._journal.restore()
        """Marks of targets that are not watched now."""
        self._save = Ticker(clock, SAVE_INTERVAL)
        self._turn = 0
        self._busy = False
        """Whether the last round read anything."""

    @property
    def problems(self) -> list[str]:
        """What keeps logs from being read or remembered, a line each, with what to do."""
        with self._lock:
            found = [p for w in self._watched.values() for p in w.tailer.problems]
        own = [self._journal.problem] if self._journal.problem else []
        return [*self._state.problems, *own, *found]

    def watch(self, target: Target, patterns: Sequence[str], spool: bool = False) -> None:
        """Read the files of ``target`` from now on. Call it again with news of the target: they
        are taken up without a gap. Several workers of one name share its files, so a line is read
        once. ``spool``: segments of the supervisor, removed once acknowledged; patterns inside
        the state folder's spool are that anyway."""
        place = self._state.folder / "spool"
        segments = [p for p in patterns if spool or Path(p).is_relative_to(place)]
        with self._lock:
            self._watch(target, [p for p in patterns if p not in segments], spool=False)
            self._watch(target, segments, spool=True)
        self.wake()

    def unwatch(self, target_key: str) -> None:
        """Let go of a target's files once they are drained; until then, and where another worker
        takes them up, nothing is missed."""
        with self._lock:
            for watched in self._watched.values():
                if watched.target.key == target_key:
                    watched.leaving = True
                    watched.tailer.attention.news = True
        self.wake()

    def poll(self) -> int:
        """One round: find, read, parse, batch, offer. Returns the lines read; bounded work, and
        waits at most ``OFFER_WAIT`` for room in the lane."""
        return self._round()

    def wait(self) -> None:
        """Sleep until there is something to do for ``poll``, or until ``wake``."""
        with self._lock:
            now = self._clock.monotonic()
            seconds = 0.0 if self._busy else self._due(now) - now
        self._changes.wait(seconds)

    def wake(self) -> None:
        """End ``wait``; from any thread."""
        self._changes.wake()

    def drain(self, deadline: Deadline) -> None:
        """Deliver what the files hold now, as far as the deadline allows: the rest stays in them,
        and so does what is written meanwhile. The lane's thread has to run."""
        with self._lock:
            for watched in list(self._watched.values()):
                self._look(watched)
            tails = [tail for w in self._watched.values() for tail in w.tailer.tails]
            goals = [(tail, tail.size()) for tail in tails]
        while not deadline.passed():
            done = all(tail.closed or tail.position >= size for tail, size in goals)
            if done:
                self._flush_spool()
            self._round(final=True, read=not done)
            self._deliveries.news.clear()
            if done and not any(w.open or w.pending for w in self._watched.values()):
                return
            self._clock.wait(self._deliveries.news, min(0.05, deadline.remaining()))

    def close(self) -> None:
        """Save the checkpoint, close the files. Call it after the lane was drained."""
        with self._lock:
            self._journal.close(self._marks)
            for watched in self._watched.values():
                watched.tailer.close()
            self._watched.clear()
            self._changes.close()

    def _round(self, final: bool = False, read: bool = True) -> int:
        with self._lock:
            now = self._clock.monotonic()
            self._look_where_due(now)
            self._busy = False
            lines = self._read() if self._deliveries.offer(OFFER_WAIT) and read else 0
            self._batcher.close(self._watched.values(), now, final)
            self._deliveries.offer(0)
            if self._save.is_due(now):
                self._save.advance(now)
                self._journal.save(self._marks)
            return lines

    def _due(self, now: float) -> float:
        """When to do something next, unless a file changes before."""
        soon = now + PAUSE
        times = [self._save.due] if self._journal.dirty else []
        times += [soon] if self._deliveries.waiting() else []
        for watched in self._watched.values():
            times.append(watched.tailer.attention.next_look())
            times += [batch.opened + BATCH_AGE for batch in watched.open.values()]
            held = any(stage and stage.held for stage in watched.line_stages.values())
            if held or watched.tailer.attention.any_awake():
                times.append(soon)
        return min(times, default=now + SAVE_INTERVAL)

    def _look_where_due(self, now: float) -> None:
        fired = self._changes.told()
        all_of_them = list(self._watched.values())
        for watched in all_of_them:
            watched.tailer.attention.hear(fired)
        if any(watched.tailer.attention.next_look() <= now for watched in all_of_them):
            for watched in all_of_them:
                if watched.tailer.attention.next_look(along=True) <= now:
                    self._look(watched)

    def _flush_spool(self) -> None:
        """A service that has ended finishes no line."""
        with self._lock:
            for watched in self._watched.values():
                for tail in watched.tailer.tails if watched.tailer.spool else ():
                    self._batcher.take(watched, tail, tail.flush())

    def _watch(self, target: Target, patterns: Sequence[str], spool: bool) -> None:
        key = f"spool {target.name}" if spool else target.name
        watched = self._watched.get(key)
        if watched is None:
            if not patterns:
                return
            tailer = Tailer(
                patterns,
                self._clock,
                start_at=self._config.logs.start_at,
                marks=self._parked.pop(key, ()),
                exclude=() if spool else (self._state.folder,),
                spool=spool,
                changes=self._changes,
                descriptors=self._descriptors,
            )
            watched = self._watched[key] = Watched(key, target.name, target, tailer, b"")
        watched.target = target
        watched.resource = resource_bytes(target.attributes)
        watched.tailer.patterns = tuple(patterns)
        watched.leaving = False

    def _look(self, watched: Watched) -> None:
        tailer = watched.tailer
        tailer.scan()
        for tail in tailer.tails:
            self._journal.adopt(watched.key, tail)
        flushed, tailer.flushed = tailer.flushed, []
        for tail, line in flushed:
            self._batcher.take(watched, tail, [line])
        self._let_go(watched)
        tailer.attention.brisk |= watched.leaving
        if watched.leaving and watched.idle():
            self._parked[watched.key] = tailer.marks()
            tailer.close()
            del self._watched[watched.key]

    def _let_go(self, watched: Watched) -> None:
        """Forget files that are over and settled."""
        over = watched.tailer.over()
        if not over:
            return
        for tail in over:
            watched.line_stages.pop(tail.generation, None)
            if watched.tailer.spool:
                Path(tail.path).unlink(missing_ok=True)
        sources = watched.tailer.forget(over)
        ended = () if watched.tailer.spool else sources
        self._journal.forget(watched.key, watched.name, over, ended)

    def _marks(self) -> Marks:
        return self._parked | {key: w.tailer.marks() for key, w in self._watched.items()}

    def _read(self) -> int:
        """64 KiB of each file that has something, until the round is full or a batch finds no
        room. Every round begins at another target."""
        order = list(self._watched.values())
        self._turn += 1
        turn = self._turn % max(1, len(order))
        total = budget = 0
        for watched in order[turn:] + order[:turn]:
            for tail in watched.tailer.readable():
                before = tail.position
                try:
                    lines = tail.read()
                except OSError as error:
                    watched.tailer.cannot_read(tail, error)
                    continue
                if tail.position > before:
                    tail.last_data = self._clock.monotonic()
                if not tail.saved:
                    self._journal.adopt(watched.key, tail)
                self._batcher.take(watched, tail, lines)
                total += len(lines)
                budget += tail.position - before
                if budget >= ROUND_BYTES or not self._deliveries.offer(0):
                    self._busy = True
                    return total
        self._busy = budget > 0
        return total
