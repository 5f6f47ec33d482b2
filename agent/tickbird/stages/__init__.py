"""Stages: log record in, the same record or a named drop out. Each is one file and one callable;
the engine is the loop below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..model import LogRecord

if TYPE_CHECKING:
    from ..config import Config


class Drop(NamedTuple):
    """A record that goes no further; ``reason`` is its name in the ledger."""

    reason: str


Stage = Callable[[LogRecord], LogRecord | Drop]


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
