"""What travels together on the log path: lines of one file, on their way to being settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from .ledger import Totals
from .model import Target
from .sinks.otlp.delivery import Outcome
from .sources.logfile import Tailer
from .sources.logtail import Line, Tail
from .stages import FieldsParser, LineStage, Shaped

MAX_RECORDS = 500
MAX_BYTES = 1024 * 1024
_offset = attrgetter("offset")


@dataclass(slots=True)
class Batch:
    """Consecutive lines of one tail, and what became of them. ``end`` may lie before some of them,
    where a line before those waits for its rest; ``reach`` lies behind the beginning of each."""

    watched: Watched
    tail: Tail
    opened: float
    end: int = 0
    reach: int = 0
    size: int = 0
    records: list[bytes] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    correlated: int = 0
    outcome: Outcome | None = None

    def full(self) -> bool:
        return len(self.records) >= MAX_RECORDS or self.size >= MAX_BYTES

    def drop(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def add(self, lines: Sequence[Line | Shaped], encoded: Sequence[bytes]) -> None:
        """Take in what became of the next ``lines``: a record each, empty where it was dropped."""
        kept = [one for one in encoded if one]
        self.records += kept
        self.size += sum(map(len, kept))
        self.end = lines[-1].end
        self.reach = max(self.reach, self.end, max(map(_offset, lines)) + 1)
        if self.tail.acked < self.tail.repeat_until:
            before = self.tail.repeat_until
            pairs = zip(lines, encoded, strict=True)
            self.repeated += sum(1 for line, one in pairs if one and line.offset < before)

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
    """The batch being filled, by source."""
    pending: dict[str, deque[Batch]] = field(default_factory=dict)
    """Batches closed and not yet settled in order, by generation; ``Deliveries`` sees to them."""
    line_stages: dict[str, LineStage | None] = field(default_factory=dict)
    """By generation."""
    parsers: dict[str, FieldsParser | None] = field(default_factory=dict)
    """Of lines that are no JSON, by source."""
    leaving: bool = False

    def idle(self) -> bool:
        """Whether everything there was is read and settled."""
        holding = any(stage and stage.held for stage in self.line_stages.values())
        return not (self.open or self.pending or holding or any(self.tailer.readable()))
