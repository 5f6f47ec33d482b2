"""From lines to batches: the half of the log path that looks at what a line says.

The other half, ``pipeline``, finds and reads the files, and settles what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .clock import Clock
from .config import Config
from .ledger import Ledger
from .logbatch import MAX_RECORDS, Batch, Watched
from .logrecords import ERROR, Column, Records
from .sinks.otlp.logs import LogEncoder, encoded_attributes
from .sources.logtail import Line, Tail
from .stages import FieldsParser, LogStages, Shaped, line_stage
from .stages.join import Pairs
from .stages.ratelimit import RateLimit

if TYPE_CHECKING:
    from .recorder import Recorder

BATCH_AGE = 1.0
"""Seconds that a line waits at most for others to travel with."""
OFFSET = "tickbird.log.offset"


class Batcher:
    """For one thread at a time. ``closed`` gets every batch that takes no more lines, those of one
    file generation in order."""

    def __init__(  # noqa: PLR0917 - wires the parts
        self,
        config: Config,
        clock: Clock,
        ledger: Ledger,
        recorder: Recorder | None,
        closed: Callable[[Batch], None],
        pairs: Pairs | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._ledger = ledger
        self._recorder = recorder
        self._closed = closed
        self._stages = LogStages(config, pairs)
        self._encoder = LogEncoder()
        limit = config.logs.rate_limit
        self._limit = RateLimit(limit.lines_per_second, limit.burst_lines) if limit else None

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
        for first in range(0, len(lines), MAX_RECORDS):
            batch = watched.open.get(tail.source)
            if batch is not None and batch.tail is not tail:
                self._close(batch)  # what is older goes first
                batch = None
            if batch is None:
                batch = Batch(watched, tail, self._clock.monotonic())
                watched.open[tail.source] = batch
            self._encode(batch, lines[first : first + MAX_RECORDS])
            if batch.full():
                self._close(batch)

    def _encode(self, batch: Batch, lines: Sequence[Line | Shaped]) -> None:
        tail, watched = batch.tail, batch.watched
        observed = int(self._clock.time() * 1e9)
        everywhere = encoded_attributes(_known(tail, watched.tailer.spool))
        encoded = [b""] * len(lines)
        parser = self._parser(watched, tail)
        found = self._stages.records(lines, parser, observed, watched.name)
        if self._limit is not None:
            found = self._limit.apply(found, watched.name, self._clock.monotonic())
        for records in found:
            if records.drop:
                batch.drop(records.drop, len(records))
                continue
            batch.correlated += len(records) if records.correlated() else 0
            if self._recorder is not None:
                self._record_errors(watched.target.key, records, observed)
            records.columns[OFFSET] = Column([lines[index].offset for index in records.lines])
            for index, one in zip(
                records.lines, self._encoder.encode(records, observed, everywhere), strict=True
            ):
                encoded[index] = one
        batch.add(lines, encoded)

    def _parser(self, watched: Watched, tail: Tail) -> FieldsParser | None:
        parsers = watched.parsers
        if tail.source not in parsers:
            parsers[tail.source] = self._stages.fields_parser()
        return parsers[tail.source]

    def _record_errors(self, target_key: str, records: Records, observed_ns: int) -> None:
        assert self._recorder is not None
        for index, (number, _) in enumerate(records.severity or ()):
            if number >= ERROR:
                self._recorder.record_log(target_key, records.record(index, observed_ns))

    def _close(self, batch: Batch) -> None:
        del batch.watched.open[batch.tail.source]
        self._closed(batch)


def _known(tail: Tail, spool: bool) -> dict[str, str]:
    """Attributes that all records of a generation have."""
    where = {"log.iostream": Path(tail.source).name} if spool else {"log.file.path": tail.source}
    return {**where, "tickbird.log.generation": tail.generation}
