"""All watched targets: follows what the finder finds, and reads what is due.

Sources that may wait for the network are read by workers, so that a hung one delays nobody.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

from .clock import Clock
from .meters import Meter
from .model import Item, Target
from .sources import Context, SourceType, source_types
from .targets import Found
from .watch import Deliver, Release, Watch

STALL_THRESHOLD = 0.1
"""Seconds; where the configuration says nothing else."""
TOGETHER = 0.1
"""Seconds by which a read may come early, so that one waking serves many targets."""


class Watches:
    """Keyed by target; ``follow`` and ``read_due`` are called from one thread."""

    def __init__(
        self,
        clock: Clock,
        context: Callable[[Found], Context],
        deliver: Deliver,
        release: Release,
        ended: Callable[[Target], None],
    ) -> None:
        self._clock = clock
        self._context = context
        self._deliver = deliver
        self._release = release
        self._ended = ended
        self._kinds = source_types()
        self._watches: dict[str, Watch] = {}
        self._work: queue.SimpleQueue[tuple[Watch, str]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pace = 1
        self.missed_ticks = 0

    def follow(self, found: Iterable[Found]) -> None:
        """Watch exactly what was found: new identities are opened, ended ones let go."""
        now = {one.target.key: one for one in found}
        for key, watch in list(self._watches.items()):
            still = now.get(key)
            if watch.gone or still is None or still.target.identity != watch.target.identity:
                self._let_go(key)
            elif watch.target.runtime != still.target.runtime:
                watch.become(still.target, self._kinds.values())
        for key, one in now.items():
            if key not in self._watches:
                self._begin(one)

    def keep(self, found: Iterable[Found]) -> list[Target]:
        """After a change of the configuration: go on with what was found with the same process
        and the same settings, let go of all else. Return what is not wanted any more."""
        now = {one.target.key: one for one in found}
        left = []
        for key, watch in list(self._watches.items()):
            still = now.get(key)
            if still is None:
                left.append(watch.target)
            if still is None or not _unchanged(watch, still):
                self._let_go(key)
        return left

    def _begin(self, found: Found) -> None:
        spec = found.spec
        threshold = spec.loop.stall_threshold if spec else STALL_THRESHOLD
        target = found.target
        meter = Meter(target.runtime, threshold)
        watch = Watch(target, self._context(found), self._deliver, self._release, meter)
        watch.pace = self._pace
        watch.open(self._kinds.values())
        if watch.gone:
            watch.close()
            return
        with self._lock:
            self._watches[target.key] = watch

    def _let_go(self, key: str) -> None:
        with self._lock:
            watch = self._watches.pop(key)
        watch.close()
        self._ended(watch.target)

    def slow(self, pace: int) -> None:
        """Sample at ``pace`` times the interval of the configuration."""
        if pace != self._pace:
            self._pace = pace
            for watch in self._watches.values():
                watch.slow(pace)

    def read_due(self) -> bool:
        """Read every source that is due; return whether a target turned out to have ended."""
        now = self._clock.monotonic() + TOGETHER
        for watch in list(self._watches.values()):
            if now > watch.loop_until:
                watch.let_loop_go()
            for name in watch.due(now):
                if self._kinds[name].blocking:
                    watch.reserve(name)
                    self._work.put((watch, name))
                else:
                    self.missed_ticks += watch.read(name)
        return any(watch.gone for watch in self._watches.values())

    def next_due(self) -> float:
        """Monotonic time of the next read; infinity when nothing is watched."""
        return min((w.next_due() for w in self._watches.values()), default=float("inf"))

    def tell(self, target_key: str, kind: SourceType, items: list[Item]) -> None:
        """Hand what came by another way to the watch of its target, from any thread."""
        with self._lock:
            watch = self._watches.get(target_key)
        if watch is not None:
            watch.tell(kind, items)

    def work(self) -> None:
        """Body of a worker thread: reads blocking sources for as long as the process lives."""
        while True:
            watch, name = self._work.get()
            watch.read(name)

    def watched(self) -> list[Watch]:
        with self._lock:
            return list(self._watches.values())

    def targets(self) -> list[Target]:
        return [watch.target for watch in self.watched()]

    def close(self) -> None:
        """Let go of every target; their series end."""
        for key in list(self._watches):
            self._let_go(key)


def _unchanged(watch: Watch, found: Found) -> bool:
    before, after = watch.target, found.target
    return (
        watch.context.spec == found.spec
        and before.identity == after.identity
        and before.attributes == after.attributes
    )
