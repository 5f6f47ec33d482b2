"""How commands speak: JSON for programs, short lines for people, colour only on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import CannotCreate, ConfigError, TickbirdError

_CODES = {"ok": "32", "warn": "33", "fail": "31", "unknown": "36", "dim": "2", "bold": "1"}


def coloured(text: str, style: str, stream: TextIO | None = None) -> str:
    """``text`` in a style of ``_CODES`` when ``stream`` is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """Print the answer. Raises ``CannotCreate`` when it cannot be written, on a full disk say."""
    with _written():
        print(text, flush=True)


def note(text: str) -> None:
    """Progress and remarks: to stderr, so that ``--json`` output stays clean. Nothing depends on
    them, so one that nobody can read is let go."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def typed() -> str:
    """How this command was called, and so what a person can type again: ``tickbird`` when that is
    what PATH finds, else the path to it or the interpreter's."""
    program = sys.argv[0]
    if Path(program).name != "tickbird":
        return f"{_near(sys.executable)} -m tickbird"
    found = shutil.which("tickbird")
    return "tickbird" if found and Path(found).absolute() == Path(program).absolute() else program


def _near(program: str) -> str:
    """The path from here, where the program lies below."""
    here = Path.cwd()
    return str(Path(program).relative_to(here)) if Path(program).is_relative_to(here) else program


def say_json(document: Any) -> None:
    """One JSON document; raises as ``say`` does."""
    say(json.dumps(document, indent=2, allow_nan=False))


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise not_written(error) from error


def not_written(error: OSError) -> CannotCreate:
    """What to tell when stdout takes nothing; what is still buffered for it is given up."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return CannotCreate(
        f"cannot write the answer to stdout: {error.strerror}",
        "make room there, or send it elsewhere with > FILE",
    )


def complain(error: TickbirdError) -> None:
    """One clear message and what to do about it; never a traceback."""
    mark = coloured("error:", "fail", sys.stderr)
    if isinstance(error, ConfigError):
        count = len(error.problems)
        note(f"{mark} the configuration has {count} problem{'' if count == 1 else 's'}")
        for problem in error.problems:
            note(f"  {problem}")
    else:
        note(f"{mark} {error}")
    if error.remedy:
        note(f"  what to do: {error.remedy}")
