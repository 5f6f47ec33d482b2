"""Stages of the log path, in order: what happens to a line between its file and its record.

1. **Line stages** see lines with their offsets, before anything is known of their content: they
   take a container's envelope off, and join the lines of a stack trace. ``line_stage`` makes one
   for each file generation. ``feed`` gets the next lines and returns those that are complete. A
   joined line has the ``offset`` of its first part, the ``end`` of its last and a newline between
   them; what is held back is neither counted as read nor acknowledged, so a kill repeats it
   whole. ``flush`` is called about once a second while ``held`` is true. What an envelope says
   beside the text travels in ``Shaped.extra``.
2. **Redaction** of the text: ``redact.Redactor.clean`` gets many lines joined by newlines and
   returns as many; a line of several parts comes alone. JSON stays JSON.
3. **Fields**: a line that begins with ``{`` is decoded as JSON. Every other goes to the parser of
   ``fields_parser``, one for each file: it returns the fields as a logger would have written them
   in JSON (``time``, ``level``, ``msg`` and so on, nested or dotted), or None for plain text.
4. **Record stages**: key rules, severity, time, ids, correlation, limits. A record in, the same
   record or a named drop out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..model import LogRecord

if TYPE_CHECKING:
    from ..config import Config
    from ..config.schema import LogsConfig
    from ..sources.logtail import Line


class Drop(NamedTuple):
    """A record that goes no further; ``reason`` is its name in the ledger."""

    reason: str


class Shaped(NamedTuple):
    """A ``Line`` that a line stage has read something from: ``extra`` are fields (a ``time``, a
    ``log.iostream``) that hold where the text itself says nothing else."""

    data: bytes
    offset: int
    end: int
    truncated: bool = False
    partial: bool = False
    extra: Mapping[str, Any] = {}


class LineStage(Protocol):
    """Stateful, one for each file generation, used by one thread. ``now`` is monotonic seconds."""

    @property
    def held(self) -> bool:
        """Whether something waits for the lines after it."""

    def feed(self, lines: Sequence[Line | Shaped], now: float) -> Sequence[Line | Shaped]:
        """Take the next lines in order; return what is complete, in order."""

    def flush(self, now: float, final: bool) -> Sequence[Line | Shaped]:
        """What was held too long; all that is held when the file is ``final``."""


Stage = Callable[[LogRecord], LogRecord | Drop]
FieldsParser = Callable[[str], dict[str, Any] | None]


def line_stage(config: LogsConfig, path: str) -> LineStage | None:
    """The line stage for one generation of ``path``; None: its lines pass as they are."""
    from . import containers, multiline  # noqa: PLC0415 - they import Shaped

    joiner = None if config.multiline == "none" else multiline.Joiner
    if config.format in ("auto", "cri", "docker"):
        return containers.Container(config.format, path, joiner)
    return joiner() if joiner else None


def log_stages(config: Config) -> tuple[Stage, ...]:
    """The stages of a log record whose body is the line as read, in order."""
    from . import correlate, describe, limit, parse, redact  # noqa: PLC0415 - they import Drop

    stages: list[Stage] = [parse.parser(config.logs.format)]
    if config.logs.correlate:
        stages.append(correlate.correlate)
    stages += [redact.redactor(config.redact), describe.describe, limit.limit]
    return tuple(stages)


def apply(stages: Iterable[Stage], record: LogRecord) -> LogRecord | Drop:
    """``record`` after all ``stages``, or the first drop."""
    for stage in stages:
        result = stage(record)
        if isinstance(result, Drop):
            return result
        record = result
    return record
