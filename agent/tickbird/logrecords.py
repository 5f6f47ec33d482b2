"""Log records of one shape, kept column by column.

What is done to a value costs ten times less in a loop over a column than in a loop over records:
the interpreter's work is then paid once for a column, not once for each of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import compress
from typing import Any

from .model import LogRecord

Severity = tuple[int, str]
"""Number of the OpenTelemetry data model (1..24) and the text that the line had."""
ERROR = 17
"""The least severity number that is an error's."""


class Column:
    """The values of one attribute, one a record. ``kind`` is the type of all of them, None where
    they are of several; ``depth`` is how many objects of the line they lie in."""

    __slots__ = ("depth", "kind", "kinds", "values")

    def __init__(self, values: Sequence[Any], depth: int = 1) -> None:
        self.values = values
        self.depth = depth
        self.kinds = set(map(type, values))
        self.kind = type(values[0]) if len(self.kinds) == 1 else None

    def of(self, wanted: Sequence[object]) -> Column:
        """The values where ``wanted`` is true."""
        return Column(list(compress(self.values, wanted)), self.depth)


@dataclass(slots=True)
class Records:
    """All sequences have one entry for each of ``lines``; None: no record has one."""

    lines: Sequence[int]
    """Which line of the chunk each record is of."""
    columns: dict[str, Column]
    """Attributes by name, in order. A value None is an absent one."""
    body: Sequence[str] | None = None
    time_ns: Sequence[int] | None = None
    severity: Sequence[Severity] | None = None
    trace_id: Sequence[str] | None = None
    span_id: Sequence[str] | None = None
    trace_flags: Sequence[int] | None = None
    """W3C trace flags, 0..255."""
    correlation_id: Sequence[str] | None = None
    dropped_attributes: Sequence[int] | None = None
    drop: str | None = None
    """The reason why none of them goes further; its name in the ledger."""

    def __len__(self) -> int:
        return len(self.lines)

    def correlated(self) -> bool:
        """Whether they bear a trace or correlation ID."""
        return self.trace_id is not None or self.correlation_id is not None

    def split(self, wanted: Sequence[object]) -> tuple[Records, Records]:
        """The records where ``wanted`` is true, and the others."""
        return self._where(wanted), self._where([not one for one in wanted])

    def _where(self, wanted: Sequence[object]) -> Records:
        parts: dict[str, Any] = {}
        for name in _SEQUENCES:
            whole = getattr(self, name)
            parts[name] = None if whole is None else list(compress(whole, wanted))
        columns = {name: column.of(wanted) for name, column in self.columns.items()}
        return Records(columns=columns, drop=self.drop, **parts)

    def record(self, index: int, observed_ns: int = 0) -> LogRecord:
        """One of them by itself; ``observed_ns`` is when it was read."""

        def of(values: Sequence[Any] | None, absent: Any) -> Any:
            return absent if values is None else values[index]

        number, text = of(self.severity, (0, ""))
        attributes = {name: column.values[index] for name, column in self.columns.items()}
        return LogRecord(
            of(self.body, ""),
            of(self.time_ns, 0),
            observed_ns,
            severity_number=number,
            severity_text=text,
            trace_id=of(self.trace_id, None),
            span_id=of(self.span_id, None),
            correlation_id=of(self.correlation_id, None),
            attributes={name: value for name, value in attributes.items() if value is not None},
            dropped_attributes=of(self.dropped_attributes, 0),
        )


_SEQUENCES = tuple(f.name for f in fields(Records) if f.name not in ("columns", "drop"))
