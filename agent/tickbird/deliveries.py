"""Closed batches on their way to the Collector, and what becomes of them.

They are offered in order, answered for in any thread, and acknowledged in the order of their file:
an offset moves only when all that lies before it was accepted or refused for good.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from .journal import Journal
from .logbatch import Batch
from .sinks.otlp.delivery import Lane, Outcome, Payload
from .sinks.otlp.logs import payload


class Deliveries:
    """``add`` and ``offer`` belong to one thread. Without a lane a batch is delivered as soon as
    it is offered. ``news`` is set, and ``wake`` called, whenever one was settled."""

    def __init__(self, lane: Lane | None, journal: Journal, wake: Callable[[], None]) -> None:
        self._lane = lane
        self._journal = journal
        self._ready: deque[tuple[Batch, Payload]] = deque()
        self._lock = threading.Lock()
        self._wake = wake
        self.news = threading.Event()

    def add(self, batch: Batch) -> None:
        """Take a batch that gets no more lines; those of one generation in order."""
        with self._lock:
            batch.watched.pending.setdefault(batch.tail.generation, deque()).append(batch)
        if not batch.records:
            self._settle(batch, Outcome())
            return
        whole = payload(batch.watched.resource, batch.records, partial(self._settle, batch))
        sending = partial(self._journal.sending, batch.tail, batch.reach)
        self._ready.append((batch, replace(whole, sending=sending)))

    def waiting(self) -> bool:
        """Whether something was added that found no room yet."""
        return bool(self._ready)

    def offer(self, wait: float) -> bool:
        """Hand on what was added; False when the lane had no room for all within ``wait``
        seconds."""
        while self._ready:
            batch, whole = self._ready[0]
            if self._lane is None:
                self._settle(batch, Outcome(whole.items))
            elif not self._lane.offer(whole, wait):
                return False
            self._ready.popleft()
        return True

    def _settle(self, batch: Batch, outcome: Outcome) -> None:
        generations, generation = batch.watched.pending, batch.tail.generation
        with self._lock:
            batch.outcome = outcome
            batch.records.clear()
            pending = generations[generation]
            while pending and pending[0].outcome is not None:
                done = pending.popleft()
                self._journal.settle(
                    done.watched.key, done.watched.name, done.tail, done.end, done.final()
                )
            if not pending:
                del generations[generation]
        self.news.set()
        self._wake()
