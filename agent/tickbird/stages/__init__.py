"""Stages of the log path, in order: what happens to a line between its file and its record.

1. **Line stages** see lines with their offsets, before anything is known of their content: they
   take a container's envelope off, and join the lines of a stack trace. ``line_stage`` makes one
   for each file generation. ``feed`` gets the next lines and returns those that are complete. A
   joined line has the ``offset`` of its first part, the ``end`` of its last and a newline between
   them; what is held back is neither counted as read nor acknowledged, so a kill repeats it
   whole. ``flush`` is called about once a second while ``held`` is true. What an envelope says
   beside the text travels in ``Shaped.extra``.
2. **Redaction** of the text, of many lines at once: ``redact.Redactor.clean_lines``. JSON stays
   JSON, and a line that could not be looked at goes no further.
3. **Fields** (``fields``): a line that begins with ``{`` is decoded as JSON. Every other goes to
   the parser of ``fields_parser``, one for each file: it returns the fields as a logger would have
   written them in JSON (``time``, ``level``, ``msg`` and so on, nested or dotted), or None for
   plain text.
4. **Shape** (``shape``): from here on lines are ``Records``: all of a chunk that have the same
   fields together, column by column, with flat dotted names.
5. **Record stages**: message, severity and time (``parse``), ids (``correlate``), secret keys
   (``hide``), a body for those without (``describe``) or the line itself (``raw``), caps
   (``limit``). Each takes ``Records`` and yields them, split where they are not alike; one that
   sets ``drop`` ends their way. What a stage calls for every single value costs, so it looks at
   columns as a whole first.
6. **Rate limit** (``ratelimit``), if one is set: of all records of a chunk together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..logrecords import Records
from .correlate import identify
from .describe import describe
from .fields import Reader
from .formats import fields_parser
from .hide import Hider
from .join import Pairs, joined
from .limit import limit
from .parse import parse
from .raw import raw
from .redact import Redactor, without_cut_word, without_torn_word

if TYPE_CHECKING:
    from ..config import Config
    from ..config.schema import LogsConfig
    from ..sources.logtail import Line


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


FieldsParser = Callable[[str], dict[str, Any] | None]
RecordStage = Callable[[Records], Iterable[Records]]


def line_stage(config: LogsConfig, path: str) -> LineStage | None:
    """The line stage for one generation of ``path``; None: its lines pass as they are."""
    from . import containers, multiline  # noqa: PLC0415 - they import Shaped

    joiner = None if config.multiline == "none" else multiline.Joiner
    if config.format in ("auto", "cri", "docker"):
        return containers.Container(config.format, path, joiner)
    return joiner() if joiner else None


class LogStages:
    """All stages after those of lines. One thread at a time."""

    def __init__(self, config: Config, pairs: Pairs | None = None) -> None:
        """``pairs``: of request and trace ids, shared with whoever else learns some."""
        self._pairs = pairs or Pairs()
        self._redactor = Redactor(config.redact)
        self._form = config.logs.format
        self._raw = config.logs.mode == "raw"
        hider = Hider(self._redactor, mark=self._raw)
        self._reader = Reader(self._form, hider.inner if self._redactor.parsed_only else None)
        self._stages: list[RecordStage] = [parse, hider.columns]
        self._correlate = config.logs.correlate
        if self._correlate:
            self._stages.append(identify)

    def fields_parser(self) -> FieldsParser | None:
        """What reads the lines of one file that are no JSON; None: they are text."""
        return fields_parser(self._form)

    def records(
        self,
        lines: Sequence[Line | Shaped],
        parser: FieldsParser | None,
        observed_ns: int,
        service: str = "",
    ) -> Iterator[Records]:
        """The records of ``lines``, in no order: ``Records.lines`` tells which is whose."""
        data = list(map(_without_half, lines))
        longest = max(map(len, data))
        texts = self._redactor.clean_lines(data)
        found: Iterable[Records] = self._reader.records(lines, texts, parser)
        for stage in self._stages:
            found = through(stage, found)
        if self._correlate:
            found = joined(found, self._pairs, service, observed_ns / 1e9)
        for records in found:
            if records.drop:
                yield records
                continue
            if self._raw:
                raw(records, lines, texts)
            describe(records)
            yield from limit(records, observed_ns, longest)


def _without_half(line: Line | Shaped) -> bytes:
    if line.truncated:
        return without_cut_word(line.data)
    return without_torn_word(line.data) if line.partial else line.data


def through(stage: RecordStage, found: Iterable[Records]) -> Iterator[Records]:
    """What comes out of ``stage``; dropped records pass by it."""
    for records in found:
        if records.drop:
            yield records
        else:
            yield from stage(records)
