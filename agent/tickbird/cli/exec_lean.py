"""The words of ``tickbird exec``, read by hand: typer would cost the service its start."""

from __future__ import annotations

from pathlib import Path

from ..commands import is_name
from ..errors import TickbirdError, UsageError
from ..exec.supervisor import Options, exit_as, run, stderr_line

USAGE = "tickbird exec [-c FILE] [--name NAME] [--offline] -- COMMAND [ARGUMENT...]"


def exec_lean(arguments: list[str]) -> int:
    """Run a service with its agent; does not return once the service has run."""
    from .output import complain  # noqa: PLC0415 - only for an error

    try:
        code = run(parse(arguments), stderr_line)
    except TickbirdError as error:
        complain(error)
        code = error.exit_code
    exit_as(code)
    return code


def parse(arguments: list[str]) -> Options:
    """The words after ``exec``; the command begins after ``--`` or at the first word that is no
    option. Raises ``UsageError``."""
    words = list(arguments)
    config: Path | None = None
    name: str | None = None
    offline = False
    while words and words[0].startswith("-"):
        word, _, value = words.pop(0).partition("=")
        if word == "--":
            break
        if word == "--offline" and not value:
            offline = True
        elif word in ("-c", "--config"):
            config = Path(value or value_of(words, word, USAGE))
        elif word == "--name":
            name = checked(value or value_of(words, word, USAGE), USAGE)
        else:
            raise UsageError(f"exec has no option {word}", USAGE)
    if not words:
        raise UsageError("exec needs the command of a service", USAGE)
    return Options(tuple(words), config, name, offline)


def value_of(words: list[str], option: str, usage: str) -> str:
    """Take the value of ``option`` from the words after it. Raises ``UsageError``."""
    if not words or words[0] == "--":
        raise UsageError(f"{option} needs a value", usage)
    return words.pop(0)


def checked(name: str, usage: str) -> str:
    """``name`` when a service may have it. Raises ``UsageError``."""
    if not is_name(name):
        raise UsageError("--name takes up to 63 letters, digits, dots, dashes, underscores", usage)
    return name
