"""What travels together on the log path: lines of one file, on their way to being settled."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .ledger import Totals
from .model import LogRecord, Target
from .sinks.otlp.delivery import Outcome
from .sources.logfile import Tailer
from .sources.logtail import Line, Tail
from .stages import Drop, LineStage, Shaped
from .stages.limit import TRUNCATED

MAX_RECORDS = 500
MAX_BYTES = 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Consecutive lines of one tail, and what became of them."""

    watched: Watched
    tail: Tail
    opened: float
    end: int = 0
    lines: int = 0
    size: int = 0
    records: list[bytes] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    correlated: int = 0
    outcome: Outcome | None = None

    def full(self) -> bool:
        return len(self.records) >= MAX_RECORDS or self.size >= MAX_BYTES

    def drop(self, drop: Drop) -> None:
        self.dropped[drop.reason] = self.dropped.get(drop.reason, 0) + 1

    def add(self, record: LogRecord, encoded: bytes) -> None:
        """Take a record in; it bears the offset of its line."""
        self.records.append(encoded)
        self.size += len(encoded)
        self.repeated += record.offset < self.tail.repeat_until
        self.correlated += bool(record.trace_id or record.correlation_id)

    def final(self) -> Totals:
        """What became of its lines; to be asked once there is an outcome."""
        outcome = self.outcome
        assert outcome is not None
        return Totals(
            delivered=outcome.accepted,
            refused=dict(outcome.refused),
            dropped=self.dropped,
            redelivered=min(self.repeated, outcome.accepted),
            correlated=min(self.correlated, outcome.accepted),
        )


@dataclass(slots=True)
class Watched:
    """A service whose logs are read, whichever of its processes they are read for. ``key``: what
    its files are kept under in checkpoints."""

    key: str
    name: str
    target: Target
    tailer: Tailer
    resource: bytes
    open: dict[str, Batch] = field(default_factory=dict)
    """The batch being filled, by generation."""
    pending: dict[str, deque[Batch]] = field(default_factory=dict)
    """Batches closed and not yet settled in order, by generation; ``Deliveries`` sees to them."""
    line_stages: dict[str, LineStage | None] = field(default_factory=dict)
    """By generation."""
    leaving: bool = False

    def idle(self) -> bool:
        """Whether everything there was is read and settled."""
        holding = any(stage and stage.held for stage in self.line_stages.values())
        return not (self.open or self.pending or holding or any(self.tailer.readable()))


def record_of(line: Line | Shaped, tail: Tail, spool: bool, observed: int) -> LogRecord:
    """The record of a line before the stages: its text is the body. ``observed``: Unix ns."""
    attributes: dict[str, Any] = (
        {"log.iostream": Path(tail.source).name} if spool else {"log.file.path": tail.source}
    )
    try:
        body = line.data.decode()
    except UnicodeDecodeError:
        body = line.data.decode(errors="replace")
        attributes["tickbird.log.invalid_utf8"] = True
    if line.truncated:
        attributes[TRUNCATED] = True
    if line.partial:
        attributes["tickbird.log.partial"] = True
    return LogRecord(
        body,
        observed_ns=observed,
        attributes=attributes,
        generation=tail.generation,
        offset=line.offset,
    )
