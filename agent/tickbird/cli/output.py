"""How commands speak: JSON for programs, short lines for people, colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

from ..errors import ConfigError, TickbirdError

_CODES = {"ok": "32", "warn": "33", "fail": "31", "unknown": "36", "dim": "2", "bold": "1"}


def coloured(text: str, style: str, stream: TextIO | None = None) -> str:
    """``text`` in a style of ``_CODES`` when ``stream`` is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def say(text: str = "") -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """Progress and remarks: to stderr, so that ``--json`` output stays clean."""
    print(text, file=sys.stderr, flush=True)


def say_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def complain(error: TickbirdError) -> None:
    """One clear message and what to do about it; never a traceback."""
    mark = coloured("error:", "fail", sys.stderr)
    if isinstance(error, ConfigError):
        note(f"{mark} the configuration has {len(error.problems)} problem(s)")
        for problem in error.problems:
            note(f"  {problem}")
    else:
        note(f"{mark} {error}")
    if error.remedy:
        note(f"  what to do: {error.remedy}")
