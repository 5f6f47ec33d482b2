"""From lines to batches: the half of the log path that looks at what a line says.

The other half, ``pipeline``, finds and reads the files, and settles what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .clock import Clock
from .config import Config
from .ledger import Ledger
from .logbatch import Batch, Watched, record_of
from .sinks.otlp.logs import LogEncoder
from .sources.logtail import Line, Tail
from .stages import Drop, Shaped, Stage, apply, line_stage, log_stages

if TYPE_CHECKING:
    from .recorder import Recorder

BATCH_AGE = 1.0
"""Seconds that a line waits at most for others to travel with."""


class Batcher:
    """For one thread at a time. ``closed`` gets every batch that takes no more lines, those of one
    file generation in order."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        ledger: Ledger,
        recorder: Recorder | None,
        closed: Callable[[Batch], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._ledger = ledger
        self._recorder = recorder
        self._closed = closed
        self._stages: tuple[Stage, ...] = log_stages(config)
        self._encoder = LogEncoder()

    def take(self, watched: Watched, tail: Tail, lines: Sequence[Line]) -> None:
        """Take the next lines of ``tail``. What a line stage holds back is neither counted as read
        nor acknowledged until it comes out."""
        stages = watched.line_stages
        if tail.generation not in stages:
            stages[tail.generation] = line_stage(self._config.logs, tail.path)
        stage = stages[tail.generation]
        whole = lines if stage is None else stage.feed(lines, self._clock.monotonic())
        self._add(watched, tail, whole)

    def close(self, watched: Iterable[Watched], now: float, every: bool) -> None:
        """Close the batches whose time has come, or all of them; ``now`` is monotonic."""
        for one in watched:
            self._flush(one, now, every)
            for batch in list(one.open.values()):
                if every or now - batch.opened >= BATCH_AGE:
                    self._close(batch)

    def _flush(self, watched: Watched, now: float, every: bool) -> None:
        for tail in watched.tailer.tails:
            stage = watched.line_stages.get(tail.generation)
            if stage is not None and stage.held:
                self._add(watched, tail, stage.flush(now, every or tail.closed))

    def _add(self, watched: Watched, tail: Tail, lines: Sequence[Line | Shaped]) -> None:
        if not lines:
            return
        self._ledger.count_read(watched.name, tail.source, len(lines))
        observed = int(self._clock.time() * 1e9)
        for line in lines:
            batch = watched.open.get(tail.generation)
            if batch is None:
                batch = Batch(watched, tail, self._clock.monotonic())
                watched.open[tail.generation] = batch
            self._encode(batch, line, observed)
            if batch.full():
                self._close(batch)

    def _encode(self, batch: Batch, line: Line | Shaped, observed: int) -> None:
        tail, watched = batch.tail, batch.watched
        batch.lines += 1
        batch.end = line.end
        record = record_of(line, tail, watched.tailer.spool, observed)
        result = apply(self._stages, record) if line.data.strip() else Drop("empty")
        if isinstance(result, Drop):
            batch.drop(result)
            return
        batch.add(result, self._encoder.encode(result))
        if self._recorder is not None:
            self._recorder.record_log(watched.target.key, result)

    def _close(self, batch: Batch) -> None:
        del batch.watched.open[batch.tail.generation]
        self._closed(batch)
