"""Every error the project raises on purpose.

The tree, each with the exit code that the command line gives it::

    TickbirdError
    ├── UsageError        64  the command was called wrongly
    ├── Unreachable       69  the agent or a backend does not answer
    ├── CannotCreate      73  a file, port or lock cannot be taken
    ├── ConfigError       78  the configuration is wrong; carries every problem at once
    └── SourceError           one source failed; costs only that source
        ├── FetchError        a request got no whole answer
        ├── NoData            nothing to measure here: neither an error nor zero
        └── TargetGone        the process behind the source has ended

A message names what went wrong; ``remedy`` says what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class TickbirdError(Exception):
    """Root of the tree. ``str(error)`` is one line fit to be shown to a person."""

    exit_code = 1

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(TickbirdError):
    exit_code = 64


class Unreachable(TickbirdError):
    exit_code = 69


class CannotCreate(TickbirdError):
    exit_code = 73


class ConfigError(TickbirdError):
    """All problems of one configuration. ``problems`` holds one line each, with its path."""

    exit_code = 78

    def __init__(self, problems: Sequence[str], remedy: str | None = None) -> None:
        super().__init__("\n".join(problems), remedy)
        self.problems = tuple(problems)


class SourceError(TickbirdError):
    """A source could not be read. The agent counts it, reports it once, and tries again."""


class NoData(SourceError):
    """The source works, but there is nothing to measure on this host or target."""


class FetchError(SourceError):
    """A request that got no whole answer; ``kind`` is a value fit for ``error.type``."""

    def __init__(self, message: str, kind: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.kind = kind


class TargetGone(SourceError):
    """The process (pid, start time) behind the source does not exist any more."""
